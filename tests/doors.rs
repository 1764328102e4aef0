//! Side doors: what a policy says about query strings, forms, paths, header fields, cookies and
//! trailers, on the wire, over HTTP/1.1 and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cryptonym::config::{self, Config, Diagnostic, Format, Limits, QueryRule, RequestBody};
use cryptonym::format::fuzz;
use cryptonym::policy::{Action, Policy, RecordUnit, Redact, Unlisted};
use serde_json::Value;

#[path = "support/installation.rs"]
mod installation;
#[path = "support/leak.rs"]
mod leak;
#[path = "support/postgres.rs"]
mod postgres;
mod support;
use installation::{CA, HOST, Installation};
use leak::LeakSearch;
use postgres::Postgres;
use support::backend::{Backend, Seen};
use support::certificates::Certificates;
use support::gateway::{Gateway, config, opaque};
use support::h2::{Frames, Outcome};
use support::raw::{Raw, field, status};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: sid=1; Path=/\r\nset-cookie: theme=a\r\n\
    set-cookie: other=1\r\nlocation: /v1/subscribers/sub_1_x?a=b\r\nlink: </x>; rel=next\r\nrefresh: 0; url=/x\r\n\
    content-disposition: attachment; filename=\"a.csv\"\r\n\r\nok";

/// `X` in the place of what is rewritten.
fn x() -> Action {
    Action::Redact(Redact::Constant("X".into()))
}

fn policy(name: &str, unlisted: Unlisted, rules: &[(&str, Action)]) -> Arc<Policy> {
    let unnamed = fuzz::policy(unlisted, RecordUnit::Auto, rules);
    let rules = unnamed.rules.clone();
    Arc::new(Policy::compile(name, unlisted, RecordUnit::Auto, rules).unwrap())
}

fn rules() -> Vec<(&'static str, Action)> {
    vec![
        ("query:id", x()),
        ("query:page", Action::Keep),
        ("query:gone", Action::Drop),
        ("query:bad", Action::Reject),
        ("form:id", x()),
        ("form:page", Action::Keep),
        ("form:gone", Action::Drop),
        ("path:id", x()),
        ("path:bad", Action::Reject),
        ("cookie:sid", x()),
        ("cookie:theme", Action::Keep),
        ("cookie:gone", Action::Drop),
        ("cookie:bad", Action::Reject),
        ("header:x-subscriber", x()),
        ("header:x-kept", Action::Keep),
        ("header:x-gone", Action::Drop),
        ("header:x-bad", Action::Reject),
        ("trailer:x-sum", Action::Keep),
        ("trailer:x-gone", Action::Drop),
        ("$.id", x()),
    ]
}

fn route(name: &str, path: &str, policy: usize) -> config::Route {
    config::Route {
        request: RequestBody::Policy(policy),
        ..opaque(name, path)
    }
}

/// Policies 0 to 2 are [`rules`] under `reject`, `drop` and `keep`; 3 has rules for bodies only.
fn gateway(backend: &Backend) -> Gateway {
    let certificates = Arc::new(Certificates::new());
    let mut listing = route("lists", "/lists/{site}", 0);
    listing.captures = vec!["site".to_owned()];
    listing.cookies = vec!["lang".to_owned()];
    listing.query = vec![QueryRule {
        name: "sort".to_owned(),
        values: vec!["a b".to_owned()],
    }];
    listing.request_headers = vec!["x-listed".to_owned()];
    let mut streams = route("streams", "/streams", 0);
    streams.stream = true;
    let mut form = route("form", "/formal", 0);
    form.format = Some(Format::Form);
    let routes = vec![
        route("reject", "/reject", 0),
        route("drop", "/drop", 1),
        route("keep", "/keep", 2),
        route("kept", "/kept/{any}", 2),
        route("body", "/body", 3),
        route("captures", "/v1/{id}/x/{*rest}", 4),
        route("one", "/v1/{id}", 4),
        route("refused", "/bad/{bad}", 0),
        listing,
        streams,
        form,
    ];
    let limits = Limits {
        hold: 16 * 1024,
        ..Limits::default()
    };
    let mut config = config(&certificates, backend, routes, limits);
    config.policies = vec![
        policy("reject", Unlisted::Reject, &rules()),
        policy("drop", Unlisted::Drop, &rules()),
        policy("keep", Unlisted::Keep, &rules()),
        policy("body", Unlisted::Reject, &[("$.id", x())]),
        policy(
            "captures",
            Unlisted::Reject,
            &[("path:id", x()), ("path:rest", Action::Keep)],
        ),
    ];
    Gateway::start_as(&certificates, &config)
}

/// One request over HTTP/1.1; the answer's head, and its problem document if it is one.
async fn once(gateway: &Gateway, request: &str) -> (String, Value) {
    let mut client = gateway.h1().await;
    client.send(request).await;
    let (head, body) = client.answer().await;
    (head, serde_json::from_slice(&body).unwrap_or_default())
}

async fn get(gateway: &Gateway, target: &str, fields: &str) -> (u16, Value) {
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    let (head, problem) = once(gateway, &request).await;
    (status(&head), problem)
}

/// The same request over HTTP/2.
async fn get_2(gateway: &Gateway, target: &str, fields: &[(&str, &str)]) -> u16 {
    let mut client = Frames::open(gateway).await;
    let mut all: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", target.as_bytes()),
    ];
    all.extend(fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    let stream = client.request(&all, true).await;
    match client.outcome(stream).await {
        Outcome::Answer(status, _) => status,
        other => panic!("{target}: {other:?}"),
    }
}

fn target(seen: &Seen) -> &str {
    seen.head.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn formats_02_queries_are_rewritten_whatever_their_spelling() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    for (sent, becomes) in [
        ("/reject?id=SUB-1", "/reject?id=X"),
        (
            "/reject?page=%4a+b&id=SUB-1&page=",
            "/reject?page=%4a+b&id=X&page=",
        ),
        (
            "/reject?%69d=SUB-1&id=a&i%64=b",
            "/reject?%69d=X&id=X&i%64=X",
        ),
        ("/reject?id=&id", "/reject?id=&id"),
        ("/reject?gone=SUB-1", "/reject"),
        ("/reject?gone=SUB-1&page=1&gone", "/reject?page=1"),
        ("/reject?", "/reject?"),
        ("/drop?a=SUB-1&page=1&b=2", "/drop?page=1"),
        ("/drop?a=SUB-1", "/drop"),
        ("/keep?a=1;b&c", ""),
        ("/keep?a=%C3%A9&b&id=SUB-1&=", "/keep?a=%C3%A9&b&id=X&="),
        ("/lists/s?s%6frt=a+b&id=SUB-1", "/lists/s?s%6frt=a+b&id=X"),
    ] {
        let (status, problem) = get(&gateway, sent, "").await;
        if becomes.is_empty() {
            assert_eq!(
                (status, &problem["code"]),
                (422, &"query-not-allowed".into())
            );
            continue;
        }
        assert_eq!(status, 200, "{sent}: {problem}");
        assert_eq!(target(&backend.next().await), becomes, "{sent}");
        assert_eq!(get_2(&gateway, sent, &[]).await, 200, "{sent}");
        assert_eq!(target(&backend.next().await), becomes, "HTTP/2 {sent}");
    }
    for (sent, code, place) in [
        ("/reject?name=Ann", "query-not-allowed", "query:*"),
        ("/reject?ID=SUB-1", "query-not-allowed", "query:*"),
        ("/reject?id=1;page=2", "query-not-allowed", "query:*"),
        ("/reject?id=%4", "query-not-allowed", "query:*"),
        ("/reject?page=%00", "query-not-allowed", "query:*"),
        ("/reject?%ff=1", "query-not-allowed", "query:*"),
        ("/reject?page=1&bad=SUB-1", "rejected-place", "query:bad"),
        ("/lists/s?sort=c", "query-not-allowed", "query:sort"),
        // A policy without a word on queries: the route's own list, as ever.
        ("/body?page=1", "query-not-allowed", "?*"),
    ] {
        let (status, problem) = get(&gateway, sent, "").await;
        assert_eq!((status, &problem["code"]), (422, &code.into()), "{sent}");
        assert_eq!(problem["place"], place, "{sent}");
        assert!(!problem.to_string().contains("Ann"), "{problem}");
        assert_eq!(get_2(&gateway, sent, &[]).await, 422, "{sent}");
    }
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn formats_02_captures_are_rewritten_where_they_were_routed() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    for (sent, becomes) in [
        ("/v1/SUB-1", "/v1/X"),
        ("/v1/a%40b", "/v1/X"),
        ("/v1/SUB-1/x/a/b%20c", "/v1/X/x/a/b%20c"),
        ("/lists/SUB-1", "/lists/SUB-1"),
        ("/kept/SUB-1", "/kept/SUB-1"),
    ] {
        assert_eq!(get(&gateway, sent, "").await.0, 200, "{sent}");
        assert_eq!(target(&backend.next().await), becomes, "{sent}");
        assert_eq!(get_2(&gateway, sent, &[]).await, 200, "{sent}");
        assert_eq!(target(&backend.next().await), becomes, "HTTP/2 {sent}");
    }
    for (sent, expect) in [
        ("/v1/SUB-1/x/../y", 400),
        ("/v1/SUB%2f1", 400),
        ("/v1/SUB%001", 400),
        ("/v1/%53UB-1", 400),
        ("/v1//x/a", 400),
        ("/bad/SUB-1", 422),
        ("/v1/SUB-1?id=1", 422),
    ] {
        assert_eq!(get(&gateway, sent, "").await.0, expect, "{sent}");
        assert_eq!(get_2(&gateway, sent, &[]).await, expect, "{sent}");
    }
    let problem = get(&gateway, "/bad/SUB-1", "").await.1;
    assert_eq!(problem["place"], "path:bad");
    assert!(backend.saw_nothing());
}

async fn post(gateway: &Gateway, path: &str, media: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let (head, problem) = once(gateway, &request).await;
    (status(&head), problem)
}

#[tokio::test]
async fn formats_02_forms_are_rewritten_and_other_types_refused() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    for (path, media, body, becomes) in [
        (
            "/reject",
            FORM,
            "id=SUB-1&page=a+b%21&gone=SUB-1",
            "id=X&page=a+b%21",
        ),
        (
            "/reject",
            "Application/X-WWW-Form-URLencoded; charset=UTF-8",
            "%69d=SUB-1",
            "%69d=X",
        ),
        ("/drop", FORM, "name=Ann&id=SUB-1", "id=X"),
        ("/keep", FORM, "&a=1&&id=SUB-1&", "&a=1&&id=X&"),
        ("/formal", "text/plain", "id=SUB-1", "id=X"),
        (
            "/reject",
            "application/json",
            "{\"id\":\"SUB-1\"}",
            "{\"id\":\"X\"}",
        ),
    ] {
        let (status, problem) = post(&gateway, path, media, body).await;
        assert_eq!(status, 200, "{body}: {problem}");
        let seen = backend.next().await;
        assert_eq!(seen.body.unwrap(), becomes.as_bytes(), "{body}");
        let length = becomes.len().to_string();
        assert_eq!(field(&seen.head, "content-length"), Some(&*length));
        let made = if media == "application/json" {
            media
        } else {
            FORM
        };
        assert_eq!(field(&seen.head, "content-type"), Some(made));
    }
    // Larger than what is held: a form is one record, so it is held by the scanner then.
    let long = format!("id=SUB-1&page={}", "a".repeat(100_000));
    assert_eq!(post(&gateway, "/reject", FORM, &long).await.0, 413);
    assert_eq!(post(&gateway, "/streams", FORM, &long).await.0, 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "transfer-encoding"), Some("chunked"));
    let becomes = long.replace("SUB-1", "X");
    assert!(seen.body.unwrap() == becomes.as_bytes());
    for (path, media, body, expect, code) in [
        ("/reject", "text/plain", "id=SUB-1", 415, "media-type"),
        (
            "/reject",
            "multipart/form-data; boundary=x",
            "--x--",
            415,
            "media-type",
        ),
        (
            "/reject",
            "application/x-www-form-urlencoded; charset=latin1",
            "id=1",
            415,
            "media-type",
        ),
        // No rule speaks of forms, or of JSON.
        ("/body", FORM, "id=SUB-1", 415, "media-type"),
        ("/v1/1", "application/json", "{}", 415, "media-type"),
        ("/reject", FORM, "name=Ann", 422, "unlisted-place"),
        ("/reject", FORM, "id=1;page=2", 400, "malformed-form"),
        ("/reject", FORM, "id=%4", 400, "malformed-form"),
        ("/reject", FORM, "page=a%00", 400, "malformed-form"),
        ("/reject", FORM, "page=%ff", 400, "not-utf8"),
        // A name of a form is no name of a query.
        ("/reject?form:id=1", FORM, "id=1", 422, "query-not-allowed"),
    ] {
        let (status, problem) = post(&gateway, path, media, body).await;
        assert_eq!((status, &problem["code"]), (expect, &code.into()), "{body}");
        assert!(!problem.to_string().contains("Ann"), "{problem}");
    }
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn formats_03_fields_and_cookies_are_rewritten_one_by_one() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let fields = "X-Subscriber: SUB-1\r\nx-subscriber: SUB-2\r\nx-kept: a b\r\nx-gone: SUB-1\r\n\
        x-other: SUB-1\r\ncookie: theme=a=b; sid=SUB-1;gone=SUB-1\r\ncookie: sid=\"SUB 2\"; sid=\r\n";
    assert_eq!(get(&gateway, "/reject", fields).await.0, 200);
    let pairs = [
        ("x-subscriber", "SUB-1"),
        ("x-subscriber", "SUB-2"),
        ("x-kept", "a b"),
        ("x-gone", "SUB-1"),
        ("x-other", "SUB-1"),
        ("cookie", "theme=a=b"),
        ("cookie", "sid=SUB-1"),
        ("cookie", "gone=SUB-1"),
        ("cookie", "sid=\"SUB 2\""),
        ("cookie", "sid="),
    ];
    assert_eq!(get_2(&gateway, "/reject", &pairs).await, 200);
    for _ in 0..2 {
        let head = backend.next().await.head;
        assert!(!head.contains("SUB"), "{head}");
        assert_eq!(
            field(&head, "cookie"),
            Some("theme=a=b; sid=X; sid=\"X\"; sid=")
        );
        let named: Vec<_> = head
            .lines()
            .filter(|line| line.starts_with("x-subscriber:"))
            .collect();
        assert_eq!(named, ["x-subscriber: X", "x-subscriber: X"]);
        assert_eq!(field(&head, "x-kept"), Some("a b"));
    }
    for (path, fields, becomes) in [
        (
            "/drop",
            "cookie: a=SUB-1; theme=x; nameless\r\n",
            Some("theme=x"),
        ),
        ("/drop", "cookie: a=SUB-1\r\n", None),
        // Some readers see two cookies here.
        ("/drop", "cookie: theme=a sid=SUB-1\r\n", None),
        (
            "/keep",
            "cookie: a=1; nameless; sid=SUB-1\r\n",
            Some("a=1; sid=X"),
        ),
        (
            "/lists/s",
            "cookie: lang=en; sid=SUB-1\r\nx-listed: 1\r\n",
            Some("lang=en; sid=X"),
        ),
        // It belongs to one connection, whoever names it.
        (
            "/reject",
            "x-subscriber: SUB-1\r\nconnection: x-subscriber\r\n",
            None,
        ),
    ] {
        let (status, problem) = get(&gateway, path, fields).await;
        assert_eq!(status, 200, "{fields}: {problem}");
        let head = backend.next().await.head;
        assert_eq!(field(&head, "cookie"), becomes, "{fields}");
        assert!(!head.contains("SUB"), "{head}");
    }
    for (fields, code, place) in [
        (
            "cookie: theme=a; name=Ann\r\n",
            "unlisted-place",
            "cookie:*",
        ),
        ("cookie: Ann\r\n", "unlisted-place", "cookie:*"),
        (
            "cookie: theme=a, sid=SUB-1\r\n",
            "unlisted-place",
            "cookie:*",
        ),
        ("cookie: bad=SUB-1\r\n", "rejected-place", "cookie:bad"),
        ("x-bad: SUB-1\r\n", "rejected-place", "header:x-bad"),
    ] {
        let (status, problem) = get(&gateway, "/reject", fields).await;
        assert_eq!((status, &problem["code"]), (422, &code.into()), "{fields}");
        assert_eq!(problem["place"], place);
    }
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn formats_03_what_a_backend_may_say_in_its_head() {
    let backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let head = once(&gateway, &request("/reject")).await.0;
    let set: Vec<_> = head
        .lines()
        .filter(|l| l.starts_with("set-cookie:"))
        .collect();
    assert_eq!(set, ["set-cookie: sid=1; Path=/", "set-cookie: theme=a"]);
    assert_eq!(
        field(&head, "location"),
        Some("/v1/subscribers/sub_1_x?a=b")
    );
    assert_eq!(
        field(&head, "content-disposition"),
        Some("attachment; filename=\"a.csv\"")
    );
    assert_eq!(field(&head, "link").or(field(&head, "refresh")), None);
    let head = once(&gateway, &request("/body")).await.0;
    assert_eq!(field(&head, "set-cookie"), None);
}

#[tokio::test]
async fn formats_03_a_trailer_passes_by_name_only() {
    let mut backend = Backend::start(None, |mut raw, report| async move {
        while let Some(head) = raw.head().await {
            let end: &[u8] = match field(&head, "trailer") {
                Some(_) => b"\r\nx-sum: 1\r\n\r\n",
                None => b"}",
            };
            let body = Ok(raw.raw_until(end).await);
            let _ = report.send(Seen { head, body });
            raw.send(OK).await;
        }
    })
    .await;
    let gateway = gateway(&backend);
    let long = format!("{{\"id\":\"{}\"}}", "a".repeat(20_000));
    for (path, body) in [("/reject", "{\"id\":\"SUB-1\"}"), ("/streams", &*long)] {
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n", body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{chunk}x-sum: 1\r\nx-gone: SUB-1\r\nx-other: SUB-1\r\n\r\n"
        );
        assert_eq!(status(&once(&gateway, &request).await.0), 200);
        let seen = backend.next().await;
        assert_eq!(field(&seen.head, "trailer"), Some("x-sum"));
        assert_eq!(field(&seen.head, "content-length"), None);
        let text = String::from_utf8(seen.body.unwrap()).unwrap();
        assert!(text.contains("{\"id\":\"X\"}"), "{text}");
        assert!(text.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{text}");
        assert!(!text.contains("SUB") && !text.contains("x-gone"), "{text}");
    }
    // Over HTTP/2, and none where none came.
    let mut client = Frames::open(&gateway).await;
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/reject"),
        (b"content-type", b"application/json"),
    ];
    for trailers in [true, false] {
        let stream = client.request(&fields, false).await;
        client.data(stream, b"{\"id\":1}", !trailers).await;
        if trailers {
            let trailers: [(&[u8], &[u8]); 2] = [(b"x-sum", b"1"), (b"x-other", b"SUB-1")];
            client.fields(stream, &trailers, true).await;
        }
        let outcome = client.outcome(stream).await;
        assert_eq!(outcome, Outcome::Answer(200, b"ok".to_vec()));
        let seen = backend.next().await;
        assert_eq!(field(&seen.head, "trailer").is_some(), trailers);
        assert_eq!(field(&seen.head, "content-length").is_some(), !trailers);
    }
}

/// A configuration without a fault; cases change one piece of it.
const GOOD: &str = r#"[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "g.pem", key = "g.key", client_ca = "ca.pem" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[domain.study]
mode = "keyed"
purpose = "research"
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[[route]]
name = "in"
path = "/v1/{id}"
backend = "lake"
domain = "study"
request = "p"
query = [{ name = "page" }]
cookies = ["lang"]
request_headers = ["x-listed"]
[policy.p]
rules = [
  { at = "query:subscriber", category = "identity", action = "pseudonym", kind = "subscriber", already = "keep" },
  { at = "path:id", category = "identity", action = "pseudonym", kind = "subscriber" },
  { at = "header:x-sub", category = "identity", action = "drop" },
]
"#;

fn parse(text: &str) -> Result<config::Loaded, Vec<Diagnostic>> {
    Config::parse(text, Path::new("/etc/cryptonym"), "c.toml")
}

#[test]
fn formats_02_what_cannot_be_meant_is_an_error_with_line_and_column() {
    let loaded = parse(GOOD).unwrap_or_else(|errors| panic!("{errors:?}"));
    let rule = &loaded.config.policies[0].rules[0];
    assert_eq!(rule.already, cryptonym::policy::Already::Keep);
    let mut wrong = Vec::new();
    for (piece, instead, line, column, message) in [
        ("path:id", "path:other", 23, 10, "captures no `other`"),
        ("path:id", "path:", 23, 10, "a name is missing"),
        ("path:id", "url:id", 23, 11, "starts with $"),
        (
            "\"/v1/{id}\"",
            "\"/v1/{id}/{no}\"",
            13,
            8,
            "capture `no` is not named",
        ),
        ("header:x-sub", "header:Host", 24, 10, "no rule can say"),
        (
            "header:x-sub",
            "header:connection",
            24,
            10,
            "no rule can say",
        ),
        ("header:x-sub", "header:cookie", 24, 10, "no rule can say"),
        ("header:x-sub", "header:x sub", 24, 19, "cannot stand in"),
        ("header:x-sub", "trailer:te", 24, 10, "no rule can say"),
        (
            "header:x-sub\", category = \"identity\", action = \"drop",
            "trailer:x\", category = \"identity\", action = \"reject",
            24,
            55,
            "passes or it does not",
        ),
        (
            "query:subscriber",
            "query:page",
            17,
            9,
            "`page` passes here",
        ),
        ("header:x-sub", "cookie:lang", 18, 11, "`lang` passes here"),
        (
            "header:x-sub",
            "header:X-Listed",
            19,
            19,
            "`x-listed` passes here",
        ),
        (
            "path:id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\"",
            "path:id\", category = \"identity\", action = \"drop\"",
            23,
            53,
            "cannot do without",
        ),
        (
            "path:id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\"",
            "path:id\", category = \"identity\", action = \"redact\", value = \"..\"",
            23,
            53,
            "another path",
        ),
        (
            "path:id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\"",
            "path:id\", category = \"technical\", action = \"generalise\", to = \"ip-prefix\"",
            23,
            54,
            "with a slash",
        ),
        ("already = \"keep\"", "already = \"pass\"", 22, 106, "pass"),
        (
            "already = \"keep\"",
            "scope = \"record\", already = \"keep\"",
            22,
            124,
            "nobody can ask by one",
        ),
        (
            "action = \"drop\"",
            "action = \"drop\", already = \"keep\"",
            24,
            76,
            "belongs to action `pseudonym`",
        ),
        (
            "header:x-sub",
            "query:*\", category = \"identity\", action = \"keep\" },\n  { at = \"query:z",
            25,
            10,
            "can never match",
        ),
        (
            "[policy.p]\n",
            "[policy.p]\nrestore = [{ at = \"query:subscriber\", kind = \"subscriber\" }]\n",
            21,
            19,
            "outside the body",
        ),
    ] {
        assert!(GOOD.contains(piece), "{piece}");
        let text = GOOD.replacen(piece, instead, 1);
        let errors = parse(&text)
            .err()
            .unwrap_or_else(|| panic!("{instead} is taken"));
        let fits =
            |d: &&Diagnostic| (d.line, d.column) == (line, column) && d.message.contains(message);
        if !errors.iter().any(|d| fits(&d)) {
            let told = errors.iter().map(|d| (d.line, d.column, &d.message));
            let told: Vec<_> = told.collect();
            wrong.push(format!(
                "{instead}: not {line}:{column} {message} in {told:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn formats_13_corpus_forms() {
    support::corpus::replay("form", fuzz::form, 8);
    for byte in 0..=255u8 {
        fuzz::form(&[byte]);
        fuzz::form(&[b'a', b'=', byte, b'&', b'b', b'=', b'1']);
        fuzz::form(&[b'%', byte, b'1', b'=', b'&', b'b']);
    }
    for length in [0, 1, 22, 23, 24, 25, 87, 88, 89, 90, 91] {
        fuzz::form(format!("a={}&b=1", "x".repeat(length)).as_bytes());
        fuzz::form(format!("b={}&c&b", "x".repeat(length)).as_bytes());
    }
}

// --- with a vault ----------------------------------------------------------------------------

const SUBSCRIBER: &str = "SUB-40917725";
const EMAIL: &str = "amelia.doors@example.org";
const ENCODED: &str = "amelia.doors%40example.org";
const NEW: &str = "SUB-99120034";

/// Routes to one backend, and policies that ask by pseudonym.
fn installation(port: u16) -> Installation {
    let pseudonym = |at: &str, kind: &str, more: &str| {
        format!(
            "  {{ at = \"{at}\", category = \"identity\", action = \"pseudonym\", kind = \"{kind}\"{more} }},\n"
        )
    };
    let keep =
        |at: &str| format!("  {{ at = \"{at}\", category = \"test\", action = \"keep\" }},\n");
    let route = |name: &str, path: &str, policy: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nhost = \"{HOST}\"\npath = \"{path}\"\nbackend = \"lake\"\n\
             domain = \"improvement\"\nrequest = \"{policy}\"\n"
        )
    };
    let already = ", already = \"keep\"";
    let mut asks: String = [
        ("query:subscriber", "subscriber"),
        ("query:email", "email"),
        ("form:subscriber", "subscriber"),
        ("form:email", "email"),
        ("cookie:sid", "subscriber"),
        ("header:x-subscriber", "subscriber"),
        ("$.subscriber", "subscriber"),
    ]
    .iter()
    .map(|(at, kind)| pseudonym(at, kind, already))
    .collect();
    asks += &["query:page", "query:welcome", "form:note"]
        .map(keep)
        .concat();
    let of_path = pseudonym("path:id", "subscriber", already);
    let strict = pseudonym("query:subscriber", "subscriber", "");
    let own = route("own", "/own/{id}", "own");
    Installation::start(&format!(
        "[backend.lake]\nurls = [\"http://127.0.0.1:{port}\"]\nregion = \"GB\"\n{}{}{}{}\
         [policy.asks]\nrules = [\n{asks}]\n[policy.subscribers]\nrules = [\n{of_path}{asks}]\n\
         [policy.strict]\nrules = [\n{strict}]\n\
         {own}response = \"restore-own\"\nclient_certificate = true\n\
         [policy.own]\nrestore = [{{ at = \"$.subscriber\", kind = \"subscriber\" }}]\nrules = [\n{of_path}]\n",
        route("results", "/results", "asks"),
        route("sign-up", "/sign-up", "asks"),
        route("subscribers", "/subscribers/{id}", "subscribers"),
        route("strict", "/strict", "strict"),
    ))
}

/// One request to a gateway of its own process.
async fn ask(installation: &Installation, request: &str) -> (String, Vec<u8>) {
    let ca = installation.cert(CA);
    let tls = cryptonym::tls::client_config(Some(&ca), None, false, &[b"http/1.1"]).unwrap();
    let mut client = Raw::tls(installation.gateway_address, tls).await;
    client.send(request).await;
    client.answer().await
}

fn form(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn asking(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n")
}

/// No identifier below the folder, in any spelling that was sent; a clear one is found there.
fn no_leak(folder: &Path) {
    let needles = [
        SUBSCRIBER,
        EMAIL,
        ENCODED,
        NEW,
        "sub-40917725",
        "sub-99120034",
    ];
    let search = LeakSearch::new(needles);
    let canary = folder.join("canary.log");
    fs::write(
        &canary,
        format!("GET /results?subscriber={SUBSCRIBER} HTTP/1.1\n"),
    )
    .unwrap();
    let found = search.look(folder);
    assert!(
        found.iter().any(|leak| leak.needle == SUBSCRIBER),
        "nothing is searched"
    );
    fs::remove_file(&canary).unwrap();
    let leaks = search.look(folder);
    assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_05_queries_by_pseudonym_pass_and_identifiers_are_rewritten() {
    leak::prove();
    let mut backend = Backend::answering(OK).await;
    let mut installation = installation(backend.address.port());
    let mut seen_by_backend = String::new();
    let mut next = async || {
        let seen = backend.next().await;
        let body = String::from_utf8(seen.body.unwrap()).unwrap();
        seen_by_backend += &format!("{}\n\n{body}\n", seen.head);
        (seen.head, body)
    };

    let shown = installation.expect(&["check"]);
    for line in [
        "path:id → pseudonym: sub_1_… (also one that came)",
        "query:page → keep: the value as it is",
        "json, ndjson, csv, tsv or form by Content-Type",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }

    // The same person by every door gets one pseudonym.
    let (head, _) = ask(
        &installation,
        &form(
            "/sign-up",
            &format!("email={ENCODED}&note=a+b&subscriber={SUBSCRIBER}"),
        ),
    )
    .await;
    assert_eq!(status(&head), 200);
    let (_, body) = next().await;
    let (email, subscriber) = body.split_once("&note=a+b&subscriber=").unwrap();
    let email = email.strip_prefix("email=").unwrap().to_owned();
    let subscriber = subscriber.to_owned();
    assert!(
        subscriber.starts_with("sub_1_") && email.starts_with("eml_1_"),
        "{body}"
    );
    let lower = SUBSCRIBER.to_lowercase();
    for (target, fields, becomes) in [
        (
            format!("/results?subscriber={SUBSCRIBER}&page=2"),
            String::new(),
            format!("/results?subscriber={subscriber}&page=2"),
        ),
        (
            format!("/results?email={ENCODED}&subscriber={lower}"),
            String::new(),
            format!("/results?email={email}&subscriber={subscriber}"),
        ),
        (
            format!("/subscribers/{SUBSCRIBER}"),
            format!("cookie: sid={SUBSCRIBER}\r\nx-subscriber: {SUBSCRIBER}\r\n"),
            format!("/subscribers/{subscriber}"),
        ),
        // A researcher's own, byte for byte.
        (
            format!("/results?subscriber={subscriber}&page=2"),
            String::new(),
            format!("/results?subscriber={subscriber}&page=2"),
        ),
        (
            format!("/results?subscriber=%73{}", &subscriber[1..]),
            String::new(),
            format!("/results?subscriber=%73{}", &subscriber[1..]),
        ),
        (
            format!("/subscribers/{subscriber}?email={email}"),
            format!("cookie: sid={subscriber}\r\nx-subscriber: {subscriber}\r\n"),
            format!("/subscribers/{subscriber}?email={email}"),
        ),
        // Both in one, and both the same.
        (
            format!("/results?subscriber={subscriber}&subscriber={SUBSCRIBER}"),
            String::new(),
            format!("/results?subscriber={subscriber}&subscriber={subscriber}"),
        ),
        (
            "/results?subscriber=".to_owned(),
            String::new(),
            "/results?subscriber=".to_owned(),
        ),
    ] {
        let (head, body) = ask(&installation, &asking(&target, &fields)).await;
        assert_eq!(
            status(&head),
            200,
            "{target}: {}",
            String::from_utf8_lossy(&body)
        );
        let (head, _) = next().await;
        assert_eq!(head.split(' ').nth(1), Some(&*becomes), "{target}");
        if !fields.is_empty() {
            assert_eq!(field(&head, "cookie"), Some(&*format!("sid={subscriber}")));
            assert_eq!(field(&head, "x-subscriber"), Some(&*subscriber));
        }
    }
    // In bodies too.
    let json = format!("{{\"subscriber\":\"{subscriber}\"}}");
    let request = format!(
        "POST /results HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
        json.len()
    );
    assert_eq!(status(&ask(&installation, &request).await.0), 200);
    assert_eq!(next().await.1, json);

    // What is neither, or not quite one.
    let other = if subscriber.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{other}", &subscriber[..subscriber.len() - 1]);
    for (target, code) in [
        (format!("/results?subscriber={wrong}"), "already-pseudonym"),
        (
            format!("/results?subscriber={}", subscriber.to_uppercase()),
            "already-pseudonym",
        ),
        (
            format!(
                "/results?subscriber={}",
                subscriber.replacen("_1_", "_0_", 1)
            ),
            "already-pseudonym",
        ),
        (format!("/results?subscriber={email}"), "already-pseudonym"),
        (
            format!("/results?subscriber=+{subscriber}"),
            "already-pseudonym",
        ),
        ("/results?subscriber=Ann".to_owned(), "not-normal"),
        ("/results?subscriber=unknown".to_owned(), "sentinel"),
        (format!("/results?id={subscriber}"), "query-not-allowed"),
        (
            format!("/strict?subscriber={subscriber}"),
            "already-pseudonym",
        ),
    ] {
        let (head, body) = ask(&installation, &asking(&target, "")).await;
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status(&head), &problem["code"]),
            (422, &code.into()),
            "{target}"
        );
    }

    // Nothing leaves that is not durable, from whatever door; what is durable does.
    installation.kill_vault();
    for request in [
        asking(&format!("/results?subscriber={NEW}"), ""),
        asking(&format!("/subscribers/{NEW}"), ""),
        asking("/results", &format!("cookie: sid={NEW}\r\n")),
        asking("/results", &format!("x-subscriber: {NEW}\r\n")),
        form("/sign-up", &format!("subscriber={NEW}")),
        form(&format!("/results?subscriber={NEW}"), "note=1"),
    ] {
        let (head, body) = ask(&installation, &request).await;
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status(&head), &problem["code"]),
            (503, &"vault-unreachable".into()),
            "{request}"
        );
    }
    let known = asking(&format!("/results?subscriber={SUBSCRIBER}"), "");
    assert_eq!(status(&ask(&installation, &known).await.0), 200);
    let (head, _) = next().await;
    assert_eq!(
        head.split(' ').nth(1),
        Some(&*format!("/results?subscriber={subscriber}"))
    );
    assert!(backend.saw_nothing());

    installation.start_vault();
    fs::write(
        installation.folder().join("metrics.txt"),
        installation.metrics("gateway"),
    )
    .unwrap();
    fs::write(installation.folder().join("seen.txt"), &seen_by_backend).unwrap();
    assert!(seen_by_backend.contains(&subscriber));
    installation.stop();
    no_leak(installation.folder());
}

/// A small web application on bottle (PyPI), which keeps what it is told in PostgreSQL.
struct Application {
    child: Child,
    port: u16,
}

impl Application {
    fn start(folder: &Path, database: &str) -> Self {
        let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
        });
        let log = fs::File::create(folder.join("application.log")).unwrap();
        let mut child = Command::new(&python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/support/sign_up.py"
            ))
            .arg(database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|_| panic!("{python} is needed: `tests/run` makes it"));
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| {
            panic!(
                "{line}{}",
                fs::read_to_string(folder.join("application.log")).unwrap()
            )
        });
        Self { child, port }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_12_a_web_application_with_forms_cookies_and_redirects_learns_no_identifier() {
    leak::prove();
    let folder = tempfile::tempdir().unwrap();
    let database = Postgres::start();
    let application = Application::start(folder.path(), &database.url());
    let mut installation = installation(application.port);

    // A form, and the redirect after it.
    let body = format!("subscriber={SUBSCRIBER}&email={ENCODED}&note=caf%C3%A9+%26+tea");
    let (head, _) = ask(&installation, &form("/sign-up", &body)).await;
    assert_eq!(status(&head), 303, "{head}");
    let location = field(&head, "location").unwrap().to_owned();
    let cookie = field(&head, "set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let subscriber = cookie.strip_prefix("sid=").unwrap().to_owned();
    assert!(subscriber.starts_with("sub_1_"), "{cookie}");
    assert_eq!(location, format!("/subscribers/{subscriber}?welcome=1"));

    // The browser follows it, with the cookie; a person's own bookmark comes to the same page.
    let follow = asking(&location, &format!("cookie: {cookie}\r\n"));
    let bookmark = asking(
        &format!("/subscribers/{SUBSCRIBER}?welcome=1"),
        &format!("cookie: sid={SUBSCRIBER}\r\nx-subscriber: {SUBSCRIBER}\r\n"),
    );
    for request in [follow, bookmark] {
        let (head, body) = ask(&installation, &request).await;
        assert_eq!(status(&head), 200, "{head}");
        let page: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(page["subscriber"], *subscriber);
        assert_eq!(page["cookie"], *subscriber);
        assert_eq!(page["note"], "café & tea");
        assert_eq!(page["signed_up"], 1);
        assert!(
            page["email"].as_str().unwrap().starts_with("eml_1_"),
            "{page}"
        );
    }
    // What the path brought comes back in the body, to who brought it.
    let own = installation
        .client()
        .send("GET", &format!("/own/{SUBSCRIBER}"), "", "")
        .await;
    let own = own.unwrap_or_else(|failure| panic!("{failure}"));
    let page: Value = serde_json::from_slice(&own.body).unwrap();
    assert_eq!(
        (own.status, &page["subscriber"]),
        (200, &SUBSCRIBER.into()),
        "{page}"
    );
    assert!(
        page["email"].as_str().unwrap().starts_with("eml_1_"),
        "{page}"
    );
    // Searched by identifier and by pseudonym, it is the same person.
    for who in [SUBSCRIBER, &*subscriber] {
        let (head, body) = ask(
            &installation,
            &asking(&format!("/results?subscriber={who}"), ""),
        )
        .await;
        assert_eq!((status(&head), &*body), (200, &b"1"[..]), "{who}");
    }
    installation.stop();
    drop(application);
    let kept = database.dump();
    assert!(kept.contains(&subscriber), "{kept}");
    fs::write(folder.path().join("dump.sql"), kept).unwrap();
    no_leak(folder.path());
    // Its log has every statement.
    no_leak(database.folder());
    no_leak(installation.folder());
}
