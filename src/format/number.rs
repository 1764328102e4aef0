//! Numbers of RFC 8259, section 6: recognised, never computed.
//!
//! What enters: bytes that may be a number. What leaves: whether they are exactly one. What can
//! never happen: a spelling changes.

/// Where in a number the bytes so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    /// The state behind a number's first byte.
    pub fn start(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// The state behind one more byte; `None`: the byte does not continue the number.
    #[inline]
    pub fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Dot),
            (Self::Dot | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    /// Whether a number may end here.
    pub fn complete(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::Exponent
        )
    }
}

/// Whether `bytes` are exactly one number.
pub(super) fn is_number(bytes: &[u8]) -> bool {
    is_number_at(bytes, 0, bytes.len())
}

/// Whether `bytes[start..end]` is exactly one number.
#[inline(always)]
pub(super) fn is_number_at(bytes: &[u8], start: usize, end: usize) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let length = end - start;
    let eight = bytes.get(start..).and_then(<[u8]>::first_chunk::<8>);
    let Some(eight) = eight.filter(|_| (1..=8).contains(&length)) else {
        return by_grammar(&bytes[start..end]);
    };
    // Nearly every number is `12` or `8.72`: up to eight bytes, digits with at most one dot. What
    // lies behind them is shifted out, and the free bytes become digits.
    let free = 8 * (8 - length as u32);
    let digits = (u64::from_le_bytes(*eight) << free) ^ (ONES * u64::from(b'0'));
    let digits = digits & (u64::MAX << free);
    // The high bit of each byte that is no digit.
    let others = (((digits & (ONES * 127)) + ONES * (128 - 10)) | digits) & (ONES << 7);
    let zero = bytes[start] == b'0';
    if others == 0 {
        return length == 1 || !zero;
    }
    let dot = (others.trailing_zeros() - free) as usize / 8;
    if others & (others - 1) != 0 || bytes[start + dot] != b'.' {
        return by_grammar(&bytes[start..end]);
    }
    // Without short cuts: which of them would be taken is anybody's guess.
    (dot > 0) & (dot + 1 < length) & ((dot == 1) | !zero)
}

#[cold]
fn by_grammar(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return false;
    };
    let mut state = Number::start(*first);
    for byte in rest {
        state = state.and_then(|s| s.next(*byte));
    }
    state.is_some_and(Number::complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_grammar_on_every_short_text() {
        let alphabet = b"-019.eE+x";
        for length in 0..=6u32 {
            for mut code in 0..alphabet.len().pow(length) {
                let mut text = Vec::new();
                for _ in 0..length {
                    text.push(alphabet[code % alphabet.len()]);
                    code /= alphabet.len();
                }
                assert_eq!(is_number(&text), by_grammar(&text), "{text:?}");
                let around = [b"7", &text[..], b"9,.e45678"].concat();
                let found = is_number_at(&around, 1, 1 + text.len());
                assert_eq!(found, by_grammar(&text), "{text:?}");
            }
        }
    }
}
