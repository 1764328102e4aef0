//! From the queue to the collector: OTLP over HTTP/1.1, in batches.
//!
//! What enters: finished traces. What leaves: messages, each sent until the collector has taken
//! it, a few times. What can never happen: memory that grows while the collector is away (the
//! queue is bounded, what does not fit is dropped and counted), or an answer of the collector in
//! a log line.
//!
//! ```text
//! wait ─ first trace ─▶ gather (1 s, or a batch) ─▶ send ─┬─ taken ─▶ wait
//!                                   ▲                     ├─ not now ─ pause ─▶ send (5 times) ─▶ dropped
//!                                   └── stop: what is there, once ─┘ no ─▶ dropped
//! ```

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Finished, Tracer, otlp};
use crate::config::Traces;
use crate::limits;

/// What became of traces, in requests.
#[derive(Debug, Default)]
pub struct Counts {
    pub exported: Counter,
    /// There was no room.
    pub dropped_full: Counter,
    /// The collector would not take them.
    pub dropped_sent: Counter,
}

/// Sends in the background.
pub struct Exporter {
    counts: Arc<Counts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts to export. Called inside a runtime.
pub fn start(traces: &Traces) -> (Tracer, Exporter) {
    let (queue, traces_in) = mpsc::channel(limits::TRACES_QUEUED);
    let counts = Arc::new(Counts::default());
    let stop = CancellationToken::new();
    let sender = Sender {
        host: traces.host.clone(),
        port: traces.port,
        path: traces.path.clone(),
        counts: counts.clone(),
        stop: stop.clone(),
    };
    let task = tokio::spawn(sender.run(traces_in));
    let tracer = Tracer::new(traces, queue, counts.clone());
    (tracer, Exporter { counts, stop, task })
}

impl Exporter {
    /// Adds its counters to a metrics page.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("traces");
        registry.register("exported", "Requests told", self.counts.exported.clone());
        registry.register(
            "dropped",
            "Requests for which the queue had no room",
            self.counts.dropped_full.clone(),
        );
        registry.register(
            "refused",
            "Requests that the collector did not take",
            self.counts.dropped_sent.clone(),
        );
    }

    /// Sends what waits, once, and ends: within [`limits::TRACES_SEND_TIME`] or without it.
    pub async fn finish(self) {
        self.stop.cancel();
        let _ = timeout(limits::TRACES_SEND_TIME, self.task).await;
    }
}

struct Sender {
    host: String,
    port: u16,
    path: String,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

enum Failure {
    /// The same message may be taken later.
    NotNow,
    Never,
}

impl Sender {
    async fn run(self, mut traces: mpsc::Receiver<Finished>) {
        let mut batch = Vec::with_capacity(limits::TRACES_BATCH);
        loop {
            let first = tokio::select! {
                first = traces.recv() => first,
                () = self.stop.cancelled() => break,
            };
            let Some(first) = first else { break };
            batch.push(first);
            self.gather(&mut traces, &mut batch).await;
            self.deliver(&batch).await;
            batch.clear();
        }
        while let Ok(next) = traces.try_recv() {
            batch.push(next);
            if batch.len() == limits::TRACES_BATCH {
                self.deliver(&batch).await;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            self.deliver(&batch).await;
        }
    }

    async fn gather(&self, traces: &mut mpsc::Receiver<Finished>, batch: &mut Vec<Finished>) {
        let mut until = std::pin::pin!(tokio::time::sleep(limits::TRACES_TIME));
        while batch.len() < limits::TRACES_BATCH {
            tokio::select! {
                next = traces.recv() => match next {
                    Some(next) => batch.push(next),
                    None => return,
                },
                () = until.as_mut() => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn deliver(&self, batch: &[Finished]) {
        let message = Bytes::from(otlp::encode(batch));
        let mut pause = limits::TRACES_PAUSE;
        for attempt in 1.. {
            let sent = timeout(limits::TRACES_SEND_TIME, self.send(message.clone())).await;
            match sent.unwrap_or(Err(Failure::NotNow)) {
                Ok(()) => {
                    self.counts.exported.inc_by(batch.len() as u64);
                    return;
                }
                Err(Failure::NotNow) if attempt < limits::TRACES_TRIES => {}
                Err(_) => break,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause *= 2,
                // Once more, and no further.
                () = self.stop.cancelled(), if attempt == 1 => pause *= 2,
                () = self.stop.cancelled() => break,
            }
        }
        self.counts.dropped_sent.inc_by(batch.len() as u64);
        tracing::warn!(requests = batch.len(), "the collector takes no traces");
    }

    async fn send(&self, message: Bytes) -> Result<(), Failure> {
        let response = self.exchange(message).await.map_err(|_| Failure::NotNow)?;
        match response {
            status if status.is_success() => Ok(()),
            // OTLP/HTTP, "Retryable Response Codes".
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::NotNow),
            _ => Err(Failure::Never),
        }
    }

    /// One connection a message: there is one a second at most.
    async fn exchange(&self, message: Bytes) -> io::Result<StatusCode> {
        let bare = self.host.trim_matches(['[', ']']);
        let tcp = TcpStream::connect((bare, self.port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&self.path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(message))
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await;
        let response = response.map_err(io::Error::other)?;
        let status = response.status();
        // Read to its end, so that the collector is not cut off while it answers.
        let body = Limited::new(response.into_body(), limits::ADMIN_BODY);
        let _ = body.collect().await;
        connection.abort();
        Ok(status)
    }
}
