//! Group commit on the gateway's side: first sights of many requests share sealed batches.
//!
//! ```text
//! make_durable ─▶ queue ─▶ batch (≤ 1000) ─ sealed once ─▶ vault ─ synced ─▶ known set ─▶ callers
//! ```
//!
//! A batch leaves at once while few are in flight; otherwise it fills until one returns. What can
//! never happen: a caller is told "durable" before the vault has acknowledged every record of
//! that caller, or one batch is sealed twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::client::{CallError, Client};
use super::lease::Shared;
use super::{FirstSight, retry_after};
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::pseudonym::Kinds;
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
    pub boot: [u8; 16],
    pub number: AtomicU64,
}

/// Part of a job in a batch; the job's caller is told when all parts are back.
struct Waiting {
    done: Option<oneshot::Sender<Result<(), Code>>>,
    parts: usize,
    result: Result<(), Code>,
}

/// Runs until the lease's last handle is dropped and the queue is empty.
pub async fn run(publisher: Arc<Publisher>, lease: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut queue: VecDeque<(u64, FirstSight)> = VecDeque::new();
    let mut waiting: std::collections::HashMap<u64, Waiting> = std::collections::HashMap::new();
    let mut flying: JoinSet<(Vec<u64>, Result<(), Code>)> = JoinSet::new();
    let mut next = 0u64;
    let mut open = true;
    loop {
        while !queue.is_empty()
            && (flying.len() < 2
                || (queue.len() >= limits::BATCH && flying.len() < limits::BATCHES_IN_FLIGHT))
        {
            let take = queue.len().min(limits::BATCH);
            let (owners, sights): (Vec<u64>, Vec<FirstSight>) = queue.drain(..take).unzip();
            let owners = count(owners, &mut waiting);
            let (publisher, lease) = (Arc::clone(&publisher), Arc::clone(&lease));
            flying.spawn(async move {
                let result = send(&publisher, &lease, sights).await;
                (owners, result)
            });
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
            Some(returned) = flying.join_next() => {
                let Ok((owners, result)) = returned else { continue };
                for owner in owners {
                    settle(owner, result, &mut waiting);
                }
            }
        }
        // What has no sights queued any more loses the part that stood for them.
        release(&queue, &mut waiting);
    }
}

/// Distinct owners of a batch; each waits for it.
fn count(mut owners: Vec<u64>, waiting: &mut std::collections::HashMap<u64, Waiting>) -> Vec<u64> {
    owners.dedup(); // the queue keeps callers together
    for owner in &owners {
        if let Some(one) = waiting.get_mut(owner) {
            one.parts += 1;
        }
    }
    owners
}

fn release(
    queue: &VecDeque<(u64, FirstSight)>,
    waiting: &mut std::collections::HashMap<u64, Waiting>,
) {
    let first_queued = queue.front().map_or(u64::MAX, |(owner, _)| *owner);
    waiting.retain(|owner, one| {
        if *owner < first_queued && one.parts == 1 {
            if let Some(done) = one.done.take() {
                let _ = done.send(one.result);
            }
            return false;
        }
        true
    });
}

fn settle(
    owner: u64,
    result: Result<(), Code>,
    waiting: &mut std::collections::HashMap<u64, Waiting>,
) {
    if let Some(one) = waiting.get_mut(&owner) {
        one.parts -= 1;
        one.result = one.result.and(result);
    }
}

/// Seals a batch once, and sends those bytes until the vault answers or the time is over.
async fn send(publisher: &Publisher, lease: &Shared, sights: Vec<FirstSight>) -> Result<(), Code> {
    let deadline = Instant::now() + limits::VAULT_TIME;
    let bytes = seal(publisher, lease, &sights)?;
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
                publisher.client.calls().kept(sights.len());
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

fn seal(publisher: &Publisher, lease: &Shared, sights: &[FirstSight]) -> Result<Bytes, Code> {
    let fits =
        |sight: &FirstSight| (1..=limits::IDENTIFIER).contains(&sight.identifier.expose().len());
    if !sights.iter().all(fits) {
        return Err(Code::VaultRefused);
    }
    let plaintext = batch::encode_entries(sights.iter().map(|sight| Entry {
        kind: &publisher.kinds.get(sight.kind).name,
        pseudonym: sight.pseudonym,
        // Exposed into the batch that is sealed below.
        identifier: Plain::new(sight.identifier.expose()),
    }));
    let mut envelope = Envelope {
        domain: lease.domain,
        epoch: lease.epoch,
        boot: publisher.boot,
        number: publisher.number.fetch_add(1, Relaxed),
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
