//! Bodies too large to hold: read, rewritten and sent on a chunk at a time.
//!
//! What enters: a reader and its rewriting. What leaves: pieces in a channel with room for
//! [`limits::CHUNKS_IN_FLIGHT`], so that a slow receiver slows the sender down. What can never
//! happen: the receiver sees an end ([`Piece::End`]) that the rewriting did not reach.
//!
//! While records become durable, the next segments are read and rewritten ([`Ahead`]).

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::reader::Reader;
use crate::coding::Encoder;
use crate::error::Fault;
use crate::gateway::story::Story;
use crate::gateway::trace::Running;
use crate::limits;
use crate::rewrite::{Ahead, Rewriter};

/// What travels in the channel. A channel that closes without `End` is a body broken off.
pub enum Piece {
    Chunk(Bytes),
    /// With the trailers that pass.
    End(Option<Box<HeaderMap>>),
}

/// A pump at work; dropped, it stops, and its body is broken off.
pub struct Pump(JoinHandle<()>);

/// A body whose beginning is rewritten.
pub struct Begun {
    pub rewrite: Box<Rewriter>,
    /// What of it may leave, not coded.
    pub first: Vec<u8>,
    /// `None`: it goes on as it is rewritten.
    pub encode: Option<Box<Encoder>>,
    /// Its records and values count in the access log.
    pub counted: bool,
    /// Its step in a trace.
    pub step: Option<Box<Running>>,
}

impl Pump {
    /// `blame` says what a fault is to the client.
    pub fn start(
        reader: Reader,
        begun: Begun,
        story: Arc<Story>,
        blame: fn(Fault) -> Fault,
    ) -> (Self, mpsc::Receiver<Piece>) {
        let (to, from) = mpsc::channel(limits::CHUNKS_IN_FLIGHT);
        let (step, counted) = (begun.step, begun.counted.then(|| story.clone()));
        let (mut rewrite, first) = (begun.rewrite, begun.first);
        let mut out = Out {
            to,
            encode: begun.encode,
        };
        let task = tokio::spawn(async move {
            match pump(reader, &mut rewrite, first, &mut out, counted).await {
                Ok(()) => step.map_or((), |running| running.ended_well()),
                // Before the channel closes: who sees it closed finds the reason.
                Err(fault) => story.fail(blame(fault)),
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

/// What happens next to a body in the pump.
enum Event {
    Arrived(Result<Option<Bytes>, Fault>),
    MayLeave(Result<Vec<u8>, Fault>),
}

async fn pump(
    mut reader: Reader,
    rewrite: &mut Rewriter,
    first: Vec<u8>,
    out: &mut Out,
    counted: Option<Arc<Story>>,
) -> Result<(), Fault> {
    let first = out.made(first)?;
    if !first.is_empty() && !send(&out.to, first).await {
        return Ok(());
    }
    let mut step: Vec<u8> = Vec::new();
    let mut ahead = Ahead::default();
    // Set when no more is read: the end, or the fault that comes after what waits.
    let mut end: Option<Result<(), Fault>> = None;
    while end.is_none() || !ahead.is_empty() {
        let taken = match next(&mut reader, &mut ahead, end.is_some()).await {
            Event::MayLeave(bytes) => {
                let bytes = out.made(bytes?)?;
                if !bytes.is_empty() && !send_and_carry_on(&out.to, bytes, &mut ahead).await {
                    return Ok(());
                }
                continue;
            }
            Event::Arrived(chunk) => match chunk {
                Ok(Some(chunk)) => take(chunk, &mut reader, &mut step, rewrite, &mut ahead).await,
                Ok(None) => Ok(true),
                Err(fault) => Err(fault),
            },
        };
        end = match taken {
            Ok(false) => None,
            Ok(true) => Some(rewrite.finish_ahead().map(|held| ahead.push(held))),
            Err(fault) => Some(Err(fault)),
        };
    }
    end.unwrap_or(Ok(()))?;
    if let Some(story) = counted {
        story.rewrote(rewrite.summary());
    }
    let end = out.end()?;
    if end.is_empty() || send(&out.to, end).await {
        let trailers = reader.passing_trailers().map(Box::new);
        let _ = out.to.send(Piece::End(trailers)).await;
    }
    Ok(())
}

/// Where a pump's pieces go, and how they are coded.
struct Out {
    to: mpsc::Sender<Piece>,
    encode: Option<Box<Encoder>>,
}

impl Out {
    /// What may leave, coded: all of it, so that the receiver does not wait for what is here.
    fn made(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let Some(encode) = &mut self.encode else {
            return Ok(bytes);
        };
        let mut coded = Vec::new();
        if !bytes.is_empty() {
            encode.push_now(&bytes, &mut coded)?;
        }
        Ok(coded)
    }

    /// What comes last.
    fn end(&mut self) -> Result<Vec<u8>, Fault> {
        let mut coded = Vec::new();
        if let Some(encode) = &mut self.encode {
            encode.finish(&mut coded)?;
        }
        Ok(coded)
    }
}

/// What may leave goes before what arrives.
async fn next(reader: &mut Reader, ahead: &mut Ahead, ended: bool) -> Event {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(bytes) = ahead.poll_first(cx) {
            return Poll::Ready(Event::MayLeave(bytes));
        }
        if !ended && ahead.has_room() {
            return reader.poll_next(cx).map(Event::Arrived);
        }
        Poll::Pending
    })
    .await
}

/// Rewrites a chunk, with what else is here already. Whether the body has ended.
async fn take(
    chunk: Bytes,
    reader: &mut Reader,
    step: &mut Vec<u8>,
    rewrite: &mut Rewriter,
    ahead: &mut Ahead,
) -> Result<bool, Fault> {
    if chunk.len() >= limits::CHUNK / 2 {
        ahead.push(rewrite.push_ahead(&chunk)?);
        return Ok(false);
    }
    step.clear();
    step.extend_from_slice(&chunk);
    drop(chunk);
    let ended = fill(reader, step).await?;
    ahead.push(rewrite.push_ahead(step)?);
    Ok(ended)
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

/// As [`send`], and what waits ahead goes on meanwhile: a slow receiver must not keep this
/// body's places in the queue to the vault.
async fn send_and_carry_on(to: &mpsc::Sender<Piece>, out: Vec<u8>, ahead: &mut Ahead) -> bool {
    let mut send = std::pin::pin!(send(to, out));
    std::future::poll_fn(|cx| {
        ahead.carry_on(cx);
        send.as_mut().poll(cx)
    })
    .await
}

/// Whether the receiver is still there.
async fn send(to: &mpsc::Sender<Piece>, out: Vec<u8>) -> bool {
    to.send(Piece::Chunk(out.into())).await.is_ok()
}
