//! The stream of pseudonyms that have a durable record, for a gateway's exact set.
//!
//! What leaves: pseudonyms of one (domain, epoch), which the gateway could derive itself. What
//! can never happen: the whole set in memory, a stream that ends cleanly before its end, or a
//! reader that does not read and keeps a thread.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::keys::epoch::EpochKeys;
use super::refusal::Refusal;
use super::state::{Caller, Vault};
use super::store::{Reader, StoreError};
use crate::limits;
use crate::wire::known;

/// A response body fed page by page from the store.
pub struct KnownBody {
    parts: mpsc::Receiver<Part>,
    is_whole: bool,
    /// The caller's: held as long as the body lives, read or not.
    _own: OwnedSemaphorePermit,
}

enum Part {
    Page(Bytes),
    End(Bytes),
}

/// Who may stream at once.
pub struct Streams {
    all: Arc<Semaphore>,
    /// By registered id, so there are as many as the registry has gateways.
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
    wait: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits::KNOWN_STREAMS)),
            each: Mutex::default(),
            wait: limits::KNOWN_WAIT,
        }
    }
}

/// The right to one stream: the caller's part and the vault's.
pub struct Turn {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Streams {
    /// Waits a while for a turn; the caller's own first, so that one caller with many streams
    /// does not stand before the others.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub async fn turn(&self, caller: &Caller) -> Result<Turn, Refusal> {
        let own = Arc::clone(
            self.each
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(caller.id.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(limits::KNOWN_STREAMS_EACH))),
        );
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn { own, all })
        };
        let turn = timeout(self.wait, both).await.ok().flatten();
        turn.ok_or(Refusal::Busy)
    }
}

/// Starts to stream an epoch's pseudonyms.
pub fn stream(vault: Arc<Vault>, keys: Arc<EpochKeys>, turn: Turn) -> KnownBody {
    // Two pages ahead of the socket: the reader never waits long, and memory stays small.
    let (sender, parts) = mpsc::channel(2);
    let Turn { own, all } = turn;
    tokio::spawn(async move {
        // Freed when the pages are read or the time is over: a caller that does not read keeps
        // its own turns, and nobody else's.
        let _all = all;
        let sent = tokio::select! {
            sent = timeout(limits::KNOWN_TIME, pages(&vault, &keys, &sender)) => sent,
            () = vault.closing.cancelled() => return,
        };
        if let Ok(Err(error)) = sent {
            tracing::error!(%error, "the known set could not be read");
        }
    });
    KnownBody {
        parts,
        is_whole: false,
        _own: own,
    }
}

/// Each page is a statement of its own: no long read holds back the store's checkpoints. Rows
/// that are added meanwhile have higher numbers and come too. An end before [`Part::End`] makes
/// the body fail.
async fn pages(
    vault: &Arc<Vault>,
    keys: &Arc<EpochKeys>,
    sender: &mpsc::Sender<Part>,
) -> Result<(), StoreError> {
    let row = keys.row;
    let expected = vault.read(move |_, reader| reader.known_count(row)).await?;
    let head = Part::Page(known::head(expected).into());
    if !send(sender, head, limits::KNOWN_SEND_TIME).await {
        return Ok(());
    }
    let (mut after, mut total) = (0, 0u64);
    loop {
        let keys = Arc::clone(keys);
        let page = vault
            .read(move |_, reader| page(reader, &keys, after))
            .await?;
        let Some((last, count, frame)) = page else {
            break;
        };
        after = last;
        total += count;
        if !send(sender, Part::Page(frame), limits::KNOWN_SEND_TIME).await {
            return Ok(());
        }
    }
    let end = Part::End(known::end(total).into());
    send(sender, end, limits::KNOWN_SEND_TIME).await;
    Ok(())
}

/// The last row's number, how many there are, and their frame.
fn page(
    reader: &mut dyn Reader,
    keys: &EpochKeys,
    after: i64,
) -> Result<Option<(i64, u64, Bytes)>, StoreError> {
    let rows = reader.known_after(keys.row, after, limits::KNOWN_FRAME)?;
    let Some(last) = rows.last() else {
        return Ok(None);
    };
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        let opened = keys
            .known
            .open(&keys.row_place(b"known", &row.index), &row.known)?;
        let entry = opened.as_slice().try_into();
        entries.push(entry.map_err(|_| StoreError::Damaged("a known pseudonym"))?);
    }
    let frame = Bytes::from(known::frame(&entries));
    Ok(Some((last.id, rows.len() as u64, frame)))
}

/// Whether the reader is still there and still reads.
async fn send(sender: &mpsc::Sender<Part>, part: Part, time: Duration) -> bool {
    let sent = timeout(time, sender.send(part)).await;
    matches!(sent, Ok(Ok(())))
}

impl Body for KnownBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match self.parts.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Part::Page(bytes))) => Ok(bytes),
            Poll::Ready(Some(Part::End(bytes))) => {
                self.is_whole = true;
                Ok(bytes)
            }
            Poll::Ready(None) if self.is_whole => return Poll::Ready(None),
            Poll::Ready(None) => Err(io::Error::other("the known set was cut off")),
        };
        Poll::Ready(Some(next.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::identity::Role;

    fn caller(id: usize) -> Caller {
        Caller {
            id: format!("gateway-{id}"),
            role: Role::Gateway,
            signing_key: None,
            domains: None,
        }
    }

    #[tokio::test]
    async fn one_caller_cannot_take_every_turn_and_nobody_more_than_there_are() {
        let streams = Streams {
            wait: Duration::from_millis(20),
            ..Streams::default()
        };
        let mut held = Vec::new();
        for _ in 0..limits::KNOWN_STREAMS_EACH {
            held.push(streams.turn(&caller(0)).await.unwrap());
        }
        assert!(streams.turn(&caller(0)).await.is_err());
        let mut other = 1;
        while held.len() < limits::KNOWN_STREAMS {
            held.push(streams.turn(&caller(other)).await.unwrap());
            other += usize::from(held.len() % limits::KNOWN_STREAMS_EACH == 0);
        }
        assert!(streams.turn(&caller(99)).await.is_err());
        // The vault's part comes back before the caller's does.
        let Turn { own, all } = held.remove(0);
        drop(all);
        assert!(streams.turn(&caller(0)).await.is_err());
        streams.turn(&caller(99)).await.unwrap();
        drop(own);
        streams.turn(&caller(0)).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_read_is_given_up_and_a_cut_body_is_an_error() {
        use http_body_util::BodyExt as _;
        let (sender, parts) = mpsc::channel(1);
        let page = || Part::Page(Bytes::from_static(b"page"));
        let time = Duration::from_millis(20);
        assert!(send(&sender, page(), time).await);
        assert!(!send(&sender, page(), time).await);
        drop(sender);
        let own = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let mut body = KnownBody {
            parts,
            is_whole: false,
            _own: own,
        };
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
    }
}
