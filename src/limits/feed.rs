//! Bounds of feeds over files.

use std::time::Duration;

/// Bytes that are rewritten in one step: the same as of a body's usual chunk, for which resolving
/// is made. A larger one falls out of the nearest cache between two steps.
pub const FEED_CHUNK: usize = 64 * 1024;

/// Bytes of a compressed file that are read at once.
pub const FEED_BLOCK: usize = 64 * 1024;

/// Bytes of decoded input between two checkpoints: what a killed run does again at most. Each one
/// waits for the disk, and ends a gzip member or zstd frame. *(`--checkpoint`)*
pub const FEED_CHECKPOINT: u64 = 64 * 1024 * 1024;

/// How long a feed waits for its lease: as long as a vault takes to restart, and ten million known
/// pseudonyms to load.
pub const FEED_LEASE: Duration = Duration::from_secs(60);

/// Files of one run: their names are in memory, and in the journal.
pub const FEED_FILES: usize = 100_000;

/// Folders within folders: further ones are somebody's mistake, or a loop.
pub const FEED_DEPTH: usize = 32;

/// How often the line on the terminal is written anew.
pub const FEED_TICK: Duration = Duration::from_millis(200);

/// Cohorts that are counted in memory: at most 45 bytes each while their table grows, 10 MiB. More go
/// to files first.
pub const FEED_COHORTS: usize = 220_000;

/// Into so many files, each counted by itself: 32 million cohorts before one must be split again.
pub const FEED_PARTS: usize = 128;

/// How often a part may be split again: 128 parts each time use up seven bits of a hash of 128.
pub const FEED_SPLITS: u32 = 16;

/// Journals and manifests that are read back: a line for each of `FEED_FILES`, and checkpoints.
pub const FEED_JOURNAL: u64 = 256 * 1024 * 1024;
