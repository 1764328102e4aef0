//! How many of a backend's places one client has.
//!
//! What enters: whose request it is. What leaves: whether it may have one more. What can never
//! happen: one client has all places of a backend, so that nobody else gets in; or a request looks
//! for its client in a map: clients are told apart by some bits of their number, so that two now
//! and then share.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::gateway::client::Client;
use crate::limits;

/// Where a client is counted. Small: every exchange carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(u16);

impl From<Client> for Group {
    fn from(client: Client) -> Self {
        Self((client.number() % limits::BACKEND_CLIENTS as u64) as u16)
    }
}

/// Of one backend.
pub struct Shares {
    each: usize,
    /// Places taken from which on nobody may have more than `each`.
    scarce: usize,
    here: Box<[AtomicU32]>,
}

impl Shares {
    /// `places`: of the backend; `each`: as configured.
    pub fn new(places: usize, each: Option<usize>) -> Self {
        let usual = (places / limits::CLIENT_SHARE).max(limits::STREAMS as usize);
        Self {
            each: each.unwrap_or(usual),
            scarce: places / 2,
            here: (0..limits::BACKEND_CLIENTS)
                .map(|_| AtomicU32::new(0))
                .collect(),
        }
    }

    /// Whether this client has as many as it may, while so many places are `taken`.
    pub fn is_full(&self, client: Group, taken: usize) -> bool {
        taken >= self.scarce && self.of(client).load(Relaxed) as usize >= self.each
    }

    /// Whoever is counted must [`Shares::leave`].
    pub fn enter(&self, client: Group) {
        self.of(client).fetch_add(1, Relaxed);
    }

    pub fn leave(&self, client: Group) {
        self.of(client).fetch_sub(1, Relaxed);
    }

    fn of(&self, client: Group) -> &AtomicU32 {
        &self.here[usize::from(client.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_07_a_client_has_its_share_once_places_are_scarce() {
        let shares = Shares::new(4096, None);
        let of = |last: u8| Group::from(Client::of(None, [192, 0, 2, last].into()));
        let one = of(1);
        let other = (2..=255).map(of).find(|other| *other != one).unwrap();
        (0..512).for_each(|_| shares.enter(one));
        assert!(!shares.is_full(one, 2047), "there is room for all");
        assert!(shares.is_full(one, 2048) && !shares.is_full(other, 4095));
        shares.leave(one);
        assert!(!shares.is_full(one, 4095));
        // A small backend is not cut into parts that are too small for one connection.
        let small = Shares::new(100, None);
        (0..100).for_each(|_| small.enter(one));
        assert!(!small.is_full(one, 99));
        let asked = Shares::new(100, Some(1));
        asked.enter(one);
        assert!(!asked.is_full(one, 49) && asked.is_full(one, 50));
    }
}
