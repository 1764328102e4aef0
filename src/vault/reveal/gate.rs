//! The gate: the one place where recovery records are opened.
//!
//! [`fetch`] is the only caller of [`open::open`], and the compiler holds that: `open` is a
//! private module of this one. The order is fixed:
//!
//! 1. in one transaction: everything about the request is checked, a read is taken off, the entry
//!    is appended to the log; the commit is synced;
//! 2. only then are records opened, sealed to the requester's key, and answered.
//!
//! Nothing is granted on the word of a clear column: the approver's signature is verified again,
//! expiry and number of reads come from the signed statement, and reads are counted in the log.
//!
//! What can never happen: step 2 without step 1 on the disk; a result that is stored; a result
//! for anybody but the requester that an approver has seen.

mod open;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::decide::deny;
use super::held::Open;
use crate::tls::identity::Role;
use crate::vault::refusal::Refusal;
use crate::vault::sequencer::Tx;
use crate::vault::state::{Caller, Vault};
use crate::vault::store::{Reader, RevealRowState, StoreError};
use crate::wire::control::{REVEAL_INFO, RevealResult};
use crate::wire::sealed;
use crate::wire::statement::{DECISION_TYPE, Decision, Verdict};

/// Answers an approved reveal to the one who asked. Every refusal is logged with its code.
pub async fn fetch(
    vault: &Arc<Vault>,
    caller: &Caller,
    id: [u8; 16],
) -> Result<RevealResult, Refusal> {
    let granted = admit(vault, caller.clone(), id).await?;
    let result = vault
        .read(move |vault, reader| answer(vault, reader, &granted))
        .await??;
    vault.metrics.reveals_fetched.inc();
    Ok(result)
}

/// Step 1: durable on return.
async fn admit(vault: &Arc<Vault>, caller: Caller, id: [u8; 16]) -> Result<Open, Refusal> {
    let this = Arc::clone(vault);
    vault
        .sequencer
        .run(move |tx| {
            let Some(row) = tx.store.reveal(&id)? else {
                return deny(tx, &caller, None, Refusal::UnknownReveal).map(Err);
            };
            let mut open = Open::read(&this, row)?;
            if let Err(refusal) = check(tx, &this, &caller, &open)? {
                return deny(tx, &caller, Some(&open), refusal).map(Err);
            }
            open.row.reads_left = open.row.reads_left.saturating_sub(1);
            tx.store.set_reveal(&open.row)?;
            let mut event = caller.event("reveal-fetched", tx.now);
            open.describe(&mut event);
            tx.log(&event)?;
            Ok(Ok(open))
        })
        .await?
}

fn check(
    tx: &mut Tx<'_>,
    vault: &Vault,
    caller: &Caller,
    open: &Open,
) -> Result<Result<(), Refusal>, StoreError> {
    if let Err(refusal) = may_ask(tx, caller, open) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = proven(vault, open) {
        if refusal == Refusal::Unproven {
            let mut event = caller.event("decision-alarm", tx.now);
            open.describe(&mut event);
            event.code = Some(refusal.name());
            tx.log(&event)?;
        }
        return Ok(Err(refusal));
    }
    let request = open.statement.request.to_string();
    let used = tx.logged(open.held.log, "reveal-fetched", &request)?;
    Ok(if used >= open.statement.reads {
        Err(Refusal::Spent)
    } else {
        Ok(())
    })
}

/// What the person and the columns say. The columns can only refuse.
fn may_ask(tx: &Tx<'_>, caller: &Caller, open: &Open) -> Result<(), Refusal> {
    if open.statement.requester != caller.id {
        return Err(Refusal::OtherRequester);
    }
    if caller.role != Role::Investigator {
        return Err(Refusal::WrongRole);
    }
    match open.row.state {
        RevealRowState::Pending if open.is_expired(tx.now) => Err(Refusal::Expired),
        RevealRowState::Pending => Err(Refusal::NotApproved),
        RevealRowState::Refused => Err(Refusal::RevealRefused),
        RevealRowState::Approved if open.row.reads_left == 0 => Err(Refusal::Spent),
        RevealRowState::Approved if open.is_expired(tx.now) => Err(Refusal::Expired),
        RevealRowState::Approved => Ok(()),
    }
}

/// The second person's signature on the very bytes that are held, under a key that the registry
/// names today.
fn proven(vault: &Vault, open: &Open) -> Result<(), Refusal> {
    let decided = open.decided(vault).map_err(|_| Refusal::Unproven)?;
    let envelope = decided.ok_or(Refusal::Unproven)?.envelope;
    let held = open.statement.request.0 == open.row.id && open.statement.vault.0 == vault.id;
    let signed = vault.registry.persons.iter().find_map(|person| {
        if person.role != Role::Approver || person.id == open.statement.requester {
            return None;
        }
        let payload = envelope.verify(DECISION_TYPE, person.signing_key.as_ref()?);
        let decision = Decision::parse(payload.ok()?).ok()?;
        (decision.approver == person.id).then_some(decision)
    });
    match signed {
        Some(d) if held && d.statement == open.held.statement => match d.decision {
            Verdict::Approve => Ok(()),
            Verdict::Refuse => Err(Refusal::RevealRefused),
        },
        _ => Err(Refusal::Unproven),
    }
}

/// Step 2.
fn answer(
    vault: &Vault,
    reader: &mut dyn Reader,
    granted: &Open,
) -> Result<Result<RevealResult, Refusal>, StoreError> {
    let rows = granted
        .held
        .pseudonyms
        .iter()
        .map(|pseudonym| open::open(vault, reader, &granted.statement.domain, pseudonym))
        .collect::<Result<Vec<_>, _>>()?;
    let plaintext =
        Zeroizing::new(serde_json::to_vec(&rows).expect("strings always have a JSON text"));
    let statement = granted.held.statement.clone();
    let key = &granted.statement.hpke_key.0;
    // A key that cannot be sealed to was the requester's own choice.
    Ok(
        match sealed::seal(key, REVEAL_INFO, &statement.0, &plaintext) {
            Ok(bytes) => Ok(RevealResult {
                statement,
                sealed: crate::wire::text::Base64(bytes),
            }),
            Err(_) => Err(Refusal::BadMessage),
        },
    )
}
