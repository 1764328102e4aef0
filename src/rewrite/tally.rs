//! How often each rule of a policy has replaced something.
//!
//! What enters: rules, one a slot, from many bodies at once. What leaves: sums. What can never
//! happen: an allocation for a body of a usual policy, or an atomic operation a value: a segment
//! is tallied by itself, and what it comes to is added once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::observe::count::Sharded;
use crate::policy::RuleId;

/// Rules that are tallied in place.
const FEW: usize = 32;

/// A policy's sums, over all bodies. The last one is of what no rule asked for.
#[derive(Debug)]
pub struct RuleCounts(Sharded<Box<[AtomicU64]>>);

impl RuleCounts {
    pub fn new(rules: usize) -> Self {
        let cells = || (0..=rules).map(|_| AtomicU64::new(0)).collect();
        Self(Sharded::new(cells))
    }

    /// One sum a rule, then that of what no rule asked for.
    pub fn sums(&self) -> Vec<u64> {
        let rules = self.0.here().len();
        (0..rules)
            .map(|at| self.0.sum(|cells| &cells[at]))
            .collect()
    }
}

/// One segment's tally.
#[derive(Debug)]
pub(super) struct Tally {
    few: [u32; FEW],
    more: Vec<u32>,
    unlisted: u32,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            few: [0; FEW],
            more: Vec::new(),
            unlisted: 0,
        }
    }
}

impl Tally {
    #[inline]
    pub fn add(&mut self, rule: RuleId, by: u32) {
        let at = usize::from(rule.0);
        match self.few.get_mut(at) {
            Some(count) => *count += by,
            None if rule == RuleId::UNLISTED => self.unlisted += by,
            None => {
                let at = at - FEW;
                if self.more.len() <= at {
                    self.more.resize(at + 1, 0);
                }
                self.more[at] += by;
            }
        }
    }

    /// Adds the tally to the policy's sums, and starts again.
    pub fn flush(&mut self, to: &RuleCounts) {
        let cells = to.0.here();
        let Some((unlisted, rules)) = cells.split_last() else {
            return;
        };
        let counts = self.few.iter_mut().chain(&mut self.more);
        for (count, cell) in counts.zip(rules).filter(|(count, _)| **count > 0) {
            cell.fetch_add(u64::from(*count), Relaxed);
            *count = 0;
        }
        if self.unlisted > 0 {
            unlisted.fetch_add(u64::from(self.unlisted), Relaxed);
            self.unlisted = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_each_rule_has_its_own_sum() {
        let counts = RuleCounts::new(40);
        let mut tally = Tally::default();
        for _ in 0..2 {
            for (rule, times) in [(0, 1), (31, 2), (32, 3), (39, 4), (RuleId::UNLISTED.0, 5)] {
                for _ in 0..times {
                    tally.add(RuleId(rule), 1);
                }
            }
            tally.flush(&counts);
        }
        let sums = counts.sums();
        assert_eq!(sums.len(), 41);
        for (at, sum) in [(0, 2), (1, 0), (31, 4), (32, 6), (39, 8), (40, 10)] {
            assert_eq!(sums[at], sum, "{at}");
        }
    }
}
