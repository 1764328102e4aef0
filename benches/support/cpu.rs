//! Time on the processor instead of time on the wall: what a busy machine takes away does not
//! count. Linux tells it for the calling thread; its grain is a clock tick, so samples are long.

use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

pub struct Cpu {
    wall: WallTime,
    began: Instant,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            wall: WallTime,
            began: Instant::now(),
        }
    }
}

impl Cpu {
    /// Time this thread has run so far; where the system does not tell, time since the start.
    fn now(&self) -> Duration {
        std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .map_or_else(|| self.began.elapsed(), Duration::from_nanos)
    }
}

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        self.now()
    }

    fn end(&self, start: Duration) -> Duration {
        self.now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.wall.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.wall.formatter()
    }
}

/// Bytes a second, in the unit of the targets (GB, not GiB).
pub fn bytes(count: usize) -> Throughput {
    Throughput::BytesDecimal(count as u64)
}
