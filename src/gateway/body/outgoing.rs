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
    delivery: Option<Arc<Delivery>>,
    story: Arc<Story>,
}

enum Kind {
    Empty,
    /// With trailers behind it, perhaps.
    Held(Bytes, Option<Box<HeaderMap>>),
    Pass(Reader),
    Stream(mpsc::Receiver<Piece>),
    /// All of it has gone but these.
    Trailing(Box<HeaderMap>),
}

impl Outgoing {
    pub fn empty(story: Arc<Story>) -> Self {
        Self::new(Kind::Empty, story)
    }

    pub fn held(bytes: Bytes, story: Arc<Story>) -> Self {
        let kind = if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Held(bytes, None)
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
            delivery: None,
            story,
        }
    }

    /// The same with trailers behind it, which must be announced; an empty body takes none.
    pub fn with_trailers(mut self, trailers: Option<HeaderMap>) -> Self {
        if let Kind::Held(_, behind) = &mut self.kind {
            *behind = trailers.map(Box::new);
        }
        self
    }

    /// Whether trailers may come behind it.
    pub fn may_trail(&self) -> bool {
        matches!(self.kind, Kind::Held(_, Some(_)) | Kind::Stream(_))
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
            Kind::Held(bytes, behind) => {
                let copy = Self::held(bytes.clone(), self.story.clone());
                Some(copy.with_trailers(behind.as_deref().cloned()))
            }
            // Part of it has gone.
            Kind::Trailing(_) => None,
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
            Kind::Held(bytes, behind) => {
                let whole = std::mem::take(bytes);
                match behind.take() {
                    Some(trailers) => me.kind = Kind::Trailing(trailers),
                    None => me.end(),
                }
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
            Kind::Trailing(_) => None,
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
                    if let Some(trailers) = trailers {
                        me.kind = Kind::Trailing(trailers);
                    }
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
                let ended = std::mem::replace(&mut me.kind, Kind::Empty);
                me.end();
                Poll::Ready(match ended {
                    Kind::Trailing(trailers) => Some(Ok(Frame::trailers(*trailers))),
                    _ => None,
                })
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
            Kind::Held(_, Some(_)) => SizeHint::new(),
            Kind::Held(bytes, None) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pass(reader) => reader
                .exact()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Stream(_) | Kind::Trailing(_) => SizeHint::new(),
        }
    }
}
