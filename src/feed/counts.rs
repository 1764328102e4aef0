//! What a run has done, in numbers.

use serde::{Deserialize, Serialize};

/// Sums over one file, or over all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that went through, and left unless a rule drops them.
    pub records: u64,
    /// Records that were left out because they could not be rewritten.
    pub rejected: u64,
    /// Values that are another in the output.
    pub replaced: u64,
    /// Recovery records that the vault was asked to keep.
    pub first_sights: u64,
    /// How often each rule of the policy has replaced or dropped something, in its order; then
    /// what no rule asked for and `unlisted = "drop"` has left out.
    pub rules: Vec<u64>,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.rejected += other.rejected;
        self.replaced += other.replaced;
        self.first_sights += other.first_sights;
        if self.rules.len() < other.rules.len() {
            self.rules.resize(other.rules.len(), 0);
        }
        for (sum, more) in self.rules.iter_mut().zip(&other.rules) {
            *sum += more;
        }
    }
}
