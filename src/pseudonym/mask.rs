//! Masking: some characters stay, the others become one character.
//!
//! What enters: a value. What leaves: as many characters (Unicode scalar values) as came in. What
//! can never happen: a value so short that the kept ends would give it whole.

/// Appends `value` with all but the `first` and the `last` characters replaced by `with`. A
/// value of no more than `first + last` characters is masked whole.
pub fn mask(first: u8, last: u8, with: char, value: &str, out: &mut String) {
    let (first, last) = (usize::from(first), usize::from(last));
    let count = value.chars().count();
    let hidden = if count > first + last {
        first..count - last
    } else {
        0..count
    };
    out.extend(
        value
            .chars()
            .enumerate()
            .map(|(at, char)| if hidden.contains(&at) { with } else { char }),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(first: u8, last: u8, value: &str) -> String {
        let mut out = String::new();
        mask(first, last, '*', value, &mut out);
        out
    }

    #[test]
    fn the_ends_stay() {
        assert_eq!(masked(0, 4, "4929123412341234"), "************1234");
        assert_eq!(masked(1, 1, "Łukasz"), "Ł****z");
        assert_eq!(masked(0, 0, "abc"), "***");
    }

    #[test]
    fn short_values_are_masked_whole() {
        assert_eq!(masked(2, 2, "abcd"), "****");
        assert_eq!(masked(2, 2, "abcde"), "ab*de");
        assert_eq!(masked(255, 255, "abc"), "***");
        assert_eq!(masked(0, 0, ""), "");
    }

    proptest! {
        #[test]
        fn at_least_one_character_is_hidden(first in 0u8..5, last in 0u8..5, value in "[^*]{1,12}") {
            let out = masked(first, last, &value);
            prop_assert_eq!(out.chars().count(), value.chars().count());
            let hidden = out.chars().filter(|c| *c == '*').count();
            prop_assert!(hidden >= 1);
            prop_assert!(value.chars().count() - hidden <= usize::from(first) + usize::from(last));
        }
    }
}
