//! Takes a backup, beside a vault that runs.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use time::OffsetDateTime;

use super::check::{Checked, check};
use super::file::{self, FileKey, Head};
use super::{BackupError, put};
use crate::limits;
use crate::vault::log::event::rfc3339;

/// Copies the store as it is at one moment, seals the copy to a public key, opens what was written
/// again and checks that. On return the file lies on the disk under its name. Blocks.
///
/// # Errors
/// The file is there already; the disk; a copy that is not whole. Nothing is left behind then.
pub fn take(store: &Path, public: &[u8; 32], to: &Path) -> Result<Checked, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.display().to_string()));
    }
    if !store.exists() {
        return Err(BackupError::NoStore(store.display().to_string()));
    }
    // In clear only beside the store, where the same rows lie anyway.
    let copy = Scratch::beside(store, "backup")?;
    let now = OffsetDateTime::now_utc();
    copy_database(store, &copy.0)?;
    let found = check(&copy.0)?;
    let head = Head {
        vault: found.vault,
        made: rfc3339(now),
        log_entries: found.log_entries,
    };
    let part = Scratch::at(with_end(to, ".part"))?;
    let key = seal(&head, public, &copy.0, &part.0)?;
    drop(copy);

    let again = Scratch::beside(store, "verify")?;
    open_again(&key, &part.0, &again.0)?;
    let checked = check(&again.0)?;
    if checked != found {
        return Err(BackupError::Broken("it is not what was copied".into()));
    }
    std::fs::hard_link(&part.0, to).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(to.display().to_string()),
        _ => BackupError::file(to, error),
    })?;
    put::sync_folder(to)?;
    Ok(checked)
}

/// SQLite's online backup, in one step: a snapshot, and writers go on meanwhile.
fn copy_database(store: &Path, to: &Path) -> Result<(), BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(store, flags)?;
    source.busy_timeout(limits::STORE_BUSY_TIME)?;
    source.pragma_update(None, "query_only", "ON")?;
    let mut target = Connection::open(to)?;
    let backup = Backup::new(&source, &mut target)?;
    match backup.step(-1)? {
        StepResult::Done => {}
        _ => return Err(BackupError::Broken("the store is busy; try again".into())),
    }
    drop(backup);
    // One file, without a write-ahead log beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

fn seal(head: &Head, public: &[u8; 32], from: &Path, to: &Path) -> Result<FileKey, BackupError> {
    let source = File::open(from).map_err(|e| BackupError::file(from, e))?;
    let target = OpenOptions::new().write(true).open(to);
    let target = target.map_err(|e| BackupError::file(to, e))?;
    let mut out = BufWriter::new(target);
    let key = file::seal(head, public, &mut BufReader::new(source), &mut out);
    let key = key.map_err(|failed| failed.of(to))?;
    let synced = out.flush().and_then(|()| out.get_ref().sync_all());
    synced.map_err(|e| BackupError::file(to, e))?;
    Ok(key)
}

/// Reads from the disk what was written, under the key that is still here.
fn open_again(key: &FileKey, from: &Path, to: &Path) -> Result<(), BackupError> {
    let source = File::open(from).map_err(|e| BackupError::file(from, e))?;
    let mut source = BufReader::new(source);
    file::head(&mut source).map_err(|failed| failed.of(from))?;
    let target = OpenOptions::new().write(true).open(to);
    let mut target = target.map_err(|e| BackupError::file(to, e))?;
    file::open(key, &mut source, &mut target).map_err(|failed| failed.of(to))
}

/// A file of mode 0600 that is gone when this is dropped, with what SQLite may put beside it.
pub(super) struct Scratch(pub PathBuf);

impl Scratch {
    pub fn beside(store: &Path, what: &str) -> Result<Self, BackupError> {
        Self::at(with_end(store, &format!(".{what}-{}", std::process::id())))
    }

    pub fn at(path: PathBuf) -> Result<Self, BackupError> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(_) => Ok(Self(path)),
            Err(error) => Err(BackupError::file(&path, error)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(with_end(&self.0, end));
        }
    }
}

pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}
