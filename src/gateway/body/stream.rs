//! Bodies too large to hold: read, rewritten and sent on a chunk at a time.
//!
//! What enters: a reader and its rewriting. What leaves: pieces in a channel with room for
//! [`limits::CHUNKS_IN_FLIGHT`], so that a slow receiver slows the sender down. What can never
//! happen: the receiver sees an end ([`Piece::End`]) that the rewriting did not reach.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::reader::Reader;
use crate::error::Fault;
use crate::gateway::story::Story;
use crate::limits;
use crate::rewrite::Rewriter;

/// What travels in the channel. A channel that closes without `End` is a body broken off.
pub enum Piece {
    Chunk(Bytes),
    End,
}

/// A pump at work; dropped, it stops, and its body is broken off.
pub struct Pump(JoinHandle<()>);

impl Pump {
    /// `first` is what has been rewritten already. `blame` says what a fault is to the client.
    pub fn start(
        reader: Reader,
        rewrite: Rewriter,
        first: Vec<u8>,
        story: Arc<Story>,
        blame: fn(Fault) -> Fault,
    ) -> (Self, mpsc::Receiver<Piece>) {
        let (to, from) = mpsc::channel(limits::CHUNKS_IN_FLIGHT);
        let task = tokio::spawn(async move {
            if let Err(fault) = pump(reader, rewrite, first, &to, &story).await {
                // Before the channel closes: who sees it closed finds the reason.
                story.fail(blame(fault));
            }
        });
        (Self(task), from)
    }

    /// Waits until the pump has come to its end, good or bad.
    pub async fn finished(&mut self) {
        if !self.0.is_finished() {
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pump(
    mut reader: Reader,
    mut rewrite: Rewriter,
    first: Vec<u8>,
    to: &mpsc::Sender<Piece>,
    story: &Story,
) -> Result<(), Fault> {
    if !first.is_empty() && !send(to, first).await {
        return Ok(());
    }
    let mut step: Vec<u8> = Vec::new();
    while let Some(chunk) = reader.next().await? {
        let mut out = Vec::with_capacity(limits::CHUNK + limits::CHUNK / 8);
        let mut ended = false;
        if chunk.len() >= limits::CHUNK / 2 {
            rewrite.push(&chunk, &mut out).await?;
        } else {
            step.clear();
            step.extend_from_slice(&chunk);
            drop(chunk);
            ended = fill(&mut reader, &mut step).await?;
            rewrite.push(&step, &mut out).await?;
        }
        if !out.is_empty() && !send(to, out).await {
            return Ok(());
        }
        if ended {
            break;
        }
    }
    let mut out = Vec::new();
    let summary = rewrite.finish(&mut out).await?;
    if reader.is_of_client() {
        story.rewrote(summary);
    }
    if out.is_empty() || send(to, out).await {
        let _ = to.send(Piece::End).await;
    }
    Ok(())
}

/// Takes what is here already, up to one step. Whether the body has ended.
async fn fill(reader: &mut Reader, step: &mut Vec<u8>) -> Result<bool, Fault> {
    while step.len() < limits::CHUNK {
        match reader.next_now().await {
            Some(Ok(Some(chunk))) => step.extend_from_slice(&chunk),
            Some(Ok(None)) => return Ok(true),
            Some(Err(fault)) => return Err(fault),
            None => break,
        }
    }
    Ok(false)
}

/// Whether the receiver is still there.
async fn send(to: &mpsc::Sender<Piece>, out: Vec<u8>) -> bool {
    to.send(Piece::Chunk(out.into())).await.is_ok()
}
