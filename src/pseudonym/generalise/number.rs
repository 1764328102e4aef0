//! Numbers as they are written, without floating point.

/// The largest whole number that is not above `value`. The grammar is JSON's (RFC 8259,
/// section 6), exponents included; `None` for anything else and beyond 127 bits.
pub(super) fn floor(value: &str) -> Option<i128> {
    let (is_negative, rest) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (digits, exponent) = match rest.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, self::exponent(exponent)?),
        None => (rest, 0),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let leads_with_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leads_with_zero || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }

    // The digits before this place are whole, those behind it are the fraction.
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let mut floor: i128 = 0;
    let mut place = 0;
    let mut has_fraction = false;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if place < point {
            floor = floor
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
        } else {
            has_fraction |= byte != b'0';
        }
        place += 1;
    }
    // An exponent beyond the last digit; ends at once for 0e99, and by overflow for others.
    while place < point && floor != 0 {
        floor = floor.checked_mul(10)?;
        place += 1;
    }
    Some(match (is_negative, has_fraction) {
        (false, _) => floor,
        (true, false) => -floor,
        (true, true) => -floor - 1,
    })
}

/// The sign is optional; more than nine digits are nobody's measurement.
fn exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_right = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_right.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_floor_exactly() {
        for (value, expected) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("12.10", 12),
            ("-12.10", -13),
            ("9007199254740993", 9_007_199_254_740_993),
            ("0.99999999999999999999999", 0),
            ("-0.00000000000000000000001", -1),
            ("1.0e-7", 0),
            ("-1e-7", -1),
            ("1.25e1", 12),
            ("1.25E+2", 125),
            ("-1.25e1", -13),
            ("12e-1", 1),
            ("0e999999999", 0),
            ("5e-999999999", 0),
        ] {
            assert_eq!(floor(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [
            "",
            "-",
            "+1",
            "--1",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1e1.5",
            "1e-+5",
            "1e9999999999",
            "1e40",
            "NaN",
            "Infinity",
            "0x10",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            "٣",
            "1.5.5",
            "1-",
        ] {
            assert_eq!(floor(value), None, "{value}");
        }
        assert_eq!(floor(&"9".repeat(60)), None);
    }

    proptest! {
        #[test]
        fn moving_the_point_by_the_exponent_changes_nothing(number: i64, by in 0usize..12) {
            let shifted = format!("{number}{}e-{by}", "0".repeat(by));
            prop_assume!(number != 0);
            prop_assert_eq!(floor(&shifted), Some(i128::from(number)));
        }
    }
}
