//! The head that the client sees.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{cookie, hop, tame};
use crate::config::ResponseBody;
use crate::gateway::routes::Route;

/// Fields that pass on every route; others only where the route lists them (`server` and such
/// say more about the backend than a client needs).
fn standing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "allow"
            | "cache-control"
            | "content-disposition"
            | "content-language"
            | "content-type"
            | "date"
            | "expires"
            | "last-modified"
            | "preference-applied"
            | "retry-after"
            | "vary"
            | "www-authenticate"
    )
}

/// Fields that are true only of the bytes the backend sent.
fn about_the_bytes(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-ranges" | "content-encoding" | "content-range" | "etag"
    )
}

/// Fields that would be false once the body is rewritten; not even a route's own list brings them
/// back.
fn false_after_rewriting(name: &HeaderName) -> bool {
    about_the_bytes(name)
        || matches!(
            name.as_str(),
            "content-digest"
                | "content-md5"
                | "digest"
                | "repr-digest"
                | "signature"
                | "signature-input"
                | "want-digest"
        )
}

/// Fields that would keep, or let others keep, what is one client's own.
fn keeps_what_is_private(name: &HeaderName) -> bool {
    matches!(name.as_str(), "cache-control" | "expires" | "last-modified")
}

/// Fields in which a backend writes what it likes, and which would say in clear what a policy
/// takes out of the body. A route may list them all the same.
fn of_any_text(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-disposition"
            | "content-location"
            | "location"
            | "preference-applied"
            | "www-authenticate"
    )
}

/// Moves what passes into a new list. `own`: authorities by which client and gateway know the
/// same place (the request's and the backend's), for `Location`.
pub fn build(
    mut from: HeaderMap,
    status: StatusCode,
    head_request: bool,
    route: &Route,
    own: [&str; 2],
) -> HeaderMap {
    let rewritten = !matches!(route.config.response, ResponseBody::Pass);
    let restored = matches!(route.config.response, ResponseBody::RestoreOwn(_));
    let by_policy = matches!(route.config.response, ResponseBody::Policy(_));
    // Length of what is not sent here (RFC 9110, section 8.6).
    let keeps_length = !rewritten && (head_request || status == StatusCode::NOT_MODIFIED);
    let connection = hop::Named::of(&from);
    let mut to = HeaderMap::with_capacity(8);
    let mut last = None;
    for (name, value) in from.drain() {
        if name.is_some() {
            last = name;
        }
        let Some(name) = &last else { continue };
        if connection.has(name)
            || (rewritten && false_after_rewriting(name))
            || (restored && keeps_what_is_private(name))
            || (by_policy
                && (of_any_text(name) || !tame::is(name, &value))
                && !route.response_headers.contains(name))
        {
            continue;
        }
        if *name == header::SET_COOKIE {
            if cookie::may_set(&value, &route.set_cookies) {
                to.append(header::SET_COOKIE, value);
            }
        } else if *name == header::LOCATION || *name == header::CONTENT_LOCATION {
            if let Some(value) = location(value, own) {
                to.append(name.clone(), value);
            }
        } else if standing(name)
            || about_the_bytes(name)
            || (*name == header::CONTENT_LENGTH && keeps_length)
            || (route.response_headers.contains(name) && !hop::always(name))
        {
            to.append(name.clone(), value);
        }
    }
    if restored {
        let private = HeaderValue::from_static("private, no-store");
        to.insert(header::CACHE_CONTROL, private);
    }
    to
}

/// A path stays; an address of this very place becomes its path; any other is dropped.
fn location(value: HeaderValue, own: [&str; 2]) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    if text.starts_with('/') {
        return stays_here(text).then_some(value);
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !own.iter().any(|o| o.eq_ignore_ascii_case(authority)) {
        return None;
    }
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let made = stays_here(&path).then(|| HeaderValue::try_from(path));
    made?.ok()
}

/// Whether a browser stays at this host: `//evil` names another, `/\evil` is read as the same,
/// and white space inside is taken away before reading.
fn stays_here(path: &str) -> bool {
    let mut bytes = path.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::metrics::Metrics;
    use crate::gateway::routes::{Routes, tests::route};

    fn through(response: ResponseBody, head: bool, sent: &[(&str, &str)]) -> HeaderMap {
        let mut config = route("r", None, "/", &[]);
        config.response = response;
        config.cookies = vec!["lang".to_owned()];
        config.response_headers = vec!["x-summary".to_owned(), "etag".to_owned()];
        let metrics = Metrics::new();
        let routes = Routes::new(&[config], |n| metrics.route(n), None).unwrap();
        let mut from = HeaderMap::new();
        for (name, value) in sent {
            let name: HeaderName = name.parse().unwrap();
            from.append(name, value.parse().unwrap());
        }
        let own = ["a.example", "127.0.0.1:8123"];
        build(from, StatusCode::OK, head, routes.get(0), own)
    }

    const SENT: &[(&str, &str)] = &[
        ("content-type", "application/json"),
        ("content-length", "9"),
        ("etag", "\"x\""),
        ("content-md5", "x"),
        ("accept-ranges", "bytes"),
        ("cache-control", "public"),
        ("server", "ClickHouse"),
        ("x-summary", "1"),
        ("x-hop", "1"),
        ("connection", "x-hop"),
        ("set-cookie", "lang=en"),
        ("set-cookie", "sid=1"),
        ("location", "http://127.0.0.1:8123/y?z"),
    ];

    #[test]
    fn only_named_fields_reach_the_client() {
        let to = through(ResponseBody::Pass, false, SENT);
        assert_eq!(to["etag"], "\"x\"");
        assert_eq!(to["location"], "/y?z");
        assert_eq!(to.get_all("set-cookie").iter().count(), 1);
        for gone in [
            "content-length",
            "server",
            "x-hop",
            "connection",
            "content-md5",
        ] {
            assert!(!to.contains_key(gone), "{gone}");
        }
        assert_eq!(
            through(ResponseBody::Pass, true, SENT)["content-length"],
            "9"
        );
    }

    #[test]
    fn what_a_rewritten_body_makes_false_is_dropped() {
        let to = through(ResponseBody::RestoreOwn(0), true, SENT);
        assert_eq!(to["cache-control"], "private, no-store");
        for gone in ["etag", "content-md5", "accept-ranges", "content-length"] {
            assert!(!to.contains_key(gone), "{gone}");
        }
        assert_eq!(to["x-summary"], "1");
    }

    #[test]
    fn a_location_elsewhere_is_dropped() {
        let own = ["a.example", "b:1"];
        let at = |v: &'static str| location(HeaderValue::from_static(v), own);
        assert_eq!(at("//evil/x"), None);
        assert_eq!(at("https://evil/x"), None);
        assert_eq!(at("javascript:1"), None);
        for elsewhere in [
            "http://b:1//evil/x",
            "https://a.example//evil",
            "https://a.example/\\evil",
            "https://a.example\\@evil/",
            "https://a.example@evil/",
            "/\\evil",
            "/\t/evil",
            "/\t\\evil",
            "https://a.example/\t/evil",
            "https://a.example.evil/",
            "\\\\evil",
            "",
        ] {
            assert_eq!(at(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(at("/x//y?z=\\").unwrap(), "/x//y?z=\\");
        assert_eq!(at("http://b:1?z").unwrap(), "/?z");
        assert_eq!(at("/").unwrap(), "/");
        assert_eq!(at("https://A.example").unwrap(), "/");
    }
}
