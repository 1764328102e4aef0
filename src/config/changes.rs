//! Notices that files have changed.
//!
//! What enters: how files look from outside. What leaves: whether it is time to read them again.
//! What can never happen: a file is read while it is being written (a change counts when two looks
//! in a row find it the same), or a set of files that was refused is tried again unchanged.
//!
//! ```text
//! quiet ──files differ──▶ changing ──two looks alike──▶ due, once ──▶ quiet
//!                            │  ▲
//!                            └──┘ differ again
//! ```

use std::path::{Path, PathBuf};

/// What of a file tells that it is another one: which file, how long, written when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: PathBuf,
    /// Device, inode, length, seconds and nanoseconds of the last change; `None`: not there.
    seen: Option<(u64, u64, u64, i64, i64)>,
}

impl Stamp {
    /// Follows symbolic links, since that is how mounted secrets are swapped.
    pub fn of(file: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let seen =
            std::fs::metadata(file).map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        Self {
            file: file.to_owned(),
            seen: seen.ok(),
        }
    }

    pub fn all<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Self> {
        files.into_iter().map(Self::of).collect()
    }
}

/// What the looks have found.
#[derive(Debug)]
pub struct Changes {
    /// Of the files that were last loaded or refused.
    tried: Vec<Stamp>,
    last: Vec<Stamp>,
}

impl Changes {
    /// `born`: the files just before they were read.
    pub fn since(born: Vec<Stamp>) -> Self {
        Self {
            tried: born.clone(),
            last: born,
        }
    }

    /// One look: whether it is time to read again.
    pub fn is_due(&mut self, now: Vec<Stamp>) -> bool {
        let settled = now == self.last;
        let due = settled && now != self.tried;
        if due {
            self.tried.clone_from(&now);
        }
        self.last = now;
        due
    }
}
