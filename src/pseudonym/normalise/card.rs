//! Payment card numbers (ISO/IEC 7812-1: a primary account number with a Luhn check digit).

use super::sentinel::is_one_digit;

/// Digits of a primary account number. ISO/IEC 7812-1 allows ten to nineteen; cards that are paid
/// with have at least thirteen.
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// 13 to 19 digits, together or in groups with the same separator, one space or one hyphen,
/// between them. The check digit must be right.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut separator = None;
    let mut before = b' ';
    for &byte in value {
        match byte {
            b'0'..=b'9' => out.push(byte),
            b' ' | b'-' if before.is_ascii_digit() && *separator.get_or_insert(byte) == byte => {}
            _ => return None,
        }
        before = byte;
    }
    let digits = &out[start..];
    (before.is_ascii_digit() && DIGITS.contains(&digits.len()) && luhn(digits)).then_some(())
}

/// The check of ISO/IEC 7812-1, annex B: every second digit from the right is doubled.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0') << (at % 2);
            digit - if digit > 9 { 9 } else { 0 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Zeros all the way have a right check digit, and are no card's.
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    let digits = value.iter().copied().filter(u8::is_ascii_digit);
    value
        .iter()
        .all(|b| b.is_ascii_digit() || b" -".contains(b))
        && is_one_digit(digits, *DIGITS.start())
}
