//! A run beside an earlier one: the ratio of each figure, and whether it means anything.
//!
//! What enters: two documents. What leaves: new divided by old. What can never happen: a change
//! within the noise is called one. It counts when it is more than [`LEAST`] and the rounds of
//! the two runs do not overlap.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::report::{
    CPU_MIB, CPU_REQUEST, Cell, Document, Figure, MEGABYTES, P50, P99, P999, PEAK, REPLACED,
    REQUESTS, SCHEMA, Speed, TO_NGINX,
};
use crate::local::processes::Failure;

/// Smaller changes are none.
pub const LEAST: f64 = 0.1;

/// What is compared, in the order of the table.
pub const COMPARED: [&str; 10] = [
    REQUESTS,
    MEGABYTES,
    P50,
    P99,
    P999,
    CPU_REQUEST,
    CPU_MIB,
    PEAK,
    REPLACED,
    TO_NGINX,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Same,
    Better,
    Worse,
}

/// One figure of one cell, then and now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    pub load: String,
    pub format: String,
    pub through: String,
    pub figure: String,
    pub before: f64,
    pub now: f64,
    pub ratio: f64,
    pub verdict: Verdict,
}

/// Reads the document of an earlier run.
///
/// # Errors
/// The file cannot be read, or is no document of `cryptonym bench --json`.
pub fn read(file: &Path) -> Result<Document<Speed>, Failure> {
    let wrong = |what: &str| Failure(format!("{}: {what}", file.display()));
    let text = std::fs::read(file).map_err(|error| wrong(&error.to_string()))?;
    let document: Document<Speed> = serde_json::from_slice(&text)
        .map_err(|error| wrong(&format!("no document of `bench --json`: {error}")))?;
    if document.head.schema != SCHEMA || document.head.kind != "speed" {
        return Err(wrong("a document of another kind or version of bench"));
    }
    Ok(document)
}

/// Every figure that both runs have.
pub fn changes(before: &[Cell], now: &[Cell]) -> Vec<Change> {
    now.iter()
        .filter_map(|cell| Some((before.iter().find(|old| same(old, cell))?, cell)))
        .flat_map(|(old, new)| {
            COMPARED
                .iter()
                .filter_map(move |name| change(name, old, new))
        })
        .collect()
}

/// What makes the two runs hard to compare, in words.
pub fn differences(before: &Document<Speed>, now: &Document<Speed>) -> Vec<String> {
    let mut found = Vec::new();
    if before.head.machine != now.head.machine {
        found.push(format!(
            "the earlier run is of another machine ({}, {} cores, kernel {})",
            before.head.machine.model, before.head.machine.cores, before.head.machine.kernel
        ));
    }
    if before.head.unoptimised != now.head.unoptimised {
        found.push("one of the two executables was built without optimisation".to_owned());
    }
    for cell in &now.body.cells {
        if !before.body.cells.iter().any(|old| same(old, cell)) {
            found.push(format!(
                "the earlier run has no like cell of {} {} through {}",
                cell.load, cell.format, cell.through
            ));
        }
    }
    found
}

fn same(old: &Cell, new: &Cell) -> bool {
    let what = |cell: &Cell| (cell.load.clone(), cell.format.clone(), cell.through.clone());
    what(old) == what(new)
        && (old.connections, old.rate) == (new.connections, new.rate)
        && (old.body_bytes - new.body_bytes).abs() < 1.0
}

fn change(name: &str, old: &Cell, new: &Cell) -> Option<Change> {
    let (before, now) = (old.figures.get(name)?, new.figures.get(name)?);
    Some(Change {
        load: new.load.clone(),
        format: new.format.clone(),
        through: new.through.clone(),
        figure: name.to_owned(),
        before: before.value,
        now: now.value,
        ratio: now.value / before.value,
        verdict: judge(name, before, now),
    })
}

fn judge(name: &str, before: &Figure, now: &Figure) -> Verdict {
    let ratio = now.value / before.value;
    let apart = now.low > before.high || now.high < before.low;
    // A doubling and a halving are as far from 1.
    if !apart || ratio.max(1.0 / ratio) <= 1.0 + LEAST {
        return Verdict::Same;
    }
    let more_is_better = [REQUESTS, MEGABYTES, REPLACED].contains(&name);
    if (ratio > 1.0) == more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_large_and_outside_the_rounds() {
        let figure = |value: f64, spread: f64| Figure {
            value,
            low: value - spread,
            high: value + spread,
        };
        let old = figure(100.0, 5.0);
        assert_eq!(judge(CPU_REQUEST, &old, &figure(108.0, 0.0)), Verdict::Same);
        assert_eq!(
            judge(CPU_REQUEST, &old, &figure(120.0, 16.0)),
            Verdict::Same
        );
        assert_eq!(
            judge(CPU_REQUEST, &old, &figure(120.0, 10.0)),
            Verdict::Worse
        );
        assert_eq!(
            judge(CPU_REQUEST, &old, &figure(80.0, 10.0)),
            Verdict::Better
        );
        assert_eq!(judge(REQUESTS, &old, &figure(80.0, 10.0)), Verdict::Worse);
        assert_eq!(judge(REQUESTS, &old, &figure(120.0, 10.0)), Verdict::Better);
    }
}
