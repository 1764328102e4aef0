//! `/metrics`, `/healthz` and `/readyz` on an address of their own, and beside them, on the admin
//! address, what [`super::admin`] does. The same for gateway and vault.
//!
//! What enters: a listening socket, what is behind the pages, and who may come in. What leaves:
//! small pages. What can never happen: this port reaches a message or a key; a silent connection
//! stays open, or silent ones keep everybody else out ([`super::visits`]). It should still be a
//! loopback or management address, for counts tell something too.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admin::Admin;
use super::visits::{Visit, Visits};
use crate::limits;

/// An answer that is being made.
type Making<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is behind the pages of one process.
pub struct Pages {
    registry: Registry,
    ready: Box<dyn Fn() -> Making<Result<String, String>> + Send + Sync>,
}

impl Pages {
    /// `ready` says why not, or what else is worth a line, in words without secrets.
    pub fn new<F>(registry: Registry, ready: impl Fn() -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        Arc::new(Self {
            registry,
            ready: Box::new(move || Box::pin(ready())),
        })
    }
}

/// Who is let in, and to what.
#[derive(Clone)]
pub enum Door {
    /// Everybody, to pages that change nothing.
    Pages,
    /// Everybody who reaches a loopback address, to everything.
    Local(Arc<Admin>),
    /// Whoever shows a certificate that `knows` says yes to, to everything.
    Mutual {
        /// As its files say now.
        tls: Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
        /// Of the peer's certificate (DER), which the acceptor has verified.
        knows: fn(&[u8]) -> bool,
        admin: Arc<Admin>,
    },
}

/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>, door: Door, stop: CancellationToken) {
    let visits = Visits::new(limits::OBSERVE_CONNECTIONS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Every place is in use, by requests: the connection is closed.
        let Some(visit) = visits.enter().await else {
            continue;
        };
        let (pages, door, stop) = (pages.clone(), door.clone(), stop.clone());
        tokio::spawn(async move {
            let visit = Arc::new(visit);
            let enter = enter(stream, pages, door, visit.clone());
            tokio::select! {
                _ = timeout(limits::IDLE_TIME, enter) => {}
                () = visit.asked_to_leave() => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn enter(stream: TcpStream, pages: Arc<Pages>, door: Door, visit: Arc<Visit>) {
    let _ = stream.set_nodelay(true);
    match door {
        Door::Pages => speak(TokioIo::new(stream), pages, None, visit).await,
        Door::Local(admin) => {
            let admin = Some((admin, true));
            speak(TokioIo::new(stream), pages, admin, visit).await;
        }
        Door::Mutual { tls, knows, admin } => {
            let shaken = TlsAcceptor::from(tls()).accept(stream);
            let shaken = timeout(limits::OBSERVE_HANDSHAKE_TIME, shaken).await;
            let Ok(Ok(stream)) = shaken else { return };
            let chain = stream.get_ref().1.peer_certificates();
            let known = chain
                .and_then(|chain| chain.first())
                .is_some_and(|certificate| knows(certificate));
            if known {
                let admin = Some((admin, false));
                speak(TokioIo::new(stream), pages, admin, visit).await;
            } else {
                tracing::warn!("a certificate that may not lead this gateway was shown");
            }
        }
    }
}

/// `admin`: what may be led, and whether anybody on this machine may.
async fn speak<S>(
    stream: S,
    pages: Arc<Pages>,
    admin: Option<(Arc<Admin>, bool)>,
    visit: Arc<Visit>,
) where
    S: Read + Write + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (pages, admin) = (pages.clone(), admin.clone());
        let asks = visit.asks();
        async move {
            let _asks = asks;
            let admin = admin.as_ref();
            let done = match admin {
                Some((admin, local)) if admin.has(request.uri().path()) => {
                    admin.answer(request, *local).await
                }
                _ => pages.answer(&request, admin.is_some()).await,
            };
            Ok::<_, Infallible>(done)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::OBSERVE_IDLE_TIME)
        .max_buf_size(limits::HEAD)
        .serve_connection(stream, service);
    let _ = connection.await;
}

impl Pages {
    async fn answer<B>(&self, request: &Request<B>, admin: bool) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = "GET only\n".to_owned();
            return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        }
        match request.uri().path() {
            // Alive means: it answers.
            "/healthz" => page(StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => match (self.ready)().await {
                Ok(more) => page(StatusCode::OK, TEXT, format!("ready\n{more}")),
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
                let more = if admin {
                    " /status /reload /drain /log-level"
                } else {
                    ""
                };
                let pages = format!("/healthz /readyz /metrics{more}\n");
                page(StatusCode::NOT_FOUND, TEXT, pages)
            }
        }
    }
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn page(status: StatusCode, media: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
            let ready = asked.load(Relaxed);
            async move { ready.then(String::new).ok_or("no lease".to_owned()) }
        };
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let pages = Pages::new(registry, is_ready);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, pages, Door::Pages, stop.clone()));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let not_yet = get(address, "/readyz").await;
        assert!(not_yet.starts_with("HTTP/1.1 503") && not_yet.ends_with("no lease\n"));
        ready.store(true, Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("things_total 1"));
        for path in ["/other", "/status", "/drain", "/log-level"] {
            assert!(
                get(address, path).await.starts_with("HTTP/1.1 404"),
                "{path}"
            );
        }
        stop.cancel();
        serving.await.unwrap();
    }

    /// Silent connections neither stay nor keep anybody out.
    #[tokio::test]
    async fn proxy_11_silent_visitors_blind_nobody() {
        let pages = Pages::new(Registry::default(), || async { Ok(String::new()) });
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, pages, Door::Pages, stop.clone()));
        let mut silent = Vec::new();
        for begun in ["", "GET /he", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
            for _ in 0..limits::OBSERVE_CONNECTIONS {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(begun.as_bytes()).await.unwrap();
                silent.push(stream);
            }
            let asked = tokio::time::Instant::now();
            let page = timeout(Duration::from_secs(5), get(address, "/healthz"));
            assert!(page.await.unwrap().starts_with("HTTP/1.1 200"));
            assert!(asked.elapsed() < Duration::from_secs(1), "{begun}");
        }
        for mut stream in silent {
            let mut rest = Vec::new();
            let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
            assert!(end.await.is_ok(), "it stays open");
        }
        stop.cancel();
    }
}
