//! Who is inside, and with which client certificate.
//!
//! What enters: chains as they were verified in the handshake; an empty one where there was none.
//! What leaves: a token a connection, that is cancelled when it would not be let in any more. What
//! can never happen: a connection that has closed stays on the roll, or one whose certificate has
//! ended goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::tls::not_after;
use crate::tls::now;
use crate::tls::trust::Trust;

type Chain = Arc<[CertificateDer<'static>]>;

#[derive(Clone)]
struct One {
    chain: Chain,
    /// When the first of its certificates ends, in seconds since 1970-01-01T00:00:00Z.
    until: i64,
    /// It was over, and let in all the same: not looked at again before this.
    again: i64,
    leave: CancellationToken,
}

impl One {
    /// Whether its time, or that of the lists, is over.
    fn is_over(&self, trust: &Trust, now: i64) -> bool {
        let lists = trust.ends.filter(|_| !self.chain.is_empty());
        lists.map_or(self.until, |end| end.min(self.until)) < now
    }
}

/// Open connections, by number.
#[derive(Default)]
pub struct Roll(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    members: HashMap<u64, One>,
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
        let ends = chain.iter().filter_map(|c| not_after(c).ok());
        let until = ends.min().unwrap_or(i64::MAX);
        let mut open = lock(&self.0);
        let number = open.next;
        open.next += 1;
        let one = One {
            chain,
            until,
            again: 0,
            leave: leave.clone(),
        };
        open.members.insert(number, one);
        Member {
            roll: self.0.clone(),
            number,
            leave,
        }
    }

    /// Whether the time of somebody's certificate is over, or of this trust's lists.
    pub fn is_due(&self, trust: &Trust) -> bool {
        let now = now();
        let due =
            |one: &One| one.is_over(trust, now) && one.again < now && !one.leave.is_cancelled();
        lock(&self.0).members.values().any(due)
    }

    /// Asks everybody to leave whom this trust would not let in; returns how many those are.
    /// Verifies each distinct chain once. Blocks for as long as that takes, without holding the
    /// roll.
    pub fn revise(&self, trust: &Trust) -> usize {
        let now = now();
        let members = lock(&self.0).members.clone();
        let mut known: HashMap<&[CertificateDer<'_>], bool> = HashMap::new();
        let mut left = 0;
        let mut stay = Vec::new();
        for (number, one) in &members {
            let accepted = (known.entry(&one.chain)).or_insert_with(|| trust.accepts(&one.chain));
            if !*accepted {
                one.leave.cancel();
                left += 1;
            } else if one.is_over(trust, now) {
                stay.push(number);
            }
        }
        let again = now + limits::ROLL_AGAIN.as_secs() as i64;
        let mut open = lock(&self.0);
        for number in stay {
            if let Some(one) = open.members.get_mut(number) {
                one.again = again;
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
