//! Values that say 'no value'.

/// Words that stand for 'no value' in any kind of identifier, whatever their case. Whole values
/// only: a person may well be called Test Nil.
const WORDS: &[&str] = &[
    "n/a",
    "n.a.",
    "nil",
    "nan",
    "tbc",
    "tbd",
    "none",
    "null",
    "test",
    "unknown",
    "missing",
    "undefined",
    "anonymous",
    "not known",
    "not stated",
    "not given",
    "not available",
    "not applicable",
];

/// Whether the value is one of [`WORDS`], or has no letter and no digit at all (`-`, `???`, or
/// nothing).
pub(super) fn is_word(value: &str) -> bool {
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
        || !value.chars().any(char::is_alphanumeric)
}

/// Whether there are at least `least` digits and all of them are the same.
pub(super) fn is_one_digit(mut digits: impl Iterator<Item = u8>, least: usize) -> bool {
    let Some(first) = digits.next() else {
        return false;
    };
    let mut count = 1;
    digits.all(|digit| {
        count += 1;
        digit == first
    }) && count >= least
}
