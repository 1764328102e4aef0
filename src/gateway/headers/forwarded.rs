//! `Forwarded` (RFC 7239) and `Via` (RFC 9110, section 7.6.3), made here.
//!
//! The client's address is a technical identifier: the backend learns `for=unknown` (RFC 7239,
//! section 6.2). What a client sent in these fields, and in `X-Forwarded-*`, is dropped.

use http::{HeaderValue, Version};

/// `for=unknown;proto=https;host="…"`. `authority` has passed [`crate::gateway::head::check`].
pub fn forwarded(authority: &str) -> HeaderValue {
    const BARE: HeaderValue = HeaderValue::from_static("for=unknown;proto=https");
    if authority.is_empty() {
        return BARE;
    }
    let mut text = String::with_capacity(32 + authority.len());
    text.push_str("for=unknown;proto=https;host=\"");
    text.push_str(authority);
    text.push('"');
    HeaderValue::try_from(text).unwrap_or(BARE)
}

/// The version that was received, and a name that says nothing about the machine.
pub fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 cryptonym",
        Version::HTTP_10 => "1.0 cryptonym",
        _ => "1.1 cryptonym",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_stays_unknown() {
        let made = forwarded("a.example:8443");
        assert_eq!(made, "for=unknown;proto=https;host=\"a.example:8443\"");
        assert_eq!(forwarded(""), "for=unknown;proto=https");
    }
}
