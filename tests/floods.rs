//! Item 7: what a client may take of the gateway: connections, frames that cost and carry
//! nothing, bodies and answers at a crawl, requests. Over real TLS, frame by frame.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{self, Config, Limits};
use cryptonym::local::processes::get;
use http::Request;
use support::backend::{Backend, Mood};
use support::certificates::Certificates;
use support::gateway::{Gateway, config, opaque, rewriting};
use support::h2::{Sent, h2};
use support::raw::{End, Raw, field, status};
use support::whole::{Whole, any};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

fn gateway(backend: &Backend, change: impl Fn(&mut Config)) -> Gateway {
    let certificates = Arc::new(Certificates::new());
    let mut paced = opaque("paced", "/paced");
    paced.slow = true;
    let mut rated = opaque("rated", "/rated");
    rated.rate = Some(config::Rate {
        requests: 1,
        per: Duration::from_secs(3600),
        burst: 3,
    });
    let routes = vec![
        opaque("any", "/any"),
        rewriting("held", "/held"),
        paced,
        rated,
    ];
    let mut config = config(&certificates, backend, routes, Limits::default());
    config.gateway.as_mut().unwrap().access_log = false;
    change(&mut config);
    Gateway::start_as(&certificates, &config)
}

// --- HTTP/2 frames --------------------------------------------------------------------------

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 99;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// `POST https://localhost/any` out of the static table (RFC 7541), two literals.
fn post() -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    for (name, value) in [(4, "/any"), (1, "localhost")] {
        block.extend([name, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    block
}

/// A flood: what comes first, and then again and again (by its number).
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 9] = [
    ("rapid reset", Vec::new, |n| {
        let stream = 2 * n + 1;
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, &post());
        [begin, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    }),
    (
        "continuation",
        || frame(HEADERS, 0, 1, &post()),
        |_| frame(CONTINUATION, 0, 1, b""),
    ),
    ("ping", Vec::new, |_| frame(PING, 0, 0, &[7; 8])),
    ("settings", Vec::new, |_| {
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])
    }),
    (
        "empty data",
        || frame(HEADERS, END_HEADERS, 1, &post()),
        |_| frame(DATA, 0, 1, b""),
    ),
    (
        "padding",
        || frame(HEADERS, END_HEADERS, 1, &post()),
        |_| frame(DATA, PADDED, 1, &[3, 0, 0, 0]),
    ),
    ("priority", Vec::new, |n| {
        frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1])
    }),
    ("unknown", Vec::new, |_| frame(UNKNOWN, 0, 0, &[0; 16])),
    ("window", Vec::new, |_| {
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
    }),
];

/// Sends until the gateway closes the connection; how many were handed to the kernel by then.
async fn flood(raw: Raw, (name, first, next): Flood) -> u32 {
    let (mut from, mut to) = tokio::io::split(raw.stream);
    // What is answered is read: the flood must end although its client is polite.
    let reader = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while matches!(from.read(&mut sink).await, Ok(1..)) {}
    });
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(SETTINGS, 0, 0, b""));
    opening.extend(first());
    to.write_all(&opening).await.unwrap();
    let mut sent = 0;
    let flooding = async {
        loop {
            let batch: Vec<u8> = (sent..sent + 50).flat_map(next).collect();
            if to.write_all(&batch).await.is_err() || to.flush().await.is_err() {
                return;
            }
            sent += 50;
            if reader.is_finished() {
                return;
            }
        }
    };
    let closed = tokio::time::timeout(PATIENCE, flooding).await;
    assert!(closed.is_ok(), "{name}: open after {sent} frames");
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_07_http_2_floods_close_the_connection_and_leave_the_others() {
    let (backend, moods) = Backend::moody(Mood::Stall).await;
    let gateway = gateway(&backend, |_| ());
    let mut other = h2(&gateway).await;
    for (at, one) in FLOODS.into_iter().enumerate() {
        let raw = Raw::tls(
            gateway.address,
            gateway.certificates.client(&[b"h2"], false),
        );
        let sent = flood(raw.await, one).await;
        println!("{}: closed after {sent} frames were sent", one.0);
        // The library below has bounds of its own for some of them; then it was the first.
        let counted = gateway.metric("floods_total");
        assert!(counted <= (at + 1) as f64);
    }
    // It has none for PING, SETTINGS, PRIORITY, WINDOW_UPDATE and what it does not know.
    assert!(gateway.metric("floods_total") >= 5.0, "{}", gateway.page());
    let began = Instant::now();
    while gateway.metric("connections") > 1.0 {
        assert!(began.elapsed() < PATIENCE, "connections stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A connection beside them was never in danger.
    moods.set(Mood::Answer(200));
    for _ in 0..30 {
        let request = Request::get("https://localhost/any").body(Sent::open().1);
        let answer = other.send_request(request.unwrap()).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

/// Memory stays flat: a gateway as a process, flooded by many connections at once.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_07_memory_is_flat_under_floods() {
    let (backend, _) = Backend::moody(Mood::Stall).await;
    let gateway = whole(&backend, "");
    let storm = async |rounds: usize| {
        for _ in 0..rounds {
            let mut all = Vec::new();
            for one in FLOODS {
                let tls = gateway.certificates.client(&[b"h2"], false);
                let raw = Raw::tls(gateway.address, tls).await;
                all.push(tokio::spawn(flood(raw, one)));
            }
            for one in all {
                one.await.unwrap();
            }
        }
    };
    storm(3).await;
    let before = gateway.memory();
    storm(20).await;
    let after = gateway.memory();
    println!("{before} KiB before, {after} KiB after");
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    let page = get(gateway.observe, "/metrics").unwrap().1;
    assert!(page.contains("cryptonym_gateway_floods_total"));
    assert_eq!(gateway.process.stop().and_then(|s| s.code()), Some(0));
}

/// A gateway as a process, with nothing but one route. `limits`: lines of that table.
fn whole(backend: &Backend, limits: &str) -> Whole {
    let rest = format!("{}[limits]\n{limits}\n", any(backend.address));
    Whole::start("access_log = false", &rest)
}

/// Answers everything with more than any buffer takes.
async fn endless() -> Backend {
    Backend::start(None, |mut raw, _| async move {
        while raw.head().await.is_some() {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n";
            let part = [b'x'; 64 * 1024];
            if raw.stream.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            for _ in 0..1024 {
                if raw.stream.write_all(&part).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// What an HTTP/2 client does with answers that it has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// Opens every window, and does not read the socket.
    Socket,
    /// The same, and then shuts the windows, reads, and keeps the connection busy.
    Windows,
}

/// All its streams ask for more than they will take. How long the gateway has patience.
async fn asks_and_does_not_take(gateway: &Whole, how: Taking) -> Duration {
    let raw = Raw::tls(
        gateway.address,
        gateway.certificates.client(&[b"h2"], false),
    );
    let (mut from, mut to) = tokio::io::split(raw.await.stream);
    let window = |size: u32| [&[0, 4][..], &size.to_be_bytes()].concat();
    let widest = i32::MAX as u32;
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(SETTINGS, 0, 0, &window(widest)));
    opening.extend(frame(8, 0, 0, &(widest - 65_535).to_be_bytes()));
    let streams = cryptonym::limits::STREAMS;
    for stream in 0..streams - 1 {
        let all = END_HEADERS | END_STREAM;
        opening.extend(frame(HEADERS, all, 2 * stream + 1, &post()));
    }
    // An upload that goes on and on: without a request in flight the connection would be idle.
    let upload = 2 * streams - 1;
    opening.extend(frame(HEADERS, END_HEADERS, upload, &post()));
    to.write_all(&opening).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    if how == Taking::Windows {
        to.write_all(&frame(SETTINGS, 0, 0, &window(0)))
            .await
            .unwrap();
    }
    let began = Instant::now();
    let reader = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while how == Taking::Windows && matches!(from.read(&mut sink).await, Ok(1..)) {}
        from
    });
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut busy = frame(PING, 0, 0, &[7; 8]);
        busy.extend(frame(DATA, 0, upload, &[b'y'; 100]));
        if to.write_all(&busy).await.is_err() || to.flush().await.is_err() {
            break;
        }
        if how == Taking::Windows && reader.is_finished() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{how:?}: it goes on");
    }
    began.elapsed()
}

/// The window says how much may be sent, not how much the gateway keeps.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_07_answers_that_an_http_2_client_does_not_take_fill_no_memory() {
    let backend = endless().await;
    let gateway = whole(&backend, "body_idle_time = \"4s\"");
    for how in [Taking::Socket, Taking::Windows] {
        let before = gateway.memory();
        let clients = 3;
        let one = || asks_and_does_not_take(&gateway, how);
        let attack = async { <[Duration; 3]>::from(tokio::join!(one(), one(), one())) };
        let peak = std::sync::atomic::AtomicUsize::new(0);
        let watch = async {
            loop {
                let now = gateway.memory();
                peak.fetch_max(now, std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let times = tokio::select! {
            times = attack => times,
            () = watch => unreachable!(),
        };
        let grown = peak.into_inner().saturating_sub(before);
        println!("{how:?}: {grown} KiB more at most, over after {times:?}");
        // A chunk of each stream, what its backend connection has read ahead, and the queue.
        assert!(grown < clients * 20 * 1024, "{how:?}: {grown} KiB");
        let limit = Duration::from_secs(4 + 4);
        assert!(times.iter().all(|time| *time < limit), "{how:?}: {times:?}");
        let began = Instant::now();
        let there = r#"cryptonym_gateway_backend_requests{backend="there",url="0"} 0"#;
        while !get(gateway.observe, "/metrics").unwrap().1.contains(there) {
            assert!(began.elapsed() < PATIENCE, "requests stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(gateway.process.stop().and_then(|s| s.code()), Some(0));
}

// --- slow peers -----------------------------------------------------------------------------

/// A body of a byte now and then, never silent for long.
async fn dribble(gateway: &Gateway, path: &str, every: Duration, most: usize) -> (u16, usize) {
    let mut client = gateway.h1().await;
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let head = head + &format!("content-length: {most}\r\n\r\n");
    client.send(head).await;
    for sent in 0..most {
        tokio::select! {
            biased;
            head = client.head() => return (head.map_or(0, |head| status(&head)), sent),
            () = tokio::time::sleep(every) => client.send(" ").await,
        }
    }
    (status(&client.answer().await.0), most)
}

#[tokio::test]
async fn proxy_07_a_body_slower_than_the_rate_is_refused() {
    let backend = Backend::answering(OK).await;
    let idle = Duration::from_millis(500);
    let gateway = gateway(&backend, |config| {
        config.limits.body_idle_time = idle;
        config.limits.body_rate = 100;
    });
    let every = Duration::from_millis(50);
    for path in ["/held", "/any"] {
        let began = Instant::now();
        let (status, sent) = dribble(&gateway, path, every, 200).await;
        assert_eq!(status, 408, "{path}");
        assert!(began.elapsed() >= idle && sent < 100, "{path}: {sent}");
    }
    // Twenty bytes a second are too few; four hundred are not, nor is any where the route says so.
    let quick = Duration::from_millis(2);
    assert_eq!(dribble(&gateway, "/any", quick, 400).await, (200, 400));
    let began = Instant::now();
    assert_eq!(dribble(&gateway, "/paced", every, 30).await, (200, 30));
    assert!(began.elapsed() > 2 * idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_07_an_answer_read_slower_than_the_rate_is_cut() {
    // Larger than what the sockets between take.
    let backend = Backend::start(None, |mut raw, _| async move {
        while raw.head().await.is_some() {
            let size = 64 * 1024 * 1024;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            let body = [head.as_bytes(), &vec![b'x'; size]].concat();
            if raw.stream.write_all(&body).await.is_err() {
                return;
            }
        }
    });
    let backend = backend.await;
    let idle = Duration::from_millis(600);
    // Both are out of proportion, so that the test is short: nobody may take longer than this.
    let gateway = gateway(&backend, |config| {
        config.limits.body_idle_time = idle;
        config.limits.body_rate = 10_000_000;
    });
    let mut client = gateway.h1().await;
    client.send(GET).await;
    let mut some = vec![0; 16 * 1024];
    let began = Instant::now();
    let mut taken = 0;
    let end = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match client.stream.read(&mut some).await {
            Ok(0) => break "an end",
            Ok(n) => taken += n,
            Err(_) => break "a reset",
        }
        assert!(began.elapsed() < PATIENCE, "it goes on: {taken}");
    };
    assert_eq!(end, "a reset");
    assert!(taken < 64 * 1024 * 1024 && began.elapsed() >= idle);
    // Who reads gets it.
    let mut client = gateway.h1().await;
    client.send(GET).await;
    let head = client.head().await.unwrap();
    assert_eq!(client.body(&head).await.unwrap().len(), 64 * 1024 * 1024);
}

// --- how much of one client -----------------------------------------------------------------

#[tokio::test]
async fn proxy_07_one_address_has_so_many_connections() {
    let backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |config| {
        config.limits.connections_per_address = 3;
        config.gateway.as_mut().unwrap().workers = 2;
    });
    let ask = async |client: &mut Raw| {
        client.send(GET).await;
        status(&client.answer().await.0)
    };
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.h1().await;
        assert_eq!(ask(&mut client).await, 200);
        all.push(client);
    }
    let tls = || gateway.certificates.client(&[b"http/1.1"], false);
    let fourth = Raw::tls_as(gateway.address, tls(), "localhost").await;
    assert!(fourth.is_err(), "closed before the handshake");
    let away = r#"turned_away_total{reason="address-full"}"#;
    support::settles(away, 1, || gateway.metric(away) as u64).await;
    // Another address has places of its own.
    let mut other = elsewhere(&gateway).await;
    assert_eq!(ask(&mut other).await, 200);
    // And a place that is left is free again.
    drop(all.pop());
    let began = Instant::now();
    loop {
        if let Ok(mut client) = Raw::tls_as(gateway.address, tls(), "localhost").await {
            assert_eq!(ask(&mut client).await, 200);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place is lost");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn proxy_07_one_client_uses_a_route_so_often() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ());
    let request = GET.replace("/any", "/rated");
    let ask = async |mut client: Raw| {
        client.send(&request).await;
        client.answer().await
    };
    for _ in 0..3 {
        assert_eq!(status(&ask(gateway.h1().await).await.0), 200);
        backend.next().await;
    }
    let (head, body) = ask(gateway.h1().await).await;
    assert_eq!(status(&head), 429);
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "rate-limited");
    let wait: u64 = field(&head, "retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert!(backend.saw_nothing());
    // A client that is known is another one, wherever it comes from; another route another count.
    assert_eq!(status(&ask(gateway.h1_known().await).await.0), 200);
    let mut client = gateway.h1().await;
    client.send(GET).await;
    assert_eq!(status(&client.answer().await.0), 200);
}

/// A client that asks and asks leaves places at the backend for the others.
#[tokio::test]
async fn proxy_07_one_client_has_its_share_of_a_backend() {
    let (mut backend, moods) = Backend::moody(Mood::Stall).await;
    let gateway = gateway(&backend, |config| {
        config.backends[0].care.max_requests = 20;
        config.backends[0].care.max_requests_per_client = Some(5);
    });
    let mut waiting = Vec::new();
    // As many as it likes while half of the places are free.
    for _ in 0..10 {
        let mut client = gateway.h1().await;
        client.send(GET).await;
        backend.next().await;
        waiting.push(client);
    }
    let mut client = gateway.h1().await;
    client.send(GET).await;
    let (head, body) = client.answer().await;
    assert_eq!(
        (status(&head), field(&head, "retry-after")),
        (429, Some("2"))
    );
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "client-share");
    // Who comes from elsewhere, or is known, has a share of its own.
    for _ in 0..5 {
        let mut other = elsewhere(&gateway).await;
        other.send(GET).await;
        backend.next().await;
        waiting.push(other);
        let mut known = gateway.h1_known().await;
        known.send(GET).await;
        backend.next().await;
        waiting.push(known);
    }
    moods.set(Mood::Answer(200));
    for client in &mut waiting {
        assert_eq!(status(&client.answer().await.0), 200);
    }
    // And has room again.
    client.send(GET).await;
    assert_eq!(status(&client.answer().await.0), 200);
}

/// A client with another address than the usual one.
async fn elsewhere(gateway: &Gateway) -> Raw {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let from = SocketAddr::from(([127, 0, 0, 9], 0));
    socket.bind(from).unwrap();
    let tcp = socket.connect(gateway.address).await.unwrap();
    assert_eq!(tcp.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 9]));
    let tls = gateway.certificates.client(&[b"http/1.1"], false);
    let connector = tokio_rustls::TlsConnector::from(tls);
    let stream = connector.connect("localhost".try_into().unwrap(), tcp);
    Raw::new(stream.await.unwrap())
}

/// Who says hello and no more keeps the places of its own address.
#[tokio::test]
async fn proxy_07_handshakes_that_stall_keep_nobody_else_out() {
    let backend = Backend::answering(OK).await;
    let time = Duration::from_secs(6);
    let gateway = gateway(&backend, |config| {
        config.limits.handshakes = 8;
        config.limits.handshakes_per_address = 2;
        config.limits.handshake_time = time;
    });
    let tls = || gateway.certificates.client(&[b"http/1.1"], false);
    let mut stalling = Vec::new();
    for _ in 0..20 {
        let name = "localhost".try_into().unwrap();
        let mut hello = Vec::new();
        let mut client = rustls::ClientConnection::new(tls(), name).unwrap();
        client.write_tls(&mut hello).unwrap();
        let mut tcp = tokio::net::TcpStream::connect(gateway.address)
            .await
            .unwrap();
        tcp.write_all(&hello).await.unwrap();
        stalling.push(tcp);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    for _ in 0..5 {
        let mut other = elsewhere(&gateway).await;
        other.send(GET).await;
        assert_eq!(status(&other.answer().await.0), 200);
    }
    assert!(began.elapsed() < time / 2, "{:?}", began.elapsed());
    // They wait for each other, as long as each may.
    let began = Instant::now();
    let away = |reason| gateway.metric(&format!(r#"turned_away_total{{reason="{reason}"}}"#));
    while away("busy") + away("time") < 20.0 {
        assert!(began.elapsed() < PATIENCE, "{}", gateway.page());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        Raw::tls_as(gateway.address, tls(), "localhost")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn proxy_07_an_http_2_client_has_so_many_streams() {
    let (mut backend, moods) = Backend::moody(Mood::Stall).await;
    let gateway = gateway(&backend, |_| ());
    let sender = h2(&gateway).await;
    let most = cryptonym::limits::STREAMS as usize;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..most + 50 {
        let mut sender = sender.clone();
        all.spawn(async move {
            sender.ready().await.unwrap();
            let request = Request::get("https://localhost/any").body(Sent::open().1);
            sender
                .send_request(request.unwrap())
                .await
                .unwrap()
                .status()
        });
    }
    for _ in 0..most {
        backend.next().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(backend.saw_nothing(), "more than it may");
    moods.set(Mood::Answer(200));
    assert!(all.join_all().await.iter().all(|s| *s == 200));
}

#[tokio::test]
async fn proxy_07_heads_have_so_many_fields_and_bytes() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ());
    let many: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(300 * 1024));
    for fields in [many, long] {
        let mut client = gateway.h1().await;
        let request = format!("GET /any HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        // It may be refused before all of it was taken.
        let _ = client.stream.write_all(request.as_bytes()).await;
        if let Some(head) = client.head().await {
            assert_eq!(status(&head), 431);
        }
        assert_ne!(client.rest().await.1, End::Cut);
        assert!(backend.saw_nothing());
    }
}

const CONFIGURED: &str = r#"[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "g.pem", key = "g.key" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[limits]
body_rate = 1000
connections_per_address = 50
handshakes_per_address = 60
[[route]]
name = "in"
path = "/v1"
backend = "lake"
opaque = true
slow = true
rate = { requests = 100, per = "1m", burst = 20 }
[[route]]
name = "out"
path = "/v2"
backend = "lake"
opaque = true
rate = { requests = 7, per = "2s" }
"#;

#[test]
fn proxy_07_every_limit_of_a_client_can_be_configured() {
    let parse = |text: &str| Config::parse(text, std::path::Path::new("/etc/c"), "c.toml");
    let config = parse(CONFIGURED).unwrap().config;
    let limits = &config.limits;
    assert_eq!(
        (limits.body_rate, limits.connections_per_address),
        (1000, 50)
    );
    assert_eq!(limits.handshakes_per_address, 60);
    let rate = |requests, seconds, burst| {
        Some(config::Rate {
            requests,
            per: Duration::from_secs(seconds),
            burst,
        })
    };
    assert_eq!(config.routes[0].rate, rate(100, 60, 20));
    assert_eq!(config.routes[1].rate, rate(7, 2, 7));
    assert!(config.routes[0].slow && !config.routes[1].slow);
    for (from, to, line, message) in [
        ("requests = 100, ", "", 18, "has no `requests`"),
        (", per = \"2s\"", "", 24, "has no `per`"),
        ("\"2s\"", "\"0s\"", 24, "`per` is zero"),
        ("burst = 20", "burst = 0", 18, "out of range"),
        ("burst = 20", "brust = 20", 18, "unknown key `brust`"),
        ("body_rate = 1000", "body_rate = -1", 9, "out of range"),
        ("address = 50", "address = 0", 10, "out of range"),
        ("slow = true", "slow = 1", 17, "this is a whole number"),
    ] {
        assert!(CONFIGURED.contains(from), "{from}");
        let found = parse(&CONFIGURED.replacen(from, to, 1)).unwrap_err();
        let good = |d: &config::Diagnostic| d.line == line && d.message.contains(message);
        assert!(found.iter().any(good), "{to}: {found:?}");
    }
}
