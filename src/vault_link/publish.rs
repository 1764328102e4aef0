//! Group commit on the gateway's side: first sights of many requests share sealed batches.
//!
//! ```text
//! make_durable ─▶ queue ─▶ batch (≤ 1000) ─ sealed once ─▶ vault ─ synced ─▶ known set ─▶ callers
//!                                                  └─ away ─▶ spool ─ synced ─┘
//! ```
//!
//! Where the domain has a spool ([`super::spool`]), a batch that the vault does not acknowledge
//! within `SPOOL_AFTER` goes there, and while the vault is known to be away at once.
//!
//! A batch leaves at once while few are in flight; otherwise it fills until one returns. What can
//! never happen: a caller is told "durable" before the vault has acknowledged every record of
//! that caller, or the spool has synced it; one batch is sealed twice, or a caller is refused for what another has sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};

use super::client::{CallError, Client};
use super::lease::{Keyed, Shared};
use super::{Boot, FirstSight, retry_after};
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::pseudonym::{KindId, Kinds};
use crate::secret::Plain;
use crate::wire::batch::{self, Entry, Envelope, INFO, associated_data};
use crate::wire::control::RecordsAnswer;
use crate::wire::{path, sealed};

/// One caller's sights and where its answer goes.
pub struct Job {
    pub sights: Vec<FirstSight>,
    pub done: oneshot::Sender<Result<(), Code>>,
}

/// What every batch of one process needs.
pub struct Publisher {
    pub client: Arc<Client>,
    pub kinds: Kinds,
    pub boot: Boot,
}

/// Part of a job in a batch; the job's caller is told when all parts are back.
struct Waiting {
    done: Option<oneshot::Sender<Result<(), Code>>>,
    parts: usize,
    result: Result<(), Code>,
}

/// What came of a batch, by owner.
type Settled = Vec<(u64, Result<(), Code>)>;

/// Runs until the lease's last handle is dropped and the queue is empty.
pub async fn run(publisher: Arc<Publisher>, lease: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut queue: VecDeque<(u64, FirstSight)> = VecDeque::new();
    let mut waiting: HashMap<u64, Waiting> = HashMap::new();
    let mut flying: JoinSet<Settled> = JoinSet::new();
    // Whose sights are in which batch.
    let mut aboard: HashMap<task::Id, Vec<u64>> = HashMap::new();
    let mut next = 0u64;
    let mut open = true;
    loop {
        while !queue.is_empty()
            && (flying.len() < 2
                || (queue.len() >= limits::BATCH && flying.len() < limits::BATCHES_IN_FLIGHT))
        {
            let take = queue.len().min(limits::BATCH);
            let batch: Vec<(u64, FirstSight)> = queue.drain(..take).collect();
            let owners = count(&batch, &mut waiting);
            let (publisher, lease) = (Arc::clone(&publisher), Arc::clone(&lease));
            let flight = flying.spawn(async move { deliver(&publisher, &lease, batch).await });
            aboard.insert(flight.id(), owners);
        }
        if !open && queue.is_empty() && flying.is_empty() {
            return;
        }
        tokio::select! {
            // While a full queue waits, callers wait in theirs: memory stays bounded.
            job = jobs.recv(), if open && queue.len() < limits::BATCH * limits::BATCHES_IN_FLIGHT => match job {
                None => open = false,
                Some(job) if job.sights.is_empty() => { let _ = job.done.send(Ok(())); }
                Some(job) => {
                    next += 1;
                    queue.extend(job.sights.into_iter().map(|sight| (next, sight)));
                    // `parts` counts batches in flight and one for what is still queued.
                    waiting.insert(next, Waiting { done: Some(job.done), parts: 1, result: Ok(()) });
                }
            },
            Some(returned) = flying.join_next_with_id() => {
                let first_queued = queue.front().map_or(u64::MAX, |(owner, _)| *owner);
                for (owner, result) in results(returned, &mut aboard) {
                    settle(owner, result, first_queued, &mut waiting);
                }
            }
        }
    }
}

/// What a batch that has returned means to each of its owners.
fn results(
    returned: Result<(task::Id, Settled), task::JoinError>,
    aboard: &mut HashMap<task::Id, Vec<u64>>,
) -> Settled {
    match returned {
        Ok((flight, results)) => {
            aboard.remove(&flight);
            results
        }
        // A fault of ours. Nobody knows what the vault has of it: its owners are told that.
        Err(error) => {
            tracing::error!("a batch to the vault was lost");
            let owners = aboard.remove(&error.id()).unwrap_or_default();
            let lost = Err(Code::VaultUnreachable);
            owners.into_iter().map(|owner| (owner, lost)).collect()
        }
    }
}

/// Distinct owners of a batch; each waits for it.
fn count(batch: &[(u64, FirstSight)], waiting: &mut HashMap<u64, Waiting>) -> Vec<u64> {
    let mut owners: Vec<u64> = batch.iter().map(|(owner, _)| *owner).collect();
    owners.dedup(); // the queue keeps callers together
    for owner in &owners {
        if let Some(one) = waiting.get_mut(owner) {
            one.parts += 1;
        }
    }
    owners
}

/// One of an owner's batches is back; `first_queued` is the first owner with sights still queued.
/// The owner is told when nothing of it is in flight or queued any more.
fn settle(
    owner: u64,
    result: Result<(), Code>,
    first_queued: u64,
    waiting: &mut HashMap<u64, Waiting>,
) {
    let Some(one) = waiting.get_mut(&owner) else {
        return;
    };
    one.parts -= 1;
    one.result = one.result.and(result);
    if one.parts == 1 && owner < first_queued {
        if let Some(done) = one.done.take() {
            let _ = done.send(one.result);
        }
        waiting.remove(&owner);
    }
}

/// Sends a batch. If the vault finds fault with an entry, every owner's sights are sent by
/// themselves, so that the fault is its owner's alone.
async fn deliver(publisher: &Publisher, lease: &Shared, batch: Vec<(u64, FirstSight)>) -> Settled {
    let mut owners: Vec<(u64, usize)> = Vec::new();
    for (owner, _) in &batch {
        match owners.last_mut() {
            Some((last, count)) if last == owner => *count += 1,
            _ => owners.push((*owner, 1)),
        }
    }
    let sights: Vec<FirstSight> = batch.into_iter().map(|(_, sight)| sight).collect();
    let result = send(publisher, lease, &sights).await;
    if owners.len() == 1 || !matches!(result, Err(Code::VaultRefused | Code::VaultConflict)) {
        return owners
            .into_iter()
            .map(|(owner, _)| (owner, result))
            .collect();
    }
    let (mut results, mut rest) = (Vec::with_capacity(owners.len()), &sights[..]);
    for (owner, count) in owners {
        let (own, others) = rest.split_at(count);
        rest = others;
        results.push((owner, send(publisher, lease, own).await));
    }
    results
}

/// Makes a batch durable, in the vault or in the spool.
async fn send(publisher: &Publisher, lease: &Shared, sights: &[FirstSight]) -> Result<(), Code> {
    let spool = lease.spool.as_ref().filter(|keyed| keyed.spool.takes());
    let Some(keyed) = spool else {
        let bytes = seal(publisher, lease, sights)?;
        let handed = hand_over(publisher, lease, sights, bytes, limits::VAULT_TIME).await;
        if let (Err(Code::VaultUnreachable), Some(keyed)) = (handed, &lease.spool) {
            keyed.spool.turned_away();
        }
        return handed;
    };
    if keyed.spool.is_away() {
        return put_by(publisher, lease, keyed, sights, None).await;
    }
    let bytes = seal(publisher, lease, sights)?;
    let handed = hand_over(publisher, lease, sights, bytes.clone(), limits::SPOOL_AFTER).await;
    match handed {
        // Of another store the next lease will know: what this one says counts no more.
        Err(Code::VaultUnreachable) if !lease.is_retired() => {
            put_by(publisher, lease, keyed, sights, Some(bytes)).await
        }
        handed => handed,
    }
}

/// Puts a batch into the spool; `sealed`: as it was sent, if it was.
async fn put_by(
    publisher: &Publisher,
    lease: &Shared,
    keyed: &Keyed,
    sights: &[FirstSight],
    sealed: Option<Bytes>,
) -> Result<(), Code> {
    // A kind that the vault does not know yet makes it refuse a batch, which nobody here can open
    // again: so each kind has one of its own.
    let mut kinds: Vec<KindId> = sights.iter().map(|sight| sight.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let batches = match (sealed, &kinds[..]) {
        (Some(sealed), [_]) => vec![(sealed, count(sights.len()))],
        _ => {
            let one = |kind: &KindId| {
                let own = || sights.iter().filter(|sight| sight.kind == *kind);
                Ok((seal(publisher, lease, own())?, count(own().count())))
            };
            kinds.iter().map(one).collect::<Result<_, Code>>()?
        }
    };
    let spooled = keyed.spool.append(batches, keyed.key.clone()).await;
    spooled.map_err(|_| Code::VaultUnreachable)?;
    let pseudonyms = sights.iter().map(|sight| sight.pseudonym);
    lease.known.extend(pseudonyms);
    Ok(())
}

/// Sends a sealed batch, the same bytes each time, until the vault answers or the time is over.
async fn hand_over(
    publisher: &Publisher,
    lease: &Shared,
    sights: &[FirstSight],
    bytes: Bytes,
    time: Duration,
) -> Result<(), Code> {
    let deadline = Instant::now() + time;
    let mut pause = limits::VAULT_RETRY_FIRST;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let call = publisher
            .client
            .post_bytes::<RecordsAnswer>(path::RECORDS, bytes.clone());
        let error = match tokio::time::timeout(left, call).await {
            Ok(Ok(answer)) if answer.incarnation == lease.incarnation => {
                lease
                    .known
                    .extend(sights.iter().map(|sight| sight.pseudonym));
                publisher.boot.calls.kept(sights.len());
                return Ok(());
            }
            Ok(Ok(_)) => {
                // Another store answers: what this lease knows is not what that one holds.
                lease.retire();
                return Err(Code::VaultUnreachable);
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(Code::VaultUnreachable),
        };
        match error {
            CallError::Unreachable(_) => {
                if deadline.saturating_duration_since(Instant::now()) <= pause {
                    return Err(Code::VaultUnreachable);
                }
                tokio::time::sleep(pause).await;
                pause = retry_after(pause);
            }
            CallError::Refused { code, .. } => {
                tracing::warn!(code, "the vault refused a batch");
                return Err(match code.as_str() {
                    "budget" => Code::Budget,
                    "record-conflict" => Code::VaultConflict,
                    "unknown-epoch" => {
                        lease.retire();
                        Code::NotReady
                    }
                    _ => Code::VaultRefused,
                });
            }
            CallError::Malformed => return Err(Code::VaultRefused),
        }
    }
}

fn seal<'a>(
    publisher: &Publisher,
    lease: &Shared,
    sights: impl IntoIterator<Item = &'a FirstSight, IntoIter: Clone>,
) -> Result<Bytes, Code> {
    let sights = sights.into_iter();
    let fits =
        |sight: &FirstSight| (1..=limits::IDENTIFIER).contains(&sight.identifier.expose().len());
    if !sights.clone().all(fits) {
        return Err(Code::VaultRefused);
    }
    let plaintext = batch::encode_entries(sights.map(|sight| {
        Entry {
            kind: &publisher.kinds.get(sight.kind).name,
            pseudonym: sight.pseudonym,
            // Exposed into the batch that is sealed below.
            identifier: Plain::new(sight.identifier.expose()),
            subject: sight
                .subject
                .map(|(kind, pseudonym)| (&*publisher.kinds.get(kind).name, pseudonym)),
        }
    }));
    let mut envelope = Envelope {
        domain: lease.domain,
        epoch: lease.epoch,
        boot: publisher.boot.id,
        number: publisher.boot.batches.fetch_add(1, Relaxed),
        sealed: &[],
    };
    let associated = associated_data(&lease.vault, &lease.gateway, &envelope);
    let sealed = sealed::seal(&lease.records_key, INFO, &associated, &plaintext)
        .map_err(|_| Code::VaultRefused)?;
    envelope.sealed = &sealed;
    Ok(envelope.encode().into())
}

/// A code as the fault of the resolving stage.
pub fn fault(code: Code) -> Fault {
    Fault::new(code, Stage::Resolve)
}
