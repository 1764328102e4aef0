//! Counters that many threads count without meeting.
//!
//! What enters: additions, from any thread. What leaves: sums, when somebody asks. What can never
//! happen: a lock, or two busy workers on one cache line: every thread adds to a shard of its own
//! (as long as there are no more threads than shards), and whoever scrapes adds the shards up.

use std::cell::Cell;
use std::fmt::Error;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;

/// Workers on the machines that this is made for; more of them share. A power of two.
const SHARDS: usize = 16;

/// One `T` a thread.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Line<T>]>);

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

impl<T> Sharded<T> {
    pub fn new(make: impl Fn() -> T) -> Self {
        Self((0..SHARDS).map(|_| Line(make())).collect())
    }

    /// The calling thread's own.
    #[inline]
    pub fn here(&self) -> &T {
        &self.0[shard()].0
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }

    /// A sum over all shards.
    pub fn sum(&self, of: impl Fn(&T) -> &AtomicU64) -> u64 {
        self.all().map(|one| of(one).load(Relaxed)).sum()
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

/// Threads are dealt shards in turn, when they first count.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        mine.get() % SHARDS
    })
}

/// Upper bounds of [`Times`] in seconds: from a held small body (half a millisecond) to the
/// longest answer allowed.
pub const BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// The same in nanoseconds.
const NANOS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Times {
    pub fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = NANOS.iter().position(|bound| nanos <= *bound);
        self.buckets[at.unwrap_or(BOUNDS.len())].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Writes the sum of several as one histogram.
    ///
    /// # Errors
    /// The page cannot be written.
    pub fn encode<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        mut to: MetricEncoder<'_>,
    ) -> Result<(), Error> {
        let of = |get: &dyn Fn(&Self) -> u64| all.clone().map(get).sum::<u64>();
        let mut buckets = [(f64::INFINITY, 0); BOUNDS.len() + 1];
        for (at, bucket) in buckets.iter_mut().enumerate() {
            bucket.0 = BOUNDS.get(at).copied().unwrap_or(f64::INFINITY);
            bucket.1 = of(&|times| times.buckets[at].load(Relaxed));
        }
        let seconds = Duration::from_nanos(of(&|times| times.nanos.load(Relaxed))).as_secs_f64();
        let count = buckets.iter().map(|(_, count)| count).sum();
        to.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }
}

/// Writes one counter of a family.
///
/// # Errors
/// The page cannot be written.
pub fn counter(
    to: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: u64,
) -> Result<(), Error> {
    ConstCounter::new(value).encode(to.encode_family(labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_nothing_is_lost_whoever_counts() {
        let counts: Sharded<AtomicU64> = Sharded::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counts.here().fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(counts.sum(|one| one), 2000 * SHARDS as u64);
        let used = counts.all().filter(|one| one.load(Relaxed) > 0).count();
        assert!(used > 1, "all threads met in one shard");
    }

    #[test]
    fn proxy_11_a_time_falls_into_the_bucket_that_holds_it() {
        for (bound, nanos) in BOUNDS.iter().zip(NANOS) {
            assert_eq!(Duration::from_secs_f64(*bound).as_nanos(), nanos.into());
        }
        let times = Times::default();
        times.add(Duration::from_micros(500));
        times.add(Duration::from_micros(501));
        times.add(Duration::from_secs(61));
        let at = |n: usize| times.buckets[n].load(Relaxed);
        assert_eq!((at(0), at(1), at(BOUNDS.len())), (1, 1, 1));
    }
}
