//! Names: what a run writes while it runs, and what is there when it is whole.
//!
//! What enters: where outputs go. What leaves: paths, and at the end the outputs under their own
//! names. What can never happen: an output is replaced unasked, or has its name before everything
//! that belongs to it is on the disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::journal::{self, Identity, Left};
use super::manifest::Manifest;
use super::place::{Input, Item, Target, beside};
use super::rejects::Rejects;
use super::sink::private;
use super::stop::{Stop, Why};
use super::verify::verify;
use super::{Request, open_rejects};

pub struct Names {
    target: Target,
    /// `None`: there is nothing to go on with, or to put beside, of standard output.
    journal: Option<PathBuf>,
    rejects: Option<PathBuf>,
}

/// What is there before the run.
pub enum Found {
    Nothing,
    Left(Left),
    /// It has been done.
    Finished(Manifest),
}

impl Names {
    pub fn new(target: &Target, rejects: Option<&Path>) -> Self {
        Self {
            journal: target.path().map(|path| beside(path, ".cryptonym-journal")),
            target: target.clone(),
            rejects: rejects.map(Path::to_owned),
        }
    }

    pub fn journal(&self) -> Option<&Path> {
        self.journal.as_deref()
    }

    fn manifest_path(&self) -> Option<PathBuf> {
        self.target
            .path()
            .map(|path| beside(path, ".manifest.json"))
    }

    /// Looks at what is there, and whether it may be replaced or gone on with.
    ///
    /// # Errors
    /// An output that is there already, or a run that was interrupted, and nobody has said what is
    /// to become of it.
    pub fn left(&self, request: &Request, items: &[Item], asked: &str) -> Result<Found, Stop> {
        let refused = |what: String, next: &str| Err(Stop::new(Why::Failed, what, next));
        let Some(out) = self.target.path() else {
            if request.resume || request.cohorts.is_some() {
                let what = "standard output cannot be gone on with, or read again".to_owned();
                return refused(what, "Name an output file: -o OUT.");
            }
            return self.free_rejects(request).map(|()| Found::Nothing);
        };
        let journal = self.journal.as_deref().map_or(Ok(None), journal::read)?;
        let stdin = items
            .iter()
            .any(|item| item.input == super::place::Input::Stdin);
        if request.resume && stdin {
            let what = "standard input cannot be read again".to_owned();
            return refused(what, "Name an input file, or begin again with --force.");
        }
        match journal {
            Some(_) if request.force && !request.resume => {
                self.replaceable().map(|()| Found::Nothing)
            }
            Some(left) if request.resume => Ok(Found::Left(left)),
            Some(_) => {
                let what = format!("a run to {} was interrupted", out.display());
                refused(what, "Go on with it: --resume. Or begin again: --force.")
            }
            None if !out.exists() || is_empty(out) || (request.force && !request.resume) => {
                self.replaceable()?;
                self.free_rejects(request).map(|()| Found::Nothing)
            }
            None if request.resume => {
                let manifest = self.manifest_path().map_or_else(
                    || Err(Stop::new(Why::Failed, "no manifest", "")),
                    |path| Manifest::read(&path),
                );
                match manifest {
                    Ok(manifest) if manifest.asked_sha256 == asked => {
                        self.unchanged()?;
                        Ok(Found::Finished(manifest))
                    }
                    Ok(_) => {
                        let what = format!(
                            "{} is of a run that was asked for another thing",
                            out.display()
                        );
                        refused(what, "Name another output, or begin again with --force.")
                    }
                    _ => {
                        let what = format!("{} is there, and no run left it", out.display());
                        refused(what, "Name another output, or replace it: --force.")
                    }
                }
            }
            None => {
                let what = format!("{} is there already", out.display());
                refused(what, "Name another output, or replace it: --force.")
            }
        }
    }

    /// What a finished run was made of, and has made, is as it was.
    fn unchanged(&self) -> Result<(), Stop> {
        let path = self.manifest_path().unwrap_or_default();
        let (_, lines) = verify(&path, None)?;
        let wrong = lines.iter().find(|line| line.held.is_wrong());
        wrong.map_or(Ok(()), |line| {
            let what = format!("{} is another than when the run ended", line.path.display());
            let next = "Put it back as it was, or begin again with --force.";
            Err(Stop::new(Why::No, what, next))
        })
    }

    /// Outputs, inputs and the rejects are files of their own.
    ///
    /// # Errors
    /// Two of them are one.
    pub fn apart(&self, items: &[Item]) -> Result<(), Stop> {
        let one = |a: &Path, b: &Path, what: &str| {
            let what = format!("{}: {what}", b.display());
            match is_one(a, b) {
                true => Err(Stop::new(Why::Failed, what, "Name another file.")),
                false => Ok(()),
            }
        };
        for item in items {
            let Input::File(input) = &item.input else {
                continue;
            };
            for path in [self.target.path(), self.rejects.as_deref()]
                .into_iter()
                .flatten()
            {
                one(input, path, "an input is not written over")?;
            }
        }
        let (Some(rejects), Some(out)) = (&self.rejects, self.target.path()) else {
            return Ok(());
        };
        let ends = [
            "",
            ".manifest.json",
            ".cryptonym-journal",
            ".cryptonym-part",
            ".cryptonym-lock",
        ];
        for end in ends {
            one(
                &beside(out, end),
                rejects,
                "that is the output's, and not free for the rejects",
            )?;
        }
        let folder = rejects.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let what = format!("there is no folder {}", folder.display());
            return Err(Stop::new(
                Why::Failed,
                what,
                "Make it, or name another for --rejects.",
            ));
        }
        Ok(())
    }

    /// A folder is replaced if a feed has made all that is in it.
    fn replaceable(&self) -> Result<(), Stop> {
        let Target::Folder(out) = &self.target else {
            return Ok(());
        };
        if !out.exists() || is_empty(out) {
            return Ok(());
        }
        let manifest = Manifest::read(&self.manifest_path().unwrap_or_default()).ok();
        let files = manifest.iter().flat_map(|manifest| &manifest.files);
        let beside = out.parent().unwrap_or(Path::new(""));
        let made: Vec<PathBuf> = files.map(|file| beside.join(&file.output.name)).collect();
        match stranger(out, &made) {
            None => Ok(()),
            Some(path) => {
                let what = format!("{} is not from a feed", path.display());
                let next =
                    "A folder is replaced whole: name another output, or take the file away.";
                Err(Stop::new(Why::Failed, what, next))
            }
        }
    }

    fn free_rejects(&self, request: &Request) -> Result<(), Stop> {
        match &self.rejects {
            Some(path) if path.exists() && !request.force => Err(Stop::new(
                Why::Failed,
                format!("{} is there already", path.display()),
                "Name another file for --rejects, or replace it: --force.",
            )),
            _ => Ok(()),
        }
    }

    /// Where an item's output is written.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn part(&self, item: &Item) -> Result<Option<PathBuf>, Stop> {
        let Some(part) = self.target.part() else {
            return Ok(None);
        };
        if matches!(self.target, Target::File(_)) {
            return Ok(Some(part));
        }
        let path = part.join(&item.output);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.map_err(|error| Stop::file(&path, &error))?;
        Ok(Some(path))
    }

    /// An output that a run before has made whole.
    ///
    /// # Errors
    /// It is gone, or of another length.
    pub fn still_there(&self, item: &Item, bytes: u64) -> Result<(), Stop> {
        let Some(part) = self.part(item)? else {
            return Ok(());
        };
        if fs::metadata(&part).is_ok_and(|meta| meta.len() == bytes) {
            return Ok(());
        }
        let what = format!("{} is not what its journal says", part.display());
        let next = "Somebody else has written there. Begin again with --force.";
        Err(Stop::new(Why::Failed, what, next))
    }

    fn thin(&self) -> PathBuf {
        let out = self.target.path().unwrap_or(Path::new(""));
        beside(out, ".cryptonym-small")
    }

    /// Where it is written without small cohorts.
    pub fn thinned(&self, item: &Item) -> PathBuf {
        match self.target {
            Target::Folder(_) => self.thin().join(&item.output),
            _ => self.thin(),
        }
    }

    /// An item's output as the manifest names it, from the manifest's own folder.
    pub fn final_name(&self, item: &Item) -> String {
        let Some(out) = self.target.path() else {
            return "-".to_owned();
        };
        let name = out.file_name().map(PathBuf::from).unwrap_or_default();
        match self.target {
            Target::Folder(_) => name.join(&item.output).display().to_string(),
            _ => name.display().to_string(),
        }
    }

    /// The same of another path.
    pub fn beside_manifest(&self, path: &Path) -> String {
        let folder = self.target.path().and_then(Path::parent);
        let inside = folder.and_then(|folder| path.strip_prefix(folder).ok());
        let absolute = || fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        inside
            .map_or_else(absolute, Path::to_owned)
            .display()
            .to_string()
    }

    /// Opens the rejects.
    ///
    /// # Errors
    /// The disk, or a file that is not what the journal says.
    pub fn rejects(&self, left: Option<&Left>) -> Result<Option<Rejects>, Stop> {
        let path = self.rejects.as_deref();
        path.map(|path| open_rejects(&self.rejects_part(path), left))
            .transpose()
    }

    /// Beside standard output nothing waits for its name.
    fn rejects_part(&self, path: &Path) -> PathBuf {
        match self.target {
            Target::Stdout => path.to_owned(),
            _ => beside(path, ".cryptonym-part"),
        }
    }

    /// Removes what an earlier run has left.
    ///
    /// # Errors
    /// The disk.
    pub fn clear(&self) -> Result<(), Stop> {
        if self.target == Target::Stdout {
            return Ok(());
        }
        let manifest = self
            .manifest_path()
            .map(|path| beside(&path, ".cryptonym-part"));
        let rejects = self.rejects.as_deref().map(|path| self.rejects_part(path));
        let all = self
            .target
            .part()
            .into_iter()
            .chain(manifest)
            .chain(rejects);
        all.chain([self.thin()])
            .try_for_each(|path| remove(&path))?;
        self.journal.as_deref().map_or(Ok(()), remove)
    }

    /// What a run before may have begun without small cohorts is made anew, or not wanted.
    ///
    /// # Errors
    /// The disk.
    pub fn clear_thinned(&self) -> Result<(), Stop> {
        remove(&self.thin())
    }

    /// Puts the manifest where it waits for its name.
    ///
    /// # Errors
    /// The disk.
    pub fn prepare(&self, manifest: &Manifest) -> Result<(), Stop> {
        let Some(path) = self.manifest_path() else {
            return Ok(());
        };
        let part = beside(&path, ".cryptonym-part");
        let failed = |error| Stop::file(&part, &error);
        let mut text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        text.push(b'\n');
        let mut options = private();
        let file = options.write(true).create(true).truncate(true).open(&part);
        let mut file = file.map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        sync_folders(&self.target.part().unwrap_or_default());
        sync_folders(&self.thin());
        Ok(())
    }

    /// The manifest of a run that only has no names yet.
    ///
    /// # Errors
    /// It is not there.
    pub fn manifest(&self) -> Result<Manifest, Stop> {
        let path = self.manifest_path().unwrap_or_default();
        let part = beside(&path, ".cryptonym-part");
        Manifest::read(if part.exists() { &part } else { &path })
    }

    /// Gives everything its name. May be done again, from any point at which it was killed.
    ///
    /// # Errors
    /// The disk.
    pub fn give(&self, target: &Target) -> Result<(), Stop> {
        let (Some(out), Some(part)) = (target.path(), target.part()) else {
            return Ok(());
        };
        let thin = self.thin();
        let made = if thin.exists() { &thin } else { &part };
        if made == &thin {
            // First: what has small cohorts must not be found here, if this is done again.
            remove(&part)?;
        }
        if made.exists() {
            let old = beside(out, ".cryptonym-old");
            if out.is_dir() {
                remove(&old)?;
                rename(out, &old)?;
            }
            rename(made, out)?;
            remove(&old)?;
        }
        remove(&part)?;
        if let Some(path) = &self.rejects {
            rename_if_there(&self.rejects_part(path), path)?;
        }
        if let Some(path) = self.manifest_path() {
            rename_if_there(&beside(&path, ".cryptonym-part"), &path)?;
        }
        sync(out.parent().unwrap_or(Path::new("")));
        self.journal.as_deref().map_or(Ok(()), remove)
    }
}

/// A run that is gone on with must be the same run.
///
/// # Errors
/// What is not.
pub fn same(before: &Identity, now: &Identity) -> Result<(), Stop> {
    let parts = [
        ("the program", before.version == now.version),
        (
            "the configuration",
            before.configuration == now.configuration,
        ),
        ("the policy", before.policy == now.policy),
        (
            "the domain",
            (&before.domain, &before.domain_id) == (&now.domain, &now.domain_id),
        ),
        ("the domain's epoch", before.epoch == now.epoch),
        (
            "the list of files, or how they are read,",
            before.files == now.files,
        ),
        ("--k, --quasi or --small", before.cohorts == now.cohorts),
        ("--checkpoint", before.every == now.every),
        ("--rejects", before.rejects == now.rejects),
    ];
    let Some((what, _)) = parts.iter().find(|(_, same)| !same) else {
        return Ok(());
    };
    let what = format!("{what} is another than when the run was interrupted");
    let next = "Put it back as it was, or begin again with --force.";
    Err(Stop::new(Why::No, what, next))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether both are one file, or would be.
fn is_one(a: &Path, b: &Path) -> bool {
    if let (Ok(a), Ok(b)) = (fs::metadata(a), fs::metadata(b)) {
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    let whole = |path: &Path| std::path::absolute(path).ok();
    whole(a).is_some() && whole(a) == whole(b)
}

/// The first thing below a folder that is none of these files.
fn stranger(folder: &Path, known: &[PathBuf]) -> Option<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Some(folder.to_owned());
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| {
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            match is_folder {
                true => stranger(&path, known),
                false => (!known.contains(&path)).then_some(path),
            }
        })
}

fn rename(from: &Path, to: &Path) -> Result<(), Stop> {
    fs::rename(from, to).map_err(|error| Stop::file(to, &error))
}

fn rename_if_there(from: &Path, to: &Path) -> Result<(), Stop> {
    if from.exists() {
        rename(from, to)
    } else {
        Ok(())
    }
}

/// A file or a tree; nothing if there is none.
fn remove(path: &Path) -> Result<(), Stop> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.map_err(|error| Stop::file(path, &error))
}

/// Names are durable once their folder is. Some file systems do not sync folders; then nothing is
/// lost by asking.
fn sync(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn sync_folders(path: &Path) {
    sync(path.parent().unwrap_or(Path::new("")));
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    sync(path);
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.is_dir())
        .for_each(|path| sync_folders(&path));
}
