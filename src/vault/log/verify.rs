//! Checks a log, offline: the tree from its leaves, the commitments, the checkpoint's signature,
//! and that it continues what the verifier remembers.
//!
//! What can never happen: a "holds" for a log that was rewritten before a checkpoint that the
//! verifier remembers or that a witness has cosigned. Without one, a log cut at its end by its
//! owner looks whole: said plainly by an empty [`Verified::continues`].

use super::event::{NotCommitted, details};
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
    /// Sizes of the known checkpoints that this log continues, as they were given; none:
    /// truncation is not excluded.
    pub continues: Vec<u64>,
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
        "the log is shorter ({size}) than a checkpoint known from before ({known}): it was cut, or \
         put back to an older state"
    )]
    Cut { size: u64, known: u64 },
    #[error(
        "the log does not continue the checkpoint of {0} entries known from before: it was \
         rewritten, or this is another history"
    )]
    Rewritten(u64),
}

/// Takes the entries in order, so that a log of any length is checked in constant memory.
pub struct Verification {
    verifier: Verifier,
    checkpoint: Checkpoint,
    /// Each with the root that was found at its size.
    known: Vec<(Checkpoint, Option<Hash>)>,
    tree: Tree,
    details: u64,
    forgotten: u64,
}

impl Verification {
    /// `known`: checkpoint notes from an earlier time, remembered or witnessed.
    ///
    /// # Errors
    /// A signature that does not hold, or a log shorter than a known checkpoint.
    pub fn start(verifier: Verifier, note: &str, known: &[&str]) -> Result<Self, Broken> {
        let checkpoint = verifier.open(note)?;
        let mut opened = Vec::new();
        for note in known {
            let old = verifier.open(note)?;
            if old.size > checkpoint.size {
                return Err(Broken::Cut {
                    size: checkpoint.size,
                    known: old.size,
                });
            }
            opened.push((old, None));
        }
        let mut this = Self {
            verifier,
            checkpoint,
            known: opened,
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
        match details(entry) {
            Ok(Some(_)) => self.details += 1,
            Ok(None) => self.forgotten += 1,
            Err(NotCommitted) => return Err(Broken::Commitment(sequence)),
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
        for (old, found) in &self.known {
            if *found != Some(old.root) {
                return Err(Broken::Rewritten(old.size));
            }
        }
        Ok(Verified {
            checkpoint: self.checkpoint,
            details: self.details,
            forgotten: self.forgotten,
            continues: self.known.iter().map(|(old, _)| old.size).collect(),
        })
    }

    fn look_back(&mut self) {
        for (old, found) in &mut self.known {
            if old.size == self.tree.size() {
                *found = Some(self.tree.root());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::log::event::commitment;
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
        let mut verification = Verification::start(note.0.clone(), &note.1, old.as_slice())?;
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
        assert_eq!(verify(&entries, &now, Some(&old)).unwrap().continues, [4]);
        assert!(verify(&entries, &now, None).unwrap().continues.is_empty());

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
            Err(Broken::Rewritten(4))
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
