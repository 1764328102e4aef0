//! HTTP/2 to backends, and gRPC on it: a real server and a real client of the reference
//! implementation, and backends that refuse, go away or stop.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cryptonym::config::{self, Config, Limits};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::backend::Backend;
use support::certificates::Certificates;
use support::gateway::{Gateway, config, opaque, rewriting};
use support::h2::{Sent, h2};
use support::raw::{field, status};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(15);

/// A gateway in front of one address that speaks HTTP/2.
async fn gateway(certificates: &Arc<Certificates>, port: u16, https: bool) -> Gateway {
    let nobody = Backend::answering("").await;
    let mut calls = config::Route {
        captures: vec!["method".to_owned()],
        request_headers: vec!["x-asked".to_owned()],
        response_headers: vec!["x-listed".to_owned()],
        ..opaque("calls", "/test.Echo/{method}")
    };
    calls.stream = true;
    let routes = vec![
        calls,
        opaque("any", "/any"),
        config::Route {
            stream: true,
            ..rewriting("policy", "/policy")
        },
    ];
    let mut config: Config = config(certificates, &nobody, routes, Limits::default());
    let backend = &mut config.backends[0];
    backend.http2 = true;
    backend.urls[0].port = port;
    backend.urls[0].https = https;
    backend.ca = https.then(|| certificates.ca().to_owned());
    Gateway::start_as(certificates, &config)
}

struct Python {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Python {
    fn start(arguments: &[&str]) -> Self {
        let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
        });
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/support/grpc_peer.py"
            ))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`tests/run` installs what is needed");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn proxy_05_grpc_passes_on_an_opaque_route() {
    let certificates = Arc::new(Certificates::new());
    let made = certificates.made.gateway.clone();
    for https in [false, true] {
        let files = [&made.certificate, &made.key].map(|f| f.display().to_string());
        let mut serve = vec!["serve"];
        if https {
            serve.extend(files.iter().map(String::as_str));
        }
        let mut server = Python::start(&serve);
        let line = server.line();
        let port = line.strip_prefix("port ").expect("a port").parse().unwrap();
        let gateway = gateway(&certificates, port, https).await;
        let (at, ca) = (gateway.address.port().to_string(), certificates.ca());
        let mut client = Python::start(&["call", &at, ca.to_str().unwrap()]);
        let said = client.line();
        let result: Value = serde_json::from_str(&said).unwrap();
        let expect = json!({
            "unary": "hello",
            "code": "OK",
            // The other one is listed nowhere.
            "trailers": ["x-listed"],
            "large": true,
            "asked": { "x-asked": "1" },
            "fault": ["NOT_FOUND", "no such thing"],
            "unknown": "UNIMPLEMENTED",
            "many": ["0", "1", "2", "3", "4"],
            "both": ["<q0>", "<q1>", "<q2>", "<q3>"],
            "deadline": "DEADLINE_EXCEEDED",
            "cancelled": true,
            "after": "still",
        });
        assert_eq!(result, expect);
        // Both calls that the client gave up have ended at the server.
        assert_eq!([server.line(), server.line()], ["cancelled", "cancelled"]);
        drop(client);
        all_closed(&gateway).await;
    }
}

/// Connections of both sides are over; those to backends once they have been idle for long.
async fn all_closed(gateway: &Gateway) {
    let began = Instant::now();
    let names = ["client", "backend"].map(|s| format!("connections_open{{side={s:?}}}"));
    while names.iter().any(|name| gateway.metric(name) != 0.0) {
        assert!(began.elapsed() < SOON, "{}", gateway.page());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A backend in HTTP/2 that does with each request what the test says.
struct Two {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

impl Two {
    async fn start<F, T>(streams: u32, answer: F) -> Self
    where
        F: Fn(usize, Asked) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = bool> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, requests) = (connections.clone(), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                let (answer, requests) = (answer.clone(), requests.clone());
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    builder.max_concurrent_streams(streams);
                    let Ok(mut connection) = builder.handshake(tcp).await else {
                        return;
                    };
                    let (leave, mut left) = mpsc::unbounded_channel::<()>();
                    loop {
                        tokio::select! {
                            asked = connection.accept() => {
                                let Some(Ok(asked)) = asked else { return };
                                let number = requests.fetch_add(1, SeqCst);
                                let (answered, leave) = (answer(number, asked), leave.clone());
                                tokio::spawn(async move {
                                    if !answered.await {
                                        let _ = leave.send(());
                                    }
                                });
                            }
                            Some(()) = left.recv() => connection.graceful_shutdown(),
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    async fn gateway(&self) -> Gateway {
        let certificates = Arc::new(Certificates::new());
        gateway(&certificates, self.address.port(), false).await
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Reads the request, and answers with its body.
async fn echo((request, mut respond): Asked) -> Request<()> {
    let (parts, mut body) = request.into_parts();
    let mut all = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    let answer = Response::builder().header("content-type", "text/plain");
    let mut send = respond
        .send_response(answer.body(()).unwrap(), false)
        .unwrap();
    send.send_data(all.into(), true).unwrap();
    Request::from_parts(parts, ())
}

fn post(path: &str, body: &'static str) -> Request<Sent> {
    Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Sent::whole(body))
        .unwrap()
}

#[tokio::test]
async fn proxy_05_http_2_connections_to_a_backend_are_shared() {
    let together = Arc::new(tokio::sync::Barrier::new(30));
    let two = Two::start(100, move |_, asked| {
        let together = together.clone();
        async move {
            assert_eq!(asked.0.uri().scheme_str(), Some("http"));
            assert_eq!(asked.0.uri().path(), "/policy");
            let authority = asked.0.uri().authority().unwrap().as_str();
            assert!(authority.starts_with("localhost:"), "{authority}");
            assert!(!asked.0.headers().contains_key("host"));
            // All at once, or none.
            together.wait().await;
            echo(asked).await;
            true
        }
    })
    .await;
    let gateway = two.gateway().await;
    let client = h2(&gateway).await;
    let calls = (0..30).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let sent = client.send_request(post("/policy", r#"{"name":"SUB-1"}"#));
            let answer = sent.await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.unwrap().to_bytes()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), r#"{"name":"X"}"#);
    }
    assert_eq!(two.connections(), 1);
    drop(client);
    all_closed(&gateway).await;
}

#[tokio::test]
async fn proxy_05_a_backend_s_limit_of_streams_is_kept() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let two = Two::start(3, move |_, asked| {
        let (now, most) = (now.clone(), seen.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            now.fetch_sub(1, SeqCst);
            echo(asked).await;
            true
        }
    })
    .await;
    let gateway = two.gateway().await;
    let client = h2(&gateway).await;
    for _ in 0..2 {
        let calls = (0..12).map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.send_request(post("/any", "x")).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
    }
    // Once it is known, more connections are made than one.
    assert!(
        (2..=9).contains(&two.connections()),
        "{}",
        two.connections()
    );
}

#[tokio::test]
async fn proxy_05_what_a_backend_refused_or_never_took_is_sent_again() {
    // The first of each three is refused, the second is answered with GOAWAY behind it.
    let two = Two::start(100, |number, mut asked| async move {
        match number % 3 {
            0 => {
                asked.1.send_reset(Reason::REFUSED_STREAM);
                true
            }
            1 => {
                echo(asked).await;
                false
            }
            _ => {
                echo(asked).await;
                true
            }
        }
    })
    .await;
    let gateway = two.gateway().await;
    let mut client = h2(&gateway).await;
    for round in 0..3 {
        // Not idempotent, but refused.
        for body in [r#"{"n":1}"#, r#"{"n":2}"#] {
            let answer = client.send_request(post("/policy", body)).await.unwrap();
            assert_eq!(answer.status(), 200, "{round}");
            let back = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(back, body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let retried = r#"backend_retries_total{backend="backend",reason="unsent"}"#;
    assert_eq!(gateway.metric(retried), 3.0);
    // What passes unseen is not here any more.
    let answer = client.send_request(post("/any", "x")).await.unwrap();
    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn proxy_05_a_stream_that_breaks_off_leaves_its_neighbours() {
    let (report, mut ended) = mpsc::unbounded_channel();
    let two = Two::start(100, move |_, (request, mut respond)| {
        let report = report.clone();
        async move {
            if request.uri().path() == "/any" {
                // Answers at once, and goes on answering as long as it may.
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                let mut body = request.into_body();
                loop {
                    tokio::select! {
                        reset = std::future::poll_fn(|cx| send.poll_reset(cx)) => {
                            let _ = report.send(format!("{:?}", reset.unwrap()));
                            return true;
                        }
                        data = body.data() => match data {
                            Some(Ok(data)) => send.send_data(data, false).unwrap(),
                            other => {
                                let _ = report.send(format!("{other:?}"));
                                if other.is_none() {
                                    send.send_data(Bytes::new(), true).unwrap();
                                }
                                return true;
                            }
                        }
                    }
                }
            }
            let mut body = request.into_body();
            let broken = loop {
                match body.data().await {
                    Some(Ok(data)) => drop(body.flow_control().release_capacity(data.len())),
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            let _ = report.send(format!("policy {broken:?}"));
            true
        }
    })
    .await;
    let gateway = two.gateway().await;
    let mut client = h2(&gateway).await;
    // One that goes on throughout.
    let (say, sent) = Sent::open();
    let request = Request::post("https://localhost/any").body(sent).unwrap();
    say.send("a".into()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    let mut steady = answer.into_body();
    let mut frame = async || {
        let frame = tokio::time::timeout(SOON, steady.frame()).await.unwrap();
        frame.unwrap().unwrap().into_data().unwrap()
    };
    assert_eq!(frame().await, "a");
    // A rewrite that fails midway resets its stream alone.
    let (line, lines) = Sent::open();
    let request = Request::post("https://localhost/policy")
        .header("content-type", "application/x-ndjson")
        .body(lines)
        .unwrap();
    for _ in 0..40 {
        line.send("{\"n\":1234567}\n".repeat(1000).into()).unwrap();
    }
    line.send("{\"bad\":1}\n".into()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 422);
    let told = tokio::time::timeout(SOON, ended.recv()).await.unwrap();
    assert_eq!(told.unwrap(), "policy Some(INTERNAL_ERROR)");
    say.send("b".into()).unwrap();
    assert_eq!(frame().await, "b");
    // A client that takes its call back is seen to.
    let (other_say, sent) = Sent::open();
    other_say.send("x".into()).unwrap();
    let request = Request::post("https://localhost/any").body(sent).unwrap();
    let answer = client.send_request(request).await.unwrap();
    drop((answer, other_say));
    let told = tokio::time::timeout(SOON, ended.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(told != "None", "{told}");
    say.send("c".into()).unwrap();
    assert_eq!(frame().await, "c");
    drop(say);
    let told = tokio::time::timeout(SOON, ended.recv()).await.unwrap();
    assert_eq!(told.unwrap(), "None");
    assert_eq!(two.connections(), 1);
    drop(steady);
    drop(client);
    all_closed(&gateway).await;
}

#[tokio::test]
async fn proxy_05_a_client_of_http_1_is_served_by_http_2() {
    let (report, mut seen) = mpsc::unbounded_channel();
    let two = Two::start(100, move |_, asked| {
        let report = report.clone();
        async move {
            let request = echo(asked).await;
            let _ = report.send(request.headers().clone());
            true
        }
    })
    .await;
    let gateway = two.gateway().await;
    let mut client = gateway.h1().await;
    for _ in 0..2 {
        client
            .send("POST /any HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await;
        let (head, body) = client.answer().await;
        assert_eq!((status(&head), &body[..]), (200, &b"abc"[..]));
        assert_eq!(field(&head, "content-type"), Some("text/plain"));
        let headers = seen.recv().await.unwrap();
        assert!(!headers.contains_key("transfer-encoding"));
        assert!(!headers.contains_key("connection"));
    }
    assert_eq!(two.connections(), 1);
}

#[tokio::test]
async fn proxy_05_a_backend_that_does_not_agree_on_http_2_is_not_used() {
    let certificates = Arc::new(Certificates::new());
    // TLS that offers HTTP/1.1 only.
    let backend = Backend::start(Some(certificates.backend()), |_, _| async {}).await;
    let gateway = gateway(&certificates, backend.address.port(), true).await;
    let mut client = h2(&gateway).await;
    let answer = client.send_request(post("/any", "x")).await.unwrap();
    assert_eq!(answer.status(), 502);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "backend-unreachable");
}
