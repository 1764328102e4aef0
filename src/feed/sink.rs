//! One output: encoded, hashed, written.
//!
//! What enters: rewritten bytes, in order. What leaves: the file's bytes. What can never happen: a
//! checkpoint counts bytes that the disk does not have, or a compressed member goes over a
//! checkpoint: what a resumed run writes behind one does not depend on what was before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::digest::Running;
use super::stop::{Stop, Why};
use crate::coding::{Coding, Encoder};
use crate::limits;

pub struct Sink {
    path: PathBuf,
    to: To,
    coding: Option<Coding>,
    encoder: Option<Encoder>,
    /// Something is in the member that is open.
    begun: bool,
    coded: Vec<u8>,
    digest: Running,
    bytes: u64,
}

enum To {
    File(File),
    Stdout(io::Stdout),
}

impl Sink {
    pub fn stdout(coding: Option<Coding>) -> Self {
        let path = PathBuf::from("standard output");
        Self::new(path, To::Stdout(io::stdout()), coding)
    }

    /// A new, empty file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, coding: Option<Coding>) -> Result<Self, Stop> {
        let mut options = private();
        let file = options.write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|error| Stop::file(path, &error))?;
        Ok(Self::new(path.to_owned(), To::File(file), coding))
    }

    /// A file that a run before has left: what stands behind `bytes` goes.
    ///
    /// # Errors
    /// It is not what the journal says.
    pub fn reopen(
        path: &Path,
        coding: Option<Coding>,
        bytes: u64,
        digest: &str,
    ) -> Result<Self, Stop> {
        let failed = |error| Stop::file(path, &error);
        let file = private().read(true).write(true).open(path);
        let mut file = file.map_err(failed)?;
        let mut running = Running::default();
        let mut left = (&mut file).take(bytes);
        let mut block = vec![0; limits::FEED_BLOCK];
        let mut seen = 0u64;
        loop {
            match left.read(&mut block).map_err(failed)? {
                0 => break,
                read => {
                    running.add(&block[..read]);
                    seen += read as u64;
                }
            }
        }
        if seen != bytes || running.hex() != digest {
            let what = format!("{} is not what its journal says", path.display());
            let next = "Somebody else has written there. Begin again with --force.";
            return Err(Stop::new(Why::Failed, what, next));
        }
        file.set_len(bytes).map_err(failed)?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        let mut sink = Self::new(path.to_owned(), To::File(file), coding);
        (sink.bytes, sink.digest) = (bytes, running);
        Ok(sink)
    }

    fn new(path: PathBuf, to: To, coding: Option<Coding>) -> Self {
        Self {
            path,
            to,
            coding,
            encoder: None,
            begun: false,
            coded: Vec::new(),
            digest: Running::default(),
            bytes: 0,
        }
    }

    /// # Errors
    /// The disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(coding) = self.coding else {
            return self.put(bytes);
        };
        let mut coded = std::mem::take(&mut self.coded);
        coded.clear();
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::new(&[coding]).map_err(|fault| self.broken(&fault))?,
        };
        let pushed = encoder.push(bytes, &mut coded);
        pushed.map_err(|fault| self.broken(&fault))?;
        self.encoder = Some(encoder);
        self.begun = true;
        let put = self.put(&coded);
        self.coded = coded;
        put
    }

    /// Ends the member that is open, and waits for the disk.
    ///
    /// # Errors
    /// The disk.
    pub fn checkpoint(&mut self) -> Result<(), Stop> {
        self.end_member()?;
        match &mut self.to {
            To::File(file) => file.sync_data(),
            To::Stdout(out) => out.flush(),
        }
        .map_err(|error| Stop::file(&self.path, &error))
    }

    /// The same, at the end. An output of nothing is compressed too.
    ///
    /// # Errors
    /// The disk.
    pub fn finish(&mut self) -> Result<(), Stop> {
        if self.bytes == 0 && !self.begun && self.coding.is_some() {
            self.begun = true;
            let encoder = Encoder::new(self.coding.as_slice());
            self.encoder = Some(encoder.map_err(|fault| self.broken(&fault))?);
        }
        self.checkpoint()
    }

    fn end_member(&mut self) -> Result<(), Stop> {
        if !std::mem::take(&mut self.begun) {
            return Ok(());
        }
        let mut coded = Vec::new();
        if let Some(mut encoder) = self.encoder.take() {
            let ended = encoder.finish(&mut coded);
            ended.map_err(|fault| self.broken(&fault))?;
        }
        self.put(&coded)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let written = match &mut self.to {
            To::File(file) => file.write_all(bytes),
            To::Stdout(out) => out.write_all(bytes),
        };
        written.map_err(|error| Stop::file(&self.path, &error))?;
        self.digest.add(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn digest(&self) -> String {
        self.digest.hex()
    }

    fn broken(&self, fault: &crate::error::Fault) -> Stop {
        Stop::new(
            Why::Failed,
            format!("{}: {fault}", self.path.display()),
            fault.code.next(),
        )
    }
}

/// Until it is whole, a file is nobody else's, and is where it says: a link is not followed.
pub fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits();
    options.mode(0o600).custom_flags(no_link.cast_signed());
    options
}
