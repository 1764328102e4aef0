//! One client of a soak: requests of every shape over a connection that it keeps.
//!
//! What enters: numbers of requests. What leaves: their ends, in the ledger. What can never
//! happen: a request whose end is not noted.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ledger::Ledger;
use crate::limits;
use crate::local::generate::{Generator, ResultRecord};
use crate::local::processes::Failure;
use crate::local::site::{HOST, Site};
use crate::tls::client_config;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all clients share.
pub struct Shared {
    pub ledger: Arc<Ledger>,
    generator: Generator,
    /// Subjects that have been used so far: a few are new in every request.
    subjects: AtomicU64,
    numbers: AtomicU64,
    address: std::net::SocketAddr,
    name: ServerName<'static>,
    one: Arc<ClientConfig>,
    two: Arc<ClientConfig>,
}

/// What a request carries.
#[derive(Clone, Copy)]
enum Shape {
    One,
    Array,
    Lines,
    /// Streamed, in chunks.
    Feed,
    /// On a route that looks at nothing.
    Opaque,
    /// Half of its length, and then the client is gone.
    Broken,
}

/// In turn: most of what analytics sends is small.
const SHAPES: [Shape; 12] = [
    Shape::One,
    Shape::One,
    Shape::Array,
    Shape::One,
    Shape::Lines,
    Shape::One,
    Shape::Opaque,
    Shape::One,
    Shape::Feed,
    Shape::One,
    Shape::Broken,
    Shape::Lines,
];

/// Records of an array or of lines, and of a feed (some 600 bytes each).
const BATCH: u64 = 100;
const FEED: u64 = 3000;
/// One record in so many is somebody new.
const NEW: u64 = 100;

impl Shared {
    /// # Errors
    /// The certificate cannot be used.
    pub fn new(site: &Site, ledger: Arc<Ledger>, seed: u64) -> Result<Arc<Self>, Failure> {
        let ca = site.cert("gateway-ca.pem");
        let tls = |protocol: &[u8]| trust(&ca, protocol);
        let wrong = |_| Failure("the gateway has no name".to_owned());
        Ok(Arc::new(Self {
            ledger,
            generator: Generator::new(seed),
            subjects: AtomicU64::new(1),
            numbers: AtomicU64::new(1),
            address: site.addresses.gateway,
            name: ServerName::try_from(HOST.to_owned()).map_err(wrong)?,
            one: tls(b"http/1.1")?,
            two: tls(b"h2")?,
        }))
    }

    /// So many records, a line each.
    fn records(&self, number: u64, count: u64) -> Vec<Vec<u8>> {
        let record = |nth: u64| {
            let at = number.wrapping_mul(4099).wrapping_add(nth);
            let subject = match at % NEW {
                0 => self.subjects.fetch_add(1, Relaxed),
                _ => at.wrapping_mul(2_654_435_761) % self.subjects.load(Relaxed),
            };
            let record = ResultRecord {
                subscriber: self.generator.subscriber(subject % limits::SOAK_SUBJECTS),
                ..self.generator.result_record(at % limits::SOAK_SUBJECTS)
            };
            serde_json::to_vec(&record).unwrap_or_default()
        };
        (0..count).map(record).collect()
    }

    fn body(&self, number: u64, shape: Shape) -> (Bytes, &'static str) {
        let many = match shape {
            Shape::One => 1,
            Shape::Feed => FEED,
            Shape::Array | Shape::Lines | Shape::Opaque | Shape::Broken => BATCH,
        };
        let records = self.records(number, many);
        let size: usize = records.iter().map(|record| record.len() + 1).sum();
        let mut body = BytesMut::with_capacity(size + 1);
        let lines = matches!(shape, Shape::Lines | Shape::Feed | Shape::Broken);
        for record in &records {
            match (lines, body.is_empty(), many) {
                (true, ..) | (_, _, 1) => {}
                (_, true, _) => body.put_u8(b'['),
                (_, false, _) => body.put_u8(b','),
            }
            body.put_slice(record);
            if lines {
                body.put_u8(b'\n');
            }
        }
        if !lines && many > 1 {
            body.put_u8(b']');
        }
        let media = if lines {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        (body.freeze(), media)
    }
}

fn trust(ca: &Path, protocol: &[u8]) -> Result<Arc<ClientConfig>, Failure> {
    client_config(Some(ca), None, false, &[protocol]).map_err(|e| Failure(e.to_string()))
}

/// One request's end, for the counts of a period.
pub struct Ended {
    pub took: Duration,
    pub began: Instant,
    /// Why it was no success.
    pub why: Option<String>,
}

pub struct Client {
    shared: Arc<Shared>,
    http2: bool,
    open: Option<Sender>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Client {
    pub fn new(shared: &Arc<Shared>, http2: bool) -> Self {
        Self {
            shared: shared.clone(),
            http2,
            open: None,
        }
    }

    /// The next request, to its end.
    pub async fn turn(&mut self) -> Ended {
        let shared = self.shared.clone();
        let number = shared.numbers.fetch_add(1, Relaxed);
        let shape = SHAPES[number as usize % SHAPES.len()];
        let (bytes, media) = shared.body(number, shape);
        let opaque = matches!(shape, Shape::Opaque);
        let broken = matches!(shape, Shape::Broken);
        shared.ledger.sends(number, bytes.clone(), opaque, broken);
        let began = Instant::now();
        let path = if opaque { "pass" } else { "soak" };
        let sent = timeout(
            limits::BENCH_ANSWER,
            self.send(number, path, shape, bytes, media),
        );
        let why = match sent.await {
            Ok(Ok(())) if !broken => {
                shared.ledger.acknowledged(number);
                None
            }
            Ok(_) if broken => {
                shared.ledger.aborted(number);
                self.open = None;
                None
            }
            Ok(Err(why)) => Some(why),
            _ => Some("no answer in time".to_owned()),
        };
        if why.is_some() {
            shared.ledger.refused(number);
            self.open = None;
        }
        Ended {
            took: began.elapsed(),
            began,
            why,
        }
    }

    async fn send(
        &mut self,
        number: u64,
        path: &str,
        shape: Shape,
        bytes: Bytes,
        media: &'static str,
    ) -> Result<(), String> {
        let mut sender = match self.open.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("https://{HOST}/{path}?n={number}"))
            .header(header::CONTENT_TYPE, media);
        if !self.http2 {
            request = request
                .uri(format!("/{path}?n={number}"))
                .header(header::HOST, HOST);
        }
        let (body, rest) = match shape {
            Shape::Feed => (chunks(bytes), None),
            Shape::Broken => {
                request = request.header(header::CONTENT_LENGTH, bytes.len());
                let (half, rest) = never_whole(&bytes);
                (half, Some(rest))
            }
            _ => (Full::new(bytes).boxed_unsync(), None),
        };
        let request = request.body(body).map_err(said)?;
        let answer = async {
            match &mut sender {
                Sender::One(sender) => {
                    sender.ready().await.map_err(said)?;
                    sender.send_request(request).await.map_err(said)
                }
                Sender::Two(sender) => {
                    sender.ready().await.map_err(said)?;
                    sender.send_request(request).await.map_err(said)
                }
            }
        };
        if let Some(rest) = rest {
            // Long enough for the half to arrive; then connection and stream are dropped.
            let _ = timeout(limits::SOAK_ABORT, answer).await;
            drop(rest);
            return Ok(());
        }
        let answer = answer.await?;
        let status = answer.status();
        let text = Limited::new(answer.into_body(), limits::BENCH_PROBLEM);
        let text = text.collect().await.map_err(said)?.to_bytes();
        if !status.is_success() {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
            let code = problem.and_then(|p| Some(p.get("code")?.as_str()?.to_owned()));
            return Err(code.unwrap_or_else(|| status.as_u16().to_string()));
        }
        let ready = match &sender {
            Sender::One(sender) => !sender.is_closed(),
            Sender::Two(sender) => !sender.is_closed(),
        };
        self.open = ready.then_some(sender);
        Ok(())
    }

    async fn connect(&self) -> Result<Sender, String> {
        let shared = &self.shared;
        let tls = if self.http2 { &shared.two } else { &shared.one };
        let connect = async {
            let tcp = TcpStream::connect(shared.address).await.map_err(said)?;
            tcp.set_nodelay(true).map_err(said)?;
            let connector = TlsConnector::from(tls.clone());
            let tls = connector.connect(shared.name.clone(), tcp).await;
            let io = TokioIo::new(tls.map_err(said)?);
            if self.http2 {
                let made = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = made.map_err(said)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Sender::Two(sender))
            } else {
                let (sender, connection) = http1::handshake(io).await.map_err(said)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Sender::One(sender))
            }
        };
        let made = timeout(limits::BENCH_ANSWER, connect).await;
        made.map_err(|_| "no connection in time".to_owned())?
            .map_err(|why: String| format!("no connection: {why}"))
    }
}

/// The body in pieces, of no length that is said before.
fn chunks(bytes: Bytes) -> Body {
    let (to, from) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(limits::CHUNK));
            if to.send(piece).await.is_err() {
                break;
            }
        }
    });
    stream(from)
}

/// Half of it, and then nothing, as long as the other part is held.
fn never_whole(bytes: &Bytes) -> (Body, mpsc::Sender<Bytes>) {
    let (to, from) = mpsc::channel(1);
    let _ = to.try_send(bytes.slice(..bytes.len() / 2));
    (stream(from), to)
}

fn stream(from: mpsc::Receiver<Bytes>) -> Body {
    Pieces(from).boxed_unsync()
}

/// A body that comes piece by piece, and ends when its sender is dropped.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
