//! Listening sockets and the cap on connections.
//!
//! What enters: addresses. What leaves: byte streams, dealt out to the workers in turn; what is
//! spoken on them is decided behind this door (HTTP today, MLLP later). What can never happen:
//! more than `limits.connections` at once, or a second gateway on the same address unnoticed
//! (SO_REUSEADDR is set, SO_REUSEPORT is not).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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

/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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
    TcpListener::from_std(socket.into())
}

/// Accepts until `stop`, and hands each connection to `deal`.
pub async fn accept(
    (entrance, listener): (Entrance, TcpListener),
    cap: Arc<Semaphore>,
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
        let Ok(place) = cap.clone().try_acquire_owned() else {
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
