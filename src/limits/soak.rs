//! A soak with trouble.

use std::time::Duration;

/// A body that the backend of a soak takes: the largest that its clients send is 2 MiB.
pub const SOAK_BODY: usize = 16 * 1024 * 1024;

/// Subjects of a soak: below the number from which generated identifiers repeat.
pub const SOAK_SUBJECTS: u64 = 800_000;

/// After this a client of a soak breaks off: time for what it has sent to arrive.
pub const SOAK_ABORT: Duration = Duration::from_millis(150);

/// How long the backend, or the vault, of a soak stays away.
pub const SOAK_AWAY: Duration = Duration::from_secs(1);

/// Refusals this long after a backend or vault has come back are still its absence: a circuit
/// opens again after seconds, a lease is asked for again after a pause.
pub const SOAK_GRACE: Duration = Duration::from_secs(8);

/// At the end of a soak, connections close within this time: an idle one is swept once a second.
pub const SOAK_CLOSE: Duration = Duration::from_secs(30);
