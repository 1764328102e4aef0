//! One run at a time to an output.
//!
//! What enters: where outputs go. What leaves: a lock, until it is dropped or the process ends. What
//! can never happen: two runs write one part, or a lock is left behind that keeps the next one out.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::place::beside;
use super::sink::private;
use super::stop::{Stop, Why};

/// Held by its file, which goes with it.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// # Errors
    /// Another run holds it, or there is no such folder.
    pub fn take(out: &Path) -> Result<Self, Stop> {
        let path = beside(out, ".cryptonym-lock");
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let what = format!("there is no folder {}", folder.display());
            return Err(Stop::new(Why::Failed, what, "Make it, or name another."));
        }
        loop {
            let failed = |error| Stop::file(&path, &error);
            let mut options = private();
            let file = options.write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let what = format!("another run is writing {} now", out.display());
                    return Err(Stop::new(Why::Failed, what, "Wait for it, or end it."));
                }
                Err(error) => return Err(failed(error.into())),
            }
            // Who held it before may have taken its name away meanwhile.
            let held = file.metadata().map_err(failed)?;
            let named = fs::metadata(&path);
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that the name is never somebody else's.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_10_one_run_at_a_time_writes_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.csv");
        let first = Lock::take(&out).unwrap();
        let second = Lock::take(&out).err().unwrap();
        assert!(second.what.contains("another run"), "{second}");
        drop(first);
        drop(Lock::take(&out).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let nowhere = Lock::take(&folder.path().join("none/out.csv"))
            .err()
            .unwrap();
        assert!(nowhere.what.contains("no folder"), "{nowhere}");
    }
}
