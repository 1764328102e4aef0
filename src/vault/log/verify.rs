//! Checks a log, offline: the tree from its leaves, the commitments, the checkpoint's signature,
//! and that it continues what the verifier remembers.
//!
//! What can never happen: a "holds" for a log that was rewritten before a remembered checkpoint.
//! Without a remembered checkpoint, a log cut at its end by its owner looks whole: said plainly
//! in [`Verified::remembered`].

use super::event::commitment;
use super::merkle::{self, Hash, Tree};
use super::note::{Checkpoint, NoteError, Verifier};
use crate::wire::control::LogEntry;

/// What was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub checkpoint: Checkpoint,
    /// Entries whose details were there and match their leaf.
    pub details: u64,
    /// Entries whose details have been forgotten; their leaves still count.
    pub forgotten: u64,
    /// Size of the remembered checkpoint that this log continues; `None`: truncation is not excluded.
    pub remembered: Option<u64>,
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Note(#[from] NoteError),
    #[error("the checkpoint speaks of {size} entries, and there are {entries}")]
    Count { size: u64, entries: u64 },
    #[error("entry {0}: the details are not those that were logged")]
    Commitment(u64),
    #[error("the entries do not give the root that the checkpoint signs")]
    Root,
    #[error(
        "the log is shorter ({size}) than the remembered checkpoint ({remembered}): it was cut"
    )]
    Cut { size: u64, remembered: u64 },
    #[error("the log does not continue the remembered checkpoint: it was rewritten")]
    Rewritten,
}

/// Takes the entries in order, so that a log of any length is checked in constant memory.
pub struct Verification {
    verifier: Verifier,
    checkpoint: Checkpoint,
    remembered: Option<Checkpoint>,
    remembered_root: Option<Hash>,
    tree: Tree,
    details: u64,
    forgotten: u64,
}

impl Verification {
    /// `remembered`: a checkpoint note that the verifier kept from an earlier time.
    ///
    /// # Errors
    /// A signature that does not hold, or a log shorter than the remembered one.
    pub fn start(verifier: Verifier, note: &str, remembered: Option<&str>) -> Result<Self, Broken> {
        let checkpoint = verifier.open(note)?;
        let remembered = remembered.map(|note| verifier.open(note)).transpose()?;
        if let Some(old) = &remembered
            && old.size > checkpoint.size
        {
            return Err(Broken::Cut {
                size: checkpoint.size,
                remembered: old.size,
            });
        }
        let mut this = Self {
            verifier,
            checkpoint,
            remembered,
            remembered_root: None,
            tree: Tree::default(),
            details: 0,
            forgotten: 0,
        };
        this.look_back();
        Ok(this)
    }

    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The next entry.
    pub fn push(&mut self, entry: &LogEntry) -> Result<(), Broken> {
        let sequence = self.tree.size();
        match (&entry.salt, &entry.details) {
            (Some(salt), Some(details)) => {
                if commitment(&salt.0, details.as_bytes()) != entry.commitment.0 {
                    return Err(Broken::Commitment(sequence));
                }
                self.details += 1;
            }
            _ => self.forgotten += 1,
        }
        self.tree.push(merkle::leaf(&entry.commitment.0));
        self.look_back();
        Ok(())
    }

    /// All entries have come.
    pub fn finish(self) -> Result<Verified, Broken> {
        if self.tree.size() != self.checkpoint.size {
            return Err(Broken::Count {
                size: self.checkpoint.size,
                entries: self.tree.size(),
            });
        }
        if self.tree.root() != self.checkpoint.root {
            return Err(Broken::Root);
        }
        if let Some(old) = &self.remembered
            && self.remembered_root != Some(old.root)
        {
            return Err(Broken::Rewritten);
        }
        Ok(Verified {
            checkpoint: self.checkpoint,
            details: self.details,
            forgotten: self.forgotten,
            remembered: self.remembered.map(|old| old.size),
        })
    }

    fn look_back(&mut self) {
        if self.remembered.as_ref().map(|old| old.size) == Some(self.tree.size()) {
            self.remembered_root = Some(self.tree.root());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::Hex;
    use ed25519_dalek::SigningKey;

    fn entry(text: &str) -> LogEntry {
        LogEntry {
            commitment: Hex(commitment(&[5; 32], text.as_bytes())),
            salt: Some(Hex([5; 32])),
            details: Some(text.to_owned()),
        }
    }

    fn note(entries: &[LogEntry]) -> (Verifier, String) {
        let key = SigningKey::from_bytes(&[1; 32]);
        let verifier = Verifier {
            origin: "test".into(),
            key: key.verifying_key(),
        };
        let mut tree = Tree::default();
        for entry in entries {
            tree.push(merkle::leaf(&entry.commitment.0));
        }
        let checkpoint = Checkpoint {
            origin: "test".into(),
            size: tree.size(),
            root: tree.root(),
        };
        (verifier, checkpoint.sign(&key))
    }

    fn verify(
        entries: &[LogEntry],
        note: &(Verifier, String),
        old: Option<&str>,
    ) -> Result<Verified, Broken> {
        let mut verification = Verification::start(note.0.clone(), &note.1, old)?;
        for entry in entries {
            verification.push(entry)?;
        }
        verification.finish()
    }

    #[test]
    fn path_10_a_whole_log_holds_and_every_change_is_seen() {
        let entries: Vec<_> = (0..9).map(|n| entry(&format!("{{\"n\":{n}}}"))).collect();
        let now = note(&entries);
        let old = note(&entries[..4]).1;
        assert_eq!(
            verify(&entries, &now, Some(&old)).unwrap().remembered,
            Some(4)
        );
        assert_eq!(verify(&entries, &now, None).unwrap().remembered, None);

        let mut bent = entries.clone();
        bent[2].details = Some("{}".into());
        assert_eq!(verify(&bent, &now, None), Err(Broken::Commitment(2)));
        bent[2] = entry("{}");
        assert_eq!(verify(&bent, &now, None), Err(Broken::Root));
        // Signed again by its owner: only the remembered checkpoint tells.
        let signed_again = note(&bent);
        assert!(verify(&bent, &signed_again, None).is_ok());
        assert_eq!(
            verify(&bent, &signed_again, Some(&old)),
            Err(Broken::Rewritten)
        );
        let cut = note(&entries[..3]);
        assert!(matches!(
            verify(&entries[..3], &cut, Some(&old)),
            Err(Broken::Cut { .. })
        ));
        assert!(matches!(
            verify(&entries[..8], &now, None),
            Err(Broken::Count { .. })
        ));
    }

    #[test]
    fn forgotten_details_leave_the_tree_whole() {
        let mut entries = vec![entry("a"), entry("b")];
        let now = note(&entries);
        (entries[0].salt, entries[0].details) = (None, None);
        let verified = verify(&entries, &now, None).unwrap();
        assert_eq!((verified.details, verified.forgotten), (1, 1));
    }
}
