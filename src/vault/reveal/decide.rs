//! The second person: approves or refuses, by a signature over the exact bytes.
//!
//! What can never happen: a decision that is not signed by the caller's own enrolled key, on
//! other bytes than the vault holds, on the caller's own request, after expiry, or twice.

use std::sync::Arc;

use crate::vault::refusal::Refusal;
use crate::vault::sequencer::Tx;
use crate::vault::state::{Caller, Vault};
use crate::vault::store::{RevealRowState, StoreError};
use crate::wire::control::RevealView;
use crate::wire::dsse::{Envelope, key_id};
use crate::wire::statement::{DECISION_TYPE, Decision, Verdict};

use super::held::{Decided, Open, seal};
use crate::tls::identity::Role;

/// Decides. Every refusal is logged with its code.
pub async fn decide(
    vault: &Arc<Vault>,
    caller: &Caller,
    id: [u8; 16],
    envelope: Envelope,
) -> Result<RevealView, Refusal> {
    let (this, caller) = (Arc::clone(vault), caller.clone());
    vault
        .sequencer
        .run(move |tx| {
            let Some(row) = tx.store.reveal(&id)? else {
                return deny(tx, &caller, None, Refusal::UnknownReveal).map(Err);
            };
            let open = Open::read(&this, row)?;
            match check(tx, &caller, &open, &envelope) {
                Ok(verdict) => record(tx, &this, &caller, open, verdict, envelope).map(Ok),
                Err(refusal) => deny(tx, &caller, Some(&open), refusal).map(Err),
            }
        })
        .await?
}

/// Everything that must hold, the person first.
fn check(
    tx: &Tx<'_>,
    caller: &Caller,
    open: &Open,
    envelope: &Envelope,
) -> Result<Verdict, Refusal> {
    if open.statement.requester == caller.id {
        return Err(Refusal::SelfApproval);
    }
    if caller.role != Role::Approver {
        return Err(Refusal::WrongRole);
    }
    let key = caller.signing_key.ok_or(Refusal::BadSignature)?;
    let payload = envelope
        .verify(DECISION_TYPE, &key)
        .map_err(|_| Refusal::BadSignature)?;
    let decision = Decision::parse(payload).map_err(|_| Refusal::ChangedRequest)?;
    if decision.approver != caller.id {
        return Err(Refusal::BadSignature);
    }
    if decision.statement != open.held.statement {
        return Err(Refusal::ChangedRequest);
    }
    if open.row.state != RevealRowState::Pending {
        return Err(Refusal::AlreadyDecided);
    }
    if open.is_expired(tx.now) {
        return Err(Refusal::Expired);
    }
    Ok(decision.decision)
}

fn record(
    tx: &mut Tx<'_>,
    vault: &Vault,
    caller: &Caller,
    mut open: Open,
    verdict: Verdict,
    envelope: Envelope,
) -> Result<RevealView, StoreError> {
    let (state, name) = match verdict {
        Verdict::Approve => (RevealRowState::Approved, "reveal-approved"),
        Verdict::Refuse => (RevealRowState::Refused, "reveal-refused"),
    };
    let decided = Decided {
        by: caller.id.clone(),
        envelope,
    };
    open.row.state = state;
    open.row.decision = Some(seal(vault, &open.row.id, b"decision", &decided));
    tx.store.set_reveal(&open.row)?;
    let mut event = caller.event(name, tx.now);
    open.describe(&mut event);
    event.signed_by = caller.signing_key.as_ref().map(key_id);
    tx.log(&event)?;
    open.view(vault, tx.now)
}

/// Logs a refusal in the open transaction.
pub(super) fn deny(
    tx: &mut Tx<'_>,
    caller: &Caller,
    open: Option<&Open>,
    refusal: Refusal,
) -> Result<Refusal, StoreError> {
    let mut event = caller.event("reveal-denied", tx.now);
    if let Some(open) = open {
        open.describe(&mut event);
    }
    event.code = Some(refusal.name());
    tx.log(&event)?;
    Ok(refusal)
}
