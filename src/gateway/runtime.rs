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
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::{self, Door};
use super::listen::{self, Accepted, Cap, Entrance, Spot};
use super::serve;
use super::shared::Worker;
use crate::limits;

/// A gateway at work. Dropped without [`Running::drain`], it stops at once.
pub struct Running {
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
}

/// What can be changed of a gateway at work.
pub struct Control {
    door: Arc<Door>,
    workers: Vec<Arc<Worker>>,
    cap: Arc<Cap>,
    deal: Arc<dyn Fn(Accepted) + Send + Sync>,
    listening: Mutex<Vec<Listening>>,
    accepting: CancellationToken,
    acceptors: TaskTracker,
    serving: CancellationToken,
}

/// One address that is accepted on.
struct Listening {
    /// As configured: port 0 stands for any.
    configured: Spot,
    bound: SocketAddr,
    listener: Arc<TcpListener>,
    stop: CancellationToken,
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
    listeners: Vec<(Spot, TcpListener)>,
    door: Door,
    workers: Vec<Worker>,
) -> io::Result<Running> {
    let door = Arc::new(door);
    let workers: Vec<_> = workers.into_iter().map(Arc::new).collect();
    let Some(first) = workers.first() else {
        return Err(io::Error::other("a gateway has at least one worker"));
    };
    let cap = Arc::new(Cap::new(first.site().shared.limits.connections));
    let serving = CancellationToken::new();
    let mut threads = Vec::with_capacity(workers.len());
    let mut inboxes = Vec::with_capacity(workers.len());
    for (number, worker) in workers.iter().cloned().enumerate() {
        let (inbox, arrivals) = mpsc::unbounded_channel();
        inboxes.push(inbox);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (door, stop) = (door.clone(), serving.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || {
            runtime.block_on(work(worker, door, arrivals, stop));
            runtime.shutdown_background();
        })?);
    }
    let next = AtomicUsize::new(0);
    // The channel is bounded by the cap: each message holds a place under it.
    let deal = move |accepted| {
        let turn = next.fetch_add(1, Relaxed) % inboxes.len();
        let _ = inboxes[turn].send(accepted);
    };
    let control = Arc::new(Control {
        door: door.clone(),
        workers,
        cap,
        deal: Arc::new(deal),
        listening: Mutex::default(),
        accepting: CancellationToken::new(),
        acceptors: TaskTracker::new(),
        serving,
    });
    control.listen(listeners);
    tokio::spawn(door::watch(door, control.accepting.clone()));
    Ok(Running { control, threads })
}

impl Control {
    /// Begins to accept on these as well: (as configured, bound). In the control runtime.
    pub fn listen(&self, listeners: Vec<(Spot, TcpListener)>) {
        let mut listening = self.listening();
        for (configured, listener) in listeners {
            let listener = Arc::new(listener);
            let stop = self.accepting.child_token();
            let (cap, deal) = (self.cap.clone(), self.deal.clone());
            let metrics = self.workers[0].metrics.clone();
            self.acceptors.spawn(listen::accept(
                (configured.0, listener.clone()),
                cap,
                metrics,
                stop.clone(),
                move |accepted| deal(accepted),
            ));
            listening.push(Listening {
                configured,
                bound: listener.local_addr().unwrap_or(configured.1),
                listener,
                stop,
            });
        }
    }

    /// Those of `wanted` that are not listened on yet.
    pub fn missing(&self, wanted: &[Spot]) -> Vec<Spot> {
        let listening = self.listening();
        let is_missing = |a: &&Spot| !listening.iter().any(|l| l.configured == **a);
        wanted.iter().filter(is_missing).copied().collect()
    }

    /// Closes what is not among `wanted`. Connections that came in there stay.
    pub fn close_others(&self, wanted: &[Spot]) {
        self.listening().retain(|one| {
            let stays = wanted.contains(&one.configured);
            if !stays {
                one.stop.cancel();
            }
            stays
        });
    }

    /// Bound, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound(Entrance::Door)
    }

    /// Where CONNECT is spoken.
    pub fn egress_addresses(&self) -> Vec<SocketAddr> {
        self.bound(Entrance::Egress)
    }

    fn bound(&self, entrance: Entrance) -> Vec<SocketAddr> {
        let listening = self.listening();
        let its = listening.iter().filter(|one| one.configured.0 == entrance);
        its.map(|one| one.bound).collect()
    }

    /// The sockets themselves, for a process that takes over.
    pub fn listeners(&self) -> Vec<Arc<TcpListener>> {
        let listening = self.listening();
        listening.iter().map(|one| one.listener.clone()).collect()
    }

    /// Where it listens, with the sockets.
    pub fn spots(&self) -> Vec<(Spot, Arc<TcpListener>)> {
        let listening = self.listening();
        let spot = |one: &Listening| (one.configured, one.listener.clone());
        listening.iter().map(spot).collect()
    }

    /// What lets clients in: its TLS files can be read again at any time (they also are whenever
    /// they change).
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    pub fn cap(&self) -> &Cap {
        &self.cap
    }

    fn listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        // Each change is one step: a panic elsewhere leaves a whole list.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.control.addresses()
    }

    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    pub fn door(&self) -> &Arc<Door> {
        self.control.door()
    }

    /// Stops accepting, lets requests in flight end for at most `drain_time`, and returns when
    /// every worker has. Whether all of them ended in time is not told apart: what had to be cut
    /// was reset, and the log says so.
    pub async fn drain(mut self) {
        self.control.accepting.cancel();
        self.control.listening().clear();
        // What has been accepted is served: a worker stops when it has all that will ever come.
        self.control.acceptors.close();
        self.control.acceptors.wait().await;
        self.control.serving.cancel();
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
        self.control.accepting.cancel();
        self.control.listening().clear();
        self.control.serving.cancel();
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
            _ = broom.tick() => worker.site().upstreams.sweep(),
            _ = flush.tick() => worker.access.flush(),
            () = stop.cancelled() => break,
        }
    }
    while let Ok(accepted) = arrivals.try_recv() {
        take(accepted, &worker, &door, &stop, &connections);
    }
    connections.close();
    let time = worker.site().shared.limits.drain_time;
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
        let metrics = worker.metrics.clone();
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
