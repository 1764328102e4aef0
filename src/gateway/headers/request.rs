//! The head that the backend sees.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{cookie, forwarded, hop};
use crate::config::{RequestBody, ResponseBody};
use crate::gateway::routes::Route;

/// Fields that pass on every route. `user-agent` (technical data), `authorization`, `referer`,
/// `origin`, `baggage`, trace fields and everything else pass only where a route lists them.
fn standing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "accept-language"
            | "cache-control"
            | "content-language"
            | "content-type"
            | "prefer"
    )
}

/// Fields about the response's representation: they pass where the response is not rewritten,
/// because a coded, partial or conditional answer cannot be.
fn about_the_response(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-encoding"
            | "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "if-range"
            | "range"
    )
}

/// Moves what passes into a new list, and adds what is made here.
pub fn build(
    mut from: HeaderMap,
    authority: &str,
    version: Version,
    method: &Method,
    route: &Route,
    host: HeaderValue,
    has_body: bool,
) -> HeaderMap {
    let opaque = matches!(route.config.request, RequestBody::Opaque);
    let rewritten_response = !matches!(route.config.response, ResponseBody::Pass);
    let mut to = HeaderMap::with_capacity(12);
    to.insert(header::HOST, host);
    to.insert(header::FORWARDED, forwarded::forwarded(authority));
    to.insert(header::VIA, forwarded::via(version));
    if let Some(cookies) = cookie::request(&from, &route.config.cookies) {
        to.insert(header::COOKIE, cookies);
    }
    let connection = hop::Named::of(&from);
    let mut last = None;
    for (name, value) in from.drain() {
        if name.is_some() {
            last = name;
        }
        let Some(name) = &last else { continue };
        let listed = || route.request_headers.contains(name) && !hop::always(name);
        let passes = standing(name)
            || (about_the_response(name) && !rewritten_response)
            || (*name == header::CONTENT_ENCODING && opaque)
            || listed();
        let stripped = rewritten_response && about_the_response(name);
        if passes && !stripped && !connection.has(name) {
            to.append(name.clone(), value);
        }
    }
    if rewritten_response {
        to.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    if !has_body && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        // RFC 9110, section 8.6: hyper writes no length for a request without a body.
        to.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::metrics::Metrics;
    use crate::gateway::routes::{Routes, tests::route};

    fn through(change: impl Fn(&mut crate::config::Route), sent: &[(&str, &str)]) -> HeaderMap {
        let mut config = route("r", None, "/", &[]);
        change(&mut config);
        let metrics = Metrics::new();
        let routes = Routes::new(&[config], |n| metrics.route(n)).unwrap();
        let mut from = HeaderMap::new();
        for (name, value) in sent {
            let name: HeaderName = name.parse().unwrap();
            from.append(name, value.parse().unwrap());
        }
        let host = HeaderValue::from_static("backend");
        build(
            from,
            "a",
            Version::HTTP_11,
            &Method::POST,
            routes.get(0),
            host,
            false,
        )
    }

    #[test]
    fn only_named_fields_reach_the_backend() {
        let sent = [
            ("accept", "*/*"),
            ("accept", "text/plain"),
            ("user-agent", "SUB-1"),
            ("referer", "https://x/SUB-1"),
            ("baggage", "user=SUB-1"),
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("via", "1.1 inner"),
            ("authorization", "Bearer x"),
            ("x_listed", "1"),
            ("x-listed", "2"),
            ("x-hop", "3"),
            ("connection", "x-hop, close"),
            ("te", "trailers"),
            ("content-length", "5"),
            ("range", "bytes=0-1"),
        ];
        let list = |r: &mut crate::config::Route| {
            r.request_headers = ["x-listed", "x-hop", "te", "content-length"]
                .map(String::from)
                .to_vec();
        };
        let mut names: Vec<String> = through(list, &sent)
            .keys()
            .map(ToString::to_string)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "content-length",
                "forwarded",
                "host",
                "range",
                "via",
                "x-listed"
            ]
        );
        let to = through(list, &sent);
        assert_eq!(to.get_all("accept").iter().count(), 2);
        assert_eq!(to["content-length"], "0");
        assert_eq!(to["forwarded"], "for=unknown;proto=https;host=\"a\"");
    }

    #[test]
    fn an_answer_that_is_rewritten_is_asked_for_whole_and_plain() {
        let restore = |r: &mut crate::config::Route| r.response = ResponseBody::RestoreOwn(0);
        let sent = [
            ("accept-encoding", "br"),
            ("range", "bytes=0-1"),
            ("if-none-match", "\"x\""),
        ];
        let to = through(restore, &sent);
        assert_eq!(to["accept-encoding"], "identity");
        assert!(!to.contains_key("range") && !to.contains_key("if-none-match"));
    }
}
