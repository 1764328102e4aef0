//! A tunnel: bytes pass unseen, both ways.
//!
//! What enters: two sockets. What leaves: how much has passed. What can never happen: a tunnel
//! leads to an address that was not looked at (names are resolved once, and the address that was
//! judged is the one that is connected to), stands still for longer than its time, or outlives the
//! gateway's draining.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::metrics::Outcome;
use super::{Egress, Record};
use crate::config::Portal;
use crate::error::Code;
use crate::gateway::coarse::Moment;
use crate::gateway::door::places::Place;
use crate::gateway::here;
use crate::gateway::upstream::connect::part;
use crate::limits;

/// A client and the host that it asked for.
pub struct Tunnel {
    pub(super) near: TcpStream,
    pub(super) far: TcpStream,
    /// What the client has sent already.
    pub(super) early: Bytes,
    pub(super) record: Record,
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _place: Place,
}

/// A connection to one of the host's addresses where tunnels may lead.
///
/// # Errors
/// [`Code::EgressAddress`]: there is none; `BackendUnreachable`: none answers in time.
pub(super) async fn connect(
    egress: &Egress,
    portal: &Portal,
    time: Duration,
) -> Result<TcpStream, Code> {
    let deadline = Instant::now() + time;
    let found = tokio::net::lookup_host((portal.host.as_str(), portal.port));
    let Ok(Ok(found)) = timeout_at(deadline, found).await else {
        return Err(Code::BackendUnreachable);
    };
    let mut all: Vec<SocketAddr> = found.collect();
    all.retain(|to| egress.config.may_lead_to(to.ip()) && !here::is_listening(&egress.own, *to));
    all.truncate(limits::DNS_ADDRESSES);
    if all.is_empty() {
        return Err(Code::EgressAddress);
    }
    for (at, &to) in all.iter().enumerate() {
        let opened = timeout_at(part(deadline, all.len() - at), TcpStream::connect(to));
        if let Ok(Ok(tcp)) = opened.await {
            let _ = tcp.set_nodelay(true);
            return Ok(tcp);
        }
    }
    Err(Code::BackendUnreachable)
}

impl Tunnel {
    /// Until both sides have ended, one has broken, nothing moves, or `drain` after `stop`.
    pub async fn run(mut self, stop: &CancellationToken, drain: Duration) {
        let idle = self.record.egress.config.tunnel_idle_time;
        let metrics = self.record.egress.metrics.clone();
        metrics.tunnels.inc();
        let pulse = Pulse::new();
        let (out, back) = (AtomicU64::new(0), AtomicU64::new(0));
        let early = std::mem::take(&mut self.early);
        let whole = {
            let (near_read, near_write) = self.near.split();
            let (far_read, mut far_write) = self.far.split();
            let there = async {
                far_write.write_all(&early).await?;
                out.fetch_add(early.len() as u64, Relaxed);
                pour(near_read, far_write, &pulse, &out).await
            };
            let here = pour(far_read, near_write, &pulse, &back);
            tokio::select! {
                ended = async { tokio::try_join!(there, here) } => ended.is_ok(),
                () = pulse.stops(idle) => false,
                () = async { stop.cancelled().await; tokio::time::sleep(drain).await; } => false,
            }
        };
        if !whole {
            for tcp in [&self.near, &self.far] {
                // Neither side may take a cut for an end.
                let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
            }
        }
        let moved = (out.into_inner(), back.into_inner());
        metrics.tunnels.dec();
        metrics.moved(moved.0, moved.1);
        let outcome = match whole {
            true => Outcome::Tunnelled,
            false => Outcome::Cut,
        };
        self.record.ends(outcome, 200, Some(moved));
    }
}

async fn pour(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    pulse: &Pulse,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; limits::TUNNEL_BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        pulse.beats();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        pulse.beats();
        count.fetch_add(read as u64, Relaxed);
    }
}

/// When something last moved.
struct Pulse {
    began: Moment,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self {
            began: Moment::now(),
            last: AtomicU64::new(0),
        }
    }

    fn beats(&self) {
        self.last.store(self.began.millis(), Relaxed);
    }

    /// Waits until nothing has moved for so long.
    async fn stops(&self, time: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Relaxed));
            let left = (last + time).saturating_sub(self.began.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}
