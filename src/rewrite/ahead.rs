//! Segments that are rewritten and wait for their records, so that the next ones can be rewritten
//! and made durable meanwhile.
//!
//! What enters: one body's segments, in order. What leaves: their bytes, in that order, each
//! after its own records and all earlier ones are durable. What can never happen: bytes that can
//! be reached before that, or when the vault has become another meanwhile; a segment that
//! overtakes, or one behind a segment that was refused; more of them than their bound, however
//! small.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::keeper::Keeper;
use crate::error::{Code, Fault, Stage};
use crate::limits;

/// Resolves when a segment's records are durable, or says why none may leave.
pub(super) type Durable = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// A rewritten segment. Awaited, it gives its bytes, once they may leave.
pub struct Held {
    bytes: Vec<u8>,
    /// `None`: everything in it is known durable.
    durable: Option<Durable>,
    /// Who knows it; `None` where there are no pseudonyms.
    keeper: Option<Arc<dyn Keeper>>,
}

impl Held {
    pub(super) fn new(
        bytes: Vec<u8>,
        durable: Option<Durable>,
        keeper: Option<Arc<dyn Keeper>>,
    ) -> Self {
        Self {
            bytes,
            durable,
            keeper,
        }
    }
}

impl Future for Held {
    type Output = Result<Vec<u8>, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let bytes = match &mut self.durable {
            None => std::mem::take(&mut self.bytes),
            Some(durable) => {
                let result = ready!(durable.as_mut().poll(cx));
                let bytes = std::mem::take(&mut self.bytes);
                self.durable = None;
                result.map(|()| bytes)?
            }
        };
        Poll::Ready(Ok(bytes))
    }
}

/// What all bodies of the process have waiting beyond one segment each.
static ALL: Semaphore = Semaphore::const_new(limits::AHEAD_ALL);

/// The segments of one body that wait.
#[derive(Default)]
pub struct Ahead {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// There was no share left: nothing more until all of these have left.
    full: bool,
}

struct Waiting {
    held: Held,
    size: usize,
    /// What came of it, while others are before it.
    end: Option<Result<Vec<u8>, Fault>>,
    _share: Option<SemaphorePermit<'static>>,
}

impl Ahead {
    /// Whether another segment may be rewritten now. One always may when none waits.
    pub fn has_room(&self) -> bool {
        self.waiting.is_empty()
            || (!self.full
                && self.bytes < limits::AHEAD
                && self.waiting.len() < limits::AHEAD_SEGMENTS)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn push(&mut self, held: Held) {
        let size = held.bytes.len();
        if size == 0 && held.durable.is_none() {
            // Part of a record that goes on: nothing to wait for, nothing to send.
            return;
        }
        let mut share = None;
        if !self.waiting.is_empty() {
            share = u32::try_from(size)
                .ok()
                .and_then(|size| ALL.try_acquire_many(size).ok());
            self.full |= share.is_none();
        }
        self.bytes += size;
        self.waiting.push_back(Waiting {
            held,
            size,
            end: None,
            _share: share,
        });
    }

    /// Lets what waits go on, without giving anything out. A wait that nobody polls keeps its
    /// place before others.
    pub fn carry_on(&mut self, cx: &mut Context<'_>) {
        for one in self.waiting.iter_mut().filter(|one| one.end.is_none()) {
            if let Poll::Ready(end) = Pin::new(&mut one.held).poll(cx) {
                one.end = Some(end);
            }
        }
    }

    /// The first segment's bytes, once they may leave. Carries the others on as well. Waits for
    /// ever when there is none.
    ///
    /// # Errors
    /// Why the first segment may not leave; then none behind it may.
    pub fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
        self.carry_on(cx);
        if self.waiting.front().is_none_or(|first| first.end.is_none()) {
            return Poll::Pending;
        }
        let first = self.waiting.pop_front();
        let first = first.and_then(|first| first.end.map(|end| (first.size, first.held, end)));
        let (size, held, mut end) = first.expect("it was looked at above");
        if held.keeper.is_some_and(|keeper| !keeper.is_current()) {
            // What was durable when it was asked is not in the store that answers now.
            end = Err(Fault::new(Code::NotReady, Stage::Resolve));
        }
        self.bytes -= size;
        self.full &= !self.waiting.is_empty();
        if end.is_err() {
            self.waiting.clear();
            self.bytes = 0;
            self.full = false;
        }
        Poll::Ready(end)
    }
}
