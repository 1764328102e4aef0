//! `/metrics`, `/healthz` and `/readyz`, in plain HTTP on an address of their own.
//!
//! What enters: a registry and the question whether the process is ready. What leaves: three
//! small pages. What can never happen: this port reaches a message or a key; it should still be
//! a loopback or management address, for counts tell something too.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::limits;

/// Serves in the background until the runtime ends; returns the address, once it listens.
/// `ready` says why not, in words without secrets.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let pages = Arc::new(Pages { registry, ready });
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let pages = pages.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = pages.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits::HEAD_TIME)
                    .max_buf_size(limits::HEAD)
                    .serve_connection(TokioIo::new(stream), service);
                let _ = tokio::time::timeout(limits::IDLE_TIME, connection).await;
            });
        }
    });
    Ok(bound)
}

struct Pages<F> {
    registry: Registry,
    ready: F,
}

impl<F: Fn() -> Result<(), String>> Pages<F> {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return page(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "GET only\n".to_owned(),
            );
        }
        match request.uri().path() {
            // Alive means: it answers.
            "/healthz" => page(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => match (self.ready)() {
                Ok(()) => page(StatusCode::OK, TEXT, "ready\n".to_owned()),
                Err(why) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
            },
            "/metrics" => {
                let mut text = String::new();
                match encode(&mut text, &self.registry) {
                    Ok(()) => page(StatusCode::OK, METRICS, text),
                    Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new()),
                }
            }
            _ => {
                let pages = "/healthz /readyz /metrics\n".to_owned();
                page(StatusCode::NOT_FOUND, TEXT, pages)
            }
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn page(status: StatusCode, media: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn path_12_health_readiness_and_metrics() {
        let counter = Counter::<u64>::default();
        counter.inc();
        let mut registry = Registry::default();
        registry.register("things", "Things", counter);
        let ready = Arc::new(AtomicBool::new(false));
        let asked = ready.clone();
        let is_ready = move || {
            asked
                .load(Relaxed)
                .then_some(())
                .ok_or("no lease".to_owned())
        };
        let address = serve("127.0.0.1:0".parse().unwrap(), registry, is_ready);
        let address = address.await.unwrap();
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let not_yet = get(address, "/readyz").await;
        assert!(not_yet.starts_with("HTTP/1.1 503") && not_yet.ends_with("no lease\n"));
        ready.store(true, Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("things_total 1"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
    }
}
