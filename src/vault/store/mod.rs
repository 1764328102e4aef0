//! The vault's store behind a trait: sealed rows in, sealed rows out.
//!
//! What enters: rows that are sealed already. What leaves: the same rows, and the certainty that
//! a commit is on the disk. What can never happen: an identifier, a pseudonym or a key in clear
//! in a row, or a commit that returns before its bytes are synced.
//!
//! One [`Writer`] belongs to the sequencer; any number of [`Reader`]s stand beside it. [`sqlite`]
//! is the embedded store.

pub mod sqlite;

use crate::vault::keys::cipher::Broken;

/// A place that keeps rows.
pub trait Store: Send + Sync {
    /// The one writer. Asking twice is an error of the caller.
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// What is wrapped or sealed under the root key, to be wrapped anew. `domains`, `epochs` and `meta`
/// of [`Writer`] read the rest of it. Whatever else comes to lie under the root belongs here.
pub trait Rewrap {
    /// Writes tag and sealed name.
    fn set_domain(&mut self, row: &DomainRow) -> Result<(), StoreError>;
    fn set_epoch(&mut self, row: i64, wrapped: &[u8]) -> Result<(), StoreError>;
    fn wrapped_log_periods(&mut self) -> Result<Vec<LogPeriod>, StoreError>;
    fn set_log_period(&mut self, period: u32, wrapped: &[u8]) -> Result<(), StoreError>;
    fn reveals(&mut self) -> Result<Vec<RevealRow>, StoreError>;
    /// Writes what is sealed in it.
    fn set_reveal_seals(&mut self, row: &RevealRow) -> Result<(), StoreError>;
    /// Leaves no earlier version of a row in the store's files. Outside transactions.
    fn forget_earlier(&mut self) -> Result<(), StoreError>;
}

/// The writing side: everything happens between `begin` and `commit`.
pub trait Writer: Rewrap + Send {
    fn begin(&mut self) -> Result<(), StoreError>;
    /// Returns after the transaction is synced to disk.
    fn commit(&mut self) -> Result<(), StoreError>;
    fn rollback(&mut self) -> Result<(), StoreError>;
    /// Starts a part that can be undone alone.
    fn savepoint(&mut self) -> Result<(), StoreError>;
    /// Ends that part: keeps it, or undoes it.
    fn release(&mut self, keep: bool) -> Result<(), StoreError>;

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    fn domain_by_tag(&mut self, tag: &[u8; 16]) -> Result<Option<[u8; 16]>, StoreError>;
    fn add_domain(&mut self, row: &DomainRow) -> Result<(), StoreError>;
    fn domains(&mut self) -> Result<Vec<DomainRow>, StoreError>;
    fn epochs(&mut self) -> Result<Vec<EpochRow>, StoreError>;
    /// Gives the new row's number.
    fn add_epoch(
        &mut self,
        domain: &[u8; 16],
        epoch: u32,
        wrapped: &[u8],
    ) -> Result<i64, StoreError>;

    /// Adds the rows whose index is new, at most `most` of them; leaves none behind unless the
    /// outcome is [`Added::All`]. Sorted rows share pages.
    fn add_records(
        &mut self,
        epoch: i64,
        rows: &[RecordRow],
        most: u64,
    ) -> Result<Added, StoreError>;

    fn budget(&mut self, gateway: &str, domain: &[u8; 16], day: i64) -> Result<Budget, StoreError>;
    fn set_budget(
        &mut self,
        gateway: &str,
        domain: &[u8; 16],
        day: i64,
        budget: Budget,
    ) -> Result<(), StoreError>;

    fn add_reveal(&mut self, row: &RevealRow) -> Result<(), StoreError>;
    fn reveal(&mut self, id: &[u8; 16]) -> Result<Option<RevealRow>, StoreError>;
    /// Writes state, reads left and decision.
    fn set_reveal(&mut self, row: &RevealRow) -> Result<(), StoreError>;

    fn add_leaf(&mut self, row: &LeafRow) -> Result<(), StoreError>;
    fn each_leaf(&mut self, each: &mut dyn FnMut(&[u8; 32])) -> Result<(), StoreError>;
    /// Entries from a sequence number on, in order.
    fn entries_from(
        &mut self,
        start: u64,
        each: &mut dyn FnMut(LeafRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
    fn add_checkpoint(&mut self, size: u64, note: &str) -> Result<(), StoreError>;
    fn last_checkpoint(&mut self) -> Result<Option<String>, StoreError>;
    fn log_period(&mut self, period: u32) -> Result<Option<Vec<u8>>, StoreError>;
    fn add_log_period(&mut self, period: u32, wrapped: &[u8]) -> Result<(), StoreError>;
}

/// The reading side. Sees whole commits only.
pub trait Reader: Send {
    /// How many records an epoch has.
    fn known_count(&mut self, epoch: i64) -> Result<u64, StoreError>;
    /// The next sealed pseudonyms of an epoch after a row number, in the order of their numbers.
    fn known_after(
        &mut self,
        epoch: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<KnownRow>, StoreError>;
    /// Where a record is: the epoch's row.
    fn record_epoch(&mut self, index: &[u8; 16]) -> Result<Option<i64>, StoreError>;
    fn record(&mut self, index: &[u8; 16]) -> Result<Option<SealedRecord>, StoreError>;
    /// Rows in `record`.
    fn count_records(&mut self) -> Result<u64, StoreError>;
    fn reveal(&mut self, id: &[u8; 16]) -> Result<Option<RevealRow>, StoreError>;
    /// Newest first.
    fn reveals(&mut self, limit: usize) -> Result<Vec<RevealRow>, StoreError>;
    fn leaves(&mut self, start: u64, end: u64) -> Result<Vec<LeafRow>, StoreError>;
    fn log_period(&mut self, period: u32) -> Result<Option<Vec<u8>>, StoreError>;
    fn last_checkpoint(&mut self) -> Result<Option<String>, StoreError>;
}

/// A month and its wrapped key; `None` where it has been destroyed.
pub type LogPeriod = (u32, Option<Vec<u8>>);

/// A domain: its random id, the keyed hash of its name, its sealed name.
#[derive(Clone, Debug)]
pub struct DomainRow {
    pub id: [u8; 16],
    pub name_tag: [u8; 16],
    pub name: Vec<u8>,
}

/// An epoch with its wrapped root.
#[derive(Clone, Debug)]
pub struct EpochRow {
    pub row: i64,
    pub domain: [u8; 16],
    pub epoch: u32,
    pub wrapped: Vec<u8>,
}

/// A recovery record, sealed.
#[derive(Clone, Debug)]
pub struct RecordRow {
    pub index: [u8; 16],
    pub tag: [u8; 16],
    /// The sealed pseudonym, for the known set.
    pub known: Vec<u8>,
    /// The subject's wrapped data key; `None` for vocabularies, which lie under the domain's.
    pub subject: Option<Vec<u8>>,
    /// The padded, sealed kind and identifier.
    pub sealed: Vec<u8>,
}

/// What became of rows that were to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// All are there; so many were not before.
    All { new: u64 },
    /// A row's index is there under another tag.
    Conflict,
    /// More are new than were allowed.
    TooMany,
}

/// A record as the reveal gate reads it.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    pub epoch: i64,
    pub subject: Option<Vec<u8>>,
    pub sealed: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct KnownRow {
    pub id: i64,
    pub index: [u8; 16],
    pub known: Vec<u8>,
}

/// What a gateway has brought into a domain on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    pub used: u64,
    /// Whether the alarm of this day has been raised.
    pub alarmed: bool,
}

/// A reveal. The clear columns are what its life needs; the rest is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevealRow {
    pub id: [u8; 16],
    /// Unix seconds.
    pub created: i64,
    pub expires: i64,
    pub state: RevealRowState,
    pub reads_left: u32,
    /// Statement and pseudonyms.
    pub sealed: Vec<u8>,
    /// Who decided, with the signed envelope.
    pub decision: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevealRowState {
    Pending = 0,
    Approved = 1,
    Refused = 2,
}

/// A log entry at rest.
#[derive(Clone, Debug)]
pub struct LeafRow {
    pub sequence: u64,
    pub commitment: [u8; 32],
    /// Year and month, `YYYYMM`: whose key seals the details.
    pub period: u32,
    pub sealed: Option<Vec<u8>>,
}

/// The store cannot do what was asked. Shared by all works of a commit, so it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    #[error("another process has the store open")]
    InUse,
    #[error("the store is of another version ({0})")]
    Version(u32),
    #[error("the store's writer has stopped")]
    Stopped,
}

impl From<Broken> for StoreError {
    fn from(_: Broken) -> Self {
        Self::Damaged("a sealed value does not open")
    }
}
