//! Why a run ends before its end.
//!
//! What enters: faults of records, of files, of the vault. What leaves: one sentence of what is
//! wrong, one of what to do next, and whose turn it is. What can never happen: a value in either.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{Code, Fault, Side};

/// Whose turn it is; the command's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something in an input cannot be rewritten: what was begun is of no use to anybody.
    Input,
    /// The answer is no: an input has changed meanwhile.
    No,
    /// Policy, domain or options do not fit.
    Configuration,
    /// A file or folder.
    Failed,
    Vault,
}

/// A run has ended.
#[derive(Clone, Debug)]
pub struct Stop {
    pub why: Why,
    pub what: String,
    pub next: String,
}

impl Stop {
    pub fn new(why: Why, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            why,
            what: what.into(),
            next: next.into(),
        }
    }

    pub fn configuration(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Why::Configuration, what, next)
    }

    /// A file that cannot be used.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::NotFound => "Check the path.",
            io::ErrorKind::PermissionDenied => "Check who may read and write there.",
            io::ErrorKind::StorageFull => {
                "Make room, then run again with --resume: what is done stays done."
            }
            _ => "Check the disk, then run again with --resume if the run had begun.",
        };
        Self::new(Why::Failed, format!("{}: {error}", path.display()), next)
    }

    /// A fault of one input. `offset`: in its decoded bytes.
    pub fn fault(input: &str, fault: &Fault) -> Self {
        let vault = fault.side == Side::Vault || fault.code == Code::NotReady;
        let next = match fault.code {
            Code::NotReady => {
                "The vault was started anew, or gave another lease: run again with --resume."
            }
            Code::CodingRatio => "Undo the compression first, and name the plain file.",
            Code::BodyTooLarge => "Split the file.",
            _ if vault => "See what the vault says of itself, then run again with --resume.",
            other => other.next(),
        };
        let why = if vault { Why::Vault } else { Why::Input };
        Self::new(why, format!("{input}: {fault}"), next)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.next)
    }
}
