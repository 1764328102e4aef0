//! Calendar dates (ISO 8601-1, extended format; RFC 3339 for a time behind).

/// A date that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub year: u16,
    pub month: Option<u8>,
}

/// `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, or the last with a time behind `T` or a space:
/// `hh:mm`, `hh:mm:ss`, `hh:mm:ss.f…`, then nothing, `Z` or `±hh:mm`. The date counts as it is
/// written: no zone is applied.
pub(super) fn parse(value: &str) -> Option<Date> {
    let (date, time) = match value.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (value, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4).filter(|year| *year >= 1)?;
    let month = match parts.next() {
        Some(month) => Some(number(month, 2).filter(|m| (1..=12).contains(m))?),
        None => None,
    };
    let day = match (month, parts.next()) {
        (Some(month), Some(day)) => {
            Some(number(day, 2).filter(|d| (1..=days(year, month)).contains(d))?)
        }
        _ => None,
    };
    let time_is_right = time.is_none_or(|time| day.is_some() && is_time(time));
    if parts.next().is_some() || !time_is_right {
        return None;
    }
    Some(Date {
        year,
        month: month.and_then(|month| u8::try_from(month).ok()),
    })
}

/// Days of a month, which is one of 1 to 12.
pub(super) fn days(year: u16, month: u16) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What may stand behind a date's `T`.
pub(super) fn is_time(time: &str) -> bool {
    let clock = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => {
            let zone = &time[at..];
            let zone_is_right = matches!(zone, "Z" | "z")
                || zone[1..]
                    .split_once(':')
                    .is_some_and(|(hours, minutes)| below(hours, 24) && below(minutes, 60));
            if !zone_is_right {
                return false;
            }
            &time[..at]
        }
        None => time,
    };
    let mut parts = clock.split(':');
    let hour_and_minute = parts.next().is_some_and(|hours| below(hours, 24))
        && parts.next().is_some_and(|minutes| below(minutes, 60));
    let seconds = match parts.next() {
        None => true,
        Some(seconds) => match seconds.split_once('.') {
            // A leap second is the sixtieth.
            None => below(seconds, 61),
            Some((whole, fraction)) => {
                below(whole, 61)
                    && !fraction.is_empty()
                    && fraction.bytes().all(|byte| byte.is_ascii_digit())
            }
        },
    };
    hour_and_minute && seconds && parts.next().is_none()
}

/// Two digits, of a number below this one.
pub(super) fn below(text: &str, bound: u16) -> bool {
    number(text, 2).is_some_and(|number| number < bound)
}

/// Exactly `width` ASCII digits.
pub(super) fn number(text: &str, width: usize) -> Option<u16> {
    let is_right = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    is_right.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_are_read() {
        for (value, year, month) in [
            ("1984", 1984, None),
            ("1984-05", 1984, Some(5)),
            ("1984-05-17", 1984, Some(5)),
            ("2024-02-29", 2024, Some(2)),
            ("2000-02-29", 2000, Some(2)),
            ("2026-10-04T07:30:00Z", 2026, Some(10)),
            ("2026-10-04t07:30z", 2026, Some(10)),
            ("2026-10-04 07:30", 2026, Some(10)),
            ("2016-12-31T23:59:60.123456789+01:00", 2016, Some(12)),
            ("0001-01-01T00:00:00-23:59", 1, Some(1)),
        ] {
            assert_eq!(parse(value), Some(Date { year, month }), "{value}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_and_other_forms_are_refused() {
        for value in [
            "",
            "84",
            "0000",
            "19840",
            "1984-5",
            "1984-13",
            "1984-00",
            "1984-05-",
            "1984-05-00",
            "1984-05-32",
            "1984-04-31",
            "1985-02-29",
            "1900-02-29",
            "1984-05-17-1",
            "1984/05/17",
            "17-05-1984",
            "19840517",
            "+1984",
            "-1984",
            " 1984",
            "1984 ",
            "1984-05T07:30",
            "1984T07:30",
            "1984-05-17T",
            "1984-05-17T24:00",
            "1984-05-17T07",
            "1984-05-17T07:60",
            "1984-05-17T07:30:61",
            "1984-05-17T07:30:00.",
            "1984-05-17T07:30:00:00",
            "1984-05-17T07:30+1:00",
            "1984-05-17T07:30+24:00",
            "1984-05-17T07:30Z0",
            "1984-05-17T07:30+",
            "1984-05-17  07:30",
            "١٩٨٤",
            "1984-05-17T07:30é",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
