//! What hyper and h2 let through, and what the gateway decides about it: refused, or made
//! canonical with the bytes that go upstream. Raw sockets for HTTP/1.1, hand-made frames for
//! HTTP/2. `docs/http.md` has a row for each decision. What stands in `gateway_http.rs` and
//! `gateway_bodies.rs` is not repeated here.

mod support;

use std::sync::Arc;

use cryptonym::config::Limits;
use support::backend::{Backend, Seen};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::h2::{Frames, Outcome};
use support::raw::{End, field, status};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const EXPECT: &str = "expect: 100-continue\r\n";

/// RFC 9113, section 7.
const PROTOCOL_ERROR: u32 = 1;

fn gateway(backend: &Backend) -> Gateway {
    let mut below = opaque("below", "/p/{*rest}");
    below.captures = vec!["rest".to_owned()];
    below.request_headers = vec!["x-listed".to_owned(), "x_under".to_owned()];
    let mut asked = opaque("asked", "/asked");
    asked.query = vec![cryptonym::config::QueryRule {
        name: "q".to_owned(),
        values: vec![],
    }];
    let mut own = opaque("own", "/own");
    own.host = Some("localhost".to_owned());
    let mut known = opaque("known", "/known");
    known.client_certificate = true;
    let routes = vec![
        opaque("any", "/any"),
        below,
        asked,
        own,
        known,
        rewriting("json", "/json"),
    ];
    let certificates = Arc::new(Certificates::new());
    Gateway::start(&certificates, backend, routes, Limits::default())
}

fn metrics(gateway: &Gateway) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &gateway.metrics.registry()).unwrap();
    text
}

/// Every head here is answered, its connection closed, and no backend hears of it.
#[tokio::test]
async fn proxy_01_http_1_heads_that_are_refused() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let host = "host: localhost\r\n";
    let head = |line: &str, fields: &str| format!("{line}\r\n{host}{fields}\r\n").into_bytes();
    let post = |fields: &str| head("POST /any HTTP/1.1", fields);
    let get = |path: &str| head(&format!("GET {path} HTTP/1.1"), "");
    let mut rows: Vec<(Vec<u8>, u16)> = vec![
        // The line itself.
        (b"GET /any\r\n\r\n".to_vec(), 400),
        (head("GET /any HTTP/0.9", ""), 400),
        (head("GET /any HTTP/1.2", ""), 400),
        (head("GET /any HTTP/2.0", ""), 400),
        (head("GET  /any HTTP/1.1", ""), 400),
        (head("GET /any  HTTP/1.1", ""), 400),
        (head("GET\t/any HTTP/1.1", ""), 400),
        (head("GET /any HTTP/1.1 HTTP/1.1", ""), 400),
        (head("GET /any /any HTTP/1.1", ""), 400),
        (head("G(T /any HTTP/1.1", ""), 400),
        (head("Get /any HTTP/1.1", ""), 400),
        (head(" GET /any HTTP/1.1", ""), 400),
        // Host.
        (b"GET /any HTTP/1.1\r\nhost:\r\n\r\n".to_vec(), 400),
        (
            b"GET /any HTTP/1.1\r\nhost: localhost, localhost\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET /any HTTP/1.1\r\nhost: localhost evil\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET /any HTTP/1.1\r\nhost: localhost:443:443\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET /any HTTP/1.1\r\nhost: localhost/x\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET /any HTTP/1.1\r\nhost: localh\xc3\xb6st\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET /any HTTP/1.1\r\nhost: evil@localhost\r\n\r\n".to_vec(),
            400,
        ),
        (b"GET https://localhost/any HTTP/1.1\r\n\r\n".to_vec(), 400),
        (
            b"GET https://localhost:1/any HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET https://evil@localhost/any HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            400,
        ),
        (
            b"GET ftp://localhost/any HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            421,
        ),
        (
            b"GET localhost HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            400,
        ),
        (b"GET any HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), 400),
        // The path.
        (get("/p/%00"), 400),
        (get("/p/%0d%0aevil:%20x"), 400),
        (get("/p/a%2fb"), 400),
        (get("/p/a%2Fb"), 400),
        (get("/p/a%5cb"), 400),
        (get("/p/a\\b"), 400),
        (get("/p/./a"), 400),
        (get("/p/a/.."), 400),
        (get("/p/caf\u{e9}"), 400),
        (head("GET /p/caf\x00 HTTP/1.1", ""), 400),
        (get("/p/a%u0041"), 400),
        (get("/p/%c0%2e"), 400),
        (get("/p/a?b\u{e9}"), 400),
        (get("/p/a%"), 400),
        // Fields.
        (post("content-length : 5\r\n"), 400),
        (post("content-length: 5\r\n folded\r\n"), 400),
        (post("x-listed: a\r\n\tfolded\r\n"), 400),
        (post(" x-listed: a\r\n"), 400),
        (post("no colon\r\n"), 400),
        (post(": nameless\r\n"), 400),
        (post("x listed: a\r\n"), 400),
        (post("x-list\u{e9}d: a\r\n"), 400),
        (post("x-listed: a\x00b\r\n"), 400),
        (post("x-listed: a\rb\r\n"), 400),
        (post("x-listed: a\x0bb\r\n"), 400),
        (b"GET /any HTTP/1.1\rhost: localhost\r\r".to_vec(), 400),
        // Lengths.
        (post("content-length: +5\r\n"), 400),
        (post("content-length: -5\r\n"), 400),
        (post("content-length: 0x5\r\n"), 400),
        (post("content-length: 5.0\r\n"), 400),
        (post("content-length: 5,5\r\n"), 400),
        (post("content-length: 5 5\r\n"), 400),
        (post("content-length:\r\n"), 400),
        (post("content-length: 18446744073709551616\r\n"), 400),
        (post("content-length: 5\r\ncontent-length: 05 6\r\n"), 400),
        // Transfer codings.
        (post("transfer-encoding: identity\r\n"), 400),
        (post("transfer-encoding: chunked, identity\r\n"), 400),
        (post("transfer-encoding: identity, chunked\r\n"), 400),
        (post("transfer-encoding: chunked, chunked\r\n"), 400),
        (post("transfer-encoding: chunked;q=1\r\n"), 400),
        (post("transfer-encoding: \"chunked\"\r\n"), 400),
        (post("transfer-encoding: xchunked\r\n"), 400),
        (post("transfer-encoding: ,chunked\r\n"), 400),
        (post("transfer-encoding:\r\n"), 400),
        (
            post("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
            400,
        ),
        (post("transfer-encoding : chunked\r\n"), 400),
        (post("transfer-encoding: chunked\x0b\r\n"), 400),
        (
            head("POST /any HTTP/1.0", "transfer-encoding: chunked\r\n"),
            400,
        ),
        // Content where it has no meaning: of known and of unknown length.
        (
            head("GET /any HTTP/1.1", "transfer-encoding: chunked\r\n"),
            400,
        ),
        (head("HEAD /any HTTP/1.1", "content-length: 3\r\n"), 400),
        // Another protocol.
        (
            head(
                "GET /any HTTP/1.1",
                "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            ),
            400,
        ),
        (head("CONNECT /any HTTP/1.1", ""), 405),
    ];
    let many: String = (0..101).map(|n| format!("x-{n}: a\r\n")).collect();
    rows.push((post(&many), 431));
    let (mut documents, mut alone, mut closing) = (0, 0, vec![]);
    for (bytes, expected) in rows {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let mut client = gateway.h1().await;
        client.send(&bytes).await;
        let head = client.head().await.expect(&shown);
        assert_eq!(status(&head), expected, "{shown:?}");
        let body = if shown.starts_with("HEAD") {
            vec![]
        } else {
            client.body(&head).await.unwrap()
        };
        if body.is_empty() {
            // What hyper answers by itself says at least that it closes.
            alone += 1;
        } else {
            documents += 1;
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["status"], expected, "{shown:?}");
        }
        // A refused head with a body to come closes; one without may keep the connection.
        if field(&head, "connection") == Some("close") || body.is_empty() {
            closing.push((client, shown));
        }
    }
    for (mut client, shown) in closing {
        let (rest, _) = client.rest().await;
        assert!(rest.is_empty(), "{shown:?}: {rest:?}");
    }
    assert!(documents > 20 && alone > 20, "{documents} {alone}");
    assert!(backend.saw_nothing());
    // Those that hyper answers are counted, and logged, like all others: once the client has gone,
    // or has had the time that it gets for taking its answer.
    let refused = |code: &str| -> u64 {
        let start = format!("cryptonym_gateway_faults_total{{route=\"-\",code=\"{code}\"");
        let text = metrics(&gateway);
        let line = text.lines().find(|l| l.starts_with(&start));
        line.map_or(0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while refused("head-too-large") != 1 || refused("bad-request") < alone + 20 {
        assert!(std::time::Instant::now() < end, "{}", metrics(&gateway));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What passes although others spell it otherwise: the whole head that the backend reads.
#[tokio::test]
async fn proxy_01_http_1_heads_that_are_made_canonical() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let own = format!("localhost:{}", backend.address.port());
    let made = |line: &str, host: &str, rest: &str| {
        format!("{line}\r\nhost: {own}\r\nforwarded: for=unknown;proto=https{host}\r\nvia: {rest}")
    };
    let plain = |line: &str| made(line, "", "1.1 cryptonym");
    let get = plain("GET /any HTTP/1.1");
    let rows: Vec<(&str, String, &str)> = vec![
        // Line ends: bare LF, empty lines before the head, white space around values.
        ("GET /any HTTP/1.1\nhost: localhost\n\n", get.clone(), ""),
        (
            "GET /any HTTP/1.1\nhost: localhost\r\nx: y\n\r\n",
            get.clone(),
            "",
        ),
        (
            "\r\n\r\nGET /any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            get.clone(),
            "",
        ),
        (
            "GET /any HTTP/1.1\r\nHOST:\t localhost \t\r\n\r\n",
            get.clone(),
            "",
        ),
        // Absolute form; the host in another case; a port; a fragment, which hyper cuts off.
        (
            "GET https://localhost/any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            get.clone(),
            "",
        ),
        (
            "GET https://LOCALHOST:443/any HTTP/1.1\r\nhost: localhost:443\r\n\r\n",
            get.clone(),
            "",
        ),
        (
            "GET /any#SUB-1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
            get.clone(),
            "",
        ),
        (
            "GET /own HTTP/1.1\r\nhost: LOCALHOST\r\n\r\n",
            made("GET /own HTTP/1.1", ";host=\"localhost\"", "1.1 cryptonym"),
            "",
        ),
        // HTTP/1.0 goes on as 1.1, and needs no Host.
        (
            "GET /any HTTP/1.0\r\nhost: localhost\r\n\r\n",
            made("GET /any HTTP/1.1", "", "1.0 cryptonym"),
            "",
        ),
        // Paths byte for byte.
        (
            "GET /p/a%20b/%C3%A9/%40:@+,!$&'()*=~ HTTP/1.1\r\nhost: localhost\r\n\r\n",
            plain("GET /p/a%20b/%C3%A9/%40:@+,!$&'()*=~ HTTP/1.1"),
            "",
        ),
        (
            "GET /p/a... HTTP/1.1\r\nhost: localhost\r\n\r\n",
            plain("GET /p/a... HTTP/1.1"),
            "",
        ),
        (
            "GET /asked?q=%2F..%00&q=a|b HTTP/1.1\r\nhost: localhost\r\n\r\n",
            plain("GET /asked?q=%2F..%00&q=a|b HTTP/1.1"),
            "",
        ),
        // Names: `_` is another name than `-`, and each passes only if it is listed itself.
        (
            "GET /any HTTP/1.1\r\nhost: localhost\r\nx_listed: 1\r\ncontent_length: 5\r\ntransfer_encoding: chunked\r\n\r\n",
            get.clone(),
            "",
        ),
        (
            "GET /p/a HTTP/1.1\r\nhost: localhost\r\nX-LISTED: 1\r\nx_listed: 2\r\nx_under: 3\r\nx-under: 4\r\n\r\n",
            plain("GET /p/a HTTP/1.1") + "\r\nx-listed: 1\r\nx_under: 3",
            "",
        ),
        // Connection cannot take away what the gateway makes.
        (
            "GET /p/a HTTP/1.1\r\nhost: localhost\r\nconnection: host, via, forwarded, x-listed, close\r\nx-listed: 1\r\n\r\n",
            plain("GET /p/a HTTP/1.1"),
            "",
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\nhello",
            plain("POST /any HTTP/1.1") + "\r\ncontent-length: 5",
            "hello",
        ),
        // Lengths: zeros before, the same one twice, none.
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0005\r\n\r\nhello",
            plain("POST /any HTTP/1.1") + "\r\ncontent-length: 5",
            "hello",
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nhello",
            plain("POST /any HTTP/1.1") + "\r\ncontent-length: 5",
            "hello",
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            plain("POST /any HTTP/1.1") + "\r\ncontent-length: 0",
            "",
        ),
        (
            "GET /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
            get.clone(),
            "",
        ),
        // Chunks: one `chunked` in any case; a length beside it is dropped, wherever it stands.
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding:\tCHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            plain("POST /any HTTP/1.1") + "\r\ntransfer-encoding: chunked",
            "hello",
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            plain("POST /any HTTP/1.1") + "\r\ntransfer-encoding: chunked",
            "hello",
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            plain("POST /any HTTP/1.1") + "\r\ntransfer-encoding: chunked",
            "hello",
        ),
        // Extensions, white space and leading zeros of chunks stay behind.
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0002 ;SUB=\"1\"\r\nhe\r\n3;x\r\nllo\r\n00;y\r\n\r\n",
            plain("POST /any HTTP/1.1") + "\r\ntransfer-encoding: chunked",
            "hello",
        ),
        // An expectation of another kind is nobody's.
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\nexpect: y 100-continue\r\ncontent-length: 5\r\n\r\nhello",
            plain("POST /any HTTP/1.1") + "\r\ncontent-length: 5",
            "hello",
        ),
    ];
    for (sent, head, body) in rows {
        let mut client = gateway.h1().await;
        client.send(sent).await;
        let (answer, text) = client.answer().await;
        assert_eq!((status(&answer), &text[..]), (200, &b"ok"[..]), "{sent:?}");
        let seen = backend.next().await;
        assert_eq!(seen.head, head, "{sent:?}");
        assert_eq!(seen.body.unwrap(), body.as_bytes(), "{sent:?}");
        // Content-Length beside Transfer-Encoding: the connection ends with the answer.
        if sent.contains("\r\ncontent-length: 3") {
            assert_eq!(client.rest().await, (vec![], End::Clean), "{sent:?}");
        }
    }
    assert!(backend.saw_nothing());
    assert_eq!(
        backend.connections(),
        1,
        "one upstream connection for all of them"
    );
}

type Field = (&'static [u8], &'static [u8]);

const PSEUDO: [Field; 4] = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":path", b"/any"),
    (b":authority", b"localhost"),
];

/// The usual head, with other values for some of its fields, without some, and with some more.
fn fields(change: &[Field], more: &[Field]) -> Vec<Field> {
    let usual = PSEUDO.iter().map(|(name, value)| {
        let other = change.iter().find(|(n, _)| n == name);
        (*name, other.map_or(*value, |(_, v)| *v))
    });
    usual
        .filter(|(_, v)| *v != b"-")
        .chain(more.iter().copied())
        .collect()
}

#[tokio::test]
async fn proxy_01_http_2_heads_that_are_refused() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let malformed = Outcome::Reset(PROTOCOL_ERROR);
    // 0: the stream is reset, or the connection closed for it; else the status.
    let rows: Vec<(Vec<Field>, u16)> = vec![
        // Pseudo fields: missing, twice, unknown, of answers, after the others.
        (fields(&[(b":method", b"-")], &[]), 0),
        (fields(&[(b":scheme", b"-")], &[]), 0),
        (fields(&[(b":path", b"-")], &[]), 0),
        (fields(&[(b":path", b"")], &[]), 0),
        (fields(&[], &[(b":path", b"/any")]), 0),
        (fields(&[], &[(b":method", b"GET")]), 0),
        (fields(&[], &[(b":authority", b"localhost")]), 0),
        (fields(&[], &[(b":status", b"200")]), 0),
        (fields(&[], &[(b":unknown", b"x")]), 0),
        (fields(&[], &[(b":protocol", b"websocket")]), 0),
        (
            fields(&[(b":path", b"-")], &[(b"x", b"y"), (b":path", b"/any")]),
            0,
        ),
        // Names in upper case, of one connection, with what HTTP/1.1 would split at.
        (fields(&[], &[(b"X-Listed", b"1")]), 0),
        (fields(&[], &[(b"connection", b"close")]), 0),
        (fields(&[], &[(b"keep-alive", b"1")]), 0),
        (fields(&[], &[(b"proxy-connection", b"close")]), 0),
        (fields(&[], &[(b"upgrade", b"websocket")]), 0),
        (fields(&[], &[(b"te", b"gzip")]), 0),
        (fields(&[], &[(b"transfer-encoding", b"chunked")]), 0),
        (fields(&[], &[(b"x\r\ntransfer-encoding", b"chunked")]), 0),
        (fields(&[], &[(b"x: y", b"1")]), 0),
        (fields(&[], &[(b"", b"1")]), 0),
        (
            fields(&[], &[(b"x", b"y\r\ntransfer-encoding: chunked")]),
            0,
        ),
        (fields(&[], &[(b"x", b"y\n")]), 0),
        (fields(&[], &[(b"x", b"y\0")]), 0),
        // The line that would be made of them.
        (
            fields(&[(b":method", b"GET /known HTTP/1.1\r\nx:")], &[]),
            0,
        ),
        (fields(&[(b":method", b"GET /known")], &[]), 0),
        (fields(&[(b":path", b"/any HTTP/1.1\r\nx: y")], &[]), 0),
        (fields(&[(b":path", b"/any x")], &[]), 0),
        (fields(&[(b":authority", b"localhost\r\nx: y")], &[]), 0),
        (fields(&[(b":authority", b"")], &[]), 0),
        (fields(&[(b":scheme", b"https://localhost/known?")], &[]), 0),
        (fields(&[(b":path", b"any")], &[]), 0),
        (fields(&[(b":path", b"*")], &[]), 400),
        (fields(&[(b":path", b"https://localhost/any")], &[]), 0),
        (fields(&[(b":path", b"//localhost/any")], &[]), 400),
        (fields(&[(b":path", b"/p/../any")], &[]), 400),
        (fields(&[(b":path", b"/p/%2e%2e/any")], &[]), 400),
        (fields(&[(b":path", b"/p/a%2fb")], &[]), 400),
        (fields(&[(b":path", b"/p/%00")], &[]), 400),
        (fields(&[(b":path", b"/p/caf\xc3\xa9")], &[]), 400),
        (fields(&[(b":method", b"post")], &[]), 400),
        (fields(&[(b":method", b"TRACE")], &[]), 405),
        (
            fields(
                &[
                    (b":method", b"CONNECT"),
                    (b":path", b"-"),
                    (b":scheme", b"-"),
                ],
                &[],
            ),
            405,
        ),
        // Whose request it is.
        (fields(&[(b":authority", b"other")], &[]), 421),
        (fields(&[(b":authority", b"evil@localhost")], &[]), 400),
        (fields(&[(b":authority", b"localhost.")], &[]), 400),
        (fields(&[(b":scheme", b"http")], &[]), 421),
        (fields(&[], &[(b"host", b"other")]), 400),
        (
            fields(&[], &[(b"host", b"localhost"), (b"host", b"localhost")]),
            400,
        ),
        (fields(&[(b":authority", b"-")], &[]), 400),
        (
            fields(&[(b":authority", b"-")], &[(b"host", b"other")]),
            421,
        ),
        (
            fields(
                &[(b":authority", b"-")],
                &[(b"host", b"localhost"), (b"host", b"other")],
            ),
            400,
        ),
        // Lengths.
        (fields(&[], &[(b"content-length", b"+5")]), 0),
        (fields(&[], &[(b"content-length", b"5,5")]), 0),
        (
            fields(&[], &[(b"content-length", b"5"), (b"content-length", b"6")]),
            0,
        ),
        (fields(&[(b":method", b"GET")], &[]), 400),
        (fields(&[(b":method", b"HEAD")], &[]), 400),
    ];
    for (fields, expected) in rows {
        let shown: Vec<_> = fields
            .iter()
            .map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii()))
            .collect();
        let mut client = Frames::open(&gateway).await;
        // A body is to come: a GET that has one is refused before a byte of it.
        let stream = client.request(&fields, false).await;
        let outcome = client.outcome(stream).await;
        match (&outcome, expected) {
            (Outcome::Answer(status, _), expected) => assert_eq!(*status, expected, "{shown:?}"),
            (Outcome::Reset(_), 0) => assert_eq!(outcome, malformed, "{shown:?}"),
            (Outcome::Goaway(_), 0) => {}
            _ => panic!("{shown:?}: {outcome:?}"),
        }
    }
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn proxy_01_http_2_heads_that_are_made_canonical() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let own = format!("localhost:{}", backend.address.port());
    let made = |line: &str, rest: &str| {
        format!(
            "{line}\r\nhost: {own}\r\nforwarded: for=unknown;proto=https\r\nvia: 2 cryptonym{rest}"
        )
    };
    let any = "POST /any HTTP/1.1";
    let rows: Vec<(Vec<Field>, String)> = vec![
        (
            fields(&[], &[]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[], &[(b"content-length", b"5")]),
            made(any, "\r\ncontent-length: 5"),
        ),
        (
            fields(&[], &[(b"content-length", b"005")]),
            made(any, "\r\ncontent-length: 5"),
        ),
        (
            fields(&[], &[(b"content-length", b"5"), (b"content-length", b"5")]),
            made(any, "\r\ncontent-length: 5"),
        ),
        (
            fields(&[], &[(b"te", b"trailers"), (b"trailer", b"x")]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[], &[(b"host", b"localhost")]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[(b":authority", b"LOCALHOST")], &[(b"host", b"localhost")]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[(b":authority", b"-")], &[(b"host", b"localhost")]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[(b":path", b"/any#SUB-1")], &[]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(
                &[],
                &[(b"transfer_encoding", b"chunked"), (b"x_listed", b"1")],
            ),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
        (
            fields(&[(b":path", b"/p/a")], &[(b"x-listed", b" padded\t")]),
            made(
                "POST /p/a HTTP/1.1",
                "\r\nx-listed: padded\r\ntransfer-encoding: chunked",
            ),
        ),
        (
            fields(&[], &[(b"expect", b"100-continue")]),
            made(any, "\r\ntransfer-encoding: chunked"),
        ),
    ];
    for (fields, head) in rows {
        let mut client = Frames::open(&gateway).await;
        let stream = client.request(&fields, false).await;
        client.data(stream, b"hello", true).await;
        let outcome = client.outcome(stream).await;
        assert_eq!(outcome, Outcome::Answer(200, b"ok".to_vec()), "{fields:?}");
        let seen = backend.next().await;
        assert_eq!(seen.head.replace(" padded\t", "padded"), head, "{fields:?}");
        assert_eq!(seen.body.unwrap(), b"hello");
    }
}

/// A length that the data does not keep, on every route: the backend never sees a whole request.
#[tokio::test]
async fn proxy_01_http_2_data_that_does_not_fit_its_length() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    for (length, data) in [("0", "hello"), ("4", "hello"), ("6", "hello"), ("5", "")] {
        for path in [&b"/any"[..], b"/json"] {
            let mut client = Frames::open(&gateway).await;
            let mut head = PSEUDO.to_vec();
            head[2].1 = path;
            let mut head: Vec<(&[u8], &[u8])> = head.iter().map(|(n, v)| (*n, *v)).collect();
            head.push((b"content-length", length.as_bytes()));
            head.push((b"content-type", b"application/json"));
            let stream = client.request(&head, data.is_empty()).await;
            if !data.is_empty() {
                client.data(stream, data.as_bytes(), true).await;
            }
            let outcome = client.outcome(stream).await;
            assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR), "{length} {data}");
        }
    }
    // What began to go upstream was cut there.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    while let Ok(seen) = backend.seen.try_recv() {
        assert!(seen.body.is_err(), "{}", seen.head);
    }
}

#[tokio::test]
async fn proxy_01_trailers_never_pass_in_either_direction() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-late\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 9\r\nx-late: SUB-1\r\n\r\n";
    let mut backend = Backend::start(None, |mut raw, report| async move {
        // All that comes, as it comes, until the last chunk and its empty line.
        while let Some(head) = raw.head().await {
            let body = Ok(raw.raw_until(b"0\r\n\r\n").await);
            let _ = report.send(Seen { head, body });
            raw.send(ANSWER).await;
        }
    })
    .await;
    let gateway = gateway(&backend);
    for trailers in [
        "content-length: 50",
        "transfer-encoding: chunked",
        "host: evil",
        "x-listed: SUB-1",
        "authorization: SUB-1\r\nx-listed: SUB-1",
    ] {
        let mut client = gateway.h1().await;
        client.send(format!("POST /p/a HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\ntrailer: x-listed\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n\r\n")).await;
        let head = client.head().await.unwrap();
        assert_eq!(status(&head), 200);
        assert_eq!(field(&head, "trailer"), None);
        assert_eq!(
            client.raw_until(b"0\r\n\r\n").await,
            b"2\r\nok\r\n0\r\n\r\n"
        );
        let seen = backend.next().await;
        assert_eq!(
            field(&seen.head, "te").or(field(&seen.head, "trailer")),
            None
        );
        assert_eq!(seen.body.unwrap(), b"5\r\nhello\r\n0\r\n\r\n", "{trailers}");
    }
    let mut client = Frames::open(&gateway).await;
    let stream = client.request(&fields(&[], &[]), false).await;
    client.data(stream, b"hello", false).await;
    let trailers: [Field; 2] = [(b"content-length", b"50"), (b"x-listed", b"SUB-1")];
    client.fields(stream, &trailers, true).await;
    assert_eq!(
        client.outcome(stream).await,
        Outcome::Answer(200, b"ok".to_vec())
    );
    assert_eq!(
        backend.next().await.body.unwrap(),
        b"5\r\nhello\r\n0\r\n\r\n"
    );
}

/// 300 KB in one field, in the path, in a hundred fields, in a thousand, in frames that go on.
#[tokio::test]
async fn proxy_01_large_heads_are_refused() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let long = "x".repeat(300 * 1024);
    let ninety = format!("x: {}\r\n", "y".repeat(3400)).repeat(90);
    let thousand = "x: y\r\n".repeat(1000);
    for head in [
        format!("GET /any HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
        format!("GET /p/{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET /any HTTP/1.1\r\nhost: localhost\r\n{long}: x\r\n\r\n"),
        format!("GET /any HTTP/1.1\r\nhost: localhost\r\n{ninety}\r\n"),
        format!("GET /any HTTP/1.1\r\nhost: localhost\r\n{thousand}\r\n"),
        format!("{long} /any HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ] {
        use tokio::io::AsyncWriteExt;
        let mut client = gateway.h1().await;
        // It stops reading: the rest may not be taken.
        let _ = client.stream.write_all(head.as_bytes()).await;
        let _ = client.stream.flush().await;
        if let Some(answer) = client.head().await {
            assert_eq!(status(&answer), 431, "{head:.60}");
            client.rest().await;
        } else {
            panic!("no answer to {head:.60}");
        }
    }
    // HTTP/2: over the limit 431 on the stream; far over it the connection goes.
    for (size, several) in [
        (40_000, false),
        (40_000, true),
        (300 * 1024, false),
        (300 * 1024, true),
    ] {
        let value = "x".repeat(if several { 2000 } else { size });
        let mut head: Vec<(&[u8], &[u8])> = PSEUDO.iter().map(|(n, v)| (*n, *v)).collect();
        for _ in 0..if several { size / 2000 } else { 1 } {
            head.push((b"x", value.as_bytes()));
        }
        let mut client = Frames::open(&gateway).await;
        let stream = client.request(&head, true).await;
        let outcome = client.outcome(stream).await;
        match outcome {
            Outcome::Answer(status, _) if size < 50_000 => assert_eq!(status, 431),
            Outcome::Goaway(_) | Outcome::Closed | Outcome::Reset(_) if size > 50_000 => {}
            other => panic!("{size} {several}: {other:?}"),
        }
    }
    // And more fields than a head may have, in few bytes.
    let mut head = fields(&[], &[]);
    head.extend([(&b"x"[..], &b"y"[..]); 101]);
    let mut client = Frames::open(&gateway).await;
    let stream = client.request(&head, true).await;
    assert!(matches!(
        client.outcome(stream).await,
        Outcome::Answer(431, _)
    ));
    assert!(backend.saw_nothing());
}

/// A client that was told no, and sends its body all the same: it is never read as a request.
#[tokio::test]
async fn proxy_01_what_follows_a_refusal_is_never_a_request() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend);
    let smuggled = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut clients = vec![];
    for (path, expected) in [
        ("/nowhere", 404),
        ("/known", 403),
        ("/json", 415),
        ("/any?x=1", 422),
    ] {
        for (expect, late) in [("", false), ("", true), (EXPECT, false), (EXPECT, true)] {
            let length = smuggled.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{expect}content-length: {length}\r\n\r\n"
            );
            let mut client = gateway.h1().await;
            if late {
                client.send(head).await;
            } else {
                client.send(head + smuggled).await;
            }
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), expected, "{path}");
            if late {
                client.send(smuggled).await;
            }
            clients.push(client);
        }
    }
    // Also where the head itself was refused: by us, and by hyper.
    for fields in ["host: other\r\n", "host: localhost\r\nx : y\r\n"] {
        let mut client = gateway.h1().await;
        let length = smuggled.len();
        client
            .send(format!(
                "POST /any HTTP/1.1\r\n{fields}content-length: {length}\r\n\r\n{smuggled}"
            ))
            .await;
        assert!(status(&client.answer().await.0) >= 400);
        clients.push(client);
    }
    for mut client in clients {
        let (rest, end) = client.rest().await;
        assert_eq!(String::from_utf8(rest).unwrap(), "");
        assert_eq!(end, End::Clean);
    }
    assert!(backend.saw_nothing());
}

/// Answers that readers differ about: 502, and the connection they came on is used no more.
#[tokio::test]
async fn proxy_01_answers_that_are_refused() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 0\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 0\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n folded\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\0\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\rz: a\r\n\r\nok",
        "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "ok",
    ] {
        let backend = Backend::start(None, move |mut raw, _| async move {
            while raw.head().await.is_some() {
                raw.send(answer.to_owned() + poison).await;
            }
        })
        .await;
        let gateway = gateway(&backend);
        for round in 1..=2 {
            let mut client = gateway.h1().await;
            client
                .send("GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            let (head, body) = client.answer().await;
            assert_eq!(status(&head), 502, "{answer:?}");
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "backend-broken", "{answer:?}");
            assert_eq!(backend.connections(), round, "{answer:?}");
        }
    }
}

/// Bytes behind an answer that has no body are the start of nothing.
#[tokio::test]
async fn proxy_01_a_body_where_there_is_none_is_never_the_next_answer() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let backend = Backend::start(None, move |mut raw, _| async move {
            while raw.head().await.is_some() {
                raw.send(answer.to_owned() + poison).await;
            }
        })
        .await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        for late in [false, true, false] {
            client
                .send(format!("{method} /any HTTP/1.1\r\nhost: localhost\r\n\r\n"))
                .await;
            let head = client.head().await.unwrap();
            assert_eq!(status(&head), status(answer), "{answer:?}");
            assert!(client.buffered().is_empty(), "{answer:?}");
            if late {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
