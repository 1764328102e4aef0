//! The shape of the runtime, decided here alone.
//!
//! What enters: built parts and listening sockets. What leaves: a running gateway. What can
//! never happen: two files disagree about what is shared and what is one worker's own.
//!
//! - One thread a core, each with a runtime of its own (no work stealing): a client connection,
//!   its requests and their backend connections stay on one core, and waking one from the other
//!   is not a system call.
//! - The control thread accepts and deals connections out in turn, so that few connections are
//!   spread as well as many, keeps the link to the vault, and serves metrics.
//! - A worker's own: its pools, its access log buffer. Shared by all: routes, policies, leases,
//!   the hold budget, the connection cap, the restore budget.
//! - Futures are `Send` all the same, so that this file can change its mind.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::{self, Door};
use super::listen::{self, Accepted, Entrance};
use super::serve;
use super::shared::Worker;
use crate::limits;

/// A gateway at work. Dropped without [`Running::drain`], it stops at once.
pub struct Running {
    addresses: Vec<SocketAddr>,
    egress: Vec<SocketAddr>,
    door: Arc<Door>,
    accepting: CancellationToken,
    serving: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// The control thread's runtime.
///
/// # Errors
/// The system has no more files or threads.
pub fn control() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Starts the workers and begins to accept. Called inside the control runtime.
///
/// # Errors
/// A thread or runtime cannot be made.
pub fn start(
    listeners: Vec<(Entrance, TcpListener)>,
    door: Door,
    workers: Vec<Worker>,
) -> io::Result<Running> {
    let door = Arc::new(door);
    let of = |entrance| {
        let its = listeners.iter().filter(move |(one, _)| *one == entrance);
        its.filter_map(|(_, l)| l.local_addr().ok()).collect()
    };
    let mut running = Running {
        addresses: of(Entrance::Door),
        egress: of(Entrance::Egress),
        door: door.clone(),
        accepting: CancellationToken::new(),
        serving: CancellationToken::new(),
        threads: Vec::with_capacity(workers.len()),
    };
    let Some(first) = workers.first() else {
        return Err(io::Error::other("a gateway has at least one worker"));
    };
    let metrics = first.shared.metrics.clone();
    let cap = Arc::new(Semaphore::new(first.shared.limits.connections));
    let mut inboxes = Vec::with_capacity(workers.len());
    for (number, worker) in workers.into_iter().enumerate() {
        let (inbox, arrivals) = mpsc::unbounded_channel();
        inboxes.push(inbox);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (door, stop) = (door.clone(), running.serving.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        running.threads.push(thread.spawn(move || {
            runtime.block_on(work(Arc::new(worker), door, arrivals, stop));
            runtime.shutdown_background();
        })?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    for listener in listeners {
        let (inboxes, next) = (inboxes.clone(), next.clone());
        // The channel is bounded by the cap: each message holds a place under it.
        let deal = move |accepted| {
            let turn = next.fetch_add(1, Relaxed) % inboxes.len();
            let _ = inboxes[turn].send(accepted);
        };
        let (cap, metrics) = (cap.clone(), metrics.clone());
        let stop = running.accepting.clone();
        tokio::spawn(listen::accept(listener, cap, metrics, stop, deal));
    }
    tokio::spawn(door::watch(door, running.accepting.clone()));
    Ok(running)
}

impl Running {
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where CONNECT is spoken.
    pub fn egress_addresses(&self) -> &[SocketAddr] {
        &self.egress
    }

    /// What lets clients in: its TLS files can be read again at any time (they also are whenever
    /// they change).
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Stops accepting, lets requests in flight end for at most `drain_time`, and returns when
    /// every worker has. Whether all of them ended in time is not told apart: what had to be cut
    /// was reset, and the log says so.
    pub async fn drain(mut self) {
        self.accepting.cancel();
        self.serving.cancel();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.cancel();
        self.serving.cancel();
    }
}

/// One worker: its connections, its pools' broom, its access log's flush.
async fn work(
    worker: Arc<Worker>,
    door: Arc<Door>,
    mut arrivals: mpsc::UnboundedReceiver<Accepted>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut broom = tokio::time::interval(Duration::from_secs(1));
    let mut flush = tokio::time::interval(limits::ACCESS_LOG_TIME);
    loop {
        tokio::select! {
            accepted = arrivals.recv() => match accepted {
                Some(accepted) => take(accepted, &worker, &door, &stop, &connections),
                None => break,
            },
            _ = broom.tick() => worker.upstreams.sweep(),
            _ = flush.tick() => worker.access.flush(),
            () = stop.cancelled() => break,
        }
    }
    connections.close();
    let time = worker.shared.limits.drain_time;
    if tokio::time::timeout(time, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(connections = connections.len(), "cut after the drain time");
    }
    worker.access.flush();
}

fn take(
    accepted: Accepted,
    worker: &Arc<Worker>,
    door: &Arc<Door>,
    stop: &CancellationToken,
    connections: &TaskTracker,
) {
    let Ok(stream) = tokio::net::TcpStream::from_std(accepted.stream) else {
        return;
    };
    let (worker, door, stop) = (worker.clone(), door.clone(), stop.clone());
    connections.spawn(async move {
        let _place = accepted.place;
        let metrics = worker.shared.metrics.clone();
        metrics.connections.inc();
        match accepted.entrance {
            Entrance::Door => serve::connection(stream, accepted.peer, worker, door, stop).await,
            // Boxed: most connections are not of this sort.
            Entrance::Egress => {
                Box::pin(serve::outward(stream, accepted.peer, worker, door, stop)).await;
            }
        }
        metrics.connections.dec();
    });
}
