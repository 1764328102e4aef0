//! Recovery records: a gateway's sealed batch in, durable rows out.
//!
//! ```text
//! open (HPKE) ─▶ decode ─▶ normalise and derive again ─▶ seal rows ─▶ sequencer ─▶ answer
//! ```
//!
//! What can never happen: a record whose pseudonym does not follow from its identifier; an
//! overwritten record; an answer before the sync; part of a batch kept.

pub mod put;
pub mod row;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::keys::epoch::EpochKeys;
use super::refusal::Refusal;
use super::state::{Caller, Vault};
use super::store::RecordRow;
use crate::wire::batch::{Entries, Envelope, INFO, associated_data};
use crate::wire::control::RecordsAnswer;

/// Keeps one batch; the caller's role has been checked. `body` is a whole [`Envelope`].
pub async fn keep(
    vault: &Arc<Vault>,
    caller: &Caller,
    body: bytes::Bytes,
) -> Result<RecordsAnswer, Refusal> {
    let envelope = Envelope::decode(&body)?;
    let keys = vault
        .keyring
        .by_id(&envelope.domain, envelope.epoch)
        .ok_or(Refusal::UnknownEpoch)?;
    vault.may_use(caller, &keys.domain_name).await?;
    let checked = {
        let (vault, gateway, keys) = (Arc::clone(vault), caller.id.clone(), Arc::clone(&keys));
        // Opening and sealing a thousand records takes a millisecond or two: not on an async thread.
        tokio::task::spawn_blocking(move || prepare(&vault, &gateway, &keys, &body))
            .await
            .map_err(|_| Refusal::Store)?
    };
    match checked {
        Ok(rows) => put::put(vault, caller, keys, rows).await,
        Err(Refusal::RecordMismatch) => {
            let (domain, epoch) = (keys.domain_name.clone(), keys.epoch);
            Err(vault
                .refuse(
                    Refusal::RecordMismatch,
                    "mismatch-alarm",
                    caller,
                    move |event| {
                        event.domain = Some(domain);
                        event.epoch = Some(epoch);
                    },
                )
                .await)
        }
        Err(other) => Err(other),
    }
}

/// Opens, checks and seals every record of a batch.
fn prepare(
    vault: &Vault,
    gateway: &str,
    keys: &EpochKeys,
    body: &[u8],
) -> Result<Vec<RecordRow>, Refusal> {
    let envelope = Envelope::decode(body)?;
    let associated = associated_data(&vault.id, gateway, &envelope);
    // A batch that does not open was bent, or was sealed by or for somebody else.
    let plaintext = vault
        .records_key
        .open(INFO, &associated, envelope.sealed)
        .map_err(|_| Refusal::RecordMismatch)?;
    let entries = Entries::decode(&plaintext)?;
    let mut sealer = row::Sealer::new(keys, entries.len());
    let mut normal = Zeroizing::new(Vec::new());
    entries
        .iter()
        .map(|entry| {
            let kind = vault
                .kinds
                .find(entry.kind)
                .ok_or(Refusal::RecordMismatch)?;
            let settings = vault.kinds.get(kind);
            // Exposed to be derived from again, and to be sealed.
            let identifier = entry.identifier.expose();
            let again = settings.normaliser.normalise(identifier, &mut normal);
            let derived = match entry.subject {
                None => keys.kind(kind).derive(identifier),
                Some((of, subject)) => {
                    let of = vault.kinds.find(of).ok_or(Refusal::RecordMismatch)?;
                    let key = keys.kind(kind);
                    key.derive_within(keys.kind(of), &subject, identifier)
                }
            };
            if again.is_err() || normal.as_slice() != identifier || derived != entry.pseudonym {
                return Err(Refusal::RecordMismatch);
            }
            Ok(sealer.seal(&entry.pseudonym, settings, identifier))
        })
        .collect()
}
