//! Active health checks: one task an address, for the whole gateway.
//!
//! What enters: what the configuration asks for. What leaves: whether an address is healthy. What
//! can never happen: a check shares a connection with requests, or waits longer than its time.
//!
//! ```text
//!             `unhealthy` bad checks in a row
//!  healthy ───────────────────────────────────▶ unhealthy
//!     ▲                                             │
//!     └───────── `healthy` good ones in a row ──────┘
//! ```
//!
//! An address is healthy until its first check, which decides alone: a gateway that has just
//! started neither refuses everything nor needs three checks to see what is down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::backend::Backend;
use super::connect::{Endpoint, Stream, dial};
use crate::config::Health;
use crate::limits;

/// Checks one address until it is dropped.
pub async fn watch(backend: Arc<Backend>, target: usize, rules: Health) {
    let mut row = Row::default();
    loop {
        let endpoint = &backend.targets[target].endpoint;
        let deadline = Instant::now() + rules.timeout;
        let asked = tokio::time::timeout_at(deadline, ask(endpoint, &rules.path, deadline));
        let good = match asked.await {
            Ok(Ok(status)) => rules.status.contains(&status.as_u16()),
            _ => false,
        };
        if !good {
            backend.counters.targets[target].checks_failed.inc();
        }
        if let Some(healthy) = row.add(good, &rules) {
            backend.is_healthy(target, healthy);
        }
        tokio::time::sleep(jittered(rules.interval)).await;
    }
}

/// A time that is up to [`limits::JITTER_PERCENT`] longer or shorter.
pub fn jittered(time: Duration) -> Duration {
    let spread = limits::JITTER_PERCENT;
    // Without randomness, in step with others.
    let random = getrandom::u32().unwrap_or(spread) % (2 * spread + 1);
    time * (100 - spread + random) / 100
}

/// Results in a row.
#[derive(Default)]
struct Row {
    good: u32,
    bad: u32,
    decided: bool,
}

impl Row {
    /// What is known after this result; `None`: still what was.
    fn add(&mut self, good: bool, rules: &Health) -> Option<bool> {
        (self.good, self.bad) = if good {
            (self.good.saturating_add(1), 0)
        } else {
            (0, self.bad.saturating_add(1))
        };
        let first = !std::mem::replace(&mut self.decided, true);
        let enough = first || self.good >= rules.healthy || self.bad >= rules.unhealthy;
        enough.then_some(good)
    }
}

async fn ask(endpoint: &Endpoint, path: &str, deadline: Instant) -> io::Result<StatusCode> {
    match dial(endpoint, deadline).await?.0 {
        Stream::Plain(tcp) => get(tcp, endpoint, path).await,
        Stream::Tls(tls) => get(*tls, endpoint, path).await,
    }
}

/// The status of one GET, on a connection that is closed afterwards.
async fn get<S>(stream: S, endpoint: &Endpoint, path: &str) -> io::Result<StatusCode>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if endpoint.http2 {
        return get_http2(stream, endpoint, path).await;
    }
    let (mut sender, connection) = Builder::new()
        .max_buf_size(limits::HEALTH_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, endpoint.host_header.clone());
    let agent = HeaderValue::from_static("cryptonym-health");
    headers.insert(header::USER_AGENT, agent);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    status(sender.send_request(request), connection).await
}

/// The same in HTTP/2.
async fn get_http2<S>(stream: S, endpoint: &Endpoint, path: &str) -> io::Result<StatusCode>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(limits::HEALTH_HEAD as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let uri = Uri::builder()
        .scheme(endpoint.scheme())
        .authority(endpoint.host_header.as_bytes())
        .path_and_query(path);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri.build().map_err(io::Error::other)?;
    let agent = HeaderValue::from_static("cryptonym-health");
    request.headers_mut().insert(header::USER_AGENT, agent);
    status(sender.send_request(request), connection).await
}

/// The connection is dropped with this, at the latest when the time is over. It may end in the
/// moment in which it brings the answer.
async fn status(
    answer: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future,
) -> io::Result<StatusCode> {
    let mut answer = std::pin::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        _ = connection => answer.await,
    };
    answer.map(|a| a.status()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_result_decides_and_then_rows_do() {
        let rules = Health {
            healthy: 2,
            unhealthy: 3,
            ..Health::default()
        };
        let mut row = Row::default();
        assert_eq!(row.add(false, &rules), Some(false));
        assert_eq!(row.add(true, &rules), None);
        assert_eq!(row.add(false, &rules), None);
        assert_eq!(row.add(true, &rules), None);
        assert_eq!(row.add(true, &rules), Some(true));
        assert_eq!(row.add(false, &rules), None);
        assert_eq!(row.add(false, &rules), None);
        assert_eq!(row.add(false, &rules), Some(false));
    }

    #[test]
    fn pauses_differ_a_little() {
        let second = Duration::from_secs(1);
        let all: Vec<_> = (0..200).map(|_| jittered(second)).collect();
        let near = |t: &Duration| (0.9..=1.1).contains(&t.as_secs_f64());
        assert!(all.iter().all(near));
        assert!(all.iter().min() < all.iter().max());
    }
}
