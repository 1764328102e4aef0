//! What a run has done, for people and for programs.

use std::io::{self, Write as _};

use crate::cli::Exit;
use crate::feed::Report;
use crate::feed::manifest::Manifest;
use crate::feed::place::Target;

/// To standard output; where the data went there, to standard error.
pub fn print(report: &Report, json: bool) -> Exit {
    let manifest = &report.manifest;
    let text = if json {
        let text = serde_json::to_string_pretty(manifest);
        text.unwrap_or_default() + "\n"
    } else {
        people(report)
    };
    // Nobody may be reading.
    let _ = match report.target {
        Target::Stdout => io::stderr().write_all(text.as_bytes()),
        _ => io::stdout().write_all(text.as_bytes()),
    };
    match &manifest.cohorts {
        Some(found) if found.smallest_now > 0 && found.smallest_now < found.k => {
            eprintln!(
                "the smallest cohort has {} records, fewer than {}\n  {}",
                found.smallest_now,
                found.k,
                if found.generalised > 0 {
                    "Too few were generalised to hide among each other: --small suppress."
                } else {
                    "Say --small suppress or --small generalise, or coarsen the policy."
                }
            );
            Exit::No
        }
        _ => Exit::Done,
    }
}

fn people(report: &Report) -> String {
    let manifest = &report.manifest;
    let mut out = String::new();
    if report.before {
        out += "finished before: nothing was done\n";
    }
    let width = manifest.rules.iter().map(|rule| rule.at.chars().count());
    let width = width.max().unwrap_or(0).max("PLACE".len());
    out += &format!("{:width$}  {:10}  {:>12}\n", "PLACE", "ACTION", "VALUES");
    for rule in &manifest.rules {
        let count = match rule.action.as_str() {
            // What is kept is not looked at.
            "keep" => "-".to_owned(),
            _ => rule.count.to_string(),
        };
        out += &format!("{:width$}  {:10}  {count:>12}\n", rule.at, rule.action);
    }
    out.push('\n');
    for (name, value) in lines(manifest) {
        out += &format!("{name:13} {value}\n");
    }
    if let Some(path) = report.target.path() {
        out += &format!("{:13} {}.manifest.json\n", "manifest", path.display());
    }
    out
}

fn lines(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let counts = &manifest.counts;
    let mut lines = vec![
        ("files", manifest.files.len().to_string()),
        ("records", counts.records.to_string()),
        ("replaced", format!("{} values", counts.replaced)),
        ("first sights", counts.first_sights.to_string()),
    ];
    if let Some(rejects) = &manifest.rejects {
        let left_out = counts.rejected;
        lines.push(("left out", format!("{left_out} records: {}", rejects.name)));
    }
    if let Some(found) = &manifest.cohorts {
        let (k, below) = (found.k, found.below);
        let records = found.records_below;
        lines.push((
            "cohorts",
            format!("{}, the smallest of {}", found.cohorts, found.smallest),
        ));
        lines.push((
            "below k",
            format!("{below} cohorts, {records} records (k = {k})"),
        ));
        if found.suppressed > 0 {
            lines.push(("suppressed", format!("{} records", found.suppressed)));
        }
        if found.generalised > 0 {
            lines.push(("generalised", format!("{} records", found.generalised)));
        }
        if found.suppressed + found.generalised > 0 {
            lines.push(("smallest now", format!("{} records", found.smallest_now)));
        }
    }
    if let Some(domain) = &manifest.domain {
        lines.push(("domain", format!("{}, epoch {}", domain.name, domain.epoch)));
    }
    if let Some(log) = &manifest.log {
        lines.push(("vault's log", format!("{} entries", log.size)));
    }
    lines
}
