//! What comes from one side of a WebSocket: how much, since when.
//!
//! What enters: bytes of a socket. What leaves: the same bytes, and when they have been missing
//! for too long. What can never happen: more than `limits::MESSAGE_FREE` bytes of a message are
//! taken outside the hold budget, or a peer keeps a message open for ever by adding to it slowly.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Fault;
use crate::gateway::body::hold::Held;
use crate::gateway::coarse::Moment;
use crate::gateway::shared::Shared;
use crate::gateway::socket::Delivery;
use crate::limits;

/// What one side has sent. Times are milliseconds since `start`, plus one; 0 is never.
pub struct Meter {
    start: Moment,
    last: AtomicU64,
    /// Bytes of a message that is not complete, and since when there are some.
    pending: AtomicUsize,
    begun: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicBool,
    share: Mutex<Option<Held>>,
}

impl Meter {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Moment::now(),
            last: AtomicU64::new(1),
            pending: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            share: Mutex::default(),
        })
    }

    /// A message is complete; what follows is the next one's.
    pub fn took_message(&self) {
        self.pending.store(0, Relaxed);
        self.begun.store(0, Relaxed);
    }

    /// A ping, pong or close of so many bytes on the wire was complete.
    pub fn took_control(&self, bytes: usize) {
        let left = self.pending.load(Relaxed).saturating_sub(bytes);
        self.pending.store(left, Relaxed);
        if left == 0 {
            self.begun.store(0, Relaxed);
        }
    }

    /// The message has left: its share of the hold budget goes back.
    pub fn release(&self) {
        drop(self.share().take());
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether its socket broke, rather than came to its end.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// The time, as this meter counts it.
    pub fn now(&self) -> u64 {
        self.start.millis().saturating_add(1)
    }

    /// Waits until nothing has come for `time`, or longer for one message than `time` and a
    /// second for each `rate` bytes (0: as long as it likes). Time before `since` does not count:
    /// nobody was reading.
    pub async fn late(&self, since: u64, time: Duration, rate: usize) {
        self.until(|| {
            let silent = self.silent_from(since) + millis(time);
            let begun = self.begun.load(Relaxed);
            if begun == 0 || rate == 0 {
                return silent;
            }
            let earned = self.pending.load(Relaxed) as u64 * 1000 / rate as u64;
            silent.min(begun.max(since) + millis(time) + earned)
        })
        .await;
    }

    /// Waits until nothing has come for `time`, counted from `since` at the earliest.
    pub async fn silent(&self, since: u64, time: Duration) {
        self.until(|| self.silent_from(since) + millis(time)).await;
    }

    fn silent_from(&self, since: u64) -> u64 {
        self.last.load(Relaxed).max(since)
    }

    async fn until(&self, deadline: impl Fn() -> u64) {
        loop {
            let left = deadline().saturating_sub(self.now());
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }

    fn read(&self, bytes: usize) {
        let now = self.now();
        self.last.store(now, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.pending.fetch_add(bytes, Relaxed);
        if self.begun.load(Relaxed) == 0 {
            self.begun.store(now, Relaxed);
        }
    }

    fn share(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

type Wait = Pin<Box<dyn Future<Output = Result<Held, Fault>> + Send>>;

/// A stream with its meter.
pub struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
    /// Messages take shares of the hold budget.
    budget: Option<(Arc<Shared>, Option<Wait>)>,
    /// The other side's, which is whole when this side has ended.
    other: Option<Arc<Delivery>>,
}

impl<S> Metered<S> {
    /// Of messages, which are held.
    pub fn holding(inner: S, meter: Arc<Meter>, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            meter,
            budget: Some((shared, None)),
            other: None,
        }
    }

    /// Of bytes that pass.
    pub fn passing(inner: S, meter: Arc<Meter>, other: Option<Arc<Delivery>>) -> Self {
        Self {
            inner,
            meter,
            budget: None,
            other,
        }
    }

    /// The stream alone.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn poll_share(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some((shared, wait)) = &mut self.budget else {
            return Poll::Ready(Ok(()));
        };
        let small = self.meter.pending.load(Relaxed) <= limits::MESSAGE_FREE;
        if small || self.meter.share().is_some() {
            return Poll::Ready(Ok(()));
        }
        let waiting = wait.get_or_insert_with(|| {
            let shared = shared.clone();
            Box::pin(async move { shared.hold.take(shared.limits.hold, &shared.metrics).await })
        });
        let share = ready!(waiting.as_mut().poll(cx));
        *wait = None;
        *self.meter.share() = Some(share?);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        ready!(me.poll_share(cx)).map_err(io::Error::other)?;
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut me.inner).poll_read(cx, buf));
        let bytes = buf.filled().len() - before;
        if read.is_err() {
            me.meter.failed.store(true, Relaxed);
        } else if bytes > 0 {
            me.meter.read(bytes);
        } else if let Some(other) = &me.other {
            other.ended();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(60);

    #[tokio::test]
    async fn silence_and_slow_messages_are_told_and_pings_are_no_messages() {
        let meter = Meter::new();
        // A ping that was complete leaves nothing begun.
        meter.read(6);
        meter.took_control(6);
        assert_eq!(meter.begun.load(Relaxed), 0);
        // A message that goes on and on is late although it is never silent.
        meter.read(1);
        let drip = async {
            loop {
                tokio::time::sleep(MS / 4).await;
                meter.read(1);
            }
        };
        let late = async {
            tokio::select! {
                () = meter.late(0, MS, 1_000_000) => true,
                () = drip => false,
                () = tokio::time::sleep(100 * MS) => false,
            }
        };
        assert!(late.await);
        meter.took_message();
        let silent = meter.late(meter.now(), MS, 0);
        tokio::time::timeout(100 * MS, silent).await.unwrap();
    }
}
