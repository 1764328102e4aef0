//! The body that goes to the backend.
//!
//! What enters: held bytes, a pump's pieces, or the client's own body. What leaves: frames for
//! hyper. What can never happen: the connection's [`Delivery`] becomes clean before the last
//! byte of a whole body was handed over; every other end resets the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::BrokenOff;
use super::reader::Reader;
use super::stream::Piece;
use crate::gateway::socket::Delivery;
use crate::gateway::story::Story;

/// A request body on its way.
pub struct Outgoing {
    kind: Kind,
    /// Behind the last chunk.
    trailers: Option<Box<HeaderMap>>,
    delivery: Option<Arc<Delivery>>,
    story: Arc<Story>,
}

enum Kind {
    Empty,
    Held(Bytes),
    Pass(Reader),
    Stream(mpsc::Receiver<Piece>),
    /// All of it has gone but the trailers.
    Trailing,
}

impl Outgoing {
    pub fn empty(story: Arc<Story>) -> Self {
        Self::new(Kind::Empty, story)
    }

    pub fn held(bytes: Bytes, story: Arc<Story>) -> Self {
        let kind = if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Held(bytes)
        };
        Self::new(kind, story)
    }

    pub fn pass(reader: Reader, story: Arc<Story>) -> Self {
        Self::new(Kind::Pass(reader), story)
    }

    pub fn stream(pieces: mpsc::Receiver<Piece>, story: Arc<Story>) -> Self {
        Self::new(Kind::Stream(pieces), story)
    }

    fn new(kind: Kind, story: Arc<Story>) -> Self {
        Self {
            kind,
            trailers: None,
            delivery: None,
            story,
        }
    }

    /// The same with trailers behind it, which must be announced; an empty body takes none.
    pub fn with_trailers(mut self, trailers: Option<HeaderMap>) -> Self {
        if matches!(self.kind, Kind::Held(_)) {
            self.trailers = trailers.map(Box::new);
        }
        self
    }

    /// Whether trailers may come behind it.
    pub fn may_trail(&self) -> bool {
        self.trailers.is_some() || matches!(self.kind, Kind::Stream(_))
    }

    /// Binds the body to the connection it will travel on.
    pub fn travels_on(&mut self, delivery: &Arc<Delivery>) {
        if !matches!(self.kind, Kind::Empty) {
            delivery.arm();
            self.delivery = Some(delivery.clone());
        }
    }

    /// The same body once more, where all of it is here.
    pub fn copy(&self) -> Option<Self> {
        match &self.kind {
            Kind::Empty => Some(Self::empty(self.story.clone())),
            Kind::Held(bytes) => {
                let copy = Self::held(bytes.clone(), self.story.clone());
                Some(copy.with_trailers(self.trailers.as_deref().cloned()))
            }
            // Part of it has gone.
            Kind::Trailing => None,
            Kind::Pass(_) | Kind::Stream(_) => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    fn end(&mut self) {
        self.kind = Kind::Empty;
        self.story.moves(false);
        if let Some(delivery) = &self.delivery {
            delivery.ended();
        }
    }

    fn break_off(&mut self) -> BrokenOff {
        self.kind = Kind::Empty;
        self.story.breaks_off();
        if let Some(delivery) = &self.delivery {
            delivery.abort();
        }
        BrokenOff
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let me = &mut *self;
        // Its exchange is over, and the connection is not its own to close.
        if me.delivery.as_ref().is_some_and(|d| d.is_aborted()) {
            me.kind = Kind::Empty;
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let chunk = match &mut me.kind {
            Kind::Empty => return Poll::Ready(None),
            Kind::Held(bytes) => {
                let whole = std::mem::take(bytes);
                if me.trailers.is_some() {
                    me.kind = Kind::Trailing;
                } else {
                    me.end();
                }
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
            Kind::Trailing => None,
            Kind::Pass(reader) => {
                let Poll::Ready(next) = reader.poll_next(cx) else {
                    me.story.moves(true);
                    return Poll::Pending;
                };
                let last = reader.has_ended();
                match next {
                    Ok(Some(chunk)) => {
                        if last {
                            me.end();
                        }
                        Some(chunk)
                    }
                    Ok(None) => None,
                    Err(fault) => {
                        me.story.fail(fault);
                        return Poll::Ready(Some(Err(me.break_off())));
                    }
                }
            }
            Kind::Stream(pieces) => match pieces.poll_recv(cx) {
                Poll::Ready(Some(Piece::Chunk(chunk))) => Some(chunk),
                Poll::Ready(Some(Piece::End(trailers))) => {
                    me.trailers = trailers;
                    None
                }
                Poll::Ready(None) => return Poll::Ready(Some(Err(me.break_off()))),
                Poll::Pending => {
                    me.story.moves(true);
                    return Poll::Pending;
                }
            },
        };
        match chunk {
            Some(chunk) => {
                me.story.moves(false);
                me.story.partly_sent();
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            None => {
                me.end();
                let trailers = me.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            // Only chunks have trailers.
            _ if self.trailers.is_some() => SizeHint::new(),
            Kind::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pass(reader) => reader
                .exact()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Stream(_) | Kind::Trailing => SizeHint::new(),
        }
    }
}
