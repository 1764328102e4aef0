//! One new connection to a backend.
//!
//! What enters: a configured address. What leaves: hyper's sender and the connection's delivery;
//! the connection itself runs as a task of its own. What can never happen: its socket ends
//! cleanly under a message that is not whole.

use std::io;
use std::sync::Arc;

use http::HeaderValue;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::config;
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::metrics::{Metrics, Open};
use crate::gateway::socket::{Delivery, Guarded, Socket};
use crate::limits;
use crate::tls::{TlsError, client_config};

/// One address of a backend, ready to be connected to.
pub struct Target {
    host: String,
    port: u16,
    /// `host` or `host:port`, as RFC 9110, section 7.2 wants it.
    pub host_header: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// # Errors
/// A file of the backend's TLS that cannot be used, or an address that no certificate can name.
pub fn targets(backend: &config::Backend) -> Result<Vec<Target>, TlsError> {
    let connector = if backend.urls.iter().any(|u| u.https) {
        let identity = backend.identity.as_ref();
        let identity = identity.map(|(c, k)| (c.as_path(), k.as_path()));
        let config = client_config(backend.ca.as_deref(), identity, false, &[b"http/1.1"])?;
        Some(TlsConnector::from(config))
    } else {
        None
    };
    let wrong = |what: &str| TlsError {
        file: format!("backend {}", backend.name),
        what: what.to_owned(),
    };
    let target = |url: &config::BackendUrl| {
        let usual = if url.https { 443 } else { 80 };
        let authority = if url.port == usual {
            url.host.clone()
        } else {
            format!("{}:{}", url.host, url.port)
        };
        let bare = url.host.trim_matches(['[', ']']).to_owned();
        let tls = match &connector {
            Some(connector) if url.https => {
                let name = backend.server_name.as_ref().unwrap_or(&bare);
                let name = ServerName::try_from(name.clone())
                    .map_err(|_| wrong("its host is no name that a certificate can have"))?;
                Some((connector.clone(), name))
            }
            _ => None,
        };
        Ok(Target {
            host_header: HeaderValue::try_from(authority)
                .map_err(|_| wrong("its host is no host name"))?,
            host: bare,
            port: url.port,
            tls,
        })
    };
    backend.urls.iter().map(target).collect()
}

/// A connection that is open: what sends on it, how far that has got, and the task that runs it.
pub type Connected = (SendRequest<Outgoing>, Arc<Delivery>, AbortHandle);

/// # Errors
/// Whatever TCP, TLS or HTTP says; the caller reports only that it failed.
pub async fn connect(target: &Target, metrics: &Metrics) -> io::Result<Connected> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    let open = metrics.backend_connection();
    tcp.set_nodelay(true)?;
    match &target.tls {
        None => speak(tcp, open).await,
        Some((connector, name)) => speak(connector.connect(name.clone(), tcp).await?, open).await,
    }
}

async fn speak<S: Socket + 'static>(stream: S, open: Open) -> io::Result<Connected> {
    let delivery = Arc::new(Delivery::default());
    let io = TokioIo::new(Guarded::new(stream, delivery.clone()));
    let (sender, connection) = Builder::new()
        .max_buf_size(limits::BACKEND_HEAD)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    // Its errors reach the exchange through the sender or the body.
    let running = async move {
        let _open = open;
        connection.await
    };
    let task = tokio::spawn(running).abort_handle();
    Ok((sender, delivery, task))
}
