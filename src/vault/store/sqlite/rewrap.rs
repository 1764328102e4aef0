//! The rows that lie under the root key, for a resharing.

use rusqlite::params;

use super::StoreError;
use super::writer::{SqliteWriter, read_reveal};
use crate::vault::store::{DomainRow, LogPeriod, RevealRow, Rewrap};

impl Rewrap for SqliteWriter {
    fn set_domain(&mut self, row: &DomainRow) -> Result<(), StoreError> {
        let sql = "UPDATE domain SET name_tag = ?, name = ? WHERE id = ?";
        one(self.run(sql, params![row.name_tag, row.name, row.id])?)
    }

    fn set_epoch(&mut self, row: i64, wrapped: &[u8]) -> Result<(), StoreError> {
        one(self.run(
            "UPDATE epoch SET wrapped = ? WHERE row = ?",
            params![wrapped, row],
        )?)
    }

    fn wrapped_log_periods(&mut self) -> Result<Vec<LogPeriod>, StoreError> {
        let mut statement = self.0.prepare("SELECT period, wrapped FROM log_period")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn set_log_period(&mut self, period: u32, wrapped: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE log_period SET wrapped = ? WHERE period = ?";
        one(self.run(sql, params![wrapped, period])?)
    }

    fn reveals(&mut self) -> Result<Vec<RevealRow>, StoreError> {
        let sql = "SELECT id, created, expires, state, reads_left, sealed, decision FROM reveal";
        let mut statement = self.0.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(read_reveal(row)?);
        }
        Ok(out)
    }

    fn set_reveal_seals(&mut self, row: &RevealRow) -> Result<(), StoreError> {
        let sql = "UPDATE reveal SET sealed = ?, decision = ? WHERE id = ?";
        one(self.run(sql, params![row.sealed, row.decision, row.id])?)
    }

    fn forget_earlier(&mut self) -> Result<(), StoreError> {
        // `secure_delete` has overwritten them in the database; the write-ahead log still has them.
        let busy: i64 = self
            .0
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        match busy {
            0 => Ok(()),
            _ => Err(StoreError::Failed(
                "the write-ahead log is in use".to_owned(),
            )),
        }
    }
}

fn one(changed: usize) -> Result<(), StoreError> {
    match changed {
        1 => Ok(()),
        _ => Err(StoreError::Damaged("a row has vanished")),
    }
}
