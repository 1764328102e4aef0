//! Bodies: held, streamed, refused, broken off, over real TLS and against peers that misbehave.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{Format, Limits, ResponseBody};
use http::Request;
use http_body_util::BodyExt;
use support::backend::{Backend, Seen, serve};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::h2::{DATA, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, Sent, h2, number};
use support::raw::{End, field, status};
use tokio::io::AsyncWriteExt;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LINE: &str = "{\"name\":\"SUB-1\",\"n\":1.0e-7}\n";
const REWRITTEN: &str = "{\"name\":\"X\",\"n\":1.0e-7}\n";

fn gateway_with(
    certificates: &Arc<Certificates>,
    backend: &Backend,
    change: impl Fn(&mut Limits),
) -> Gateway {
    let mut limits = Limits {
        hold: 10_000,
        ..Limits::default()
    };
    change(&mut limits);
    let mut held = rewriting("held", "/held");
    held.format = Some(Format::Ndjson);
    let mut streamed = rewriting("streamed", "/streamed");
    streamed.format = Some(Format::Ndjson);
    streamed.stream = true;
    let mut own = held.clone();
    own.name = "own".to_owned();
    own.path = "/own".to_owned();
    own.response = ResponseBody::RestoreOwn(1);
    let routes = vec![opaque("any", "/any"), held, streamed, own];
    Gateway::start(certificates, backend, routes, limits)
}

fn gateway(backend: &Backend) -> Gateway {
    gateway_with(&Arc::new(Certificates::new()), backend, |_| ())
}

/// A backend that reports its first request, whole or not, and answers whole ones.
async fn reporting(tls: Option<Arc<rustls::ServerConfig>>) -> Backend {
    Backend::start(tls, |raw, report| serve(raw, report, OK)).await
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn with_length(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

fn problem(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn path_03_a_held_body_is_rewritten_and_sent_with_its_exact_length() {
    let mut backend = reporting(None).await;
    let gateway = gateway(&backend);
    for framing in ["length", "chunks"] {
        let mut client = gateway.h1().await;
        let body = LINE.repeat(50);
        if framing == "length" {
            client.send(with_length("/held", body.len()) + &body).await;
        } else {
            client.send(chunked("/held")).await;
            for part in body.as_bytes().chunks(77) {
                client.send(chunk(std::str::from_utf8(part).unwrap())).await;
            }
            client.send("0\r\n\r\n").await;
        }
        assert_eq!(status(&client.answer().await.0), 200);
        let seen = backend.next().await;
        let expected = REWRITTEN.repeat(50);
        assert_eq!(
            field(&seen.head, "content-length"),
            Some(&*expected.len().to_string())
        );
        assert_eq!(field(&seen.head, "transfer-encoding"), None);
        assert_eq!(seen.body.unwrap(), expected.as_bytes());
    }
}

#[tokio::test]
async fn path_03_a_refused_held_body_leaves_nothing_at_the_backend() {
    let mut backend = reporting(None).await;
    let gateway = gateway(&backend);
    let bad = LINE.repeat(100) + "{\"name\":\"SUB-9\",\"bad\":\"SUB-9\"}\n";
    let malformed = LINE.repeat(3) + "{\"n\":";
    for (body, expected) in [(bad, 422), (malformed, 400)] {
        let mut client = gateway.h1().await;
        client.send(with_length("/held", body.len()) + &body).await;
        let (head, answer) = client.answer().await;
        assert_eq!(status(&head), expected);
        let problem = problem(&answer);
        assert!(problem["offset"].as_u64().unwrap() > 0 && problem.get("partial").is_none());
        assert!(!String::from_utf8(answer).unwrap().contains("SUB-9"));
    }
    assert_eq!(backend.connections(), 0);
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn path_03_a_body_over_the_hold_is_refused_before_or_while_reading() {
    let mut backend = reporting(None).await;
    let gateway = gateway(&backend);
    // Known length: before a byte of it, so that 100 Continue is never sent.
    let mut client = gateway.h1().await;
    let head = with_length("/held", 10_001).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    client.send(head).await;
    assert_eq!(status(&client.answer().await.0), 413);
    // Unknown length, and a client that goes on writing: it still reads the answer.
    let mut client = gateway.h1().await;
    client.send(chunked("/held")).await;
    for _ in 0..40 {
        client.send(chunk(&LINE.repeat(20))).await;
    }
    let (head, body) = client.answer().await;
    assert_eq!(
        (status(&head), problem(&body)["code"].as_str()),
        (413, Some("body-too-large"))
    );
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn path_03_a_streamed_body_arrives_whole_over_http_1_and_2() {
    let mut backend = reporting(None).await;
    let gateway = gateway(&backend);
    let (body, expected) = (LINE.repeat(50_000), REWRITTEN.repeat(50_000));
    let mut client = gateway.h1().await;
    client.send(with_length("/streamed", body.len())).await;
    client.send(&body).await;
    assert_eq!(status(&client.answer().await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "transfer-encoding"), Some("chunked"));
    assert!(seen.body.unwrap() == expected.as_bytes());

    let mut h2 = h2(&gateway).await;
    let request = Request::post("https://localhost/streamed");
    let request = request.body(Sent::whole(body)).unwrap();
    assert_eq!(h2.send_request(request).await.unwrap().status(), 200);
    assert!(backend.next().await.body.unwrap() == expected.as_bytes());
}

#[tokio::test]
async fn path_03_a_rewrite_that_fails_midway_resets_the_backend() {
    for https in [false, true] {
        let certificates = Arc::new(Certificates::new());
        let tls = https.then(|| certificates.backend());
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let mut backend = Backend::start(tls, move |mut raw, report| {
            let began = began.clone();
            async move {
                let head = raw.head().await.unwrap();
                began.send(()).unwrap();
                let body = raw.body(&head).await;
                let _ = report.send(Seen { head, body });
            }
        })
        .await;
        let gateway = gateway_with(&certificates, &backend, |_| ());
        let good = LINE.repeat(20_000);
        let bad = "{\"bad\":1}\n".to_owned() + &good;
        let mut client = gateway.h1().await;
        client
            .send(with_length("/streamed", good.len() + bad.len()))
            .await;
        client.send(&good).await;
        // What is reset before it was read is no request that a backend could tell of.
        begun.recv().await.unwrap();
        // The gateway stops reading at the fault: the rest may not be taken.
        let _ = client.stream.write_all(bad.as_bytes()).await;
        let (head, body) = client.answer().await;
        assert_eq!(status(&head), 422);
        let problem = problem(&body);
        assert_eq!(problem["partial"], true);
        assert_eq!(
            problem["offset"].as_u64(),
            Some((LINE.len() * 20_000 + 7) as u64)
        );
        // Not a FIN, not a close_notify, not a last chunk.
        assert_eq!(backend.next().await.body, Err(End::Reset), "https: {https}");
    }
}

#[tokio::test]
async fn path_03_a_client_that_disappears_never_ends_cleanly_upstream() {
    for (https, path) in [
        (false, "/streamed"),
        (true, "/streamed"),
        (false, "/any"),
        (true, "/any"),
    ] {
        let certificates = Arc::new(Certificates::new());
        let tls = https.then(|| certificates.backend());
        let mut backend = reporting(tls).await;
        let gateway = gateway_with(&certificates, &backend, |_| ());
        let mut client = gateway.h1().await;
        client
            .send(chunked(path) + &chunk(&LINE.repeat(2000)))
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.stream.shutdown().await.unwrap();
        drop(client);
        assert_eq!(
            backend.next().await.body,
            Err(End::Reset),
            "h1 {path}, https: {https}"
        );

        // HTTP/2: the stream is cancelled.
        let (to, sent) = Sent::open();
        let request = Request::post(format!("https://localhost{path}"));
        let request = request.body(sent).unwrap();
        let mut h2 = h2(&gateway).await;
        let sending = tokio::spawn(h2.send_request(request));
        to.send(LINE.repeat(2000).into()).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        sending.abort();
        assert_eq!(
            backend.next().await.body,
            Err(End::Reset),
            "h2 {path}, https: {https}"
        );
    }
}

/// A backend that answers so, without waiting for a body, and then leaves.
async fn saying(answer: String) -> Backend {
    Backend::start(None, move |mut raw, _| {
        let answer = answer.clone();
        async move {
            raw.head().await.unwrap();
            raw.send(answer).await;
            raw.stream.shutdown().await.unwrap();
        }
    })
    .await
}

const GET: &str = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn path_03_a_truncated_answer_never_ends_cleanly() {
    let large = "x".repeat(100_000);
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n".to_owned() + &large,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned() + &chunk(&large),
    ] {
        let backend = saying(cut).await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        client.send(GET).await;
        assert_eq!(status(&client.head().await.unwrap()), 200);
        assert_eq!(client.rest().await.1, End::Reset);

        let mut h2 = h2(&gateway).await;
        let request = Request::get("https://localhost/any")
            .body(Sent::open().1)
            .unwrap();
        let answer = h2.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let error = answer.into_body().collect().await.unwrap_err();
        assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    }
}

#[tokio::test]
async fn path_03_an_answer_that_comes_early_is_passed_on() {
    // It answers at the head, then reads what comes.
    let mut backend = Backend::start(None, |mut raw, report| async move {
        let head = raw.head().await.unwrap();
        raw.send("HTTP/1.1 429 Slow Down\r\ncontent-length: 4\r\n\r\nlate")
            .await;
        let body = raw.body(&head).await;
        let _ = report.send(Seen { head, body });
    })
    .await;
    let gateway = gateway(&backend);
    for path in ["/streamed", "/any"] {
        let mut client = gateway.h1().await;
        client
            .send(chunked(path) + &chunk(&LINE.repeat(2000)))
            .await;
        let (head, body) = client.answer().await;
        assert_eq!((status(&head), &body[..]), (429, &b"late"[..]), "{path}");
        drop(client);
        assert_eq!(backend.next().await.body, Err(End::Reset), "{path}");
    }
}

#[tokio::test]
async fn path_03_slow_peers_are_told_so() {
    let mute = Backend::start(None, |mut raw, _| async move {
        raw.rest().await;
    })
    .await;
    let times = |l: &mut Limits| {
        l.response_time = Duration::from_millis(300);
        l.body_idle_time = Duration::from_millis(300);
    };
    let gateway = gateway_with(&Arc::new(Certificates::new()), &mute, times);
    for path in ["/held", "/streamed", "/any"] {
        let mut client = gateway.h1().await;
        let lines = if path == "/streamed" { 2000 } else { 1 };
        client
            .send(with_length(path, LINE.len() * lines) + &LINE.repeat(lines))
            .await;
        let (head, _) = client.answer().await;
        assert_eq!(status(&head), 504, "{path}");
        // A client that falls silent in the middle.
        let mut client = gateway.h1().await;
        client.send(with_length(path, 9_000) + LINE).await;
        let (head, _) = client.answer().await;
        assert_eq!(status(&head), 408, "{path}");
    }
}

#[tokio::test]
async fn path_03_a_backend_that_does_not_read_stops_the_client() {
    let deaf = Backend::start(None, |mut raw, _| async move {
        raw.head().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = gateway(&deaf);
    for path in ["/streamed", "/any"] {
        let mut client = gateway.h1().await;
        client
            .send(with_length(path, 100_000 * LINE.len() * 10))
            .await;
        let body = LINE.repeat(10_000);
        let mut written = 0;
        let pushing = async {
            for _ in 0..100 {
                client.stream.write_all(body.as_bytes()).await.unwrap();
                written += body.len();
            }
        };
        tokio::time::timeout(Duration::from_secs(3), pushing)
            .await
            .unwrap_err();
        // What the kernel's own socket buffers take, and two chunks.
        assert!(written < 16 << 20, "{path}: {written}");
    }
}

#[tokio::test]
async fn path_03_a_client_that_does_not_read_is_closed() {
    let mut backend = Backend::start(None, |mut raw, report| async move {
        let head = raw.head().await.unwrap();
        raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        let part = chunk(&"x".repeat(60_000));
        while raw.stream.write_all(part.as_bytes()).await.is_ok() {}
        let _ = report.send(Seen {
            head,
            body: Ok(vec![]),
        });
    })
    .await;
    let idle = |l: &mut Limits| l.body_idle_time = Duration::from_millis(300);
    let gateway = gateway_with(&Arc::new(Certificates::new()), &backend, idle);
    let mut client = gateway.h1().await;
    client.send(GET).await;
    backend.next().await;
    drop(client);
}

#[tokio::test]
async fn path_03_the_hold_budget_is_waited_for_then_refused() {
    let mut backend = reporting(None).await;
    let small = |l: &mut Limits| l.hold_budget = 10_000;
    let gateway = gateway_with(&Arc::new(Certificates::new()), &backend, small);
    let mut first = gateway.h1().await;
    first
        .send(with_length("/held", LINE.len() * 300) + LINE)
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut second = gateway.h1().await;
    second
        .send(with_length("/held", LINE.len() * 200) + &LINE.repeat(200))
        .await;
    let (head, body) = second.answer().await;
    assert_eq!(status(&head), 503);
    assert_eq!(problem(&body)["code"], "hold-budget");
    assert_eq!(field(&head, "retry-after"), Some("2"));
    first.send(LINE.repeat(299)).await;
    assert_eq!(status(&first.answer().await.0), 200);
    assert!(backend.next().await.body.unwrap() == REWRITTEN.repeat(300).as_bytes());
}

#[tokio::test]
async fn path_03_an_answer_to_restore_is_private_whole_and_plain() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"e\"\r\n";
    let large = format!("[{}1]", "1,".repeat(60_000));
    let cases = [
        (format!("{json}content-length: 7\r\n\r\n{{\"n\":1}}"), 200, "{\"n\":1}".to_owned()),
        (format!("{json}content-length: {}\r\n\r\n{large}", large.len()), 200, large),
        ("HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno".to_owned(), 500, "no".to_owned()),
        (format!("{json}content-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"), 502, String::new()),
        (format!("{json}content-length: 7\r\n\r\n{{\"SUB\":"), 502, String::new()),
        ("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-0/2\r\ncontent-length: 1\r\n\r\n1".to_owned(), 502, String::new()),
    ];
    for (answer, expected, text) in cases {
        let backend = saying(answer.clone()).await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1_known().await;
        client.send(with_length("/own", LINE.len()) + LINE).await;
        let (head, body) = client.answer().await;
        assert_eq!(status(&head), expected, "{answer:.200}");
        if expected == 502 {
            let problem = problem(&body);
            assert!(problem.get("offset").is_none() && problem.get("place").is_none());
            assert!(!String::from_utf8(body).unwrap().contains("SUB"));
            continue;
        }
        assert_eq!(body, text.as_bytes());
        assert_eq!(field(&head, "cache-control"), Some("private, no-store"));
        assert_eq!(field(&head, "etag"), None);
    }
    // Without a certificate there is nobody to restore for.
    let backend = saying(OK.to_owned()).await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    client.send(with_length("/own", LINE.len()) + LINE).await;
    assert_eq!(status(&client.answer().await.0), 403);
}

/// The answer on one stream: its body, and the reason of the reset that follows it, if the
/// request has not ended.
async fn answer_on(client: &mut Frames, stream: u32, ended: bool) -> (String, Option<u32>) {
    let mut body = Vec::new();
    let mut whole = None;
    loop {
        let frame = client.read().await;
        assert_ne!(frame.kind, GOAWAY);
        if frame.stream != stream {
            continue;
        }
        match frame.kind {
            DATA => body.extend(&frame.payload),
            RST_STREAM => {
                let whole: Instant = whole.expect("no reset before the end of the answer");
                assert!(whole.elapsed() < Duration::from_secs(1));
                let body = String::from_utf8(body).unwrap();
                return (body, Some(number(&frame.payload)));
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            if ended {
                return (String::from_utf8(body).unwrap(), None);
            }
            whole = Some(Instant::now());
        }
    }
}

/// A backend that answers at the head, reads nothing and does not leave.
async fn early() -> Backend {
    Backend::start(None, |mut raw, _| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 429 Slow Down\r\ncontent-length: 4\r\n\r\nlate")
            .await;
        std::future::pending::<()>().await;
    })
    .await
}

fn refused_at(line: usize, lines: usize) -> String {
    LINE.repeat(line) + "{\"bad\":1}\n" + &LINE.repeat(lines - line)
}

#[tokio::test]
async fn path_03_an_abandoned_http_2_stream_is_reset_without_an_error() {
    let backend = early().await;
    let gateway = gateway(&backend);
    let mut client = Frames::open(&gateway).await;
    let mut sent = 0;
    let lines = LINE.repeat(40_000);
    for (path, body, expected) in [
        ("/streamed", refused_at(0, 40_000), "rejected-place"),
        ("/streamed", refused_at(3000, 40_000), "rejected-place"),
        ("/held", lines.clone(), "body-too-large"),
        ("/nowhere", lines.clone(), "no-route"),
        ("/any", lines.clone(), "late"),
        ("/streamed", lines, "late"),
    ] {
        // Stops when its window is used up, and says no end.
        let stream = client.post(path).await;
        sent += client.push(stream, body.as_bytes(), false).await;
        let (answer, reset) = answer_on(&mut client, stream, false).await;
        assert!(answer.contains(expected), "{path}: {answer}");
        assert_eq!(reset, Some(0), "{path}");
    }
    // What was never read has not used up the connection's window: the next stream goes on.
    assert!(sent > 1 << 20, "{sent}");
    let stream = client.post("/streamed").await;
    let body = refused_at(0, 40_000);
    client.push(stream, body.as_bytes(), true).await;
    client.end(stream).await;
    let (answer, _) = answer_on(&mut client, stream, true).await;
    assert!(answer.contains("rejected-place"), "{answer}");
}

#[tokio::test]
async fn path_03_a_client_that_sends_all_before_it_looks_gets_its_answer() {
    let backend = early().await;
    let gateway = gateway(&backend);
    let mut client = Frames::open(&gateway).await;
    for (path, expected) in [
        ("/streamed", "rejected-place"),
        ("/held", "body-too-large"),
        ("/any", "late"),
    ] {
        let stream = client.post(path).await;
        let body = refused_at(0, 200_000);
        let sent = client.push(stream, body.as_bytes(), true).await;
        assert_eq!(sent, body.len());
        client.end(stream).await;
        let (answer, _) = answer_on(&mut client, stream, true).await;
        assert!(answer.contains(expected), "{path}: {answer}");
    }
}

#[tokio::test]
async fn path_03_a_client_that_waits_on_a_reset_stream_is_not_left_waiting() {
    let backend = early().await;
    let gateway = gateway(&backend);
    let mut client = Frames::open(&gateway).await;
    let stream = client.post("/streamed").await;
    client
        .push(stream, refused_at(0, 1000).as_bytes(), false)
        .await;
    let (_, reset) = answer_on(&mut client, stream, false).await;
    assert_eq!(reset, Some(0));
    // Neither at once, which would break other streams off, nor only after `idle_time`.
    let start = Instant::now();
    while client.read().await.kind != GOAWAY {}
    assert!(start.elapsed() > Duration::from_secs(1));
}
