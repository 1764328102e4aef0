//! The golden vectors: every row of the tables in `docs/policies.md`, checked.
//!
//! The document's pseudonyms were computed with the Python in it, not with this code. A table is
//! known by its header; values stand in backticks as JSON strings, so that white space and
//! invisible characters can be written.

use super::generalise::{Generalise, generalise};
use super::seal::SealKey;
use super::shift::{Offset, shift};
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
fn formats_07_every_pseudonym_within_a_subject_in_the_document_holds() {
    let rows = rows(&[
        "kind",
        "prefix",
        "normal form",
        "subject's kind",
        "subject",
        "pseudonym",
    ]);
    assert!(rows.len() >= 4);
    let of_kind = |name: &str, prefix: &str| {
        let kind = kind(Normaliser::parse(name).unwrap(), prefix);
        key().kind(&kind)
    };
    for row in &rows {
        let (own, of) = (of_kind(&row[0], &row[1]), of_kind(&row[3], "of"));
        let subject = of.derive(json(&row[4]).as_bytes());
        let made = own.derive_within(&of, &subject, json(&row[2]).as_bytes());
        let mut written = String::new();
        own.write(&made, &mut written);
        assert_eq!(format!("`{written}`"), row[5], "{row:?}");
    }
}

#[test]
fn formats_07_every_shifted_date_in_the_document_holds() {
    let header = [
        "kind",
        "subject",
        "days",
        "moved by",
        "value",
        "the backend sees",
    ];
    let rows = rows(&header);
    assert!(rows.len() >= 10);
    for row in &rows {
        let kind = kind(Normaliser::parse(&row[0]).unwrap(), "of");
        let draw = key().kind(&kind).draw(json(&row[1]).as_bytes());
        let offset = Offset::of(&draw, row[2].parse().unwrap());
        assert_eq!(offset.days().to_string(), row[3], "{row:?}");
        let mut out = String::new();
        let done = shift(offset, &json(&row[4]), &mut out);
        let expected = match row[5].as_str() {
            "not-a-date" => None,
            date => Some(json(date)),
        };
        assert_eq!(done.is_ok().then_some(out), expected, "{row:?}");
    }
}

#[test]
fn formats_07_every_sealed_value_in_the_document_holds() {
    let rows = rows(&["kind", "place", "number", "value", "sealed"]);
    assert!(rows.len() >= 3);
    let bytes = std::array::from_fn(|at| 0x60 + at as u8);
    let mut sealing = SealKey::new(Key32::new(bytes));
    for row in &rows {
        let (place, value) = (json(&row[1]), json(&row[3]));
        let mut out = String::new();
        sealing
            .seal(&row[0], &place, value.as_bytes(), &mut out)
            .unwrap();
        assert_eq!(format!("`{}`", &out[1..]), row[4], "{row:?}");
        let opened = sealing.open(&row[0], &place, &out[1..]).unwrap();
        assert_eq!(&**opened, value.as_bytes());
    }
    let kind = kind(Normaliser::Text, "txt");
    let mut written = String::new();
    let own = key().kind(&kind);
    own.write(&own.derive(sealing.identifier().expose()), &mut written);
    assert!(DOCUMENT.contains(&format!("`{written}`")), "{written}");
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
