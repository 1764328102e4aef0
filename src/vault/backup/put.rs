//! Makes a store from a backup.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::Path;

use rusqlite::Connection;

use super::BackupError;
use super::check::{Checked, check};
use super::file::{self, Head};
use super::take::{Scratch, with_end};
use crate::vault::log::Event;
use crate::vault::sequencer::Tx;
use crate::vault::state::Vault;
use crate::vault::store::StoreError;
use crate::vault::store::sqlite::Sqlite;
use crate::wire::sealed::KeyPair;

/// Under this name in the store's `meta` stands, until the vault has logged it, that it was
/// restored: the moment whose state it is.
pub const RESTORED: &str = "restored";

/// Opens a backup with the private key, checks it and puts it where the store is to be. The vault
/// that starts on it is of another incarnation, as after every start: gateways load the known set
/// again and publish what the backup lacks. Blocks.
///
/// # Errors
/// A store is there already, or a vault is at work there; a backup that does not open or is not
/// whole. Nothing is left behind then.
pub fn restore(from: &Path, pair: &KeyPair, store: &Path) -> Result<(Head, Checked), BackupError> {
    Sqlite::make_folder(store)?;
    let _alone = Sqlite::lock(store)?;
    for end in ["", "-wal", "-journal"] {
        let there = with_end(store, end);
        if there.exists() {
            return Err(BackupError::Exists(there.display().to_string()));
        }
    }
    let source = File::open(from).map_err(|e| BackupError::file(from, e))?;
    let mut source = BufReader::new(source);
    let (head, opening) = file::head(&mut source).map_err(|failed| failed.of(from))?;
    let key = opening.key(pair).map_err(|failed| failed.of(from))?;
    let part = Scratch::beside(store, "restore")?;
    let mut target = OpenOptions::new()
        .write(true)
        .open(&part.0)
        .map_err(|e| BackupError::file(&part.0, e))?;
    file::open(&key, &mut source, &mut target).map_err(|failed| failed.of(from))?;
    drop(target);
    let checked = check(&part.0)?;
    if (checked.vault, checked.log_entries) != (head.vault, head.log_entries) {
        return Err(BackupError::Broken("it is not what its head says".into()));
    }
    // Erasures that were ordered after the backup was made are to be replayed here, from their
    // journal, before the store has its name: there is no journal yet.
    remember(&part.0, &head)?;
    sync(&part.0)?;
    // Not a rename: that would replace what came meanwhile.
    std::fs::hard_link(&part.0, store).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(store.display().to_string()),
        _ => BackupError::file(store, error),
    })?;
    sync_folder(store)?;
    Ok((head, checked))
}

/// So that the vault's first act on this store is an entry that says so.
fn remember(copy: &Path, head: &Head) -> Result<(), BackupError> {
    let database = Connection::open(copy)?;
    database.pragma_update(None, "journal_mode", "DELETE")?;
    let sql =
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    database.execute(sql, (RESTORED, head.made.as_bytes()))?;
    Ok(())
}

/// Writes the entry `store-restored`, once, if the store comes from a backup.
///
/// # Errors
/// The store.
pub async fn log_restored(vault: &Vault) -> Result<(), StoreError> {
    let work = |tx: &mut Tx<'_>| {
        let made = tx.store.meta(RESTORED)?.filter(|made| !made.is_empty());
        let Some(made) = made else { return Ok(()) };
        let made = String::from_utf8_lossy(&made).into_owned();
        tx.log(&Event {
            reason: Some(format!("a backup of {made}")),
            ..Event::new("store-restored", tx.now)
        })?;
        tx.store.set_meta(RESTORED, b"")
    };
    vault.sequencer.run(work).await
}

fn sync(file: &Path) -> Result<(), BackupError> {
    let synced = File::open(file).and_then(|file| file.sync_all());
    synced.map_err(|e| BackupError::file(file, e))
}

pub(super) fn sync_folder(file: &Path) -> Result<(), BackupError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    sync(folder)
}
