//! Codes that an organisation gives out: subscriber, kit, provider.

/// Shorter ones are no identifiers of ours; a UUID has 36 characters, and nothing that people
/// read out or print on a tube comes near the upper end.
const LENGTH: std::ops::RangeInclusive<usize> = 4..=64;

/// Groups of ASCII letters and digits with single hyphens between them, with a digit or a hyphen
/// somewhere (a bare word is no code). Case does not count: printed codes are read out and typed
/// in, so the normal form is upper case. Zeros count, leading ones too.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut before = b'-';
    let mut is_code = false;
    for &byte in value {
        let in_group = byte.is_ascii_alphanumeric();
        if !in_group && (byte != b'-' || before == b'-') {
            return None;
        }
        is_code |= !byte.is_ascii_alphabetic();
        before = byte;
    }
    if before == b'-' || !is_code || !LENGTH.contains(&value.len()) {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(value);
    out[start..].make_ascii_uppercase();
    Some(())
}

/// Four or more zeros or nines, and nothing else behind the prefix: `0000`, `SUB-00000000`. The
/// prefix ends at the last hyphen, or without one where the letters do; a letter behind it is
/// part of the code (`KIT-DDBB0000` is a hexadecimal number like any other).
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    // Most codes end here.
    if !value.ends_with(b"0000") && !value.ends_with(b"9999") {
        return false;
    }
    let letters = || value.iter().take_while(|byte| byte.is_ascii_alphabetic());
    let digits = match value.iter().rposition(|byte| *byte == b'-') {
        Some(at) => &value[at + 1..],
        None => &value[letters().count()..],
    };
    digits.len() >= 4
        && (digits.iter().all(|byte| *byte == b'0') || digits.iter().all(|byte| *byte == b'9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<String> {
        let mut out = Vec::new();
        write(value.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn case_is_folded_and_nothing_else() {
        assert_eq!(normal("sub-00000001").as_deref(), Some("SUB-00000001"));
        assert_eq!(normal("KIT-abcdefab").as_deref(), Some("KIT-ABCDEFAB"));
        assert_eq!(normal("9990000018").as_deref(), Some("9990000018"));
        assert_ne!(normal("SUB-0001"), normal("SUB-001"));
        assert_ne!(normal("SUB-0001"), normal("SUB0001"));
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [
            "-SUB-1",
            "SUB-1-",
            "SUB--1",
            "SUB_1",
            "SUB 1",
            "SÜB-1",
            "S-1",
            "true",
            "1.50",
            "{\"a\":1}",
        ] {
            assert_eq!(normal(value), None, "{value}");
        }
        assert_eq!(normal(&"1".repeat(65)), None);
    }

    #[test]
    fn zeros_and_nines_are_sentinels() {
        for value in [
            "0000",
            "SUB-00000000",
            "kit-99999999",
            "9999999999",
            "A-B-0000",
            "SUB0000",
        ] {
            assert!(is_sentinel(value.as_bytes()), "{value}");
        }
        for value in [
            "PRV-000",
            "SUB-00000009",
            "0000-1",
            "SUB-90000000",
            "KIT-0000000A",
            "KIT-DDBB0000",
            "0099",
            "SUB-",
        ] {
            assert!(!is_sentinel(value.as_bytes()), "{value}");
        }
    }
}
