//! What a verifier or a witness keeps of a log between two looks: the log's key and a checkpoint.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::Exit;

/// Key, an empty line, checkpoint note.
pub struct Remembered {
    pub key: String,
    pub checkpoint: String,
}

impl Remembered {
    /// What is in the file; nothing, if there is none.
    pub fn read(file: &Path) -> Result<Option<Self>, Exit> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(file, &error)),
        };
        match text.split_once("\n\n") {
            Some((key, checkpoint)) => Ok(Some(Self {
                key: key.to_owned(),
                checkpoint: checkpoint.to_owned(),
            })),
            None => Err(failed(file, &"this is no remembered checkpoint")),
        }
    }

    pub fn write(&self, file: &Path) -> Result<(), Exit> {
        write(file, &format!("{}\n\n{}", self.key, self.checkpoint))
    }

    /// The key to verify with: the one that was told or remembered, before the source's own word.
    pub fn trusted_key(
        told: Option<&str>,
        remembered: Option<&Self>,
        own_word: &str,
    ) -> Result<TrustedKey, Exit> {
        let told = told.map(str::trim);
        match told.or(remembered.map(|r| r.key.as_str())) {
            Some(known) if known != own_word => {
                println!(
                    "key         DOES NOT HOLD: the log is signed with another key than before"
                );
                Err(Exit::No)
            }
            Some(known) => Ok(TrustedKey {
                key: known.to_owned(),
                known_before: true,
            }),
            None => Ok(TrustedKey {
                key: own_word.to_owned(),
                known_before: false,
            }),
        }
    }
}

/// A log's public key, and whether it was known before the log itself said it.
pub struct TrustedKey {
    pub key: String,
    pub known_before: bool,
}

/// Whole or not at all, and on the disk on return: a half-written file would forget what was known.
pub fn write(file: &Path, text: &str) -> Result<(), Exit> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || {
        let mut to = File::create(&part)?;
        to.write_all(text.as_bytes())?;
        to.sync_all()?;
        std::fs::rename(&part, file)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| failed(file, &error))
}

pub fn failed(file: &Path, error: &dyn std::fmt::Display) -> Exit {
    eprintln!("error: {}: {error}", file.display());
    Exit::Failed
}
