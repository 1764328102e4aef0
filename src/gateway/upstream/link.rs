//! What one exchange has of a backend.
//!
//! What enters: a place under the backend's limits and a connection. What leaves: both, at the
//! end of the exchange. What can never happen: a place is not given back, however the exchange
//! ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderValue, StatusCode};
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use super::backend::Backend;
use super::connect::{Led, Opened};
use super::names::Names;
use super::original::Aim;
use super::pool::Pool;
use crate::error::Fault;
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::coarse::Moment;
use crate::gateway::socket::Delivery;
use crate::limits;

/// One connection to a backend, with one exchange on it at most.
pub struct Connection {
    pub sender: SendRequest<Outgoing>,
    pub delivery: Arc<Delivery>,
    pub target: usize,
    /// It has served a request before.
    pub reused: bool,
    /// The only client connection that it serves; `None`: it serves all.
    pub aim: Option<Arc<Aim>>,
    task: AbortHandle,
    /// Boxed: every exchange carries a connection about.
    led: Box<Led>,
    born: Moment,
    idle_since: Moment,
    requests: u32,
}

impl Connection {
    pub fn new(opened: Opened, target: usize) -> Self {
        let now = Moment::now();
        Self {
            sender: opened.sender,
            delivery: opened.delivery,
            task: opened.task,
            led: Box::new(opened.led),
            target,
            reused: false,
            aim: None,
            born: now,
            idle_since: now,
            requests: 0,
        }
    }

    pub fn is_fresh(&self) -> bool {
        self.idle_since.elapsed() < limits::POOL_IDLE_TIME && !self.sender.is_closed()
    }

    /// Whether its address is still one of the name's.
    pub fn leads_to_one_of(&self, names: &Names) -> bool {
        self.led.version == names.version() || names.leads_to(&self.led.to)
    }
}

impl Drop for Connection {
    /// A request that is still travelling when its exchange is over ends here. hyper would go on
    /// sending, and hold the client's body, as long as a deaf backend keeps the connection open.
    fn drop(&mut self) {
        if self.delivery.is_cut() {
            self.task.abort();
        }
    }
}

/// A request's place at a backend, under its limits and in the load of one address.
pub struct Place {
    pool: Arc<Pool>,
    target: Option<usize>,
    /// It is the circuit's probe, and has not told how it ended.
    probe: bool,
}

impl Place {
    /// For who has entered the backend's gate.
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self {
            pool: pool.clone(),
            target: None,
            probe: false,
        }
    }

    pub fn is_probe(&mut self) {
        self.probe = true;
    }

    pub fn goes_to(&mut self, target: usize) {
        if self.target != Some(target) {
            self.counts(-1);
            self.target = Some(target);
            self.counts(1);
        }
    }

    pub fn with(self, connection: Connection) -> Link {
        Link {
            connection,
            place: self,
        }
    }

    /// No address has answered.
    pub fn unanswered(&mut self) {
        self.probe = false;
        self.pool.backend.unanswered();
    }

    fn counts(&self, by: isize) {
        if let Some(target) = self.target {
            let load = &self.pool.backend.targets[target].in_flight;
            load.fetch_add(by as usize, Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts(-1);
        let backend = &self.pool.backend;
        if self.probe {
            backend.circuit.given_up();
        }
        backend.requests.leave();
    }
}

/// A place at a backend, and a connection there.
pub struct Link {
    pub connection: Connection,
    place: Place,
}

impl Link {
    pub fn backend(&self) -> &Arc<Backend> {
        &self.place.pool.backend
    }

    /// The Host that this link's address expects.
    pub fn host(&self) -> HeaderValue {
        self.host_header().clone()
    }

    /// The authority that stands in this backend's own links.
    pub fn authority(&self) -> &str {
        self.host_header().to_str().unwrap_or_default()
    }

    /// Whether the backend is where the client meant to go.
    pub fn is_original(&self) -> bool {
        self.connection.aim.is_some()
    }

    fn host_header(&self) -> &HeaderValue {
        &self.backend().targets[self.connection.target]
            .endpoint
            .host_header
    }

    /// An answer's head has come.
    pub fn answered(&mut self, status: StatusCode) {
        self.place.probe = false;
        self.backend().answered(self.connection.target, status);
    }

    /// No answer has come.
    pub fn failed(&mut self) {
        self.backend().failed(self.connection.target);
        self.place.unanswered();
    }

    /// The same place, with a new connection to an address that has not been `tried`, if there is
    /// one.
    ///
    /// # Errors
    /// As [`Pool::fresh`].
    pub async fn again(self, tried: &mut u64) -> Result<Self, Fault> {
        let Self {
            mut connection,
            place,
        } = self;
        let aim = connection.aim.take();
        // Its own place among the connections may be needed.
        drop(connection);
        let pool = place.pool.clone();
        pool.fresh(place, tried, None, aim).await
    }

    /// The exchange is over; the connection may be used again if nothing of it is on the way.
    pub fn give_back(self) {
        let Self {
            mut connection,
            place,
        } = self;
        connection.requests += 1;
        let backend = &place.pool.backend;
        let names = &backend.targets[connection.target].endpoint.names;
        let fit = connection.delivery.is_clean()
            && !connection.sender.is_closed()
            && connection.born.elapsed() < limits::POOL_AGE
            && connection.requests < limits::POOL_REQUESTS
            && connection.leads_to_one_of(names);
        if fit {
            connection.idle_since = Moment::now();
            place.pool.keep(connection);
        }
    }
}
