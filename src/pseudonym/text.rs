//! The text form of a pseudonym: `sub_1_` + 26 characters + check character.
//!
//! What enters: 128 bits with their kind's prefix and epoch; or a value that may be such a text.
//! What leaves: the text; or its parts, if every character is right. What can never happen: two
//! texts for one pseudonym, or a character outside `[a-z0-9_]`, so that the text means itself in
//! URLs, CSV, SQL and JSON.
//!
//! ```text
//! text  = prefix "_" epoch "_" body check
//! prefix  [a-z]{2,8}, the kind's
//! epoch   decimal, no leading zeros; 0 for tokens
//! body    the 128 bits, big-endian, as 26 digits of base 32 in Crockford's alphabet,
//!         lower case (no i, l, o, u); the first is 0 to 7
//! check   ISO/IEC 7064 MOD 37,36 over prefix, epoch and body, without the underscores
//! ```

use super::check::Check;
use super::{Kinds, Pseudonym};

/// Crockford's base 32, lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of 128 bits in base 32.
const BODY: usize = 26;

/// The check's sum after each base 32 digit (rows) from each sum. A row has a place for every
/// byte, so that the steps, which wait for each other, need no bound of their own.
static NEXT: [[u8; 256]; 32] = next();

/// The base 32 digit that each byte is, or [`NONE`].
const VALUES: [u8; 256] = values();
const NONE: u8 = 0xff;

/// Bytes of the longest head, rounded up: eight letters, ten digits, two underscores.
const HEAD: usize = 24;

/// Bytes of the longest text, rounded up.
const TEXT: usize = HEAD + BODY + 1;

/// Writes pseudonyms of one prefix and epoch.
#[derive(Clone, Debug)]
pub struct TextForm {
    /// `sub_1_`, and zeros behind it: copied in one stride.
    head: [u8; HEAD],
    length: usize,
    /// The sum over the head.
    check: Check,
}

impl TextForm {
    /// # Panics
    /// If `prefix` is not `[a-z]{2,8}`: the configuration has checked that.
    pub fn new(prefix: &str, epoch: u32) -> Self {
        assert!(
            is_prefix(prefix.as_bytes()) && !prefix.bytes().any(|b| b.is_ascii_uppercase()),
            "a kind's prefix is [a-z]{{2,8}}"
        );
        let check = Check::START
            .text(format!("{prefix}{epoch}").as_bytes())
            .expect("letters and digits");
        let text = format!("{prefix}_{epoch}_");
        let mut head = [0; HEAD];
        head[..text.len()].copy_from_slice(text.as_bytes());
        Self {
            head,
            length: text.len(),
            check,
        }
    }

    /// What every text of this form starts with: `sub_1_`.
    pub fn head(&self) -> &str {
        std::str::from_utf8(&self.head[..self.length]).expect("letters and digits")
    }

    /// Appends the text.
    pub fn write(&self, pseudonym: &Pseudonym, out: &mut String) {
        let mut bytes = Vec::with_capacity(TEXT);
        self.write_bytes(pseudonym, &mut bytes);
        out.push_str(std::str::from_utf8(&bytes).expect("the alphabet is ASCII"));
    }

    /// Appends the text.
    #[inline]
    pub fn write_bytes(&self, pseudonym: &Pseudonym, out: &mut Vec<u8>) {
        let bits = u128::from_be_bytes(pseudonym.0);
        // Two digits (of three and five bits), then three times eight.
        let first = (bits >> 120) as u8;
        let (one, two) = (first >> 5, first & 31);
        let eights = [bits >> 80, bits >> 40, bits].map(|bits| eight_digits(bits as u64));
        let next = |sum: u8, digit: u8| NEXT[usize::from(digit & 31)][usize::from(sum)];
        let mut sum = next(next(self.check.sum(), one), two);
        for eight in eights {
            for digit in 0..8 {
                sum = next(sum, (eight >> (56 - 8 * digit)) as u8);
            }
        }
        // Everything is stored once, in the longest strides there are, and nothing is read back:
        // a processor waits for its own short stores before a longer load. What a stride has too
        // much is overwritten by the next, and cut off at last.
        let start = out.len();
        out.extend_from_slice(&[0; TEXT]);
        let text = &mut out[start..];
        text[..HEAD].copy_from_slice(&self.head);
        let tail = &mut text[self.length..][..BODY + 1];
        tail[0] = ALPHABET[usize::from(one)];
        tail[1] = ALPHABET[usize::from(two)];
        for (at, eight) in [2, 10, 18].into_iter().zip(eights) {
            tail[at..at + 8].copy_from_slice(&eight_letters(eight).to_be_bytes());
        }
        tail[BODY] = Check::of(sum).character();
        out.truncate(start + self.length + BODY + 1);
    }
}

/// One in each byte.
const ONES: u64 = u64::from_le_bytes([1; 8]);

/// The lower 40 bits, five in each byte.
#[inline]
fn eight_digits(bits: u64) -> u64 {
    let x = (bits & 0xf_ffff) | ((bits & 0xff_fff0_0000) << 12);
    let x = (x & 0x0000_03ff_0000_03ff) | ((x & 0x000f_fc00_000f_fc00) << 6);
    (x & 0x001f_001f_001f_001f) | ((x & 0x03e0_03e0_03e0_03e0) << 3)
}

/// The characters of eight digits at once: `0` and on, letters 39 further up, and one more
/// behind each of the letters that are left out (i, l, o, u).
#[inline]
fn eight_letters(digits: u64) -> u64 {
    let from = |least: u64| (digits.wrapping_add(ONES * (128 - least)) >> 7) & ONES;
    digits
        .wrapping_add(ONES * u64::from(b'0'))
        .wrapping_add(from(10).wrapping_mul(39))
        .wrapping_add(from(18).wrapping_add(from(20)))
        .wrapping_add(from(22).wrapping_add(from(27)))
}

/// A text form, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub prefix: &'a str,
    /// 0: a token.
    pub epoch: u32,
    pub pseudonym: Pseudonym,
}

/// Reads exactly what [`TextForm::write`] writes; anything else is `None`.
pub fn parse(value: &[u8]) -> Option<Parsed<'_>> {
    let (prefix, epoch, tail) = parts(value)?;
    let (body, check) = tail.split_at_checked(BODY)?;
    let sum = Check::START.text(prefix)?.text(epoch)?.text(body)?;
    if check != [sum.character()] || (epoch.len() > 1 && epoch[0] == b'0') {
        return None;
    }
    let mut bits: u128 = 0;
    for byte in body {
        let digit = VALUES[usize::from(*byte)];
        if digit == NONE || bits >> (128 - 5) != 0 {
            return None; // no digit, or more than 128 bits
        }
        bits = bits << 5 | u128::from(digit);
    }
    Some(Parsed {
        prefix: std::str::from_utf8(prefix).ok()?,
        epoch: std::str::from_utf8(epoch).ok()?.parse().ok()?,
        pseudonym: Pseudonym(bits.to_be_bytes()),
    })
}

/// Whether a value is, or was meant to be, a pseudonym: it must not be pseudonymised again.
/// Wider than [`parse`]: upper case, outer white space and a wrong check character do not hide
/// one, nor, behind a prefix of `kinds`, do up to three characters too few or too many.
pub fn looks_like_pseudonym(value: &[u8], kinds: &Kinds) -> bool {
    parts(value.trim_ascii()).is_some_and(|(prefix, _, tail)| {
        tail.len() == BODY + 1
            || (tail.len().abs_diff(BODY + 1) <= 3
                && kinds
                    .iter()
                    .any(|(_, kind)| kind.prefix.as_bytes().eq_ignore_ascii_case(prefix)))
    })
}

/// Whether a value has the shape of a text form, of whatever kind, in whatever case.
pub(super) fn is_shaped(value: &[u8]) -> bool {
    parts(value).is_some_and(|(_, _, tail)| tail.len() == BODY + 1)
}

/// Prefix, epoch, and body with check character, of roughly the right shape.
fn parts(value: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // The shortest is `xx_0_` with a body that lost three; most identifiers end here.
    if value.len() < 5 + BODY - 2 {
        return None;
    }
    let mut parts = value.split(|byte| *byte == b'_');
    let (prefix, epoch, tail) = (parts.next()?, parts.next()?, parts.next()?);
    let shaped = parts.next().is_none()
        && is_prefix(prefix)
        && (1..=10).contains(&epoch.len())
        && epoch.iter().all(u8::is_ascii_digit)
        && tail.iter().all(u8::is_ascii_alphanumeric);
    shaped.then_some((prefix, epoch, tail))
}

fn is_prefix(prefix: &[u8]) -> bool {
    (2..=8).contains(&prefix.len()) && prefix.iter().all(u8::is_ascii_alphabetic)
}

const fn next() -> [[u8; 256]; 32] {
    let mut next = [[0; 256]; 32];
    let mut at = 0;
    while at < 32 {
        let byte = ALPHABET[at];
        let value = if byte < b'a' {
            byte - b'0'
        } else {
            byte - b'a' + 10
        };
        let mut sum = 1;
        while sum <= 36 {
            next[at][sum as usize] = Check::of(sum).push(value).sum();
            sum += 1;
        }
        at += 1;
    }
    next
}

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < 32 {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pseudonym::{Class, Kind, Normaliser};

    fn text(prefix: &str, epoch: u32, bits: u128) -> String {
        let mut out = String::new();
        TextForm::new(prefix, epoch).write(&Pseudonym(bits.to_be_bytes()), &mut out);
        out
    }

    fn kinds() -> Kinds {
        Kinds::new(vec![Kind {
            name: "subscriber".into(),
            class: Class::Person,
            prefix: "sub".into(),
            normaliser: Normaliser::Subscriber,
        }])
    }

    #[test]
    fn the_ends_of_the_range() {
        let zero = text("sub", 1, 0);
        assert!(
            zero.starts_with("sub_1_00000000000000000000000000"),
            "{zero}"
        );
        let ones = text("sub", u32::MAX, u128::MAX);
        assert!(
            ones.starts_with("sub_4294967295_7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            "{ones}"
        );
        assert_eq!(parse(ones.as_bytes()).unwrap().epoch, u32::MAX);
    }

    proptest! {
        /// The plain way: digit by digit, character by character.
        #[test]
        fn the_tail_is_what_a_loop_writes(bits: u128, epoch: u32) {
            let body: Vec<u8> = (0..BODY)
                .map(|at| ALPHABET[(bits >> (5 * (BODY - 1 - at))) as usize & 31])
                .collect();
            let sum = Check::START.text(format!("sub{epoch}").as_bytes()).unwrap();
            let check = sum.text(&body).unwrap().character();
            let plain = [format!("sub_{epoch}_").as_bytes(), &body, &[check]].concat();
            let mut bytes = b"before".to_vec();
            TextForm::new("sub", epoch).write_bytes(&Pseudonym(bits.to_be_bytes()), &mut bytes);
            prop_assert_eq!(&bytes, &[b"before", &plain[..]].concat());
            prop_assert_eq!(text("sub", epoch, bits).into_bytes(), plain);
        }
    }

    #[test]
    fn more_than_128_bits_or_32_bits_of_epoch_are_refused() {
        for head in ["sub_1_8", "sub_4294967296_0", "sub_01_0"] {
            let body = format!("{head}{}", "0".repeat(25));
            let sum = Check::START.text(body.replace('_', "").as_bytes()).unwrap();
            let value = format!("{body}{}", char::from(sum.character()));
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_pseudonym_is_recognised_in_disguise() {
        let plain = text("sub", 12, 0x1234_5678_9abc_def0 << 40);
        let mut wrong_check = plain.clone().into_bytes();
        *wrong_check.last_mut().unwrap() ^= 1;
        for value in [
            plain.clone().into_bytes(),
            plain.to_uppercase().into_bytes(),
            format!(" {plain}\n").into_bytes(),
            format!("{plain}0").into_bytes(),
            plain.as_bytes()[..plain.len() - 2].to_vec(),
            wrong_check,
            text("other", 0, 5).into_bytes(),
        ] {
            assert!(looks_like_pseudonym(&value, &kinds()), "{value:?}");
        }
    }

    #[test]
    fn identifiers_do_not_look_like_pseudonyms() {
        for value in [
            "SUB-00000001",
            "sub_1",
            "first_last@example.org",
            "a_1_0123456789012345678901234567",
            "one_two_three_four_five_six_seven_eight",
            "other_1_0123456789012345678901234", // unknown prefix, two characters short
            "",
        ] {
            assert!(!looks_like_pseudonym(value.as_bytes(), &kinds()), "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(prefix in "[a-z]{2,8}", epoch: u32, bits: u128) {
            let text = text(&prefix, epoch, bits);
            prop_assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')));
            let parsed = parse(text.as_bytes());
            let pseudonym = Pseudonym(bits.to_be_bytes());
            prop_assert_eq!(parsed, Some(Parsed { prefix: &prefix, epoch, pseudonym }));
            let mut bytes = Vec::new();
            TextForm::new(&prefix, epoch).write_bytes(&pseudonym, &mut bytes);
            prop_assert_eq!(bytes, text.as_bytes());
        }

        #[test]
        fn one_wrong_character_is_seen(epoch: u32, bits: u128, at: prop::sample::Index, with in "[a-z0-9_]") {
            let text = text("sub", epoch, bits);
            let at = at.index(text.len());
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &with);
            prop_assume!(wrong != text);
            prop_assert_eq!(parse(wrong.as_bytes()), None);
        }

        #[test]
        fn what_is_read_is_written_so(value in "[a-z]{2,3}_[0-9]{1,3}_[0-7][0-9a-z]{26}") {
            if let Some(parsed) = parse(value.as_bytes()) {
                let bits = u128::from_be_bytes(parsed.pseudonym.0);
                prop_assert_eq!(text(parsed.prefix, parsed.epoch, bits), value);
            }
        }
    }
}
