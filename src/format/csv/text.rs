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
            let special = [b'\\', b'\t', b'\n', b'\r', 0];
            copy(text, special, out, |byte, out| match byte {
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                0 => out.extend_from_slice("\u{FFFD}".as_bytes()),
                byte => out.extend_from_slice(&[b'\\', byte]),
            });
        }
    }
}

fn inside(raw: &[u8]) -> &[u8] {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// A byte order mark at a body's start would be taken for one.
fn must_be_quoted(text: &str, delimiter: u8) -> bool {
    let special = [delimiter, b'"', b'\n', b'\r', 0];
    plain_length(text.as_bytes(), special) < text.len() || text.starts_with('\u{FEFF}')
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    copy(
        text,
        [b'"', b'"', b'"', 0, 0],
        out,
        |byte, out| match byte {
            0 => out.extend_from_slice("\u{FFFD}".as_bytes()),
            quote => out.extend_from_slice(&[quote, quote]),
        },
    );
    out.push(b'"');
}

/// Appends `text`, each of its special bytes as `write` has it.
fn copy(text: &str, special: [u8; 5], out: &mut Vec<u8>, write: impl Fn(u8, &mut Vec<u8>)) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, others) = rest.split_at(plain_length(rest, special));
        out.extend_from_slice(plain);
        let [byte, behind @ ..] = others else { return };
        write(*byte, out);
        rest = behind;
    }
}

/// How many leading bytes are none of these: eight at a time.
#[inline]
fn plain_length(bytes: &[u8], special: [u8; 5]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (eights, end) = bytes.as_chunks::<8>();
    for (n, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let mut found = 0;
        for byte in special {
            // The lowest high bit set stands at the first zero; a borrow spoils only what is
            // behind it.
            let other = word ^ (ONES * u64::from(byte));
            found |= other.wrapping_sub(ONES) & !other;
        }
        found &= ONES << 7;
        if found != 0 {
            return n * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = |byte: &u8| !special.contains(byte);
    bytes.len() - end.len() + end.iter().take_while(|b| plain(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_length_stops_at_the_first_special_byte(bytes in proptest::collection::vec(
            prop_oneof![8 => 1u8..=255, 1 => Just(b'"'), 1 => 0u8..=14], 0..40)) {
            let special = [b',', b'"', b'\n', b'\r', 0];
            let slow = bytes.iter().position(|b| special.contains(b));
            prop_assert_eq!(plain_length(&bytes, special), slow.unwrap_or(bytes.len()));
        }

        #[test]
        fn what_is_written_reads_back(text in "[a-z,\"\\\\\t\r\n;é]{0,40}", quoted in any::<bool>()) {
            let (mut out, mut scratch) = (Vec::new(), Vec::new());
            let shape = if quoted { Shape::Text } else { Shape::Bare };
            write_csv(b"", shape, Answer::Text(&text), b';', &mut out);
            let shape = if out.starts_with(b"\"") { Shape::Escaped } else { Shape::Bare };
            prop_assert_eq!(csv_value(&out, shape, &mut scratch), text.as_bytes());
            out.clear();
            write_tsv(b"", Shape::Bare, Answer::Text(&text), &mut out);
            prop_assert!(!out.iter().any(|b| b"\t\r\n".contains(b)));
            prop_assert_eq!(tsv_value(&out, Shape::Escaped, &mut scratch), text.as_bytes());
        }
    }
}
