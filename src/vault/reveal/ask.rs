//! The first person: asks for a reveal.
//!
//! What leaves: the exact bytes that the second person will sign. What can never happen: a
//! request for pseudonyms that this domain does not have, or for a table of them.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::held::{Held, Open, seal};
use crate::limits;
use crate::pseudonym::text;
use crate::vault::keys::random;
use crate::vault::log::event::rfc3339;
use crate::vault::refusal::Refusal;
use crate::vault::state::{Caller, Vault};
use crate::vault::store::{Reader, RevealRow, RevealRowState, StoreError};
use crate::wire::control::{RevealAsk, RevealView};
use crate::wire::statement::{Digest, Statement};
use crate::wire::text::{Base64, Hex};

/// Shorter, and nobody can decide in time.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

/// Asks; the caller's role has been checked. A refused request is logged with its code.
pub async fn ask(
    vault: &Arc<Vault>,
    caller: &Caller,
    mut ask: RevealAsk,
) -> Result<RevealView, Refusal> {
    ask.pseudonyms.sort();
    ask.pseudonyms.dedup();
    let epochs = match check(vault, &ask).await {
        Ok(epochs) => epochs,
        Err(refusal) => return Err(denied(vault, caller, &ask, refusal).await),
    };
    let domain = vault
        .keyring
        .newest(&ask.domain)
        .ok_or(Refusal::UnknownDomain)?
        .domain;
    let now = OffsetDateTime::now_utc();
    let life = ask
        .expires_in
        .map_or(limits::REVEAL_LIFE, Duration::from_secs);
    let id: [u8; 16] = random();
    let statement = Statement {
        version: 1,
        vault: Hex(vault.id),
        request: Hex(id),
        requester: caller.id.clone(),
        hpke_key: ask.hpke_key,
        domain: ask.domain,
        domain_id: Hex(domain),
        epochs,
        pseudonyms: Digest::of(&ask.pseudonyms),
        purpose: ask.purpose,
        reason: ask.reason,
        created: rfc3339(now),
        expires: rfc3339(now + life),
        reads: ask.reads.unwrap_or(1),
    };
    let held = Held {
        statement: Base64(statement.to_bytes()),
        pseudonyms: ask.pseudonyms,
        log: 0, // known inside the transaction
    };
    let row = RevealRow {
        id,
        created: now.unix_timestamp(),
        expires: (now + life).unix_timestamp(),
        state: RevealRowState::Pending,
        reads_left: statement.reads,
        sealed: Vec::new(),
        decision: None,
    };
    let mut open = Open {
        row,
        held,
        statement,
    };
    let view = open.view(vault, now)?;
    let (this, caller) = (Arc::clone(vault), caller.clone());
    vault
        .sequencer
        .run(move |tx| {
            open.held.log = tx.log_size();
            open.row.sealed = seal(&this, &id, b"held", &open.held);
            tx.store.add_reveal(&open.row)?;
            let mut event = caller.event("reveal-asked", tx.now);
            open.describe(&mut event);
            tx.log(&event)
        })
        .await?;
    vault.metrics.reveals_asked.inc();
    Ok(view)
}

/// Gives the epochs of the pseudonyms, ascending.
async fn check(vault: &Arc<Vault>, ask: &RevealAsk) -> Result<Vec<u32>, Refusal> {
    let length = ask.pseudonyms.len();
    if length == 0 || length > limits::REVEAL_PSEUDONYMS {
        return Err(Refusal::TooMany);
    }
    let purpose = &ask.purpose;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if purpose.is_empty() || purpose.len() > limits::REVEAL_PURPOSE || !purpose.bytes().all(plain) {
        return Err(Refusal::BadPurpose);
    }
    // Control characters could make a terminal show the approver something else.
    let reason = &ask.reason;
    if reason.trim().is_empty()
        || reason.chars().count() > limits::REVEAL_REASON
        || reason.chars().any(char::is_control)
    {
        return Err(Refusal::BadReason);
    }
    let life = ask
        .expires_in
        .map_or(limits::REVEAL_LIFE, Duration::from_secs);
    let reads = ask.reads.unwrap_or(1);
    if !(SHORTEST_LIFE..=limits::REVEAL_LIFE).contains(&life)
        || !(1..=limits::REVEAL_READS).contains(&reads)
    {
        return Err(Refusal::BadExpiry);
    }
    if vault.domain(&ask.domain).is_none() {
        return Err(Refusal::UnknownDomain);
    }
    let (domain, pseudonyms) = (ask.domain.clone(), ask.pseudonyms.clone());
    vault
        .read(move |vault, reader| {
            let mut epochs = Vec::new();
            for pseudonym in &pseudonyms {
                match find(vault, reader, &domain, pseudonym)? {
                    Ok(epoch) => epochs.push(epoch),
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            epochs.sort_unstable();
            epochs.dedup();
            Ok(Ok(epochs))
        })
        .await?
}

/// The epoch of one pseudonym, if the domain has its record.
fn find(
    vault: &Vault,
    reader: &mut dyn Reader,
    domain: &str,
    pseudonym: &str,
) -> Result<Result<u32, Refusal>, StoreError> {
    let Some(parsed) = text::parse(pseudonym.as_bytes()) else {
        return Ok(Err(Refusal::BadPseudonym));
    };
    if !vault.kinds.iter().any(|(_, k)| &*k.prefix == parsed.prefix) {
        return Ok(Err(Refusal::BadPseudonym));
    }
    if let Some(keys) = vault.keyring.by_name(domain, parsed.epoch)
        && reader.record_epoch(&keys.index(&parsed.pseudonym))? == Some(keys.row)
    {
        return Ok(Ok(parsed.epoch));
    }
    for other in vault.keyring.elsewhere(domain, parsed.epoch) {
        if reader
            .record_epoch(&other.index(&parsed.pseudonym))?
            .is_some()
        {
            return Ok(Err(Refusal::WrongDomain));
        }
    }
    Ok(Err(Refusal::UnknownPseudonym))
}

async fn denied(vault: &Vault, caller: &Caller, ask: &RevealAsk, refusal: Refusal) -> Refusal {
    // Names and texts from outside stand in the log only where they were understood: somebody
    // may have pasted an identifier where a pseudonym belongs.
    let domain = vault.domain(&ask.domain).map(|d| d.name.clone());
    let count = ask.pseudonyms.len() as u64;
    let pseudonyms: Vec<_> = ask
        .pseudonyms
        .iter()
        .filter(|p| text::parse(p.as_bytes()).is_some())
        .take(limits::REVEAL_PSEUDONYMS)
        .cloned()
        .collect();
    vault
        .refuse(refusal, "reveal-denied", caller, move |event| {
            event.domain = domain;
            event.count = Some(count);
            event.pseudonyms = pseudonyms;
        })
        .await
}
