//! The time to the kernel's tick, for time-outs.
//!
//! What enters: nothing. What leaves: moments 1 to 10 ms exact, at a fifth of an `Instant`'s cost
//! (`CLOCK_MONOTONIC_COARSE`): a request looks at the clock a dozen times. What can never happen:
//! one is shown to anybody; what is measured and logged comes from an `Instant`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment since the machine has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Self(Duration::new(
            seconds,
            u32::try_from(now.tv_nsec).unwrap_or_default(),
        ))
    }

    /// As long ago as the machine has run.
    pub fn ever() -> Self {
        Self(Duration::ZERO)
    }

    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Whole milliseconds since then.
    pub fn millis(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A moment that lies so long back.
    #[cfg(test)]
    pub fn ago(time: Duration) -> Self {
        Self(Self::now().0.saturating_sub(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_as_an_instant_does() {
        let (coarse, exact) = (Moment::now(), std::time::Instant::now());
        let tick = Duration::from_millis(11);
        while exact.elapsed() < 3 * tick {
            std::hint::spin_loop();
        }
        let (coarse, exact) = (coarse.elapsed(), exact.elapsed());
        assert!(coarse + tick > 3 * tick, "{coarse:?}");
        assert!(coarse < exact + tick, "{coarse:?} {exact:?}");
    }
}
