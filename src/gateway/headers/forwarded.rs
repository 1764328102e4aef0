//! `Forwarded` (RFC 7239) and `Via` (RFC 9110, section 7.6.3), made here.
//!
//! The client's address is a technical identifier: the backend learns `for=unknown` (RFC 7239,
//! section 6.2). What a client sent in these fields, and in `X-Forwarded-*`, is dropped.

use http::{HeaderValue, Version};

/// `for=unknown;proto=https`, and `;host="…"` with the host that the route is configured for: what
/// a client wrote as Host may be anything where a route takes any host.
pub fn forwarded(host: Option<&str>) -> HeaderValue {
    const BARE: HeaderValue = HeaderValue::from_static("for=unknown;proto=https");
    let Some(host) = host else {
        return BARE;
    };
    HeaderValue::try_from(format!("for=unknown;proto=https;host=\"{host}\"")).unwrap_or(BARE)
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
        let made = forwarded(Some("a.example"));
        assert_eq!(made, "for=unknown;proto=https;host=\"a.example\"");
        assert_eq!(forwarded(None), "for=unknown;proto=https");
    }
}
