//! WebSocket (RFC 6455): messages through a route's policy, and tunnels on opaque routes.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{self, Limits, WebSocket};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use rustix::process::Signal;
use serde_json::Value;
use support::backend::{Backend, Seen};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::raw::{End, Raw, Stream, field, status};
use support::whole::Whole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const GOOD: &str = r#"{"name":"SUB-00001","n":1}"#;
const REWRITTEN: &str = r#"{"name":"X","n":1}"#;
const SOON: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<Box<dyn Stream>>;

fn routes() -> Vec<config::Route> {
    vec![
        config::Route {
            websocket: WebSocket::Policy,
            ..rewriting("policy", "/policy")
        },
        config::Route {
            websocket: WebSocket::Opaque,
            ..opaque("opaque", "/opaque")
        },
        rewriting("plain", "/plain"),
    ]
}

fn gateway(backend: &Backend, limits: Limits) -> Gateway {
    Gateway::start(&Arc::new(Certificates::new()), backend, routes(), limits)
}

fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    )
}

/// A backend's 101.
fn switching(head: &str, more: &str) -> String {
    let key = field(head, "sec-websocket-key").unwrap();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n{more}\r\n"
    )
}

/// A backend that switches, reports each message, and does what texts tell it to.
async fn obedient() -> Backend {
    Backend::start(None, |mut raw, report| async move {
        let Some(head) = raw.head().await else { return };
        raw.send(switching(&head, "")).await;
        assert!(raw.buffered().is_empty(), "before the switch");
        tell(&report, &head, b"");
        let socket = WebSocketStream::from_raw_socket(raw.stream, Role::Server, None);
        serve(socket.await, report).await;
    })
    .await
}

async fn serve(mut socket: Socket, report: mpsc::UnboundedSender<Seen>) {
    while let Some(next) = socket.next().await {
        match next {
            Ok(Message::Text(text)) => {
                tell(&report, "text", text.as_bytes());
                let value: Value = serde_json::from_str(&text).unwrap();
                match value["n"].as_i64() {
                    Some(2) => {
                        let large = format!("\"{}\"", "y".repeat(200_000));
                        let _ = socket.send(Message::text(large)).await;
                        let _ = socket.send(Message::binary(&b"\0\xff"[..])).await;
                    }
                    Some(3) => {
                        let frame = close(4002, "its own reason");
                        socket.close(Some(frame)).await.unwrap();
                    }
                    // Goes without a word.
                    Some(4) => return,
                    // Says too much.
                    Some(5) => {
                        let large = "z".repeat(2_000_000);
                        let _ = socket.send(Message::text(large)).await;
                    }
                    _ => {}
                }
            }
            Ok(Message::Binary(data)) => tell(&report, "binary", &data),
            Ok(Message::Ping(data)) => tell(&report, "ping", &data),
            Ok(Message::Close(Some(frame))) => {
                let code = u16::from(frame.code);
                tell(&report, &format!("close {code}"), frame.reason.as_bytes());
            }
            Ok(Message::Close(None)) => tell(&report, "close", b""),
            Ok(_) => {}
            Err(_) => {
                tell(&report, "broken", b"");
                return;
            }
        }
    }
}

fn tell(report: &mpsc::UnboundedSender<Seen>, what: &str, bytes: &[u8]) {
    let (head, body) = (what.to_owned(), Ok(bytes.to_vec()));
    let _ = report.send(Seen { head, body });
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    }
}

async fn connect(gateway: &Gateway, path: &str) -> Socket {
    let mut raw = gateway.h1().await;
    raw.send(handshake(path, "")).await;
    switched(raw).await
}

async fn switched(mut raw: Raw) -> Socket {
    let head = raw.head().await.unwrap();
    assert_eq!(status(&head), 101, "{head}");
    // RFC 6455, section 1.3 has this very key.
    let accept = field(&head, "sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(raw.buffered().is_empty());
    WebSocketStream::from_raw_socket(raw.stream, Role::Client, None).await
}

/// What comes next that is no ping.
async fn next(socket: &mut Socket) -> Option<Result<Message, Error>> {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await.unwrap() {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return other,
        }
    }
}

/// The code and reason with which the gateway closes.
async fn closed(socket: &mut Socket) -> (u16, String) {
    match next(socket).await {
        Some(Ok(Message::Close(Some(frame)))) => {
            let told = (u16::from(frame.code), frame.reason.to_string());
            assert!(next(socket).await.is_none(), "then it leaves");
            told
        }
        other => panic!("{other:?}"),
    }
}

/// The backend's next report that is no ping, as text.
async fn seen(backend: &mut Backend) -> (String, String) {
    loop {
        let Seen { head, body } = backend.next().await;
        if head != "ping" {
            return (head, String::from_utf8_lossy(&body.unwrap()).into_owned());
        }
        assert_eq!(body.unwrap(), b"", "a ping that the gateway made");
    }
}

fn is(what: &str, text: &str) -> (String, String) {
    (what.to_owned(), text.to_owned())
}

/// Connections of both sides, and WebSockets, are all over.
async fn all_closed(gateway: &Gateway) {
    let began = Instant::now();
    let names = [
        r#"connections_open{side="client"}"#,
        r#"connections_open{side="backend"}"#,
        "connections",
        "websockets_open",
    ];
    while names.iter().any(|name| gateway.metric(name) != 0.0) {
        assert!(began.elapsed() < SOON, "{}", gateway.page());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn problem(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn proxy_05_websocket_messages_go_through_the_policy() {
    let mut backend = obedient().await;
    let gateway = gateway(&backend, Limits::default());
    let mut raw = gateway.h1().await;
    let more = "sec-websocket-extensions: permessage-deflate\r\nsec-websocket-protocol: SUB-00001\r\norigin: https://SUB-00001\r\n";
    raw.send(handshake("/policy", more)).await;
    let mut client = switched(raw).await;
    let (head, _) = seen(&mut backend).await;
    assert!(head.starts_with("GET /policy HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "connection"), Some("upgrade"));
    assert_eq!(field(&head, "sec-websocket-version"), Some("13"));
    // Nothing of the client's choosing.
    assert_ne!(field(&head, "sec-websocket-key"), Some(KEY));
    assert_eq!(field(&head, "sec-websocket-extensions"), None);
    assert_eq!(field(&head, "sec-websocket-protocol"), None);
    assert!(!head.contains("SUB-00001"), "{head}");
    client.send(Message::text(GOOD)).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("text", REWRITTEN));
    assert_eq!(gateway.metric("websockets_open"), 1.0);

    // In fragments, with a ping between them that goes no further than the gateway.
    let part = |text: &'static str, kind, last| {
        Message::Frame(Frame::message(text, OpCode::Data(kind), last))
    };
    for message in [
        part(r#"{"na"#, Data::Text, false),
        Message::Ping(b"SUB-00001"[..].into()),
        part(r#"me":"SUB-0"#, Data::Continue, false),
        part("", Data::Continue, false),
        part(r#"0001","n":1}"#, Data::Continue, true),
    ] {
        client.send(message).await.unwrap();
    }
    let pong = tokio::time::timeout(SOON, client.next()).await.unwrap();
    assert_eq!(
        pong.unwrap().unwrap(),
        Message::Pong(b"SUB-00001"[..].into())
    );
    assert_eq!(seen(&mut backend).await, is("text", REWRITTEN));

    // What the backend says passes, large or binary.
    client.send(Message::text(r#"{"n":2}"#)).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("text", r#"{"n":2}"#));
    let large = next(&mut client).await.unwrap().unwrap();
    assert_eq!(large.len(), 200_002);
    assert!(large.is_text());
    let binary = next(&mut client).await.unwrap().unwrap();
    assert_eq!(binary, Message::binary(&b"\0\xff"[..]));

    // The client's code goes on, its words do not.
    client.close(Some(close(4001, "SUB-00001"))).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("close 4001", ""));
    assert_eq!(closed(&mut client).await.0, 4001);
    all_closed(&gateway).await;
    let said = |outcome| {
        let name = r#"websocket_messages_total{route="policy",outcome=""#;
        gateway.metric(&format!("{name}{outcome}\"}}"))
    };
    assert_eq!((said("rewritten"), said("passed")), (3.0, 2.0));
    let answers = r#"answers_total{route="policy",class="1xx"}"#;
    assert_eq!(gateway.metric(answers), 1.0);
    let replaced = r#"replaced_total{route="policy"}"#;
    assert_eq!(gateway.metric(replaced), 2.0);

    // And the other way round.
    let mut client = connect(&gateway, "/policy").await;
    client.send(Message::text(r#"{"n":3}"#)).await.unwrap();
    assert_eq!(closed(&mut client).await, (4002, "its own reason".into()));
    all_closed(&gateway).await;
}

/// A client's frame as it stands on the wire, with a mask of zeros if at all.
fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut all = vec![first];
    let mask = if masked { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..126 => all.push(mask | short as u8),
        middle @ 126..65536 => {
            all.push(mask | 126);
            all.extend((middle as u16).to_be_bytes());
        }
        long => {
            all.push(mask | 127);
            all.extend((long as u64).to_be_bytes());
        }
    }
    if masked {
        all.extend([0; 4]);
    }
    all.extend(payload);
    all
}

#[tokio::test]
async fn proxy_05_websocket_messages_that_are_refused_never_reach_the_backend() {
    let mut backend = obedient().await;
    let gateway = gateway(&backend, Limits::default());
    let hold = Limits::default().hold;
    let text = |payload: &str| frame(0x81, true, payload.as_bytes());
    let big = format!(r#"{{"n":"{}"}}"#, "y".repeat(hold));
    let (half, rest) = big.as_bytes().split_at(big.len() / 2);
    let deep = format!("{{\"n\":{}", "[".repeat(4000));
    let marked = |first, payload: &[u8]| frame(first, true, payload);
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        (
            "no JSON",
            text(r#"{"n":SUB-00001}"#),
            1007,
            "malformed-json",
        ),
        ("half", text(r#"{"n":1"#), 1007, "truncated"),
        ("two", text(r#"{"n":1}{"n":1}"#), 1007, "malformed-json"),
        (
            "unlisted",
            text(r#"{"n":1,"x":"SUB-00001"}"#),
            1008,
            "unlisted-place",
        ),
        (
            "rejected",
            text(r#"{"bad":"SUB-00001"}"#),
            1008,
            "rejected-place",
        ),
        ("deep", text(&deep), 1009, "too-deep"),
        (
            "binary",
            marked(0x82, GOOD.as_bytes()),
            1003,
            "binary-message",
        ),
        ("large", text(&big), 1009, "body-too-large"),
        (
            "large in parts",
            [marked(0x01, half), marked(0x80, rest)].concat(),
            1009,
            "body-too-large",
        ),
        (
            "no UTF-8",
            marked(0x81, b"{\"n\":\"\xff\"}"),
            1007,
            "not-utf8",
        ),
        (
            "no mask",
            frame(0x81, false, GOOD.as_bytes()),
            1002,
            "websocket-protocol",
        ),
        (
            "compressed",
            marked(0xc1, GOOD.as_bytes()),
            1002,
            "websocket-protocol",
        ),
        (
            "no beginning",
            marked(0x80, GOOD.as_bytes()),
            1002,
            "websocket-protocol",
        ),
        (
            "one in another",
            [marked(0x01, b"{\"n\":"), text(GOOD)].concat(),
            1002,
            "websocket-protocol",
        ),
        (
            "long ping",
            marked(0x89, &[0; 126]),
            1002,
            "websocket-protocol",
        ),
        (
            "ping in parts",
            marked(0x09, b""),
            1002,
            "websocket-protocol",
        ),
        ("unknown", marked(0x83, b""), 1002, "websocket-protocol"),
    ];
    let count = cases.len();
    for (name, bytes, code, reason) in cases {
        let mut raw = gateway.h1().await;
        raw.send(handshake("/policy", "")).await;
        let head = raw.head().await.unwrap();
        assert_eq!(status(&head), 101);
        raw.send([text(GOOD), bytes].concat()).await;
        let mut client = WebSocketStream::from_raw_socket(raw.stream, Role::Client, None).await;
        assert_eq!(closed(&mut client).await, (code, reason.into()), "{name}");
        assert!(seen(&mut backend).await.0.starts_with("GET "));
        assert_eq!(seen(&mut backend).await, is("text", REWRITTEN), "{name}");
        assert_eq!(seen(&mut backend).await, is("close 1001", ""), "{name}");
        // What is counted is counted when all of it is over.
        drop(client);
        all_closed(&gateway).await;
        let fault = format!(r#"faults_total{{route="policy",code="{reason}",side="client""#);
        assert!(gateway.page().contains(&fault), "{name}");
    }
    all_closed(&gateway).await;
    assert!(backend.saw_nothing());
    let rewritten = r#"websocket_messages_total{route="policy",outcome="rewritten"}"#;
    assert_eq!(gateway.metric(rewritten), count as f64);
}

#[tokio::test]
async fn proxy_05_websocket_handshakes_of_clients_are_checked() {
    let mut backend = obedient().await;
    let gateway = gateway(&backend, Limits::default());
    let good = handshake("/policy", "");
    for (from, to, expect, code) in [
        ("GET", "POST", 400, "websocket-handshake"),
        ("HTTP/1.1", "HTTP/1.0", 400, "websocket-handshake"),
        (
            "keep-alive, Upgrade",
            "keep-alive",
            400,
            "websocket-handshake",
        ),
        ("upgrade: WebSocket", "upgrade: h2c", 400, "upgrade-refused"),
        (
            "upgrade: WebSocket",
            "upgrade: websocket, h2c",
            400,
            "upgrade-refused",
        ),
        ("version: 13", "version: 8", 426, "websocket-version"),
        (
            "sec-websocket-version: 13\r\n",
            "",
            400,
            "websocket-handshake",
        ),
        (KEY, "dGhlIHNhbXBsZSBub25j", 400, "websocket-handshake"),
        (KEY, "SUB-00001", 400, "websocket-handshake"),
        (
            "sec-websocket-key",
            "sec-websocket-kez",
            400,
            "websocket-handshake",
        ),
        ("GET /policy", "GET /plain", 400, "upgrade-refused"),
        ("GET /policy", "GET /nowhere", 404, "no-route"),
    ] {
        assert!(good.contains(from));
        let mut client = gateway.h1().await;
        let mut bad = good.replacen(from, to, 1);
        if to == "POST" {
            bad = bad.replacen("host:", "content-length: 0\r\nhost:", 1);
        }
        client.send(bad).await;
        let (head, body) = client.answer().await;
        assert_eq!((status(&head), &*problem(&body)), (expect, code), "{to}");
        let ours = (expect == 426).then_some("13");
        assert_eq!(field(&head, "sec-websocket-version"), ours);
    }
    // Two keys, and a body.
    for more in [
        format!("sec-websocket-key: {KEY}\r\n"),
        "content-length: 1\r\n".to_owned(),
    ] {
        let mut client = gateway.h1().await;
        client.send(handshake("/policy", &more)).await;
        assert_eq!(status(&client.head().await.unwrap()), 400, "{more}");
    }
    assert!(backend.saw_nothing());
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn proxy_05_a_backend_switches_only_to_what_was_asked_for() {
    // What the backend answers: by the last letter of the path's query-less head field.
    let mut backend = Backend::start(None, |mut raw, report| async move {
        while let Some(head) = raw.head().await {
            let answer = match field(&head, "accept-language").unwrap() {
                "aa" => "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".to_owned(),
                "ab" => {
                    let right = switching(&head, "");
                    let at = right.find("accept: ").unwrap() + 8;
                    let (left, rest) = right.split_at(at);
                    format!("{left}{}{}", "A", &rest[1..])
                }
                "ac" => switching(&head, "sec-websocket-protocol: chat\r\n"),
                "ad" => switching(&head, "sec-websocket-extensions: permessage-deflate\r\n"),
                "ae" => switching(&head, "").replacen("upgrade: websocket", "upgrade: h2c", 1),
                "af" => switching(&head, "").replacen("connection: upgrade\r\n", "", 1),
                "ag" => "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
                _ => "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            raw.send(answer).await;
            let frames = raw.buffered();
            tell(&report, &head, &frames);
        }
    })
    .await;
    let gateway = gateway(&backend, Limits::default());
    for (language, expect) in [
        ("aa", 403),
        ("ab", 502),
        ("ac", 502),
        ("ad", 502),
        ("ae", 502),
        ("af", 502),
        ("ag", 502),
        ("ah", 426),
    ] {
        for path in ["/policy", "/opaque"] {
            let mut client = gateway.h1().await;
            let more = format!("accept-language: {language}\r\n");
            client.send(handshake(path, &more)).await;
            let (head, body) = client.answer().await;
            assert_eq!(status(&head), expect, "{language}: {head}");
            match expect {
                502 => assert_eq!(problem(&body), "backend-broken"),
                403 => assert_eq!(body, b"no"),
                _ => {}
            }
            assert_eq!(field(&head, "sec-websocket-accept"), None);
            // The connection is an ordinary one still.
            client
                .send("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            assert_eq!(status(&client.head().await.unwrap()), 404);
            backend.next().await;
        }
    }
}

#[tokio::test]
async fn proxy_05_nothing_passes_before_the_switch() {
    let mut backend = Backend::start(None, |mut raw, report| async move {
        let head = raw.head().await.unwrap();
        // As long as the backend has not switched, nothing comes.
        let mut one = [0];
        let early = tokio::time::timeout(Duration::from_millis(400), raw.stream.read(&mut one));
        assert!(early.await.is_err() && raw.buffered().is_empty());
        raw.send(switching(&head, "")).await;
        tell(&report, "switched", b"");
        let socket = WebSocketStream::from_raw_socket(raw.stream, Role::Server, None);
        serve(socket.await, report).await;
    })
    .await;
    let gateway = gateway(&backend, Limits::default());
    for (path, expect) in [("/policy", REWRITTEN), ("/opaque", GOOD)] {
        let mut raw = gateway.h1().await;
        let mut all = handshake(path, "").into_bytes();
        all.extend(frame(0x81, true, GOOD.as_bytes()));
        raw.send(all).await;
        let mut client = switched(raw).await;
        assert_eq!(seen(&mut backend).await, is("switched", ""));
        assert_eq!(seen(&mut backend).await, is("text", expect));
        client.close(None).await.unwrap();
        assert_eq!(seen(&mut backend).await, is("close", ""));
    }
    all_closed(&gateway).await;
}

#[tokio::test]
async fn proxy_05_open_connections_return_to_zero_when_either_side_dies() {
    let mut backend = obedient().await;
    let gateway = gateway(&backend, Limits::default());
    // The client goes without a word.
    let client = connect(&gateway, "/policy").await;
    seen(&mut backend).await;
    drop(client);
    assert_eq!(seen(&mut backend).await, is("close 1001", ""));
    all_closed(&gateway).await;
    // The backend does.
    let mut client = connect(&gateway, "/policy").await;
    client.send(Message::text(r#"{"n":4}"#)).await.unwrap();
    assert_eq!(closed(&mut client).await, (1011, "backend-broken".into()));
    all_closed(&gateway).await;
    // The backend says more than is held.
    let mut client = connect(&gateway, "/policy").await;
    client.send(Message::text(r#"{"n":5}"#)).await.unwrap();
    let told = closed(&mut client).await;
    assert_eq!(told, (1011, "response-refused".into()));
    all_closed(&gateway).await;
    // In the middle of a message.
    let mut raw = gateway.h1().await;
    raw.send(handshake("/policy", "")).await;
    raw.head().await.unwrap();
    raw.send(&frame(0x01, true, b"{\"n\":")[..]).await;
    drop(raw);
    all_closed(&gateway).await;
}

#[tokio::test]
async fn proxy_05_a_drain_closes_websockets_with_1001() {
    let mut backend = obedient().await;
    let gateway = gateway(&backend, Limits::default());
    let mut client = connect(&gateway, "/policy").await;
    seen(&mut backend).await;
    client.send(Message::text(GOOD)).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("text", REWRITTEN));
    let began = Instant::now();
    let metrics = gateway.metrics.clone();
    let drain = tokio::spawn(gateway.running.drain());
    assert_eq!(closed(&mut client).await, (1001, String::new()));
    drop(client);
    assert_eq!(seen(&mut backend).await, is("close 1001", ""));
    drain.await.unwrap();
    assert!(began.elapsed() < SOON);
    let (_, clients, _) = metrics.totals();
    assert_eq!(clients, 0);
}

#[tokio::test]
async fn proxy_05_silent_and_slow_websockets_are_ended_and_pings_keep_them() {
    let mut backend = obedient().await;
    let limits = Limits {
        body_idle_time: Duration::from_millis(600),
        idle_time: Duration::from_millis(600),
        ..Limits::default()
    };
    let gateway = gateway(&backend, limits);
    // The library answers the gateway's pings: nothing ends although nothing is said.
    let mut client = connect(&gateway, "/policy").await;
    seen(&mut backend).await;
    let quiet = tokio::time::timeout(Duration::from_millis(2500), async {
        loop {
            match client.next().await {
                Some(Ok(Message::Ping(data))) => assert!(data.is_empty()),
                other => return other,
            }
        }
    });
    assert!(quiet.await.is_err());
    client.send(Message::text(GOOD)).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("text", REWRITTEN));
    client.close(None).await.unwrap();
    assert_eq!(seen(&mut backend).await.0, "close");
    // A client that answers nothing.
    let mut raw = gateway.h1().await;
    raw.send(handshake("/policy", "")).await;
    raw.head().await.unwrap();
    let began = Instant::now();
    let (bytes, end) = raw.rest().await;
    assert!(began.elapsed() < SOON / 2);
    // Close, 1008, the code's name.
    let told = b"\x88\x0d\x03\xf0slow-client";
    assert!(bytes.ends_with(told), "{bytes:?} {end:?}");
    // One that adds a byte to a message now and then.
    let mut raw = gateway.h1().await;
    raw.send(handshake("/policy", "")).await;
    raw.head().await.unwrap();
    let began = Instant::now();
    let mut first = 0x01;
    let mut all = Vec::new();
    while !all.ends_with(told) {
        assert!(began.elapsed() < SOON / 2, "{all:?}");
        let _ = raw.stream.write_all(&frame(first, true, b" ")).await;
        first = 0x00;
        let mut some = [0; 100];
        let read = raw.stream.read(&mut some);
        if let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(100), read).await {
            all.extend(&some[..n]);
        }
    }
    drop(raw);
    all_closed(&gateway).await;
    // One that takes nothing of what the backend says.
    let mut raw = gateway.h1().await;
    raw.send(handshake("/policy", "")).await;
    raw.head().await.unwrap();
    for _ in 0..60 {
        raw.send(frame(0x81, true, br#"{"n":2}"#)).await;
    }
    all_closed(&gateway).await;
    let faults = r#"cryptonym_gateway_faults_total{route="policy",code="slow-client""#;
    let page = gateway.page();
    let counts = page.lines().filter(|line| line.starts_with(faults));
    let counts = counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(counts.sum::<u32>(), 3, "{page}");
    drop(raw);
}

#[tokio::test]
async fn proxy_05_an_opaque_tunnel_passes_bytes() {
    let mut backend = Backend::start(None, |mut raw, report| async move {
        let head = raw.head().await.unwrap();
        raw.send(switching(
            &head,
            "sec-websocket-protocol: chat\r\nsec-websocket-extensions: permessage-deflate; x=1\r\n",
        ))
        .await;
        let mut stream = raw.stream;
        let mut all = Vec::new();
        let mut some = [0; 4096];
        loop {
            match stream.read(&mut some).await {
                Ok(0) => {
                    tell(&report, &head, &all);
                    // Half of it is open still.
                    stream.write_all(b"bye").await.unwrap();
                    let _ = stream.shutdown().await;
                    return;
                }
                Ok(n) if some[..n].starts_with(b"die") => {
                    tell(&report, "died", &all);
                    return;
                }
                Ok(n) => {
                    all.extend(&some[..n]);
                    stream.write_all(&some[..n]).await.unwrap();
                }
                Err(e) => {
                    tell(&report, &format!("broken {:?}", e.kind()), &all);
                    return;
                }
            }
        }
    })
    .await;
    let limits = Limits {
        idle_time: Duration::from_millis(800),
        drain_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let gateway = gateway(&backend, limits);
    let more =
        "sec-websocket-protocol: other, chat\r\nsec-websocket-extensions: permessage-deflate\r\n";
    let open = async || {
        let mut raw = gateway.h1().await;
        raw.send(handshake("/opaque", more)).await;
        let head = raw.head().await.unwrap();
        assert_eq!(status(&head), 101, "{head}");
        assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
        let extension = field(&head, "sec-websocket-extensions");
        assert_eq!(extension, Some("permessage-deflate; x=1"));
        raw
    };
    // Whatever it is, both ways, and one way after the other has ended.
    let mut client = open().await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n * 7) as u8).collect();
    let (mut read, mut write) = tokio::io::split(client.stream);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    let mut expect = bytes.clone();
    expect.extend(b"bye");
    assert!(back == expect, "{} of {}", back.len(), expect.len());
    drop(writing.await.unwrap());
    let Seen { head, body } = backend.next().await;
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("other, chat"));
    let extension = field(&head, "sec-websocket-extensions");
    assert_eq!(extension, Some("permessage-deflate"));
    assert_eq!(body.unwrap(), bytes);
    all_closed(&gateway).await;
    // A client that breaks off is a broken one to the backend.
    client = open().await;
    client.send("abc").await;
    assert_eq!(client.raw_until(b"abc").await, b"abc");
    drop(client);
    let Seen { head, .. } = backend.next().await;
    assert_eq!(head, "broken ConnectionReset");
    all_closed(&gateway).await;
    // Silence.
    client = open().await;
    assert_eq!(client.rest().await.1, End::Reset);
    backend.next().await;
    all_closed(&gateway).await;
    // A drain cannot tell anybody; it waits, and then cuts.
    client = open().await;
    let began = Instant::now();
    let drain = tokio::spawn(gateway.running.drain());
    for _ in 0..3 {
        client.send("x").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.rest().await, (b"xxx".to_vec(), End::Reset));
    assert!(began.elapsed() >= Duration::from_millis(450));
    drain.await.unwrap();
}

#[tokio::test]
async fn proxy_05_messages_count_against_the_client_s_rate() {
    let mut backend = obedient().await;
    let mut routes = routes();
    routes[0].rate = Some(config::Rate {
        requests: 3,
        per: Duration::from_secs(600),
        burst: 3,
    });
    let certificates = Arc::new(Certificates::new());
    let gateway = Gateway::start(&certificates, &backend, routes, Limits::default());
    let mut client = connect(&gateway, "/policy").await;
    seen(&mut backend).await;
    for _ in 0..3 {
        let _ = client.send(Message::text(GOOD)).await;
    }
    assert_eq!(closed(&mut client).await, (1013, "rate-limited".into()));
    for _ in 0..2 {
        assert_eq!(seen(&mut backend).await, is("text", REWRITTEN));
    }
    assert_eq!(seen(&mut backend).await, is("close 1001", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_05_a_websocket_ends_with_the_configuration_of_its_policy() {
    let mut backend = obedient().await;
    let address = backend.address;
    let rest = |action: &str| {
        format!(
            r#"
[backend.there]
region = "GB"
urls = ["http://{}"]
[policy.in]
rules = [
  {{ at = "$.name", category = "usage", action = {action} }},
  {{ at = "$.n", category = "usage", action = "drop" }},
]
[[route]]
name = "policy"
path = "/policy"
backend = "there"
request = "in"
websocket = "policy"
[[route]]
name = "opaque"
path = "/opaque"
backend = "there"
opaque = true
websocket = "opaque"
"#,
            address
        )
    };
    let whole = Whole::start("", &rest(r#""redact", value = "X""#));
    let open = async |path: &str| {
        let mut raw = whole.client().await;
        raw.send(handshake(path, "")).await;
        switched(raw).await
    };
    let mut client = open("/policy").await;
    assert!(seen(&mut backend).await.0.starts_with("GET /policy"));
    client.send(Message::text(GOOD)).await.unwrap();
    let (_, text) = seen(&mut backend).await;
    assert_eq!(text, r#"{"name":"X"}"#);
    let mut unseen = open("/opaque").await;
    assert!(seen(&mut backend).await.0.starts_with("GET /opaque"));

    whole.writes("", &rest(r#""reject""#));
    tokio::task::block_in_place(|| {
        whole.process.signal(Signal::HUP);
        whole.until("reloads_total", 1.0);
    });
    // What comes now is looked at by nobody: it goes by the new one, in a new connection.
    let _ = client.send(Message::text(GOOD)).await;
    assert_eq!(closed(&mut client).await, (1001, String::new()));
    assert_eq!(seen(&mut backend).await, is("close 1001", ""));
    let mut client = open("/policy").await;
    assert!(seen(&mut backend).await.0.starts_with("GET /policy"));
    client.send(Message::text(GOOD)).await.unwrap();
    assert_eq!(closed(&mut client).await, (1008, "rejected-place".into()));
    assert_eq!(seen(&mut backend).await, is("close 1001", ""));
    // Bytes that nobody reads go on.
    unseen.send(Message::text(GOOD)).await.unwrap();
    assert_eq!(seen(&mut backend).await, is("text", GOOD));
}

const CONFIGURED: &str = r#"
[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "g.pem", key = "g.key" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[policy.in]
rules = [{ at = "$.n", category = "usage", action = "drop" }]
[[route]]
name = "in"
path = "/v1"
backend = "lake"
request = "in"
websocket = "policy"
[[route]]
name = "out"
path = "/v2"
backend = "lake"
opaque = true
websocket = "opaque"
"#;

#[test]
fn proxy_05_websocket_is_configured_by_route() {
    let parse = |text: &str| config::Config::parse(text, std::path::Path::new("/etc/c"), "c.toml");
    let config = parse(CONFIGURED).unwrap().config;
    let kinds: Vec<_> = config.routes.iter().map(|r| r.websocket).collect();
    assert_eq!(kinds, [WebSocket::Policy, WebSocket::Opaque]);
    let without = CONFIGURED.replace("websocket = \"policy\"\n", "");
    let config = parse(&without).unwrap().config;
    assert_eq!(config.routes[0].websocket, WebSocket::Refuse);
    assert!(!config.backends[0].http2);
    for (from, to, line, message) in [
        ("\"policy\"", "\"polcy\"", 16, "way to treat WebSocket"),
        ("\"policy\"", "\"opaque\"", 16, "only where bodies do"),
        ("\"opaque\"", "\"policy\"", 22, "no policy that could read"),
        (
            "\"policy\"",
            "\"policy\"\nformat = \"ndjson\"",
            16,
            "one JSON document",
        ),
        (
            "\"policy\"",
            "\"policy\"\nmethods = [\"POST\"]",
            16,
            "begins with GET",
        ),
        (
            "region = \"GB\"",
            "region = \"GB\"\nhttp2 = true",
            17,
            "cannot begin",
        ),
        (
            "websocket = \"policy\"",
            "websocket = true",
            16,
            "truth value",
        ),
    ] {
        assert!(CONFIGURED.contains(from), "{from}");
        let found = parse(&CONFIGURED.replacen(from, to, 1)).unwrap_err();
        let good = |d: &config::Diagnostic| {
            d.line == line && d.message.contains(message) && d.hint.is_some()
        };
        assert!(found.iter().any(good), "{to}: {found:?}");
    }
}

#[tokio::test]
async fn proxy_05_http_2_has_no_websocket() {
    let mut backend = Backend::answering("HTTP/1.1 426 Some\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = gateway(&backend, Limits::default());
    let mut client = support::h2::h2(&gateway).await;
    let request = Request::get("https://localhost/policy")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .body(support::h2::Sent::open().1);
    // Without `Upgrade`, which HTTP/2 does not know, it is an ordinary request.
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 426);
    let head = backend.next().await.head;
    assert_eq!(field(&head, "upgrade"), None);
    assert_eq!(field(&head, "sec-websocket-key"), None);
}
