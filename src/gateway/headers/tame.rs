//! Fields of an answer whose words are few: where a policy rewrites the body, they say nothing else.
//!
//! What enters: a field of a backend that knows people by name. What leaves: whether its value is
//! of the grammar that its name promises. What can never happen: free text passes in one of them.

use http::{HeaderName, HeaderValue, header};

/// True of fields that this room does not know.
pub fn is(name: &HeaderName, value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    match *name {
        header::AGE => number(value),
        header::EXPIRES | header::LAST_MODIFIED | header::DATE | header::RETRY_AFTER => {
            date(value) || number(value)
        }
        header::ALLOW => list(value, |word| METHODS.contains(&word)),
        header::VARY => list(value, |word| {
            VARIES.iter().any(|known| known.eq_ignore_ascii_case(word))
        }),
        header::CACHE_CONTROL => list(value, directive),
        header::CONTENT_LANGUAGE => false,
        _ => true,
    }
}

const METHODS: [&[u8]; 7] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS",
];

const VARIES: [&[u8]; 7] = [
    b"*",
    b"Accept",
    b"Accept-Encoding",
    b"Accept-Language",
    b"Authorization",
    b"Cookie",
    b"Origin",
];

/// RFC 9111, section 5.2.2, and RFC 5861.
const DIRECTIVES: [&[u8]; 12] = [
    b"max-age",
    b"s-maxage",
    b"stale-while-revalidate",
    b"stale-if-error",
    b"no-cache",
    b"no-store",
    b"no-transform",
    b"must-revalidate",
    b"must-understand",
    b"proxy-revalidate",
    b"private",
    b"public",
];

fn list(value: &[u8], known: impl Fn(&[u8]) -> bool) -> bool {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .all(known)
}

fn directive(word: &[u8]) -> bool {
    let mut parts = word.splitn(2, |b| *b == b'=');
    let name = parts.next().unwrap_or_default();
    DIRECTIVES.iter().any(|d| d.eq_ignore_ascii_case(name)) && parts.next().is_none_or(number)
}

/// Seconds: not so many digits that they could be somebody's.
fn number(value: &[u8]) -> bool {
    (1..=8).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn date(value: &[u8]) -> bool {
    const SHAPE: &[u8] = b"aaa, 00 aaa 0000 00:00:00 GMT";
    let fits = |(is, shape): (&u8, &u8)| match shape {
        b'a' => is.is_ascii_alphabetic(),
        b'0' => is.is_ascii_digit(),
        exact => is == exact,
    };
    value.len() == SHAPE.len() && value.iter().zip(SHAPE).all(fits)
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn formats_08_fields_of_few_words_hold_no_others() {
        for (name, value, tame) in [
            ("age", "120", true),
            ("age", "SUB-1", false),
            ("retry-after", "9990000018", false),
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("expires", "0", true),
            ("expires", "SUB-00000001", false),
            ("allow", "GET, HEAD", true),
            ("allow", "GET, SUB-1", false),
            ("vary", "accept-encoding, Origin", true),
            ("vary", "SUB-1", false),
            ("cache-control", "private, max-age=60", true),
            ("cache-control", "max-age=60, x=SUB-1", false),
            ("content-language", "SUB", false),
            ("x-other", "SUB-1", true),
        ] {
            let name = name.parse().unwrap();
            assert_eq!(is(&name, &value.parse().unwrap()), tame, "{name}: {value}");
        }
    }
}
