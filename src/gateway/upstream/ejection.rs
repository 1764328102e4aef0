//! Addresses that fail requests are left alone for a while.
//!
//! What enters: how requests to each address have ended. What leaves: which address is out, and
//! until when. What can never happen: more than the configured share of a backend's addresses is
//! out at once.
//!
//! ```text
//!      failures in a row, and the share allows it
//!  in ───────────────────────────────────────────▶ out (time, twice the time, … longest)
//!   ▲                                               │
//!   └──────────────────────── the time is over ─────┘
//! ```
//!
//! A failure is a request without an answer, or one answered 502, 503 or 504: what a proxy before
//! the backend says of it. Times begin anew after an address has stayed in for the longest.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config;
use crate::gateway::coarse::Moment;

/// Who is out, of one backend.
pub struct Ejections {
    rules: config::Ejection,
    addresses: Mutex<Vec<Address>>,
}

#[derive(Clone, Copy, Default)]
struct Address {
    out: bool,
    times: u32,
    returned: Option<Moment>,
}

impl Ejections {
    pub fn new(rules: config::Ejection, addresses: usize) -> Self {
        Self {
            rules,
            addresses: Mutex::new(vec![Address::default(); addresses]),
        }
    }

    /// Puts an address out that has failed so often in a row; for how long, if so.
    pub fn eject(&self, address: usize, failures: u32) -> Option<Duration> {
        let config::Ejection {
            failures: enough,
            time,
            longest,
            share,
        } = self.rules;
        if enough == 0 || failures < enough {
            return None;
        }
        let mut all = self.lock();
        let out = all.iter().filter(|a| a.out).count();
        if all[address].out || (out + 1) * 100 > all.len() * share as usize {
            return None;
        }
        let one = &mut all[address];
        if one.returned.is_none_or(|r| r.elapsed() >= longest) {
            one.times = 0;
        }
        let time = time.saturating_mul(1 << one.times.min(20)).min(longest);
        one.times += 1;
        one.out = true;
        Some(time)
    }

    /// The time is over.
    pub fn take_back(&self, address: usize) {
        let one = &mut self.lock()[address];
        one.out = false;
        one.returned = Some(Moment::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Address>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ejections(addresses: usize, share: u32) -> Ejections {
        let rules = config::Ejection {
            failures: 3,
            time: SECOND,
            longest: 3 * SECOND,
            share,
        };
        Ejections::new(rules, addresses)
    }

    #[test]
    fn times_grow_to_the_longest_and_begin_anew() {
        let all = ejections(2, 50);
        assert_eq!(all.eject(0, 2), None, "too few");
        for seconds in [1, 2, 3, 3] {
            assert_eq!(all.eject(0, 3), Some(seconds * SECOND));
            assert_eq!(all.eject(0, 9), None, "it is out already");
            all.take_back(0);
        }
        all.lock()[0].returned = Some(Moment::ago(4 * SECOND));
        assert_eq!(all.eject(0, 3), Some(SECOND));
    }

    #[test]
    fn no_more_than_the_share_is_out() {
        for (addresses, share, most) in
            [(1, 50, 0), (2, 50, 1), (3, 50, 1), (4, 75, 3), (2, 100, 2)]
        {
            let all = ejections(addresses, share);
            let out = (0..addresses).filter(|&a| all.eject(a, 3).is_some());
            assert_eq!(out.count(), most, "{addresses} at {share} %");
        }
    }
}
