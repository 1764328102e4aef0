//! The tables. Everything that points at a person is sealed or a keyed hash; in clear stand
//! sizes, counts, the ids of services and the times of reveals.

use rusqlite::Connection;

use super::StoreError;

const VERSION: u32 = 3;

const TABLES: &str = "
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE domain (
    id       BLOB PRIMARY KEY CHECK (length(id) = 16),
    name_tag BLOB NOT NULL UNIQUE,
    name     BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE epoch (
    row     INTEGER PRIMARY KEY,
    domain  BLOB NOT NULL REFERENCES domain (id),
    epoch   INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    records INTEGER NOT NULL DEFAULT 0,
    UNIQUE (domain, epoch)
);

-- A subject's data key. Destroying the row destroys what lies under it.
CREATE TABLE subject (
    id      INTEGER PRIMARY KEY,
    wrapped BLOB NOT NULL
);

-- `epoch` and `subject` are numbers of rows there, without a constraint: it would be looked up
-- for every record, and a record outlives its subject's key.
CREATE TABLE record (
    id      INTEGER PRIMARY KEY,
    epoch   INTEGER NOT NULL,
    idx     BLOB NOT NULL UNIQUE,
    tag     BLOB NOT NULL,
    known   BLOB NOT NULL,
    subject INTEGER,
    sealed  BLOB NOT NULL
);

CREATE TABLE budget (
    gateway TEXT NOT NULL,
    domain  BLOB NOT NULL REFERENCES domain (id),
    day     INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    alarmed INTEGER NOT NULL,
    PRIMARY KEY (gateway, domain, day)
) WITHOUT ROWID;

CREATE TABLE reveal (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    reads_left INTEGER NOT NULL,
    sealed     BLOB NOT NULL,
    decision   BLOB
);
CREATE INDEX reveal_created ON reveal (created);

CREATE TABLE log_period (
    period  INTEGER PRIMARY KEY,
    wrapped BLOB
);

CREATE TABLE log_leaf (
    sequence   INTEGER PRIMARY KEY,
    commitment BLOB NOT NULL CHECK (length(commitment) = 32),
    period     INTEGER NOT NULL REFERENCES log_period (period),
    sealed     BLOB
);

CREATE TABLE log_checkpoint (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
);
";

/// Makes the tables of a new database; refuses one of another version or with damaged pages.
pub fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |r| r.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        other => return Err(StoreError::Version(other)),
    }
    transaction.commit()?;
    // Reads the schema and the last page of each table, not the whole file.
    for table in ["meta", "domain", "epoch", "record", "subject", "log_leaf"] {
        let sql = format!("SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1");
        let mut statement = connection.prepare(&sql)?;
        statement.query([])?.next()?;
    }
    Ok(())
}
