//! Bounds of a gateway's spool, where records wait while the vault is away.

use std::time::Duration;

/// A batch that the vault has not acknowledged by then goes to the domain's spool: longer than a
/// restart of the vault takes, short enough that its callers do not run into `VAULT_TIME`.
pub const SPOOL_AFTER: Duration = Duration::from_secs(2);

/// What a domain's spool may take of the disk, unless the domain says otherwise: a million
/// records in full batches, a hundred thousand one by one.
pub const SPOOL_BYTES: usize = 64 * 1024 * 1024;

/// The least that it may be given: some dozens of small batches.
pub const SPOOL_LEAST: usize = 64 * 1024;

/// How long a record may be durable in a spool only, unless the domain says otherwise: as long as
/// a lease lives (`LEASE_TIME`), without which nothing is spooled anyway.
pub const SPOOL_STALENESS: Duration = Duration::from_secs(15 * 60);

/// A spool's file is closed at this size, or at an eighth of the spool's bound: acknowledged files
/// are removed whole, and after a kill at most one of them is sent again.
pub const SPOOL_SEGMENT: u64 = 4 * 1024 * 1024;

/// How often a spool looks for what a process before has left, and whether its own is empty.
pub const SPOOL_LOOK: Duration = Duration::from_secs(5);

/// How often a spool that has something to send looks for a lease.
pub const SPOOL_LEASE_TICK: Duration = Duration::from_millis(100);

/// Pause after the vault has refused a spooled batch for a reason that is not the batch's own (the
/// day's budget, its own disk): asking more often changes nothing.
pub const SPOOL_REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// A spool with less room than this is full: the frames of a small batch.
pub const SPOOL_ROOM: u64 = 1024;
