//! Item 6: several addresses, their health, limits, circuits and retries, over real sockets
//! against backends that fail as a test says, and against nginx.

#[path = "support/installation.rs"]
mod installation;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cryptonym::config::{self, Care, Circuit, Config, Ejection, Health, Limits};
use cryptonym::local::processes::{Process, free_address};
use http::Request;
use http_body_util::BodyExt;
use support::backend::{Backend, Mood};
use support::certificates::Certificates;
use support::gateway::{Gateway, config, opaque, rewriting};
use support::h2::{Sent, h2};
use support::peers::abrupt;
use support::raw::{End, field, status};
use support::whole::{Whole, route};

const GET: &str = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";
const POST: &str = "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello";
const PUT: &str = "PUT /held HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
    content-length: 19\r\n\r\n{\"name\":\"SUB-4711\"}";
const HELD: &[u8] = b"{\"name\":\"X\"}";
const MOMENT: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is ejected and no circuit opens.
fn calm() -> Care {
    Care {
        ejection: Ejection {
            failures: 0,
            ..Care::default().ejection
        },
        circuit: Circuit {
            failures: 0,
            ..Care::default().circuit
        },
        ..Care::default()
    }
}

/// One backend with these addresses; `/any` passes bodies, `/held` holds and rewrites them.
fn gateway(backends: &[&Backend], care: Care, change: impl Fn(&mut Config)) -> Gateway {
    let certificates = Arc::new(Certificates::new());
    let mut held = rewriting("held", "/held");
    held.methods = vec!["PUT".to_owned(), "POST".to_owned()];
    let routes = vec![opaque("any", "/any"), held];
    let mut config = config(&certificates, backends[0], routes, Limits::default());
    config.backends[0].urls = backends.iter().map(|b| url(b.address)).collect();
    config.backends[0].care = care;
    config.gateway.as_mut().unwrap().access_log = false;
    change(&mut config);
    Gateway::start_as(&certificates, &config)
}

fn url(address: SocketAddr) -> config::BackendUrl {
    config::BackendUrl {
        https: false,
        host: address.ip().to_string(),
        port: address.port(),
    }
}

async fn once(gateway: &Gateway, request: &str) -> (u16, String) {
    let mut client = gateway.h1().await;
    client.send(request).await;
    let (head, body) = client.answer().await;
    (status(&head), String::from_utf8(body).unwrap())
}

/// The statuses of so many requests, one after the other on one connection.
async fn many(gateway: &Gateway, request: &str, times: usize) -> Vec<u16> {
    let mut client = gateway.h1().await;
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        client.send(request).await;
        all.push(status(&client.answer().await.0));
    }
    all
}

/// What a backend has seen and not yet told, health checks apart.
fn seen(backend: &mut Backend) -> usize {
    let mut requests = 0;
    while let Ok(seen) = backend.seen.try_recv() {
        requests += usize::from(!seen.head.starts_with("GET /ping"));
    }
    requests
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(MOMENT).await;
    }
}

fn up(gateway: &Gateway, url: usize) -> bool {
    gateway.metric(&format!(r#"backend_up{{backend="backend",url="{url}"}}"#)) == 1.0
}

#[tokio::test]
async fn proxy_06_load_goes_to_the_less_loaded_of_two() {
    let (mut slow, moods) = Backend::moody(Mood::Stall).await;
    let (mut quick, _) = Backend::moody(Mood::Answer(200)).await;
    let gateway = gateway(&[&slow, &quick], calm(), |_| ());
    // Until one of them waits at the slow one.
    let mut waiting = Vec::new();
    while seen(&mut slow) == 0 {
        let mut client = gateway.h1().await;
        client.send(GET).await;
        tokio::select! {
            biased;
            answer = client.answer() => assert_eq!(status(&answer.0), 200),
            () = tokio::time::sleep(Duration::from_millis(200)) => waiting.push(client),
        }
    }
    assert_eq!(waiting.len(), 1);
    seen(&mut quick);
    assert_eq!(many(&gateway, GET, 50).await, [200; 50]);
    assert_eq!((seen(&mut slow), seen(&mut quick)), (0, 50));
    let loaded = r#"backend_requests{backend="backend",url="0"}"#;
    assert_eq!(gateway.metric(loaded), 1.0);
    // Once both are idle, both are asked.
    moods.set(Mood::Answer(200));
    assert_eq!(status(&waiting[0].answer().await.0), 200);
    assert_eq!(gateway.metric(loaded), 0.0);
    assert_eq!(many(&gateway, GET, 50).await, [200; 50]);
    let (slow, quick) = (seen(&mut slow), seen(&mut quick));
    assert!(slow > 5 && quick > 5, "{slow} and {quick}");
}

#[tokio::test]
async fn proxy_06_an_address_that_fails_is_ejected_and_comes_back() {
    let (mut bad, moods) = Backend::moody(Mood::Answer(503)).await;
    let (mut good, _) = Backend::moody(Mood::Answer(200)).await;
    let time = Duration::from_millis(700);
    let care = Care {
        ejection: Ejection {
            failures: 3,
            time,
            longest: 4 * time,
            share: 50,
        },
        ..calm()
    };
    let gateway = gateway(&[&bad, &good], care, |_| ());
    let began = Instant::now();
    let statuses = many(&gateway, GET, 60).await;
    let quick = began.elapsed() < time;
    // An answer is an answer: it is passed on, and not asked for again.
    let failed = statuses.iter().filter(|&&s| s == 503).count();
    assert!(failed == 3 || !quick, "{statuses:?}");
    assert_eq!(seen(&mut bad), failed);
    assert_eq!(seen(&mut good), 60 - failed);
    let ejections = r#"backend_ejections_total{backend="backend",url="0"}"#;
    assert!(gateway.metric(ejections) >= 1.0);
    moods.set(Mood::Answer(200));
    until("it comes back", || up(&gateway, 0)).await;
    assert_eq!(many(&gateway, GET, 60).await, [200; 60]);
    assert!(seen(&mut bad) > 5 && seen(&mut good) > 5);
}

#[tokio::test]
async fn proxy_06_no_more_than_the_share_is_ejected() {
    let (mut one, moods) = Backend::moody(Mood::Answer(502)).await;
    let (mut two, both) = Backend::moody(Mood::Answer(504)).await;
    let care = Care {
        ejection: Ejection {
            failures: 1,
            time: Duration::from_secs(60),
            longest: Duration::from_secs(60),
            share: 50,
        },
        ..calm()
    };
    let gateway = gateway(&[&one, &two], care, |_| ());
    assert!(many(&gateway, GET, 30).await.iter().all(|s| *s > 500));
    assert!(up(&gateway, 0) != up(&gateway, 1), "{}", gateway.page());
    moods.set(Mood::Answer(200));
    both.set(Mood::Answer(200));
    let _ = (seen(&mut one), seen(&mut two));
    assert_eq!(many(&gateway, GET, 30).await, [200; 30]);
    assert_eq!(seen(&mut one) + seen(&mut two), 30);
}

#[tokio::test]
async fn proxy_06_checks_take_an_address_out_and_bring_it_back() {
    let (mut sick, moods) = Backend::moody(Mood::Answer(200)).await;
    let (mut well, _) = Backend::moody(Mood::Answer(200)).await;
    // Long enough for a machine that is busy: a late check is a bad one.
    let interval = Duration::from_millis(400);
    let care = Care {
        health: Some(Health {
            path: "/ping?deep=1".to_owned(),
            interval,
            timeout: interval,
            healthy: 2,
            unhealthy: 3,
            status: vec![200, 204],
        }),
        ..calm()
    };
    let gateway = gateway(&[&sick, &well], care, |config| {
        config.gateway.as_mut().unwrap().workers = 4;
    });
    let ping = sick.next().await;
    assert!(ping.head.starts_with("GET /ping?deep=1 HTTP/1.1"));
    let host = sick.address.to_string();
    assert_eq!(field(&ping.head, "host"), Some(&*host));
    // One checker, however many workers: no check comes sooner than the shortest pause allows.
    let began = Instant::now();
    for _ in 0..5 {
        sick.next().await;
    }
    assert!(began.elapsed() >= interval * 4, "{:?}", began.elapsed());
    for mood in [Mood::Answer(500), Mood::Stall, Mood::Close] {
        moods.set(mood);
        until("it is out", || !up(&gateway, 0)).await;
        let _ = (seen(&mut sick), seen(&mut well));
        let statuses = many(&gateway, GET, 30).await;
        assert_eq!(statuses, [200; 30], "{mood:?}\n{}", gateway.page());
        assert_eq!((seen(&mut sick), seen(&mut well)), (0, 30), "{mood:?}");
        moods.set(Mood::Answer(204));
        until("it is back", || up(&gateway, 0)).await;
        assert_eq!(many(&gateway, GET, 60).await.len(), 60);
        assert!(seen(&mut sick) > 5);
    }
    let failed = r#"backend_checks_failed_total{backend="backend",url="0"}"#;
    assert!(gateway.metric(failed) >= 9.0);
    // The last one stops them.
    drop(gateway);
    tokio::time::sleep(interval).await;
    while well.seen.try_recv().is_ok() {}
    tokio::time::sleep(3 * interval).await;
    assert!(well.seen.try_recv().is_err(), "it still asks");
}

#[tokio::test]
async fn proxy_06_a_held_put_goes_to_the_second_address_exactly_once() {
    let (mut broken, _) = Backend::moody(Mood::Close).await;
    let (mut good, _) = Backend::moody(Mood::Answer(200)).await;
    let gateway = gateway(&[&broken, &good], calm(), |_| ());
    assert_eq!(many(&gateway, PUT, 40).await, [200; 40]);
    let mut first = 0;
    while let Ok(seen) = broken.seen.try_recv() {
        assert_eq!(seen.body.unwrap(), HELD);
        first += 1;
    }
    assert!(first > 5, "{first}");
    for _ in 0..40 {
        let seen = good.next().await;
        assert!(seen.head.starts_with("PUT /held HTTP/1.1"));
        let own = format!("{}", good.address);
        assert_eq!(field(&seen.head, "host"), Some(&*own));
        assert_eq!(seen.body.unwrap(), HELD);
    }
    assert!(good.saw_nothing());
    let retries = r#"backend_retries_total{backend="backend",reason="broken"}"#;
    assert_eq!(gateway.metric(retries), f64::from(first));
}

#[tokio::test]
async fn proxy_06_what_is_not_idempotent_or_not_held_is_never_sent_twice() {
    let (mut broken, _) = Backend::moody(Mood::Close).await;
    let (mut good, _) = Backend::moody(Mood::Answer(200)).await;
    let gateway = gateway(&[&broken, &good], calm(), |_| ());
    let held = PUT.replace("PUT", "POST");
    let patch = POST.replace("POST", "PATCH");
    let passing = POST.replace("POST", "PUT");
    for request in [POST, &held, &patch, &passing] {
        let (mut failed, mut answered) = (0, 0);
        for _ in 0..30 {
            match once(&gateway, request).await.0 {
                200 => answered += 1,
                502 => failed += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!((seen(&mut broken), seen(&mut good)), (failed, answered));
        assert!(failed > 2 && answered > 2, "{failed} and {answered}");
    }
    let retries = r#"backend_retries_total{backend="backend",reason="broken"}"#;
    assert_eq!(gateway.metric(retries), 0.0);
}

#[tokio::test]
async fn proxy_06_a_pooled_connection_that_closes_costs_only_what_may_have_been_read() {
    let (mut backend, _) = Backend::moody(Mood::CloseSecond).await;
    let gateway = gateway(&[&backend], calm(), |_| ());
    // Every second request meets a connection that closes when it has been read.
    assert_eq!(many(&gateway, GET, 9).await, [200; 9]);
    assert!(seen(&mut backend) > 9);
    let statuses = many(&gateway, POST, 8).await;
    let failed = statuses.iter().filter(|&&s| s == 502).count();
    assert!(failed >= 3, "{statuses:?}");
    assert_eq!(seen(&mut backend), 8, "each once");

    // One that closed while it was idle costs nothing, whatever comes next.
    let closing = Backend::start(None, |mut raw, report| async move {
        support::backend::serve_one(&mut raw, &report).await;
    });
    let mut closing = closing.await;
    let gateway = self::gateway(&[&closing], calm(), |_| ());
    for _ in 0..10 {
        assert_eq!(once(&gateway, POST).await.0, 200);
        tokio::time::sleep(MOMENT).await;
    }
    assert_eq!(seen(&mut closing), 10);
}

#[tokio::test]
async fn proxy_06_requests_over_the_limit_wait_and_are_then_refused() {
    let (mut backend, moods) = Backend::moody(Mood::Stall).await;
    let wait_time = Duration::from_millis(600);
    let care = Care {
        max_requests: 2,
        max_waiting: 1,
        wait_time,
        ..calm()
    };
    let gateway = gateway(&[&backend], care, |config| {
        config.gateway.as_mut().unwrap().workers = 2;
    });
    let mut inside = [gateway.h1().await, gateway.h1().await];
    for client in &mut inside {
        client.send(GET).await;
    }
    backend.next().await;
    backend.next().await;
    // The third waits, in vain; the fourth is told at once.
    let mut third = gateway.h1().await;
    let began = Instant::now();
    third.send(GET).await;
    let waiting = r#"backend_waiting{backend="backend"}"#;
    until("one waits", || gateway.metric(waiting) == 1.0).await;
    let mut fourth = gateway.h1().await;
    fourth.send(GET).await;
    let (head, body) = fourth.answer().await;
    let at_once = began.elapsed();
    assert_eq!(status(&head), 503);
    assert_eq!(field(&head, "retry-after"), Some("2"));
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "backend-full");
    assert_eq!(status(&third.answer().await.0), 503);
    assert!(began.elapsed() >= wait_time && at_once < wait_time);
    assert!(backend.saw_nothing());
    // One that waits goes as soon as another has ended; one that leaves takes nothing along.
    third.send(GET).await;
    until("one waits again", || gateway.metric(waiting) == 1.0).await;
    drop(third);
    until("it has left", || gateway.metric(waiting) == 0.0).await;
    let mut fifth = gateway.h1().await;
    fifth.send(GET).await;
    until("one waits once more", || gateway.metric(waiting) == 1.0).await;
    moods.set(Mood::Answer(200));
    for client in inside.iter_mut().chain([&mut fifth]) {
        assert_eq!(status(&client.answer().await.0), 200);
    }
    assert_eq!(many(&gateway, GET, 20).await, [200; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_06_connections_are_capped_over_all_workers() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (now.clone(), most.clone());
    let backend = Backend::start(None, move |raw, report| {
        peak.fetch_max(counted.fetch_add(1, SeqCst) + 1, SeqCst);
        let counted = counted.clone();
        async move {
            support::backend::serve(raw, report, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            counted.fetch_sub(1, SeqCst);
        }
    });
    let backend = backend.await;
    let care = Care {
        max_connections: 3,
        wait_time: PATIENCE,
        ..calm()
    };
    let gateway = gateway(&[&backend], care, |config| {
        config.gateway.as_mut().unwrap().workers = 2;
    });
    let gateway = Arc::new(gateway);
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { many(&gateway, GET, 40).await })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), [200; 40]);
    }
    // The backend notices ends a moment after the gateway has given their places on.
    let most = most.load(SeqCst);
    assert!((1..=6).contains(&most), "{most} at once");
    let open = r#"backend_connections{backend="backend",url="0"}"#;
    assert!(gateway.metric(open) <= 3.0);
    until("idle ones are closed", || gateway.metric(open) == 0.0).await;
}

#[tokio::test]
async fn proxy_06_a_circuit_opens_is_probed_and_closes() {
    let (mut backend, moods) = Backend::moody(Mood::Close).await;
    let time = Duration::from_millis(500);
    let care = Care {
        circuit: Circuit {
            failures: 3,
            time,
            longest: time,
        },
        ..calm()
    };
    let gateway = gateway(&[&backend], care, |_| ());
    assert_eq!(many(&gateway, POST, 3).await, [502; 3]);
    let opened = Instant::now();
    let open = r#"backend_circuit_open{backend="backend"}"#;
    assert_eq!(gateway.metric(open), 1.0);
    seen(&mut backend);
    let mut client = gateway.h1().await;
    client.send(GET).await;
    let (head, body) = client.answer().await;
    if opened.elapsed() < time {
        assert_eq!(
            (status(&head), field(&head, "retry-after")),
            (503, Some("2"))
        );
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "circuit-open");
        assert!(backend.saw_nothing(), "left alone");
    }
    // A probe that waits lets nobody else through, and one that leaves makes way.
    moods.set(Mood::Stall);
    tokio::time::sleep(time + 2 * MOMENT).await;
    let mut probe = gateway.h1().await;
    probe.send(POST).await;
    backend.next().await;
    assert_eq!(many(&gateway, GET, 3).await, [503; 3]);
    drop(probe);
    until("it has left", || {
        gateway.metric(r#"backend_requests{backend="backend",url="0"}"#) == 0.0
    })
    .await;
    moods.set(Mood::Answer(500));
    // Any answer will do.
    assert_eq!(once(&gateway, GET).await.0, 500);
    assert_eq!(gateway.metric(open), 0.0);
    moods.set(Mood::Answer(200));
    assert_eq!(many(&gateway, GET, 5).await, [200; 5]);
    let opened = r#"backend_circuit_opened_total{backend="backend"}"#;
    assert_eq!(gateway.metric(opened), 1.0);
}

/// How a client spoils its own request while the backend is reading it.
#[derive(Clone, Copy, Debug)]
enum Spoiled {
    /// A chunk that is none.
    Chunk,
    /// RST in the middle of the body.
    Reset,
    /// A streamed record that the policy refuses.
    Refused,
}

async fn spoil(gateway: &Gateway, how: Spoiled) {
    let head = |path: &str, media: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\n\
            transfer-encoding: chunked\r\n\r\n"
        )
    };
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let tls = gateway.certificates.client(&[b"http/1.1"], false);
    let mut client = abrupt(gateway.address, tls).await;
    let there = r#"backend_requests{backend="backend",url="0"}"#;
    let other = r#"backend_requests{backend="backend",url="1"}"#;
    let begun = || gateway.metric(there) + gateway.metric(other) == 1.0;
    let (begin, end) = match how {
        Spoiled::Chunk => (head("/any", "a/b") + &chunk("hello"), "zz\r\n".to_owned()),
        Spoiled::Reset => (head("/any", "a/b") + &chunk("hello"), String::new()),
        Spoiled::Refused => (
            head("/held", "application/x-ndjson") + &chunk(&"{\"n\":1}\n".repeat(5000)),
            chunk("{\"who\":1}\n"),
        ),
    };
    client.send(begin).await;
    until("it is on its way", begun).await;
    tokio::time::sleep(2 * MOMENT).await;
    if !end.is_empty() {
        client.send(end).await;
        let head = client.head().await;
        assert!(head.is_none_or(|h| (400..500).contains(&status(&h))));
    }
    drop(client);
    until("it is over", || !begun()).await;
}

#[tokio::test]
async fn proxy_06_a_body_that_its_client_breaks_off_is_no_failure_of_the_backend() {
    let (one, _) = Backend::moody(Mood::Answer(200)).await;
    let (two, _) = Backend::moody(Mood::Answer(200)).await;
    let care = Care {
        ejection: Ejection {
            failures: 2,
            ..Care::default().ejection
        },
        circuit: Circuit {
            failures: 3,
            ..Care::default().circuit
        },
        ..Care::default()
    };
    let gateway = gateway(&[&one, &two], care, |config| {
        config.routes[1].stream = true;
        config.limits.hold = 8 * 1024;
    });
    for how in [Spoiled::Chunk, Spoiled::Reset, Spoiled::Refused] {
        for _ in 0..8 {
            spoil(&gateway, how).await;
        }
        let opened = r#"backend_circuit_opened_total{backend="backend"}"#;
        assert_eq!(gateway.metric(opened), 0.0, "{how:?}");
        for url in 0..2 {
            let out = format!(r#"backend_ejections_total{{backend="backend",url="{url}"}}"#);
            assert_eq!(gateway.metric(&out), 0.0, "{how:?}");
        }
        assert_eq!(once(&gateway, GET).await.0, 200, "{how:?}");
    }
}

/// A probe whose client takes its time does not keep everybody else out.
#[tokio::test]
async fn proxy_06_a_slow_upload_as_a_probe_keeps_nobody_out() {
    let (backend, moods) = Backend::moody(Mood::Close).await;
    let time = Duration::from_millis(300);
    let care = Care {
        circuit: Circuit {
            failures: 3,
            time,
            longest: 10 * time,
        },
        ..calm()
    };
    let gateway = gateway(&[&backend], care, |_| ());
    assert_eq!(many(&gateway, POST, 3).await, [502; 3]);
    moods.set(Mood::Answer(200));
    tokio::time::sleep(time + 2 * MOMENT).await;
    let mut probe = gateway.h1().await;
    let head = "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nslow";
    probe.send(head).await;
    until("it is the probe", || {
        gateway.metric(r#"backend_requests{backend="backend",url="0"}"#) == 1.0
    })
    .await;
    let began = Instant::now();
    while once(&gateway, GET).await.0 != 200 {
        assert!(began.elapsed() < 10 * time, "it keeps everybody out");
        tokio::time::sleep(MOMENT).await;
    }
    let open = r#"backend_circuit_open{backend="backend"}"#;
    assert_eq!(gateway.metric(open), 0.0);
}

#[tokio::test]
async fn proxy_06_retries_do_not_multiply_the_load() {
    let (mut backend, _) = Backend::moody(Mood::Close).await;
    let gateway = gateway(&[&backend], calm(), |_| ());
    let requests = 600;
    assert_eq!(many(&gateway, GET, requests).await, vec![502; requests]);
    let reserve = cryptonym::limits::RETRY_RESERVE as usize;
    let share = requests * cryptonym::limits::RETRY_SHARE as usize / 100;
    let sent = seen(&mut backend);
    assert!(sent > requests + reserve, "{sent}");
    assert!(sent <= requests + reserve + share, "{sent}");
    let refused = r#"backend_retries_refused_total{backend="backend"}"#;
    assert_eq!(gateway.metric(refused), (2 * requests - sent) as f64);
}

#[tokio::test]
async fn proxy_06_a_try_that_is_slow_is_followed_by_another_one_if_it_may() {
    let (mut slow, _) = Backend::moody(Mood::Stall).await;
    let (mut quick, _) = Backend::moody(Mood::Answer(200)).await;
    let attempt_time = Duration::from_millis(150);
    let care = Care {
        attempt_time: Some(attempt_time),
        ..calm()
    };
    let response_time = 6 * attempt_time;
    let gateway = gateway(&[&slow, &quick], care, |config| {
        config.limits.response_time = response_time;
    });
    while seen(&mut slow) == 0 {
        assert_eq!(once(&gateway, GET).await.0, 200);
    }
    assert_eq!(
        gateway.metric(r#"backend_retries_total{backend="backend",reason="slow"}"#),
        1.0
    );
    // What may not be sent again has all the time there is.
    loop {
        let began = Instant::now();
        let status = once(&gateway, POST).await.0;
        if seen(&mut slow) == 1 {
            assert_eq!(status, 504);
            assert!(began.elapsed() >= response_time);
            break;
        }
        assert_eq!(status, 200);
    }
    assert!(seen(&mut quick) > 0);
}

/// nginx as one process, that says `name` to everybody.
struct Nginx {
    process: Option<Process>,
    address: SocketAddr,
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Nginx {
    fn start(name: &'static str) -> Self {
        let mut nginx = Self {
            process: None,
            address: free_address().unwrap(),
            name,
            folder: tempfile::tempdir().unwrap(),
        };
        nginx.launch();
        nginx
    }

    fn launch(&mut self) {
        let folder = self.folder.path();
        let at = |name: &str| folder.join(name).display().to_string();
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", at("temporary")))
            .concat();
        let text = format!(
            "daemon off; master_process off; {user} pid {pid}; error_log {log};\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 50; {temporary}\n\
             server {{ listen {listen}; location / {{ return 200 {name}; }} }} }}\n",
            pid = at("nginx.pid"),
            log = at("nginx.log"),
            listen = self.address,
            name = self.name,
        );
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.args([
            "-p",
            &at(""),
            "-e",
            &at("nginx.log"),
            "-c",
            &at("nginx.conf"),
        ]);
        let mut process = Process::start(self.name, command, &folder.join("out")).unwrap();
        let address = self.address;
        process
            .wait_until(|| std::net::TcpStream::connect(address).is_ok(), PATIENCE)
            .unwrap_or_else(|failure| panic!("{failure}"));
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }
}

/// kill -9 of one of two nginx under load. GET and held PUT never fail; a POST fails only if it
/// was on its way to that one (it may have been acted on).
#[tokio::test(flavor = "multi_thread")]
async fn proxy_06_one_of_two_backends_is_killed_under_load() {
    let (mut one, two) = (Nginx::start("one"), Nginx::start("two"));
    let stand_in = Backend::answering("").await;
    let time = Duration::from_millis(300);
    let care = Care {
        ejection: Ejection {
            failures: 3,
            time,
            longest: 2 * time,
            share: 50,
        },
        ..Care::default()
    };
    let gateway = gateway(&[&stand_in], care, |config| {
        config.backends[0].urls = vec![url(one.address), url(two.address)];
        config.gateway.as_mut().unwrap().workers = 2;
    });
    let gateway = Arc::new(gateway);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for number in 0..24 {
        let (gateway, stop) = (gateway.clone(), stop.clone());
        let request = [GET, PUT, POST][number % 3];
        clients.push(tokio::spawn(async move {
            let (mut served, mut failed, mut names) = (0, Vec::new(), [0, 0]);
            let mut client = gateway.h1().await;
            while !stop.load(SeqCst) {
                client.send(request).await;
                let (head, body) = client.answer().await;
                match (status(&head), &body[..]) {
                    (200, b"one") => names[0] += 1,
                    (200, b"two") => names[1] += 1,
                    (status, _) => failed.push((status, Instant::now())),
                }
                if field(&head, "connection") == Some("close") {
                    client = gateway.h1().await;
                }
                served += 1;
            }
            (request, served, failed, names)
        }));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    one.kill();
    until("it is ejected", || !up(&gateway, 0)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.launch();
    until("it is back", || up(&gateway, 0)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, SeqCst);
    let (mut posts, mut all, mut by_name) = (0_usize, 0, [0, 0]);
    for client in clients {
        let (request, served, failed, names) = client.await.unwrap();
        all += served;
        (0..2).for_each(|n| by_name[n] += names[n]);
        if request == POST {
            posts += failed.len();
            // Those that were handed to its sockets before they closed, and no others.
            for (status, when) in failed {
                assert_eq!(status, 502);
                let after = when.saturating_duration_since(killed);
                assert!(when > killed && after < Duration::from_secs(1), "{after:?}");
            }
        } else {
            assert!(failed.is_empty(), "{request}: {failed:?}");
        }
    }
    assert!(
        all > 1000 && by_name[0] > 100 && by_name[1] > 100,
        "{by_name:?}"
    );
    assert!(posts < all / 20, "{posts} of {all}");
    println!("{all} requests, {posts} POST failed, {by_name:?}");
    drop(two);
}

/// The gateway as a process, in a mount namespace of its own with another `/etc/hosts`: what
/// [`hosts`] says, which says this first.
fn elsewhere(text: &str, backend: &str) -> Whole {
    let rest = format!(
        "[backend.there]\nregion = \"GB\"\n{backend}\n{}",
        route("/any")
    );
    Whole::start_as("", &rest, |file| {
        let hosts = file.with_file_name("hosts");
        std::fs::write(&hosts, text).unwrap();
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let plain = support::whole::gateway(file, &[]);
        command.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(&hosts).arg(plain.get_program());
        command.args(plain.get_args());
        command
    })
}

fn hosts(gateway: &Whole) -> std::path::PathBuf {
    gateway.folder().join("hosts")
}

async fn at(address: SocketAddr) -> Backend {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    Backend::start_at(address, None, move |raw, report| {
        support::backend::serve(raw, report, answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_06_a_name_is_looked_up_again_and_what_vanished_is_drained() {
    let mut first = at("127.0.0.2:0".parse().unwrap()).await;
    let port = first.address.port();
    let mut second = at(SocketAddr::from(([127, 0, 0, 3], port))).await;
    // From time to time.
    let backend = format!("urls = [\"http://moving.test:{port}\"]\ndns_time = \"1s\"");
    let gateway = elsewhere("127.0.0.2 moving.test\n", &backend);
    let mut client = gateway.client().await;
    let mut get = async || {
        client.send(GET).await;
        assert_eq!(status(&client.answer().await.0), 200);
    };
    get().await;
    assert_eq!((seen(&mut first), seen(&mut second)), (1, 0));
    std::fs::write(hosts(&gateway), "127.0.0.3 moving.test\n").unwrap();
    let began = Instant::now();
    // The pooled connection would last as long as it is used.
    while seen(&mut second) == 0 {
        assert!(began.elapsed() < PATIENCE, "it stays with the old address");
        get().await;
        tokio::time::sleep(5 * MOMENT).await;
    }
    seen(&mut first);
    for _ in 0..20 {
        get().await;
    }
    assert_eq!((seen(&mut first), seen(&mut second)), (0, 20));
    let (_, page) = cryptonym::local::processes::get(gateway.observe, "/metrics").unwrap();
    let open = "cryptonym_gateway_backend_connections{backend=\"there\",url=\"0\"} 1";
    assert!(page.contains(open), "{page}");
    drop(gateway);

    // When connecting fails: nothing listens at the first address.
    let backend = format!("urls = [\"http://moving.test:{port}\"]\ndns_time = \"1h\"");
    let gateway = elsewhere("127.0.0.4 moving.test\n", &backend);
    let mut client = gateway.client().await;
    client.send(GET).await;
    let (head, _) = client.answer().await;
    assert_eq!(status(&head), 502);
    // A backend that is away is no reason to take the gateway out of its balancer.
    let (ready, _) = cryptonym::local::processes::get(gateway.observe, "/readyz").unwrap();
    assert_eq!(ready, 200);
    std::fs::write(
        hosts(&gateway),
        "127.0.0.4 moving.test\n127.0.0.2 moving.test\n",
    )
    .unwrap();
    tokio::time::sleep(cryptonym::limits::DNS_AGAIN + 2 * MOMENT).await;
    client.send(GET).await;
    assert_eq!(status(&client.answer().await.0), 200);
    assert_eq!(gateway.process.stop().and_then(|s| s.code()), Some(0));
}

#[tokio::test]
async fn proxy_06_an_old_or_much_used_connection_ends_with_its_answers() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    for old in [false, true] {
        let gateway = gateway(&[&backend], calm(), |config| {
            let limits = &mut config.limits;
            limits.idle_time = PATIENCE;
            if old {
                limits.connection_time = Duration::from_millis(300);
            } else {
                limits.connection_requests = 5;
                limits.head_time = Duration::from_millis(400);
            }
        });
        let mut client = gateway.h1().await;
        let mut served = 0;
        let began = Instant::now();
        loop {
            client.send(GET).await;
            let Some(head) = client.head().await else {
                break;
            };
            client.body(&head).await.unwrap();
            served += 1;
            assert!(began.elapsed() < PATIENCE, "{served}");
            if field(&head, "connection") == Some("close") {
                break;
            }
            tokio::time::sleep(MOMENT).await;
        }
        assert!(served >= 5, "{served}");
        assert_eq!(client.rest().await.1, End::Clean);

        let mut sender = h2(&gateway).await;
        let began = Instant::now();
        while !sender.is_closed() {
            let request = Request::get("https://localhost/any");
            let request = request.body(Sent::open().1);
            let sent = sender.send_request(request.unwrap()).await;
            assert!(began.elapsed() < PATIENCE);
            if let Ok(answer) = sent {
                assert_eq!(answer.status(), 200);
            }
            tokio::time::sleep(MOMENT).await;
        }
    }
}

#[tokio::test]
async fn proxy_06_an_exchange_that_never_ends_is_ended() {
    // Both sides keep below every time-out of silence.
    let backend = Backend::start(None, |mut raw, _| async move {
        raw.head().await;
        raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        loop {
            if tokio::io::AsyncWriteExt::write_all(&mut raw.stream, b"1\r\nx\r\n")
                .await
                .is_err()
            {
                return;
            }
            tokio::time::sleep(MOMENT).await;
        }
    });
    let backend = backend.await;
    let longest = Duration::from_millis(500);
    let gateway = gateway(&[&backend], calm(), |config| {
        config.limits.exchange_time = longest;
    });
    let began = Instant::now();
    let mut client = gateway.h1().await;
    client.send(GET).await;
    let (_, end) = client.rest().await;
    assert_eq!(end, End::Reset);
    assert!(began.elapsed() >= longest);

    let began = Instant::now();
    let mut sender = h2(&gateway).await;
    let request = Request::get("https://localhost/any").body(Sent::open().1);
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    assert!(began.elapsed() >= longest && !sender.is_closed());
    let in_flight = r#"backend_requests{backend="backend",url="0"}"#;
    until("both have ended", || gateway.metric(in_flight) == 0.0).await;
}

/// Everything that a backend may say of itself.
const WHOLE: &str = r#"[backend.lake]
urls = ["http://127.0.0.1:8123", "http://127.0.0.1:8124"]
region = "GB"
health = { path = "/ping", interval = "2s", timeout = "500ms", healthy = 1, unhealthy = 4, status = [200, 204] }
ejection = { failures = 7, time = "3s", longest = "1m", share = 50 }
circuit = { failures = 9, time = "2s", longest = "20s" }
max_connections = 10
max_requests = 20
max_requests_per_client = 7
max_waiting = 30
wait_time = "4s"
retries = 2
attempt_time = "6s"
dns_time = "7s"
[limits]
exchange_time = "2h"
connection_time = "3h"
connection_requests = 4
[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "g.pem", key = "g.key" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[[route]]
name = "in"
path = "/v1"
backend = "lake"
opaque = true
"#;

fn parse(text: &str) -> Result<config::Loaded, Vec<config::Diagnostic>> {
    Config::parse(text, Path::new("/etc/cryptonym"), "c.toml")
}

#[test]
fn proxy_06_every_rule_of_a_backend_can_be_configured() {
    let loaded = parse(WHOLE).unwrap();
    let care = &loaded.config.backends[0].care;
    let seconds = Duration::from_secs;
    let health = care.health.as_ref().unwrap();
    assert_eq!(
        (&*health.path, health.interval, health.timeout),
        ("/ping", seconds(2), Duration::from_millis(500))
    );
    assert_eq!((health.healthy, health.unhealthy), (1, 4));
    assert_eq!(health.status, [200, 204]);
    let Ejection {
        failures,
        time,
        longest,
        share,
    } = care.ejection;
    assert_eq!(
        (failures, time, longest, share),
        (7, seconds(3), seconds(60), 50)
    );
    let Circuit {
        failures,
        time,
        longest,
    } = care.circuit;
    assert_eq!((failures, time, longest), (9, seconds(2), seconds(20)));
    assert_eq!((care.max_connections, care.max_requests), (10, 20));
    assert_eq!(care.max_requests_per_client, Some(7));
    assert_eq!((care.max_waiting, care.wait_time), (30, seconds(4)));
    assert_eq!((care.retries, care.attempt_time), (2, Some(seconds(6))));
    assert_eq!(care.dns_time, seconds(7));
    let limits = &loaded.config.limits;
    assert_eq!(limits.exchange_time, seconds(7200));
    assert_eq!(limits.connection_time, seconds(10_800));
    assert_eq!(limits.connection_requests, 4);
}

#[test]
fn proxy_06_faults_of_a_backend_are_told_with_their_place() {
    // What is written, what instead, where the fault stands, what is said.
    for (from, to, at, message) in [
        (
            "path = \"/ping\"",
            "path = \"ping\"",
            "\"ping\"",
            "no path to ask for",
        ),
        ("path = \"/ping\", ", "", "{ interval", "has no `path`"),
        (
            "\"500ms\"",
            "\"5s\"",
            "\"5s\"",
            "longer than the time between",
        ),
        ("[200, 204]", "[]", "[] }", "no answer would ever be good"),
        ("[200, 204]", "[20]", "20] }", "out of range"),
        ("[200, 204]", "[\"ok\"]", "\"ok\"", "this is a string"),
        (
            "healthy = 1,",
            "helthy = 1,",
            "helthy",
            "unknown key `helthy` in health",
        ),
        ("\"1m\"", "\"1s\"", "\"1s\"", "longer than the longest"),
        (
            "share = 50",
            "share = 20",
            "{ failures = 7",
            "ever be ejected",
        ),
        ("share = 50", "share = 0", "0 }\ncircuit", "out of range"),
        ("time = \"2s\"", "time = \"0s\"", "\"0s\"", "`time` is zero"),
        (
            "connections = 10",
            "connections = 0",
            "0\nmax_requests",
            "out of range",
        ),
        ("retries = 2", "retries = 9", "9\nattempt", "out of range"),
        ("retries = 2", "retries = 0", "\"6s\"", "only one try"),
        (
            "dns_time = \"7s\"",
            "dns_time = \"0ms\"",
            "\"0ms\"",
            "`dns_time` is zero",
        ),
        (
            "requests = 4",
            "requests = 0",
            "0\n[gateway]",
            "out of range",
        ),
    ] {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        let found = match parse(&text) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let before = &text[..text.find(at).unwrap()];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let good = |d: &config::Diagnostic| {
            d.message.contains(message) && (d.line, d.column) == (line, column)
        };
        assert!(found.iter().any(good), "{to} at {line}:{column}: {found:?}");
    }
    let many: Vec<String> = (0..65)
        .map(|n| format!("\"http://127.0.0.1:{}\"", 1000 + n))
        .collect();
    let text = WHOLE.replacen(
        "\"http://127.0.0.1:8123\", \"http://127.0.0.1:8124\"",
        &many.join(","),
        1,
    );
    let found = parse(&text).unwrap_err();
    assert!(found.iter().any(|d| d.message.contains("has 65 addresses")));
}
