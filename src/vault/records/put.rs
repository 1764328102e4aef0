//! Puts the sealed rows of a batch into the store: all of them, or none.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::vault::keys::epoch::EpochKeys;
use crate::vault::refusal::Refusal;
use crate::vault::sequencer::Tx;
use crate::vault::state::{Caller, Vault};
use crate::vault::store::{RecordRow, StoreError};
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
        metrics.records_new.fetch_add(answer.new.into(), Relaxed);
        metrics
            .records_known
            .fetch_add(answer.known.into(), Relaxed);
    }
    outcome
}

/// Looks at every row before it writes one: what is refused leaves its log entry, and no row.
fn decide(
    tx: &mut Tx<'_>,
    caller: &Caller,
    keys: &EpochKeys,
    rows: &[RecordRow],
    limit: u64,
) -> Result<Result<RecordsAnswer, Refusal>, StoreError> {
    let mut new = Vec::with_capacity(rows.len());
    let mut seen = HashSet::with_capacity(rows.len());
    for row in rows {
        match tx.store.record_tag(&row.index)? {
            Some(tag) if tag == row.tag => {}
            Some(_) => return refuse(tx, caller, keys, Refusal::RecordConflict).map(Err),
            None if seen.insert(row.index) => new.push(row),
            None => {} // twice in this batch; both were derived again, so they are the same
        }
    }
    let answer = RecordsAnswer {
        new: new.len() as u32,
        known: (rows.len() - new.len()) as u32,
    };
    if new.is_empty() {
        return Ok(Ok(answer));
    }
    let day = tx.now.unix_timestamp().div_euclid(DAY);
    let mut budget = tx.store.budget(&caller.id, &keys.domain, day)?;
    if budget.used + new.len() as u64 > limit {
        if budget.alarmed {
            return Ok(Err(Refusal::Budget));
        }
        budget.alarmed = true;
        tx.store.set_budget(&caller.id, &keys.domain, day, budget)?;
        return refuse(tx, caller, keys, Refusal::Budget).map(Err);
    }
    budget.used += new.len() as u64;
    tx.store.set_budget(&caller.id, &keys.domain, day, budget)?;
    for row in new {
        tx.store.add_record(keys.row, row)?;
    }
    Ok(Ok(answer))
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
