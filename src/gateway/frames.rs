//! HTTP/2 frames that cost the gateway work and the client nothing.
//!
//! What enters: the bytes of a client's HTTP/2 connection, as they come off TLS. What leaves:
//! whether the client floods. What can never happen: a connection sends more of such frames than
//! [`limits::FLOOD_FRAMES`] at once and [`limits::FLOOD_RATE`] a second, whichever they are
//! (RFC 9113, section 10.5).
//!
//! | frame | what it is used for |
//! |---|---|
//! | RST_STREAM | rapid reset: a request that is begun and given up (CVE-2023-44487) |
//! | CONTINUATION | a header block without end (CVE-2024-27316) |
//! | PING, SETTINGS | each wants an answer (CVE-2019-9512, -9515) |
//! | DATA without data | passes every window (CVE-2019-9518) |
//! | PRIORITY, types that nobody knows | read for nothing (CVE-2019-9513) |
//! | WINDOW_UPDATE beyond what was sent | each wakes whoever waits for a window |
//!
//! The library below bounds what it keeps; this bounds what it is made to do. Only frame heads are
//! looked at: nine bytes each, and the length of a DATA frame's padding.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::coarse::Moment;
use super::metrics::Metrics;
use crate::limits;

/// What a client sends before its first frame (RFC 9113, section 3.4).
const PREFACE: u32 = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// Where in the stream of frames a connection is.
pub struct Frames {
    head: [u8; HEAD],
    /// Bytes of the present head that are here.
    have: usize,
    /// Bytes of the present payload (at first, of the preface) still to come.
    left: u32,
    /// The next byte is the length of this DATA frame's padding.
    padding: bool,
    spent: u32,
    since: Moment,
    /// Bytes written for which no WINDOW_UPDATE has come.
    unread: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            left: PREFACE,
            padding: false,
            spent: 0,
            since: Moment::now(),
            unread: 0,
        }
    }
}

impl Frames {
    /// Looks at the bytes that come next. Whether the client is within bounds.
    pub fn look(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(&first) = bytes.first() {
            if self.left > 0 {
                if std::mem::take(&mut self.padding) && u32::from(first) + 1 >= self.left {
                    self.spent += 1;
                }
                let skip = bytes.len().min(self.left as usize);
                self.left -= skip as u32;
                bytes = &bytes[skip..];
                continue;
            }
            let part = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEAD {
                self.have = 0;
                self.begin();
            }
        }
        self.spent < limits::FLOOD_FRAMES || self.is_patient()
    }

    /// So many bytes went to the client, who may say that it has read them.
    pub fn wrote(&mut self, bytes: usize) {
        self.unread = (self.unread + bytes).min(limits::UNREAD);
    }

    /// Whether this WINDOW_UPDATE is one of those that what we sent can have caused.
    fn is_caused(&mut self) -> bool {
        let left = self.unread.checked_sub(limits::UPDATE_BYTES);
        self.unread = left.unwrap_or(self.unread);
        left.is_some()
    }

    /// A frame begins: its head is here.
    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, high, middle, low]);
        let costs = match kind {
            // The last one ends a request, and there is one a stream.
            DATA if flags & END_STREAM != 0 => false,
            DATA => {
                self.padding = flags & PADDED != 0 && self.left > 0;
                self.left == 0
            }
            HEADERS => false,
            WINDOW_UPDATE => !self.is_caused(),
            _ => true,
        };
        self.spent += u32::from(costs);
    }

    /// What was earned since the last time is taken off; the clock is looked at only here.
    fn is_patient(&mut self) -> bool {
        let now = Moment::now();
        let millis = u32::try_from(self.since.millis()).unwrap_or(u32::MAX);
        let earned = millis.saturating_mul(limits::FLOOD_RATE) / 1000;
        self.spent = self.spent.saturating_sub(earned);
        if earned > 0 {
            self.since = now;
        }
        self.spent < limits::FLOOD_FRAMES
    }
}

/// A stream that ends when its client floods.
pub struct Counted<S> {
    inner: S,
    frames: Frames,
    metrics: Arc<Metrics>,
}

impl<S> Counted<S> {
    pub fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self {
            inner,
            frames: Frames::default(),
            metrics,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.inner).poll_read(cx, buf))?;
        if me.frames.look(&buf.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        me.metrics.floods.inc();
        tracing::debug!("connection closed: HTTP/2 flood");
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.frames.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn spent(wire: &[u8], piece: usize) -> u32 {
        let mut frames = Frames::default();
        assert!(frames.look(&[b'P'; PREFACE as usize]));
        for piece in wire.chunks(piece) {
            assert!(frames.look(piece));
        }
        assert_eq!((frames.have, frames.left), (0, 0), "it lost its place");
        frames.spent
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        for (kind, flags, payload, costs) in [
            (DATA, 0, &b"some"[..], 0),
            (DATA, 0, b"", 1),
            (DATA, END_STREAM, b"", 0),
            (DATA, PADDED, &[2, b'x', 0, 0], 0),
            (DATA, PADDED, &[3, 0, 0, 0], 1),
            (DATA, PADDED, &[0], 1),
            (DATA, PADDED | END_STREAM, &[0], 0),
            (HEADERS, 4, &[0x82; 40], 0),
            (2, 0, &[0; 5], 1),
            (3, 0, &[0; 4], 1),
            (4, 0, b"", 1),
            (6, 0, &[0; 8], 1),
            (WINDOW_UPDATE, 0, &[0; 4], 1),
            (9, 0, b"", 1),
            (200, 0, &[7; 300], 1),
        ] {
            let wire = frame(kind, flags, payload).repeat(3);
            for piece in [1, 2, 8, 9, 10, 1000] {
                assert_eq!(spent(&wire, piece), 3 * costs, "{kind} {flags} by {piece}");
            }
        }
    }

    #[test]
    fn windows_may_be_opened_for_what_was_sent() {
        let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        let mut frames = Frames::default();
        assert!(frames.look(&[0; PREFACE as usize]));
        frames.wrote(10 * limits::UPDATE_BYTES);
        (0..12).for_each(|_| assert!(frames.look(&update)));
        assert_eq!(frames.spent, 2);
        // However much it was, no more is remembered than a client can have waiting.
        (0..100).for_each(|_| frames.wrote(limits::UNREAD));
        assert_eq!(frames.unread, limits::UNREAD);
    }

    #[test]
    fn a_flood_is_seen_and_patience_comes_back() {
        let ping = frame(6, 0, &[0; 8]);
        let mut frames = Frames::default();
        assert!(frames.look(&[0; PREFACE as usize]));
        let most = limits::FLOOD_FRAMES;
        assert!((1..most).all(|_| frames.look(&ping)));
        // A second later there is room again, for as many as a second brings.
        frames.since = Moment::ago(std::time::Duration::from_secs(1));
        assert!((0..limits::FLOOD_RATE).all(|_| frames.look(&ping)));
        assert!((0..most).any(|_| !frames.look(&ping)));
    }
}
