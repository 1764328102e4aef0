//! The embedded store: SQLite in WAL mode with `synchronous=FULL`, so that a commit returns after
//! the write-ahead log has been synced.
//!
//! What can never happen: two processes write one store (a lock file held for life), or a
//! database that others may read (mode 0600).

mod reader;
mod rewrap;
mod schema;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Reader, Store, StoreError, Writer};
use crate::limits;

/// A database file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
}

impl Sqlite {
    /// Opens the database, or makes it with its folder.
    ///
    /// # Errors
    /// No permission, a lock of another process, another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::make_folder(path)?;
        // One lock for one database, by whatever name it was called.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = Self::lock(path)?;
        let is_new = !path.exists();
        // SQLite gives its -wal and -shm files the mode of the database.
        drop(private(path)?);
        let store = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        schema::prepare(&mut store.connect(false)?)?;
        if is_new {
            // A name that is spelt wrongly would otherwise give everybody a second pseudonym unseen.
            tracing::warn!(
                store = %path.display(),
                "a new store was made: its keys, and so its pseudonyms, are like those of no other"
            );
        }
        Ok(store)
    }

    /// Takes a database's lock, which its one vault holds for life.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another has it.
    pub fn lock(path: &Path) -> Result<File, StoreError> {
        let lock = private(&path.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(TryLockError::Error(e)) => Err(failed_at(path, &e)),
        }
    }

    /// Makes the directory of a database, its user's alone.
    ///
    /// # Errors
    /// No permission.
    pub fn make_folder(path: &Path) -> Result<(), StoreError> {
        let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else {
            return Ok(());
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| failed_at(folder, &e))
    }

    fn connect(&self, read_only: bool) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(limits::STORE_BUSY_TIME)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        if read_only {
            connection.pragma_update(None, "query_only", "ON")?;
        } else {
            let cache = -(limits::STORE_CACHE_KIB as i64);
            connection.pragma_update(None, "cache_size", cache)?;
            let pages = limits::STORE_CHECKPOINT_PAGES;
            connection.pragma_update(None, "wal_autocheckpoint", pages)?;
        }
        Ok(connection)
    }
}

impl Store for Sqlite {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(writer::SqliteWriter::new(self.connect(false)?)))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(reader::SqliteReader::new(self.connect(true)?)))
    }
}

/// Makes or opens a file that only its owner may read.
fn private(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| failed_at(path, &e))?;
    let mode = file.metadata().map_err(|e| failed_at(path, &e))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(StoreError::Failed(format!(
            "{}: others may read it; set its mode to 0600",
            path.display()
        )));
    }
    Ok(file)
}

fn failed_at(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // SQLite's texts name tables and columns, never values.
        Self::Failed(error.to_string())
    }
}

/// A column of fixed length.
fn fixed<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Damaged("a column has a wrong length"))
}
