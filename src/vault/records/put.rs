//! Puts the sealed rows of a batch into the store: all of them, or none.

use std::sync::Arc;

use crate::vault::keys::epoch::EpochKeys;
use crate::vault::refusal::Refusal;
use crate::vault::sequencer::Tx;
use crate::vault::state::{Caller, Vault};
use crate::vault::store::{Added, RecordRow, StoreError};
use crate::wire::control::RecordsAnswer;

const DAY: i64 = 24 * 3600;

/// Same pseudonym and same identifier: acknowledged again. Same pseudonym, another identifier:
/// conflict. Over the day's budget: refused.
pub async fn put(
    vault: &Arc<Vault>,
    caller: &Caller,
    keys: Arc<EpochKeys>,
    mut rows: Vec<RecordRow>,
) -> Result<RecordsAnswer, Refusal> {
    // In the index's order, so that neighbours share pages.
    rows.sort_unstable_by_key(|row| row.index);
    let limit = vault
        .domain(&keys.domain_name)
        .ok_or(Refusal::UnknownDomain)?
        .budget_per_day;
    let caller = caller.clone();
    let outcome = vault
        .sequencer
        .run(move |tx| decide(tx, &caller, &keys, &rows, limit))
        .await?;
    if let Ok(answer) = &outcome {
        let metrics = &vault.metrics;
        metrics.records_new.inc_by(answer.new.into());
        metrics.records_known.inc_by(answer.known.into());
    }
    outcome
}

/// What is refused leaves its log entry, and no row.
fn decide(
    tx: &mut Tx<'_>,
    caller: &Caller,
    keys: &EpochKeys,
    rows: &[RecordRow],
    limit: u64,
) -> Result<Result<RecordsAnswer, Refusal>, StoreError> {
    let day = tx.now.unix_timestamp().div_euclid(DAY);
    let mut budget = tx.store.budget(&caller.id, &keys.domain, day)?;
    let left = limit.saturating_sub(budget.used);
    let new = match tx.store.add_records(keys.row, rows, left)? {
        Added::All { new } => new,
        Added::Conflict => return refuse(tx, caller, keys, Refusal::RecordConflict).map(Err),
        Added::TooMany if budget.alarmed => return Ok(Err(Refusal::Budget)),
        Added::TooMany => {
            budget.alarmed = true;
            tx.store.set_budget(&caller.id, &keys.domain, day, budget)?;
            return refuse(tx, caller, keys, Refusal::Budget).map(Err);
        }
    };
    if new > 0 {
        budget.used += new;
        tx.store.set_budget(&caller.id, &keys.domain, day, budget)?;
    }
    Ok(Ok(RecordsAnswer {
        new: new as u32,
        known: (rows.len() as u64 - new) as u32,
    }))
}

fn refuse(
    tx: &mut Tx<'_>,
    caller: &Caller,
    keys: &EpochKeys,
    refusal: Refusal,
) -> Result<Refusal, StoreError> {
    let name = match refusal {
        Refusal::Budget => "budget-alarm",
        _ => "conflict-alarm",
    };
    let mut event = caller.event(name, tx.now);
    event.domain = Some(keys.domain_name.clone());
    event.epoch = Some(keys.epoch);
    event.code = Some(refusal.name());
    tx.log(&event)?;
    Ok(refusal)
}
