//! A collector of traces: OTLP over HTTP, in JSON. It says what it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

pub struct Collector {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Answers the first messages with these statuses, all others with 200.
    pub async fn start(first: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = messages.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.method(), "POST");
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/json");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let mut kept = kept.lock().unwrap();
                        let status = first.get(kept.len()).copied().unwrap_or(200);
                        kept.push(String::from_utf8(body.to_vec()).unwrap());
                        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
        });
        Self { address, messages }
    }

    /// Every message, as it came.
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// All spans of all messages.
    pub fn spans(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for message in self.messages() {
            let read: Value = serde_json::from_str(&message).expect(&message);
            for resource in read["resourceSpans"].as_array().unwrap() {
                let attributes = &resource["resource"]["attributes"];
                assert_eq!(attributes[0]["key"], "service.name");
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    all.extend(scope["spans"].as_array().unwrap().iter().cloned());
                }
            }
        }
        all
    }

    /// Waits until so many spans of this name are here.
    pub async fn wait(&self, name: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut spans = self.spans();
            spans.retain(|span| span["name"] == name);
            if spans.len() >= count {
                return spans;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {count} {name}",
                spans.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
