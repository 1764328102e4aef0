//! HTTP/2 connections to a backend, each shared by many exchanges.
//!
//! What enters: a stream on which both sides have agreed on HTTP/2. What leaves: places for one
//! exchange each, as many as the backend allows. What can never happen: one exchange that breaks
//! off takes its neighbours along, a connection that is old, full or half dead takes new ones, or
//! one whose request cannot be taken back outlives its last exchange.
//!
//! ```text
//! open ──enter/leave──▶ open ──old, worn, GOAWAY, a request left behind──▶ retired ──last leave──▶ closed
//! ```

use std::io;
use std::pin::Pin;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::connect::Led;
use super::names::Names;
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::coarse::Moment;
use crate::gateway::socket::{Delivery, Guarded, Socket};
use crate::limits;

/// One connection.
pub struct Multi {
    sender: SendRequest<Outgoing>,
    /// Ends all of it at once.
    end: CancellationToken,
    /// Streams that the backend allows, as far as it has said.
    room: Arc<AtomicUsize>,
    target: usize,
    led: Led,
    born: Moment,
    /// Milliseconds after `born` at which the last exchange left.
    idle_since: AtomicU64,
    streams: AtomicUsize,
    requests: AtomicU32,
    retired: AtomicBool,
}

/// Runs what hyper makes of one connection, until that ends.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let end = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = task => {}
                () = end.cancelled_owned() => {}
            }
        });
    }
}

impl Multi {
    /// Speaks HTTP/2 on a stream, and waits for the backend's settings: a request that comes too
    /// many would be refused. `held` is dropped when the socket is closed.
    ///
    /// # Errors
    /// The connection breaks before it begins.
    pub async fn open<S: Socket + 'static>(
        stream: S,
        target: usize,
        led: Led,
        held: impl Send + Unpin + 'static,
    ) -> io::Result<Self> {
        // HTTP/2 resets streams, not connections: this one stays clean.
        let delivery = Arc::new(Delivery::default());
        let io = TokioIo::new(Guarded::holding(stream, delivery, held));
        let end = CancellationToken::new();
        let tasks = Tasks(end.clone());
        let (sender, mut connection) = Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_header_list_size(limits::BACKEND_HEAD as u32)
            .max_send_buf_size(limits::STREAM_WINDOW as usize)
            // As long as the backend has not said how many.
            .initial_max_send_streams(0)
            .keep_alive_interval(limits::PING_INTERVAL)
            .keep_alive_timeout(limits::PING_TIME)
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        // What has been spawned reads; nobody is woken by settings alone.
        while connection.current_max_send_streams() == 0 {
            let mut ended = |cx: &mut Context<'_>| Pin::new(&mut connection).poll(cx).is_ready();
            if std::future::poll_fn(|cx| Poll::Ready(ended(cx))).await {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            tokio::time::sleep(limits::SETTINGS_TICK).await;
        }
        let room = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let said = room.clone();
        // Its errors reach the exchanges through the sender or the body.
        tasks.execute(std::future::poll_fn(move |cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            said.store(connection.current_max_send_streams(), Relaxed);
            polled
        }));
        Ok(Self {
            sender,
            end,
            room,
            target,
            led,
            born: Moment::now(),
            idle_since: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            requests: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        })
    }

    /// A place, if there is room.
    pub fn enter(self: &Arc<Self>) -> Option<Seat> {
        let room = self.room.load(Relaxed).min(limits::BACKEND_STREAMS);
        if self.sender.is_closed() || self.streams.load(Relaxed) >= room {
            return None;
        }
        self.streams.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        Some(Seat {
            sender: self.sender.clone(),
            multi: self.clone(),
        })
    }

    /// Whether it may take new exchanges.
    pub fn is_good(&self, names: &Names) -> bool {
        !self.retired.load(Relaxed)
            && !self.sender.is_closed()
            && self.born.elapsed() < limits::POOL_AGE
            && self.requests.load(Relaxed) < limits::POOL_REQUESTS
            && (self.led.version == names.version() || names.leads_to(&self.led.to))
    }

    /// Nobody uses it, and nobody has for long.
    pub fn is_stale(&self) -> bool {
        let idle = self.born.millis() - self.idle_since.load(Relaxed).min(self.born.millis());
        self.streams.load(Relaxed) == 0 && u128::from(idle) >= limits::POOL_IDLE_TIME.as_millis()
    }

    pub fn is_idle(&self) -> bool {
        self.streams.load(Relaxed) == 0
    }
}

/// One exchange's place on a connection.
pub struct Seat {
    pub sender: SendRequest<Outgoing>,
    multi: Arc<Multi>,
}

impl Seat {
    /// The exchange is over while its request is still travelling. What has not been taken from
    /// it is reset as soon as it moves; a backend that never takes more would keep it for ever,
    /// so the connection goes with its last exchange.
    pub fn leaves_a_request(&self) {
        self.multi.retired.store(true, Relaxed);
    }

    pub fn target(&self) -> usize {
        self.multi.target
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let multi = &self.multi;
        multi.idle_since.store(multi.born.millis(), Relaxed);
        if multi.streams.fetch_sub(1, Relaxed) == 1 && multi.retired.load(Relaxed) {
            multi.end.cancel();
        }
    }
}

/// The connections of one worker to one backend, by address.
pub struct Multis {
    open: Mutex<Vec<Vec<Arc<Multi>>>>,
    /// Who opens one: others wait, and find room on it.
    opening: Vec<tokio::sync::Mutex<()>>,
}

impl Multis {
    pub fn new(targets: usize) -> Self {
        Self {
            open: Mutex::new((0..targets).map(|_| Vec::new()).collect()),
            opening: (0..targets)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
        }
    }

    /// A place on a connection that is open; the oldest first, so that others become idle.
    pub fn enter(&self, target: usize, names: &Names) -> Option<Seat> {
        let mut open = self.lock();
        open[target].retain(|multi| multi.is_good(names));
        open[target].iter().find_map(Multi::enter)
    }

    /// Waits for who opens a connection to this address.
    pub async fn turn(&self, target: usize) -> tokio::sync::MutexGuard<'_, ()> {
        self.opening[target].lock().await
    }

    pub fn add(&self, multi: Arc<Multi>) {
        self.lock()[multi.target].push(multi);
    }

    /// Lets go of those that are stale, or lead to an address that has vanished.
    pub fn sweep<'a>(&self, names: impl Fn(usize) -> &'a Names) {
        for (target, open) in self.lock().iter_mut().enumerate() {
            open.retain(|multi| !multi.is_stale() && multi.is_good(names(target)));
        }
    }

    /// Closes one that is idle; whether there was one.
    pub fn close_one(&self) -> bool {
        let mut open = self.lock();
        let mut lists = open.iter_mut();
        lists.any(|list| {
            let idle = list.iter().position(|multi| multi.is_idle());
            idle.map(|at| list.remove(at)).is_some()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Arc<Multi>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
