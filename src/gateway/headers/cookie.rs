//! Cookies: only names that the route lists.

use http::{HeaderMap, HeaderValue, header};

/// The client's cookies that pass, as one field. HTTP/2 may send them in crumbs, one field each
/// (RFC 9113, section 8.2.3): all are looked at before any is judged.
pub fn request(headers: &HeaderMap, listed: &[String]) -> Option<HeaderValue> {
    if listed.is_empty() {
        return None;
    }
    let mut joined: Vec<u8> = Vec::new();
    for pair in pairs(headers).filter(|pair| is_listed(pair, listed)) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(pair);
    }
    (!joined.is_empty())
        .then(|| HeaderValue::from_bytes(&joined).ok())
        .flatten()
}

/// All cookies of a request, as they are written.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    pairs
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// Name, and all that stands behind the first `=`. A cookie without `=` has no name, and readers
/// differ about it: `None`.
pub fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = pair.iter().position(|b| *b == b'=')?;
    Some((pair[..equals].trim_ascii_end(), &pair[equals + 1..]))
}

/// Whether the cookie of a `Set-Cookie` value may be set.
pub fn may_set(value: &HeaderValue, listed: &[String]) -> bool {
    is_listed(value.as_bytes().trim_ascii_start(), listed)
}

fn is_listed(pair: &[u8], listed: &[String]) -> bool {
    split(pair).is_some_and(|(name, _)| listed.iter().any(|l| l.as_bytes() == name))
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
