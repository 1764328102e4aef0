//! Bounds of the vault's log: what one answer holds, and how long details are kept.

use std::time::Duration;

/// Log entries in one answer, and bytes of their details: the answer fits
/// [`VAULT_MESSAGE`](super::VAULT_MESSAGE) with all that JSON puts around them.
pub const LOG_PAGE: u64 = 4000;
pub const LOG_PAGE_BYTES: usize = 1024 * 1024;

/// Hashes of a proof: a tree of 2^63 leaves has no longer path to either side.
pub const PROOF_HASHES: usize = 128;

/// Months for which the details of log entries are kept after their own month, unless
/// `log_retention_months` says otherwise, and at most: three years, and fifty.
pub const LOG_MONTHS: u32 = 36;
pub const LOG_MONTHS_MOST: u32 = 600;

/// How often it is looked whether a month's retention has ended.
pub const LOG_FORGET_TIME: Duration = Duration::from_secs(3600);

/// Bytes of a checkpoint note with its cosignatures that are read: more than fifty witnesses.
pub const NOTE_BYTES: usize = 16 * 1024;

/// Pages of the log that are asked for ahead while one is verified.
pub const LOG_AHEAD: usize = 2;
