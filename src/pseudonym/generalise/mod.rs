//! Generalising: a coarser value in a value's place.
//!
//! What enters: a value as text, and how coarse it shall become. What leaves: the coarser value,
//! or a refusal. What can never happen: a value that was not understood passes, in whole or in
//! part, or a date that does not exist becomes a year.

use std::fmt::Write;
use std::net::IpAddr;

mod date;
mod number;
pub(super) mod postcode;

/// A coarser value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generalise {
    /// `1984-05-17` → `1984`. Dates as in ISO 8601: `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, the last
    /// with or without a time behind.
    Year,
    /// `1984-05-17` → `1984-05`.
    Month,
    /// An age in years, 0 to 150 → `30-39` (`width` years; `top` and above is one band, `90+`).
    AgeBand { width: u16, top: u16 },
    /// `LS1 4AP` → `LS1` (United Kingdom, BS 7666).
    OutwardPostcode,
    /// `198.51.100.7` → `198.51.100.0/24`.
    IpPrefix { v4: u8, v6: u8 },
    /// A number → the lower bound of its bucket of this width.
    Bucket { width: u32 },
}

/// The value is not of the form that the rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be generalised as its rule says")]
pub struct NotGeneralisable;

/// Appends the coarser value to `out`; after a refusal `out` is as it was.
///
/// # Errors
/// [`NotGeneralisable`] if the value is not of the form named in [`Generalise`], or the
/// parameters make no sense (a width of 0, a prefix longer than the address), which the
/// configuration has refused before.
pub fn generalise(
    spec: &Generalise,
    value: &str,
    out: &mut String,
) -> Result<(), NotGeneralisable> {
    let start = out.len();
    let written = match *spec {
        Generalise::Year => year(value, out),
        Generalise::Month => month(value, out),
        Generalise::AgeBand { width, top } => age_band(value, width, top, out),
        Generalise::OutwardPostcode => postcode::outward(value, out),
        Generalise::IpPrefix { v4, v6 } => ip_prefix(value, v4, v6, out),
        Generalise::Bucket { width } => bucket(value, width, out),
    };
    if written.is_none() {
        out.truncate(start);
    }
    written.ok_or(NotGeneralisable)
}

fn year(value: &str, out: &mut String) -> Option<()> {
    let date = date::parse(value)?;
    write!(out, "{:04}", date.year).ok()
}

fn month(value: &str, out: &mut String) -> Option<()> {
    let date = date::parse(value)?;
    write!(out, "{:04}-{:02}", date.year, date.month?).ok()
}

/// Whole years only: a band that guessed at `34.9` would be one that guessed.
fn age_band(value: &str, width: u16, top: u16, out: &mut String) -> Option<()> {
    let is_whole = value.bytes().all(|byte| byte.is_ascii_digit());
    if !is_whole || value.len() > 3 || (value.len() > 1 && value.starts_with('0')) {
        return None;
    }
    let age: u16 = value.parse().ok().filter(|age| *age <= 150)?;
    if age >= top {
        return write!(out, "{top}+").ok();
    }
    let low = age.checked_div(width)? * width;
    let high = (u32::from(low) + u32::from(width) - 1).min(u32::from(top) - 1);
    if high == u32::from(low) {
        write!(out, "{low}").ok()
    } else {
        write!(out, "{low}-{high}").ok()
    }
}

/// An IPv4 address in IPv6 clothes (`::ffff:198.51.100.7`) is the IPv4 address that it is.
fn ip_prefix(value: &str, v4: u8, v6: u8, out: &mut String) -> Option<()> {
    match value.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let shift = 32u32.checked_sub(u32::from(v4))?;
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            let network = std::net::Ipv4Addr::from_bits(address.to_bits() & mask);
            write!(out, "{network}/{v4}").ok()
        }
        IpAddr::V6(address) => {
            let shift = 128u32.checked_sub(u32::from(v6))?;
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            let network = std::net::Ipv6Addr::from_bits(address.to_bits() & mask);
            write!(out, "{network}/{v6}").ok()
        }
    }
}

fn bucket(value: &str, width: u32, out: &mut String) -> Option<()> {
    let floor = number::floor(value)?;
    let width = i128::from(width);
    let low = floor.checked_div_euclid(width)?.checked_mul(width)?;
    write!(out, "{low}").ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(spec: Generalise, value: &str) -> Option<String> {
        let mut out = String::from("kept ");
        match generalise(&spec, value, &mut out) {
            Ok(()) => Some(out["kept ".len()..].to_string()),
            Err(NotGeneralisable) => {
                assert_eq!(out, "kept ");
                None
            }
        }
    }

    #[test]
    fn ages_fall_into_bands() {
        let bands = Generalise::AgeBand { width: 10, top: 85 };
        for (age, band) in [
            ("0", "0-9"),
            ("9", "0-9"),
            ("10", "10-19"),
            ("84", "80-84"),
            ("85", "85+"),
            ("150", "85+"),
        ] {
            assert_eq!(made(bands, age).as_deref(), Some(band));
        }
        for age in [
            "151",
            "-1",
            "+9",
            "07",
            "34.5",
            "",
            " 9",
            "99999999999",
            "٣",
        ] {
            assert_eq!(made(bands, age), None, "{age}");
        }
        let single = Generalise::AgeBand { width: 1, top: 90 };
        assert_eq!(made(single, "34").as_deref(), Some("34"));
        assert_eq!(made(Generalise::AgeBand { width: 0, top: 90 }, "34"), None);
        assert_eq!(
            made(Generalise::AgeBand { width: 10, top: 0 }, "34").as_deref(),
            Some("0+")
        );
    }

    #[test]
    fn addresses_keep_their_prefix() {
        let prefix = Generalise::IpPrefix { v4: 24, v6: 48 };
        for (address, network) in [
            ("198.51.100.7", "198.51.100.0/24"),
            ("2001:db8:1:2::7", "2001:db8:1::/48"),
            ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ] {
            assert_eq!(made(prefix, address).as_deref(), Some(network));
        }
        for address in [
            "198.51.100.07",
            "198.51.100",
            "198.51.100.7:80",
            "[::1]",
            "fe80::1%eth0",
            "::g",
            "",
        ] {
            assert_eq!(made(prefix, address), None, "{address}");
        }
        let all = Generalise::IpPrefix { v4: 0, v6: 0 };
        assert_eq!(made(all, "198.51.100.7").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(made(all, "2001:db8::1").as_deref(), Some("::/0"));
        assert_eq!(
            made(Generalise::IpPrefix { v4: 33, v6: 48 }, "198.51.100.7"),
            None
        );
        let whole = Generalise::IpPrefix { v4: 32, v6: 128 };
        assert_eq!(
            made(whole, "198.51.100.7").as_deref(),
            Some("198.51.100.7/32")
        );
    }

    #[test]
    fn buckets_floor() {
        let tens = Generalise::Bucket { width: 10 };
        for (number, low) in [
            ("0", "0"),
            ("9.999", "0"),
            ("10", "10"),
            ("-0.1", "-10"),
            ("-10", "-10"),
            ("-10.5", "-20"),
        ] {
            assert_eq!(made(tens, number).as_deref(), Some(low), "{number}");
        }
        assert_eq!(made(Generalise::Bucket { width: 0 }, "5"), None);
        assert_eq!(
            made(Generalise::Bucket { width: 3 }, "9007199254740993").as_deref(),
            Some("9007199254740993")
        );
    }

    #[test]
    fn dates_lose_their_days() {
        assert_eq!(
            made(Generalise::Year, "1984-05-17").as_deref(),
            Some("1984")
        );
        assert_eq!(
            made(Generalise::Month, "1984-05-17").as_deref(),
            Some("1984-05")
        );
        assert_eq!(made(Generalise::Month, "1984"), None);
        assert_eq!(made(Generalise::Year, "1985-02-29"), None);
    }

    fn specs() -> [Generalise; 6] {
        [
            Generalise::Year,
            Generalise::Month,
            Generalise::AgeBand { width: 10, top: 90 },
            Generalise::OutwardPostcode,
            Generalise::IpPrefix { v4: 24, v6: 48 },
            Generalise::Bucket { width: 5 },
        ]
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(value in prop_oneof![any::<String>(), "[-+0-9eET:. ]{0,24}", "[A-Z0-9 ]{0,9}"]) {
            for spec in specs() {
                let _ = made(spec, &value);
            }
        }

        #[test]
        fn a_bucket_holds_its_number(units in -1_000_000i64..1_000_000, hundredths in 0u8..100, width in 1u32..5000) {
            let value = format!("{units}.{hundredths:02}");
            let low: i64 = made(Generalise::Bucket { width }, &value).unwrap().parse().unwrap();
            // `-3.25` is below -3; a fraction of zero changes nothing.
            let scaled = units * 100 + if units < 0 { -1 } else { 1 } * i64::from(hundredths);
            prop_assert!(low * 100 <= scaled && scaled < (low + i64::from(width)) * 100);
            prop_assert_eq!(low.rem_euclid(i64::from(width)), 0);
        }
    }
}
