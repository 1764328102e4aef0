//! Bodies that are held whole, and the budget they share.
//!
//! What enters: a body, how much of it may be held. What leaves: all of it, or its beginning
//! when there is more. What can never happen: held bodies together take more than
//! `limits.hold_budget` (as they came in; a rewritten body is of the same order).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reader::Reader;
use crate::error::{Code, Fault, Stage};
use crate::gateway::metrics::Metrics;
use crate::limits;
use crate::rewrite::{Rewriter, Summary};

/// Bytes that may be held at once. Fair: first come, first served.
pub struct HoldBudget {
    bytes: Arc<Semaphore>,
    most: usize,
}

/// A share of the budget, given back when dropped.
pub struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(share) = &mut self.0 {
            let more = share.num_permits().saturating_sub(bytes);
            drop(share.split(more));
        }
    }
}

impl HoldBudget {
    pub fn new(bytes: usize) -> Self {
        let most = Self::most(bytes);
        Self {
            bytes: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// Whether it is of this size.
    pub fn is_of(&self, bytes: usize) -> bool {
        self.most == Self::most(bytes)
    }

    fn most(bytes: usize) -> usize {
        bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize)
    }

    /// Waits its turn, at most [`limits::HOLD_WAIT`].
    ///
    /// # Errors
    /// [`Code::HoldBudget`].
    pub async fn take(&self, bytes: usize, metrics: &Metrics) -> Result<Held, Fault> {
        let share = u32::try_from(bytes.min(self.most)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.bytes.clone().try_acquire_many_owned(share) {
            return Ok(Held(Some(permit)));
        }
        metrics.hold_waits.inc();
        let wait = self.bytes.clone().acquire_many_owned(share);
        match Box::pin(tokio::time::timeout(limits::HOLD_WAIT, wait)).await {
            Ok(Ok(permit)) => Ok(Held(Some(permit))),
            _ => Err(Fault::new(Code::HoldBudget, Stage::Receive)),
        }
    }
}

/// What [`take`] found.
pub enum Taken {
    Whole(Bytes),
    /// More than `most` bytes: these, and the reader has the rest.
    Begun(BytesMut),
}

/// Reads until the end, or until more than `most` bytes are here. A body that comes in one piece
/// is not copied.
///
/// # Errors
/// As [`Reader::next`].
pub async fn take(reader: &mut Reader, most: usize) -> Result<Taken, Fault> {
    let Some(first) = reader.next().await? else {
        return Ok(Taken::Whole(Bytes::new()));
    };
    if reader.has_ended() && first.len() <= most {
        return Ok(Taken::Whole(first));
    }
    let rest = reader.exact().and_then(|n| usize::try_from(n).ok());
    let mut all = BytesMut::with_capacity(first.len() + rest.unwrap_or(0).min(most));
    all.extend_from_slice(&first);
    drop(first);
    while all.len() <= most {
        match reader.next().await? {
            Some(chunk) => all.extend_from_slice(&chunk),
            None => return Ok(Taken::Whole(all.freeze())),
        }
    }
    Ok(Taken::Begun(all))
}

/// Rewrites a body that is here whole.
///
/// # Errors
/// As [`Rewriter::push`].
pub async fn rewrite(rewriter: &mut Rewriter, body: &[u8]) -> Result<(Vec<u8>, Summary), Fault> {
    // Pseudonyms are often longer than what they stand for; an eighth saves most regrowths.
    let mut out = Vec::with_capacity(body.len() + body.len() / 8 + 64);
    rewriter.push(body, &mut out).await?;
    let summary = rewriter.finish(&mut out).await?;
    Ok((out, summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_is_shared_waited_for_and_given_back() {
        let metrics = Metrics::new();
        let budget = HoldBudget::new(100);
        let all = budget.take(1000, &metrics).await.unwrap();
        let refused = budget.take(1, &metrics).await.err().unwrap();
        assert_eq!(refused.code, Code::HoldBudget);
        drop(all);
        let _some = budget.take(60, &metrics).await.unwrap();
        let _rest = budget.take(40, &metrics).await.unwrap();
        assert_eq!(metrics.hold_waits.get(), 1);
        drop((_some, _rest));
        let mut some = budget.take(90, &metrics).await.unwrap();
        some.shrink(20);
        some.shrink(50);
        let _rest = budget.take(80, &metrics).await.unwrap();
        assert_eq!(metrics.hold_waits.get(), 1);
    }
}
