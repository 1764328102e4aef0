//! A leased domain key with the set of pseudonyms known durable under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::FirstSight;
use super::known::KnownSet;
use super::publish::{Job, fault};
use super::spool::{Spool, SpoolKey};
use crate::error::{Code, Fault};
use crate::limits;
use crate::pseudonym::{KindId, KindKey, Pseudonym};

/// A lease as requests hold it. Valid for the requests that began with it, even if it is
/// replaced meanwhile.
pub struct Lease {
    pub(super) kinds: Vec<KindKey>,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Sender<Job>,
}

/// What lease, publisher and renewal share.
pub struct Shared {
    pub vault: [u8; 16],
    pub gateway: String,
    pub domain: [u8; 16],
    pub epoch: u32,
    pub records_key: [u8; 32],
    pub incarnation: [u8; 16],
    pub known: KnownSet,
    pub(super) clock: Instant,
    /// Milliseconds after `clock`.
    pub(super) expires: AtomicU64,
    pub(super) retired: AtomicBool,
    /// Wakes the renewal.
    pub(super) wake: Arc<Notify>,
    /// Where batches go while the vault is away.
    pub(super) spool: Option<Keyed>,
}

/// A domain's spool, with the key under which this lease writes to it.
pub(super) struct Keyed {
    pub spool: Arc<Spool>,
    pub key: Arc<SpoolKey>,
}

impl Lease {
    pub fn epoch(&self) -> u32 {
        self.shared.epoch
    }

    /// The domain's immutable id.
    pub fn domain_id(&self) -> [u8; 16] {
        self.shared.domain
    }

    pub fn kind(&self, kind: KindId) -> &KindKey {
        &self.kinds[usize::from(kind.0)]
    }

    /// Whether this pseudonym's recovery record is durable in the vault's present incarnation.
    pub fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        self.is_current() && self.shared.known.contains(pseudonym)
    }

    /// Whether what was durable under it still counts.
    pub fn is_current(&self) -> bool {
        !self.shared.retired.load(Ordering::Acquire)
    }

    /// Appends the places, in order, of those whose recovery records are not.
    pub fn absent(&self, pseudonyms: &[Pseudonym], absent: &mut Vec<usize>) {
        if self.shared.retired.load(Ordering::Acquire) {
            absent.extend(0..pseudonyms.len());
        } else {
            self.shared.known.absent(pseudonyms, absent);
        }
    }

    /// Returns once every record is durable. Calls of many requests share one sealed batch and
    /// one fsync (group commit).
    ///
    /// # Errors
    /// [`Code::VaultUnreachable`], `VaultRefused`, `VaultConflict` or `Budget`.
    pub async fn make_durable(&self, sights: Vec<FirstSight>) -> Result<(), Fault> {
        let (done, answer) = oneshot::channel();
        let call = async {
            let job = Job { sights, done };
            self.jobs.send(job).await.map_err(|_| Code::NotReady)?;
            answer.await.map_err(|_| Code::NotReady)?
        };
        match tokio::time::timeout(limits::VAULT_TIME, call).await {
            Ok(result) => result.map_err(fault),
            Err(_) => Err(fault(Code::VaultUnreachable)),
        }
    }
}

impl Shared {
    pub fn is_live(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !self.left().is_zero()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub fn left(&self) -> Duration {
        let until = Duration::from_millis(self.expires.load(Ordering::Acquire));
        until.saturating_sub(self.clock.elapsed())
    }

    /// A renewal came: the lease lives so long from `asked` on.
    pub(super) fn extend(&self, asked: Instant, life: Duration) {
        let until = asked.saturating_duration_since(self.clock) + life;
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.expires.store(millis, Ordering::Release);
    }

    /// The vault is another than this lease was made for, or has not renewed it in time: nothing
    /// counts as durable any more, also for bodies on their way.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.known.clear();
        self.wake.notify_one();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Lease(epoch {}, {} known)",
            self.shared.epoch,
            self.shared.known.len()
        )
    }
}
