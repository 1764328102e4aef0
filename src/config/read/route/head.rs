//! What a route says about hosts, methods, header fields and cookies.

use super::super::super::raw::{Findings, Table, Text};
use super::super::address::host_name;
use super::super::shorten;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Fields that the gateway makes, drops or rebuilds itself (RFC 9110, section 7.6.1, and the
/// side doors for identifiers).
const OWN_FIELDS: [&str; 20] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "expect",
    "referer",
    "baggage",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether a rule may say what becomes of this field (in lower case): the gateway does not make,
/// drop or judge it itself.
pub(in crate::config::read) fn may_be_ruled(name: &str) -> bool {
    const JUDGED: [&str; 13] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "cookie",
        "http2-settings",
        "keep-alive",
        "range",
        "set-cookie",
        "traceparent",
        "tracestate",
        "via",
        "x-forwarded-prefix",
    ];
    let conditional = name.starts_with("if-") || name.starts_with("sec-websocket-");
    !(conditional || JUDGED.contains(&name) || OWN_FIELDS.contains(&name))
}

/// An exact host without a port.
pub(super) fn host(text: &Text<'_>, findings: &Findings) -> bool {
    let hint = if text.value.contains('*') {
        "hosts are exact; leave `host` out to match any"
    } else if text.value.contains(':') && !text.value.starts_with('[') {
        "the name alone: a route matches every port the gateway listens on"
    } else if text.value.bytes().any(|b| b.is_ascii_uppercase()) {
        "hosts are compared in lower case: write it so"
    } else if host_name(text.value) || v6(text.value) {
        return true;
    } else {
        "a DNS name or an address, as in \"ingest.example\""
    };
    findings.error(&text.place, "this is no host", hint);
    false
}

/// A host with or without a port, as a `Host` field has it.
pub(super) fn authority(text: &Text<'_>, findings: &Findings) -> bool {
    let (host, port) = match text.value.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().is_ok()),
        _ => (text.value, true),
    };
    let good = port && (host_name(host) || v6(host));
    if !good {
        findings.error(
            &text.place,
            "this is no value for Host",
            "as in \"data.example\" or \"data.example:8443\"",
        );
    }
    good
}

/// Upper-case methods; empty: the seven standard ones that carry or fetch a representation.
pub(super) fn methods(table: &Table<'_>) -> Vec<String> {
    let findings = table.findings();
    let mut methods: Vec<String> = Vec::new();
    for text in table.texts("methods") {
        let upper = text.value.to_ascii_uppercase();
        if !METHODS.contains(&text.value) {
            let hint = match &*upper {
                "CONNECT" | "TRACE" => "the gateway never passes CONNECT and TRACE".to_owned(),
                known if METHODS.contains(&known) => {
                    format!("methods are upper case: write \"{known}\"")
                }
                _ => format!("there are: {}", METHODS.join(", ")),
            };
            findings.error(
                &text.place,
                format!("`{}` is no method", shorten(text.value)),
                hint,
            );
        } else if methods.contains(&upper) {
            findings.error(&text.place, "this method stands here twice", "name it once");
        } else {
            methods.push(upper);
        }
    }
    if table.has("methods") && table.lists_nothing("methods") {
        findings.error(
            &table.place_of("methods"),
            "no request could ever match",
            "name the methods, or leave `methods` out to match any",
        );
    }
    methods
}

/// Header fields that pass beside the standing list, in lower case.
pub(super) fn headers(table: &Table<'_>, key: &'static str) -> Vec<String> {
    let findings = table.findings();
    let mut fields: Vec<String> = Vec::new();
    for text in table.texts(key) {
        let lower = text.value.to_ascii_lowercase();
        let (message, hint) = if !token(text.value) {
            (
                "this is no field name",
                "letters, digits and -, as in \"x-request-id\"",
            )
        } else if lower == "cookie" || lower == "set-cookie" {
            (
                "cookies have a list of their own",
                "write cookies = [\"name\"]",
            )
        } else if OWN_FIELDS.contains(&&*lower) {
            (
                "this field cannot be passed on",
                "the gateway makes, drops or rebuilds it itself",
            )
        } else if fields.contains(&lower) {
            ("this field stands here twice", "name it once")
        } else {
            fields.push(lower);
            continue;
        };
        findings.error(&text.place, message, hint);
    }
    fields
}

/// Cookies that pass.
pub(super) fn cookies(table: &Table<'_>) -> Vec<String> {
    let mut cookies = Vec::new();
    for text in table.texts("cookies") {
        if token(text.value) {
            cookies.push(text.value.to_owned());
        } else {
            table.findings().error(
                &text.place,
                "this is no cookie name",
                "RFC 6265: letters, digits and some signs, no white space",
            );
        }
    }
    cookies
}

/// RFC 9110, section 5.6.2.
fn token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn v6(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.is_some_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok())
}
