//! One HTTP/2 connection to the vault over mutual TLS 1.3, made again when it breaks.
//!
//! What enters: requests as bytes. What leaves: answers with the store's incarnation, or why
//! there is none. What can never happen: an answer from a peer whose certificate is not of the
//! vault's CA; a call without a time-out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::LinkError;
use super::calls::Calls;
use crate::config::VaultAddress;
use crate::limits;
use crate::tls::client::client_config;
use crate::wire::control::{Problem, parse};
use crate::wire::text::Hex;
use crate::wire::{INCARNATION, Malformed};

/// A way to one vault. Calls share a connection.
pub struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
    host: String,
    port: u16,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// How many connections have ended: a count, so that no end is missed by who is busy.
    lost: watch::Sender<u64>,
    calls: Arc<Calls>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody can say whether the vault has done it: the same bytes may be sent again.
    #[error("the vault cannot be reached: {0}")]
    Unreachable(String),
    /// The vault has answered no.
    #[error("{title} {next}")]
    Refused {
        code: String,
        status: u16,
        title: String,
        next: String,
    },
    #[error("the vault's answer was not understood")]
    Malformed,
}

impl CallError {
    /// Whether the vault would say the same if it were asked again as it stands.
    pub fn is_definite(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400..500,
                ..
            }
        )
    }
}

impl From<Malformed> for CallError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A message that came back, with the incarnation of the store that it speaks for.
#[derive(Debug)]
pub struct Answered<T> {
    pub incarnation: [u8; 16],
    pub message: T,
}

impl Client {
    /// # Errors
    /// Certificate or key files that cannot be used, or a host that is no name.
    pub fn new(address: &VaultAddress) -> Result<Self, LinkError> {
        Self::counted(address, Arc::default())
    }

    /// As [`Self::new`]; what its calls are and come to is counted there.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn counted(address: &VaultAddress, calls: Arc<Calls>) -> Result<Self, LinkError> {
        let identity = (address.certificate.as_path(), address.key.as_path());
        let tls = client_config(Some(&address.ca), Some(identity), true, &[b"h2"])
            .map_err(|e| LinkError::Tls(e.to_string()))?;
        let bare = address.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| LinkError::Tls(format!("{}: not a host name", address.host)))?;
        Ok(Self {
            connector: TlsConnector::from(tls),
            name,
            host: bare.to_owned(),
            port: address.port,
            connection: Mutex::new(None),
            lost: watch::Sender::new(0),
            calls,
        })
    }

    /// Changes whenever a connection has ended, also while nobody waits for it.
    pub fn losses(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// `GET` of a JSON message.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answered<T>, CallError> {
        self.call(Method::GET, path, Bytes::new()).await?.json()
    }

    /// `GET` of a text.
    pub async fn get_text(&self, path: &str) -> Result<String, CallError> {
        let answer = self.call(Method::GET, path, Bytes::new()).await?;
        String::from_utf8(answer.message.to_vec()).map_err(|_| CallError::Malformed)
    }

    /// `POST` of a JSON message.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
    ) -> Result<Answered<T>, CallError> {
        let bytes = serde_json::to_vec(message).map_err(|_| CallError::Malformed)?;
        self.post_bytes(path, bytes.into()).await
    }

    /// `POST` of bytes that stay the same when they are sent again.
    pub async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        bytes: Bytes,
    ) -> Result<Answered<T>, CallError> {
        self.call(Method::POST, path, bytes).await?.json()
    }

    /// A streamed answer; the caller reads the body, within its own time.
    pub async fn stream(&self, path: &str) -> Result<Answered<Incoming>, CallError> {
        let began = Instant::now();
        let result = self.begin_stream(path).await;
        self.calls.ended(path, began.elapsed(), 0, 0, &result);
        result
    }

    async fn begin_stream(&self, path: &str) -> Result<Answered<Incoming>, CallError> {
        let response = within(
            limits::VAULT_TIME,
            self.send(Method::GET, path, Bytes::new()),
        )
        .await?;
        let incarnation = incarnation(&response)?;
        if !response.status().is_success() {
            let body = read(response).await?;
            return Err(refused(&body));
        }
        Ok(Answered {
            incarnation,
            message: response.into_body(),
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answered<Bytes>, CallError> {
        let (began, sent) = (Instant::now(), body.len());
        let result = self.exchange(method, path, body).await;
        let received = result.as_ref().map_or(0, |answer| answer.message.len());
        let took = began.elapsed();
        self.calls.ended(path, took, sent, received, &result);
        result
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answered<Bytes>, CallError> {
        within(limits::VAULT_TIME, async {
            let response = self.send(method, path, body).await?;
            let incarnation = incarnation(&response)?;
            let good = response.status().is_success();
            let message = read(response).await?;
            if !good {
                return Err(refused(&message));
            }
            Ok(Answered {
                incarnation,
                message,
            })
        })
        .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, CallError> {
        let mut sender = self.connection().await?;
        let uri = format!("https://{}:{}{path}", self.authority(), self.port);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(|_| CallError::Malformed)?;
        sender.send_request(request).await.map_err(unreachable)
    }

    fn authority(&self) -> String {
        match &self.name {
            ServerName::IpAddress(_) if self.host.contains(':') => format!("[{}]", self.host),
            _ => self.host.clone(),
        }
    }

    /// The open connection, or a new one. Callers that come together wait for the same one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let mut slot = self.connection.lock().await;
        if let Some(sender) = slot.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self.connect().await?;
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        let _ = tcp.set_nodelay(true);
        let tls = self
            .connector
            .connect(self.name.clone(), tcp)
            .await
            .map_err(unreachable)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::CONNECTION_WINDOW)
            .initial_connection_window_size(4 * limits::CONNECTION_WINDOW)
            .keep_alive_interval(limits::VAULT_PING_TIME)
            .keep_alive_timeout(limits::VAULT_TIME)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(unreachable)?;
        let lost = self.lost.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the vault broke");
            }
            lost.send_modify(|count| *count += 1);
        });
        Ok(sender)
    }
}

impl Answered<Bytes> {
    fn json<T: DeserializeOwned>(self) -> Result<Answered<T>, CallError> {
        Ok(Answered {
            incarnation: self.incarnation,
            message: parse(&self.message)?,
        })
    }
}

async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match timeout(time, call).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Unreachable("no answer in time".to_owned())),
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, CallError> {
    let body = Limited::new(response.into_body(), limits::VAULT_MESSAGE);
    let collected = body.collect().await;
    Ok(collected.map_err(unreachable)?.to_bytes())
}

fn incarnation(response: &Response<Incoming>) -> Result<[u8; 16], CallError> {
    let value = response.headers().get(INCARNATION);
    let text = value.and_then(|value| value.to_str().ok());
    let id = text
        .and_then(Hex::<16>::parse)
        .ok_or(CallError::Malformed)?;
    Ok(id.0)
}

fn refused(body: &[u8]) -> CallError {
    match parse::<Problem>(body) {
        Ok(problem) => CallError::Refused {
            code: problem.code,
            status: problem.status,
            title: problem.title,
            next: problem.detail,
        },
        Err(malformed) => malformed.into(),
    }
}

fn unreachable(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}
