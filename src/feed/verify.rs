//! Whether files are what a manifest says.
//!
//! What enters: a manifest, and where inputs lie. What leaves: one line a file. What can never
//! happen: a file that was not looked at passes for one that holds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::digest::Running;
use super::manifest::{Bytes, Manifest};
use super::stop::Stop;
use crate::limits;

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Yes,
    /// Another length: cut, or more was appended.
    Length(u64),
    Changed,
    /// Not there, or not readable.
    Gone(String),
    /// An input that is not here; nobody said that it should be.
    NotChecked,
}

impl Held {
    pub fn is_wrong(&self) -> bool {
        !matches!(self, Self::Yes | Self::NotChecked)
    }
}

/// One file.
#[derive(Clone, Debug)]
pub struct Line {
    pub what: &'static str,
    pub path: PathBuf,
    pub bytes: u64,
    pub held: Held,
}

/// Looks at every file of a manifest. `inputs`: a folder where the inputs lie; else they are looked
/// for where the run found them, and may be gone.
///
/// # Errors
/// The manifest itself cannot be read.
pub fn verify(path: &Path, inputs: Option<&Path>) -> Result<(Manifest, Vec<Line>), Stop> {
    let manifest = Manifest::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    for file in &manifest.files {
        let named = Path::new(&file.input.name);
        let input = match (inputs, named.file_name()) {
            (Some(folder), Some(name)) => {
                let whole = folder.join(named);
                if whole.is_file() {
                    whole
                } else {
                    folder.join(name)
                }
            }
            _ => named.to_owned(),
        };
        let held = match look(&input, &file.input) {
            Held::Gone(_) if inputs.is_none() => Held::NotChecked,
            held => held,
        };
        lines.push(line("input", input, &file.input, held));
        let output = folder.join(&file.output.name);
        let held = look(&output, &file.output);
        lines.push(line("output", output, &file.output, held));
    }
    if let Some(rejects) = &manifest.rejects {
        let path = folder.join(&rejects.name);
        let held = look(&path, rejects);
        lines.push(line("rejects", path, rejects, held));
    }
    Ok((manifest, lines))
}

fn line(what: &'static str, path: PathBuf, of: &Bytes, held: Held) -> Line {
    Line {
        what,
        path,
        bytes: of.bytes,
        held,
    }
}

fn look(path: &Path, wanted: &Bytes) -> Held {
    let gone = |error: std::io::Error| Held::Gone(error.to_string());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return gone(error),
    };
    let length = match file.metadata() {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => return Held::Gone("not a file".to_owned()),
        Err(error) => return gone(error),
    };
    if length != wanted.bytes {
        return Held::Length(length);
    }
    let mut digest = Running::default();
    let mut block = vec![0; limits::FEED_BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => digest.add(&block[..read]),
            Err(error) => return gone(error),
        }
    }
    match digest.hex() == wanted.sha256 {
        true => Held::Yes,
        false => Held::Changed,
    }
}
