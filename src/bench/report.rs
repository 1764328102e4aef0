//! Figures, and the JSON document that carries them from one run to a later one.
//!
//! What enters: what was measured. What leaves: a document with a version, the machine it was
//! measured on and the command that did it. What can never happen: a figure that was not
//! measured stands in it as a number.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::drive::Outcome;
use super::table;
use crate::local::processes::Failure;

/// Grows when a figure changes its meaning.
pub const SCHEMA: u32 = 1;

/// One number over all rounds, and its lowest and highest in a single one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Figure {
    /// `None` when `whole` was not measured; rounds that were not are left out.
    pub fn new(whole: Option<f64>, rounds: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let value = whole.filter(|value| value.is_finite())?;
        let rounds = rounds.flatten().filter(|value| value.is_finite());
        let (low, high) = rounds.fold((value, value), |(low, high), round| {
            (low.min(round), high.max(round))
        });
        Some(Self { value, low, high })
    }

    pub fn single(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }
}

/// The figures of a cell, by their names in the document, in the order of the table.
pub const REQUESTS: &str = "requests_per_second";
pub const MEGABYTES: &str = "megabytes_per_second";
pub const P50: &str = "p50_ms";
pub const P99: &str = "p99_ms";
pub const P999: &str = "p999_ms";
pub const CPU_REQUEST: &str = "cpu_us_per_request";
pub const CPU_MIB: &str = "cpu_ms_per_mib";
pub const PEAK: &str = "peak_mib";
pub const REPLACED: &str = "replaced_per_second";
pub const TO_NGINX: &str = "cpu_to_nginx";

/// One load in one format through one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    pub load: String,
    pub format: String,
    pub through: String,
    pub connections: usize,
    /// Requests a second that were due; `None`: closed loop.
    pub rate: Option<f64>,
    pub body_bytes: f64,
    pub records_per_request: f64,
    pub requests: u64,
    pub records: u64,
    /// As the gateway counted; `None` where nobody did.
    pub replaced: Option<u64>,
    /// Records that the origin compared with what was sent.
    pub verified_records: Option<u64>,
    pub errors: BTreeMap<String, u64>,
    /// This user could not begin the peak anew: it is that since the process began.
    pub peak_since_start: bool,
    pub seconds: f64,
    pub figures: BTreeMap<String, Figure>,
}

/// One round of a cell.
#[derive(Clone, Default)]
pub struct Round {
    pub outcome: Outcome,
    /// Processor seconds.
    pub cpu: Option<f64>,
    /// Bytes.
    pub peak: Option<u64>,
    pub peak_since_start: bool,
    pub replaced: Option<u64>,
    pub verified: Option<u64>,
}

impl Round {
    /// The rounds as one.
    pub fn whole(rounds: &[Self]) -> Self {
        let mut whole = Self::default();
        for round in rounds {
            whole.outcome.add(&round.outcome);
        }
        let sum = |of: fn(&Self) -> Option<u64>| rounds.iter().map(of).sum::<Option<u64>>();
        whole.cpu = rounds.iter().map(|round| round.cpu).sum();
        whole.peak = rounds.iter().map(|round| round.peak).max().flatten();
        whole.peak_since_start = rounds.iter().any(|round| round.peak_since_start);
        whole.replaced = sum(|round| round.replaced);
        whole.verified = sum(|round| round.verified);
        whole
    }

    fn figure(&self, name: &str) -> Option<f64> {
        let outcome = &self.outcome;
        let seconds = outcome.took.as_secs_f64();
        let requests = outcome.requests() as f64;
        if outcome.requests() == 0 {
            return None;
        }
        match name {
            REQUESTS => Some(requests / seconds),
            MEGABYTES => Some(outcome.bytes as f64 / 1e6 / seconds),
            P50 => outcome.latencies.percentile(0.5),
            P99 => outcome.latencies.percentile(0.99),
            P999 => outcome.latencies.percentile(0.999),
            CPU_REQUEST => Some(self.cpu? * 1e6 / requests),
            CPU_MIB => Some(self.cpu? * 1e3 / (outcome.bytes as f64 / f64::from(1 << 20))),
            PEAK => Some(self.peak? as f64 / f64::from(1 << 20)),
            REPLACED => Some(self.replaced? as f64 / seconds),
            _ => None,
        }
    }

    /// Every figure that these rounds give.
    pub fn figures(rounds: &[Self]) -> BTreeMap<String, Figure> {
        const ALL: [&str; 9] = [
            REQUESTS,
            MEGABYTES,
            P50,
            P99,
            P999,
            CPU_REQUEST,
            CPU_MIB,
            PEAK,
            REPLACED,
        ];
        let whole = Self::whole(rounds);
        ALL.into_iter()
            .filter(|name| enough(name, whole.outcome.requests()))
            .filter_map(|name| {
                let each = rounds.iter().map(|round| round.figure(name));
                Some((name.to_owned(), Figure::new(whole.figure(name), each)?))
            })
            .collect()
    }
}

/// A percentile of fewer requests than this is only the slowest of them.
fn enough(name: &str, requests: u64) -> bool {
    match name {
        P99 => requests >= 100,
        P999 => requests >= 1000,
        _ => true,
    }
}

/// What stands at the head of every document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    pub schema: u32,
    /// `speed`, `first-sight`, `soak` or `vault`.
    pub kind: String,
    pub cryptonym: String,
    /// Whether the executable was built without optimisation: such figures say nothing.
    pub unoptimised: bool,
    pub began: String,
    pub command: Vec<String>,
    pub machine: Machine,
    /// Versions of the peers; `None`: not installed.
    #[serde(default)]
    pub peers: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub model: String,
    pub memory_mib: Option<u64>,
    pub kernel: String,
}

impl Head {
    pub fn new(kind: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            schema: SCHEMA,
            kind: kind.to_owned(),
            cryptonym: env!("CARGO_PKG_VERSION").to_owned(),
            unoptimised: cfg!(debug_assertions),
            began: now.format(&Rfc3339).unwrap_or_default(),
            command: std::env::args().collect(),
            machine: Machine::this(),
            peers: BTreeMap::new(),
        }
    }
}

impl Machine {
    fn this() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = value(&file("/proc/meminfo"), "MemTotal");
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: value(&file("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            memory_mib: memory
                .and_then(|kib| kib.strip_suffix(" kB")?.parse::<u64>().ok())
                .map(|kib| kib / 1024),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// A head and what was measured.
#[derive(Serialize, Deserialize)]
pub struct Document<T> {
    #[serde(flatten)]
    pub head: Head,
    #[serde(flatten)]
    pub body: T,
}

impl<T: Serialize> Document<T> {
    /// To standard output: as JSON, or as `print` writes it for people.
    ///
    /// # Errors
    /// A figure that JSON cannot hold.
    pub fn put(&self, json: bool, print: impl FnOnce(&Self)) -> Result<(), Failure> {
        if json {
            let text = serde_json::to_string_pretty(self);
            table::put(&text.map_err(|error| Failure(error.to_string()))?);
        } else {
            print(self);
        }
        Ok(())
    }
}

/// The document of `cryptonym bench`.
#[derive(Serialize, Deserialize)]
pub struct Speed {
    pub cells: Vec<Cell>,
    /// With `--compare`: what changed since the earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Vec<super::compare::Change>>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(milliseconds: u64, cpu: Option<f64>) -> Round {
        let mut round = Round {
            cpu,
            peak: Some(3 << 20),
            ..Round::default()
        };
        for _ in 0..10 {
            round.outcome.latencies.record(Duration::from_millis(1));
        }
        round.outcome.bytes = 10 << 20;
        round.outcome.took = Duration::from_millis(milliseconds);
        round
    }

    #[test]
    fn figures_are_over_all_rounds_with_the_spread_of_single_ones() {
        let figures = Round::figures(&[round(100, Some(0.001)), round(300, Some(0.003))]);
        assert_eq!(
            figures[REQUESTS],
            Figure {
                value: 50.0,
                low: 10.0 / 0.3,
                high: 100.0
            }
        );
        assert!((figures[CPU_REQUEST].value - 200.0).abs() < 1e-9);
        assert!((figures[CPU_MIB].high - 0.3).abs() < 1e-9);
        assert_eq!(figures[PEAK], Figure::single(3.0));
        assert!(!figures.contains_key(REPLACED));
        assert!(figures.contains_key(P50) && !figures.contains_key(P99));
    }

    #[test]
    fn what_was_not_measured_in_one_round_is_no_figure() {
        let figures = Round::figures(&[round(100, Some(0.001)), round(300, None)]);
        assert!(!figures.contains_key(CPU_REQUEST));
        assert!(Round::figures(&[Round::default()]).is_empty());
    }
}
