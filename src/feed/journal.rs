//! What a run has done for good, so that another can go on from there.
//!
//! What enters: checkpoints, each after what it counts is on the disk. What leaves: the last one of
//! a run that was killed. What can never happen: a line that was torn is believed, or a value of a
//! record stands in one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::sink::private;
use super::stop::{Stop, Why};
use crate::limits;

/// What a run is. One with another of these makes other bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub version: String,
    pub configuration: String,
    pub policy: String,
    pub domain: String,
    pub domain_id: String,
    pub epoch: u32,
    /// Name, format, codings and place of each input.
    pub files: Vec<String>,
    /// What was asked of small cohorts.
    pub cohorts: String,
    /// Bytes of input between checkpoints.
    pub every: u64,
    pub rejects: bool,
}

/// A moment between two records of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub file: usize,
    /// Decoded bytes of input that had been taken, a multiple of [`limits::FEED_CHUNK`].
    pub taken: u64,
    /// Of them, those before the record that was not whole.
    pub boundary: u64,
    /// Bytes of the file as it lies there, and their digest.
    pub read: u64,
    pub read_sha256: String,
    pub written: u64,
    pub written_sha256: String,
    /// Bytes of the rejects file, and their digest.
    pub rejects: u64,
    pub rejects_sha256: String,
    /// Where in the input the row stands that says how rows are written, and its length.
    pub first: (u64, u64),
    pub counts: Counts,
}

/// A file that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub file: usize,
    pub read: u64,
    pub read_sha256: String,
    pub written: u64,
    pub written_sha256: String,
    pub rejects: u64,
    pub rejects_sha256: String,
    pub counts: Counts,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Line {
    Run {
        started: String,
        identity: Identity,
    },
    Checkpoint(Checkpoint),
    Done(Done),
    /// Everything is there and synced, the manifest too: only names are missing.
    Finished,
}

/// What a killed run has left.
#[derive(Debug)]
pub struct Left {
    pub started: String,
    pub identity: Identity,
    /// One each of the first files, in order.
    pub done: Vec<Done>,
    /// Of the file behind them.
    pub checkpoint: Option<Checkpoint>,
    pub finished: bool,
    /// Bytes of whole lines.
    length: u64,
}

pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// # Errors
    /// The disk.
    pub fn create(path: &Path, started: &str, identity: &Identity) -> Result<Self, Stop> {
        let mut options = private();
        let file = options.write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|error| Stop::file(path, &error))?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
        };
        let (started, identity) = (started.to_owned(), identity.clone());
        journal.add(&Line::Run { started, identity })?;
        Ok(journal)
    }

    /// The journal of the run that was killed, to be gone on with.
    ///
    /// # Errors
    /// The disk.
    pub fn open(path: &Path, left: &Left) -> Result<Self, Stop> {
        let failed = |error| Stop::file(path, &error);
        let file = private().append(true).open(path).map_err(failed)?;
        file.set_len(left.length).map_err(failed)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// # Errors
    /// The disk.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Stop> {
        self.add(&Line::Checkpoint(checkpoint))
    }

    /// # Errors
    /// The disk.
    pub fn done(&mut self, done: Done) -> Result<(), Stop> {
        self.add(&Line::Done(done))
    }

    /// # Errors
    /// The disk.
    pub fn finished(&mut self) -> Result<(), Stop> {
        self.add(&Line::Finished)
    }

    fn add(&mut self, line: &Line) -> Result<(), Stop> {
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        let written = self.file.write_all(&text);
        let synced = written.and_then(|()| self.file.sync_data());
        synced.map_err(|error| Stop::file(&self.path, &error))
    }
}

/// Reads a journal; `None`: there is none, or it had not begun.
///
/// # Errors
/// The disk, or lines that no run of this program has written.
pub fn read(path: &Path) -> Result<Option<Left>, Stop> {
    let failed = |error| Stop::file(path, &error);
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > limits::FEED_JOURNAL => return Err(strange(path)),
        Ok(_) => {}
    }
    let text = fs::read(path).map_err(failed)?;
    parse(&text).map_err(|()| strange(path))
}

fn strange(path: &Path) -> Stop {
    let what = format!("{} is no journal of this version", path.display());
    Stop::new(Why::Failed, what, "Begin again with --force.")
}

fn parse(text: &[u8]) -> Result<Option<Left>, ()> {
    let mut left: Option<Left> = None;
    let mut length = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let parsed = serde_json::from_slice::<Line>(line).ok();
        // A kill tears the last line only.
        let Some(parsed) = parsed.filter(|_| line.ends_with(b"\n")) else {
            let torn = length + line.len() as u64 == text.len() as u64;
            return if torn { Ok(left) } else { Err(()) };
        };
        length += line.len() as u64;
        match (parsed, &mut left) {
            (Line::Run { started, identity }, None) => {
                left = Some(Left {
                    started,
                    identity,
                    done: Vec::new(),
                    checkpoint: None,
                    finished: false,
                    length,
                });
            }
            (Line::Checkpoint(checkpoint), Some(left)) if checkpoint.file == left.done.len() => {
                left.checkpoint = Some(checkpoint);
            }
            (Line::Done(done), Some(left)) if done.file == left.done.len() => {
                left.done.push(done);
                left.checkpoint = None;
            }
            (Line::Finished, Some(left)) => left.finished = true,
            _ => return Err(()),
        }
        if let Some(left) = &mut left {
            left.length = length;
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_10_a_journal_torn_anywhere_says_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let identity = Identity {
            version: "1".into(),
            configuration: "c".into(),
            policy: "p".into(),
            domain: "d".into(),
            domain_id: "i".into(),
            epoch: 1,
            files: vec!["a".into()],
            cohorts: String::new(),
            every: 64,
            rejects: false,
        };
        let mut journal = Journal::create(&path, "now", &identity).unwrap();
        let mut ends = vec![fs::metadata(&path).unwrap().len()];
        for taken in 1..4u64 {
            let checkpoint = Checkpoint {
                taken,
                ..Checkpoint::default()
            };
            journal.checkpoint(checkpoint).unwrap();
            ends.push(fs::metadata(&path).unwrap().len());
        }
        let text = fs::read(&path).unwrap();
        for cut in 0..=text.len() {
            let left = parse(&text[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut as u64).count();
            match left {
                None => assert_eq!(whole, 0),
                Some(left) => {
                    assert_eq!(left.identity, identity);
                    let taken = left.checkpoint.map_or(0, |c| c.taken);
                    assert_eq!(taken as usize + 1, whole, "cut at {cut}");
                }
            }
        }
        let mut bent = text.clone();
        bent[10] = b'#';
        assert!(parse(&bent).is_err());
    }
}
