//! Sends what is spooled, in order, as soon as the vault answers.
//!
//! ```text
//! look for what others left ─▶ lease? ─▶ next ─▶ vault ─┬─ acknowledged ─▶ passed ─▶ next …
//!           ▲                    │ no                   ├─ unreachable ──▶ pause, the same again
//!           └────────────────────┴──────────────────────┼─ not now ──────▶ pause, the same again
//!                                                       └─ never ────────▶ kept aside, alarm
//! ```
//!
//! What can never happen: a frame is passed that the vault has neither acknowledged nor refused
//! for good; one that is refused for good is thrown away; two tasks send one spool.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::disk::Disk;
use super::folder::{self, FRAME};
use super::frame::{Frame, SpoolKey, parse};
use super::source::Seen;
use super::{Spool, lock};
use crate::limits;
use crate::vault_link::client::CallError;
use crate::vault_link::lease::Shared;
use crate::vault_link::publish::Publisher;
use crate::vault_link::renew::Domain;
use crate::vault_link::retry_after;
use crate::wire::control::RecordsAnswer;
use crate::wire::path;

/// What the vault says to a frame.
enum Said {
    /// The store of this incarnation has it.
    Kept([u8; 16]),
    /// Nothing that could be understood.
    Nothing,
    /// No, for a reason that is not the frame's.
    NotNow(String),
    /// No, and it would say no again.
    Never(String),
}

/// Runs for the life of a link's domain.
pub async fn run(publisher: Arc<Publisher>, domain: Arc<Domain>, spool: Arc<Spool>) {
    // Another link's task may be at it; it ends with its link.
    let _turn = spool.turn.lock().await;
    let mut looked = None;
    let mut aside = false;
    loop {
        if looked.is_none_or(|at: Instant| at.elapsed() >= limits::SPOOL_LOOK) {
            spool.adopt().await;
            looked = Some(Instant::now());
        }
        if spool.is_empty() && aside {
            tokio::select! {
                () = spool.grown.notified() => {}
                () = tokio::time::sleep(limits::SPOOL_LOOK) => {}
            }
            continue;
        }
        let lease = domain.lease.load_full().filter(|l| l.shared.is_live());
        let keyed = lease.and_then(|l| Some((l.shared.spool.as_ref()?.key.clone(), l)));
        let Some((key, lease)) = keyed else {
            tokio::time::sleep(limits::SPOOL_LEASE_TICK).await;
            continue;
        };
        if !aside {
            aside = true;
            again(&publisher, &spool, &key).await;
        }
        match spool.next(key.clone()).await {
            None => {}
            Some(frame) => deliver(&publisher, &lease.shared, &spool, &key, frame).await,
        }
    }
}

/// Sends one frame until the vault has said what becomes of it, or the lease has ended.
async fn deliver(
    publisher: &Publisher,
    lease: &Shared,
    spool: &Arc<Spool>,
    key: &SpoolKey,
    frame: Frame,
) {
    let mut pause = limits::VAULT_RETRY_FIRST;
    let mut told = false;
    loop {
        match send(publisher, &frame, key).await {
            Said::Kept(incarnation) => {
                if incarnation != lease.incarnation {
                    // What this lease knows is not what that store holds.
                    lease.retire();
                }
                publisher.boot.calls.kept(frame.records as usize);
                return spool.kept(frame).await;
            }
            Said::Never(code) => return spool.aside(frame, code).await,
            Said::Nothing => {
                tokio::time::sleep(pause).await;
                pause = retry_after(pause);
            }
            Said::NotNow(code) => {
                // It answers: what is new is for it to take or to refuse, budget and all.
                spool.figures.away.store(false, Relaxed);
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(
                        domain = spool.domain,
                        code,
                        "the vault does not take spooled records now"
                    );
                }
                tokio::time::sleep(limits::SPOOL_REFUSED_PAUSE).await;
            }
        }
        // A frame that is read again is checked again, under the key of the day.
        if !lease.is_live() {
            return;
        }
    }
}

async fn send(publisher: &Publisher, frame: &Frame, key: &SpoolKey) -> Said {
    let call = publisher
        .client
        .post_bytes::<RecordsAnswer>(path::RECORDS, frame.envelope());
    match call.await {
        // Whatever the store's incarnation: it has the records now.
        Ok(answer) => Said::Kept(answer.incarnation),
        Err(CallError::Unreachable(_) | CallError::Malformed) => Said::Nothing,
        Err(CallError::Refused { code, .. }) => {
            let present = frame.epoch() == Some((key.domain, key.epoch));
            match code.as_str() {
                "record-mismatch" | "record-conflict" | "bad-message" | "too-large" => {
                    Said::Never(code)
                }
                // The lease says that there is such an epoch: a lease of a store that is gone.
                "unknown-epoch" if !present => Said::Never(code),
                _ => Said::NotNow(code),
            }
        }
    }
}

/// What was kept aside is tried once more: a kind that the vault did not know, perhaps, and knows
/// by now.
async fn again(publisher: &Publisher, spool: &Arc<Spool>, key: &SpoolKey) {
    for path in spool.files_aside().await {
        if path.extension().is_none_or(|end| end != FRAME) {
            continue;
        }
        let read = fs::read(&path).ok();
        let Some(frame) = read.and_then(|bytes| parse(bytes.into())) else {
            tracing::error!(file = %path.display(), "kept aside, and damaged since");
            continue;
        };
        let mut pause = limits::VAULT_RETRY_FIRST;
        loop {
            match send(publisher, &frame, key).await {
                Said::Kept(_) => {
                    publisher.boot.calls.kept(frame.records as usize);
                    spool
                        .figures
                        .replayed
                        .fetch_add(u64::from(frame.records), Relaxed);
                    spool.figures.aside.fetch_sub(1, Relaxed);
                    let gone = fs::remove_file(&path);
                    tracing::info!(file = %path.display(), ?gone, "the vault has it now");
                }
                Said::Nothing => {
                    tokio::time::sleep(pause).await;
                    pause = retry_after(pause);
                    continue;
                }
                Said::NotNow(code) | Said::Never(code) => {
                    let file = path.display();
                    tracing::error!(%file, code, "the vault still refuses what is kept aside");
                }
            }
            break;
        }
    }
}

impl Spool {
    fn is_empty(&self) -> bool {
        self.figures.oldest.load(Relaxed) == 0 && self.figures.bytes.load(Relaxed) == 0
    }

    /// Works on the disk, off the async threads. Ends even if whoever waits does not wait.
    async fn at_disk<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        work: impl FnOnce(&Self, &mut Disk) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let spool = self.clone();
        let task = tokio::task::spawn_blocking(move || work(&spool, &mut lock(&spool.disk)));
        let result = task.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        match result {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(domain = self.domain, %error, what, "the spool's disk");
                tokio::time::sleep(limits::SPOOL_LOOK).await;
                None
            }
        }
    }

    /// Takes over what earlier processes have left.
    async fn adopt(self: &Arc<Self>) {
        let work = |spool: &Self, disk: &mut Disk| {
            let holds = disk.adopt()?;
            let figures = &spool.figures;
            figures.bytes.fetch_add(holds.bytes, Relaxed);
            figures.records.fetch_add(holds.records, Relaxed);
            figures.oldest.store(disk.oldest(), Relaxed);
            figures
                .aside
                .store(folder::aside(disk.folder())?.len() as u64, Relaxed);
            if holds.bytes > 0 {
                figures.told.store(true, Relaxed);
                let (domain, records) = (&spool.domain, holds.records);
                tracing::warn!(
                    domain,
                    records,
                    "an earlier process has left recovery records in the spool: they are sent now"
                );
            }
            Ok(())
        };
        let _ = self.at_disk("looking for what was left", work).await;
    }

    async fn files_aside(self: &Arc<Self>) -> Vec<PathBuf> {
        let work = |_: &Self, disk: &mut Disk| folder::aside(disk.folder());
        let files = self.at_disk("looking at what is kept aside", work).await;
        files.unwrap_or_default()
    }

    /// The next frame. Without one, the spool is empty, or it is worth while to ask again.
    async fn next(self: &Arc<Self>, key: Arc<SpoolKey>) -> Option<Frame> {
        let work = move |spool: &Self, disk: &mut Disk| {
            loop {
                match disk.next(Some(&key))? {
                    Seen::Frame(frame) => {
                        spool.figures.oldest.store(disk.oldest(), Relaxed);
                        return Ok(Some(frame));
                    }
                    Seen::End => {
                        spool.ends();
                        return Ok(None);
                    }
                    seen => spool.sees(seen),
                }
            }
        };
        self.at_disk("reading", work).await.flatten()
    }

    /// Nothing is left; called under the disk's lock.
    fn ends(&self) {
        let figures = &self.figures;
        for figure in [&figures.bytes, &figures.records, &figures.oldest] {
            figure.store(0, Relaxed);
        }
        figures.away.store(false, Relaxed);
        if figures.told.swap(false, Relaxed) {
            let replayed = figures.replayed.load(Relaxed);
            tracing::info!(
                domain = self.domain,
                replayed,
                "the spool is empty: the vault has its records"
            );
        }
    }

    fn sees(&self, seen: Seen) {
        let (domain, figures) = (&self.domain, &self.figures);
        match seen {
            Seen::Torn { file, bytes } => {
                figures.torn.fetch_add(1, Relaxed);
                let file = file.display();
                tracing::warn!(domain, %file, bytes, "a frame whose writing was cut short is left out: nobody was told that it is durable");
            }
            Seen::Damaged { file, what } => {
                figures.corrupt.fetch_add(1, Relaxed);
                let file = file.display();
                tracing::error!(domain, %file, what, "ALARM: the spool was changed after it had been written");
            }
            Seen::Gone { bytes, aside } => {
                less(&figures.bytes, bytes);
                if let Some(aside) = aside {
                    figures.aside.fetch_add(1, Relaxed);
                    let file = aside.display();
                    tracing::error!(domain, %file, "a damaged file of the spool is kept aside; what could be read of it is sent");
                }
            }
            Seen::Frame(_) | Seen::End => {}
        }
    }

    /// The vault has acknowledged a frame.
    async fn kept(self: &Arc<Self>, frame: Frame) {
        self.figures.away.store(false, Relaxed);
        let work = move |spool: &Self, disk: &mut Disk| {
            if disk.passed(&frame) {
                less(&spool.figures.records, frame.records.into());
                let replayed = &spool.figures.replayed;
                replayed.fetch_add(frame.records.into(), Relaxed);
            }
            Ok(())
        };
        let _ = self.at_disk("passing", work).await;
    }

    /// The vault has refused a frame for good.
    async fn aside(self: &Arc<Self>, frame: Frame, code: String) {
        self.figures.away.store(false, Relaxed);
        let work = move |spool: &Self, disk: &mut Disk| {
            let file = disk.keep(&frame)?;
            disk.passed(&frame);
            less(&spool.figures.records, frame.records.into());
            spool.figures.aside.fetch_add(1, Relaxed);
            let (domain, file, records) = (&spool.domain, file.display(), frame.records);
            tracing::error!(domain, %file, code, records, "ALARM: the vault refuses spooled records: they are kept aside");
            Ok(())
        };
        let _ = self.at_disk("keeping aside", work).await;
    }
}

/// What was adopted after damage may not add up exactly; nothing goes below zero.
fn less(figure: &AtomicU64, by: u64) {
    let _ = figure.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_sub(by)));
}
