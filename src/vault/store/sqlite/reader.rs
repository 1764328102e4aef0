//! The reading side over one connection that cannot write.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::writer::{LAST_CHECKPOINT, LOG_PERIOD, REVEAL, read_reveal};
use super::{StoreError, fixed};
use crate::vault::store::{KnownRow, LeafRow, Reader, RevealRow, SealedRecord};

pub struct SqliteReader(Connection);

impl SqliteReader {
    pub fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

impl Reader for SqliteReader {
    fn known_after(
        &mut self,
        epoch: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<KnownRow>, StoreError> {
        let sql =
            "SELECT id, idx, known FROM record WHERE id > ? AND epoch = ? ORDER BY id LIMIT ?";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params![after, epoch, limit as i64])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(KnownRow {
                id: row.get(0)?,
                index: fixed(row.get(1)?)?,
                known: row.get(2)?,
            });
        }
        Ok(out)
    }

    fn known_count(&mut self, epoch: i64) -> Result<u64, StoreError> {
        let mut statement = self
            .0
            .prepare_cached("SELECT records FROM epoch WHERE row = ?")?;
        let count: Option<i64> = statement.query_row([epoch], |r| r.get(0)).optional()?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    fn record_epoch(&mut self, index: &[u8; 16]) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT epoch FROM record WHERE idx = ?";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_row([index], |r| r.get(0)).optional()?)
    }

    fn record(&mut self, index: &[u8; 16]) -> Result<Option<SealedRecord>, StoreError> {
        // A record whose subject's key has been destroyed is gone.
        let sql = "SELECT r.epoch, s.wrapped, r.sealed FROM record r \
                   LEFT JOIN subject s ON s.id = r.subject \
                   WHERE r.idx = ? AND (r.subject IS NULL OR s.id IS NOT NULL)";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement
            .query_row([index], |r| {
                Ok(SealedRecord {
                    epoch: r.get(0)?,
                    subject: r.get(1)?,
                    sealed: r.get(2)?,
                })
            })
            .optional()?)
    }

    fn count_records(&mut self) -> Result<u64, StoreError> {
        // Rows are never deleted and inserted again under a lower number, so the last number
        // is their count, at no cost.
        let sql = "SELECT coalesce(max(id), 0) FROM record";
        let count: i64 = self.0.query_row(sql, [], |r| r.get(0))?;
        Ok(count.unsigned_abs())
    }

    fn reveal(&mut self, id: &[u8; 16]) -> Result<Option<RevealRow>, StoreError> {
        let mut statement = self.0.prepare_cached(REVEAL)?;
        let mut rows = statement.query([id])?;
        rows.next()?.map(read_reveal).transpose()
    }

    fn reveals(&mut self, limit: usize) -> Result<Vec<RevealRow>, StoreError> {
        let sql = "SELECT id, created, expires, state, reads_left, sealed, decision FROM reveal \
                   ORDER BY created DESC, rowid DESC LIMIT ?";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([limit as i64])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(read_reveal(row)?);
        }
        Ok(out)
    }

    fn leaves(&mut self, start: u64, end: u64) -> Result<Vec<LeafRow>, StoreError> {
        let sql = "SELECT sequence, commitment, period, sealed FROM log_leaf \
                   WHERE sequence >= ? AND sequence < ? ORDER BY sequence";
        let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([clamp(start), clamp(end)])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(LeafRow {
                sequence: row.get::<_, i64>(0)?.unsigned_abs(),
                commitment: fixed(row.get(1)?)?,
                period: row.get(2)?,
                sealed: row.get(3)?,
            });
        }
        Ok(out)
    }

    fn commitments(&mut self, start: u64, end: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        let sql = "SELECT sequence, commitment FROM log_leaf \
                   WHERE sequence >= ? AND sequence < ? ORDER BY sequence";
        let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([clamp(start), clamp(end)])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(0)?.unsigned_abs() != start + out.len() as u64 {
                return Err(StoreError::Damaged("the log has a gap"));
            }
            out.push(fixed(row.get(1)?)?);
        }
        Ok(out)
    }

    fn log_period(&mut self, period: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self.0.prepare_cached(LOG_PERIOD)?;
        let found: Option<Option<Vec<u8>>> =
            statement.query_row([period], |r| r.get(0)).optional()?;
        Ok(found.flatten())
    }

    fn last_checkpoint(&mut self) -> Result<Option<String>, StoreError> {
        let mut statement = self.0.prepare_cached(LAST_CHECKPOINT)?;
        Ok(statement.query_row([], |r| r.get(0)).optional()?)
    }
}
