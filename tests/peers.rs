//! Peers that misbehave, on either side: the other one gets the documented answer or end in
//! time, every request ends, and the open connections of both sides return to zero.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{Format, Limits};
use cryptonym::gateway::Running;
use cryptonym::gateway::metrics::Metrics;
use support::backend::Backend;
use support::certificates::Certificates;
use support::gateway::{config, opaque, rewriting};
use support::h2::{END_STREAM, Frames, HEADERS, Outcome, SETTINGS};
use support::peers::{self, Bad, DRIBBLED, abrupt, backend, dribbles};
use support::raw::{End, Raw, status};
use tokio::io::AsyncWriteExt;

const GET: &str = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// RFC 9113, section 7.
const INTERNAL_ERROR: u32 = 2;

/// Long enough for a machine that has other things to do, short enough for many tests.
fn short(limits: &mut Limits) {
    limits.handshake_time = Duration::from_millis(500);
    limits.head_time = Duration::from_millis(500);
    limits.idle_time = Duration::from_millis(800);
    limits.body_idle_time = Duration::from_millis(600);
    limits.response_time = Duration::from_millis(800);
    limits.connect_time = Duration::from_millis(500);
}

struct Gateway {
    running: Running,
    address: SocketAddr,
    certificates: Arc<Certificates>,
    metrics: Arc<Metrics>,
}

impl Gateway {
    /// In front of what listens at `backend`.
    async fn start(backend: SocketAddr, https: bool) -> Self {
        let certificates = Arc::new(Certificates::new());
        let stand_in = Backend::answering(OK).await;
        let mut held = rewriting("held", "/held");
        held.format = Some(Format::Ndjson);
        let mut streamed = rewriting("streamed", "/streamed");
        streamed.format = Some(Format::Ndjson);
        streamed.stream = true;
        let routes = vec![opaque("any", "/any"), held, streamed];
        let mut limits = Limits {
            hold: 10_000,
            ..Limits::default()
        };
        short(&mut limits);
        let mut config = config(&certificates, &stand_in, routes, limits);
        let there = &mut config.backends[0];
        there.urls[0].port = backend.port();
        there.urls[0].https = https;
        there.ca = https.then(|| certificates.ca().to_owned());
        config.gateway.as_mut().unwrap().access_log = false;
        let metrics = Arc::new(Metrics::new());
        let running = cryptonym::gateway::start(&config, None, metrics.clone()).unwrap();
        Self {
            address: running.addresses()[0],
            running,
            certificates,
            metrics,
        }
    }

    fn tls(&self, alpn: &[u8]) -> Arc<rustls::ClientConfig> {
        self.certificates.client(&[alpn], false)
    }

    async fn h1(&self) -> Raw {
        Raw::tls(self.address, self.tls(b"http/1.1")).await
    }

    async fn h2(&self) -> Frames {
        Frames::speak(Raw::tls(self.address, self.tls(b"h2")).await).await
    }

    /// The sum of a family's samples whose line has these words.
    fn sum(&self, family: &str, with: &str) -> u64 {
        let mut text = String::new();
        let registry = self.metrics.registry();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let samples = text
            .lines()
            .filter(|l| l.starts_with(family) && l.contains(with));
        samples
            .map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    fn open(&self, side: &str) -> u64 {
        let side = format!("side=\"{side}\"");
        self.sum("cryptonym_gateway_connections_open{", &side)
    }

    /// Nothing is open on either side, as many requests as there were have ended, and no task
    /// is left for a drain to wait for.
    async fn comes_to_rest(self, requests: u64, what: &str) {
        let began = Instant::now();
        let at_rest = || {
            let answers = self.sum("cryptonym_gateway_answers_total{", "");
            (self.open("client"), self.open("backend"), answers)
        };
        while at_rest() != (0, 0, requests) {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(15), "{what}: {:?}", at_rest());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = Instant::now();
        self.running.drain().await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{what}: the drain"
        );
    }
}

/// What the client gets from a gateway in front of a backend that misbehaves.
#[derive(Debug, PartialEq, Eq)]
enum Gets {
    Answer(u16),
    /// An answer that begins, and is broken off: never a clean end.
    Broken,
}

async fn over_h1(gateway: &Gateway, request: &str) -> Gets {
    let mut client = gateway.h1().await;
    client.send(request).await;
    let head = client.head().await.expect("an answer");
    match client.body(&head).await {
        Ok(_) => Gets::Answer(status(&head)),
        Err(End::Reset) => Gets::Broken,
        Err(end) => panic!("{end:?}"),
    }
}

async fn over_h2(gateway: &Gateway) -> Gets {
    let mut client = gateway.h2().await;
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/any"),
        (b":authority", b"localhost"),
    ];
    let stream = client.request(&fields, true).await;
    match client.outcome(stream).await {
        Outcome::Answer(status, _) => Gets::Answer(status),
        Outcome::Reset(INTERNAL_ERROR) => Gets::Broken,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_13_backends_that_misbehave() {
    let kinds = [
        (Bad::Staller, Gets::Answer(504)),
        (Bad::Leaver, Gets::Answer(502)),
        (Bad::Resetter, Gets::Answer(502)),
        (Bad::HeadReader, Gets::Answer(502)),
        (Bad::HalfHead, Gets::Answer(504)),
        (Bad::HalfHeadLeaver, Gets::Answer(502)),
        (Bad::HeadDribbler, Gets::Answer(504)),
        (Bad::BodyDribbler, Gets::Answer(200)),
        (Bad::Stranger, Gets::Answer(502)),
        (Bad::Talker, Gets::Answer(502)),
        (Bad::TwoLengths, Gets::Answer(502)),
        (Bad::NoLength, Gets::Answer(502)),
        (Bad::Informer, Gets::Answer(504)),
        (Bad::Killer, Gets::Broken),
        (Bad::Cutter, Gets::Broken),
        (Bad::BodyStaller, Gets::Broken),
        (Bad::ChunkKiller, Gets::Broken),
        (Bad::ChunkCutter, Gets::Broken),
        (Bad::ChunkStaller, Gets::Broken),
        (Bad::WrongChunk, Gets::Broken),
    ];
    let mut tests = tokio::task::JoinSet::new();
    for (bad, expected) in kinds {
        tests.spawn(async move {
            let gateway = Gateway::start(backend(bad).await, false).await;
            let began = Instant::now();
            assert_eq!(over_h1(&gateway, GET).await, expected, "{bad:?}");
            assert_eq!(over_h2(&gateway).await, expected, "{bad:?} over HTTP/2");
            assert!(began.elapsed() < Duration::from_secs(10), "{bad:?}");
            gateway.comes_to_rest(2, &format!("{bad:?}")).await;
        });
    }
    while let Some(ended) = tests.join_next().await {
        ended.unwrap();
    }
}

/// A backend that never says its part of the handshake.
#[tokio::test]
async fn proxy_13_a_backend_that_stalls_in_the_handshake() {
    for (bad, https) in [(Bad::Staller, true), (Bad::Leaver, true)] {
        let gateway = Gateway::start(backend(bad).await, https).await;
        assert_eq!(over_h1(&gateway, GET).await, Gets::Answer(502), "{bad:?}");
        assert_eq!(over_h2(&gateway).await, Gets::Answer(502), "{bad:?}");
        gateway.comes_to_rest(2, "handshake").await;
    }
}

/// Bodies to a backend that answers early, or never takes them.
#[tokio::test]
async fn proxy_13_backends_that_do_not_wait_for_the_body() {
    let lines = "{\"name\":\"SUB-1\"}\n".repeat(100_000);
    for (bad, expected) in [(Bad::Early, 429), (Bad::Staller, 504)] {
        for path in ["/any", "/streamed"] {
            let gateway = Gateway::start(backend(bad).await, false).await;
            let mut client = gateway.h1().await;
            // A body that fits into the buffers on the way would be whole, and its connection kept.
            let length = if bad == Bad::Early { 2 } else { 1 } * lines.len();
            client
                .send(format!(
                    "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
                ))
                .await;
            let _ = client.stream.write_all(lines.as_bytes()).await;
            let (head, _) = client.answer().await;
            assert_eq!(status(&head), expected, "{bad:?} {path}");
            drop(client);

            let mut client = gateway.h2().await;
            let stream = client.post(path).await;
            // Who waits to be answered early has stopped; who stalls gets it all.
            let patient = bad == Bad::Staller;
            client.push(stream, lines.as_bytes(), patient).await;
            if patient {
                client.end(stream).await;
            }
            let Outcome::Answer(status, _) = client.outcome(stream).await else {
                panic!("{bad:?} {path} over HTTP/2");
            };
            assert_eq!(status, expected, "{bad:?} {path} over HTTP/2");
            drop(client);
            gateway.comes_to_rest(2, &format!("{bad:?} {path}")).await;
        }
    }
}

/// An answer that nobody has asked for is never the next request's.
#[tokio::test]
async fn proxy_13_a_backend_with_one_answer_too_many() {
    let gateway = Gateway::start(backend(Bad::Splitter).await, false).await;
    for round in 0..6 {
        let mut client = gateway.h1().await;
        client.send(GET).await;
        let (head, body) = client.answer().await;
        assert_eq!(
            (status(&head), &body[..]),
            (200, &b"first"[..]),
            "round {round}"
        );
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    gateway.comes_to_rest(6, "a splitter").await;
}

/// A backend that would like to be asked, and counts who leaves.
async fn patient() -> SocketAddr {
    let backend = Backend::start(None, |mut raw, _| async move {
        let Some(head) = raw.head().await else {
            return;
        };
        if raw.body(&head).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = raw.stream.write_all(OK.as_bytes()).await;
        }
        // Never idle in a pool: what is open then is not at rest.
    })
    .await;
    backend.address
}

#[tokio::test]
async fn proxy_13_clients_that_say_nothing() {
    let gateway = Gateway::start(patient().await, false).await;
    let bare = Raw::new(
        tokio::net::TcpStream::connect(gateway.address)
            .await
            .unwrap(),
    );
    let mut garbage = Raw::new(
        tokio::net::TcpStream::connect(gateway.address)
            .await
            .unwrap(),
    );
    garbage.send("GET / HTTP/1.1\r\n\r\n").await;
    let silent_1 = gateway.h1().await;
    let silent_2 = Raw::tls(gateway.address, gateway.tls(b"h2")).await;
    let mut half = gateway.h1().await;
    half.send("GET /any HTTP/1.1\r\nhost: loc").await;
    let mut preface = Raw::tls(gateway.address, gateway.tls(b"h2")).await;
    preface.send("PRI * HTTP/2.0\r\n\r\nS").await;
    assert!(gateway.open("client") >= 4);
    let began = Instant::now();
    for mut client in [bare, garbage, silent_1, silent_2, half, preface] {
        client.rest().await;
    }
    assert!(began.elapsed() < Duration::from_secs(8));
    gateway.comes_to_rest(0, "silence").await;
}

#[tokio::test]
async fn proxy_13_clients_that_dribble() {
    let gateway = Gateway::start(patient().await, false).await;
    // A head that takes longer than `head_time` is closed in the middle.
    let mut client = gateway.h1().await;
    let heads = GET.replace("localhost", &"x".repeat(400));
    let slow = dribbles(&mut client, heads.as_bytes(), Duration::from_millis(40));
    let began = Instant::now();
    assert!(
        !tokio::time::timeout(Duration::from_secs(10), slow)
            .await
            .unwrap()
    );
    assert!(began.elapsed() < Duration::from_secs(3));
    drop(client);
    // A body of single bytes arrives, in a byte's chunk or a byte's write.
    for path in ["/any", "/held", "/streamed"] {
        let line = "{\"n\":1234}\n";
        let mut client = gateway.h1().await;
        let length = line.len();
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
        assert!(dribbles(&mut client, line.as_bytes(), Duration::from_millis(30)).await);
        assert_eq!(status(&client.answer().await.0), 200, "{path}");

        let mut client = gateway.h2().await;
        let stream = client.post(path).await;
        for byte in line.bytes() {
            client.data(stream, &[byte], false).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        client.end(stream).await;
        let outcome = client.outcome(stream).await;
        assert_eq!(outcome, Outcome::Answer(200, b"ok".to_vec()), "{path}");
    }
    // One that stops in the middle is told so.
    for path in ["/any", "/held", "/streamed"] {
        let mut client = gateway.h1().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{{"
            ))
            .await;
        assert_eq!(status(&client.answer().await.0), 408, "{path}");
        let mut client = gateway.h2().await;
        let stream = client.post(path).await;
        client.data(stream, b"{", false).await;
        let outcome = client.outcome(stream).await;
        assert!(
            matches!(outcome, Outcome::Answer(408, _)),
            "{path}: {outcome:?}"
        );
    }
    gateway.comes_to_rest(12, "dribblers").await;
}

/// FIN and RST in the head, in the body, while the backend thinks, while it answers.
#[tokio::test]
async fn proxy_13_clients_that_leave() {
    let endless = Backend::start(None, |mut raw, _| async move {
        raw.head().await.unwrap();
        let part = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        while raw.stream.write_all(part.as_bytes()).await.is_ok() {}
    })
    .await;
    let gateway = Gateway::start(patient().await, false).await;
    let talking = Gateway::start(endless.address, false).await;
    let line = "{\"n\":1}\n";
    let begun = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{line}\r\n"
        )
    };
    let mut requests = 0;
    for kill in [false, true] {
        for what in [
            "GET /any HT".to_owned(),
            GET.to_owned(),
            begun("/any"),
            begun("/held"),
            begun("/streamed"),
        ] {
            let mut client = if kill {
                abrupt(gateway.address, gateway.tls(b"http/1.1")).await
            } else {
                gateway.h1().await
            };
            client.send(&what).await;
            requests += u64::from(what.contains("\r\n\r\n"));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        let mut client = if kill {
            abrupt(talking.address, talking.tls(b"http/1.1")).await
        } else {
            talking.h1().await
        };
        client.send(GET).await;
        assert_eq!(status(&client.head().await.unwrap()), 200);
    }
    // HTTP/2: the connection goes, with its streams in every state.
    for kill in [false, true] {
        let raw = if kill {
            abrupt(gateway.address, gateway.tls(b"h2")).await
        } else {
            Raw::tls(gateway.address, gateway.tls(b"h2")).await
        };
        let mut client = Frames::speak(raw).await;
        for path in ["/any", "/held", "/streamed"] {
            let stream = client.post(path).await;
            client.data(stream, line.as_bytes(), false).await;
            let stream = client.post(path).await;
            client.data(stream, line.as_bytes(), true).await;
            requests += 2;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    gateway.comes_to_rest(requests, "leavers").await;
    talking.comes_to_rest(2, "leavers in an answer").await;
}

/// Frames that a library would not send.
#[tokio::test]
async fn proxy_13_http_2_clients_that_misbehave() {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let gateway = Gateway::start(patient().await, false).await;
    let mut clients = Vec::new();
    let mut requests = 0;
    // A head that never ends; a body that never comes; streams that are taken back.
    let mut client = gateway.h2().await;
    client.write(HEADERS, 0, 1, &[0x83, 0x87]).await;
    clients.push(client);
    let mut client = gateway.h2().await;
    client.post("/any").await;
    requests += 1;
    clients.push(client);
    let mut client = gateway.h2().await;
    for path in ["/any", "/held", "/streamed"] {
        let stream = client.post(path).await;
        client.data(stream, b"{\"n\":1}\n", false).await;
        client
            .write(support::h2::RST_STREAM, 0, stream, &CANCEL)
            .await;
        requests += 1;
    }
    clients.push(client);
    // A client that opens no window for its answer: initial window 0, and never an update.
    let mut client = gateway.h2().await;
    client.write(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/any"),
        (b":authority", b"localhost"),
    ];
    client.request(&fields, true).await;
    requests += 1;
    clients.push(client);
    // Data on no stream, on one that has ended; frames too long, of the wrong length, of nobody.
    for (kind, flags, stream, payload) in [
        (0, 0, 0, vec![1]),
        (0, 0, 9, vec![1]),
        (HEADERS, 5, 2, vec![0x82, 0x87, 0x84]),
        (HEADERS, END_STREAM | 4, 1, vec![0xff; 9]),
        (3, 0, 0, CANCEL.to_vec()),
        (8, 0, 0, vec![0; 4]),
        (8, 0, 0, vec![0x7f, 0xff, 0xff, 0xff]),
        (6, 0, 0, vec![0; 7]),
        (SETTINGS, 0, 0, vec![0; 5]),
        (9, 4, 1, vec![0x82]),
        (5, 4, 1, vec![0, 0, 0, 2]),
        (0, 0, 1, vec![0; 20_000]),
    ] {
        let mut client = gateway.h2().await;
        client.write(kind, flags, stream, &payload).await;
        while let Some(frame) = client.try_take().await {
            if frame.kind == support::h2::GOAWAY {
                assert_ne!(frame.payload[4..8], [0; 4], "{kind} {flags} {stream}");
            }
        }
    }
    // A kind of frame that nobody knows is nobody's fault (RFC 9113, section 4.1).
    let mut client = gateway.h2().await;
    client.write(99, 0xff, 0, b"grease").await;
    let stream = client.request(&fields, true).await;
    assert_eq!(
        client.outcome(stream).await,
        Outcome::Answer(200, b"ok".to_vec())
    );
    requests += 1;
    clients.push(client);
    for mut client in clients {
        while client.try_take().await.is_some() {}
    }
    gateway.comes_to_rest(requests, "frames").await;
}

/// The gauges count what is there, not only what has gone.
#[tokio::test]
async fn proxy_13_open_connections_are_counted_per_side() {
    let backend = Backend::answering(OK).await;
    let gateway = Gateway::start(backend.address, false).await;
    let mut clients = vec![gateway.h1().await, gateway.h1().await];
    for client in &mut clients {
        client.send(GET).await;
        assert_eq!(status(&client.answer().await.0), 200);
    }
    assert_eq!((gateway.open("client"), gateway.open("backend")), (2, 1));
    drop(clients);
    let began = Instant::now();
    while gateway.open("client") > 0 {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The pooled one stays.
    assert_eq!(gateway.open("backend"), 1);
    assert_eq!(backend.connections(), 1);
    let dribbled = Gateway::start(peers::backend(Bad::BodyDribbler).await, false).await;
    let mut client = dribbled.h1().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.1.len(), DRIBBLED);
}
