//! A simple HTTPS client: one connection to the gateway, one request at a time.
//!
//! What enters: a request. What leaves: status, head and body of its answer. What can never
//! happen: it speaks to a server whose certificate is not of the given CA.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::processes::Failure;
use crate::tls::client::client_config;

/// A client with an identity of its own. Connects on first use, and again after a failure.
pub struct Client {
    address: SocketAddr,
    host: String,
    tls: Arc<ClientConfig>,
    open: Option<SendRequest<Full<Bytes>>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as text, for printing.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// # Errors
    /// A certificate file cannot be used.
    pub fn new(
        address: SocketAddr,
        host: &str,
        ca: &Path,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, Failure> {
        let tls = client_config(Some(ca), identity, false, &[b"http/1.1"])
            .map_err(|error| Failure(error.to_string()))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            tls,
            open: None,
        })
    }

    /// Sends `body` as `media` to `path` and reads the whole answer.
    ///
    /// # Errors
    /// The connection cannot be made or breaks; the next call connects anew.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        media: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let mut connection = match self.open.take() {
            Some(open) if open.is_ready() => open,
            _ => self.connect().await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", media)
            .body(Full::new(body.into()))
            .map_err(broken)?;
        let response = connection.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        self.open = Some(connection);
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(self.host.clone()).map_err(broken)?;
        let tls = TlsConnector::from(self.tls.clone())
            .connect(name, tcp)
            .await?;
        let (send, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(broken)?;
        // The request that a broken connection carries reports it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(send)
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure(format!("the request did not get through: {error}"))
}
