//! Dates moved: every date of one subject by the same number of days.
//!
//! What enters: a subject's [`Draw`], the most days, a date as text. What leaves: another date in
//! the input's own form, or a refusal. What can never happen: a date stays where it was, a date
//! that does not exist becomes one that does, or anything passes behind a date that is no time.
//!
//! ```text
//! 2026-10-04                      the calendar date of RFC 3339 (ISO 8601, extended)
//! 2026-10-04T07:30:00.5+01:00     a time behind `T`, `t` or a space: hh:mm, hh:mm:ss, a fraction,
//!                                 then nothing, `Z` or ±hh:mm; it stays byte for byte
//! 20261004                        ISO 8601, basic: a DA of DICOM, a DT of HL7
//! 202610040730, 20261004073000    the same with hhmm or hhmmss behind, the latter perhaps with a
//!                                 fraction, both perhaps with ±hhmm; it stays byte for byte
//! ```
//!
//! No zone is applied: the date counts as it is written. `2026100407` is refused, since seconds
//! since 1970 are written with as many digits.

use super::date::{below, days, is_time, number};
use super::derive::Draw;

/// By how many days a subject's dates are moved: never zero, which would tell the true dates of
/// whoever is drawn so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offset(i32);

/// The value is no date of a form above, or the other date would lie outside the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is no date that can be shifted")]
pub struct NotADate;

impl Offset {
    /// One of `-days … -1, 1 … days`, all as likely: the draw's first 110 bits, as a fraction of
    /// one, choose among `2 × days`. Nothing is drawn again, and no choice is more likely than
    /// another by more than 2^-93.
    ///
    /// `days` is 1 or more, as the configuration has checked.
    pub fn of(draw: &Draw, days: u16) -> Self {
        let fraction = u128::from_be_bytes(draw.0) >> 18;
        // 110 bits and 17 are fewer than 128.
        let chosen = (fraction * 2 * u128::from(days.max(1))) >> 110;
        let chosen = i32::try_from(chosen).unwrap_or(0);
        let days = i32::from(days.max(1));
        Self(match chosen < days {
            true => chosen - days,
            false => chosen - days + 1,
        })
    }

    /// In days.
    pub fn days(self) -> i32 {
        self.0
    }
}

impl std::fmt::Debug for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offset(hidden)")
    }
}

/// Appends the other date to `out`; after a refusal `out` is as it was.
///
/// # Errors
/// [`NotADate`].
pub fn shift(offset: Offset, value: &str, out: &mut String) -> Result<(), NotADate> {
    let (day, dashed, rest) = parse(value).ok_or(NotADate)?;
    let Day { year, month, day } = day.plus(offset.0).ok_or(NotADate)?;
    use std::fmt::Write as _;
    let written = match dashed {
        true => write!(out, "{year:04}-{month:02}-{day:02}"),
        false => write!(out, "{year:04}{month:02}{day:02}"),
    };
    debug_assert!(written.is_ok(), "a string takes any text");
    out.push_str(rest);
    Ok(())
}

/// A day that exists, in the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    year: u16,
    month: u16,
    day: u16,
}

/// The day, whether it has hyphens, and what stands behind it.
fn parse(value: &str) -> Option<(Day, bool, &str)> {
    if let Some((date, rest)) = value.split_at_checked(10)
        && date.as_bytes()[4] == b'-'
    {
        let (year, month, day) = (date.get(..4)?, date.get(5..7)?, date.get(8..)?);
        let behind = rest.strip_prefix(['T', 't', ' ']);
        let right = date.as_bytes()[7] == b'-' && (rest.is_empty() || behind.is_some_and(is_time));
        return right.then_some((Day::of(year, month, day)?, true, rest));
    }
    let (date, rest) = value.split_at_checked(8)?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    (rest.is_empty() || is_basic_time(rest)).then_some((Day::of(year, month, day)?, false, rest))
}

/// `hhmm`, `hhmmss` or `hhmmss.f…`, then perhaps `±hhmm`.
fn is_basic_time(time: &str) -> bool {
    let four = |text: &str| {
        let halves = text.split_at_checked(2);
        halves.is_some_and(|(hours, minutes)| below(hours, 24) && below(minutes, 60))
    };
    let clock = match time.find(['+', '-']) {
        Some(at) if four(&time[at + 1..]) => &time[..at],
        Some(_) => return false,
        None => time,
    };
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (clock, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match whole.split_at_checked(4) {
        Some((clock, "")) => four(clock) && fraction.is_none(),
        // A leap second is the sixtieth.
        Some((clock, seconds)) => four(clock) && below(seconds, 61) && fraction.is_none_or(digits),
        None => false,
    }
}

impl Day {
    fn of(year: &str, month: &str, day: &str) -> Option<Self> {
        let year = number(year, 4).filter(|year| *year >= 1)?;
        let month = number(month, 2).filter(|month| (1..=12).contains(month))?;
        let day = number(day, 2).filter(|day| (1..=days(year, month)).contains(day))?;
        Some(Self { year, month, day })
    }

    /// So many days later in the proleptic Gregorian calendar.
    fn plus(self, by: i32) -> Option<Self> {
        let number = self.number().checked_add(by)?;
        let year = Self::year_of(number)?;
        let mut left = number - Self::before(year);
        let mut month = 1;
        while left >= i32::from(days(year, month)) {
            left -= i32::from(days(year, month));
            month += 1;
        }
        Some(Self {
            year,
            month,
            day: u16::try_from(left + 1).ok()?,
        })
    }

    /// Days since the first of January of the year 1.
    fn number(self) -> i32 {
        let months: u16 = (1..self.month).map(|month| days(self.year, month)).sum();
        Self::before(self.year) + i32::from(months) + i32::from(self.day) - 1
    }

    /// Days before a year: every fourth one is a leap year, but for three in 400 years.
    fn before(year: u16) -> i32 {
        let past = i32::from(year) - 1;
        past * 365 + past / 4 - past / 100 + past / 400
    }

    /// The year that a day number lies in, if it is one of 1 to 9999.
    fn year_of(number: i32) -> Option<u16> {
        if number < 0 {
            return None;
        }
        // No year is longer than 366 days, so this is the year or one a little before it.
        let mut year = u16::try_from(number / 366 + 1).ok()?;
        while Self::before(year + 1) <= number {
            year += 1;
            if year > 9999 {
                return None;
            }
        }
        Some(year)
    }
}

/// Any bytes: a panic only for a defect of ours. What is shifted has the input's own form, is
/// another date, and goes back by as many days.
pub fn fuzz_date(bytes: &[u8]) {
    let (head, value) = bytes.split_at(bytes.len().min(18));
    let mut draw = [0; 18];
    draw[..head.len()].copy_from_slice(head);
    let (days, draw) = (u16::from_be_bytes([draw[0], draw[1]]), &draw[2..]);
    let draw = Draw(<[u8; 16]>::try_from(draw).unwrap_or_default());
    let offset = Offset::of(&draw, days);
    let most = i32::from(days.max(1));
    assert!(offset.0 != 0 && (-most..=most).contains(&offset.0));
    for value in [value, bytes] {
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        let mut out = "before".to_owned();
        let Ok(()) = shift(offset, value, &mut out) else {
            assert_eq!(out, "before");
            continue;
        };
        let other = &out["before".len()..];
        assert!(other.len() == value.len() && other != value);
        assert_eq!(other.get(10..), value.get(10..));
        let mut back = String::new();
        assert_eq!(shift(Offset(-offset.0), other, &mut back), Ok(()));
        assert_eq!(back, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moved(by: i32, value: &str) -> Option<String> {
        let mut out = "x".to_owned();
        let done = shift(Offset(by), value, &mut out);
        match done {
            Ok(()) => Some(out[1..].to_owned()),
            Err(NotADate) => {
                assert_eq!(out, "x", "{value}");
                None
            }
        }
    }

    #[test]
    fn formats_07_a_shifted_date_has_its_own_form_and_keeps_its_time() {
        for (by, value, other) in [
            (1, "2026-10-04", "2026-10-05"),
            (-1, "2026-01-01", "2025-12-31"),
            (60, "2024-01-01", "2024-03-01"),
            (59, "2023-01-01", "2023-03-01"),
            (365, "1900-03-01", "1901-03-01"),
            (
                2,
                "2026-10-04T07:30:00.250+01:00",
                "2026-10-06T07:30:00.250+01:00",
            ),
            (2, "2016-12-31t23:59:60z", "2017-01-02t23:59:60z"),
            (2, "2026-10-04 07:30", "2026-10-06 07:30"),
            (1, "20240228", "20240229"),
            (1, "202402282359", "202402292359"),
            (1, "20240228235960.125+0100", "20240229235960.125+0100"),
            (1, "202402282359-1200", "202402292359-1200"),
            (-1, "0001-01-02", "0001-01-01"),
            (1, "9999-12-30", "9999-12-31"),
        ] {
            assert_eq!(moved(by, value).as_deref(), Some(other), "{value} {by}");
        }
    }

    #[test]
    fn formats_07_what_is_no_date_is_refused_and_never_repaired() {
        for value in [
            "",
            "2026",
            "2026-10",
            "2026-1-4",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-10-00",
            "0000-01-01",
            "2026-10-04T",
            "2026-10-04T24:00",
            "2026-10-04X07:30",
            "2026-10-04 Ann Lee",
            "2026-10-04T07:30:00Z Ann",
            "2026-10-04Z",
            "2026/10/04",
            "04.10.2026",
            "2026-1004",
            "202610-04",
            "20260229",
            "2026100",
            "2026100407",
            "1612120112",
            "20261004073",
            "1606071600123",
            "20261004T073000",
            "202610040730.5",
            "20261004073061",
            "20261004073000.",
            "20261004073000Z",
            "20261004+0100",
            "２０２６-10-04",
            " 2026-10-04",
            "-2026-10-04",
            "+2026-10-04",
            "2026-10-é",
            "202610é",
        ] {
            assert_eq!(moved(1, value), None, "{value}");
        }
        assert_eq!(moved(-1, "0001-01-01"), None);
        assert_eq!(moved(1, "9999-12-31"), None);
        assert_eq!(moved(i32::MAX, "2026-10-04"), None);
        assert_eq!(moved(i32::MIN, "2026-10-04"), None);
    }

    #[test]
    fn formats_07_offsets_reach_every_day_but_none_and_no_further() {
        let mut counts = [0u32; 7];
        // Evenly spaced draws fall evenly.
        for n in 0..6000u128 {
            let draw = Draw((u128::MAX / 6000 * n).to_be_bytes());
            let offset = Offset::of(&draw, 3).days();
            counts[usize::try_from(offset + 3).unwrap()] += 1;
        }
        assert_eq!(counts[3], 0, "a date stayed where it was");
        for (at, count) in counts.iter().enumerate().filter(|(at, _)| *at != 3) {
            assert!((999..=1001).contains(count), "{at}: {counts:?}");
        }
        for days in [1, 183, u16::MAX] {
            let ends = [[0; 16], [0xff; 16]].map(|draw| Offset::of(&Draw(draw), days).days());
            assert_eq!(ends, [-i32::from(days), i32::from(days)]);
        }
        assert_eq!(format!("{:?}", Offset(12)), "Offset(hidden)");
        assert_eq!(format!("{:?}", Draw([1; 16])), "Draw(hidden)");
    }

    proptest! {
        /// Another calendar says the same.
        #[cfg(feature = "worlds")]
        #[test]
        fn formats_07_intervals_are_kept(first in 1u32..3_600_000, apart in 0u32..40_000, by in -3650..3650i32) {
            let text = |day: u32| {
                let date = time::Date::MIN
                    .replace_year(1)
                    .ok()
                    .and_then(|d| d.checked_add(time::Duration::days(i64::from(day))))
                    .expect("within 9999 years");
                let (year, month, day) = date.to_calendar_date();
                (format!("{year:04}-{:02}-{day:02}", u8::from(month)), date)
            };
            let ((one, from), (two, to)) = (text(first), text(first + apart));
            let both = moved(by, &one).zip(moved(by, &two));
            let wanted = |date: time::Date| {
                let date = date.checked_add(time::Duration::days(i64::from(by)))?;
                let (year, month, day) = date.to_calendar_date();
                (1..=9999).contains(&year).then(|| format!("{year:04}-{:02}-{day:02}", u8::from(month)))
            };
            prop_assert_eq!(both, wanted(from).zip(wanted(to)));
        }

        #[test]
        fn formats_07_any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            fuzz_date(&bytes);
        }

        #[test]
        fn formats_07_what_is_nearly_a_date_has_an_answer(
            draw in proptest::collection::vec(any::<u8>(), 18),
            date in "[0-9]{4}-?[01][0-9]-?[0-3][0-9]([Tt ]?[0-2][0-9]:?[0-5][0-9](:?[0-5][0-9])?(\\.[0-9]{1,3})?(Z|[+-][01][0-9]:?[0-5][0-9])?)?",
        ) {
            fuzz_date(&[&draw[..], date.as_bytes()].concat());
        }
    }
}
