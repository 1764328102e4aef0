//! One new connection to a backend.
//!
//! What enters: a configured address. What leaves: a byte stream, or hyper's sender and the
//! connection's delivery; the connection itself runs as a task of its own. What can never happen:
//! its socket ends cleanly under a message that is not whole.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use http::uri::Scheme;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backend::Backend;
use super::multi::Multi;
use super::names::Names;
use super::original::{self, Aim};
use crate::config;
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::socket::{Delivery, Guarded, Socket};
use crate::limits;
use crate::tls::{TlsError, client_config};

/// One address of a backend as configured, ready to be connected to.
pub struct Endpoint {
    pub names: Names,
    /// `host` or `host:port`, as RFC 9110, section 7.2 wants it.
    pub host_header: HeaderValue,
    /// With the name that the certificate must have; `None`: that which the client asked for.
    tls: Option<(TlsConnector, Option<ServerName<'static>>)>,
    pub http2: bool,
}

impl Endpoint {
    pub fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }
}

/// # Errors
/// A file of the backend's TLS that cannot be used, or an address that no certificate can name.
pub fn endpoints(backend: &config::Backend) -> Result<Vec<Endpoint>, TlsError> {
    let alpn: &[&[u8]] = match backend.http2 {
        true => &[b"h2"],
        false => &[b"http/1.1"],
    };
    let original = backend.original.as_ref();
    let connector = if backend.urls.iter().any(|u| u.https) || original.is_some_and(|o| o.https) {
        let identity = backend.identity.as_ref();
        let identity = identity.map(|(c, k)| (c.as_path(), k.as_path()));
        let config = client_config(backend.ca.as_deref(), identity, false, alpn)?;
        Some(TlsConnector::from(config))
    } else {
        None
    };
    let wrong = |what: &str| TlsError {
        file: format!("backend {}", backend.name),
        what: what.to_owned(),
    };
    let named = |name: &String| {
        ServerName::try_from(name.clone())
            .map_err(|_| wrong("its host is no name that a certificate can have"))
    };
    if original.is_some() {
        let name = backend.server_name.as_ref().map(named).transpose()?;
        return Ok(vec![Endpoint {
            // Nobody's (RFC 6761, section 6.4): each request has the Host that its client sent.
            host_header: HeaderValue::from_static("original.invalid"),
            http2: false,
            names: Names::new(Ipv4Addr::UNSPECIFIED.to_string(), 0),
            tls: connector.map(|connector| (connector, name)),
        }]);
    }
    let endpoint = |url: &config::BackendUrl| {
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
                Some((connector.clone(), Some(named(name)?)))
            }
            _ => None,
        };
        Ok(Endpoint {
            host_header: HeaderValue::try_from(authority)
                .map_err(|_| wrong("its host is no host name"))?,
            names: Names::new(bare, url.port),
            http2: backend.http2,
            tls,
        })
    };
    backend.urls.iter().map(endpoint).collect()
}

/// A stream that is open, TLS included.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where a connection leads: the address, and in which version of the name's answer it stood.
#[derive(Clone, Copy)]
pub struct Led {
    pub to: SocketAddr,
    pub version: u32,
}

/// Tries the addresses that the name leads to, each for an equal part of the time that is left;
/// then, once, those that a new look-up brings.
///
/// # Errors
/// Whatever DNS, TCP or TLS says last; the caller reports only that it failed.
pub async fn dial(endpoint: &Endpoint, deadline: Instant) -> io::Result<(Stream, Led)> {
    let mut tried = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let addresses = timeout_at(deadline, endpoint.names.addresses()).await?;
        let version = endpoint.names.version();
        let new: Vec<_> = addresses
            .into_iter()
            .filter(|a| !tried.contains(a))
            .collect();
        let first_round = tried.is_empty();
        for (at, &to) in new.iter().enumerate() {
            let opened = open(endpoint, to);
            match timeout_at(part(deadline, new.len() - at), opened).await {
                Ok(Ok(stream)) => return Ok((stream, Led { to, version })),
                Ok(Err(error)) => last = error,
                Err(late) => last = late.into(),
            }
            tried.push(to);
        }
        let again = timeout_at(deadline, endpoint.names.look_up_again()).await?;
        if !first_round || !again {
            return Err(last);
        }
    }
}

/// The end of the first of `parts` equal parts of the time from now on.
pub fn part(deadline: Instant, parts: usize) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    now + left / u32::try_from(parts.max(1)).unwrap_or(u32::MAX)
}

async fn open(endpoint: &Endpoint, to: SocketAddr) -> io::Result<Stream> {
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    secure(endpoint, tcp, to, None).await
}

/// `asked`: what the client asked for, where the backend has no name of its own; without either,
/// the certificate must have the address.
async fn secure(
    endpoint: &Endpoint,
    tcp: TcpStream,
    to: SocketAddr,
    asked: Option<&str>,
) -> io::Result<Stream> {
    let Some((connector, name)) = &endpoint.tls else {
        return Ok(Stream::Plain(tcp));
    };
    let name = match (name, asked) {
        (Some(name), _) => name.clone(),
        (None, Some(asked)) => ServerName::try_from(asked.to_owned()).map_err(io::Error::other)?,
        (None, None) => to.ip().into(),
    };
    let tls = connector.connect(name, tcp).await?;
    if endpoint.http2 && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the backend has not agreed on HTTP/2"));
    }
    Ok(Stream::Tls(Box::new(tls)))
}

/// A connection that is open.
pub enum Opened {
    One(One),
    Multi(Arc<Multi>),
}

/// A connection for one exchange at a time: what sends on it, how far that has got, and the task
/// that runs it.
pub struct One {
    pub sender: SendRequest<Outgoing>,
    pub delivery: Arc<Delivery>,
    pub task: AbortHandle,
    pub led: Led,
}

/// `held` is dropped when the connection has ended; `target` is the address's place.
///
/// # Errors
/// As [`dial`].
pub async fn connect(
    endpoint: &Endpoint,
    target: usize,
    deadline: Instant,
    held: impl Send + Unpin + 'static,
) -> io::Result<Opened> {
    let (stream, led) = dial(endpoint, deadline).await?;
    if endpoint.http2 {
        let multi = match stream {
            Stream::Plain(tcp) => timeout_at(deadline, Multi::open(tcp, target, led, held)).await,
            Stream::Tls(tls) => timeout_at(deadline, Multi::open(*tls, target, led, held)).await,
        };
        let multi = multi??;
        return Ok(Opened::Multi(Arc::new(multi)));
    }
    Ok(Opened::One(alone(stream, led, held).await?))
}

/// As [`connect`], to where a client meant to go.
///
/// # Errors
/// As [`connect`].
pub async fn connect_original(
    backend: &Backend,
    original: &config::Original,
    aim: &Aim,
    deadline: Instant,
    held: impl Send + Unpin + 'static,
) -> io::Result<Opened> {
    let endpoint = &backend.targets[0].endpoint;
    let connected = original::connect(original, &backend.outgoing, aim, deadline);
    let (tcp, mark) = connected.await?;
    let secured = secure(endpoint, tcp, aim.to, aim.name.as_deref());
    let stream = timeout_at(deadline, secured).await??;
    let led = Led {
        to: aim.to,
        version: endpoint.names.version(),
    };
    Ok(Opened::One(alone(stream, led, (mark, held)).await?))
}

async fn alone(stream: Stream, led: Led, held: impl Send + Unpin + 'static) -> io::Result<One> {
    let (sender, delivery, task) = match stream {
        Stream::Plain(tcp) => speak(tcp, held).await?,
        Stream::Tls(tls) => speak(*tls, held).await?,
    };
    Ok(One {
        sender,
        delivery,
        task,
        led,
    })
}

async fn speak<S: Socket + 'static>(
    stream: S,
    held: impl Send + Unpin + 'static,
) -> io::Result<(SendRequest<Outgoing>, Arc<Delivery>, AbortHandle)> {
    let delivery = Arc::new(Delivery::default());
    // What is held goes with the socket: an upgrade takes that out of the task.
    let io = TokioIo::new(Guarded::holding(stream, delivery.clone(), held));
    let (sender, connection) = Builder::new()
        .max_buf_size(limits::BACKEND_HEAD)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    let task = tokio::spawn(async move {
        // Its errors reach the exchange through the sender or the body.
        let _ = connection.with_upgrades().await;
    });
    Ok((sender, delivery, task.abort_handle()))
}
