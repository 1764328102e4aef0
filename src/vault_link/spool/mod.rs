//! Where recovery records wait while the vault is away: sealed to the vault, authenticated,
//! synced, and sent in order as soon as it answers.
//!
//! ```text
//! publish ─▶ append ─▶ group of writers, one sync ─▶ "durable"          (this file, disk.rs)
//!                          │
//!                       segments (frame.rs, folder.rs)
//!                          │
//! vault ◀─ replay ◀─ next ─┘   acknowledged: removed; refused for good: kept aside
//! ```
//!
//! What enters: batches as they are sealed for the vault, which the gateway itself cannot open.
//! What leaves: the certainty that they are on the disk, and then in the vault. What can never
//! happen: a batch counts as durable before it is synced, beyond the domain's bounds in bytes and
//! age, or is dropped before the vault has acknowledged it.

mod disk;
mod figures;
mod folder;
mod frame;
mod replay;
mod source;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};

use self::disk::{Batch, Disk};
use self::figures::Figures;
pub use self::figures::SpoolStatus;
pub use self::folder::prepare;
pub use self::frame::SpoolKey;
pub use self::replay::run as replay;
use crate::config::Spool as Bounds;
use crate::limits;

/// All spools of one process, by domain.
pub struct Spools {
    folder: PathBuf,
    boot: [u8; 16],
    by_domain: Mutex<BTreeMap<String, Arc<Spool>>>,
}

impl Spools {
    /// `folder` is `gateway.spool_dir`; it is made if it is not there.
    ///
    /// # Errors
    /// In words for an operator.
    pub fn open(folder: PathBuf, boot: [u8; 16]) -> Result<Self, String> {
        folder::prepare(&folder)?;
        Ok(Self {
            folder,
            boot,
            by_domain: Mutex::default(),
        })
    }

    /// The spool of a domain. One that is new has these bounds; others keep theirs, until
    /// [`Self::set_bounds`].
    pub fn of(&self, domain: &str, bounds: Option<Bounds>) -> Arc<Spool> {
        let mut all = lock(&self.by_domain);
        if let Some(spool) = all.get(domain) {
            return spool.clone();
        }
        let spool = Arc::new(Spool::new(
            domain.to_owned(),
            Disk::new(self.folder.join(domain), self.boot),
            bounds,
        ));
        all.insert(domain.to_owned(), spool.clone());
        spool
    }

    /// Another configuration is served: domains that it does not name add nothing any more.
    pub fn set_bounds<'a>(&self, served: impl Iterator<Item = (&'a str, Option<Bounds>)>) {
        let served: BTreeMap<&str, Option<Bounds>> = served.collect();
        for (name, spool) in &*lock(&self.by_domain) {
            *lock(&spool.bounds) = served.get(name.as_str()).copied().flatten();
        }
    }

    /// Those that may be used, or hold something.
    pub fn status(&self) -> Vec<SpoolStatus> {
        let all = lock(&self.by_domain);
        all.values().filter_map(|spool| spool.status()).collect()
    }

    /// Says whose records lie here although nobody serves their domain.
    pub fn warn_of_unserved(&self, served: &[&str]) {
        for domain in folder::domains(&self.folder).unwrap_or_default() {
            if !served.contains(&domain.as_str()) {
                tracing::error!(
                    domain,
                    "recovery records of a domain that no route has wait in its spool: serve it until they are sent"
                );
            }
        }
    }
}

/// Of one domain.
pub struct Spool {
    pub domain: String,
    /// Whoever sends what is in it; there may be two links to a domain for a while.
    turn: tokio::sync::Mutex<()>,
    /// More has been appended.
    grown: Notify,
    bounds: Mutex<Option<Bounds>>,
    disk: Mutex<Disk>,
    waiting: Mutex<Waiting>,
    figures: Figures,
}

/// Batches that the next sync makes durable.
#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Somebody is at the disk, and comes back for what has been queued meanwhile.
    writing: bool,
}

struct Job {
    batches: Vec<Batch>,
    key: Arc<SpoolKey>,
    done: oneshot::Sender<Result<(), Refused>>,
}

/// Why a batch is not in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The domain has none.
    None,
    /// Its oldest record is as old as may be.
    Stale,
    /// It is as large as may be.
    Full,
    /// The disk has failed.
    Disk,
}

impl Spool {
    fn new(domain: String, disk: Disk, bounds: Option<Bounds>) -> Self {
        Self {
            domain,
            turn: tokio::sync::Mutex::default(),
            grown: Notify::new(),
            bounds: Mutex::new(bounds),
            disk: Mutex::new(disk),
            waiting: Mutex::default(),
            figures: Figures::default(),
        }
    }

    /// Whether a batch would be taken now.
    pub fn takes(&self) -> bool {
        let bounds = *lock(&self.bounds);
        bounds.is_some_and(|bounds| !self.is_stale(&bounds) && !self.is_full(&bounds, 0))
    }

    /// Whether the vault has not answered when it was last asked.
    pub fn is_away(&self) -> bool {
        self.figures.away.load(Relaxed)
    }

    /// A batch that the vault has not taken either was not even tried here.
    pub fn turned_away(&self) {
        if lock(&self.bounds).is_some() {
            self.figures.refused.fetch_add(1, Relaxed);
        }
    }

    /// Appends batches: all of them are durable on return, or nobody may count on any. Those of
    /// many callers share one sync.
    ///
    /// # Errors
    /// Why not.
    pub async fn append(
        self: &Arc<Self>,
        batches: Vec<Batch>,
        key: Arc<SpoolKey>,
    ) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        let begin = {
            let mut waiting = lock(&self.waiting);
            waiting.jobs.push(Job { batches, key, done });
            !std::mem::replace(&mut waiting.writing, true)
        };
        if begin {
            let spool = self.clone();
            tokio::task::spawn_blocking(move || spool.write_all());
        }
        answer.await.unwrap_or(Err(Refused::Disk))
    }

    /// Writes until nobody waits.
    fn write_all(&self) {
        loop {
            let jobs = {
                let mut waiting = lock(&self.waiting);
                if waiting.jobs.is_empty() {
                    waiting.writing = false;
                    return;
                }
                std::mem::take(&mut waiting.jobs)
            };
            self.write(jobs);
        }
    }

    fn write(&self, jobs: Vec<Job>) {
        let bounds = *lock(&self.bounds);
        let (mut group, mut size) = (Vec::new(), 0);
        for job in jobs {
            let batches = job.batches.iter();
            let more: u64 = batches.map(|(batch, _)| frame::size(batch)).sum();
            let refused = match &bounds {
                None => Some(Refused::None),
                Some(bounds) if self.is_stale(bounds) => Some(Refused::Stale),
                Some(bounds) if self.is_full(bounds, size + more) => Some(Refused::Full),
                Some(_) => None,
            };
            match refused {
                Some(refused) => self.refuse(job, refused),
                None => {
                    size += more;
                    group.push(job);
                }
            }
        }
        let Some(bounds) = bounds.filter(|_| !group.is_empty()) else {
            return;
        };
        let all: Vec<(Batch, &SpoolKey)> = (group.iter())
            .flat_map(|job| job.batches.iter().map(|batch| (batch.clone(), &*job.key)))
            .collect();
        let segment = (bounds.max_bytes as u64 / 8).min(limits::SPOOL_SEGMENT);
        let written = {
            let mut disk = lock(&self.disk);
            let written = disk.write(&all, now(), segment);
            if let Ok(bytes) = written {
                let records = all.iter().map(|((_, records), _)| u64::from(*records));
                let records = records.sum();
                self.figures.bytes.fetch_add(bytes, Relaxed);
                self.figures.records.fetch_add(records, Relaxed);
                self.figures.appended.fetch_add(records, Relaxed);
                self.figures.oldest.store(disk.oldest(), Relaxed);
            }
            written
        };
        match written {
            Ok(_) => {
                self.begins();
                self.figures.failing.store(false, Relaxed);
                for job in group {
                    let _ = job.done.send(Ok(()));
                }
                self.grown.notify_one();
            }
            Err(error) => {
                self.fails(&error);
                for job in group {
                    self.refuse(job, Refused::Disk);
                }
            }
        }
    }

    fn refuse(&self, job: Job, refused: Refused) {
        self.figures.refused.fetch_add(1, Relaxed);
        let _ = job.done.send(Err(refused));
    }

    /// The vault has not answered, and a batch is in the spool.
    fn begins(&self) {
        self.figures.away.store(true, Relaxed);
        if !self.figures.told.swap(true, Relaxed) {
            tracing::warn!(
                domain = self.domain,
                "the vault is away: new recovery records go to the spool"
            );
        }
    }

    fn fails(&self, error: &io::Error) {
        if !self.figures.failing.swap(true, Relaxed) {
            tracing::error!(
                domain = self.domain,
                %error,
                "the spool's disk fails: requests with new identifiers are refused"
            );
        }
    }

    /// By the wall clock, since records outlive processes.
    fn age(&self) -> Duration {
        match self.figures.oldest.load(Relaxed) {
            0 => Duration::ZERO,
            oldest => Duration::from_millis(now().saturating_sub(oldest)),
        }
    }

    fn is_stale(&self, bounds: &Bounds) -> bool {
        self.age() >= bounds.max_staleness
    }

    fn is_full(&self, bounds: &Bounds, more: u64) -> bool {
        let bytes = self.figures.bytes.load(Relaxed);
        bytes.saturating_add(more.max(limits::SPOOL_ROOM)) > bounds.max_bytes as u64
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// What a panic of another thread leaves is whole: counts, and files that are read again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudonym::DomainKey;
    use crate::secret::Key32;

    fn key() -> Arc<SpoolKey> {
        Arc::new(SpoolKey::of(&DomainKey::new(
            [3; 16],
            1,
            Key32::new([9; 32]),
        )))
    }

    fn bounds(max_bytes: usize, max_staleness: Duration) -> Option<Bounds> {
        Some(Bounds {
            max_bytes,
            max_staleness,
        })
    }

    fn spool(root: &tempfile::TempDir, bounds: Option<Bounds>) -> Arc<Spool> {
        let spools = Spools::open(root.path().join("spool"), [1; 16]).unwrap();
        spools.of("improvement", bounds)
    }

    fn batches(bytes: usize) -> Vec<Batch> {
        vec![(vec![7; bytes].into(), 3)]
    }

    #[tokio::test]
    async fn formats_09_a_spool_is_bounded_in_bytes() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(&root, bounds(10_100, Duration::from_secs(60)));
        let mut taken = 0;
        let refused = loop {
            match spool.append(batches(1000), key()).await {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!((taken, refused), (8, Refused::Full));
        let status = spool.status().unwrap();
        assert_eq!((status.records, status.refused), (24, 1));
        let held = status.bytes;
        assert!(held <= 10_100 && held == 8 * frame::size(&[7; 1000]));
        // A smaller one still has room.
        spool.append(batches(200), key()).await.unwrap();
    }

    #[tokio::test]
    async fn formats_09_a_spool_is_bounded_in_age() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(&root, bounds(1 << 20, Duration::from_millis(40)));
        assert!(spool.takes());
        spool.append(batches(100), key()).await.unwrap();
        while !spool.status().unwrap().stale {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!spool.takes());
        let refused = spool.append(batches(100), key()).await;
        assert_eq!(refused, Err(Refused::Stale));
        let line = spool.status().unwrap().line();
        assert!(
            line.contains("3 records") && line.contains("stale"),
            "{line}"
        );
    }

    #[tokio::test]
    async fn formats_09_callers_share_syncs_and_a_disk_that_fails_makes_nothing_durable() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(&root, bounds(1 << 20, Duration::from_secs(60)));
        let many = (0..200).map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.append(batches(100), key()).await })
        });
        for one in many.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
        assert_eq!(spool.status().unwrap().appended, 600);
        // The folder of the domain is a file now: nothing can be made in it.
        let other = Spools::open(root.path().join("spool"), [2; 16]).unwrap();
        std::fs::write(root.path().join("spool/other"), b"").unwrap();
        let spool = other.of("other", bounds(1 << 20, Duration::from_secs(60)));
        let refused = spool.append(batches(100), key()).await;
        assert_eq!(refused, Err(Refused::Disk));
        assert_eq!(spool.status().unwrap().records, 0);
        assert!(!spool.is_away(), "each batch goes to the vault first");
    }

    #[tokio::test]
    async fn formats_09_a_domain_without_a_spool_adds_nothing() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool(&root, None);
        assert_eq!(spool.append(batches(9), key()).await, Err(Refused::None));
        assert_eq!(spool.status(), None);
    }
}
