//! Hop-by-hop fields (RFC 9110, section 7.6.1).
//!
//! The standing lists have none of them. What is left is a field that a route lists and that the
//! sender's own `Connection` names: it belongs to that connection and goes no further.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a sender's `Connection` names. Empty, without an allocation, for the usual two options.
pub struct Named(Vec<HeaderValue>);

impl Named {
    pub fn of(headers: &HeaderMap) -> Self {
        let usual = |v: &&HeaderValue| {
            let bytes = v.as_bytes();
            !bytes.eq_ignore_ascii_case(b"keep-alive") && !bytes.eq_ignore_ascii_case(b"close")
        };
        let all = headers.get_all(header::CONNECTION).iter();
        Self(all.filter(usual).cloned().collect())
    }

    pub fn has(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|value| {
            let mut options = value.as_bytes().split(|b| *b == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
        })
    }
}

/// Fields of one connection only; never forwarded, even if a route lists them.
pub fn always(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "content-length"
            | "host"
            | "expect"
            | "cookie"
            | "set-cookie"
            | "forwarded"
            | "via"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_fields_in_any_case_and_over_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, "close, X-One".parse().unwrap());
        headers.append(header::CONNECTION, " x-two ".parse().unwrap());
        let named = Named::of(&headers);
        let is = |n: &'static str| named.has(&HeaderName::from_static(n));
        assert!(is("x-one") && is("x-two") && !is("x-three"));
    }
}
