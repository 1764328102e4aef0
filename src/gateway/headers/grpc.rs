//! Fields of gRPC, on opaque routes whose backend is spoken to in HTTP/2.
//!
//! gRPC is a use of HTTP/2 with trailers ("gRPC over HTTP2", its specification): the status of a
//! call stands in them, or in the head where there is nothing else. Metadata of an application's
//! own passes where the route lists it, in the head and in the trailers alike.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hop;
use crate::config::RequestBody;
use crate::gateway::routes::Route;

const REQUEST: [&str; 3] = ["grpc-accept-encoding", "grpc-encoding", "grpc-timeout"];

const RESPONSE: [&str; 5] = [
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
];

/// What goes to the backend beside what passes on every route; empty where the body is looked at.
pub fn request(from: &HeaderMap, route: &Route) -> HeaderMap {
    let mut to = HeaderMap::new();
    if !matches!(route.config.request, RequestBody::Opaque) {
        return to;
    }
    carry(from, &mut to, &REQUEST);
    let trailers = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|b| *b == b',');
        options.any(|o| o.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    if from.get_all(header::TE).iter().any(trailers) {
        to.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    to
}

/// What goes to the client, likewise.
pub fn response(from: &HeaderMap, route: &Route) -> HeaderMap {
    let mut to = HeaderMap::new();
    if matches!(route.config.request, RequestBody::Opaque) {
        carry(from, &mut to, &RESPONSE);
    }
    to
}

/// The trailers that go to the client: those of gRPC, and `listed` ones.
pub fn trailers(from: &HeaderMap, listed: &[HeaderName]) -> HeaderMap {
    let mut to = HeaderMap::new();
    carry(from, &mut to, &RESPONSE);
    for name in listed.iter().filter(|name| !hop::always(name)) {
        for value in from.get_all(name) {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

fn carry(from: &HeaderMap, to: &mut HeaderMap, names: &[&'static str]) {
    for &name in names {
        for value in from.get_all(name) {
            to.append(HeaderName::from_static(name), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_pass_by_name() {
        let mut from = HeaderMap::new();
        for (name, value) in [
            ("grpc-status", "5"),
            ("x-listed", "1"),
            ("x-listed", "2"),
            ("x-other", "SUB-00001"),
            ("content-length", "3"),
        ] {
            from.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let listed = [HeaderName::from_static("x-listed"), header::CONTENT_LENGTH];
        let to = trailers(&from, &listed);
        assert_eq!(to["grpc-status"], "5");
        assert_eq!(to.get_all("x-listed").iter().count(), 2);
        assert_eq!(to.len(), 3, "{to:?}");
    }
}
