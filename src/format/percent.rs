//! Percent-encoding (RFC 3986, section 2.1; the form's own is of the WHATWG URL standard, 5.1).
//!
//! What enters: an encoded run whose escapes a scanner has found whole, or a text. What leaves:
//! its bytes, or the text with only those bytes encoded that must be. What can never happen: what
//! is written ends a value, a pair or a segment early.

use percent_encoding::{percent_decode, percent_encode_byte};

/// Appends what `raw` means. `plus`: a plus sign is a space, as in forms. A broken escape stays
/// as it is.
pub(super) fn decode(raw: &[u8], plus: bool, out: &mut Vec<u8>) {
    // No escape has a plus sign in it.
    for (nth, part) in raw.split(|b| plus && *b == b'+').enumerate() {
        if nth > 0 {
            out.push(b' ');
        }
        out.extend(percent_decode(part));
    }
}

/// Appends `text`; every byte that is not `literal` as an escape.
pub(super) fn encode(text: &[u8], literal: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    out.reserve(text.len());
    for byte in text {
        match literal(*byte) {
            true => out.push(*byte),
            false => out.extend_from_slice(percent_encode_byte(*byte).as_bytes()),
        }
    }
}

/// Letters that stand for themselves everywhere (RFC 3986, section 2.3).
pub(super) fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(raw: &str, plus: bool) -> Vec<u8> {
        let mut out = Vec::new();
        decode(raw.as_bytes(), plus, &mut out);
        out
    }

    #[test]
    fn formats_02_escapes_and_plus_signs_are_read() {
        assert_eq!(read("a%40b+c%2Bd%c3%A9", true), "a@b c+dé".as_bytes());
        assert_eq!(read("a+b%20c", false), b"a+b c");
        assert_eq!(read("%", true), b"%");
        assert_eq!(read("%4", true), b"%4");
        assert_eq!(read("%zz%41", true), b"%zzA");
    }

    proptest! {
        #[test]
        fn formats_13_what_is_encoded_reads_back(
            text in proptest::collection::vec(any::<u8>(), 0..40), plus in any::<bool>()
        ) {
            let mut out = Vec::new();
            encode(&text, unreserved, &mut out);
            let mut again = Vec::new();
            decode(&out, plus, &mut again);
            prop_assert_eq!(again, text);
        }
    }
}
