//! The way to backends.
//!
//! What enters: a backend's index. What leaves: a [`Link`] that is ready to take one request, and
//! the head of its answer. What can never happen: a request goes to a backend twice that may not,
//! or what one worker has learned of a backend is unknown to the others.
//!
//! | file | duty |
//! |---|---|
//! | [`backend`] | what all workers share: addresses, their state, the choice among them |
//! | [`pool`], [`link`] | one worker's connections, and what one exchange has of them |
//! | [`multi`] | HTTP/2: one connection, many exchanges |
//! | [`send`], [`retry`] | **one request, sent again if it may be** |
//! | [`connect`], [`names`] | new connections, where names lead |
//! | [`original`] | where a redirected client meant to go |
//! | [`gate`] | bounded places with a bounded queue |
//! | [`shares`] | how many of those one client has |
//! | [`health`] | active checks |
//! | [`ejection`], [`circuit`] | what requests teach of an address, of a backend |
//! | [`metrics`] | what is counted and shown |

pub mod backend;
pub mod circuit;
pub mod connect;
pub mod ejection;
pub mod gate;
pub mod health;
pub mod link;
pub mod metrics;
pub mod multi;
pub mod names;
pub mod original;
pub mod pool;
pub mod retry;
pub mod send;
pub mod shares;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use self::backend::Backend;
pub use self::backend::Backends;
pub use self::link::Link;
use self::original::Aim;
use self::pool::Pool;
pub use self::send::send;
use super::client::Client;
use crate::error::Fault;

/// All backends of one worker.
pub struct Upstreams {
    pools: Vec<Arc<Pool>>,
}

impl Upstreams {
    /// Empty pools; nothing is opened before it is needed. The pools of `before` (this worker's)
    /// go on for the backends that have been taken over.
    pub fn new(backends: &Backends, before: Option<&Self>) -> Self {
        // The library's own seeds are random; these numbers only spread load.
        let seeds = RandomState::new();
        let pool = |(at, backend): (usize, &Arc<Backend>)| {
            let mut known = before.iter().flat_map(|before| &before.pools);
            let same = known.find(|pool| Arc::ptr_eq(&pool.backend, backend));
            same.map_or_else(|| Pool::new(backend, seeds.hash_one(at)), Arc::clone)
        };
        Self {
            pools: backends.iter().enumerate().map(pool).collect(),
        }
    }

    /// Whether this backend is for a client that meant to go there. Asked before anything of its
    /// body is looked at.
    ///
    /// # Errors
    /// [`Code::DestinationRefused`](crate::error::Code::DestinationRefused).
    pub fn judge(&self, backend: usize, aim: Option<&Arc<Aim>>) -> Result<(), Fault> {
        let backend = &self.pools[backend].backend;
        match &backend.original {
            None => Ok(()),
            Some(original) => backend.outgoing.judge(original, aim),
        }
    }

    /// A link to this backend for a client's request: from the pool, else a new one. `aim`: where
    /// the client meant to go, if it was redirected.
    ///
    /// # Errors
    /// As [`Pool::link`].
    pub fn link(
        &self,
        backend: usize,
        client: Client,
        aim: Option<&Arc<Aim>>,
    ) -> impl Future<Output = Result<Link, Fault>> {
        // Not a future around a future: every exchange carries it about.
        self.pools[backend].link(client.into(), aim)
    }

    /// Closes what has been idle for too long. Called once a second.
    pub fn sweep(&self) {
        self.pools.iter().for_each(|pool| pool.sweep());
    }
}
