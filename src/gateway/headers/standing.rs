//! Request header fields that pass on every route, if they say nothing but what they are for.
//!
//! What enters: a field that a client sent. What leaves: yes or no. What can never happen: free
//! text passes in a field that no rule looks at. Each field has a closed vocabulary; a value with
//! one word outside of it is dropped, and the backend answers as if it had not been sent. A route
//! that needs more lists the field.

use http::{HeaderName, HeaderValue, header};

/// Types and subtypes that clients ask for; `type/*` passes for each type here.
const MEDIA: &[(&str, &[&str])] = &[
    (
        "application",
        &[
            "json",
            "ndjson",
            "x-ndjson",
            "jsonl",
            "x-jsonlines",
            "problem+json",
            "ld+json",
            "xml",
            "xhtml+xml",
            "csv",
            "octet-stream",
            "pdf",
            "javascript",
            "wasm",
            "protobuf",
            "x-protobuf",
            "cbor",
            "msgpack",
            "vnd.apache.arrow.stream",
            "vnd.apache.parquet",
        ],
    ),
    ("audio", &[]),
    ("font", &["woff", "woff2"]),
    (
        "image",
        &[
            "apng", "avif", "gif", "jpeg", "png", "svg+xml", "webp", "x-icon",
        ],
    ),
    (
        "text",
        &[
            "plain",
            "html",
            "css",
            "csv",
            "javascript",
            "xml",
            "markdown",
            "event-stream",
            "tab-separated-values",
        ],
    ),
    ("video", &[]),
];

const CODINGS: &[&str] = &[
    "*", "br", "compress", "deflate", "gzip", "identity", "x-gzip", "zstd",
];

/// Scripts that websites tell apart (ISO 15924).
const SCRIPTS: &[&str] = &["arab", "cyrl", "hans", "hant", "latn"];

/// Whether a standing field passes with this value.
pub fn passes(name: &HeaderName, value: &HeaderValue) -> bool {
    let member: fn(&str) -> bool = if *name == header::ACCEPT {
        media_range
    } else if *name == header::ACCEPT_LANGUAGE {
        language
    } else if *name == header::ACCEPT_ENCODING {
        coding
    } else {
        return false;
    };
    let Ok(text) = value.to_str() else {
        return false;
    };
    text.split(',').all(|one| {
        let one = one.trim_matches([' ', '\t']);
        match one.split_once(';') {
            None => member(one),
            Some((what, weight)) => member(what.trim_end()) && is_weight(weight),
        }
    })
}

/// `q=0.5` (RFC 9110, section 12.4.2), the only parameter that passes.
fn is_weight(text: &str) -> bool {
    let text = text.trim_start();
    let Some(value) = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q=")) else {
        return false;
    };
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    let digit = |b: u8| b.is_ascii_digit() && (whole == "0" || b == b'0');
    matches!(whole, "0" | "1") && part.len() <= 3 && part.bytes().all(digit)
}

/// RFC 9110, section 12.5.1, of the types above.
fn media_range(text: &str) -> bool {
    let Some((kind, subtype)) = text.split_once('/') else {
        return false;
    };
    if kind == "*" {
        return subtype == "*";
    }
    let known = MEDIA.iter().find(|(k, _)| k.eq_ignore_ascii_case(kind));
    known.is_some_and(|(_, known)| subtype == "*" || is_one_of(subtype, known))
}

/// A tag of RFC 5646 in its common shapes: a language of two letters, a script of those above, a
/// region of two letters: `*`, `en`, `sr-Latn`, `de-CH`, `zh-Hant-TW`. `fil` and `es-419` are the
/// two others in wide use; longer letters and digits could be somebody's name or number.
fn language(text: &str) -> bool {
    if is_one_of(text, &["*", "fil", "fil-ph", "es-419"]) {
        return true;
    }
    let two = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_alphabetic());
    let mut parts = text.split('-');
    if !parts.next().is_some_and(two) {
        return false;
    }
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => true,
        (Some(one), None, _) => two(one) || is_one_of(one, SCRIPTS),
        (Some(script), Some(region), None) => is_one_of(script, SCRIPTS) && two(region),
        _ => false,
    }
}

/// RFC 9110, section 8.4.1, and those registered since.
fn coding(text: &str) -> bool {
    is_one_of(text, CODINGS)
}

fn is_one_of(text: &str, known: &[&str]) -> bool {
    known.iter().any(|k| k.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: HeaderName, value: &str) -> bool {
        passes(&name, &HeaderValue::from_str(value).unwrap())
    }

    #[test]
    fn what_clients_send_passes() {
        for value in [
            "*/*",
            "application/json",
            "Application/JSON;q=0.9 , text/*;q=0.125,*/*; Q=1.000",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ] {
            assert!(of(header::ACCEPT, value), "{value}");
        }
        for value in ["*", "en-US,en;q=0.5", "zh-Hant-TW, sr-Latn;q=0, es-419"] {
            assert!(of(header::ACCEPT_LANGUAGE, value), "{value}");
        }
        for value in ["gzip, deflate, br, zstd", "gzip;q=1.0, *;q=0"] {
            assert!(of(header::ACCEPT_ENCODING, value), "{value}");
        }
    }

    #[test]
    fn identifiers_do_not() {
        for value in [
            "",
            "SUB-00001",
            "application/SUB-00001",
            "application/sub+json",
            "sub/plain",
            "sub/*",
            "*/json",
            "text/plain;id=SUB-00001",
            "text/plain;q=0.4670",
            "text/plain;q=1.467",
            "text/plain;q=467",
            "text/plain;q=0.5;id=SUB-00001",
            "text/plain, SUB-00001",
            "text/plain (SUB-00001)",
        ] {
            assert!(!of(header::ACCEPT, value), "{value}");
        }
        for value in [
            "SUB-00001",
            "SUB-001",
            "ann",
            "en-Karlsson",
            "en-x-sub",
            "de-CH-1996",
            "en-US-SU",
            "en;q=7",
            "en-467",
        ] {
            assert!(!of(header::ACCEPT_LANGUAGE, value), "{value}");
        }
        for value in ["SUB-00001", "gzip, sub", "gzip;level=5"] {
            assert!(!of(header::ACCEPT_ENCODING, value), "{value}");
        }
        assert!(!of(HeaderName::from_static("prefer"), "return=minimal"));
        let bytes = HeaderValue::from_bytes(b"text/\xe9").unwrap();
        assert!(!passes(&header::ACCEPT, &bytes));
    }
}
