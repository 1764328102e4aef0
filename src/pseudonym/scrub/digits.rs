//! What is found by its digits: NHS numbers, payment cards, telephone numbers.

use super::{Claims, Detector, Hit, hit};
use crate::pseudonym::Normaliser;

/// Digits in a row.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
    /// What joins it to the group before: one space, hyphen, dot or the like; 0 if nothing does.
    joined: u8,
}

impl Group {
    fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Every group of digits of a text. Those inside words are none, but for a letter directly before
/// the first digit (`tel07700…`) or behind the last (`…mg`).
fn groups(bytes: &[u8]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let start = at + offset;
        let length = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
        at = start + length.count();
        let joined = match groups.last() {
            Some(before) => joint(&bytes[before.end..start]),
            None => 0,
        };
        groups.push(Group {
            start,
            end: at,
            joined,
        });
    }
    groups
}

/// What joins two groups: a space, a hyphen, a dot or a slash, or what a word processor makes of
/// them; brackets, as in `(0)7700`, `(020) 7946`, `+44 (0) 20`. 0: nothing does.
fn joint(between: &[u8]) -> u8 {
    match between {
        [one @ (b' ' | b'-' | b'.' | b'/')] => *one,
        b"  " => b' ',
        b"(" | b")" | b" (" | b") " | b")-" | b"-(" => b'(',
        _ => match std::str::from_utf8(between) {
            // Spaces that do not break, thin ones; hyphens that do not break, dashes, minus.
            Ok("\u{a0}" | "\u{2007}" | "\u{2009}" | "\u{200a}" | "\u{202f}") => b' ',
            Ok("\u{2010}" | "\u{2011}" | "\u{2012}" | "\u{2013}" | "\u{2014}" | "\u{2212}") => b'-',
            _ => 0,
        },
    }
}

/// The digits alone: what separates them has been looked at.
pub(super) fn bare(hit: &str, out: &mut Vec<u8>) {
    out.extend(hit.bytes().filter(u8::is_ascii_digit));
}

/// Ten digits with a right check digit, together or 3-3-4.
pub(super) fn nhs(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let groups = groups(bytes);
    let (mut normal, mut digits) = (Vec::new(), Vec::new());
    let mut free = 0;
    let found = (0..groups.len()).filter_map(|at| {
        let first = groups[at];
        let last = match (first.len(), groups.get(at + 1), groups.get(at + 2)) {
            (10, ..) => first,
            (3, Some(second), Some(third))
                if (second.len(), third.len()) == (3, 4)
                    && second.joined == third.joined
                    && b" -.".contains(&second.joined) =>
            {
                *third
            }
            _ => return None,
        };
        if first.start < free || after_sign(bytes, first) {
            return None;
        }
        digits.clear();
        bare(&text[first.start..last.end], &mut digits);
        let right = Normaliser::NhsNumber.normalise(&digits, &mut normal);
        // In three groups it says what it is: a wrong check digit is a typing error, and who
        // it is can still be seen. The resolver finds no normal form, and writes a marker.
        let written_as_one = last.start != first.start;
        if right.is_err() && !written_as_one {
            return None;
        }
        free = last.end;
        Some(hit(Detector::NhsNumber, first.start, last.end))
    });
    claims.take(found);
}

fn after_sign(bytes: &[u8], group: Group) -> bool {
    group
        .start
        .checked_sub(1)
        .is_some_and(|at| bytes[at] == b'+')
}

/// 13 to 19 digits with a right check digit, together or in groups of at least two that the same
/// space or hyphen joins.
pub(super) fn cards(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let groups = groups(bytes);
    let (mut normal, mut number) = (Vec::new(), Vec::new());
    let mut free = 0;
    let found = (0..groups.len()).filter_map(|at| {
        let first = groups[at];
        if first.start < free || after_sign(bytes, first) {
            return None;
        }
        let mut digits = first.len();
        let mut ends = [None; 8];
        let mut count = 0;
        let mut last = first;
        for next in groups[at + 1..].iter().map(Some).chain([None]) {
            if (13..=19).contains(&digits) && count < ends.len() {
                ends[count] = Some(last.end);
                count += 1;
            }
            let Some(next) = next else { break };
            let separator = groups[at + 1].joined;
            let goes_on = b" -".contains(&separator) && next.joined == separator && next.len() >= 2;
            if !goes_on || digits > 19 {
                break;
            }
            digits += next.len();
            last = *next;
        }
        let end = ends[..count].iter().rev().flatten().find(|end| {
            number.clear();
            bare(&text[first.start..**end], &mut number);
            Normaliser::Card.normalise(&number, &mut normal).is_ok()
        })?;
        free = *end;
        Some(hit(Detector::Card, first.start, *end))
    });
    claims.take(found);
}

/// Digits of numbers with a country's code (ITU-T E.164).
const INTERNATIONAL: std::ops::RangeInclusive<usize> = 8..=15;
/// Digits of numbers that start with a zero: those of the United Kingdom have ten or eleven, most
/// of Europe's are within.
const NATIONAL: std::ops::RangeInclusive<usize> = 10..=12;
/// Digits from which on a group may be something else (`… 12 mg`).
const ENOUGH: usize = 11;

/// `+44 7700 900123`, `0044 …`, `07700 900123`, `(020) 7946 0958`, `+44 (0)20 7946 0958`.
pub(super) fn phones(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let groups = groups(bytes);
    let mut free = 0;
    let found = (0..groups.len()).filter_map(|at| {
        let first = groups[at];
        if first.start < free {
            return None;
        }
        let before = at.checked_sub(1).and_then(|at| groups.get(at));
        // A decimal fraction, or the end of something longer; not of a number before.
        let follows = before.is_some_and(|before| {
            before.end > free
                && first.start == before.end + 1
                && b".,-/_".contains(&bytes[before.end])
        });
        let found = phone(bytes, &groups[at..], follows)?.0;
        free = found.end;
        Some(found)
    });
    claims.take(found);
}

/// The number that the first of these groups begins, if it begins one; and whether it is known
/// where it ends.
fn phone(bytes: &[u8], groups: &[Group], follows: bool) -> Option<(Hit, bool)> {
    let first = groups.first()?;
    let plus = after_sign(bytes, *first);
    let zeros = bytes[first.start..first.end].starts_with(b"00");
    let international = plus || zeros;
    let lengths = if international {
        INTERNATIONAL
    } else {
        NATIONAL
    };
    if !plus && (bytes[first.start] != b'0' || follows) {
        return None;
    }
    // A day, a month: where an area's code has two digits, all groups have (`01 23 45 67 89`).
    let pairs = groups.iter().take(5).all(|group| group.len() == 2);
    if !plus && first.len() < 3 && !pairs {
        return None;
    }
    // Where it must end, for the countries whose numbers have one length.
    let code = &bytes[first.start + if zeros { 2 } else { 0 }..first.end];
    let exact = match international {
        true if code.starts_with(b"44") => Some(12),
        true if code.starts_with(b"1") => Some(11),
        true => None,
        false => Some(if pairs { 10 } else { 11 }),
    };
    let (mut digits, mut ends) = (0, 0);
    let mut end = None;
    for (number, group) in groups.iter().enumerate() {
        // The zero in brackets is dialled at home only.
        let home = &bytes[group.start..group.end] == b"0" && group.joined == b'(';
        if number > 0 && (group.joined == 0 || digits > *INTERNATIONAL.end()) {
            break;
        }
        if home {
            continue;
        }
        digits += group.len();
        let counted = digits - if zeros { 2 } else { 0 };
        if counted > *INTERNATIONAL.end() {
            break;
        }
        if lengths.contains(&counted) || end.is_some() {
            end = Some(group.end);
            ends += usize::from(counted >= ENOUGH || end.is_none());
        }
        if exact == Some(counted) {
            ends = 1;
            break;
        }
    }
    let mut start = first.start - usize::from(plus);
    // The bracket that stands before goes along with the one behind.
    let opened = start.checked_sub(1).is_some_and(|at| bytes[at] == b'(');
    let end = end?;
    if opened && bytes[start..end].contains(&b')') {
        start -= 1;
    }
    Some((hit(Detector::Phone, start, end), ends <= 1))
}

/// A number as E.164 has it, if it is known of which country it is.
/// Nothing if it is not known where it ends: half a number is another's.
pub(super) fn international(hit: &str, country: Option<&str>, out: &mut Vec<u8>) {
    let bytes = hit.as_bytes();
    let whole = phone(bytes, &groups(bytes), false);
    if whole.is_none_or(|(found, sure)| !sure || found.end != hit.len()) {
        return;
    }
    let mut bare = hit.trim_start_matches('(');
    let code = match (bare.strip_prefix('+'), bare.strip_prefix("00")) {
        (Some(rest), _) | (None, Some(rest)) => {
            bare = rest;
            ""
        }
        (None, None) => {
            bare = bare.strip_prefix('0').unwrap_or(bare);
            let Some(country) = country else { return };
            country
        }
    };
    out.push(b'+');
    out.extend_from_slice(code.as_bytes());
    let (front, back) = bare.split_once("(0)").unwrap_or((bare, ""));
    let digits = front.bytes().chain(back.bytes());
    out.extend(digits.filter(u8::is_ascii_digit));
}
