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
#[inline(always)]
pub(super) fn is_number(bytes: &[u8]) -> bool {
    // Nearly every number is `12`, `-3` or `8.72`: digits with at most one dot.
    let (digits, first) = match bytes {
        [b'-', rest @ ..] => (rest, rest.first()),
        all => (all, all.first()),
    };
    let mut dot = 0;
    for (at, byte) in digits.iter().enumerate() {
        if byte.wrapping_sub(b'0') > 9 {
            if *byte == b'.' && dot == 0 && at > 0 {
                dot = at;
                continue;
            }
            return by_grammar(bytes);
        }
    }
    match first {
        None => false,
        Some(b'0') if dot == 0 => digits.len() == 1,
        Some(b'0') => dot == 1 && digits.len() > 2,
        Some(_) => dot + 1 != digits.len() || dot == 0,
    }
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
            }
        }
    }
}
