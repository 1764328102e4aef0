//! The directory that the files go to: 0700; private files 0600, from their first byte.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::authority::{Authority, Issued};
use super::{MadeFile, MakeError, Pair, file_error};

pub(super) struct Place {
    out: PathBuf,
    force: bool,
    files: Vec<MadeFile>,
}

impl Place {
    /// Makes the directory and its `people/`, or takes them over.
    pub(super) fn open(out: &Path, force: bool) -> Result<Self, MakeError> {
        for dir in [out.to_owned(), out.join("people")] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)))
                .map_err(|e| file_error(&dir, e))?;
        }
        Ok(Self {
            out: out.to_owned(),
            force,
            files: Vec::new(),
        })
    }

    /// Before anything is written: is a file in the way?
    pub(super) fn refuse_existing(&self, names: &[String]) -> Result<(), MakeError> {
        let mut paths = names.iter().map(|n| self.out.join(n));
        match paths.find(|p| !self.force && p.symlink_metadata().is_ok()) {
            Some(path) => Err(MakeError::Exists(path)),
            None => Ok(()),
        }
    }

    pub(super) fn authority(
        &mut self,
        stem: &str,
        what: &str,
        authority: &Authority,
    ) -> Result<PathBuf, MakeError> {
        Ok(self.pair(stem, what, &authority.issued)?.certificate)
    }

    pub(super) fn pair(
        &mut self,
        stem: &str,
        what: &str,
        issued: &Issued,
    ) -> Result<Pair, MakeError> {
        let certificate = self.public(&format!("{stem}.pem"), what, &issued.certificate)?;
        if let Some(file) = self.files.last_mut() {
            file.not_after = Some(issued.not_after);
        }
        let key = self.private(&format!("{stem}.key"), "its key", &issued.key)?;
        Ok(Pair { certificate, key })
    }

    pub(super) fn public(
        &mut self,
        name: &str,
        what: &str,
        text: &str,
    ) -> Result<PathBuf, MakeError> {
        self.write(name, what, text, 0o644)
    }

    pub(super) fn private(
        &mut self,
        name: &str,
        what: &str,
        text: &str,
    ) -> Result<PathBuf, MakeError> {
        self.write(name, what, text, 0o600)
    }

    /// A private file that is never replaced.
    pub(super) fn keep_or(
        &mut self,
        name: &str,
        what: &str,
        text: impl FnOnce() -> Result<Zeroizing<String>, MakeError>,
    ) -> Result<PathBuf, MakeError> {
        let path = self.out.join(name);
        if path.symlink_metadata().is_err() {
            return self.private(name, what, &text()?);
        }
        self.files.push(MadeFile {
            path: path.clone(),
            what: what.to_owned(),
            private: true,
            not_after: None,
            kept: true,
        });
        Ok(path)
    }

    pub(super) fn into_files(self) -> Vec<MadeFile> {
        self.files
    }

    /// Writes beside, then renames: a file is there whole or not at all.
    fn write(
        &mut self,
        name: &str,
        what: &str,
        text: &str,
        mode: u32,
    ) -> Result<PathBuf, MakeError> {
        let path = self.out.join(name);
        let beside = self.out.join(format!("{name}.new"));
        let fail = |e| file_error(&path, e);
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)
            .map_err(fail)?;
        // The mode above is narrowed by the umask; this says it exactly.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(fail)?;
        self.files.push(MadeFile {
            path: path.clone(),
            what: what.to_owned(),
            private: mode == 0o600,
            not_after: None,
            kept: false,
        });
        Ok(path)
    }
}
