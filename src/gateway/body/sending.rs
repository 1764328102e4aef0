//! What one HTTP/2 connection has been given to send, and its client has not taken.
//!
//! What enters: an answer's bytes on their way into the HTTP/2 library, which would take as many
//! for each of its streams. What leaves: the same bytes, counted until the socket has them or
//! their stream is given up. What can never happen: a client fills memory by opening windows and
//! not reading, or by shutting them: above [`limits::SEND_QUEUE`] bytes of its connection, each of
//! its streams has one chunk there and no more is read from the backend. (One it always has:
//! otherwise streams that their client has put off would stop the others.)

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::limits;

/// Of one connection.
#[derive(Default)]
pub struct Sending {
    queued: AtomicUsize,
    taken: AtomicU64,
}

impl Sending {
    /// Bytes that wait for the client to take them.
    pub fn queued(&self) -> usize {
        self.queued.load(SeqCst)
    }

    /// Bytes that it has taken since the beginning; wraps.
    pub fn taken(&self) -> u64 {
        self.taken.load(SeqCst)
    }
}

/// One stream's part of it.
pub struct Share {
    all: Arc<Sending>,
    queued: AtomicUsize,
    /// Whether somebody waits for room, and who.
    waits: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Share {
    pub fn new(all: &Arc<Sending>) -> Arc<Self> {
        Arc::new(Self {
            all: all.clone(),
            queued: AtomicUsize::new(0),
            waits: AtomicBool::new(false),
            waker: Mutex::default(),
        })
    }

    /// Whether another chunk may be made.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            self.waits.store(false, SeqCst);
            return Poll::Ready(());
        }
        *self.waker() = Some(cx.waker().clone());
        self.waits.store(true, SeqCst);
        if self.has_room() {
            self.waits.store(false, SeqCst);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Bytes that are handed over.
    pub fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        self.queued.fetch_add(bytes.len(), SeqCst);
        self.all.queued.fetch_add(bytes.len(), SeqCst);
        let share = Some(self.clone());
        Chunk { bytes, share }
    }

    /// Who waits does so until half of the queue has left: going to and fro with every frame costs
    /// more than the frames.
    fn has_room(&self) -> bool {
        let all = self.all.queued();
        let most = if self.waits.load(SeqCst) {
            limits::SEND_QUEUE / 2
        } else {
            limits::SEND_QUEUE - 1
        };
        self.queued.load(SeqCst) == 0 || all <= most
    }

    fn left(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, SeqCst);
        self.all.queued.fetch_sub(bytes, SeqCst);
        if self.waits.load(SeqCst)
            && self.has_room()
            && let Some(waker) = self.waker().take()
        {
            waker.wake();
        }
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of an answer on their way to the socket.
pub struct Chunk {
    bytes: Bytes,
    /// `None`: HTTP/1.1, where hyper takes no more than the socket does.
    share: Option<Arc<Share>>,
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, share: None }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(share) = &self.share {
            share.all.taken.fetch_add(count as u64, SeqCst);
            share.left(count);
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(share) = &self.share
            && !self.bytes.is_empty()
        {
            share.left(self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn bytes(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn proxy_07_above_the_bound_a_stream_has_one_chunk() {
        let all = Arc::new(Sending::default());
        let (one, two) = (Share::new(&all), Share::new(&all));
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        let part = limits::SEND_QUEUE / 4;
        let mut chunks = Vec::new();
        while one.poll_room(&mut cx).is_ready() {
            chunks.push(one.chunk(bytes(part)));
        }
        assert_eq!((chunks.len(), all.queued()), (4, limits::SEND_QUEUE));
        // Another stream has its one all the same.
        assert!(two.poll_room(&mut cx).is_ready());
        let mut other = two.chunk(bytes(part));
        assert!(two.poll_room(&mut cx).is_pending());
        // Taken in part is not yet room: it is its own chunk, or the whole, that must go.
        other.advance(part - 1);
        assert_eq!(woken.0.load(SeqCst), 0);
        other.advance(1);
        assert_eq!((all.taken(), woken.0.load(SeqCst)), (part as u64, 1));
        // What is given up has left, and was not taken.
        drop(chunks.pop());
        assert!(one.poll_room(&mut cx).is_pending(), "half must have left");
        drop(chunks.pop());
        assert_eq!(woken.0.load(SeqCst), 2);
        assert_eq!((all.queued(), all.taken()), (2 * part, part as u64));
        assert!(one.poll_room(&mut cx).is_ready());
        drop((chunks, other));
        assert_eq!(all.queued(), 0);
    }
}
