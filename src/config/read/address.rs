//! Addresses: where to listen, and where to connect.

use std::net::{IpAddr, SocketAddr};

use super::super::BackendUrl;
use super::super::raw::{Findings, Text};

/// `127.0.0.1:8443`, `[::1]:8443`.
pub(super) fn socket(text: &Text<'_>, findings: &Findings) -> Option<SocketAddr> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        let hint = match text.value.rsplit_once(':') {
            Some((host, port))
                if port.parse::<u16>().is_ok() && host.parse::<IpAddr>().is_err() =>
            {
                "an IP address and a port, as in \"127.0.0.1:8443\"; names are not resolved here"
            }
            _ => "an IP address and a port, as in \"127.0.0.1:8443\" or \"[::]:8443\"",
        };
        findings.error(&text.place, "this is no address to listen on", hint);
    }
    parsed
}

/// `http://host:port` or `https://host`, nothing behind.
pub(super) fn url(text: &Text<'_>, findings: &Findings) -> Option<BackendUrl> {
    let parsed = parse_url(text.value);
    if let Err((offset, hint)) = parsed {
        let place = text.place.inside(text.value, offset);
        findings.error(&place, "this is no address of a server", hint);
    }
    parsed.ok()
}

/// Whether a host is this machine.
pub(super) fn loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn parse_url(text: &str) -> Result<BackendUrl, (usize, &'static str)> {
    let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err((0, "write http://host:port or https://host:port"));
    };
    let start = text.len() - rest.len();
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err((
            start + at,
            "only scheme, host and port: the path is the request's own",
        ));
    }
    if let Some(at) = rest.find('@') {
        return Err((start + at, "no user name or password here"));
    }
    let bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match rest[bracket..].find(':') {
        Some(colon) => {
            let colon = bracket + colon;
            let port = rest[colon + 1..].parse::<u16>().ok().filter(|p| *p != 0);
            let port = port.ok_or((start + colon + 1, "a port is 1 to 65535"))?;
            (&rest[..colon], port)
        }
        None => (rest, if https { 443 } else { 80 }),
    };
    let good = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host_name(host),
    };
    if !good {
        return Err((
            start,
            "a host is a DNS name, an IPv4 address, or an IPv6 address in [ ]",
        ));
    }
    Ok(BackendUrl {
        https,
        host: host.to_ascii_lowercase(),
        port,
    })
}

/// A DNS name or IPv4 address (RFC 1123, section 2.1).
pub(super) fn host_name(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let ok = |t: &str| {
            let u = parse_url(t).unwrap();
            (u.https, u.host, u.port)
        };
        assert_eq!(
            ok("http://127.0.0.1:8123"),
            (false, "127.0.0.1".into(), 8123)
        );
        assert_eq!(
            ok("https://Data.Example"),
            (true, "data.example".into(), 443)
        );
        assert_eq!(ok("http://[::1]:80"), (false, "[::1]".into(), 80));
        for (text, offset) in [
            ("ftp://x", 0),
            ("http://x/path", 8),
            ("http://u:p@x", 10),
            ("http://x:0", 9),
            ("http://x:99999", 9),
            ("http://", 7),
            ("http://a..b", 7),
            ("http://[::g]:1", 7),
            ("https://é.example", 8),
        ] {
            assert_eq!(parse_url(text).unwrap_err().0, offset, "{text}");
        }
    }

    #[test]
    fn this_machine() {
        for (host, is) in [
            ("127.0.0.1", true),
            ("localhost", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("localhost.example", false),
        ] {
            assert_eq!(loopback(host), is, "{host}");
        }
    }
}
