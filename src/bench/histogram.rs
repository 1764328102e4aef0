//! Latencies, counted in buckets: exact to 128 ns, then 128 buckets a doubling (within 0.8 %).
//!
//! What enters: lengths of time. What leaves: percentiles. What can never happen: memory that
//! grows with the number of values, or a percentile below the true one.

use std::time::Duration;

/// Buckets a doubling, as a power of two.
const FINE: u32 = 7;
/// Longer times count as this (2^40 ns are 18 minutes).
const LONGEST: u64 = (1 << 40) - 1;
const BUCKETS: usize = ((40 - FINE as usize) + 1) << FINE;

/// Counts of latencies in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.counts[bucket(nanoseconds.min(LONGEST))] += 1;
        self.total += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time that the share `part` of all values does not exceed, in milliseconds.
    pub fn percentile(&self, part: f64) -> Option<f64> {
        let rank = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(highest(at) as f64 / 1e6)
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINE + 1);
    // Below two doublings of FINE the value is its own bucket.
    ((shift as usize) << FINE) + (value >> shift) as usize
}

/// The highest value that falls into a bucket.
fn highest(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1);
    let first = (bucket - (shift << FINE)) as u64;
    ((first + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_values_and_is_narrow() {
        let mut last = 0;
        for value in (0..5000).chain((13..40).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + 77])) {
            let at = bucket(value);
            assert!(at < BUCKETS);
            assert!(at >= last || value < 5000, "{value}");
            last = at;
            let top = highest(at);
            assert!(top >= value, "{value} in a bucket up to {top}");
            assert!(
                (top - value) as f64 <= value as f64 / 127.0,
                "{value} {top}"
            );
            assert_eq!(bucket(top), at);
            assert_eq!(bucket(top + 1), at + 1);
        }
    }

    #[test]
    fn percentiles_of_a_thousand_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for n in 1..=1000 {
            histogram.record(Duration::from_micros(n));
        }
        let near = |part, milliseconds: f64| {
            let found = histogram.percentile(part).unwrap();
            assert!(
                (milliseconds..milliseconds * 1.01).contains(&found),
                "{found}"
            );
        };
        near(0.5, 0.5);
        near(0.99, 0.99);
        near(0.999, 0.999);
        near(1.0, 1.0);
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!(
            (twice.total(), twice.percentile(0.5)),
            (2000, histogram.percentile(0.5))
        );
    }
}
