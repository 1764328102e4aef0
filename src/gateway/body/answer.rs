//! The body that goes to the client.
//!
//! What enters: a backend's body, a pump's pieces, or bytes made here. What leaves: frames for
//! hyper. What can never happen: a cut answer ends like a whole one, or an answer ends well
//! although its request failed on the way. Whatever the exchange still needs until its last byte
//! (the backend connection, the request's pump, the story) lives here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::BrokenOff;
use super::reader::Reader;
use super::sending::{Chunk, Share};
use super::stream::{Piece, Pump};
use crate::gateway::headers::grpc;
use crate::gateway::story::Story;
use crate::gateway::upstream::Link;

/// An answer on its way.
pub struct Answer {
    kind: Kind,
    story: Arc<Story>,
    link: Option<Link>,
    /// The request's pump, and the answer's own: each stops when the answer does.
    pumps: [Option<Pump>; 2],
    /// HTTP/2 only: what of it is on its way.
    share: Option<Arc<Share>>,
}

enum Kind {
    Ended,
    Whole(Bytes),
    Pass(Reader),
    Stream(mpsc::Receiver<Piece>),
}

impl Answer {
    pub fn empty(story: Arc<Story>, link: Option<Link>, pump: Option<Pump>) -> Self {
        let mut answer = Self::new(Kind::Ended, story, link, [pump, None]);
        answer.end();
        answer
    }

    pub fn whole(bytes: Bytes, story: Arc<Story>, link: Option<Link>, pump: Option<Pump>) -> Self {
        let mut answer = Self::new(Kind::Whole(bytes), story, None, [pump, None]);
        // All of the backend's answer is here already.
        answer.link = link;
        answer.give_back();
        answer
    }

    /// The head of a switch to another protocol: the exchange goes on behind it.
    pub fn switching(story: Arc<Story>) -> Self {
        Self::new(Kind::Ended, story, None, [None, None])
    }

    pub fn pass(reader: Reader, story: Arc<Story>, link: Link, pump: Option<Pump>) -> Self {
        Self::new(Kind::Pass(reader), story, Some(link), [pump, None]).armed()
    }

    pub fn stream(
        pieces: mpsc::Receiver<Piece>,
        story: Arc<Story>,
        link: Link,
        pumps: [Option<Pump>; 2],
    ) -> Self {
        Self::new(Kind::Stream(pieces), story, Some(link), pumps).armed()
    }

    fn new(kind: Kind, story: Arc<Story>, link: Option<Link>, pumps: [Option<Pump>; 2]) -> Self {
        Self {
            kind,
            story,
            link,
            pumps,
            share: None,
        }
    }

    fn armed(self) -> Self {
        if let Some(delivery) = &self.story.conn.delivery {
            delivery.arm();
        }
        self
    }

    fn end(&mut self) {
        self.kind = Kind::Ended;
        self.story.delivered();
        if let Some(delivery) = &self.story.conn.delivery {
            delivery.ended();
        }
        self.give_back();
    }

    /// The connection goes back to the pool, unless the request is still travelling on it.
    fn give_back(&mut self) {
        if let Some(link) = self.link.take() {
            link.give_back();
        }
    }

    /// Bytes as they are handed over.
    fn chunk(&mut self, bytes: Bytes) -> Chunk {
        self.story.sent(bytes.len());
        let conn = &self.story.conn;
        if !conn.is_h2() {
            return bytes.into();
        }
        let share = self
            .share
            .get_or_insert_with(|| Share::new(&conn.clock.sending));
        share.chunk(bytes)
    }

    fn break_off(&mut self) -> Poll<Option<Result<Frame<Chunk>, BrokenOff>>> {
        self.kind = Kind::Ended;
        self.link = None;
        self.pumps = [None, None];
        if let Some(delivery) = &self.story.conn.delivery {
            delivery.abort();
        }
        Poll::Ready(Some(Err(BrokenOff)))
    }
}

impl Body for Answer {
    type Data = Chunk;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BrokenOff>>> {
        let me = &mut *self;
        if let (Some(share), false) = (&me.share, matches!(me.kind, Kind::Ended)) {
            ready!(share.poll_room(cx));
        }
        let (chunk, last) = match &mut me.kind {
            Kind::Ended => return Poll::Ready(None),
            Kind::Whole(bytes) => (Some(std::mem::take(bytes)), true),
            Kind::Pass(reader) => match ready!(reader.poll_next(cx)) {
                Ok(None) if me.story.fault().is_none() => {
                    let trailers = reader.take_trailers();
                    let trailers = trailers.map(|kept| grpc::trailers(&kept.came, &kept.listed));
                    me.end();
                    let trailers = trailers.filter(|trailers| !trailers.is_empty());
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(chunk) => (chunk, reader.has_ended()),
                Err(fault) => {
                    me.story.fail(fault);
                    return me.break_off();
                }
            },
            Kind::Stream(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(Piece::Chunk(chunk)) => (Some(chunk), false),
                Some(Piece::End(_)) => (None, true),
                None => return me.break_off(),
            },
        };
        // A problem document is a whole answer about a fault; anything else with a fault is none.
        if last && !matches!(me.kind, Kind::Whole(_)) && me.story.fault().is_some() {
            return me.break_off();
        }
        if last || chunk.is_none() {
            me.end();
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(me.chunk(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pass(reader) => reader
                .exact()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Stream(_) => SizeHint::new(),
        }
    }
}
