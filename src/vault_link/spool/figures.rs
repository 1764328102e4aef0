//! What a spool counts, and what pages show of it.
//!
//! What enters: counts. What leaves: a status, and a line of `/readyz`. What can never happen:
//! anything of a record.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Bounds, Spool, lock};

/// Counted since the process began, but for what lies on the disk now.
#[derive(Default)]
pub struct Figures {
    pub bytes: AtomicU64,
    pub records: AtomicU64,
    /// Milliseconds since 1970; 0: nothing is in it.
    pub oldest: AtomicU64,
    pub aside: AtomicU64,
    pub appended: AtomicU64,
    pub replayed: AtomicU64,
    pub refused: AtomicU64,
    pub corrupt: AtomicU64,
    pub torn: AtomicU64,
    /// The vault has not answered when it was last asked: batches do not wait for it.
    pub away: AtomicBool,
    /// Records are being spooled, or sent: said once.
    pub told: AtomicBool,
    /// So is a disk that fails.
    pub failing: AtomicBool,
}

/// One spool, for metrics and status pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStatus {
    pub domain: String,
    /// `None`: nothing is added any more.
    pub bounds: Option<Bounds>,
    /// On the disk, in files not yet removed.
    pub bytes: u64,
    /// Not yet acknowledged.
    pub records: u64,
    /// Age of the oldest of them.
    pub oldest: Duration,
    /// Its oldest record is as old as may be: nothing is added.
    pub stale: bool,
    /// The last batch found no room.
    pub full: bool,
    /// Files kept aside, for people to look at.
    pub aside: u64,
    /// Records.
    pub appended: u64,
    pub replayed: u64,
    /// Batches that were not added.
    pub refused: u64,
    /// Damages found.
    pub corrupt: u64,
    /// Frames whose writing was cut short.
    pub torn: u64,
}

impl Spool {
    /// `None`: it has no bounds, and nothing in it.
    pub fn status(&self) -> Option<SpoolStatus> {
        let bounds = *lock(&self.bounds);
        let of = |figure: &AtomicU64| figure.load(Relaxed);
        let figures = &self.figures;
        let (records, aside) = (of(&figures.records), of(&figures.aside));
        if bounds.is_none() && records == 0 && aside == 0 {
            return None;
        }
        Some(SpoolStatus {
            domain: self.domain.clone(),
            bounds,
            bytes: of(&figures.bytes),
            records,
            oldest: self.age(),
            stale: bounds.is_some_and(|bounds| self.is_stale(&bounds)),
            full: bounds.is_some_and(|bounds| self.is_full(&bounds, 0)),
            aside,
            appended: of(&figures.appended),
            replayed: of(&figures.replayed),
            refused: of(&figures.refused),
            corrupt: of(&figures.corrupt),
            torn: of(&figures.torn),
        })
    }
}

impl SpoolStatus {
    /// `spool improvement: 8192 bytes, 12 records, oldest 3 s, stale`
    pub fn line(&self) -> String {
        let mut line = format!(
            "spool {}: {} bytes, {} records, oldest {} s",
            self.domain,
            self.bytes,
            self.records,
            self.oldest.as_secs()
        );
        for (is, what) in [(self.stale, ", stale"), (self.full, ", full")] {
            if is {
                line += what;
            }
        }
        if self.aside > 0 {
            line += &format!(", {} kept aside", self.aside);
        }
        line
    }
}
