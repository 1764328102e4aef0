//! Answers that take long or come in pieces, on opaque routes: server-sent events, long polling.
//! And what is refused: protocol upgrades, which no route takes.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cryptonym::config::Limits;
use http::Request;
use http_body_util::BodyExt;
use support::backend::{Backend, Seen};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque};
use support::h2::{Frames, Outcome, Sent, h2};
use support::raw::{End, field, status};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const GET: &str = "GET /any HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nlast-event-id: SUB-1\r\n\r\n";

fn gateway(backend: &Backend) -> Gateway {
    let limits = Limits {
        idle_time: Duration::from_millis(500),
        head_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let certificates = Arc::new(Certificates::new());
    Gateway::start(&certificates, backend, vec![opaque("any", "/any")], limits)
}

/// A backend that sends an event when the test says so, until its reader leaves.
async fn events() -> (Backend, mpsc::UnboundedSender<&'static str>) {
    let (say, said) = mpsc::unbounded_channel::<&'static str>();
    let said = Arc::new(tokio::sync::Mutex::new(said));
    let backend = Backend::start(None, move |mut raw, report| {
        let said = said.clone();
        async move {
            let head = raw.head().await.unwrap();
            raw.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let mut said = said.lock().await;
            let mut one = [0];
            loop {
                tokio::select! {
                    Some(event) = said.recv() => {
                        raw.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
                    }
                    left = raw.stream.read(&mut one) => {
                        let body = match left {
                            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Err(End::Reset),
                            _ => Err(End::Clean),
                        };
                        let _ = report.send(Seen { head, body });
                        return;
                    }
                }
            }
        }
    })
    .await;
    (backend, say)
}

#[tokio::test]
async fn proxy_05_server_sent_events_pass_as_they_come() {
    let (mut backend, say) = events().await;
    let gateway = gateway(&backend);
    let events = [
        "data: one\n\n",
        ": still here\n\n",
        "event: x\ndata: two\n\n",
    ];

    let mut client = gateway.h1().await;
    client.send(GET).await;
    let head = client.head().await.unwrap();
    assert_eq!(field(&head, "content-type"), Some("text/event-stream"));
    assert_eq!(field(&head, "cache-control"), Some("no-cache"));
    for event in events {
        // Longer than an idle connection may live, and nothing waits for the next event.
        tokio::time::sleep(Duration::from_millis(700)).await;
        say.send(event).unwrap();
        // hyper writes the size in capitals.
        let chunk = format!("{:X}\r\n{event}\r\n", event.len());
        assert_eq!(client.raw_until(chunk.as_bytes()).await, chunk.as_bytes());
    }
    // A reader that leaves is a reader that leaves, to the backend too.
    drop(client);
    let seen = backend.next().await;
    assert!(seen.body.is_err());
    assert_eq!(field(&seen.head, "accept"), Some("text/event-stream"));
    assert_eq!(
        field(&seen.head, "last-event-id"),
        None,
        "only where listed"
    );

    let mut client = h2(&gateway).await;
    let request = Request::get("https://localhost/any").body(Sent::open().1);
    let answer = client.send_request(request.unwrap()).await.unwrap();
    let mut body = answer.into_body();
    for event in events {
        say.send(event).unwrap();
        let next = tokio::time::timeout(Duration::from_secs(5), body.frame());
        let frame = next.await.expect("at once").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), Bytes::from(event));
    }
    drop(body);
    assert!(backend.next().await.body.is_err());
}

#[tokio::test]
async fn proxy_05_long_polling_waits_for_its_answer() {
    let backend = Backend::start(None, |mut raw, _| async move {
        while let Some(head) = raw.head().await {
            raw.body(&head).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnews")
                .await;
        }
    })
    .await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    for _ in 0..2 {
        let began = Instant::now();
        client.send(GET).await;
        let (head, body) = client.answer().await;
        assert_eq!((status(&head), &body[..]), (200, &b"news"[..]));
        assert!(began.elapsed() > Duration::from_secs(1));
    }
    let mut client = h2(&gateway).await;
    let request = Request::get("https://localhost/any").body(Sent::open().1);
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "news"
    );
}

#[tokio::test]
async fn proxy_05_an_upgrade_is_refused_before_a_backend_hears_of_it() {
    let mut backend = Backend::answering("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    client
        .send("GET /any HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        .await;
    let (head, body) = client.answer().await;
    assert_eq!(status(&head), 400);
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "upgrade-refused");
    // RFC 8441: not offered, so `:protocol` is malformed.
    let mut client = Frames::open(&gateway).await;
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"https"),
        (b":path", b"/any"),
        (b":authority", b"localhost"),
    ];
    let stream = client.request(&fields, false).await;
    assert!(!matches!(
        client.outcome(stream).await,
        Outcome::Answer(200 | 101, _)
    ));
    assert!(backend.saw_nothing());
}
