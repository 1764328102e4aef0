//! One HTTP exchange through the built executable: a gateway and its vault as processes on
//! loopback, TLS, one kept connection, one record of about 610 bytes whose identifiers are known.
//!
//! The yardsticks of the same run: `opaque`, a route of the same gateway that passes the body
//! unseen, and `backend`, the same request straight to the backend without TLS. What rewriting
//! costs is `rewrite` less `opaque`; what the gateway costs is `opaque` less `backend`.
//!
//! `one` is the time of one exchange after the other; `32 at once` are streams of one HTTP/2
//! connection.
//!
//! `cargo bench --bench exchange`

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::tls::client::client_config;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

#[path = "../tests/support/installation.rs"]
mod installation;
#[allow(dead_code)] // `scan` uses all of it.
#[path = "support/records.rs"]
mod records;

use installation::{CA, HOST, Installation};

const AT_ONCE: u64 = 32;

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("the backend");
        tcp.set_nodelay(true).expect("a socket");
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.expect("HTTP");
        tokio::spawn(connection);
        Self::H1(sender)
    }

    async fn tls(installation: &Installation, h2: bool) -> Self {
        let alpn: &[u8] = if h2 { b"h2" } else { b"http/1.1" };
        let ca = installation.cert(CA);
        let tls = client_config(Some(&ca), None, false, &[alpn]).expect("the authority");
        let tcp = TcpStream::connect(installation.gateway_address).await;
        let tcp = tcp.expect("the gateway");
        tcp.set_nodelay(true).expect("a socket");
        let name = HOST.try_into().expect("a name");
        let tls = tokio_rustls::TlsConnector::from(tls).connect(name, tcp);
        let io = TokioIo::new(tls.await.expect("TLS"));
        if h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            Self::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("HTTP");
            tokio::spawn(connection);
            Self::H1(sender)
        }
    }

    /// Sends the record and reads the whole answer.
    async fn exchange(&mut self, path: &str, record: Bytes) {
        let request = Request::post(match self {
            Self::H1(_) => path.to_owned(),
            Self::H2(_) => format!("https://{HOST}{path}"),
        })
        .header("content-type", "application/json");
        let request = match self {
            Self::H1(_) => request.header("host", HOST),
            Self::H2(_) => request,
        };
        let request = request.body(Full::new(record)).expect("a request");
        let answer = match self {
            Self::H1(sender) => {
                sender.ready().await.expect("a kept connection");
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await.expect("a kept connection");
                sender.send_request(request).await
            }
        };
        let answer = answer.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole answer");
        assert_eq!(status, 200, "{:?}", body.to_bytes());
    }
}

/// Reads every body and says `ok`. Plain HTTP/1.1, connections kept.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.set_nodelay(true);
            let answer = |request: Request<Incoming>| async move {
                let _ = request.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            };
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(tcp), service_fn(answer)));
        }
    });
    address
}

fn configuration(backend: SocketAddr) -> String {
    format!(
        r#"
[backend.origin]
urls = ["http://{backend}"]
region = "GB"

[policy.records]
unlisted = "keep"
rules = [
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber" }},
  {{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" }},
  {{ at = "$.ethnicity", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", accept = "frequency" }},
]

[[route]]
name = "rewrite"
path = "/rewrite"
methods = ["POST"]
backend = "origin"
domain = "improvement"
request = "records"
response = "pass"
format = "json"

[[route]]
name = "opaque"
path = "/opaque"
methods = ["POST"]
backend = "origin"
opaque = true
response = "pass"
"#
    )
}

/// A record whose NHS number is valid: they are made up without their check digit.
fn record() -> Bytes {
    let record = records::records(600).remove(0);
    let mut all: serde_json::Value = serde_json::from_str(&record).expect("a record");
    all["nhs_number"] = "9990000018".into();
    Bytes::from(all.to_string())
}

fn exchange(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let origin = runtime.block_on(backend());
    let mut installation = Installation::start(&configuration(origin));
    let record = record();
    let mut group = c.benchmark_group("exchange");
    group.throughput(Throughput::Elements(1));
    let mut straight = runtime.block_on(Sender::plain(origin));
    group.bench_function("one, backend", |b| {
        b.iter(|| runtime.block_on(straight.exchange("/", record.clone())));
    });
    for (protocol, h2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        let mut sender = runtime.block_on(Sender::tls(&installation, h2));
        for path in ["/opaque", "/rewrite"] {
            // The first one makes the identifiers known.
            runtime.block_on(sender.exchange(path, record.clone()));
            group.bench_function(format!("one, {protocol}, {}", &path[1..]), |b| {
                b.iter(|| runtime.block_on(sender.exchange(path, record.clone())));
            });
        }
    }
    group.throughput(Throughput::Elements(AT_ONCE));
    let sender = runtime.block_on(Sender::tls(&installation, true));
    for path in ["/opaque", "/rewrite"] {
        group.bench_function(format!("{AT_ONCE} at once, HTTP/2, {}", &path[1..]), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut set = tokio::task::JoinSet::new();
                    for _ in 0..AT_ONCE {
                        let Sender::H2(sender) = &sender else {
                            unreachable!("it was made so")
                        };
                        let (mut one, record) = (Sender::H2(sender.clone()), record.clone());
                        set.spawn(async move { one.exchange(path, record).await });
                    }
                    set.join_all().await;
                });
            });
        });
    }
    group.finish();
    drop(straight);
    installation.stop();
}

/// An exchange is a few hundred microseconds, and its spread is the machine's.
fn settings() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = exchange
}
criterion_main!(benches);
