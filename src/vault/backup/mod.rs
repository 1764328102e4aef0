//! Backups of the store: taken while the vault runs, encrypted, opened again before they count.
//!
//! ```text
//! store ─▶ copy of one moment (SQLite) ─▶ sealed file ─▶ opened again ─▶ checked ─▶ in its place
//! sealed file ─▶ opened ─▶ checked ─▶ erasures since then ─▶ in the store's place
//! ```
//!
//! What enters: a store and the public half of a backup key; or a backup and the private half.
//! What leaves: a sealed file; or a store. What can never happen: a backup that has not been
//! opened and checked lies under its final name; a store is overwritten; a backup is enough to
//! read a record: its rows are sealed as they were, under the vault's root key, which is not in it.
//!
//! The backup key is apart from the data and from the vault: whoever takes backups cannot open
//! them. [`file`] is the format, [`check`] says whether a copy is whole.

pub mod check;
pub mod file;
mod put;
mod take;

use std::path::Path;

pub use check::Checked;
pub use put::{log_restored, restore};
pub use take::take;

use super::store::StoreError;

/// Why there is no backup, or no store from it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{file}: {error}")]
    File { file: String, error: std::io::Error },
    #[error("{0}: it is there already, and nothing is overwritten")]
    Exists(String),
    #[error("{0}: there is no store")]
    NoStore(String),
    #[error("this is no backup of a vault, or it was cut off")]
    Form,
    #[error("the backup does not open: it is damaged, or sealed to another key")]
    Sealed,
    #[error("the copy is not whole: {0}")]
    Broken(String),
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl BackupError {
    fn file(file: &Path, error: std::io::Error) -> Self {
        Self::File {
            file: file.display().to_string(),
            error,
        }
    }
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
