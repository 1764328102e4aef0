//! Leases: the key of a domain's present epoch, for a gateway, for a while.
//!
//! What can never happen: a lease without its log entry. A second process under one gateway's
//! certificate, while the first's lease lives, raises an alarm: either the gateway was restarted,
//! or its key was copied. One to which the first has handed its place over raises none.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::keyring::ensure;
use super::keys::random;
use super::refusal::Refusal;
use super::state::{Caller, Holder, Vault};
use crate::limits;
use crate::pseudonym::Normaliser;
use crate::wire::control::{LeaseAnswer, LeaseRequest};
use crate::wire::text::{Hex, KeyText};

/// Grants a lease; the caller's role has been checked.
pub async fn grant(
    vault: &Arc<Vault>,
    caller: &Caller,
    ask: LeaseRequest,
) -> Result<LeaseAnswer, Refusal> {
    if vault.domain(&ask.domain).is_none() {
        // The name comes from outside and is not one of ours: it is not repeated.
        return Err(vault
            .refuse(Refusal::UnknownDomain, "lease-refused", caller, |_| ())
            .await);
    }
    vault.may_use(caller, &ask.domain).await?;
    let lease: [u8; 16] = random();
    let second = take(vault, caller, &ask);
    let (root, who, name) = (Arc::clone(&vault.root), caller.clone(), ask.domain.clone());
    let row = vault
        .sequencer
        .run(move |tx| {
            let row = ensure(tx, &root, &name)?;
            let mut event = who.event("lease-granted", tx.now);
            event.domain = Some(name);
            event.epoch = Some(row.epoch);
            event.request = Some(Hex(lease).to_string());
            tx.log(&event)?;
            if second {
                event.event = "second-lease-alarm";
                tx.log(&event)?;
            }
            Ok(row)
        })
        .await?;
    vault
        .keyring
        .unlock(&vault.root, vault.id, ask.domain, &row, &vault.kinds)?;
    let keys = vault
        .keyring
        .by_id(&row.domain, row.epoch)
        .ok_or(Refusal::UnknownEpoch)?;
    vault.metrics.leases.inc();
    Ok(LeaseAnswer {
        vault: Hex(vault.id),
        gateway: caller.id.clone(),
        domain: Hex(keys.domain),
        epoch: keys.epoch,
        lease: Hex(lease),
        seconds: limits::LEASE_TIME.as_secs(),
        key: KeyText(keys.leased().clone()),
        records_key: Hex(vault.records_key.public()),
        normaliser: Normaliser::VERSION,
    })
}

/// Notes the lease; says whether another boot of the same gateway holds a live one, that has not
/// handed it over. (Only the process itself knows its boot before the vault does: it passes it on
/// with its listening sockets, to a process of its own user.)
fn take(vault: &Vault, caller: &Caller, ask: &LeaseRequest) -> bool {
    let now = Instant::now();
    let end = now + limits::LEASE_TIME;
    let (boot, named) = (ask.boot.0, ask.predecessor.as_ref().map(|p| p.0));
    let mut leases = vault.leases.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (caller.id.clone(), ask.domain.clone());
    let held = leases.get_mut(&key).filter(|held| held.until > now);
    let mut second = false;
    if let Some(held) = held {
        if held.boot == boot {
            held.until = end;
            return false;
        }
        // It lets its last requests end.
        if (held.predecessor).is_some_and(|(before, until)| before == boot && until > now) {
            return false;
        }
        second = named != Some(held.boot);
    }
    let predecessor = named.filter(|_| !second).map(|before| (before, end));
    let holder = Holder {
        boot,
        until: end,
        predecessor,
    };
    leases.insert(key, holder);
    second
}
