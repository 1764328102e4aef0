//! Can this request head be trusted? Asked before anything else looks at it.
//!
//! What enters: a head as hyper parsed it. What leaves: host and path, each in one meaning only.
//! What can never happen: two readers of the same head see two hosts, two lengths or two paths.
//! `docs/http.md` lists each decision.

use std::borrow::Cow;

use http::request::Parts;
use http::{Method, Uri, Version, header};

use crate::error::{Code, Fault, Stage};
use crate::limits;

/// What a trusted head says. Borrowed from it, so that nothing is copied on the good path.
#[derive(Debug)]
pub struct Head<'a> {
    /// Host with its port, as sent; empty for HTTP/1.0 without a Host.
    pub authority: &'a str,
    /// Lower case, without port.
    pub host: Cow<'a, str>,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// It asks for another protocol.
    pub upgrade: bool,
}

/// `sni`: the name that the connection was made for, if the client said one.
///
/// # Errors
/// [`Code::BadRequest`], `ConnectRefused`, `MethodNotAllowed`, `HeadTooLarge`
/// or `Misdirected`.
pub fn check<'a>(parts: &'a Parts, sni: Option<&str>) -> Result<Head<'a>, Fault> {
    method(&parts.method)?;
    if parts.headers.len() > limits::HEADERS {
        return Err(fault(Code::HeadTooLarge));
    }
    framing(parts)?;
    let authority = authority(parts)?;
    let host = host(authority)?;
    if sni.is_some_and(|sni| !sni.eq_ignore_ascii_case(&host)) {
        return Err(fault(Code::Misdirected));
    }
    let (path, query) = target(&parts.uri)?;
    Ok(Head {
        authority,
        host,
        path,
        query,
        upgrade: parts.headers.contains_key(header::UPGRADE),
    })
}

fn fault(code: Code) -> Fault {
    Fault::new(code, Stage::Head)
}

/// Method names are case-sensitive (RFC 9110, section 9.1); one in lower case is somebody's trick
/// on the next reader. TRACE would send the rewritten head back (section 9.3.8).
fn method(method: &Method) -> Result<(), Fault> {
    match *method {
        Method::CONNECT => Err(fault(Code::ConnectRefused)),
        Method::TRACE => Err(fault(Code::MethodNotAllowed)),
        _ if method.as_str().bytes().any(|b| b.is_ascii_lowercase()) => {
            Err(fault(Code::BadRequest))
        }
        _ => Ok(()),
    }
}

/// hyper drops Content-Length beside Transfer-Encoding and closes the connection afterwards
/// (RFC 9112, section 6.3), and refuses lengths that differ; `gzip, chunked` and a doubled
/// `chunked` it lets through.
fn framing(parts: &Parts) -> Result<(), Fault> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let single = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if single && parts.version == Version::HTTP_11 {
        Ok(())
    } else {
        Err(fault(Code::BadRequest))
    }
}

/// Exactly one Host (RFC 9112, section 3.2); where the target has an authority of its own
/// (absolute form, `:authority`), both say the same.
fn authority(parts: &Parts) -> Result<&str, Fault> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(fault(Code::BadRequest)),
        (Some(host), None) => Some(host.to_str().map_err(|_| fault(Code::BadRequest))?),
        (None, _) => None,
    };
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    if parts
        .uri
        .scheme()
        .is_some_and(|s| *s != http::uri::Scheme::HTTPS)
    {
        return Err(fault(Code::Misdirected));
    }
    match (host, target) {
        (Some(""), _) => Err(fault(Code::BadRequest)),
        (Some(host), Some(target)) if host.eq_ignore_ascii_case(target) => Ok(host),
        (Some(_), Some(_)) => Err(fault(Code::BadRequest)),
        (Some(host), None) => Ok(host),
        (None, Some(target)) if parts.version == Version::HTTP_2 => Ok(target),
        (None, None) if parts.version == Version::HTTP_10 => Ok(""),
        (None, _) => Err(fault(Code::BadRequest)),
    }
}

/// Name or address without its port. User information and anything exotic is refused.
fn host(authority: &str) -> Result<Cow<'_, str>, Fault> {
    let bad = || fault(Code::BadRequest);
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']').ok_or_else(bad)?;
        let inner = &rest[..end];
        if !inner
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        {
            return Err(bad());
        }
        (&authority[..end + 2], &rest[end + 1..])
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let name = &authority[..end];
        if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        {
            return Err(bad());
        }
        (name, &authority[end..])
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    // `a.example.` is `a.example` to the name system, and another name to routes and SNI.
    let rooted = name.ends_with('.');
    if !port_ok || rooted || (name.is_empty() && !authority.is_empty()) {
        return Err(bad());
    }
    Ok(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Path and query in the letters of RFC 3986, the path with one reading only.
///
/// # Errors
/// [`Code::BadRequest`].
pub(super) fn target(uri: &Uri) -> Result<(&str, Option<&str>), Fault> {
    let bad = || fault(Code::BadRequest);
    let (path, query) = (uri.path(), uri.query());
    if !path.starts_with('/') {
        return Err(bad());
    }
    let letters = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b'='
                    | b':'
                    | b'@'
                    | b'/'
                    | b'%'
            )
    };
    // `;` stands in RFC 3986 too, but some readers cut parameters off there and others do not.
    if !path.bytes().all(letters) {
        return Err(bad());
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // An empty segment inside (`//`) is one path to one reader and another to the next.
        if (segment.is_empty() && segments.peek().is_some()) || !one_reading(segment) {
            return Err(bad());
        }
    }
    // RFC 3986 query letters, and those that clients send raw although they should not.
    if query.is_some_and(|q| !q.bytes().all(|b| (0x21..0x7f).contains(&b))) {
        return Err(bad());
    }
    Ok((path, query))
}

/// No `.` or `..`, and nothing encoded that could be read as something else: no separator, no
/// control, and no unreserved character, whose code means the same as itself (RFC 3986, section
/// 6.2.2.2) so that a backend would see another path than the routes did.
fn one_reading(segment: &str) -> bool {
    if matches!(segment, "." | "..") {
        return false;
    }
    let mut bytes = segment.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return false;
        };
        let byte = (high * 16 + low) as u8;
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || byte.is_ascii_control() || b"/\\%;".contains(&byte) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn code(parts: &Parts, sni: Option<&str>) -> Result<(), Code> {
        check(parts, sni).map(|_| ()).map_err(|f| f.code)
    }

    #[test]
    fn one_host_and_no_other() {
        let one = ("host", "A.example:8443");
        let head = parts("GET", "/x?y=1", &[one]);
        let head = check(&head, Some("a.example")).unwrap();
        assert_eq!(
            (&*head.host, head.path, head.query),
            ("a.example", "/x", Some("y=1"))
        );
        for (target, headers, sni, expect) in [
            ("/", &[][..], None, Code::BadRequest),
            ("/", &[one, one], None, Code::BadRequest),
            ("/", &[("host", "")], None, Code::BadRequest),
            ("https://b.example/", &[one], None, Code::BadRequest),
            ("http://A.example:8443/", &[one], None, Code::Misdirected),
            ("/", &[("host", "a@b")], None, Code::BadRequest),
            ("/", &[("host", "a:b")], None, Code::BadRequest),
            ("/", &[("host", "[::1")], None, Code::BadRequest),
            ("/", &[("host", "a.example.")], None, Code::BadRequest),
            ("/", &[("host", "a.example.:443")], None, Code::BadRequest),
            ("/", &[one], Some("b.example"), Code::Misdirected),
        ] {
            assert_eq!(
                code(&parts("GET", target, headers), sni),
                Err(expect),
                "{target}"
            );
        }
        assert_eq!(
            code(&parts("GET", "/", &[("host", "[::1]:443")]), None),
            Ok(())
        );
    }

    #[test]
    fn methods_and_framing() {
        let host = ("host", "a");
        for (method, extra, expect) in [
            ("CONNECT", None, Code::ConnectRefused),
            ("TRACE", None, Code::MethodNotAllowed),
            ("post", None, Code::BadRequest),
            (
                "POST",
                Some(("transfer-encoding", "gzip, chunked")),
                Code::BadRequest,
            ),
            (
                "POST",
                Some(("transfer-encoding", "chunked, chunked")),
                Code::BadRequest,
            ),
        ] {
            let headers: Vec<_> = [host].into_iter().chain(extra).collect();
            assert_eq!(
                code(&parts(method, "/", &headers), None),
                Err(expect),
                "{method}"
            );
        }
        let doubled = [
            host,
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(
            code(&parts("POST", "/", &doubled), None),
            Err(Code::BadRequest)
        );
        assert_eq!(code(&parts("POST", "/", &doubled[..2]), None), Ok(()));
    }

    #[test]
    fn paths_have_one_reading() {
        for bad in [
            "/a/../b",
            "/..",
            "/a/.",
            "/%2e%2e/b",
            "/.%2E",
            "/..;x/b",
            "/%2e%2e%3bx/",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/a%0d",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%252e",
            "/v1/r%65sults",
            "/a%7Eb",
            "/a%2Db",
            "/a%30",
            "/a%5f",
            "/a;v=1",
            "/a%3bv=1",
            "//a",
            "/a//b",
            "/caf\u{e9}",
            "/a|b",
            "*",
        ] {
            if let Ok(uri) = bad.parse::<Uri>() {
                assert!(target(&uri).is_err(), "{bad}");
            }
        }
        for good in [
            "/",
            "/a/",
            "/a.b/..c",
            "/a%20b",
            "/caf%C3%A9",
            "/a:b@c",
            "/a%40b%3Ac",
        ] {
            assert!(target(&good.parse().unwrap()).is_ok(), "{good}");
        }
    }
}
