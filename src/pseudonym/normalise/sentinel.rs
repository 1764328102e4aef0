//! Values that say 'no value'.

use super::text_of;

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

/// Bytes of the longest of [`WORDS`].
const LONGEST: usize = "not applicable".len();

/// Whether the value is one of [`WORDS`], or has no letter and no digit at all (`-`, `???`, or
/// nothing).
pub(super) fn is_word(value: &[u8]) -> bool {
    // No word starts otherwise, and most identifiers do: this runs for every value.
    let may_be = matches!(
        value.first().map(u8::to_ascii_lowercase),
        Some(b'a' | b'm' | b'n' | b't' | b'u')
    );
    (may_be
        && value.len() <= LONGEST
        && WORDS
            .iter()
            .any(|word| word.as_bytes().eq_ignore_ascii_case(value)))
        || !(value.iter().any(u8::is_ascii_alphanumeric)
            || text_of(value).chars().any(char::is_alphanumeric))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case_and_whole() {
        for word in WORDS {
            assert!(word.len() <= LONGEST, "{word}");
            assert!(
                is_word(word.as_bytes()) && is_word(word.to_uppercase().as_bytes()),
                "{word}"
            );
            assert!(!is_word(format!("{word} x").as_bytes()), "{word}");
        }
        for value in ["", "-", "???", " ", "\u{2014}"] {
            assert!(is_word(value.as_bytes()), "{value}");
        }
        for value in ["é", "\u{2014}é", "-٣"] {
            assert!(!is_word(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn one_digit_is_counted() {
        assert!(is_one_digit(b"0000".iter().copied(), 4));
        assert!(!is_one_digit(b"000".iter().copied(), 4));
        assert!(!is_one_digit(b"0001".iter().copied(), 4));
        assert!(!is_one_digit(b"".iter().copied(), 0));
    }
}
