//! What is found by its letters: mailboxes, IP addresses, bank accounts, postcodes.

use std::net::IpAddr;

use super::{Claims, Detector, goes_on, hit};
use crate::pseudonym::Normaliser;

/// Bytes of a local part (RFC 5321, section 4.5.3.1).
const LOCAL: usize = 64;

/// What may stand before the `@` in running text. Others could, but there they end a sentence, a
/// quotation or a part of a link.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!$%'*+-^_`{|}~.".contains(&byte)
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-.".contains(&byte)
}

/// `local@domain.tld`; a domain in letters of another script counts, since nobody writes one by
/// accident.
pub(super) fn mailboxes(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let mut free = 0;
    let found = memchr::memchr_iter(b'@', bytes).filter_map(|at| {
        let local = bytes[free..at].iter().rev();
        let mut start = at - local.take_while(|byte| is_local(**byte)).count();
        // `"ann lee"@example.org`
        if let Some(inside) = bytes[free..at].strip_suffix(b"\"") {
            let near = &inside[inside.len().saturating_sub(LOCAL)..];
            let opened = memchr::memrchr(b'"', near).map(|open| at - 1 - near.len() + open);
            start = opened.unwrap_or(start);
        }
        while start < at && b".'`*/".contains(&bytes[start]) {
            start += 1;
        }
        let domain = bytes[at + 1..].iter();
        let mut end = at + 1 + domain.take_while(|byte| is_domain(**byte)).count();
        while end > at && b".-".contains(&bytes[end - 1]) {
            end -= 1;
        }
        // What stands around it in another script is a word of its own, or it is not: both are cut
        // at characters.
        while !text.is_char_boundary(start) {
            start += 1;
        }
        if start >= at || end <= at + 1 || !bytes[at + 1..end].contains(&b'.') {
            return None;
        }
        free = end;
        Some(hit(Detector::Email, start, end))
    });
    claims.take(found);
}

/// Runs of bytes of a class, as ranges.
fn runs(bytes: &[u8], class: impl Fn(u8) -> bool) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|byte| class(*byte))?;
        let length = bytes[start..].iter().position(|byte| !class(*byte));
        at = length.map_or(bytes.len(), |length| start + length);
        Some((start, at))
    })
}

/// Every word that reads as an address; what ends a sentence, a port and brackets are not of it.
/// Four numbers with dots are one whatever letters stand around them.
pub(super) fn addresses(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let found = runs(bytes, |byte| {
        byte.is_ascii_hexdigit() || b":.".contains(&byte)
    });
    let six = found.filter_map(|(start, end)| {
        let run = &bytes[start..end];
        // `::1` starts with what ends other words.
        let front = if run.starts_with(b"::") {
            0
        } else {
            run.iter().take_while(|b| b":.".contains(b)).count()
        };
        let back = run[front..].iter().rev().take_while(|b| **b == b'.');
        let (start, end) = (start + front, end - back.count());
        let around = [
            start.checked_sub(1).and_then(|at| bytes.get(at)),
            bytes.get(end),
        ];
        if around.into_iter().any(goes_on) || !bytes[start..end].contains(&b':') {
            return None;
        }
        let end = address_end(&text[start..end])? + start;
        Some(hit(Detector::Ip, start, end))
    });
    claims.take(six);
    let four = runs(bytes, |byte| byte.is_ascii_digit() || byte == b'.');
    let four = four.filter_map(|(start, end)| {
        let run = &text[start..end];
        let front = run.len() - run.trim_start_matches('.').len();
        let run = run.trim_matches('.');
        let number = |part: &str| matches!(part.parse(), Ok(0..=255u16)) && part.len() <= 3;
        let good = run.split('.').count() == 4 && run.split('.').all(number);
        // `0.0.0.0` is nobody's.
        let all_zero = run.bytes().all(|byte| b"0.".contains(&byte));
        let start = start + front;
        (good && !all_zero).then(|| hit(Detector::Ip, start, start + run.len()))
    });
    claims.take(four);
}

/// Where the address that a run begins with ends: all of it, or before `:port` or a last colon.
fn address_end(run: &str) -> Option<usize> {
    let is_address = |text: &str| {
        let address = text.parse::<IpAddr>();
        // `::` alone is more often a line of code.
        address.is_ok_and(|address| !address.is_unspecified())
    };
    if is_address(run) {
        return Some(run.len());
    }
    let (front, port) = run.rsplit_once(':')?;
    (port.bytes().all(|byte| byte.is_ascii_digit()) && is_address(front)).then_some(front.len())
}

/// Words, or groups of four with one space between, that begin like an account number and whose
/// check digits are right.
pub(super) fn accounts(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let mut free = 0;
    let found = bytes.windows(4).enumerate().filter_map(|(start, head)| {
        let begins = start >= free
            && head[..2].iter().all(u8::is_ascii_alphabetic)
            && head[2..].iter().all(u8::is_ascii_digit)
            && !goes_on(start.checked_sub(1).and_then(|at| bytes.get(at)));
        if !begins {
            return None;
        }
        let end = account_end(&bytes[start..])? + start;
        free = end;
        Some(hit(Detector::Iban, start, end))
    });
    claims.take(found);
}

/// Where the account number that `bytes` begin with ends: behind a word, or behind the last of
/// groups of four. Of several ends the last: what follows a number seldom makes it another.
fn account_end(bytes: &[u8]) -> Option<usize> {
    /// 34 characters with a space behind every fourth.
    const LONGEST: usize = 34 + 8;
    let mut normal = Vec::new();
    let mut is_right = |end: usize| {
        Normaliser::Iban
            .normalise(&bytes[..end], &mut normal)
            .is_ok()
    };
    let most = &bytes[..bytes.len().min(LONGEST)];
    let (mut end, mut start) = (None, 0);
    for word in most.split(|byte| !byte.is_ascii_alphanumeric()) {
        let last = start + word.len();
        let ends = !word.is_empty() && !goes_on(bytes.get(last));
        if ends && (start == 0 || word.len() <= 4) && is_right(last) {
            end = Some(last);
        }
        let goes_on = word.len() == 4 && bytes.get(last) == Some(&b' ');
        if !goes_on {
            break;
        }
        start = last + 1;
    }
    end
}

/// `LS1 4AP`, `ls1 4ap`, `LS14AP`. In small letters only with the space: without it, too many
/// words and codes look like one.
pub(super) fn postcodes(text: &str, claims: &mut Claims<'_>) {
    let bytes = text.as_bytes();
    let mut normal = Vec::new();
    let mut is_postcode = move |start: usize, end: usize| {
        let good = Normaliser::Postcode
            .normalise(&bytes[start..end], &mut normal)
            .is_ok();
        good.then_some(hit(Detector::Postcode, start, end))
    };
    let words = runs(bytes, |byte| byte.is_ascii_alphanumeric() || byte >= 0x80);
    let mut before: Option<(usize, usize)> = None;
    let found = words.filter_map(|(start, end)| {
        let outward = before.replace((start, end));
        let is_word = |start: usize, end: usize, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&(end - start)) && bytes[start..end].is_ascii()
        };
        if is_word(start, end, 5..=7) && !bytes[start..end].iter().any(u8::is_ascii_lowercase) {
            let found = is_postcode(start, end);
            if found.is_some() {
                before = None;
                return found;
            }
        }
        let (first, last) = outward?;
        if !is_word(start, end, 3..=3)
            || !is_word(first, last, 2..=4)
            || start != last + 1
            || bytes[last] != b' '
        {
            return None;
        }
        let found = is_postcode(first, end)?;
        before = None;
        Some(found)
    });
    claims.take(found);
}
