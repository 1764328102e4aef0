//! The writing side over one connection.

use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

use super::{StoreError, fixed};
use crate::vault::store::{
    Added, Budget, DomainRow, EpochRow, LeafRow, RecordRow, RevealRow, RevealRowState, Writer,
};

pub struct SqliteWriter(pub(super) Connection);

impl SqliteWriter {
    pub fn new(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(64);
        Self(connection)
    }

    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.0.prepare_cached(sql)?.execute(params)?)
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self
            .0
            .prepare_cached(sql)?
            .query_row(params, read)
            .optional()?)
    }
}

/// Looks its index up once, whether it is new or not.
const ADD_RECORD: &str = "INSERT INTO record (id, epoch, idx, tag, known, subject, sealed) \
                          VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (idx) DO NOTHING";
const ADD_SUBJECT: &str = "INSERT INTO subject (id, wrapped) VALUES (?, ?)";
const TAG: &str = "SELECT tag FROM record WHERE idx = ?";
/// Kept beside the epoch, since counting the rows would read the whole table.
const COUNT_RECORDS: &str = "UPDATE epoch SET records = records + ? WHERE row = ?";
/// A record and its subject's key are made together, under one number.
const NEXT_RECORD: &str = "SELECT max(coalesce((SELECT max(id) FROM record), 0), \
                           coalesce((SELECT max(id) FROM subject), 0)) + 1";

impl SqliteWriter {
    /// The loop of [`Writer::add_records`], which undoes what this leaves.
    fn insert(&self, epoch: i64, rows: &[RecordRow], most: u64) -> Result<Added, StoreError> {
        let mut id: i64 = self
            .0
            .prepare_cached(NEXT_RECORD)?
            .query_row([], |r| r.get(0))?;
        let mut add = self.0.prepare_cached(ADD_RECORD)?;
        let mut subject = self.0.prepare_cached(ADD_SUBJECT)?;
        let mut new = 0;
        for row in rows {
            let number = row.subject.as_ref().map(|_| id);
            let params = params![id, epoch, row.index, row.tag, row.known, number, row.sealed];
            if add.execute(params)? == 0 {
                if self.tag(&row.index)? != Some(row.tag) {
                    return Ok(Added::Conflict);
                }
                continue;
            }
            if let Some(wrapped) = &row.subject {
                subject.execute(params![id, wrapped])?;
            }
            id += 1;
            new += 1;
        }
        // Only now: a conflict further on says more than a budget.
        if new > most {
            return Ok(Added::TooMany);
        }
        if new > 0 {
            let count = i64::try_from(new).unwrap_or(i64::MAX);
            self.run(COUNT_RECORDS, params![count, epoch])?;
        }
        Ok(Added::All { new })
    }

    fn tag(&self, index: &[u8; 16]) -> Result<Option<[u8; 16]>, StoreError> {
        self.one(TAG, [index], |r| r.get(0))?.map(fixed).transpose()
    }
}

impl Writer for SqliteWriter {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN IMMEDIATE", []).map(drop)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.run("COMMIT", []).map(drop)
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        if self.0.is_autocommit() {
            return Ok(()); // SQLite has rolled back itself, as it does on a full disk
        }
        self.run("ROLLBACK", []).map(drop)
    }

    fn savepoint(&mut self) -> Result<(), StoreError> {
        self.run("SAVEPOINT work", []).map(drop)
    }

    fn release(&mut self, keep: bool) -> Result<(), StoreError> {
        if !keep {
            self.run("ROLLBACK TO work", [])?;
        }
        self.run("RELEASE work", []).map(drop)
    }

    fn meta(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.one("SELECT value FROM meta WHERE name = ?", [name], |r| {
            r.get(0)
        })
    }

    fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.run(sql, params![name, value]).map(drop)
    }

    fn domain_by_tag(&mut self, tag: &[u8; 16]) -> Result<Option<[u8; 16]>, StoreError> {
        self.one("SELECT id FROM domain WHERE name_tag = ?", [tag], |r| {
            r.get(0)
        })?
        .map(fixed)
        .transpose()
    }

    fn add_domain(&mut self, row: &DomainRow) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO domain VALUES (?, ?, ?)",
            params![row.id, row.name_tag, row.name],
        )
        .map(drop)
    }

    fn domains(&mut self) -> Result<Vec<DomainRow>, StoreError> {
        let mut statement = self
            .0
            .prepare_cached("SELECT id, name_tag, name FROM domain")?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(DomainRow {
                id: fixed(row.get(0)?)?,
                name_tag: fixed(row.get(1)?)?,
                name: row.get(2)?,
            });
        }
        Ok(out)
    }

    fn epochs(&mut self) -> Result<Vec<EpochRow>, StoreError> {
        let sql = "SELECT row, domain, epoch, wrapped FROM epoch ORDER BY epoch";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(EpochRow {
                row: row.get(0)?,
                domain: fixed(row.get(1)?)?,
                epoch: row.get(2)?,
                wrapped: row.get(3)?,
            });
        }
        Ok(out)
    }

    fn add_epoch(
        &mut self,
        domain: &[u8; 16],
        epoch: u32,
        wrapped: &[u8],
    ) -> Result<i64, StoreError> {
        let sql = "INSERT INTO epoch (domain, epoch, wrapped) VALUES (?, ?, ?)";
        self.run(sql, params![domain, epoch, wrapped])?;
        Ok(self.0.last_insert_rowid())
    }

    fn add_records(
        &mut self,
        epoch: i64,
        rows: &[RecordRow],
        most: u64,
    ) -> Result<Added, StoreError> {
        self.run("SAVEPOINT rows", [])?;
        let added = self.insert(epoch, rows, most)?;
        if !matches!(added, Added::All { .. }) {
            self.run("ROLLBACK TO rows", [])?;
        }
        self.run("RELEASE rows", [])?;
        Ok(added)
    }

    fn budget(&mut self, gateway: &str, domain: &[u8; 16], day: i64) -> Result<Budget, StoreError> {
        let sql = "SELECT used, alarmed FROM budget WHERE gateway = ? AND domain = ? AND day = ?";
        let found = self.one(sql, params![gateway, domain, day], |r| {
            Ok(Budget {
                used: r.get::<_, i64>(0)?.unsigned_abs(),
                alarmed: r.get(1)?,
            })
        })?;
        Ok(found.unwrap_or_default())
    }

    fn set_budget(
        &mut self,
        gateway: &str,
        domain: &[u8; 16],
        day: i64,
        budget: Budget,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO budget VALUES (?, ?, ?, ?, ?) ON CONFLICT (gateway, domain, day) \
                   DO UPDATE SET used = excluded.used, alarmed = excluded.alarmed";
        let used = i64::try_from(budget.used).unwrap_or(i64::MAX);
        self.run(sql, params![gateway, domain, day, used, budget.alarmed])
            .map(drop)
    }

    fn add_reveal(&mut self, row: &RevealRow) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO reveal VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![
                row.id,
                row.created,
                row.expires,
                row.state as u8,
                row.reads_left,
                row.sealed,
                row.decision
            ],
        )
        .map(drop)
    }

    fn reveal(&mut self, id: &[u8; 16]) -> Result<Option<RevealRow>, StoreError> {
        self.one(REVEAL, [id], |r| Ok(read_reveal(r)))?.transpose()
    }

    fn set_reveal(&mut self, row: &RevealRow) -> Result<(), StoreError> {
        let sql = "UPDATE reveal SET state = ?, reads_left = ?, decision = ? WHERE id = ?";
        let changed = self.run(
            sql,
            params![row.state as u8, row.reads_left, row.decision, row.id],
        )?;
        match changed {
            1 => Ok(()),
            _ => Err(StoreError::Damaged("a reveal has vanished")),
        }
    }

    fn add_leaf(&mut self, row: &LeafRow) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO log_leaf VALUES (?, ?, ?, ?)",
            params![row.sequence as i64, row.commitment, row.period, row.sealed],
        )
        .map(drop)
    }

    fn each_leaf(&mut self, each: &mut dyn FnMut(&[u8; 32])) -> Result<(), StoreError> {
        let sql = "SELECT sequence, commitment FROM log_leaf ORDER BY sequence";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut expected = 0i64;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(0)? != expected {
                return Err(StoreError::Damaged("the log has a gap"));
            }
            each(&fixed(row.get(1)?)?);
            expected += 1;
        }
        Ok(())
    }

    fn entries_from(
        &mut self,
        start: u64,
        each: &mut dyn FnMut(LeafRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT sequence, commitment, period, sealed FROM log_leaf WHERE sequence >= ? \
                   ORDER BY sequence";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([start as i64])?;
        while let Some(row) = rows.next()? {
            each(LeafRow {
                sequence: row.get::<_, i64>(0)? as u64,
                commitment: fixed(row.get(1)?)?,
                period: row.get(2)?,
                sealed: row.get(3)?,
            })?;
        }
        Ok(())
    }

    fn add_checkpoint(&mut self, size: u64, note: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO log_checkpoint VALUES (?, ?)";
        self.run(sql, params![size as i64, note]).map(drop)
    }

    fn last_checkpoint(&mut self) -> Result<Option<String>, StoreError> {
        self.one(LAST_CHECKPOINT, [], |r| r.get(0))
    }

    fn log_period(&mut self, period: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.one(LOG_PERIOD, [period], |r| r.get(0))?;
        Ok(found.flatten())
    }

    fn add_log_period(&mut self, period: u32, wrapped: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO log_period VALUES (?, ?)";
        self.run(sql, params![period, wrapped]).map(drop)
    }

    fn forget_log_period(&mut self, period: u32) -> Result<(), StoreError> {
        // `secure_delete` overwrites what a row no longer needs.
        let sql = "UPDATE log_period SET wrapped = NULL WHERE period = ?";
        self.run(sql, [period]).map(drop)
    }
}

pub const REVEAL: &str =
    "SELECT id, created, expires, state, reads_left, sealed, decision FROM reveal WHERE id = ?";
pub const LAST_CHECKPOINT: &str = "SELECT note FROM log_checkpoint ORDER BY size DESC LIMIT 1";
pub const LOG_PERIOD: &str = "SELECT wrapped FROM log_period WHERE period = ?";

pub fn read_reveal(row: &Row<'_>) -> Result<RevealRow, StoreError> {
    Ok(RevealRow {
        id: fixed(row.get(0)?)?,
        created: row.get(1)?,
        expires: row.get(2)?,
        state: match row.get::<_, u8>(3)? {
            0 => RevealRowState::Pending,
            1 => RevealRowState::Approved,
            2 => RevealRowState::Refused,
            _ => return Err(StoreError::Damaged("a reveal is in no known state")),
        },
        reads_left: row.get(4)?,
        sealed: row.get(5)?,
        decision: row.get(6)?,
    })
}
