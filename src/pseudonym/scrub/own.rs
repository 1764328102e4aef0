//! The record's own identifiers inside its texts, in other spellings.
//!
//! What enters: the values that other rules replace, and a text. What leaves: where those values
//! stand in it, whatever the case of their letters and whatever separates their parts.
//!
//! Text and values are *folded*: letters in small, digits, nothing else. A gap of more than
//! [`GAP`] other characters stays one, so that nothing is found across it.

use std::fmt;
use std::ops::Range;

use memchr::memmem;

use super::{Claims, Hit, What};
use crate::limits;
use crate::pseudonym::Normaliser;

/// Characters that are neither letters nor digits within one spelling: `Lee, Ann`, `943 - 476`.
const GAP: usize = 3;

/// Letters and digits of the shortest identifier that is looked for, and of a part of a name.
const SHORTEST: usize = 4;
const SHORTEST_PART: usize = 3;

/// Digits at a code's end that stand for it alone: `00000001` for `SUB-00000001`.
const SHORTEST_TAIL: usize = 6;

/// Parts of names that are nobody's, and words before them.
const PARTICLES: &[&str] = &[
    "and", "aus", "ben", "bin", "dal", "das", "del", "della", "den", "der", "des", "dos", "ibn",
    "les", "los", "mrs", "miss", "ms", "mr", "dr", "prof", "san", "the", "van", "vom", "von",
    "zur",
];

/// Identifiers of one record, ready to be looked for.
#[derive(Default)]
pub struct Owns {
    /// A folded spelling and whose it is, the longest first.
    spellings: Vec<(Box<[u8]>, usize)>,
    count: usize,
    sorted: bool,
}

impl fmt::Debug for Owns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owns({})", self.count)
    }
}

impl Owns {
    /// Takes a value; its hits have the number that this gives. `normaliser`: its kind's, if it
    /// has one. `None` if there is room for no more: [`limits::OWN_IDENTIFIERS`].
    pub fn add(&mut self, value: &str, normaliser: Option<Normaliser>) -> Option<usize> {
        if self.count == limits::OWN_IDENTIFIERS {
            return None;
        }
        let number = self.count;
        self.count += 1;
        for spelling in spellings(value, normaliser) {
            let known = self
                .spellings
                .iter()
                .any(|(other, _)| **other == *spelling.as_bytes());
            if !known {
                self.spellings.push((spelling.into_bytes().into(), number));
            }
        }
        self.sorted = false;
        Some(number)
    }

    /// To be called once all are in.
    pub fn ready(&mut self) {
        // Who is longer is found first: `Ann Lee` before `Ann`.
        self.spellings
            .sort_by_key(|(spelling, _)| std::cmp::Reverse(spelling.len()));
        self.sorted = true;
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn find(&self, text: &str, claims: &mut Claims<'_>) {
        debug_assert!(self.sorted || self.spellings.is_empty());
        if self.spellings.is_empty() {
            return;
        }
        let bytes = text.as_bytes();
        let text = Folded::of(text);
        for (spelling, number) in &self.spellings {
            let mut free = 0;
            let found = memmem::find_iter(&text.bytes, &**spelling).filter_map(|at| {
                let range = text.whole(at..at + spelling.len())?;
                if range.start < free {
                    return None;
                }
                free = range.end;
                // The plus sign of a telephone number goes along.
                let plus = spelling[0].is_ascii_digit()
                    && range
                        .start
                        .checked_sub(1)
                        .is_some_and(|at| bytes[at] == b'+');
                Some(Hit {
                    start: range.start - usize::from(plus),
                    end: range.end,
                    what: What::Own(*number),
                })
            });
            claims.take(found);
        }
    }
}

/// A folded text, and where its bytes come from.
struct Folded {
    bytes: Vec<u8>,
    /// Start and end, in the text, of the character that each byte comes from.
    from: Vec<(u32, u32)>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let mut folded = Self {
            bytes: Vec::with_capacity(text.len()),
            from: Vec::with_capacity(text.len()),
        };
        let mut gap = 0;
        for (at, char) in text.char_indices() {
            if !char.is_alphanumeric() {
                gap += usize::from(!is_invisible(char));
                if gap == GAP + 1 {
                    folded.push(0, at, char);
                }
                continue;
            }
            gap = 0;
            fold(char, |byte| folded.push(byte, at, char));
        }
        folded
    }

    fn push(&mut self, byte: u8, at: usize, char: char) {
        // A value is far below 4 GiB: limits::VALUE.
        let end = u32::try_from(at + char.len_utf8()).unwrap_or(u32::MAX);
        let start = u32::try_from(at).unwrap_or(u32::MAX);
        self.bytes.push(byte);
        self.from.push((start, end));
    }

    /// Where this stands in the text, if it is not the middle of a word.
    fn whole(&self, at: Range<usize>) -> Option<Range<usize>> {
        let joined = |left: usize, right: usize| {
            let (left_byte, right_byte) = (self.bytes[left], self.bytes[right]);
            // `NHS9434765919` is two words to whoever reads it.
            self.from[left].1 == self.from[right].0
                && left_byte.is_ascii_digit() == right_byte.is_ascii_digit()
        };
        let (first, last) = (at.start, at.end - 1);
        let inside = (first > 0 && joined(first - 1, first))
            || (at.end < self.bytes.len() && joined(last, at.end))
            // Within one character that folds to several.
            || (first > 0 && self.from[first - 1] == self.from[first])
            || (at.end < self.bytes.len() && self.from[last] == self.from[at.end]);
        (!inside).then(|| self.from[first].0 as usize..self.from[last].1 as usize)
    }
}

/// Nobody sees them: they do not even make a gap.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

fn fold(char: char, mut push: impl FnMut(u8)) {
    // Digits of full width are typed by accident, and mean the others.
    let char = match char {
        '\u{ff10}'..='\u{ff19}' => char::from_u32(u32::from(char) - 0xff10 + 0x30).unwrap_or(char),
        '\u{3c2}' => '\u{3c3}',
        other => other,
    };
    for lower in char.to_lowercase().filter(|char| char.is_alphanumeric()) {
        lower.encode_utf8(&mut [0; 4]).bytes().for_each(&mut push);
    }
}

fn folded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let letters = text.chars().filter(|char| char.is_alphanumeric());
    letters.for_each(|char| fold(char, |byte| bytes.push(byte)));
    String::from_utf8(bytes).unwrap_or_default()
}

/// What a value is, as far as spellings go.
fn spellings(value: &str, normaliser: Option<Normaliser>) -> Vec<String> {
    let whole = folded(value);
    let mut all = match normaliser {
        Some(Normaliser::Email) => mailbox(value),
        Some(Normaliser::Phone) => phone(&whole),
        Some(Normaliser::Name) => name(value),
        Some(Normaliser::Subscriber | Normaliser::Kit | Normaliser::Provider) => code(&whole),
        Some(_) => Vec::new(),
        None if value.contains('@') => mailbox(value),
        None if value.starts_with('+') => phone(&whole),
        None => match date(value) {
            Some(spellings) => spellings,
            None if whole.bytes().any(|byte| byte.is_ascii_digit()) => code(&whole),
            None => name(value),
        },
    };
    all.push(whole);
    let long_enough = |spelling: &String| spelling.chars().count() >= SHORTEST_PART;
    all.retain(long_enough);
    // Parts of names are let through above; nothing else is so short.
    let is_name = matches!(normaliser, None | Some(Normaliser::Name));
    all.retain(|spelling| is_name || spelling.chars().count() >= SHORTEST);
    all
}

/// `ann.lee@example.org` as `ann.lee at example dot org`.
fn mailbox(value: &str) -> Vec<String> {
    let Some((local, domain)) = value.rsplit_once('@') else {
        return Vec::new();
    };
    let dots = domain.split('.').collect::<Vec<_>>().join("dot");
    vec![
        folded(&format!("{local}at{domain}")),
        folded(&format!("{local}at{dots}")),
    ]
}

/// `+447700900123` as `00447700900123`, and as it is dialled at home, whatever the length of the
/// country's code.
fn phone(digits: &str) -> Vec<String> {
    let home = (1..=3).filter_map(|code| digits.get(code..));
    let mut all: Vec<String> = home.map(|rest| format!("0{rest}")).collect();
    // `+44 (0)7700 900123`
    let both = (1..=3).filter_map(|code| Some((digits.get(..code)?, digits.get(code..)?)));
    all.extend(both.map(|(code, rest)| format!("{code}0{rest}")));
    all.push(format!("00{digits}"));
    all.retain(|spelling| spelling.len() >= 2 * SHORTEST);
    all
}

/// `SUB-00000001` as `00000001`.
fn code(whole: &str) -> Vec<String> {
    let letters = whole.trim_end_matches(|char: char| char.is_ascii_digit());
    let tail = &whole[letters.len()..];
    (tail.len() >= SHORTEST_TAIL)
        .then(|| tail.to_owned())
        .into_iter()
        .collect()
}

/// `Ann Mary Lee` as `Lee, Ann Mary`, `Ann Lee`, `Lee, Ann`, `A. Lee`, `Ann`, `Mary`, `Lee`.
fn name(value: &str) -> Vec<String> {
    let parts: Vec<String> = value
        .split_whitespace()
        .map(folded)
        .filter(|part| !part.is_empty())
        .collect();
    let mut all = Vec::new();
    if let [first, .., last] = &parts[..] {
        let front = parts[..parts.len() - 1].concat();
        all.extend([
            format!("{last}{front}"),
            format!("{first}{last}"),
            format!("{last}{first}"),
        ]);
        if let Some(initial) = first.chars().next() {
            all.extend([format!("{initial}{last}"), format!("{last}{initial}")]);
        }
    }
    let words = value
        .split(|char: char| !char.is_alphanumeric())
        .map(folded);
    let part = |word: &String| {
        word.chars().count() >= SHORTEST_PART && !PARTICLES.contains(&word.as_str())
    };
    all.extend(words.filter(part));
    all
}

/// `1984-05-17` as `17/05/1984`, `17.5.84`, `17 May 1984`, `May 17, 1984` and without separators.
fn date(value: &str) -> Option<Vec<String>> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let date = value
        .get(..10)
        .filter(|_| value.len() == 10 || value.as_bytes().get(10) == Some(&b'T'))?;
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<usize>().ok().filter(|_| digits)
    };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (Some(_), Some(at), Some(short)) = (number(year), number(month), number(day)) else {
        return None;
    };
    let name = MONTHS.get(at.checked_sub(1)?)?;
    let mut all = vec![
        format!("{year}{month}{day}"),
        format!("{day}{month}{year}"),
        format!("{month}{day}{year}"),
    ];
    all.push(format!("{short}{at}{year}"));
    all.push(format!("{day}{month}{}", &year[2..]));
    for month in [*name, &name[..3]] {
        for day in [day.to_owned(), short.to_string()] {
            for ending in ["", "st", "nd", "rd", "th"] {
                all.push(format!("{day}{ending}{month}{year}"));
                all.push(format!("{month}{day}{ending}{year}"));
            }
        }
    }
    Some(all)
}
