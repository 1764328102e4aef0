//! `benches/instructions.json`, and what is said when new counts differ from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a count depends on beside the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub rustc: String,
    pub target: String,
    pub profile: String,
    pub valgrind: String,
    /// What the counted process was told that the processor can do.
    pub processor: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub instructions: f64,
    /// What the instructions are divided by.
    pub per: String,
    /// Where the common one does not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_percent: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// For whoever opens the file.
    pub about: Vec<String>,
    pub facts: Facts,
    pub tolerance_percent: f64,
    /// While a fact differs.
    pub tolerance_percent_elsewhere: f64,
    pub counts: BTreeMap<String, Count>,
}

pub const BLESS: &str = "CRYPTONYM_BLESS=1 tests/run --topic instructions";

/// A measured entry: its unit, and instructions for one.
pub type Measured = BTreeMap<String, (String, f64)>;

impl Counts {
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json")
    }

    pub fn load() -> Self {
        let text = std::fs::read_to_string(Self::path()).expect("benches/instructions.json");
        serde_json::from_str(&text).expect("benches/instructions.json is of its form")
    }

    pub fn save(&self) {
        let mut text = serde_json::to_string_pretty(self).expect("it is plain data");
        text.push('\n');
        // Other tests read it meanwhile.
        let whole = Self::path().with_extension("new");
        std::fs::write(&whole, text).expect("benches/ can be written");
        std::fs::rename(whole, Self::path()).expect("benches/ can be written");
    }

    /// Facts that are not those of the file, in words.
    pub fn elsewhere(&self, facts: &Facts) -> Vec<String> {
        let (was, is) = (&self.facts, facts);
        [
            ("rustc", &was.rustc, &is.rustc),
            ("target", &was.target, &is.target),
            ("profile", &was.profile, &is.profile),
            ("valgrind", &was.valgrind, &is.valgrind),
            ("processor", &was.processor, &is.processor),
        ]
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(name, was, is)| format!("{name} was {was}, is {is}"))
        .collect()
    }

    pub fn tolerance(&self, name: &str, elsewhere: bool) -> f64 {
        let own = self.counts.get(name).and_then(|c| c.tolerance_percent);
        let usual = own.unwrap_or(self.tolerance_percent);
        if elsewhere {
            usual.max(self.tolerance_percent_elsewhere)
        } else {
            usual
        }
    }

    /// One line for each entry that is not as the file says: more, fewer, new or gone.
    pub fn compare(&self, facts: &Facts, measured: &Measured) -> Vec<String> {
        let elsewhere = !self.elsewhere(facts).is_empty();
        let mut lines = Vec::new();
        for (name, (per, now)) in measured {
            let Some(before) = self.counts.get(name) else {
                lines.push(format!("{name}: new, {} a {per}", short(*now)));
                continue;
            };
            if before.per != *per {
                lines.push(format!("{name}: was a {}, is a {per}", before.per));
                continue;
            }
            let change = (now / before.instructions - 1.0) * 100.0;
            let tolerance = self.tolerance(name, elsewhere);
            // Written so that a count which is no number is told too.
            let within = change.abs() <= tolerance;
            if !within {
                let which = if change < 0.0 { "fewer" } else { "MORE" };
                lines.push(format!(
                    "{name}: {which}: {} a {per} instead of {} ({change:+.1} %, \
                     tolerance {tolerance} %)",
                    short(*now),
                    before.instructions
                ));
            }
        }
        for name in self.counts.keys().filter(|n| !measured.contains_key(*n)) {
            lines.push(format!("{name}: is not counted any more"));
        }
        lines
    }

    /// The same tolerances with new numbers.
    pub fn bless(&mut self, facts: Facts, measured: &Measured) {
        self.facts = facts;
        let before = std::mem::take(&mut self.counts);
        for (name, (per, now)) in measured {
            let count = Count {
                instructions: short(*now),
                per: per.clone(),
                tolerance_percent: before.get(name).and_then(|c| c.tolerance_percent),
            };
            self.counts.insert(name.clone(), count);
        }
    }
}

/// Five digits: less than the tolerances see, whatever the size.
fn short(count: f64) -> f64 {
    format!("{count:.4e}").parse().unwrap_or(f64::NAN)
}
