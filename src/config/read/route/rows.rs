//! How a route's rows are written, and what a policy can mean in them.

use super::super::super::raw::Table;
use super::super::super::{Format, Rows};
use super::super::{policy, word};
use crate::format::csv::Dialect;
use crate::policy::{Door, Selector, Step};

/// `csv = { delimiter = ";", header = false }`, `tsv = { header = false }`
pub(super) fn read(table: &Table<'_>) -> Rows {
    let mut rows = Rows::default();
    let no_use = |key, formats: [&str; 2]| {
        let other = |format: &str| !formats.contains(&format);
        if table.has(key) && table.text("format").is_some_and(|f| other(f.value)) {
            let hint = format!("remove it, or write format = \"{key}\"");
            let message = format!("`{key}` has no use: the route's format is another");
            table.findings().warn(&table.place_of(key), message, hint);
        }
    };
    no_use("csv", ["csv", ""]);
    no_use("tsv", ["tsv", ""]);
    if let Some(csv) = table.table("csv", "how CSV is written") {
        let words = Dialect::DELIMITERS.map(|byte| match byte {
            b',' => (",", byte),
            b';' => (";", byte),
            b'|' => ("|", byte),
            _ => ("\t", byte),
        });
        rows.csv.delimiter = csv
            .text("delimiter")
            .and_then(|text| word(&text, "delimiter", &words, table.findings()))
            .unwrap_or(rows.csv.delimiter);
        rows.csv.header = csv.boolean("header").unwrap_or(true);
        csv.finish();
    }
    if let Some(tsv) = table.table("tsv", "how TSV is written") {
        rows.tsv_header = tsv.boolean("header").unwrap_or(true);
        tsv.finish();
    }
    rows
}

/// Selectors that no place of the route's format could match. `key`: the one that names the policy.
pub(super) fn meaning(
    table: &Table<'_>,
    key: &str,
    read: &policy::Read<'_>,
    format: Option<Format>,
) {
    let rules = read.policy.rules.iter().map(|rule| &rule.at);
    let restores = read.restore.iter().flat_map(|restore| &restore.rules);
    let restores = restores.map(|rule| (None, &rule.at));
    let placed = read.places.iter().map(|place| Some(place.line()));
    for (line, at) in placed.zip(rules).chain(restores) {
        let found = match key {
            "response" if at.door != Door::Body => Some(NO_DOOR),
            _ => wrong(at, format),
        };
        let Some((message, hint)) = found else {
            continue;
        };
        let hint = match line {
            Some(line) => format!("{hint}; the rule stands in line {line}"),
            None => hint.to_owned(),
        };
        let message = format!("policy `{}` selects `{at}`: {message}", read.policy.name);
        // One is enough: a policy for another format has many.
        return table.findings().error(&table.place_of(key), message, hint);
    }
}

/// For an answer.
const NO_DOOR: (&str, &str) = (
    "an answer has a body and nothing else that a policy speaks of",
    "leave this rule out, or give requests and responses policies of their own",
);

/// Why no place of a body of this format matches, and what to write.
pub fn wrong(at: &Selector, format: Option<Format>) -> Option<(&'static str, &'static str)> {
    if at.door != Door::Body {
        return None;
    }
    let (named, column) = match format {
        Some(Format::Csv(dialect)) => (dialect.header, "csv = { header = false }"),
        Some(Format::Tsv { header }) => (header, "tsv = { header = false }"),
        Some(Format::Json | Format::Ndjson | Format::Form | Format::EventStream) | None => {
            let numbered = matches!(at.steps[..], [Step::Column(_)]);
            return numbered.then_some((
                "only rows without a header have numbered columns",
                "write format = \"csv\" and csv = { header = false }, or select a name",
            ));
        }
    };
    match at.steps[..] {
        [] | [Step::Wildcard] => None,
        [Step::Child(_)] if named => None,
        [Step::Column(_)] if !named => None,
        [Step::Column(_)] => Some((
            "with a header row, columns go by their names",
            match column {
                "csv = { header = false }" => "write $['the name'], or csv = { header = false }",
                _ => "write $['the name'], or tsv = { header = false }",
            },
        )),
        [Step::Child(_)] => Some((
            "without a header row, columns have no names",
            "write the column's number, from 0: $[0]",
        )),
        _ => Some((
            "a row has fields only, and nothing below them",
            "write $.name, or give this route a policy of its own",
        )),
    }
}
