//! The check character: ISO/IEC 7064:2003, hybrid system MOD 37,36.
//!
//! What enters: letters and digits. What leaves: one more that makes the whole congruent. What
//! can never happen: a single wrong character that passes. Of swapped neighbours it misses one
//! pair in 630, which is the standard's own limit; the test below counts.

/// Letters and digits that the system knows.
const MODULUS: u8 = 36;

/// The alphabet of the check character, in the order of the standard.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The sum over the characters so far: 1 to 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check(u8);

impl Check {
    pub const START: Check = Check(MODULUS);

    /// The check whose sum is `sum`, 1 to 36.
    #[inline]
    pub const fn of(sum: u8) -> Self {
        Check(sum)
    }

    #[inline]
    pub const fn sum(self) -> u8 {
        self.0
    }

    /// The sum with one more character, given as its place in the alphabet (0 to 35).
    pub const fn push(self, value: u8) -> Self {
        // The remainder by 36, where 36 stands for 0; twice that; the remainder by 37.
        let remainder = (self.0 + value) % MODULUS;
        let remainder = if remainder == 0 { MODULUS } else { remainder };
        Check(remainder * 2 % (MODULUS + 1))
    }

    /// The sum with the characters of `text`, `None` if one is no digit or lower-case letter.
    pub fn text(self, text: &[u8]) -> Option<Self> {
        text.iter()
            .try_fold(self, |check, byte| Some(check.push(value(*byte)?)))
    }

    /// The character that completes the text.
    #[inline]
    pub fn character(self) -> u8 {
        ALPHABET[usize::from(MODULUS + 1 - self.0) % ALPHABET.len()]
    }
}

/// A character's place in the alphabet.
#[inline]
fn value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'z' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_holds() {
        // The Global Release Identifier of the recording industry: A1-2425G-ABC1234002-M.
        let check = Check::START.text(b"a12425gabc1234002").unwrap();
        assert_eq!(check.character(), b'm');
    }

    #[test]
    fn no_single_wrong_character_passes() {
        // Different characters take one sum to different sums, and no later step joins them:
        // each step maps the 36 sums onto 36 sums.
        for value in 0..36 {
            let mut after: Vec<u8> = (1..=36).map(|sum| Check(sum).push(value).0).collect();
            after.sort_unstable();
            assert_eq!(after, (1..=36).collect::<Vec<_>>());
        }
        for sum in 1..=36 {
            let mut after: Vec<u8> = (0..36).map(|value| Check(sum).push(value).0).collect();
            after.sort_unstable();
            after.dedup();
            assert_eq!(after.len(), 36);
        }
    }

    #[test]
    fn one_pair_of_swapped_neighbours_in_630_passes() {
        let mut missed = 0;
        for sum in 1..=36 {
            for a in 0..36 {
                for b in 0..a {
                    let (ab, ba) = (Check(sum).push(a).push(b), Check(sum).push(b).push(a));
                    missed += u32::from(ab == ba);
                }
            }
        }
        assert_eq!(missed, 36 * 36 * 35 / 2 / 630);
    }

    #[test]
    fn what_is_no_digit_or_lower_case_letter_has_no_sum() {
        for byte in [b'A', b'_', b'-', b' ', 0x80] {
            assert_eq!(Check::START.text(&[byte]), None);
        }
    }
}
