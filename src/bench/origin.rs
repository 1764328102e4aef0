//! The server behind the gateway: it takes bodies, throws them away, and keeps a sample.
//!
//! What enters: HTTP/1.1 on loopback. What leaves: 204, and a few bodies as they arrived. What
//! can never happen: a sample larger than [`limits::BENCH_SAMPLE`], or more than a few of them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

/// One body in so many is kept, beginning with the first after [`Origin::arm`].
const ONE_IN: u64 = 512;

/// A running origin. It ends with the runtime that it was started on.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

/// The beginning of a body, as it arrived.
#[derive(Clone, Default)]
pub struct Sample {
    pub bytes: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

impl Origin {
    /// # Errors
    /// No port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Seen>::default();
        tokio::spawn(accept(listener, seen.clone()));
        Ok(Self { address, seen })
    }

    /// Forgets what it has seen; the next body is kept.
    pub fn arm(&self) {
        self.seen.samples().clear();
        self.seen.requests.store(0, Relaxed);
    }

    /// Whole bodies that arrived since, and the samples of them.
    pub fn seen(&self) -> (u64, Vec<Sample>) {
        let samples = self.seen.samples().clone();
        (self.seen.requests.load(Relaxed), samples)
    }
}

impl Seen {
    /// A panic elsewhere does not make a list of bytes wrong.
    fn samples(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    loop {
        // Only a full table of open files ends up here: wait for one to be closed.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, seen.clone()));
    }
}

async fn connection(stream: TcpStream, seen: Arc<Seen>) {
    let service = service_fn(move |request| {
        let seen = seen.clone();
        async move { Ok::<_, Infallible>(take(request, &seen).await) }
    });
    // A proxy that breaks off is no event here: the client's count tells.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn take(request: Request<Incoming>, seen: &Seen) -> Response<Empty<Bytes>> {
    let nth = seen.requests.load(Relaxed);
    let mut sample = nth.is_multiple_of(ONE_IN).then(Sample::default);
    let mut body = request.into_body();
    let mut response = Response::new(Empty::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        if let (Some(sample), Some(data)) = (&mut sample, frame.data_ref()) {
            let room = limits::BENCH_SAMPLE - sample.bytes.len();
            sample.cut |= data.len() > room;
            sample
                .bytes
                .extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    seen.requests.fetch_add(1, Relaxed);
    if let Some(sample) = sample {
        let mut samples = seen.samples();
        if samples.len() < limits::BENCH_SAMPLES {
            samples.push(sample);
        }
    }
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
