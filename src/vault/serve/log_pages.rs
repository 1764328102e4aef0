//! The log for auditors: checkpoint, key, entries with their details, proofs.
//!
//! What can never happen: a proof about more than the last checkpoint has signed.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::Answer;
use crate::limits;
use crate::vault::keys::cipher::Cipher;
use crate::vault::keys::root::Use;
use crate::vault::log::ledger::read_entry;
use crate::vault::log::{merkle, note::Checkpoint, proof::Chunks};
use crate::vault::refusal::Refusal;
use crate::vault::state::Vault;
use crate::vault::store::{Reader, StoreError};
use crate::wire::control::{LogEntry, LogKey, LogPage, LogProof};
use crate::wire::text::Hex;

pub async fn checkpoint(vault: &Arc<Vault>) -> Result<Answer, Refusal> {
    let note = vault.read(|_, reader| reader.last_checkpoint()).await?;
    note.map(Answer::Text).ok_or(Refusal::BadRange)
}

pub fn key(vault: &Vault) -> Answer {
    Answer::json(&LogKey {
        key: vault.log_key.to_string(),
    })
}

/// Entries from `start` up to `end`, as many as one answer holds.
pub async fn entries(vault: &Arc<Vault>, start: u64, end: u64) -> Result<Answer, Refusal> {
    if start >= end {
        return Err(Refusal::BadRange);
    }
    let end = end.min(start.saturating_add(limits::LOG_PAGE));
    let page = vault
        .read(move |vault, reader| {
            let mut keys: HashMap<u32, Option<Cipher>> = HashMap::new();
            let mut entries: Vec<LogEntry> = Vec::new();
            let mut bytes = 0;
            for row in reader.leaves(start, end)? {
                let key = match keys.get(&row.period) {
                    Some(known) => known.clone(),
                    None => {
                        let wrapped = reader.log_period(row.period)?;
                        let key = wrapped
                            .map(|w| vault.root.unwrap(Use::LogPeriod(row.period), &w))
                            .transpose()?
                            .map(|key| Cipher::new(&key));
                        keys.insert(row.period, key.clone());
                        key
                    }
                };
                let entry = read_entry(&row, key.as_ref())?;
                bytes += entry.details.as_ref().map_or(0, String::len);
                if bytes > limits::LOG_PAGE_BYTES && !entries.is_empty() {
                    break; // the asker goes on behind what came
                }
                entries.push(entry);
            }
            Ok::<_, StoreError>(LogPage { start, entries })
        })
        .await?;
    Ok(Answer::json(&page))
}

/// That entry `at` is in the tree of the first `size` entries.
pub async fn inclusion(vault: &Arc<Vault>, at: u64, size: u64) -> Result<Answer, Refusal> {
    if at >= size {
        return Err(Refusal::BadRange);
    }
    proof(vault, size, move |chunks, leaves| {
        chunks.inclusion(at, size, leaves)
    })
    .await
}

/// That the first `old` of the first `size` entries are the tree that they were.
pub async fn consistency(vault: &Arc<Vault>, old: u64, size: u64) -> Result<Answer, Refusal> {
    if old > size {
        return Err(Refusal::BadRange);
    }
    proof(vault, size, move |chunks, leaves| {
        chunks.consistency(old, size, leaves)
    })
    .await
}

type Made = Result<Vec<merkle::Hash>, StoreError>;

async fn proof(
    vault: &Arc<Vault>,
    size: u64,
    make: impl FnOnce(&Chunks, &mut dyn FnMut(u64, u64) -> Made) -> Made + Send + 'static,
) -> Result<Answer, Refusal> {
    let made = vault
        .read(move |vault, reader| {
            if signed(vault, reader)?.is_none_or(|last| size > last.size) {
                return Ok(None);
            }
            let mut leaves = |start, end| {
                let data = reader.commitments(start, end)?;
                if data.len() as u64 != end - start {
                    return Err(StoreError::Damaged("the log has lost its end"));
                }
                Ok(data.iter().map(|leaf| merkle::leaf(leaf)).collect())
            };
            make(&vault.log_chunks, &mut leaves).map(Some)
        })
        .await?;
    let hashes = made.ok_or(Refusal::BadRange)?;
    let hashes = hashes.into_iter().map(Hex).collect();
    Ok(Answer::json(&LogProof { size, hashes }))
}

/// The last checkpoint, as this vault has signed it.
fn signed(vault: &Vault, reader: &mut dyn Reader) -> Result<Option<Checkpoint>, StoreError> {
    let note = reader.last_checkpoint()?;
    note.map(|note| vault.log_key.open(&note))
        .transpose()
        .map_err(|_| StoreError::Damaged("the last checkpoint is not this vault's"))
}
