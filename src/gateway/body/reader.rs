//! One peer's body: its data, its end, its silence.
//!
//! What enters: hyper's body. What leaves: non-empty chunks, then `None`. Trailers are dropped
//! unless somebody asks for them: they are a side door. What can never happen: waiting longer than
//! `body_idle_time` for a peer that has gone quiet, or on and on for a client that brings less than
//! `body_rate`, or a cut body that looks ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::Entry;
use http::{HeaderMap, HeaderName};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::coded::Decoding;
use super::discard::discard;
use crate::coding::Coding;
use crate::config::Limits;
use crate::error::{Code, Fault, Side, Stage};
use crate::gateway::story::Story;

/// A body that is being read.
pub struct Reader {
    /// `None` once it has been given up.
    body: Option<Incoming>,
    from: Side,
    story: Arc<Story>,
    ended: bool,
    waiting: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// `limits.body_rate` holds; the story keeps what is needed for it.
    paced: bool,
    /// `None`: chunks are what came, and trailers are dropped. Boxed: a reader is copied often.
    extra: Option<Box<Extra>>,
}

#[derive(Default)]
struct Extra {
    trailers: Option<Trailers>,
    decoding: Option<Box<Decoding>>,
}

/// Trailers that are wanted.
pub struct Trailers {
    /// Names that pass beside the usual ones.
    pub listed: Vec<HeaderName>,
    pub came: HeaderMap,
}

impl Reader {
    pub fn of_client(body: Incoming, story: Arc<Story>) -> Self {
        Self::new(body, Side::Client, story)
    }

    pub fn of_backend(body: Incoming, story: Arc<Story>) -> Self {
        Self::new(body, Side::Backend, story)
    }

    fn new(body: Incoming, from: Side, story: Arc<Story>) -> Self {
        Self {
            body: Some(body),
            from,
            story,
            ended: false,
            waiting: false,
            timer: None,
            paced: false,
            extra: None,
        }
    }

    /// From now on, `limits.body_rate` holds: a byte now and then does not keep a body alive.
    pub fn must_keep_pace(&mut self) {
        self.paced = self.limits().body_rate > 0;
    }

    /// From now on, trailers are kept.
    pub fn keep_trailers(&mut self, listed: &[HeaderName]) {
        self.extra.get_or_insert_default().trailers = Some(Trailers {
            listed: listed.to_vec(),
            came: HeaderMap::new(),
        });
    }

    /// What came behind the last chunk, if somebody wanted it.
    pub fn take_trailers(&mut self) -> Option<Trailers> {
        self.extra.as_mut()?.trailers.take()
    }

    /// From now on, chunks are decoded, if there is anything to undo.
    pub fn decode(&mut self, codings: Vec<Coding>) {
        if !codings.is_empty() {
            let decoding = Box::new(Decoding::new(codings));
            self.extra.get_or_insert_default().decoding = Some(decoding);
        }
    }

    fn decoding(&self) -> Option<&Decoding> {
        self.extra.as_ref()?.decoding.as_deref()
    }

    /// What is undone; empty: nothing.
    pub fn codings(&self) -> &[Coding] {
        self.decoding().map_or(&[], Decoding::codings)
    }

    /// From now on its memory does not count as a held body's: see [`Decoding::streams`].
    ///
    /// # Errors
    /// [`Code::HoldBudget`].
    pub async fn streams(&mut self, beside: usize) -> Result<(), Fault> {
        let extra = self.extra.as_mut();
        match extra.and_then(|extra| extra.decoding.as_mut()) {
            Some(decoding) => decoding.streams(beside).await,
            None => Ok(()),
        }
    }

    /// Those of them that were asked for by name, if there are any.
    pub fn passing_trailers(&mut self) -> Option<HeaderMap> {
        let mut kept = self.take_trailers()?;
        let mut passing = HeaderMap::new();
        for name in &kept.listed {
            if let Entry::Occupied(values) = kept.came.entry(name) {
                let (name, values) = values.remove_entry_mult();
                passing.extend(values.map(|value| (name.clone(), value)));
            }
        }
        (!passing.is_empty()).then_some(passing)
    }

    fn limits(&self) -> &Limits {
        &self.story.site.shared.limits
    }

    /// Nothing more will come; true at once for a message without a body.
    pub fn has_ended(&self) -> bool {
        match self.decoding() {
            Some(decoding) => decoding.has_ended(),
            None => self.all_came(),
        }
    }

    /// Everything that the peer has to send is here.
    fn all_came(&self) -> bool {
        self.ended || self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The length still to come, if the sender has said it.
    pub fn exact(&self) -> Option<u64> {
        if self.decoding().is_some() {
            return None;
        }
        self.body.as_ref().and_then(|b| b.size_hint().exact())
    }

    /// The next chunk, or `None` at the end.
    ///
    /// # Errors
    /// The peer broke off ([`Code::Truncated`], `BackendBroken`) or fell silent (`SlowClient`,
    /// `BackendSlow`).
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next chunk if it is here already: for filling one step without waiting.
    pub async fn next_now(&mut self) -> Option<Result<Option<Bytes>, Fault>> {
        std::future::poll_fn(|cx| match self.poll_data(cx) {
            Poll::Ready(found) => Poll::Ready(Some(found)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        match self.poll_data(cx) {
            Poll::Ready(found) => {
                if std::mem::take(&mut self.waiting) && self.paced {
                    self.story.has_waited();
                }
                Poll::Ready(found)
            }
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                Poll::Ready(Err(self.fault(Code::SlowClient, Code::BackendSlow)))
            }
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        let extra = self.extra.as_mut();
        let Some(mut decoding) = extra.and_then(|extra| extra.decoding.take()) else {
            return self.poll_came(cx);
        };
        let found = self.poll_decoded(&mut decoding, cx);
        if let Some(extra) = &mut self.extra {
            extra.decoding = Some(decoding);
        }
        found
    }

    fn poll_decoded(
        &mut self,
        decoding: &mut Decoding,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Fault>> {
        if decoding.has_ended() {
            return Poll::Ready(Ok(None));
        }
        // One chunk that came may be hundreds of them: others on this thread have their turn.
        let turn = ready!(tokio::task::coop::poll_proceed(cx));
        loop {
            let chunk = match decoding.chunk() {
                Ok(None) => match ready!(self.poll_came(cx)) {
                    Ok(Some(came)) => {
                        decoding.feed(came);
                        continue;
                    }
                    Ok(None) => decoding.finish().map(|()| None),
                    Err(fault) => Err(fault),
                },
                found => found,
            };
            turn.made_progress();
            return Poll::Ready(chunk);
        }
    }

    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        while !self.all_came() {
            let Some(body) = &mut self.body else { break };
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    return Poll::Ready(Err(self.fault(Code::Truncated, Code::BackendBroken)));
                }
                None => break,
            };
            match frame.into_data() {
                Ok(data) if !data.is_empty() => {
                    if self.from == Side::Client {
                        self.story.received(data.len());
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Err(frame) => {
                    let kept = self.extra.as_mut().and_then(|e| e.trailers.as_mut());
                    if let (Some(kept), Ok(came)) = (kept, frame.into_trailers()) {
                        kept.came = came;
                    }
                }
                Ok(_) => {}
            }
        }
        self.ended = true;
        Poll::Ready(Ok(None))
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            let Limits {
                body_idle_time,
                body_rate,
                ..
            } = *self.limits();
            let time = if self.paced {
                let (bytes, waited) = self.story.begins_to_wait();
                let earned = Duration::from_secs(bytes / body_rate.max(1) as u64);
                let allowed = body_idle_time + earned;
                allowed.saturating_sub(waited).min(body_idle_time)
            } else {
                body_idle_time
            };
            let until = Instant::now() + time;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn fault(&self, client: Code, backend: Code) -> Fault {
        let code = if self.from == Side::Client {
            client
        } else {
            backend
        };
        Fault::new(code, Stage::Receive)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.from != Side::Client || self.all_came() {
            return;
        }
        let conn = &self.story.conn;
        match self.body.take() {
            Some(body) if conn.is_h2() => discard(body, conn.clock.clone()),
            _ => conn.clock.leave_unread(),
        }
    }
}
