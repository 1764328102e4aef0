//! A backend that looks at every body, and that can be taken away and brought back.
//!
//! What enters: HTTP/1.1 on loopback, with the request's number in its query. What leaves: 204,
//! and each whole body in the ledger. What can never happen: a body that ended early counts as one
//! that arrived.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use crate::limits;

pub struct Origin {
    pub address: SocketAddr,
    ledger: Arc<Ledger>,
    up: Option<CancellationToken>,
}

impl Origin {
    /// # Errors
    /// No port is free.
    pub async fn start(ledger: Arc<Ledger>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut origin = Self {
            address,
            ledger,
            up: None,
        };
        origin.serve(listener);
        Ok(origin)
    }

    /// Gone, with every connection: nothing on the way is answered.
    pub fn stop(&mut self) {
        if let Some(up) = self.up.take() {
            up.cancel();
        }
    }

    /// Back, at the same address.
    ///
    /// # Errors
    /// Somebody else has it.
    pub async fn start_again(&mut self) -> std::io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.serve(listener);
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener) {
        let up = CancellationToken::new();
        self.up = Some(up.clone());
        let ledger = self.ledger.clone();
        let until = up.clone();
        tokio::spawn(up.run_until_cancelled_owned(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let ledger = ledger.clone();
                let service = service_fn(move |request| {
                    let ledger = ledger.clone();
                    async move { Ok::<_, Infallible>(take(request, &ledger).await) }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(until.clone().run_until_cancelled_owned(served));
            }
        }));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn take(request: Request<Incoming>, ledger: &Ledger) -> Response<Empty<Bytes>> {
    let number = request.uri().query().and_then(|query| {
        let number = query.strip_prefix("n=")?;
        number.parse().ok()
    });
    let body = Limited::new(request.into_body(), limits::SOAK_BODY).collect();
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match (number, body.await) {
        (Some(number), Ok(body)) => {
            ledger.arrived(number, &body.to_bytes());
            StatusCode::NO_CONTENT
        }
        _ => StatusCode::BAD_REQUEST,
    };
    response
}
