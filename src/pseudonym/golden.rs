//! The golden vectors: every row of the tables in `docs/policies.md`, checked.
//!
//! The document's pseudonyms were computed with the Python in it, not with this code. A table is
//! known by its header; values stand in backticks as JSON strings, so that white space and
//! invisible characters can be written.

use super::generalise::{Generalise, generalise};
use super::{Class, DomainKey, Kind, Normaliser, NotNormal, TextForm, mask, text, token};
use crate::secret::Key32;

const DOCUMENT: &str = include_str!("../../docs/policies.md");

/// The rows of every table whose first header cells are these.
fn rows(header: &[&str]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if cells(line) == header {
            lines.next();
            rows.extend(
                lines
                    .by_ref()
                    .take_while(|line| line.starts_with('|'))
                    .map(cells),
            );
        }
    }
    assert!(rows.iter().all(|row| row.len() == header.len()));
    rows
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split(" | ").map(|cell| cell.trim().into()).collect()
}

/// What a cell of the form `` `"…"` `` says.
fn json(cell: &str) -> String {
    let inner = cell
        .strip_prefix("`\"")
        .and_then(|cell| cell.strip_suffix("\"`"))
        .unwrap_or_else(|| panic!("{cell} is no JSON string in backticks"));
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        out.push(match (char, char == '\\') {
            (_, true) => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap()
                }
                Some(char @ ('"' | '\\')) => char,
                other => panic!("escape {other:?} in {cell}"),
            },
            (char, false) => char,
        });
    }
    out
}

fn kind(normaliser: Normaliser, prefix: &str) -> Kind {
    Kind {
        name: normaliser.name().into(),
        class: Class::Person,
        prefix: prefix.into(),
        normaliser,
    }
}

/// The published test key of the document.
fn key() -> DomainKey {
    DomainKey::new(
        std::array::from_fn(|at| at as u8),
        1,
        Key32::new(std::array::from_fn(|at| 0x20 + at as u8)),
    )
}

#[test]
fn every_normal_form_in_the_document_holds() {
    let rows = rows(&["normaliser", "value", "normal form"]);
    assert!(rows.len() > 70, "{} rows", rows.len());
    for row in &rows {
        let normaliser = Normaliser::parse(&row[0]).unwrap();
        let mut out = Vec::new();
        let result = normaliser.normalise(json(&row[1]).as_bytes(), &mut out);
        let expected = match row[2].as_str() {
            "not-normal" => Err(NotNormal::Form),
            "sentinel" => Err(NotNormal::Sentinel),
            "already-pseudonym" => Err(NotNormal::Pseudonym),
            normal => Ok(json(normal)),
        };
        let result = result.map(|()| String::from_utf8(out).unwrap());
        assert_eq!(result, expected, "{row:?}");
    }
    for normaliser in Normaliser::ALL {
        let own = rows.iter().filter(|row| row[0] == normaliser.name());
        assert!(own.count() >= 4, "{}", normaliser.name());
    }
}

#[test]
fn every_pseudonym_in_the_document_holds() {
    let rows = rows(&["kind", "prefix", "normal form", "pseudonym"]);
    assert!(rows.len() >= Normaliser::ALL.len());
    for row in &rows {
        let kind = kind(Normaliser::parse(&row[0]).unwrap(), &row[1]);
        let normal = json(&row[2]);
        let key = key().kind(&kind);
        let mut written = String::new();
        key.write(&key.derive(normal.as_bytes()), &mut written);
        assert_eq!(format!("`{written}`"), row[3], "{row:?}");
        let parsed = text::parse(written.as_bytes()).unwrap();
        assert_eq!((parsed.prefix, parsed.epoch), (row[1].as_str(), 1));
        // Golden normal forms are normal forms.
        let mut out = Vec::new();
        kind.normaliser
            .normalise(normal.as_bytes(), &mut out)
            .unwrap();
        assert_eq!(out, normal.as_bytes());
    }
}

#[test]
fn every_token_in_the_document_holds() {
    let rows = rows(&["kind", "prefix", "normal form", "token"]);
    assert!(!rows.is_empty());
    let record = Key32::new(std::array::from_fn(|at| 0x40 + at as u8));
    for row in &rows {
        let kind = kind(Normaliser::parse(&row[0]).unwrap(), &row[1]);
        let mut written = String::new();
        TextForm::new(&kind.prefix, 0).write(
            &token(&record, &kind, json(&row[2]).as_bytes()),
            &mut written,
        );
        assert_eq!(format!("`{written}`"), row[3], "{row:?}");
    }
}

#[test]
fn every_coarser_value_in_the_document_holds() {
    let rows = rows(&["to", "value", "the backend sees"]);
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in &rows {
        let spec = match row[0].as_str() {
            "year" => Generalise::Year,
            "month" => Generalise::Month,
            "age-band, width 10, top 90" => Generalise::AgeBand { width: 10, top: 90 },
            "outward-postcode" => Generalise::OutwardPostcode,
            "ip-prefix, v4 24, v6 48" => Generalise::IpPrefix { v4: 24, v6: 48 },
            "bucket, width 10" => Generalise::Bucket { width: 10 },
            other => panic!("{other}"),
        };
        let mut out = String::new();
        let result = generalise(&spec, &json(&row[1]), &mut out);
        let expected = match row[2].as_str() {
            "not-generalisable" => None,
            value => Some(json(value)),
        };
        assert_eq!(result.is_ok().then_some(out), expected, "{row:?}");
    }
}

#[test]
fn every_mask_in_the_document_holds() {
    let rows = rows(&["first", "last", "value", "the backend sees"]);
    assert!(rows.len() >= 5);
    for row in &rows {
        let (first, last) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        let mut out = String::new();
        mask(first, last, '*', &json(&row[2]), &mut out);
        assert_eq!(out, json(&row[3]), "{row:?}");
    }
}
