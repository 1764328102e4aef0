//! How often one client may use one route.
//!
//! What enters: who asks. What leaves: leave to go on, or when to come back. What can never
//! happen: a client is known here by more than a number (its id or address, hashed under seeds of
//! this process), or those who came once are remembered for ever.
//!
//! The count is a generic cell rate algorithm (the governor crate): `requests` in `per`, evenly,
//! and up to `burst` at once.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::door::places::network;
use crate::config;
use crate::limits;
use crate::tls::identity::{Peer, Role};

pub struct Rate {
    limiter: DefaultKeyedRateLimiter<u64>,
    clock: DefaultClock,
    seeds: RandomState,
    asked: AtomicU32,
}

impl Rate {
    pub fn new(rate: &config::Rate) -> Self {
        let requests = rate.requests.max(1);
        let one = (rate.per / requests).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let fallback = Quota::per_second(burst);
        let quota = Quota::with_period(one).map_or(fallback, |q| q.allow_burst(burst));
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            seeds: RandomState::new(),
            asked: AtomicU32::new(0),
        }
    }

    /// One more request of a client certificate's holder, else of an address (IPv6: its /64).
    ///
    /// # Errors
    /// After how long there is room for one again.
    pub fn take(&self, peer: Option<&Peer>, address: IpAddr) -> Result<(), Duration> {
        let key = match peer.filter(|p| p.role == Role::Client) {
            Some(peer) => self.seeds.hash_one((0, peer.id.as_str())),
            None => self.seeds.hash_one((1, network(address))),
        };
        if self.asked.fetch_add(1, Relaxed) % limits::RATE_TIDY == limits::RATE_TIDY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let checked = self.limiter.check_key(&key);
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, per: Duration, burst: u32) -> Rate {
        Rate::new(&config::Rate {
            requests,
            per,
            burst,
        })
    }

    #[test]
    fn each_client_has_its_own_burst_and_is_told_when_to_come_back() {
        let hour = Duration::from_secs(3600);
        let rate = rate(60, hour, 3);
        let at = |last: u8| IpAddr::from([192, 0, 2, last]);
        for last in [1, 2] {
            assert!((0..3).all(|_| rate.take(None, at(last)).is_ok()));
            let wait = rate.take(None, at(last)).unwrap_err();
            assert!(wait <= hour / 60 && wait > hour / 61, "{wait:?}");
        }
        let v6 = |text: &str| text.parse().unwrap();
        assert!((0..3).all(|_| rate.take(None, v6("2001:db8::1")).is_ok()));
        assert!(rate.take(None, v6("2001:db8::2")).is_err(), "one network");
        assert!(rate.take(None, v6("2001:db8:0:1::1")).is_ok());
        let peer = |id: &str, role| Peer {
            role,
            id: id.to_owned(),
            fingerprint: Default::default(),
        };
        let known = peer("provider-1", Role::Client);
        assert!((0..3).all(|_| rate.take(Some(&known), at(1)).is_ok()));
        assert!(rate.take(Some(&known), at(9)).is_err(), "wherever it is");
        let other = peer("provider-2", Role::Client);
        assert!(rate.take(Some(&other), at(1)).is_ok());
        let officer = peer("o", Role::Officer);
        assert!(rate.take(Some(&officer), at(1)).is_err(), "counts as none");
    }

    #[test]
    fn who_has_not_come_for_a_while_is_forgotten() {
        let rate = rate(1000, Duration::from_millis(1), 1);
        for n in 0..3 * limits::RATE_TIDY {
            let _ = rate.take(None, IpAddr::from(n.to_be_bytes()));
        }
        let most = limits::RATE_TIDY as usize + 1;
        assert!(rate.remembered() <= most, "{}", rate.remembered());
    }
}
