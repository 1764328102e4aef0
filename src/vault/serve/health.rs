//! Metrics and health on an address of their own: `/metrics`, `/healthz`, `/readyz`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::vault::state::Vault;

/// Scrapers and probes: a handful at once.
const CONNECTIONS: usize = 16;

pub async fn serve(vault: Arc<Vault>, listener: TcpListener, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (Ok((stream, _)), Ok(permit)) =
            (accepted, Arc::clone(&connections).acquire_owned().await)
        else {
            continue;
        };
        let (vault, stop) = (Arc::clone(&vault), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let vault = Arc::clone(&vault);
                async move { Ok::<_, Infallible>(answer(&vault, &request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = timeout(limits::IDLE_TIME, connection) => {}
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
    }
}

async fn answer(vault: &Arc<Vault>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (200, vault.metrics.render()),
        (&Method::GET, "/healthz") => (200, "alive\n".to_owned()),
        // Ready: the sequencer runs its works and the store commits.
        (&Method::GET, "/readyz") => {
            let works = vault.sequencer.run(|_| Ok(()));
            match timeout(limits::VAULT_TIME, works).await {
                Ok(Ok(())) => (200, "ready\n".to_owned()),
                _ => (503, "the store does not commit\n".to_owned()),
            }
        }
        _ => (404, "metrics, healthz, readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}
