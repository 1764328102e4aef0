//! Somebody who has the vault's database, its root key and a vault that is stopped: writes what
//! they like into the log, and signs it again with the log's own key, so that the store is in
//! accord with itself.

use std::path::{Path, PathBuf};

use cryptonym::config::root_key;
use cryptonym::vault::keys::bind;
use cryptonym::vault::keys::cipher::Cipher;
use cryptonym::vault::keys::root::{RootKeys, Use};
use cryptonym::vault::log::Event;
use cryptonym::vault::log::ledger::{Ledger, origin};
use cryptonym::vault::log::merkle::{self, Tree};
use cryptonym::vault::log::note::Checkpoint;
use cryptonym::vault::store::Store as _;
use cryptonym::vault::store::sqlite::Sqlite;
use ed25519_dalek::SigningKey;
use rusqlite::{Connection, params};
use time::OffsetDateTime;

pub struct Forger {
    database: PathBuf,
    vault: [u8; 16],
    root: RootKeys,
    signing: SigningKey,
}

impl Forger {
    pub fn new(database: &str, root_key: &str) -> Self {
        let database = PathBuf::from(database);
        let open = Connection::open(&database).unwrap();
        let meta = |name: &str| -> Vec<u8> {
            let sql = "SELECT value FROM meta WHERE name = ?";
            open.query_row(sql, [name], |row| row.get(0)).unwrap()
        };
        let vault: [u8; 16] = meta("vault").try_into().unwrap();
        let root = root_key::load(Path::new(root_key)).unwrap();
        let root = RootKeys::new(&root, vault);
        let signing = root.unwrap(Use::LogSigning, &meta("log-key")).unwrap();
        Self {
            vault,
            root,
            signing: SigningKey::from_bytes(signing.expose()),
            database,
        }
    }

    pub fn size(&self) -> u64 {
        self.commitments().len() as u64
    }

    /// Cuts the log's end off as the vault would have had it then: no key is needed for that.
    pub fn put_back(&self, size: u64) {
        let database = Connection::open(&self.database).unwrap();
        let size = size as i64;
        let sql = "DELETE FROM log_checkpoint WHERE size > ?";
        assert!(database.execute(sql, [size]).unwrap() > 0);
        // The nearest checkpoint that was signed.
        let sql = "DELETE FROM log_leaf WHERE sequence >= (SELECT max(size) FROM log_checkpoint)";
        assert!(database.execute(sql, []).unwrap() > 0);
    }

    /// Leaves the first entries, and signs that.
    pub fn cut(&self, size: u64) {
        let database = Connection::open(&self.database).unwrap();
        let sql = "DELETE FROM log_leaf WHERE sequence >= ?";
        assert!(database.execute(sql, [size as i64]).unwrap() > 0);
        drop(database);
        self.sign_again();
    }

    /// Exchanges two entries, sealed anew for their new places, and signs that.
    pub fn exchange(&self, one: u64, other: u64) {
        let database = Connection::open(&self.database).unwrap();
        let rows = [
            self.row(&database, one, other),
            self.row(&database, other, one),
        ];
        for (sequence, (commitment, period, sealed)) in [other, one].into_iter().zip(rows) {
            let sql =
                "UPDATE log_leaf SET commitment = ?, period = ?, sealed = ? WHERE sequence = ?";
            let values = params![commitment, period, sealed, sequence as i64];
            assert_eq!(database.execute(sql, values).unwrap(), 1);
        }
        drop(database);
        self.sign_again();
    }

    /// An entry as it would lie in another place: commitment, month, sealed details.
    fn row(&self, database: &Connection, from: u64, to: u64) -> (Vec<u8>, u32, Vec<u8>) {
        let sql = "SELECT commitment, period, sealed FROM log_leaf WHERE sequence = ?";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (commitment, period, sealed): (Vec<u8>, u32, Vec<u8>) =
            database.query_row(sql, [from as i64], read).unwrap();
        let sql = "SELECT wrapped FROM log_period WHERE period = ?";
        let wrapped: Vec<u8> = database.query_row(sql, [period], |row| row.get(0)).unwrap();
        let key = self.root.unwrap(Use::LogPeriod(period), &wrapped).unwrap();
        let cipher = Cipher::new(&key);
        let place = |at: u64| bind(&[b"log", &at.to_be_bytes(), &period.to_be_bytes()]);
        let details = cipher.open(&place(from), &sealed).unwrap();
        (commitment, period, cipher.seal(&place(to), &details))
    }

    /// Other entries from a place on: that many of them, with their own details.
    pub fn another_history(&self, from: u64, count: u64) {
        if from < self.size() {
            self.cut(from);
        }
        let now = OffsetDateTime::now_utc();
        self.append(count, now, "reveal-refused");
    }

    /// Appends entries of a moment as the vault would, in one commit.
    pub fn append(&self, count: u64, at: OffsetDateTime, event: &'static str) {
        let store = Sqlite::open(&self.database).unwrap();
        let mut writer = store.writer().unwrap();
        let mut ledger =
            Ledger::open(&mut *writer, &self.vault, Box::new(self.signing.clone())).unwrap();
        writer.begin().unwrap();
        for n in 0..count {
            let event = Event {
                who: Some("a.lindqvist".into()),
                role: Some("approver"),
                domain: Some("improvement".into()),
                request: Some(format!("{n:032x}")),
                reason: Some(format!("generated {n}")),
                ..Event::new(event, at)
            };
            ledger.append(&mut *writer, &self.root, &event, at).unwrap();
        }
        ledger.checkpoint(&mut *writer).unwrap();
        writer.commit().unwrap();
    }

    /// One checkpoint over what is there, in the place of all others.
    fn sign_again(&self) {
        let mut tree = Tree::default();
        for commitment in self.commitments() {
            tree.push(merkle::leaf(&commitment));
        }
        let checkpoint = Checkpoint {
            origin: origin(&self.vault),
            size: tree.size(),
            root: tree.root(),
        };
        let note = checkpoint.sign(&self.signing);
        let database = Connection::open(&self.database).unwrap();
        database.execute("DELETE FROM log_checkpoint", []).unwrap();
        let sql = "INSERT INTO log_checkpoint VALUES (?, ?)";
        let size = tree.size() as i64;
        database.execute(sql, params![size, note]).unwrap();
    }

    fn commitments(&self) -> Vec<[u8; 32]> {
        let database = Connection::open(&self.database).unwrap();
        let sql = "SELECT commitment FROM log_leaf ORDER BY sequence";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0));
        let rows = rows.unwrap().map(|row| row.unwrap().try_into().unwrap());
        rows.collect()
    }
}
