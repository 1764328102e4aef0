//! How often one client may use one route.
//!
//! What enters: who asks. What leaves: leave to go on, or when to come back. What can never
//! happen: a client is known here by more than its number, or more of them are remembered than [`limits::RATE_KEYS`].
//!
//! The count is a generic cell rate algorithm (the governor crate): `requests` in `per`, evenly,
//! and up to `burst` at once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::client::Client;
use crate::config;
use crate::limits;

pub struct Rate {
    limiter: RateLimiter<u64, Known, DefaultClock>,
    clock: DefaultClock,
}

/// What is known of each client. When there are too many, those go who have not come since half of
/// them came: forgetting all would let who has used up its requests begin anew, and refusing
/// newcomers would let a few keep everybody out.
struct Known {
    parts: [Mutex<Part>; PARTS],
    most: usize,
}

/// Apart only so that workers seldom wait for each other.
const PARTS: usize = 16;

#[derive(Default)]
struct Part {
    young: HashMap<u64, Nanos>,
    old: HashMap<u64, Nanos>,
}

impl Rate {
    pub fn new(rate: &config::Rate) -> Self {
        let requests = rate.requests.max(1);
        let one = (rate.per / requests).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        let fallback = Quota::per_second(burst);
        let quota = Quota::with_period(one).map_or(fallback, |q| q.allow_burst(burst));
        let (clock, known) = (DefaultClock::default(), Known::new(limits::RATE_KEYS));
        Self {
            limiter: RateLimiter::new(quota, known, clock.clone()),
            clock,
        }
    }

    /// One more request.
    ///
    /// # Errors
    /// After how long there is room for one again.
    pub fn take(&self, client: Client) -> Result<(), Duration> {
        let key = client.number();
        let checked = self.limiter.check_key(&key);
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

impl Known {
    fn new(most: usize) -> Self {
        let parts = std::array::from_fn(|_| Mutex::default());
        Self { parts, most }
    }

    fn part(&self, key: u64) -> MutexGuard<'_, Part> {
        // Each change is one step: a panic elsewhere leaves whole maps.
        let part = &self.parts[key as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Known {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut part = self.part(*key);
        let part = &mut *part;
        let known = part.young.get(key).or_else(|| part.old.get(key)).copied();
        let measured = f(known);
        // Who is refused has come too, and is not forgotten.
        let keep = measured.as_ref().ok().map(|(_, next)| *next).or(known);
        if let Some(next) = keep {
            if part.young.len() >= self.most / PARTS / 2 && !part.young.contains_key(key) {
                part.old = std::mem::take(&mut part.young);
            }
            part.young.insert(*key, next);
        }
        measured.map(|(out, _)| out)
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
        let client = |last: u8| Client::of(None, [192, 0, 2, last].into());
        for last in [1, 2] {
            assert!((0..3).all(|_| rate.take(client(last)).is_ok()));
            let wait = rate.take(client(last)).unwrap_err();
            assert!(wait <= hour / 60 && wait > hour / 61, "{wait:?}");
        }
    }

    #[test]
    fn proxy_07_so_many_are_known_and_who_keeps_coming_is_not_forgotten() {
        let most = 64 * PARTS;
        let known = Known::new(most);
        let quota = Quota::with_period(Duration::from_secs(86_400)).unwrap();
        let rate: RateLimiter<u64, Known, DefaultClock> =
            RateLimiter::new(quota, known, DefaultClock::default());
        let mut eager = 0;
        for stranger in 1..20_000 {
            eager += u32::from(rate.check_key(&0).is_ok());
            assert!(rate.check_key(&stranger).is_ok(), "newcomers are let in");
        }
        assert_eq!(eager, 1);
        let known = rate.into_state_store();
        let sizes = known.parts.map(|part| {
            let part = part.into_inner().unwrap();
            part.young.len() + part.old.len()
        });
        let all: usize = sizes.iter().sum();
        assert!(all <= most && all > most / 4, "{all}");
    }
}
