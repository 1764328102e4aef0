//! United Kingdom postcodes (BS 7666; the letters of each position from Royal Mail's PAF guide).

/// Appends the outward code, upper case. The value is a full postcode, with one space or none
/// between its halves, in whatever case, or an outward code alone, which is as coarse already.
pub(super) fn outward(value: &str, out: &mut String) -> Option<()> {
    let outward = match halves(value) {
        Some((outward, _)) => outward,
        None => Some(value).filter(|value| is_outward(value))?,
    };
    out.extend(outward.chars().map(|char| char.to_ascii_uppercase()));
    Some(())
}

/// The outward and the inward code of a full postcode, as they are spelt.
pub(in crate::pseudonym) fn halves(value: &str) -> Option<(&str, &str)> {
    let (outward, inward) = match value.split_once(' ') {
        Some(halves) => halves,
        None => value.split_at_checked(value.len().checked_sub(3)?)?,
    };
    let is_girobank = outward.eq_ignore_ascii_case("GIR") && inward.eq_ignore_ascii_case("0AA");
    (is_inward(inward) && (is_outward(outward) || is_girobank)).then_some((outward, inward))
}

/// A digit and two letters, never C, I, K, M, O or V.
fn is_inward(text: &str) -> bool {
    let letter =
        |byte: u8| byte.is_ascii_alphabetic() && !b"CIKMOV".contains(&byte.to_ascii_uppercase());
    matches!(text.as_bytes(), [digit, first, second]
        if digit.is_ascii_digit() && letter(*first) && letter(*second))
}

/// A9, A99, A9A, AA9, AA99 or AA9A.
fn is_outward(text: &str) -> bool {
    let upper = |byte: &u8| byte.to_ascii_uppercase();
    let first = |byte: &u8| byte.is_ascii_alphabetic() && !b"QVX".contains(&upper(byte));
    let second = |byte: &u8| byte.is_ascii_alphabetic() && !b"IJZ".contains(&upper(byte));
    let third = |byte: &u8| b"ABCDEFGHJKPSTUW".contains(&upper(byte));
    let fourth = |byte: &u8| b"ABEHMNPRVWXY".contains(&upper(byte));
    let digit = u8::is_ascii_digit;
    match text.as_bytes() {
        [a, b] => first(a) && digit(b),
        [a, b, c] if digit(b) => first(a) && (digit(c) || third(c)),
        [a, b, c] => first(a) && second(b) && digit(c),
        [a, b, c, d] => first(a) && second(b) && digit(c) && (digit(d) || fourth(d)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(value: &str) -> Option<String> {
        let mut out = String::new();
        outward(value, &mut out).map(|()| out)
    }

    #[test]
    fn every_shape_is_read() {
        for (value, expected) in [
            ("M1 1AE", "M1"),
            ("B33 8TH", "B33"),
            ("W1A 0AX", "W1A"),
            ("CR2 6XH", "CR2"),
            ("DN55 1PT", "DN55"),
            ("EC1A 1BB", "EC1A"),
            ("ec1a1bb", "EC1A"),
            ("LS14AP", "LS1"),
            ("LS1", "LS1"),
            ("GIR 0AA", "GIR"),
            ("gir0aa", "GIR"),
        ] {
            assert_eq!(made(value).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [
            "",
            "LS",
            "LS1 ",
            " LS1 4AP",
            "LS1 4AP ",
            "LS1  4AP",
            "LS1-4AP",
            "LS1 4A",
            "LS1 4CP",
            "LS1 44P",
            "QA1 4AP",
            "AI1 4AP",
            "M1I 1AE",
            "EC1C 1BB",
            "LS111 4AP",
            "LS1 4APX",
            "GIR",
            "GIR 1AA",
            "12345",
            "É1 4AP",
            "LS1 4AÉ",
            "LS1é",
            "SW1A 1AA 1AA",
            "1LS 4AP",
        ] {
            assert_eq!(made(value), None, "{value}");
        }
    }
}
