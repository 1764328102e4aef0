//! Fields, read and written.
//!
//! What enters: a field that the scanner has validated, or any text. What leaves: its value, or a
//! field. What can never happen: a written field holds a bare delimiter, line end or quote, or
//! U+0000.

use crate::format::{Answer, Shape};

/// The value of a CSV field; `scratch` holds it when quotes are doubled in it.
pub(super) fn csv_value<'a>(raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match shape {
        Shape::Text => inside(raw),
        Shape::Escaped => {
            scratch.clear();
            let mut rest = inside(raw);
            while let Some(at) = memchr::memchr(b'"', rest) {
                scratch.extend_from_slice(&rest[..=at]);
                rest = rest.get(at + 2..).unwrap_or_default();
            }
            scratch.extend_from_slice(rest);
            scratch
        }
        Shape::Extent => &[],
        _ => raw,
    }
}

/// The value of a TSV field; `scratch` holds it when there are escapes in it.
pub(super) fn tsv_value<'a>(raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match shape {
        Shape::Escaped => {
            scratch.clear();
            let mut rest = raw;
            while let Some(at) = memchr::memchr(b'\\', rest) {
                scratch.extend_from_slice(&rest[..at]);
                scratch.extend(rest.get(at + 1).map(|byte| match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    other => *other,
                }));
                rest = rest.get(at + 2..).unwrap_or_default();
            }
            scratch.extend_from_slice(rest);
            scratch
        }
        Shape::Extent => &[],
        _ => raw,
    }
}

/// Writes an answer as CSV: quoted where the value was, else only where it must be.
pub(super) fn write_csv(
    raw: &[u8],
    shape: Shape,
    answer: Answer<'_>,
    delimiter: u8,
    out: &mut Vec<u8>,
) {
    let quoted = matches!(shape, Shape::Text | Shape::Escaped);
    match answer {
        Answer::Keep => out.extend_from_slice(raw),
        // The empty field: a quoted one is an empty text to many readers.
        Answer::Null | Answer::Nothing => {}
        Answer::Word(word) if quoted => {
            out.reserve(word.len() + 2);
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
        }
        Answer::Word(word) => out.extend_from_slice(word),
        Answer::Text(text) if quoted || must_be_quoted(text, delimiter) => quote(text, out),
        Answer::Text(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// Writes an answer as TSV.
pub(super) fn write_tsv(raw: &[u8], _: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
    match answer {
        Answer::Keep => out.extend_from_slice(raw),
        Answer::Null => out.extend_from_slice(b"\\N"),
        Answer::Nothing => {}
        Answer::Word(word) => out.extend_from_slice(word),
        Answer::Text(text) => {
            for byte in text.bytes() {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    0 => out.extend_from_slice("\u{FFFD}".as_bytes()),
                    byte => out.push(byte),
                }
            }
        }
    }
}

fn inside(raw: &[u8]) -> &[u8] {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// A byte order mark at a body's start would be taken for one.
fn must_be_quoted(text: &str, delimiter: u8) -> bool {
    let special = |b: u8| b == delimiter || matches!(b, b'"' | b'\n' | b'\r' | 0);
    text.starts_with('\u{FEFF}') || text.bytes().any(special)
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\"\""),
            0 => out.extend_from_slice("\u{FFFD}".as_bytes()),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
