//! What is printed: tables of at most [`WIDTH`] columns, and notes below.
//!
//! What enters: cells and changes. What leaves: text on standard output. What can never happen:
//! a figure that was not measured looks like a zero.

use std::fmt::Write as _;
use std::io::Write as _;

use super::compare::{COMPARED, Change, Verdict};
use super::report::{
    CPU_MIB, CPU_REQUEST, Cell, MEGABYTES, P50, P99, P999, PEAK, REPLACED, REQUESTS, TO_NGINX,
};

/// Columns of a line.
pub const WIDTH: usize = 100;

/// The first column of a row.
const THROUGH: usize = 12;

/// Title, figure, width of each further column.
const COLUMNS: [(&str, &str, usize); 10] = [
    ("req/s", REQUESTS, 8),
    ("MB/s", MEGABYTES, 7),
    ("p50 ms", P50, 8),
    ("p99 ms", P99, 8),
    ("p99.9", P999, 8),
    ("CPU µs/req", CPU_REQUEST, 11),
    ("ms/MiB", CPU_MIB, 8),
    ("peak MiB", PEAK, 9),
    ("values/s", REPLACED, 10),
    ("× nginx", TO_NGINX, 8),
];

/// A closed pipe (`| head`) ends the printing, not the program.
pub fn put(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// All cells, grouped by what was sent.
pub fn speed(cells: &[Cell]) -> String {
    let mut out = head();
    let mut group = String::new();
    for cell in cells {
        let title = title(cell);
        if title != group {
            let _ = write!(out, "\n{title}\n");
            group = title;
        }
        let _ = write!(out, "  {:<THROUGH$}", cell.through);
        for (_, name, width) in COLUMNS {
            let value = cell.figures.get(name).map(|figure| figure.value);
            let _ = write!(out, "{:>width$}", number(value));
        }
        out.push('\n');
        for (why, count) in &cell.errors {
            let _ = writeln!(out, "    {count} requests failed: {why}");
        }
    }
    out
}

/// New divided by old, `+` for better and `!` for worse beyond the noise.
pub fn compared(changes: &[Change]) -> String {
    let mut out = format!("now / then\n{}", head());
    let mut group = String::new();
    let mut rows = changes.chunk_by(|one, other| {
        (&one.load, &one.format, &one.through) == (&other.load, &other.format, &other.through)
    });
    for row in &mut rows {
        let title = format!("{} {}", row[0].load, row[0].format);
        if title != group {
            let _ = write!(out, "\n{title}\n");
            group = title;
        }
        let _ = write!(out, "  {:<THROUGH$}", row[0].through);
        for (name, (_, _, width)) in COMPARED.iter().zip(COLUMNS) {
            let cell = match row.iter().find(|change| change.figure == *name) {
                None => "- ".to_owned(),
                Some(change) => {
                    let mark = match change.verdict {
                        Verdict::Same => ' ',
                        Verdict::Better => '+',
                        Verdict::Worse => '!',
                    };
                    format!("{:.2}{mark}", change.ratio)
                }
            };
            let _ = write!(out, "{cell:>width$}");
        }
        out.push('\n');
    }
    out + "\n+ better, ! worse: by more than 10 %, and no round of one run reaches into the other's.\n"
}

/// Three digits that count, no more than the measurement has.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) if value >= 9.995 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn head() -> String {
    let mut out = format!("  {:<THROUGH$}", "");
    for (title, _, width) in COLUMNS {
        let _ = write!(out, "{title:>width$}");
    }
    out.push('\n');
    out
}

fn title(cell: &Cell) -> String {
    let size = match cell.body_bytes {
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes >= 1e4 => format!("{:.0} KB", bytes / 1e3),
        bytes => format!("{bytes:.0} bytes"),
    };
    let pace = match cell.rate {
        Some(rate) => format!(", {} requests/s", number(Some(rate))),
        None => String::new(),
    };
    let plural = if cell.connections == 1 { "" } else { "s" };
    format!(
        "{} {}: {size}, {} connection{plural}{pace}",
        cell.load, cell.format, cell.connections
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::report::Figure;
    use super::*;

    #[test]
    fn a_row_with_large_figures_fits_and_missing_ones_are_dashes() {
        let figures = COLUMNS
            .iter()
            .map(|(_, name, _)| ((*name).to_owned(), 999_999.0));
        let cell = |figures: BTreeMap<String, Figure>| Cell {
            load: "stream".to_owned(),
            format: "NDJSON".to_owned(),
            through: "pass-through".to_owned(),
            connections: 256,
            rate: Some(100_000.0),
            body_bytes: 1e9,
            records_per_request: 1.0,
            requests: 1,
            records: 1,
            replaced: None,
            verified_records: None,
            errors: BTreeMap::new(),
            peak_since_start: false,
            seconds: 1.0,
            figures,
        };
        let full = figures
            .map(|(name, value)| (name, Figure::single(value)))
            .collect();
        let text = speed(&[cell(full), cell(BTreeMap::new())]);
        for line in text.lines() {
            assert!(
                line.chars().count() <= WIDTH,
                "{}: {line}",
                line.chars().count()
            );
        }
        let last = text.lines().last().unwrap();
        assert_eq!(last.matches(" -").count(), COLUMNS.len());
    }
}
