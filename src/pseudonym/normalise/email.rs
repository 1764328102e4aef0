//! Mailboxes (RFC 5321, section 4.1.2).

use super::{is_invisible, text_of};

/// Octets of the local part, of a domain label and of the whole (RFC 5321, section 4.5.3.1;
/// RFC 1035, section 2.3.4; RFC 3696, erratum 1690).
const LOCAL: usize = 64;
const LABEL: usize = 63;
const WHOLE: usize = 254;

/// `local@domain`, ASCII letters lower-cased.
///
/// The local part is lower-cased too: RFC 5321 would let a host tell `Ann@` from `ann@`, but no
/// large one does, people type both, and two pseudonyms for one mailbox would break every join.
/// Nothing else is folded: `ann+kit@` is another mailbox than `ann@`, as is `a.nn@`.
///
/// Whether a local part can be delivered is not judged. It holds any visible characters but
/// those that mark a list or a display name around an address, and no dots at its ends or in a
/// row. The domain is LDH labels, at least two; an internationalised one stands in its ASCII
/// form (`xn--…`), because its other spellings cannot be told apart without IDNA's tables.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (local, domain) = halves(value)?;
    if value.len() > WHOLE || !is_local(local) || !is_domain(domain) {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(value);
    out[start..].make_ascii_lowercase();
    Some(())
}

/// What stands before the first `@` and behind it.
fn halves(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'@', value)?;
    Some((&value[..at], &value[at + 1..]))
}

/// Mailboxes that are nobody's: `noreply@…`, `none@none.com`, `test@test.org`.
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    let Some((local, domain)) = halves(value) else {
        return false;
    };
    // The longest word has eight characters; most mailboxes end here.
    if local.len() > 8 || !matches!(local.first(), Some(b'n' | b'N' | b't' | b'T' | b'u' | b'U')) {
        return false;
    }
    let first_label = domain.split(|byte| *byte == b'.').next();
    let is = |word: &&str| word.as_bytes().eq_ignore_ascii_case(local);
    ["noreply", "no-reply", "noemail", "no-email"]
        .iter()
        .any(is)
        || (["none", "null", "na", "test", "unknown"].iter().any(is)
            && first_label.is_some_and(|label| label.eq_ignore_ascii_case(local)))
}

/// What a byte is in a local part.
const DOT: u8 = 1;
const REFUSED: u8 = 2;
static LOCAL_BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = match at as u8 {
            b'.' => DOT,
            b'@' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'\\' => REFUSED,
            0..=b' ' | 0x7f => REFUSED,
            _ => 0,
        };
        at += 1;
    }
    bytes
};

fn is_local(local: &[u8]) -> bool {
    let mut before = DOT;
    // Two dots in a row, or any refused byte.
    let mut wrong = 0;
    for byte in local {
        let this = LOCAL_BYTES[usize::from(*byte)];
        wrong |= (this & before) | (this & REFUSED);
        before = this;
    }
    let has_hidden = |char: char| char.is_whitespace() || char.is_control() || is_invisible(char);
    wrong == 0
        && before != DOT
        && local.len() <= LOCAL
        && (local.is_ascii() || !text_of(local).contains(has_hidden))
}

fn is_domain(domain: &[u8]) -> bool {
    let mut labels = 1;
    let mut length = 0;
    let mut is_number = true; // the label so far
    let mut before = b'.';
    for &byte in domain {
        match byte {
            b'.' if length >= 1 && before != b'-' => {
                labels += 1;
                length = 0;
                is_number = true;
            }
            b'-' if length >= 1 => {
                length += 1;
                is_number = false;
            }
            b'0'..=b'9' => length += 1,
            b'a'..=b'z' | b'A'..=b'Z' => {
                length += 1;
                is_number = false;
            }
            _ => return false,
        }
        if length > LABEL {
            return false;
        }
        before = byte;
    }
    // A last label of digits would be an address, not a name (RFC 3696, section 2).
    labels >= 2 && length >= 1 && before != b'-' && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<String> {
        let mut out = Vec::new();
        write(value.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn ascii_case_is_folded_and_nothing_else() {
        assert_eq!(
            normal("Ann.Lee@Example.ORG").as_deref(),
            Some("ann.lee@example.org")
        );
        assert_eq!(
            normal("ann+kit@example.org").as_deref(),
            Some("ann+kit@example.org")
        );
        assert_eq!(
            normal("a\u{e9}\"b@example.org").as_deref(),
            Some("a\u{e9}\"b@example.org")
        );
        assert_eq!(
            normal("ANN@xn--BCHER-kva.example").as_deref(),
            Some("ann@xn--bcher-kva.example")
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        for value in [
            "ann",
            "@example.org",
            "ann@",
            "ann@example",
            "ann@@example.org",
            "ann@b@example.org",
            ".ann@example.org",
            "ann.@example.org",
            "a..b@example.org",
            "ann lee@example.org",
            "Ann <ann@example.org>",
            "a@example.org,b@example.org",
            "mailto:ann@example.org",
            "ann@example.org.",
            "ann@.org",
            "ann@-a.org",
            "ann@a-.org",
            "ann@[192.0.2.1]",
            "ann@192.0.2.1",
            "ann@b\u{fc}cher.example",
            "ann@exa_mple.org",
            "ann\u{200b}@example.org",
        ] {
            assert_eq!(normal(value), None, "{value}");
        }
    }

    proptest::proptest! {
        /// The rule as it reads: no refused byte, no dot at an end or beside another.
        #[test]
        fn the_table_means_the_rule(local in "[a-c.]{0,6}[ -~\\x00\\x7f\u{e9}]?[a.]{0,3}") {
            let allowed = |byte: u8| !(byte <= b' ' || byte == 0x7f || b"@<>()[],;:\\".contains(&byte));
            let plain = local.bytes().all(allowed)
                && !local.split('.').any(str::is_empty);
            proptest::prop_assert_eq!(is_local(local.as_bytes()), plain, "{:?}", local);
        }
    }

    #[test]
    fn the_bounds_of_the_standard_hold() {
        let local = "a".repeat(LOCAL);
        assert!(normal(&format!("{local}@example.org")).is_some());
        assert!(normal(&format!("{local}a@example.org")).is_none());
        let label = "b".repeat(LABEL);
        assert!(normal(&format!("a@{label}.org")).is_some());
        assert!(normal(&format!("a@{label}b.org")).is_none());
        let domain = format!("{label}.{label}.{label}.org");
        assert_eq!(domain.len(), 195);
        assert!(normal(&format!("{}@{domain}", "a".repeat(58))).is_some());
        assert!(normal(&format!("{}@{domain}", "a".repeat(59))).is_none());
    }

    #[test]
    fn nobodys_mailboxes_are_sentinels() {
        for value in [
            "NoReply@example.org",
            "none@none.com",
            "Test@test.org",
            "na@NA.invalid",
        ] {
            assert!(is_sentinel(value.as_bytes()), "{value}");
        }
        for value in ["test@example.org", "none@example.org", "ann@ann.example"] {
            assert!(!is_sentinel(value.as_bytes()), "{value}");
        }
    }
}
