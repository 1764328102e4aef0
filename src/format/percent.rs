//! Percent-encoding (RFC 3986, section 2.1; the form's own is of the WHATWG URL standard, 5.1).
//!
//! What enters: an encoded run whose escapes a scanner has found whole, or a text. What leaves:
//! its bytes, or the text with only those bytes encoded that must be. What can never happen: what
//! is written ends a value, a pair or a segment early.

/// Appends what `raw` means. `plus`: a plus sign is a space, as in forms. A broken escape stays
/// as it is.
pub(super) fn decode(raw: &[u8], plus: bool, out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'%' | b'+')) {
        out.extend_from_slice(&rest[..at]);
        let escape = (rest[at] == b'%').then(|| rest.get(at + 1..at + 3));
        let byte = escape.flatten().and_then(byte);
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &rest[at + 3..];
            }
            None => {
                let space = plus && rest[at] == b'+';
                out.push(if space { b' ' } else { rest[at] });
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The byte of two hexadecimal digits.
pub(super) fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Appends `text`; every byte that is not `literal` as an escape.
pub(super) fn encode(text: &[u8], literal: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(text.len());
    for byte in text {
        if literal(*byte) {
            out.push(*byte);
        } else {
            let (high, low) = (byte >> 4, byte & 15);
            out.extend_from_slice(&[b'%', HEX[usize::from(high)], HEX[usize::from(low)]]);
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
