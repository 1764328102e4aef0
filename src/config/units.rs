//! Sizes and times as people write them.
//!
//! What enters: `"256KiB"`, `"250ms"`. What leaves: bytes, durations, or why not. What can never
//! happen: an overflow, or a unit that is guessed.

use std::time::Duration;

/// Bytes: `"512"`, `"64KiB"`, `"16MiB"`, `"1GiB"`, and the decimal `kB`, `MB`, `GB`.
///
/// # Errors
/// What was expected.
pub fn size(text: &str) -> Result<usize, &'static str> {
    const EXPECTED: &str =
        "a size is a whole number with B, KiB, MiB, GiB, kB, MB or GB, as in \"256KiB\"";
    let (number, unit) = split(text).ok_or(EXPECTED)?;
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(EXPECTED),
    };
    let bytes = number.checked_mul(unit).ok_or("the size is too large")?;
    usize::try_from(bytes).map_err(|_| "the size is too large")
}

/// A duration: `"250ms"`, `"5s"`, `"10m"`, `"1h"`.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a time is a whole number with ms, s, m or h, as in \"5s\" or \"250ms\"";
    const LONGEST: u64 = 366 * 24 * 3600 * 1000;
    let (number, unit) = split(text).ok_or(EXPECTED)?;
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED),
    };
    match number.checked_mul(unit) {
        Some(millis) if millis <= LONGEST => Ok(Duration::from_millis(millis)),
        _ => Err("the time is longer than a year"),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("256KiB"), Ok(262_144));
        assert_eq!(size("1 MiB"), Ok(1_048_576));
        assert_eq!(size("10kB"), Ok(10_000));
        assert_eq!(size("7"), Ok(7));
        for bad in [
            "",
            "KiB",
            "1K",
            "1.5MiB",
            "-1",
            "1 kib",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "5", "5 sec", "1d", "-1s", "9000000h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
