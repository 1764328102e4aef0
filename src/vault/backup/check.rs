//! Whether a copy of a store is whole: SQLite's own check, and the log's tree.
//!
//! What enters: a database file that nobody else uses. What leaves: what is in it. What can never
//! happen: a copy whose leaves do not give the root of its last checkpoint passes. The
//! checkpoint's signature is verified by the vault when it starts: its key is sealed in the store.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::BackupError;
use crate::vault::log::merkle::{self, Tree};
use crate::vault::log::note::Checkpoint;
use crate::wire::text::Hex;

/// What a whole copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub vault: Hex<16>,
    pub records: u64,
    pub log_entries: u64,
    /// The last checkpoint note: what to compare with one that is known from elsewhere.
    pub checkpoint: String,
}

/// Checks a copy.
///
/// # Errors
/// [`BackupError::Broken`], with what is not as it should be.
pub fn check(file: &Path) -> Result<Checked, BackupError> {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    database.pragma_update(None, "query_only", "ON")?;
    let said: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    if said != "ok" {
        return Err(BackupError::Broken("the database's own check fails".into()));
    }
    let vault: Vec<u8> = one(&database, "SELECT value FROM meta WHERE name = 'vault'")?;
    let vault = vault.try_into().map(Hex);
    let vault = vault.map_err(|_| BackupError::Broken("it has no id".into()))?;
    let note: String = one(
        &database,
        "SELECT note FROM log_checkpoint ORDER BY size DESC LIMIT 1",
    )?;
    let checkpoint = Checkpoint::unverified(&note)
        .ok_or_else(|| BackupError::Broken("its last checkpoint is malformed".into()))?;
    let tree = tree(&database)?;
    if (tree.size(), tree.root()) != (checkpoint.size, checkpoint.root) {
        let why = "the log's leaves are not those of its last checkpoint";
        return Err(BackupError::Broken(why.into()));
    }
    let records: i64 = one(&database, "SELECT count(*) FROM record")?;
    Ok(Checked {
        vault,
        records: records.unsigned_abs(),
        log_entries: tree.size(),
        checkpoint: note,
    })
}

fn tree(database: &Connection) -> Result<Tree, BackupError> {
    let sql = "SELECT sequence, commitment FROM log_leaf ORDER BY sequence";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut tree = Tree::default();
    while let Some(row) = rows.next()? {
        let commitment: Vec<u8> = row.get(1)?;
        if row.get::<_, i64>(0)?.unsigned_abs() != tree.size() {
            return Err(BackupError::Broken("the log has a gap".into()));
        }
        tree.push(merkle::leaf(&commitment));
    }
    Ok(tree)
}

fn one<T: rusqlite::types::FromSql>(database: &Connection, sql: &str) -> Result<T, BackupError> {
    let found = database.query_row(sql, [], |row| row.get(0));
    found.map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => {
            BackupError::Broken("it lacks one of its first entries".into())
        }
        other => other.into(),
    })
}
