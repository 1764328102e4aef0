//! Strings of RFC 8259, section 7: read without their escapes, written with those they need.
//!
//! What enters: the inside of a string that a scanner has validated, or any text. What leaves:
//! its value, or a quoted string. What can never happen: a written string ends early.

use super::number::is_number;
use super::{Answer, Shape};

/// The value of a slot; `scratch` holds it when the written form differs.
pub(super) fn value<'a>(raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match shape {
        Shape::Text => inside(raw),
        Shape::Escaped => {
            scratch.clear();
            unescape(inside(raw), scratch);
            scratch
        }
        Shape::Bare | Shape::Number | Shape::Boolean | Shape::Container => raw,
        Shape::Extent => &[],
    }
}

/// Writes an answer as JSON.
pub(super) fn write(raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
    match answer {
        Answer::Keep => out.extend_from_slice(raw),
        Answer::Null => out.extend_from_slice(b"null"),
        Answer::Nothing => {}
        Answer::Word(word) => {
            out.reserve(word.len() + 2);
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
        }
        Answer::Text(text) if shape == Shape::Number && is_number(text.as_bytes()) => {
            out.extend_from_slice(text.as_bytes());
        }
        Answer::Text(text) => quote(text, out),
    }
}

fn inside(raw: &[u8]) -> &[u8] {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// Appends a quoted string; only what must be escaped is.
fn quote(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_length(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                let hex = |n: u8| b"0123456789abcdef"[usize::from(n)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// How many leading bytes are neither `"` nor `\` nor a control character: eight at a time.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        // The lowest high bit set stands at the first byte that is zero (or below 32); a borrow
        // can only spoil bytes behind it.
        let zero = |w: u64| w.wrapping_sub(ONES) & !w;
        let quotes = zero(word ^ (ONES * u64::from(b'"')));
        let slashes = zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 32) & !word;
        let stop = (quotes | slashes | controls) & HIGH;
        if stop != 0 {
            return at + (stop.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..=31);
    at + bytes[at..]
        .iter()
        .position(special)
        .unwrap_or(bytes.len() - at)
}

/// Appends the value of a validated string's inside.
pub(super) fn unescape(inside: &[u8], out: &mut Vec<u8>) {
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some(escape) = rest.get(at + 1) else {
            return;
        };
        rest = &rest[at + 2..];
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = hex4(rest);
                rest = rest.get(4..).unwrap_or_default();
                if (0xD800..0xDC00).contains(&code) && rest.starts_with(b"\\u") {
                    let low = hex4(&rest[2..]);
                    code = 0x10000 + ((code - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                    rest = rest.get(6..).unwrap_or_default();
                }
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
}

fn hex4(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |code, digit| {
        code << 4 | char::from(*digit).to_digit(16).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &str) -> String {
        let mut scratch = Vec::new();
        let value = value(raw.as_bytes(), Shape::Escaped, &mut scratch);
        String::from_utf8(value.to_vec()).expect("UTF-8")
    }

    fn written(raw: &str, shape: Shape, answer: Answer<'_>) -> String {
        let mut out = Vec::new();
        write(raw.as_bytes(), shape, answer, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn reads_escapes_and_surrogate_pairs() {
        assert_eq!(read(r#""\"\\\/\b\f\n\r\t""#), "\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(read(r#""a\u0041\u00e9\ud83d\uDE00z""#), "aAé😀z");
        assert_eq!(read(r#""""#), "");
    }

    #[test]
    fn writes_answers_in_the_shape_of_the_value() {
        let text = Answer::Text;
        assert_eq!(
            written("\"a\"", Shape::Text, text("é\"\\\n\u{1}")),
            r#""é\"\\\n\u0001""#
        );
        assert_eq!(written("12", Shape::Number, text("10")), "10");
        assert_eq!(written("12", Shape::Number, text("010")), "\"010\"");
        assert_eq!(written("true", Shape::Boolean, text("1")), "\"1\"");
        assert_eq!(written("\"12\"", Shape::Text, text("10")), "\"10\"");
        assert_eq!(written("[1]", Shape::Container, text("x")), "\"x\"");
        assert_eq!(written("1.0e-7", Shape::Number, Answer::Keep), "1.0e-7");
        assert_eq!(written("1", Shape::Number, Answer::Null), "null");
        assert_eq!(written(",\"a\":1", Shape::Extent, Answer::Nothing), "");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            prop_assert_eq!(read(&written("\"\"", Shape::Text, Answer::Text(&text))), text);
        }

        #[test]
        fn plain_length_stops_at_the_first_special_byte(bytes in proptest::collection::vec(
            prop_oneof![8 => 32u8..=255, 1 => 0u8..=35, 1 => Just(b'\\')], 0..40)) {
            let slow = bytes.iter().position(|b| *b < 32 || *b == b'"' || *b == b'\\');
            prop_assert_eq!(plain_length(&bytes), slow.unwrap_or(bytes.len()));
        }
    }
}
