//! Who is inside, and with which client certificate.
//!
//! What enters: chains as they were verified in the handshake; an empty one where there was none. What leaves: a token a connection,
//! that is cancelled when it would not be let in any more. What can never happen: a
//! connection that has closed stays on the roll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use crate::tls::trust::Trust;

type Chain = Arc<[CertificateDer<'static>]>;

/// Open connections, by number.
#[derive(Default)]
pub struct Roll(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    members: HashMap<u64, (Chain, CancellationToken)>,
}

/// One place on the roll; leaves it when dropped.
pub struct Member {
    roll: Arc<Mutex<Open>>,
    number: u64,
    leave: CancellationToken,
}

impl Roll {
    /// `stop`: what ends every connection; it ends this one too.
    pub fn enter(&self, chain: &[CertificateDer<'_>], stop: &CancellationToken) -> Member {
        let chain: Chain = chain.iter().map(|c| c.clone().into_owned()).collect();
        let leave = stop.child_token();
        let mut open = lock(&self.0);
        let number = open.next;
        open.next += 1;
        open.members.insert(number, (chain, leave.clone()));
        Member {
            roll: self.0.clone(),
            number,
            leave,
        }
    }

    /// Asks everybody to leave whom this trust would not let in; returns how many those are.
    /// Verifies each distinct certificate once. Blocks for as long as that takes, without holding
    /// the roll.
    pub fn revise(&self, trust: &Trust) -> usize {
        let members: Vec<_> = lock(&self.0).members.values().cloned().collect();
        let mut known: HashMap<&[u8], bool> = HashMap::new();
        let mut left = 0;
        for (chain, leave) in &members {
            let leaf = chain.first().map_or(&[][..], |c| c.as_ref());
            let accepted = known.entry(leaf).or_insert_with(|| trust.accepts(chain));
            if !*accepted {
                leave.cancel();
                left += 1;
            }
        }
        left
    }

    /// How many are inside.
    pub fn count(&self) -> usize {
        lock(&self.0).members.len()
    }
}

impl Member {
    /// Cancelled when this connection is to end.
    pub fn leave(&self) -> &CancellationToken {
        &self.leave
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.roll).members.remove(&self.number);
    }
}

fn lock(open: &Mutex<Open>) -> std::sync::MutexGuard<'_, Open> {
    // Each change is one step: a panic elsewhere leaves a whole map.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
