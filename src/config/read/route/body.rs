//! What a route does with bodies, both ways.

use super::super::super::raw::Table;
use super::super::super::{Format, Gateway, RequestBody, ResponseBody, Rows, WebSocket};
use super::super::{Names, policy, resolve, shorten, word};
use crate::config::diagnostic::name_hint;
use crate::policy::Action;

/// A policy, or opaque, or no body at all.
pub(super) fn request(table: &Table<'_>, names: &Names<'_>) -> Option<RequestBody> {
    let findings = table.findings();
    let policy = table.text("request");
    let opaque = table.boolean("opaque").unwrap_or(false);
    match policy {
        Some(text) if opaque => {
            findings.error(
                &table.place_of("opaque"),
                "a body cannot be rewritten and pass unseen at once",
                format!("remove opaque, or request = \"{}\"", shorten(text.value)),
            );
            None
        }
        Some(text) => {
            let known = names.policies.iter().any(|p| p.name.value == text.value);
            if !known && !names.complete {
                return None;
            }
            resolve(&text, &names.policies, "policy", findings).map(RequestBody::Policy)
        }
        None if table.has("request") => None,
        None if opaque => Some(RequestBody::Opaque),
        None => Some(RequestBody::None),
    }
}

/// Whether a client needs a certificate; the gateway must then have a CA for them.
pub(super) fn client_certificate(table: &Table<'_>, gateway: Option<&Gateway>) -> bool {
    let wanted = table.boolean("client_certificate").unwrap_or(false);
    if wanted && gateway.is_some_and(|g| g.tls.client_ca.is_none()) {
        let message = "the gateway has no `client_ca`: no client could show a certificate";
        let hint = "write client_ca = \"…\" in gateway.tls";
        table
            .findings()
            .error(&table.place_of("client_certificate"), message, hint);
    }
    wanted
}

/// Nothing, a policy, or `restore-own`, which needs a known client and something to give back.
pub(super) fn response(
    table: &Table<'_>,
    names: &Names<'_>,
    policy: Option<usize>,
    read: Option<&policy::Read<'_>>,
    client_certificate: bool,
) -> Option<ResponseBody> {
    let findings = table.findings();
    let Some(text) = table.text("response") else {
        return (!table.has("response")).then_some(ResponseBody::Pass);
    };
    match text.value {
        "pass" => return Some(ResponseBody::Pass),
        "restore-own" => {}
        _ => {
            let at = names
                .policies
                .iter()
                .position(|p| p.name.value == text.value);
            if at.is_none() && names.complete {
                let message = format!("`{}` is no way to treat responses", shorten(text.value));
                let policies = names.policies.iter().map(|p| p.name.value);
                let hint = name_hint(
                    text.value,
                    ["pass", "restore-own"].into_iter().chain(policies),
                );
                findings.error(&text.place, message, hint);
            }
            return at.map(ResponseBody::Policy);
        }
    }
    if !client_certificate {
        findings.error(
            &text.place,
            "restore-own needs to know the client",
            "write client_certificate = true on this route",
        );
    }
    let Some(policy) = policy else {
        if !table.has("request") {
            findings.error(
                &text.place,
                "restore-own gives back what a request policy has replaced, and there is none",
                "write request = \"…\", or response = \"pass\"",
            );
        }
        return None;
    };
    if read.is_some_and(|r| r.restore.is_none()) {
        findings.error(
            &text.place,
            "the request policy makes no pseudonyms that could be restored",
            "write response = \"pass\"",
        );
    }
    Some(ResponseBody::RestoreOwn(policy))
}

/// Pseudonyms need a domain, and a domain pseudonyms. `policies`: each with the key that names it.
pub(super) fn derives(table: &Table<'_>, policies: &[(&str, &policy::Read<'_>)], domain: bool) {
    let pseudonym = policies.iter().find_map(|(key, read)| {
        let mut rules = read.policy.rules.iter().zip(&read.places);
        let (_, place) =
            rules.find(|(r, _)| matches!(r.action, Action::Pseudonym { .. } | Action::Scrub(_)))?;
        Some((*key, *read, place))
    });
    match (pseudonym, policies.first()) {
        (Some((key, read, place)), _) if !domain && !table.has("domain") => table.findings().error(
            &table.place_of(key),
            format!(
                "policy `{}` makes pseudonyms, but this route has no `domain` to make them in",
                read.policy.name
            ),
            format!(
                "write domain = \"…\"; the first such rule stands in line {}",
                place.line()
            ),
        ),
        (None, Some((_, read))) if domain => table.findings().warn(
            &table.place_of("domain"),
            format!(
                "policy `{}` makes no pseudonyms: the domain has no use here",
                read.policy.name
            ),
            "remove it; the gateway would lease a key for nothing",
        ),
        _ => {}
    }
}

/// The format, where it is not the media type that says it.
pub(super) fn format(
    table: &Table<'_>,
    request: Option<&RequestBody>,
    rows: Rows,
) -> Option<Format> {
    let text = table.text("format")?;
    let header = rows.tsv_header;
    let words = [
        ("json", Format::Json),
        ("ndjson", Format::Ndjson),
        ("csv", Format::Csv(rows.csv)),
        ("tsv", Format::Tsv { header }),
        ("form", Format::Form),
    ];
    let format = word(&text, "format", &words, table.findings());
    if !matches!(request, Some(RequestBody::Policy(_)) | None) {
        table.findings().warn(
            &text.place,
            "`format` has no use: no policy reads this body",
            "remove it, or name a `request` policy",
        );
    }
    format
}

/// Whether the route switches to WebSocket, and what becomes of the messages then.
pub(super) fn websocket(
    table: &Table<'_>,
    request: Option<&RequestBody>,
    response: Option<&ResponseBody>,
    format: Option<Format>,
    methods: &[String],
) -> WebSocket {
    let findings = table.findings();
    let words = [
        ("refuse", WebSocket::Refuse),
        ("policy", WebSocket::Policy),
        ("opaque", WebSocket::Opaque),
    ];
    let text = table.text("websocket");
    let Some(text) = text else {
        return WebSocket::Refuse;
    };
    let kind = word(&text, "way to treat WebSocket", &words, findings);
    let kind = kind.unwrap_or(WebSocket::Refuse);
    let other = format.is_some_and(|format| format != Format::Json);
    let restores = matches!(response, Some(ResponseBody::RestoreOwn(_)));
    let answers = matches!(response, Some(ResponseBody::Policy(_)));
    let wrong = match (kind, request) {
        (WebSocket::Refuse, _) | (_, None) => None,
        _ if answers => Some((
            "a policy rewrites this route's responses, and what the backend says on a WebSocket passes",
            "write response = \"pass\", or a route of its own for the WebSocket",
        )),
        (WebSocket::Policy, Some(RequestBody::Policy(_))) if other => Some((
            "a message is one JSON document, and this route's format is another",
            "write format = \"json\", or a route of its own for the WebSocket",
        )),
        (WebSocket::Policy, Some(RequestBody::Policy(_))) if restores => Some((
            "restore-own gives back what one request brought; a WebSocket's messages answer no request",
            "write response = \"pass\", or a route of its own for the WebSocket",
        )),
        (WebSocket::Policy, Some(RequestBody::Policy(_)))
        | (WebSocket::Opaque, Some(RequestBody::Opaque)) => None,
        (WebSocket::Policy, Some(_)) => Some((
            "there is no policy that could read the messages",
            "name a `request` policy; messages pass unseen with opaque = true and websocket = \"opaque\"",
        )),
        (WebSocket::Opaque, Some(_)) => Some((
            "messages pass unseen only where bodies do",
            "write opaque = true, or websocket = \"policy\"",
        )),
    };
    if let Some((message, hint)) = wrong {
        findings.error(&text.place, message, hint);
    }
    let get = methods.is_empty() || methods.iter().any(|m| m == "GET");
    if kind != WebSocket::Refuse && !get {
        findings.error(
            &text.place,
            "a WebSocket begins with GET, which this route does not take",
            "add \"GET\" to methods",
        );
    }
    kind
}
