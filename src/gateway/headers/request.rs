//! The head that the backend sees.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{cookie, forwarded, hop, standing};
use crate::config::{RequestBody, ResponseBody};
use crate::gateway::body::{coded, media};
use crate::gateway::routes::Route;

/// Fields about the response's representation. They are stripped where the response is rewritten,
/// because a coded, partial or conditional answer cannot be. What a client writes into them is
/// its own (an entity tag is any text), so they pass by themselves only on opaque routes.
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

/// The media type of a rewritten body: what it was parsed as, in our words. A client's own may
/// have parameters, or a subtype made of anything.
fn content_type(from: &HeaderMap, route: &Route) -> Option<HeaderValue> {
    media::request(from, route.config.format, route.config.rows)
        .ok()
        .map(media::of)
}

/// The codings of a rewritten body: those that it came with, in our words.
fn content_encoding(from: &HeaderMap, route: &Route) -> Option<HeaderValue> {
    let codings = &route.config.codings;
    if codings.plain {
        return None;
    }
    coded::field(&coded::of(from, &codings.taken).ok()?)
}

/// Moves what passes into a new list, and adds what is made here.
pub fn build(
    mut from: HeaderMap,
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
    to.insert(
        header::FORWARDED,
        forwarded::forwarded(route.config.host.as_deref()),
    );
    to.insert(header::VIA, forwarded::via(version));
    let cookies = match &route.doors {
        // They have been looked at, and joined.
        Some(doors) if doors.settles_cookies => from.remove(header::COOKIE),
        _ => cookie::request(&from, &route.config.cookies),
    };
    if let Some(cookies) = cookies {
        to.insert(header::COOKIE, cookies);
    }
    if has_body
        && matches!(route.config.request, RequestBody::Policy(_))
        && let Some(made) = content_type(&from, route)
    {
        to.insert(header::CONTENT_TYPE, made);
        if let Some(made) = content_encoding(&from, route) {
            to.insert(header::CONTENT_ENCODING, made);
        }
    }
    let connection = hop::Named::of(&from);
    let mut last = None;
    for (name, value) in from.drain() {
        if name.is_some() {
            last = name;
        }
        let Some(name) = &last else { continue };
        let listed = route.request_headers.contains(name) && !hop::always(name);
        let about_the_body = matches!(*name, header::CONTENT_TYPE | header::CONTENT_ENCODING);
        let passes = if about_the_body {
            opaque
        } else {
            listed || (opaque && about_the_response(name)) || standing::passes(name, &value)
        };
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
    use crate::config::Format;
    use crate::gateway::metrics::Metrics;
    use crate::gateway::routes::{Routes, tests::route};

    fn through(change: impl Fn(&mut crate::config::Route), sent: &[(&str, &str)]) -> HeaderMap {
        let mut config = route("r", None, "/", &[]);
        change(&mut config);
        let metrics = Metrics::new();
        let routes = Routes::new(&[config], |n| metrics.route(n), None).unwrap();
        let mut from = HeaderMap::new();
        for (name, value) in sent {
            let name: HeaderName = name.parse().unwrap();
            from.append(name, value.parse().unwrap());
        }
        let host = HeaderValue::from_static("backend");
        build(
            from,
            Version::HTTP_11,
            &Method::POST,
            routes.get(0),
            host,
            sent.iter().any(|(name, _)| *name == "content-length"),
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
            ["accept", "forwarded", "host", "range", "via", "x-listed"]
        );
        let to = through(list, &sent);
        assert_eq!(to.get_all("accept").iter().count(), 2);
        assert_eq!(to["forwarded"], "for=unknown;proto=https");
        assert_eq!(through(list, &sent[..1])["content-length"], "0");
        let hosted = |r: &mut crate::config::Route| r.host = Some("a.example".to_owned());
        assert_eq!(
            through(hosted, &[])["forwarded"],
            "for=unknown;proto=https;host=\"a.example\""
        );
    }

    #[test]
    fn fields_of_a_rewritten_request_say_only_what_they_are_for() {
        let rewriting = |r: &mut crate::config::Route| r.request = RequestBody::Policy(0);
        let sent = [
            ("content-length", "2"),
            ("content-type", "application/SUB-00001+json; id=SUB-00001"),
            ("content-language", "SUB-00001"),
            ("accept", "application/SUB-00001"),
            ("accept", "text/plain;q=0.5"),
            ("accept-language", "SUB-00001"),
            ("accept-encoding", "SUB-00001"),
            ("cache-control", "SUB-00001"),
            ("prefer", "SUB-00001"),
            ("if-none-match", "\"SUB-00001\""),
            ("if-match", "\"SUB-00001\""),
            ("if-range", "\"SUB-00001\""),
            ("range", "SUB-00001=0-1"),
        ];
        let to = through(rewriting, &sent);
        assert_eq!(to["content-type"], "application/json");
        assert_eq!(to["accept"], "text/plain;q=0.5");
        assert!(!format!("{to:?}").contains("SUB"), "{to:?}");
        let lines = |r: &mut crate::config::Route| {
            rewriting(r);
            r.format = Some(Format::Ndjson);
            r.request_headers = vec!["content-type".to_owned(), "prefer".to_owned()];
        };
        let to = through(lines, &sent);
        assert_eq!(to["content-type"], "application/x-ndjson");
        assert_eq!(to["prefer"], "SUB-00001");
        // No body, no type; on an opaque route everything about the body is the client's.
        assert!(!through(rewriting, &sent[1..]).contains_key("content-type"));
        let to = through(|_| (), &sent);
        assert_eq!(to["content-type"], sent[1].1);
        assert_eq!(to["if-match"], "\"SUB-00001\"");
        assert!(!to.contains_key("accept-language"));
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
