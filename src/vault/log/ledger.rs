//! Appends to the log, inside the sequencer's transaction.
//!
//! The tree in memory runs ahead of the disk while a transaction is open: [`Ledger::mark`] and
//! [`Ledger::back_to`] take it back when a work or the commit fails.

use ed25519_dalek::SigningKey;
use time::OffsetDateTime;

use super::event::{Event, commitment};
use super::merkle::{self, Tree};
use super::note::{Checkpoint, Verifier};
use super::retention;
use crate::limits;
use crate::secret::stack;
use crate::vault::keys::cipher::{Broken, Cipher};
use crate::vault::keys::root::{RootKeys, Use};
use crate::vault::keys::{bind, random, random_key};
use crate::vault::store::{LeafRow, StoreError, Writer};
use crate::wire::control::LogEntry;
use crate::wire::text::Hex;

/// The log's end, its signing key and the key of the present month.
pub struct Ledger {
    tree: Tree,
    signed: u64,
    origin: String,
    /// Boxed: moving the ledger leaves no copy of it behind.
    signing: Box<SigningKey>,
    period: Option<(u32, Cipher)>,
}

impl Ledger {
    /// Builds the tree again from the store's leaves and compares it with the last checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the leaves do not give the root that was signed last.
    pub fn open(
        store: &mut dyn Writer,
        vault: &[u8; 16],
        signing: Box<SigningKey>,
    ) -> Result<Self, StoreError> {
        let mut tree = Tree::default();
        store.each_leaf(&mut |data| tree.push(merkle::leaf(data)))?;
        let ledger = Self {
            signed: tree.size(),
            tree,
            origin: origin(vault),
            signing,
            period: None,
        };
        let last = store.last_checkpoint()?;
        let expected = match &last {
            None if ledger.tree.size() == 0 => return Ok(ledger),
            None => return Err(StoreError::Damaged("the log has leaves and no checkpoint")),
            Some(note) => ledger.verifier().open(note),
        };
        match expected {
            Ok(c) if c.size == ledger.tree.size() && c.root == ledger.tree.root() => Ok(ledger),
            _ => Err(StoreError::Damaged(
                "the log's leaves are not those of its last checkpoint",
            )),
        }
    }

    pub fn verifier(&self) -> Verifier {
        Verifier {
            origin: self.origin.clone(),
            key: self.signing.verifying_key(),
        }
    }

    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Appends one event to the open transaction.
    pub fn append(
        &mut self,
        store: &mut dyn Writer,
        root: &RootKeys,
        event: &Event,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let period = retention::period(now);
        let cipher = self.period_key(store, root, period)?;
        let sequence = self.tree.size();
        let salt: [u8; 32] = random();
        let details = event.to_json();
        let leaf = commitment(&salt, details.as_bytes());
        let sealed = cipher.seal(&place(sequence, period), &pad(&salt, details.as_bytes()));
        store.add_leaf(&LeafRow {
            sequence,
            commitment: leaf,
            period,
            sealed: Some(sealed),
        })?;
        self.tree.push(merkle::leaf(&leaf));
        Ok(())
    }

    /// Counts entries about a request under an event's name, from a sequence number on. It
    /// trusts no column: an entry opens at its own place only, and one that is missing, emptied or
    /// exchanged is an error.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if any entry of the part cannot be read.
    pub fn count(
        &self,
        store: &mut dyn Writer,
        root: &RootKeys,
        start: u64,
        event: &str,
        request: &str,
    ) -> Result<u32, StoreError> {
        let mut rows = Vec::new();
        let mut next = start;
        store.entries_from(start, &mut |row| {
            if row.sequence != next {
                return Err(StoreError::Damaged("the log has a gap"));
            }
            next += 1;
            rows.push(row);
            Ok(())
        })?;
        if next != self.tree.size() {
            return Err(StoreError::Damaged("the log has lost its end"));
        }
        let mut keys: Vec<(u32, Cipher)> = Vec::new();
        let mut count = 0;
        for row in &rows {
            let at = keys.iter().position(|(period, _)| *period == row.period);
            let key = match at {
                Some(at) => &keys[at].1,
                None => {
                    let wrapped = store.log_period(row.period)?;
                    let wrapped = wrapped.ok_or(StoreError::Damaged("a month's key is gone"))?;
                    let key = Cipher::new(&root.unwrap(Use::LogPeriod(row.period), &wrapped)?);
                    keys.push((row.period, key));
                    &keys[keys.len() - 1].1
                }
            };
            let details = read_entry(row, Some(key))?.details;
            let details = details.ok_or(StoreError::Damaged("an entry is empty"))?;
            let about: About = serde_json::from_str(&details)
                .map_err(|_| StoreError::Damaged("an entry is not readable"))?;
            if about.event == event && about.request.as_deref() == Some(request) {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Signs a checkpoint if the tree has grown since the last one; call it before the commit.
    pub fn checkpoint(&mut self, store: &mut dyn Writer) -> Result<(), StoreError> {
        if self.tree.size() == self.signed {
            return Ok(());
        }
        stack::touched();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        store.add_checkpoint(checkpoint.size, &checkpoint.sign(&self.signing))?;
        self.signed = checkpoint.size;
        Ok(())
    }

    pub fn mark(&self) -> Mark {
        Mark(self.tree.clone(), self.signed)
    }

    pub fn back_to(&mut self, mark: Mark) {
        self.tree = mark.0;
        self.signed = mark.1;
        // The month's key may have been made in the transaction that was undone.
        self.period = None;
    }

    fn period_key(
        &mut self,
        store: &mut dyn Writer,
        root: &RootKeys,
        period: u32,
    ) -> Result<Cipher, StoreError> {
        if let Some((known, cipher)) = &self.period
            && *known == period
        {
            return Ok(cipher.clone());
        }
        let key = match store.log_period(period)? {
            Some(wrapped) => root.unwrap(Use::LogPeriod(period), &wrapped)?,
            None => {
                let key = random_key();
                store.add_log_period(period, &root.wrap(Use::LogPeriod(period), &key))?;
                key
            }
        };
        let cipher = Cipher::new(&key);
        self.period = Some((period, cipher.clone()));
        Ok(cipher)
    }
}

/// What [`Ledger::count`] reads of an entry.
#[derive(serde::Deserialize)]
struct About {
    event: String,
    request: Option<String>,
}

/// Where a [`Ledger`] was.
pub struct Mark(Tree, u64);

/// Opens an entry for an auditor. An entry whose month's key has been destroyed keeps its leaf.
pub fn read_entry(row: &LeafRow, period_key: Option<&Cipher>) -> Result<LogEntry, Broken> {
    let mut entry = LogEntry {
        commitment: Hex(row.commitment),
        salt: None,
        details: None,
    };
    if let (Some(cipher), Some(sealed)) = (period_key, &row.sealed) {
        let opened = cipher.open(&place(row.sequence, row.period), sealed)?;
        let (salt, rest) = opened.split_first_chunk::<32>().ok_or(Broken)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Broken)?;
        let details = rest
            .get(..u32::from_be_bytes(*length) as usize)
            .ok_or(Broken)?;
        entry.salt = Some(Hex(*salt));
        entry.details = Some(String::from_utf8(details.to_vec()).map_err(|_| Broken)?);
    }
    Ok(entry)
}

/// The log's name in checkpoints.
pub fn origin(vault: &[u8; 16]) -> String {
    format!("cryptonym.vault/{}", Hex(*vault))
}

fn place(sequence: u64, period: u32) -> Vec<u8> {
    bind(&[b"log", &sequence.to_be_bytes(), &period.to_be_bytes()])
}

/// `salt 32 | length u32 | details | zeros` up to a multiple of [`limits::LOG_PAD`].
fn pad(salt: &[u8; 32], details: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(36 + details.len() + limits::LOG_PAD);
    out.extend_from_slice(salt);
    out.extend_from_slice(&(details.len() as u32).to_be_bytes());
    out.extend_from_slice(details);
    out.resize(out.len().next_multiple_of(limits::LOG_PAD), 0);
    out
}
