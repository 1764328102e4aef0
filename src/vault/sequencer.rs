//! The one place that changes the store: works of many requests, one after the other, many in one
//! commit, their log entries in the same transaction.
//!
//! ```text
//! requests ─▶ queue ─▶ begin │ work │ work │ … │ checkpoint │ commit (synced) ─▶ answers
//! ```
//!
//! What enters: works. What leaves: their results, after the commit is on disk. What can never
//! happen: a result before the sync; a work that fails and leaves something behind.

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::keys::root::RootKeys;
use super::log::Event;
use super::log::ledger::Ledger;
use super::metrics::Metrics;
use super::store::{StoreError, Writer};
use crate::limits;
use crate::secret::stack;

/// Sends works to the sequencer's thread. Clones share it.
#[derive(Clone)]
pub struct Sequencer(mpsc::Sender<Job>);

/// What a work sees: the open transaction, the log, and one clock reading for both.
pub struct Tx<'a> {
    pub store: &'a mut dyn Writer,
    ledger: &'a mut Ledger,
    root: &'a RootKeys,
    metrics: &'a Metrics,
    pub now: OffsetDateTime,
}

impl Tx<'_> {
    /// Appends to the log, in this transaction.
    pub fn log(&mut self, event: &Event) -> Result<(), StoreError> {
        if event.is_alarm() {
            self.metrics.alarm(event.event);
        }
        self.ledger.append(self.store, self.root, event, self.now)
    }

    /// The sequence number of the next entry.
    pub fn log_size(&self) -> u64 {
        self.ledger.size()
    }

    /// How often an event is in the log about a request, from a sequence number on.
    pub fn logged(&mut self, start: u64, event: &str, request: &str) -> Result<u32, StoreError> {
        let (store, root) = (&mut *self.store, self.root);
        self.ledger.count(store, root, start, event, request)
    }
}

type Job = Box<dyn FnOnce(&mut Tx<'_>) -> Done + Send>;

/// A work's end: whether it stays, and who is told after the commit.
struct Done {
    kept: bool,
    tell: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Sequencer {
    /// Starts the thread. It ends when the last clone is dropped, after the works before that.
    pub fn start(
        store: Box<dyn Writer>,
        ledger: Ledger,
        root: Arc<RootKeys>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, std::thread::JoinHandle<()>), StoreError> {
        let (sender, receiver) = mpsc::channel(limits::COMMIT_QUEUE);
        let thread = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || {
                run(store, ledger, &root, &metrics, receiver);
                drop(root);
                stack::wipe();
            })
            .map_err(|e| StoreError::Failed(e.to_string()))?;
        Ok((Self(sender), thread))
    }

    /// Runs a work and returns what it returned, once that is durable. A work that returns an
    /// error leaves nothing behind, its log entries neither.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let result = work(tx);
            Done {
                kept: result.is_ok(),
                tell: Box::new(move |committed| {
                    // The asker may have gone; its work is done all the same.
                    let _ = sender.send(result.and_then(|value| committed.map(|()| value)));
                }),
            }
        });
        self.0.send(job).await.map_err(|_| StoreError::Stopped)?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }
}

#[inline(never)] // so that nothing of it stands above what is wiped
fn run(
    mut store: Box<dyn Writer>,
    mut ledger: Ledger,
    root: &RootKeys,
    metrics: &Metrics,
    mut jobs: mpsc::Receiver<Job>,
) {
    while let Some(first) = jobs.blocking_recv() {
        let (start, began) = (ledger.mark(), Instant::now());
        let mut done = Vec::new();
        let committed = group(
            &mut *store,
            &mut ledger,
            root,
            metrics,
            first,
            &mut jobs,
            &mut done,
        );
        if let Err(error) = &committed {
            ledger.back_to(start);
            let _ = store.rollback();
            tracing::error!(%error, "a commit failed");
        }
        metrics.commit(done.len(), began.elapsed());
        for one in done {
            (one.tell)(committed.clone());
        }
        stack::wipe();
    }
}

/// Begins, runs the first work and those that wait already, and commits.
#[inline(never)]
fn group(
    store: &mut dyn Writer,
    ledger: &mut Ledger,
    root: &RootKeys,
    metrics: &Metrics,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    done: &mut Vec<Done>,
) -> Result<(), StoreError> {
    // A `begin` that fails still answers the first work: its channel closes, which says Stopped.
    store.begin()?;
    let mut next = Some(first);
    while let Some(job) = next {
        done.push(one(store, ledger, root, metrics, job)?);
        next = (done.len() < limits::COMMIT_GROUP)
            .then(|| jobs.try_recv().ok())
            .flatten();
    }
    ledger.checkpoint(store)?;
    store.commit()
}

fn one(
    store: &mut dyn Writer,
    ledger: &mut Ledger,
    root: &RootKeys,
    metrics: &Metrics,
    job: Job,
) -> Result<Done, StoreError> {
    let before = ledger.mark();
    store.savepoint()?;
    let done = job(&mut Tx {
        store: &mut *store,
        ledger: &mut *ledger,
        root,
        metrics,
        now: OffsetDateTime::now_utc(),
    });
    store.release(done.kept)?;
    if !done.kept {
        ledger.back_to(before);
    }
    Ok(done)
}
