//! Listening sockets and the cap on connections.
//!
//! What enters: addresses. What leaves: byte streams, dealt out to the workers in turn; what is
//! spoken on them is decided behind this door (HTTP today, MLLP later). What can never happen:
//! more than `limits.connections` at once, a second gateway on the same address unnoticed
//! (SO_REUSEADDR is set, SO_REUSEPORT is not), or an address that goes on being listened on is
//! closed in between.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::limits;

/// A connection just accepted, with its place under the cap.
pub struct Accepted {
    pub stream: std::net::TcpStream,
    /// Who is at the other end of it: a client, or a load balancer.
    pub peer: SocketAddr,
    pub place: OwnedSemaphorePermit,
    pub entrance: Entrance,
}

/// What is spoken where a connection has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// TLS, by name or redirected.
    Door,
    /// CONNECT.
    Egress,
}

/// An address to listen on, and what is spoken there.
pub type Spot = (Entrance, SocketAddr);

/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // Each family is listed by itself, so that nothing listens where nobody looks.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    Ok(socket.into())
}

/// Listening sockets that this process was given, by a service manager or by the process before it.
#[derive(Default)]
pub struct Inherited(Vec<std::net::TcpListener>);

impl Inherited {
    /// # Errors
    /// One of them is no socket that can be listened on.
    pub fn new(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        for socket in &sockets {
            socket.local_addr()?;
            socket.set_nonblocking(true)?;
        }
        Ok(Self(sockets))
    }

    /// The one of this address, if there is one. Nobody is given it again.
    pub fn take(&mut self, address: SocketAddr) -> Option<std::net::TcpListener> {
        let is_it = |s: &std::net::TcpListener| s.local_addr().is_ok_and(|a| a == address);
        let at = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(at))
    }

    /// Addresses that nobody has taken.
    pub fn left(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|s| s.local_addr().ok()).collect()
    }
}

/// `limits.connections`, which a reload may change.
pub struct Cap {
    places: Arc<Semaphore>,
    most: Mutex<usize>,
}

impl Cap {
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most: Mutex::new(most),
        }
    }

    /// Over the new cap, none is let in until as many have left.
    pub fn becomes(&self, most: usize) {
        let most = most.min(Semaphore::MAX_PERMITS);
        let mut now = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if most > *now {
            self.places.add_permits(most - *now);
        } else if most < *now {
            let fewer = u32::try_from(*now - most).unwrap_or(u32::MAX);
            let places = self.places.clone();
            tokio::spawn(async move {
                if let Ok(taken) = places.acquire_many_owned(fewer).await {
                    taken.forget();
                }
            });
        }
        *now = most;
    }
}

/// Accepts until `stop`, and hands each connection to `deal`.
pub async fn accept(
    (entrance, listener): (Entrance, Arc<TcpListener>),
    cap: Arc<Cap>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    deal: impl Fn(Accepted),
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, or a client that left in between: neither may spin or end this.
                tracing::warn!(kind = ?error.kind(), "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // Over the cap a connection is closed at once: waiting would look like an outage to all.
        let Ok(place) = cap.places.clone().try_acquire_owned() else {
            metrics.connections_refused.inc();
            continue;
        };
        if let Ok(stream) = stream.into_std() {
            deal(Accepted {
                stream,
                peer,
                place,
                entrance,
            });
        }
    }
}
