//! Where load goes, and one connection to it.
//!
//! What enters: an address and whom to trust. What leaves: requests, and the status of each
//! answer. What can never happen: a server whose certificate was not checked, or a body that is
//! copied before TLS takes it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::limits;
use crate::local::processes::Failure;
use crate::tls::client_config;

/// A server and a path on it.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    host: HeaderValue,
    uri: Uri,
    tls: Arc<ClientConfig>,
    http2: bool,
}

/// What says who the server is and who we are.
#[derive(Clone, Copy, Default)]
pub struct Trust<'a> {
    pub ca: Option<&'a Path>,
    pub identity: Option<(&'a Path, &'a Path)>,
}

impl Target {
    /// `host` is the name in the server's certificate.
    ///
    /// # Errors
    /// A name, path or certificate that cannot be used.
    pub fn new(
        address: SocketAddr,
        host: &str,
        path: &str,
        trust: Trust<'_>,
        http2: bool,
    ) -> Result<Self, Failure> {
        let url = format!("https://{host}{path}");
        let uri = url.parse().map_err(|_| wrong(&url))?;
        Self::of(address, &uri, trust, http2)
    }

    /// From a URL, as a user writes it; the first of its addresses that answers counts.
    ///
    /// # Errors
    /// As [`Target::new`], or a server that cannot be reached.
    pub async fn at(url: &str, trust: Trust<'_>, http2: bool) -> Result<Self, Failure> {
        let uri: Uri = url.parse().map_err(|_| wrong(url))?;
        let host = uri.host().ok_or_else(|| wrong(url))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong(url));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let place = (bare, uri.port_u16().unwrap_or(443));
        let found = tokio::net::lookup_host(place)
            .await
            .map_err(|error| Failure(format!("{host}: {error}")))?;
        let mut why = "no address".to_owned();
        for address in found {
            match tokio::time::timeout(limits::CONNECT_TIME, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return Self::of(address, &uri, trust, http2),
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: no answer in time"),
            }
        }
        Err(Failure(format!("{host} cannot be reached: {why}")))
    }

    fn of(address: SocketAddr, uri: &Uri, trust: Trust<'_>, http2: bool) -> Result<Self, Failure> {
        let bad = || wrong(&uri.to_string());
        let authority = uri.authority().map(Authority::as_str).ok_or_else(bad)?;
        let name = uri.host().ok_or_else(bad)?;
        let bare = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            address,
            name: ServerName::try_from(bare).map_err(|_| bad())?,
            host: HeaderValue::from_str(authority).map_err(|_| bad())?,
            // HTTP/2 wants the whole of it (RFC 9113, section 8.3.1), HTTP/1.1 the path.
            uri: if http2 {
                uri.clone()
            } else {
                path.parse().map_err(|_| bad())?
            },
            tls: client_config(trust.ca, trust.identity, false, &[protocol])
                .map_err(|error| Failure(error.to_string()))?,
            http2,
        })
    }

    /// # Errors
    /// Nobody listens, the certificate is not to be trusted, or the protocol is another.
    pub async fn connect<B: Sent>(&self) -> Result<Connection<B>, String> {
        let connect = async {
            let tcp = TcpStream::connect(self.address).await.map_err(said)?;
            tcp.set_nodelay(true).map_err(said)?;
            let connector = TlsConnector::from(self.tls.clone());
            let tls = connector
                .connect(self.name.clone(), tcp)
                .await
                .map_err(said)?;
            let agreed = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            if agreed != self.http2 {
                return Err("the server does not speak HTTP/2".to_owned());
            }
            let io = TokioIo::new(tls);
            // A connection that breaks is told by the request that it carries.
            if self.http2 {
                let built = http2::Builder::new(TokioExecutor::new())
                    .handshake(io)
                    .await;
                let (sender, connection) = built.map_err(said)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Connection::Two(sender))
            } else {
                let (sender, connection) = http1::handshake(io).await.map_err(said)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Connection::One(sender))
            }
        };
        match tokio::time::timeout(limits::BENCH_ANSWER, connect).await {
            Ok(connection) => connection,
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    /// The same server, and another path of it (with its query).
    ///
    /// # Errors
    /// No path.
    pub fn to(&self, path: &str) -> Result<Self, Failure> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(path.parse().map_err(|_| wrong(path))?);
        Ok(Self {
            uri: Uri::from_parts(parts).map_err(|_| wrong(path))?,
            ..self.clone()
        })
    }

    pub fn request<B>(&self, body: B, media: &HeaderValue) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, media.clone());
        if !self.http2 {
            headers.insert(header::HOST, self.host.clone());
        }
        request
    }
}

/// Bodies that are sent.
pub trait Sent: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static> Sent for B {}

/// One open connection, one request at a time.
pub enum Connection<B = Full<Bytes>> {
    One(http1::SendRequest<B>),
    Two(http2::SendRequest<B>),
}

impl Connection {
    /// Sends one body and reads the whole answer.
    ///
    /// # Errors
    /// Why there was no answer, or the status and code of one that is no success.
    pub async fn send(
        &mut self,
        target: &Target,
        body: Bytes,
        media: &HeaderValue,
    ) -> Result<(), Refused> {
        let request = target.request(Full::new(body), media);
        let exchange = async { read(self.ask(request).await?).await };
        match tokio::time::timeout(limits::BENCH_ANSWER, exchange).await {
            Ok(read) => read,
            Err(_) => Err(Refused::broken("no answer in time")),
        }
    }
}

impl<B: Sent> Connection<B> {
    /// The head of the answer.
    ///
    /// # Errors
    /// Why there was none.
    pub async fn ask(&mut self, request: Request<B>) -> Result<Response<Incoming>, Refused> {
        let response = match self {
            Self::One(sender) => {
                sender.ready().await.map_err(Refused::broken)?;
                sender.send_request(request).await
            }
            Self::Two(sender) => {
                sender.ready().await.map_err(Refused::broken)?;
                sender.send_request(request).await
            }
        };
        response.map_err(Refused::broken)
    }

    pub fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

/// A request that was not a success.
#[derive(Debug)]
pub struct Refused {
    pub why: String,
    /// The connection is of no use any more.
    pub broken: bool,
}

impl Refused {
    pub fn broken(why: impl std::fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            broken: true,
        }
    }
}

/// The whole of an answer.
///
/// # Errors
/// It breaks off, or is no success.
pub async fn read(response: Response<Incoming>) -> Result<(), Refused> {
    let status = response.status();
    let mut body = response.into_body();
    if status.is_success() {
        while let Some(frame) = body.frame().await {
            frame.map_err(Refused::broken)?;
        }
        return Ok(());
    }
    let text = Limited::new(body, limits::BENCH_PROBLEM).collect().await;
    let problem = text.ok().and_then(|text| {
        let problem: serde_json::Value = serde_json::from_slice(&text.to_bytes()).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    });
    Err(Refused {
        why: match problem {
            Some(code) => format!("{} {code}", status.as_u16()),
            None => status.as_u16().to_string(),
        },
        // An early refusal may close the connection behind the answer.
        broken: true,
    })
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wrong(url: &str) -> Failure {
    Failure(format!("`{url}` is no https:// URL with a host and a path"))
}
