//! The log for auditors: checkpoint, key, entries with their details.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::Answer;
use crate::limits;
use crate::vault::keys::cipher::Cipher;
use crate::vault::keys::root::Use;
use crate::vault::log::ledger::read_entry;
use crate::vault::refusal::Refusal;
use crate::vault::state::Vault;
use crate::vault::store::StoreError;
use crate::wire::control::{LogKey, LogPage};

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
            let mut entries = Vec::new();
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
                entries.push(read_entry(&row, key.as_ref())?);
            }
            Ok::<_, StoreError>(LogPage { start, entries })
        })
        .await?;
    Ok(Answer::json(&page))
}
