//! Telephone numbers (ITU-T E.164).

use super::sentinel::is_one_digit;

/// Digits after the `+`: E.164 allows fifteen; fewer than eight are short codes.
const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// `+` and digits, the first not zero. Between digits may stand one space, hyphen or dot, and
/// one group may be in parentheses. A number without `+` is refused, since no country may be
/// guessed; so is a group such as `(0)`, which some dial and others leave out.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut before = b'+';
    let mut open = false;
    let mut groups = 0;
    out.push(b'+');
    for &byte in value.strip_prefix(b"+")? {
        match (before, byte) {
            (b'+' | b'(', b'0') => return None,
            (_, b'0'..=b'9') => out.push(byte),
            (b'0'..=b'9' | b')', b' ' | b'-' | b'.') if !open => {}
            (b'0'..=b'9' | b' ' | b'-' | b'.', b'(') if groups == 0 => {
                open = true;
                groups += 1;
            }
            (b'0'..=b'9', b')') if open => open = false,
            _ => return None,
        }
        before = byte;
    }
    (before.is_ascii_digit() && !open && DIGITS.contains(&(out.len() - 1))).then_some(())
}

/// One digit all the way, eight times or more, with or without `+`.
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"+").unwrap_or(value);
    digits.iter().all(u8::is_ascii_digit) && is_one_digit(digits.iter().copied(), *DIGITS.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<String> {
        let mut out = Vec::new();
        write(value.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn separators_do_not_count() {
        for value in [
            "+447700900123",
            "+44 7700 900123",
            "+44 (7700) 900-123",
            "+44.7700.900.123",
        ] {
            assert_eq!(normal(value).as_deref(), Some("+447700900123"), "{value}");
        }
        assert_eq!(normal("+1(212)5550100").as_deref(), Some("+12125550100"));
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [
            "07700900123",
            "447700900123",
            "00447700900123",
            "+0447700900123",
            "+44 (0)7700 900123",
            "+44 (07700) 900123",
            "+44 7700  900123",
            "+44--7700900123",
            "+44 7700 900123 ",
            "+ 447700900123",
            "++447700900123",
            "+44 (7700 900123",
            "+44 7700) 900123",
            "+44 () 7700900123",
            "+44 (77)(00) 900123",
            "+(44) 7700900123",
            "+44 7700 900123 x4",
            "tel:+447700900123",
            "+1234567",
            "+1234567890123456",
            "+4477009001２3",
        ] {
            assert_eq!(normal(value), None, "{value}");
        }
    }

    #[test]
    fn one_digit_all_the_way_is_a_sentinel() {
        for value in ["00000000", "+99999999999", "1111111111"] {
            assert!(is_sentinel(value.as_bytes()), "{value}");
        }
        for value in ["+447700900123", "0000000", "+", ""] {
            assert!(!is_sentinel(value.as_bytes()), "{value}");
        }
    }
}
