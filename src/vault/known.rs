//! The stream of pseudonyms that have a durable record, for a gateway's exact set.
//!
//! What leaves: pseudonyms of one (domain, epoch), which the gateway could derive itself. What
//! can never happen: the whole set in memory, or a stream that ends cleanly before its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::keys::epoch::EpochKeys;
use super::state::Vault;
use super::store::StoreError;
use crate::limits;
use crate::wire::known;

/// A response body fed page by page from the store.
pub struct KnownBody(mpsc::Receiver<io::Result<Bytes>>);

/// Starts to stream an epoch's pseudonyms.
pub fn stream(vault: Arc<Vault>, keys: Arc<EpochKeys>) -> KnownBody {
    // Two pages ahead of the socket: the reader never waits long, and memory stays small.
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pages(&vault, &keys, &sender) {
            tracing::error!(%error, "the known set could not be read");
            let _ = sender.blocking_send(Err(io::Error::other("the store failed")));
        }
    });
    KnownBody(receiver)
}

/// Each page is a statement of its own: no long read holds back the store's checkpoints. Rows
/// that are added meanwhile have higher numbers and come too.
fn pages(
    vault: &Vault,
    keys: &EpochKeys,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), StoreError> {
    let (mut after, mut total) = (0, 0u64);
    loop {
        let rows = vault
            .read_blocking(|_, reader| reader.known_after(keys.row, after, limits::KNOWN_FRAME))?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        total += rows.len() as u64;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let opened = keys
                .known
                .open(&keys.row_place(b"known", &row.index), &row.known)?;
            let entry = opened.as_slice().try_into();
            entries.push(entry.map_err(|_| StoreError::Damaged("a known pseudonym"))?);
        }
        let frame = Bytes::from(known::frame(&entries));
        if sender.blocking_send(Ok(frame)).is_err() {
            return Ok(()); // the gateway has gone
        }
    }
    let _ = sender.blocking_send(Ok(Bytes::from(known::end(total))));
    Ok(())
}

impl Body for KnownBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|next| next.map(|r| r.map(Frame::data)))
    }
}
