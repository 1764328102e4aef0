//! NHS numbers of England, Wales and the Isle of Man (NHS Data Dictionary: ten digits, the last
//! a check digit, modulus 11).

use super::sentinel::is_one_digit;

/// Ten digits, either together or written 3-3-4 with the same separator, a space or a hyphen,
/// at both places. The check digit must be right: a wrong one is a typing error, that is, another
/// person's number or nobody's.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = digits(value)?;
    if !check_digit_is_right(&digits) {
        return None;
    }
    out.extend(digits);
    Some(())
}

/// One digit ten times: each of these has a right check digit, and none is anybody's.
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    digits(value).is_some_and(|digits| is_one_digit(digits.into_iter(), 10))
}

fn digits(bytes: &[u8]) -> Option<[u8; 10]> {
    let mut digits = [0; 10];
    match bytes.len() {
        10 => digits.copy_from_slice(bytes),
        12 if matches!(bytes[3], b' ' | b'-') && bytes[7] == bytes[3] => {
            digits[..3].copy_from_slice(&bytes[..3]);
            digits[3..6].copy_from_slice(&bytes[4..7]);
            digits[6..].copy_from_slice(&bytes[8..]);
        }
        _ => return None,
    }
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

fn check_digit_is_right(digits: &[u8; 10]) -> bool {
    let sum: u32 = (2..=10)
        .rev()
        .zip(digits)
        .map(|(weight, digit)| weight * u32::from(digit - b'0'))
        .sum();
    match 11 - sum % 11 {
        11 => digits[9] == b'0',
        10 => false,
        check => u32::from(digits[9] - b'0') == check,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<String> {
        let mut out = Vec::new();
        write(value.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_three_spellings_are_one_number() {
        for value in ["9434765919", "943 476 5919", "943-476-5919"] {
            assert_eq!(normal(value).as_deref(), Some("9434765919"), "{value}");
        }
        assert_eq!(normal("9990000018").as_deref(), Some("9990000018"));
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [
            "943476591",
            "94347659190",
            "943 4765919",
            "943 476-5919",
            "94 3476 5919",
            "943.476.5919",
            "943476591X",
            "٩٤٣٤٧٦٥٩١٩",
            "9.43e9",
        ] {
            assert_eq!(normal(value), None, "{value}");
        }
    }

    #[test]
    fn of_ten_last_digits_at_most_one_is_right() {
        for front in ["943476591", "999000001", "123456789", "000000001"] {
            let right = (0..10).filter(|d| normal(&format!("{front}{d}")).is_some());
            // 123456789 has no right check digit at all: its remainder asks for a tenth.
            assert_eq!(right.count(), usize::from(front != "123456789"), "{front}");
        }
    }

    #[test]
    fn one_digit_ten_times_is_a_sentinel() {
        for digit in '0'..='9' {
            let value = digit.to_string().repeat(10);
            assert!(
                is_sentinel(value.as_bytes()) && normal(&value).is_some(),
                "{value}"
            );
        }
        assert!(is_sentinel(b"000 000 0000"));
        assert!(!is_sentinel(b"9434765919"));
    }
}
