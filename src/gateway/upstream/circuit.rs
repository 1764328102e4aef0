//! A backend that answers nowhere is left alone for a while.
//!
//! What enters: how requests to it have ended. What leaves: whether the next one may try. What
//! can never happen: requests pile up before a backend that has not answered for a long time, or
//! a probe that nobody finishes keeps it shut.
//!
//! ```text
//!            failures in a row              time over: one request is the probe
//!  closed ───────────────────────▶ open ──────────────────────────────▶ half-open
//!    ▲                              ▲  ▲                                  │ │ │
//!    │                              │  └── probe failed: twice the time ──┘ │ │
//!    │                              └───── probe given up: no time ─────────┘ │
//!    └──────────────────────────────────── an answer ────────────────────────┘
//! ```
//!
//! A probe that has not told anything after `time` (a slow upload) gets company: the next request
//! is one too.
//!
//! A failure is a request that got no answer: no connection, a connection that broke, or none in
//! time. An answer of any status closes it, whoever got it.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config;
use crate::gateway::coarse::Moment;

pub struct Circuit {
    rules: config::Circuit,
    state: AtomicU8,
    failures: AtomicU32,
    shut: Mutex<Shut>,
}

struct Shut {
    since: Moment,
    time: Duration,
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

/// Whether a request may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    Yes,
    /// Alone for a while; whoever it is tells how it ended ([`Circuit::given_up`] if it never will).
    Probe,
    No,
}

impl Circuit {
    pub fn new(rules: config::Circuit) -> Self {
        let shut = Shut {
            since: Moment::now(),
            time: rules.time,
        };
        Self {
            rules,
            state: AtomicU8::new(CLOSED),
            failures: AtomicU32::new(0),
            shut: Mutex::new(shut),
        }
    }

    pub fn admit(&self) -> Admitted {
        if self.state.load(Relaxed) == CLOSED {
            return Admitted::Yes;
        }
        let mut shut = self.lock();
        match self.state.load(Relaxed) {
            CLOSED => Admitted::Yes,
            OPEN if shut.since.elapsed() >= shut.time => {
                shut.since = Moment::now();
                self.state.store(HALF_OPEN, Relaxed);
                Admitted::Probe
            }
            HALF_OPEN if shut.since.elapsed() >= self.rules.time => {
                shut.since = Moment::now();
                Admitted::Probe
            }
            _ => Admitted::No,
        }
    }

    /// An answer came. Whether that closed it.
    pub fn answered(&self) -> bool {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.state.load(Relaxed) == CLOSED {
            return false;
        }
        let mut shut = self.lock();
        shut.time = self.rules.time;
        self.state.swap(CLOSED, Relaxed) != CLOSED
    }

    /// No answer came. Whether that opened it.
    pub fn failed(&self) -> bool {
        if self.rules.failures == 0 {
            return false;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let mut shut = self.lock();
        match self.state.load(Relaxed) {
            CLOSED if failures >= self.rules.failures => shut.time = self.rules.time,
            HALF_OPEN => shut.time = (shut.time * 2).min(self.rules.longest),
            _ => return false,
        }
        shut.since = Moment::now();
        self.state.swap(OPEN, Relaxed) == CLOSED
    }

    /// The probe ended without telling anything: the next request is one.
    pub fn given_up(&self) {
        let mut shut = self.lock();
        if self.state.load(Relaxed) == HALF_OPEN {
            // `time` stays: should the next one fail, it goes on from there.
            shut.since = Moment::ever();
            self.state.store(OPEN, Relaxed);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state.load(Relaxed) == CLOSED
    }

    fn lock(&self) -> MutexGuard<'_, Shut> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(60);

    fn opened() -> Circuit {
        let circuit = Circuit::new(config::Circuit {
            failures: 3,
            time: TIME,
            longest: 3 * TIME,
        });
        assert!(!circuit.failed() && !circuit.failed() && circuit.failed());
        circuit
    }

    /// Waits for the probe. How long it took, less a tick of the coarse clock.
    fn probe(circuit: &Circuit) -> Duration {
        let began = std::time::Instant::now();
        while circuit.admit() != Admitted::Probe {
            std::thread::yield_now();
        }
        began.elapsed() + Duration::from_millis(11)
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let circuit = opened();
        assert!(!circuit.is_closed());
        assert!(probe(&circuit) >= TIME);
        assert_eq!(circuit.admit(), Admitted::No, "one probe at a time");
        for times in [2, 3, 3] {
            assert!(!circuit.failed(), "it is open already");
            assert!(probe(&circuit) >= times * TIME, "{times}");
        }
        assert!(circuit.answered());
        assert_eq!(circuit.admit(), Admitted::Yes);
        // Only failures in a row open it.
        for _ in 0..3 {
            assert!(!circuit.failed() && !circuit.failed());
            assert!(!circuit.answered(), "it was never open");
        }
        assert!(circuit.is_closed());
    }

    #[test]
    fn a_probe_that_is_given_up_makes_way_for_the_next() {
        let circuit = opened();
        probe(&circuit);
        circuit.given_up();
        assert_eq!(circuit.admit(), Admitted::Probe);
        circuit.failed();
        circuit.given_up();
        assert!(probe(&circuit) >= 2 * TIME, "it has failed, not given up");
    }

    #[test]
    fn proxy_06_a_probe_that_takes_long_gets_company() {
        let circuit = opened();
        probe(&circuit);
        assert_eq!(circuit.admit(), Admitted::No);
        assert!(probe(&circuit) >= TIME, "one in each `time`");
        assert!(circuit.answered(), "whichever is answered");
        assert_eq!(circuit.admit(), Admitted::Yes);
    }

    #[test]
    fn zero_failures_never_open_it() {
        let rules = config::Circuit {
            failures: 0,
            time: Duration::from_secs(1),
            longest: Duration::from_secs(1),
        };
        let circuit = Circuit::new(rules);
        assert!((0..100).all(|_| !circuit.failed()));
        assert_eq!(circuit.admit(), Admitted::Yes);
    }
}
