//! Keeps one domain leased: asks, loads the known set, renews at half the lease's life, and asks
//! again at once when the connection to the vault breaks.
//!
//! ```text
//! ask ─▶ load known ─▶ live ─┬─ half life, or connection lost ─▶ ask ─┬─ same store, same epoch ─▶ live
//!  ▲                         │                                        └─ another ─▶ drop, load known
//!  └──── back-off ◀──────────┴─ unreachable (what is known durable passes while the lease lives)
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc};

use super::client::{Answered, CallError};
use super::known::KnownSet;
use super::lease::{Keyed, Lease, Shared};
use super::publish::{self, Publisher};
use super::retry_after;
use super::spool::{Spool, SpoolKey};
use crate::limits;
use crate::pseudonym::DomainKey;
use crate::wire::control::{LeaseAnswer, LeaseRequest};
use crate::wire::known::{FrameReader, Known};
use crate::wire::path;
use crate::wire::text::Hex;

/// One domain of a link.
pub struct Domain {
    pub name: String,
    pub lease: ArcSwapOption<Lease>,
    pub wake: Arc<Notify>,
    /// Why the vault has said no when it was last asked: asking again alone changes nothing.
    pub refusal: ArcSwapOption<String>,
    /// `None`: the process has no folder for spools.
    pub spool: Option<Arc<Spool>>,
}

/// Runs for the life of the link.
pub async fn run(publisher: Arc<Publisher>, domain: Arc<Domain>) {
    let mut pause = limits::VAULT_RETRY_FIRST;
    let mut losses = publisher.client.losses();
    loop {
        // A connection that ends from here on is seen below, however long the renewal takes.
        losses.mark_unchanged();
        let renewed = renew(&publisher, &domain).await;
        let leased = renewed.is_ok();
        let wait = match renewed {
            Ok(life) => {
                domain.refusal.store(None);
                pause = limits::VAULT_RETRY_FIRST;
                life / 2
            }
            Err(error) => {
                let no = error.is_definite().then(|| Arc::new(error.to_string()));
                domain.refusal.store(no);
                tracing::warn!(domain = domain.name, %error, "no lease");
                pause = retry_after(pause);
                pause
            }
        };
        if let Some(lease) = domain.lease.load().as_ref().filter(|l| !l.shared.is_live()) {
            domain.lease.store(None);
            lease.shared.retire();
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = domain.wake.notified() => {}
            // After a failure the pause holds: it may be this very connection that was lost.
            _ = losses.changed(), if leased => {}
        }
    }
}

/// Asks for a lease; gives its life.
async fn renew(publisher: &Arc<Publisher>, domain: &Domain) -> Result<Duration, CallError> {
    let asked = Instant::now();
    let request = LeaseRequest {
        domain: domain.name.clone(),
        boot: Hex(publisher.boot.id),
        predecessor: publisher.boot.predecessor.map(Hex),
    };
    let answer: Answered<LeaseAnswer> = publisher.client.post(path::LEASES, &request).await?;
    let life = Duration::from_secs(answer.message.seconds);
    if let Some(lease) = &*domain.lease.load() {
        if is_same(&lease.shared, &answer) {
            lease.shared.extend(asked, life);
            return Ok(life);
        }
        lease.shared.retire();
        domain.lease.store(None);
    }
    let lease = make(publisher, domain, answer, asked, life).await?;
    tracing::info!(
        domain = domain.name,
        epoch = lease.epoch(),
        known = lease.shared.known.len(),
        "leased"
    );
    domain.lease.store(Some(Arc::new(lease)));
    Ok(life)
}

fn is_same(held: &Shared, answer: &Answered<LeaseAnswer>) -> bool {
    !held.retired.load(std::sync::atomic::Ordering::Acquire)
        && held.incarnation == answer.incarnation
        && held.vault == answer.message.vault.0
        && held.domain == answer.message.domain.0
        && held.epoch == answer.message.epoch
        && held.records_key == answer.message.records_key.0
}

async fn make(
    publisher: &Arc<Publisher>,
    domain: &Domain,
    answer: Answered<LeaseAnswer>,
    asked: Instant,
    life: Duration,
) -> Result<Lease, CallError> {
    let message = answer.message;
    if message.normaliser != crate::pseudonym::Normaliser::VERSION {
        return Err(CallError::Malformed);
    }
    let known = load_known(publisher, &message, answer.incarnation).await?;
    let key = DomainKey::new(message.domain.0, message.epoch, message.key.0);
    let kinds = publisher.kinds.iter().map(|(_, k)| key.kind(k)).collect();
    let spool = domain.spool.as_ref().map(|spool| Keyed {
        spool: spool.clone(),
        key: Arc::new(SpoolKey::of(&key)),
    });
    let shared = Arc::new(Shared {
        vault: message.vault.0,
        gateway: message.gateway,
        domain: message.domain.0,
        epoch: message.epoch,
        records_key: message.records_key.0,
        incarnation: answer.incarnation,
        known,
        clock: asked,
        expires: AtomicU64::new(0),
        retired: AtomicBool::new(false),
        wake: Arc::clone(&domain.wake),
        spool,
    });
    shared.extend(asked, life);
    let (jobs, receiver) = mpsc::channel(limits::SIGHTS_QUEUED);
    tokio::spawn(publish::run(
        Arc::clone(publisher),
        Arc::clone(&shared),
        receiver,
    ));
    Ok(Lease {
        kinds,
        shared,
        jobs,
    })
}

/// Reads the whole set, or fails: half a set would be correct and slow, and hide a fault.
async fn load_known(
    publisher: &Publisher,
    lease: &LeaseAnswer,
    incarnation: [u8; 16],
) -> Result<KnownSet, CallError> {
    let load = async {
        let path = format!(
            "{}?domain={}&epoch={}",
            path::KNOWN,
            lease.domain,
            lease.epoch
        );
        let answer = publisher.client.stream(&path).await?;
        if answer.incarnation != incarnation {
            return Err(CallError::Malformed);
        }
        let known = KnownSet::new();
        let mut reader = FrameReader::default();
        let mut body = answer.message;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| CallError::Unreachable(e.to_string()))?;
            if let Ok(data) = frame.into_data() {
                reader.push(&data, |read| match read {
                    Known::Expected(count) => known.reserve(expected(count)),
                    Known::One(pseudonym) => {
                        known.insert(pseudonym);
                    }
                })?;
            }
        }
        reader.finish()?;
        Ok(known)
    };
    match tokio::time::timeout(limits::KNOWN_TIME, load).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Unreachable(
            "the known set took too long".to_owned(),
        )),
    }
}

/// Room is made for what the vault announces, up to a bound; beyond it the set grows as it fills.
fn expected(count: u64) -> usize {
    usize::try_from(count).map_or(limits::KNOWN_RESERVED, |count| {
        count.min(limits::KNOWN_RESERVED)
    })
}
