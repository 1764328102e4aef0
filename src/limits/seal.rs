//! Sealing the vault, and its root key in shares.

use std::time::Duration;

/// Shares of one root: more people than that are not found in one night, and fewer than two would
/// be a key file.
pub const SHARES: u8 = 16;

/// The fewest shares that open a vault: one person alone never does.
pub const SHARES_THRESHOLD: u8 = 2;

/// Shares that have come are forgotten after this, counted from the first: the time of a telephone
/// round among custodians, and not the time in which an intruder could wait for the next one.
/// *(configurable: `[vault] unseal_time`)*
pub const UNSEAL_TIME: Duration = Duration::from_secs(15 * 60);

/// What a sealed vault notes for the log that it cannot write yet; then the oldest goes.
pub const SEALED_EVENTS: usize = 256;

/// The entry about sealing is tried for so long: a store that hangs must not keep keys in memory.
pub const SEAL_LOG_TIME: Duration = Duration::from_secs(3);

/// Within this everything that holds a key has ended; else the process ends, which forgets too.
/// Works that wait for the disk are all that could take it.
pub const SEAL_TIME: Duration = Duration::from_secs(10);

/// An answer with a key in it, a lease, in bytes: ids of at most 64 characters and four keys.
pub const SECRET_ANSWER: usize = 1024;
