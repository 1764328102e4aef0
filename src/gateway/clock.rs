//! The time-outs of a client connection that no library keeps for us.
//!
//! What enters: what the socket and the requests of one connection do. What leaves: a verdict,
//! when one of them has taken too long. What can never happen: a connection that stays open
//! because nothing happens on it (hyper leaves HTTP/2 open before the preface, when idle, and
//! when a client does not read). One coarse timer a connection, none a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::body::sending::Sending;
use super::coarse::Moment;
use crate::config::Limits;
use crate::limits::{LINGER_BYTES, LINGER_TIME};

/// What happens on one connection. Times are milliseconds since `start`, plus one; 0 is never.
pub struct Clock {
    start: Moment,
    in_flight: AtomicU32,
    /// Requests ever; wraps.
    requests: AtomicU32,
    /// It has been said that the connection is old.
    told: AtomicBool,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    blocked_since: AtomicU64,
    /// Bytes that the client has taken.
    written: AtomicU64,
    /// HTTP/2: what of its answers waits for the client, in a window that is shut or behind one
    /// that is open. Frames of other kinds do not count as taken: a client can have those at will.
    pub sending: Arc<Sending>,
    unread: AtomicBool,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No request for `idle_time`.
    Idle,
    /// A request head did not arrive within `head_time`.
    SlowHead,
    /// The client has not taken a byte of what waits for it for `body_idle_time`, or fewer than
    /// `body_rate` on and on.
    NotReading,
    /// One request has lasted for `exchange_time` (HTTP/1.1; in HTTP/2 its stream is reset).
    LongExchange,
    /// Older than `connection_time`, or more than `connection_requests`: it ends with the answers
    /// that are on the way. Said once.
    Old,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Moment::now(),
            in_flight: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            told: AtomicBool::new(false),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            sending: Arc::default(),
            unread: AtomicBool::new(false),
        }
    }
}

impl Clock {
    /// A request's head is complete; it is in flight until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
        InFlight(self.clone())
    }

    /// Part of a request body will not be read: HTTP/1.1 lingers before it closes. In HTTP/2 the
    /// client may be waiting for a window that never opens: the connection is not kept idle long.
    pub fn leave_unread(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.unread.store(true, Relaxed);
    }

    /// Whether the client may be sending still: part of a body, or of a head that was refused
    /// before its end. A socket that is closed on those bytes resets, and takes our answer along.
    fn leaves_bytes(&self) -> bool {
        self.unread.load(Relaxed) || self.head_since.load(Relaxed) != 0
    }

    /// Waits until something has taken too long. `heads`: bytes without a request in flight are
    /// the start of a request head (HTTP/1.1; in HTTP/2 they may be pings).
    pub async fn watch(&self, limits: &Limits, heads: bool) -> Verdict {
        let shortest = limits
            .head_time
            .min(limits.idle_time)
            .min(limits.body_idle_time)
            .min(limits.exchange_time)
            .min(limits.connection_time);
        let tick = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(2));
        let mut present = (0, self.now());
        let mut reading = (0, Duration::ZERO);
        let mut taking = (0, self.now());
        loop {
            tokio::time::sleep(tick).await;
            if let Some(verdict) = self.judge(limits, heads) {
                return verdict;
            }
            let progress = self.progress(heads);
            if limits.body_rate > 0 && reads_slowly(&mut reading, progress, tick, limits) {
                return Verdict::NotReading;
            }
            let (taken, waits) = progress;
            if !waits || taken != taking.0 {
                taking = (taken, self.now());
            } else if self.is_older(taking.1, limits.body_idle_time) {
                return Verdict::NotReading;
            }
            // No request looks at the clock for this: here it is seen that one is still the same.
            let (number, since) = present;
            let request = self.requests.load(Relaxed);
            if request != number || self.in_flight.load(Relaxed) == 0 {
                present = (request, self.now());
            } else if heads && self.is_older(since, limits.exchange_time) {
                return Verdict::LongExchange;
            }
        }
    }

    /// Bytes that the client has taken, and whether more wait for it.
    fn progress(&self, http_1: bool) -> (u64, bool) {
        let blocked = self.blocked_since.load(Relaxed) != 0;
        if http_1 {
            (self.written.load(Relaxed), blocked)
        } else {
            (self.sending.taken(), blocked || self.sending.queued() > 0)
        }
    }

    fn is_older(&self, since: u64, time: Duration) -> bool {
        since != 0 && u128::from(self.now().saturating_sub(since)) >= time.as_millis()
    }

    fn judge(&self, limits: &Limits, heads: bool) -> Option<Verdict> {
        let older = |since, time| self.is_older(since, time);
        if older(self.blocked_since.load(Relaxed), limits.body_idle_time) {
            return Some(Verdict::NotReading);
        }
        let old = older(1, limits.connection_time)
            || self.requests.load(Relaxed) as usize >= limits.connection_requests;
        if old && !self.told.swap(true, Relaxed) {
            return Some(Verdict::Old);
        }
        if self.in_flight.load(Relaxed) > 0 {
            return None;
        }
        if heads && older(self.head_since.load(Relaxed), limits.head_time) {
            return Some(Verdict::SlowHead);
        }
        let idle_time = if self.unread.load(Relaxed) {
            limits.idle_time.min(LINGER_TIME)
        } else {
            limits.idle_time
        };
        older(self.idle_since.load(Relaxed), idle_time).then_some(Verdict::Idle)
    }

    fn now(&self) -> u64 {
        self.start.millis().saturating_add(1)
    }

    fn bytes_read(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    fn wrote(&self, bytes: &Poll<io::Result<usize>>) {
        self.write(bytes.is_pending());
        if let Poll::Ready(Ok(bytes)) = bytes {
            // Only the connection's own thread writes.
            let all = self.written.load(Relaxed).wrapping_add(*bytes as u64);
            self.written.store(all, Relaxed);
        }
    }

    fn write(&self, blocked: bool) {
        if !blocked {
            if self.blocked_since.load(Relaxed) != 0 {
                self.blocked_since.store(0, Relaxed);
            }
        } else if self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(self.now(), Relaxed);
        }
    }
}

/// Blocked time that was not earned by bytes taken, in steps of `tick`: (bytes taken so far,
/// time), which is the caller's to keep.
fn reads_slowly(
    kept: &mut (u64, Duration),
    (taken, waits): (u64, bool),
    tick: Duration,
    limits: &Limits,
) -> bool {
    let (before, slow) = *kept;
    let earned = taken.saturating_sub(before) * 1000 / limits.body_rate.max(1) as u64;
    let more = if waits { tick } else { Duration::ZERO };
    let slow = (slow + more).saturating_sub(Duration::from_millis(earned));
    *kept = (taken, slow);
    slow >= limits.body_idle_time
}

/// A request in flight, from its complete head to the last byte of its answer.
pub struct InFlight(Arc<Clock>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A stream that tells the clock what happens on it, and lingers on closing where it must.
pub struct Watched<S> {
    inner: S,
    clock: Arc<Clock>,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: u64,
}

impl<S> Watched<S> {
    pub fn new(inner: S, clock: Arc<Clock>) -> Self {
        Self {
            inner,
            clock,
            linger: None,
        }
    }

    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.clock.bytes_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.clock.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.clock.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.clock.write(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.linger.is_none() {
            ready!(Pin::new(&mut me.inner).poll_shutdown(cx))?;
            if !me.clock.leaves_bytes() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = me.linger.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep(LINGER_TIME)),
            bytes: 0,
        });
        let mut scratch = [0; 4096];
        while linger.bytes < LINGER_BYTES && linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut me.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => linger.bytes += buf.filled().len() as u64,
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Gives a future up when it has not been woken for `limit`, or has lasted for `longest`. Every
/// wait of an exchange has a time-out of its own shorter than `limit`, so what sleeps this long is
/// an HTTP/2 stream whose client opens no window.
pub async fn unless_stalled<F: Future>(
    limit: Duration,
    longest: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut timer = std::pin::pin!(tokio::time::sleep(limit.min(longest)));
    let mut last = tokio::time::Instant::now();
    let end = last + longest;
    std::future::poll_fn(|cx| {
        let now = tokio::time::Instant::now();
        // The timer's own wake is none: a future that was once woken by something else would
        // otherwise be kept for ever by the timer that should end it.
        let mut woken = true;
        while timer.as_mut().poll(cx).is_ready() {
            if now.duration_since(last) >= limit || now >= end {
                return Poll::Ready(None);
            }
            timer.as_mut().reset((last + limit).min(end));
            woken = false;
        }
        if woken {
            last = now;
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ms: u64) -> Limits {
        let time = Duration::from_millis(ms);
        Limits {
            idle_time: time * 3,
            head_time: time,
            body_idle_time: time,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn silence_a_slow_head_and_a_client_that_does_not_read_are_told_apart() {
        let clock = Arc::new(Clock::default());
        assert_eq!(clock.watch(&limits(40), true).await, Verdict::Idle);
        clock.bytes_read();
        clock.idle_since.store(u64::MAX, Relaxed);
        assert_eq!(clock.watch(&limits(40), true).await, Verdict::SlowHead);
        clock.write(true);
        let flying = clock.request();
        assert_eq!(clock.watch(&limits(40), true).await, Verdict::NotReading);
        clock.write(false);
        assert_eq!(clock.judge(&limits(0), true), None);
        drop(flying);
        assert_eq!(clock.judge(&limits(0), false), Some(Verdict::Idle));
    }

    #[tokio::test]
    async fn an_old_connection_is_told_once_and_an_endless_exchange_is_ended() {
        let second = Duration::from_secs(1);
        let clock = Arc::new(Clock {
            start: Moment::ago(2 * second),
            ..Clock::default()
        });
        let young = Limits {
            connection_requests: 2,
            ..limits(60_000)
        };
        let old = Limits {
            connection_time: second,
            ..limits(60_000)
        };
        let flying = clock.request();
        assert_eq!(clock.judge(&young, true), None);
        assert_eq!(clock.judge(&old, true), Some(Verdict::Old));
        assert_eq!(clock.judge(&old, true), None);
        clock.told.store(false, Relaxed);
        drop(flying);
        let _flying = clock.request();
        assert_eq!(clock.judge(&young, true), Some(Verdict::Old));
        let short = Limits {
            exchange_time: Duration::from_millis(40),
            ..limits(60_000)
        };
        assert_eq!(clock.watch(&short, true).await, Verdict::LongExchange);
    }

    #[test]
    fn a_connection_with_a_body_left_unread_is_not_kept_idle_long() {
        let clock = Clock {
            start: Moment::ago(2 * LINGER_TIME),
            ..Clock::default()
        };
        let long = limits(60_000);
        assert_eq!(clock.judge(&long, false), None);
        clock.leave_unread();
        assert_eq!(clock.judge(&long, false), None);
        clock.idle_since.store(1, Relaxed);
        assert_eq!(clock.judge(&long, false), Some(Verdict::Idle));
    }

    #[tokio::test]
    async fn a_future_that_is_never_woken_is_given_up() {
        let limit = Duration::from_millis(60);
        let never = unless_stalled(limit, 9 * limit, std::future::pending::<()>()).await;
        assert!(never.is_none());
        let slow = async || {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            7
        };
        let ten = Duration::from_secs(10);
        assert_eq!(unless_stalled(ten, ten, slow()).await, Some(7));
        assert_eq!(unless_stalled(ten, limit, slow()).await, None);
        let once = unless_stalled(limit, ten, async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::future::pending::<()>().await;
        });
        let given_up = tokio::time::timeout(20 * limit, once).await;
        assert_eq!(given_up, Ok(None));
    }
}
