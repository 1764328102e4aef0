//! One client of a soak: requests of every shape over a connection that it keeps.
//!
//! What enters: numbers of requests. What leaves: their ends, in the ledger. What can never
//! happen: a request whose end is not noted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::target::{Connection, Refused, Target, Trust, read};
use super::ledger::Ledger;
use crate::limits;
use crate::local::generate::{Generator, ResultRecord};
use crate::local::processes::Failure;
use crate::local::site::{HOST, Site};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all clients share.
pub struct Shared {
    pub ledger: Arc<Ledger>,
    generator: Generator,
    /// Subjects that have been used so far: a few are new in every request.
    subjects: AtomicU64,
    numbers: AtomicU64,
    /// HTTP/1.1, HTTP/2.
    targets: [Target; 2],
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
        let trust = Trust {
            ca: Some(&ca),
            identity: None,
        };
        let target = |http2| Target::new(site.addresses.gateway, HOST, "/", trust, http2);
        Ok(Arc::new(Self {
            ledger,
            generator: Generator::new(seed),
            subjects: AtomicU64::new(1),
            numbers: AtomicU64::new(1),
            targets: [target(false)?, target(true)?],
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

    fn body(&self, number: u64, shape: Shape) -> (Bytes, HeaderValue) {
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
        (body.freeze(), HeaderValue::from_static(media))
    }
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
    open: Option<Connection<Body>>,
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
        let target = shared.targets[usize::from(self.http2)].to(&format!("/{path}?n={number}"));
        let sent = async {
            let target = target.map_err(Refused::broken)?;
            self.send(&target, shape, bytes, &media).await
        };
        let why = match timeout(limits::BENCH_ANSWER, sent).await {
            Ok(Ok(())) if !broken => {
                shared.ledger.acknowledged(number);
                None
            }
            Ok(_) if broken => {
                shared.ledger.aborted(number);
                self.open = None;
                None
            }
            Ok(Err(refused)) => Some(refused.why),
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
        target: &Target,
        shape: Shape,
        bytes: Bytes,
        media: &HeaderValue,
    ) -> Result<(), Refused> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => target.connect().await.map_err(Refused::broken)?,
        };
        let length = bytes.len();
        let (body, rest) = match shape {
            Shape::Feed => (chunks(bytes), None),
            Shape::Broken => {
                let (half, rest) = never_whole(&bytes);
                (half, Some(rest))
            }
            _ => (Full::new(bytes).boxed_unsync(), None),
        };
        let mut request = target.request(body, media);
        let Some(rest) = rest else {
            read(connection.ask(request).await?).await?;
            self.open = Some(connection).filter(|open| !open.is_closed());
            return Ok(());
        };
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        // Long enough for the half to arrive; then connection and stream are dropped.
        let _ = timeout(limits::SOAK_ABORT, connection.ask(request)).await;
        drop(rest);
        Ok(())
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
