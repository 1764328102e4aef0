//! Cookies: only names that the route lists.

use http::{HeaderMap, HeaderValue, header};

/// The client's cookies that pass, as one field. HTTP/2 may send them in crumbs, one field each
/// (RFC 9113, section 8.2.3): all are looked at before any is judged.
pub fn request(headers: &HeaderMap, listed: &[String]) -> Option<HeaderValue> {
    if listed.is_empty() {
        return None;
    }
    let mut joined: Vec<u8> = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            if !is_listed(pair, listed) {
                continue;
            }
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(pair);
        }
    }
    (!joined.is_empty())
        .then(|| HeaderValue::from_bytes(&joined).ok())
        .flatten()
}

/// Whether the cookie of a `Set-Cookie` value may be set.
pub fn may_set(value: &HeaderValue, listed: &[String]) -> bool {
    is_listed(value.as_bytes().trim_ascii_start(), listed)
}

fn is_listed(pair: &[u8], listed: &[String]) -> bool {
    // A cookie without `=` has no name; readers differ about it.
    let Some(at) = pair.iter().position(|b| *b == b'=') else {
        return false;
    };
    let name = pair[..at].trim_ascii_end();
    listed.iter().any(|l| l.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_joined_and_only_listed_names_pass() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "id=SUB-1; theme=dark".parse().unwrap());
        headers.append(header::COOKIE, "nameless".parse().unwrap());
        headers.append(header::COOKIE, "lang=en;theme2=x".parse().unwrap());
        let listed = ["theme".to_owned(), "lang".to_owned()];
        let passed = request(&headers, &listed).unwrap();
        assert_eq!(passed, "theme=dark; lang=en");
        assert_eq!(request(&headers, &[]), None);
        assert!(may_set(&"lang=fr; Path=/".parse().unwrap(), &listed));
        assert!(!may_set(&"sid=1; lang=fr".parse().unwrap(), &listed));
    }
}
