//! What was made of what: a file beside the output.
//!
//! What enters: a run that is whole. What leaves: JSON. What can never happen: a value of a record
//! in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cohorts::Finding;
use super::counts::Counts;
use super::stop::{Stop, Why};
use crate::limits;

/// `OUT.manifest.json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this file.
    pub manifest: u32,
    /// Version of the program.
    pub cryptonym: String,
    pub policy: Named,
    /// SHA-256 of the configuration's files, as they were read.
    pub configuration_sha256: String,
    /// SHA-256 of what the command asked for: a run is the same if this and the inputs are.
    pub asked_sha256: String,
    /// `None`: the policy makes no pseudonyms.
    pub domain: Option<Domain>,
    pub purpose: String,
    /// How far the vault's log had come; `None`: no pseudonyms, or the vault does not say.
    pub log: Option<Log>,
    /// RFC 3339, UTC.
    pub started: String,
    pub ended: String,
    /// Whether it was interrupted, and gone on with.
    pub resumed: bool,
    pub files: Vec<File>,
    pub rejects: Option<Bytes>,
    pub counts: Counts,
    pub rules: Vec<RuleCount>,
    pub cohorts: Option<Finding>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    /// Of the rules as they were checked.
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Domain {
    pub name: String,
    pub id: String,
    pub epoch: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    /// Entries.
    pub size: u64,
    /// Base64 of the tree's root.
    pub root: String,
    /// The vault's signed checkpoint: `cryptonym log verify` can hold the log to it.
    pub checkpoint: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    pub input: Bytes,
    pub output: Bytes,
    pub records: u64,
    pub rejected: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Inputs: as named in the command. Outputs and rejects: beside the manifest.
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

/// One line of the summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleCount {
    /// The place; `unlisted` for what no rule asked for.
    pub at: String,
    pub action: String,
    pub count: u64,
}

impl Log {
    /// Reads size and root out of a checkpoint (C2SP tlog-checkpoint): origin, size, root.
    pub fn new(checkpoint: String) -> Option<Self> {
        let mut lines = checkpoint.lines().skip(1);
        let size = lines.next()?.parse().ok()?;
        let root = lines.next()?.to_owned();
        Some(Self {
            size,
            root,
            checkpoint,
        })
    }
}

impl Manifest {
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let failed = |error| Stop::file(path, &error);
        let strange = || {
            let what = format!("{} is no manifest of this version", path.display());
            Stop::new(Why::Failed, what, "Name the OUT.manifest.json of a feed.")
        };
        let meta = std::fs::metadata(path).map_err(failed)?;
        if meta.len() > limits::FEED_JOURNAL {
            return Err(strange());
        }
        let text = std::fs::read(path).map_err(failed)?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|_| strange())?;
        Some(manifest)
            .filter(|m| m.manifest == 1)
            .ok_or_else(strange)
    }
}
