//! Where spools lie: folders, locks, and what is kept aside.
//!
//! ```text
//! spool_dir/                        0700, the gateway's own
//!   DOMAIN/
//!     BOOT/                         of one process, which holds the lock
//!       lock
//!       0000000000000001.seg        frames, one after the other
//!     aside/                        never removed by us
//!       BOOT-0000000000000007.frame   the vault has refused it
//!       BOOT-0000000000000002.damaged a file with something in it that is no frame of ours
//! ```
//!
//! What enters: paths. What leaves: open files of mode 0600 in folders of mode 0700. What can
//! never happen: two processes hold one folder; a name counts as kept before its folder is synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::wire::text::Hex;

const LOCK: &str = "lock";
const ASIDE: &str = "aside";
const SEGMENT: &str = "seg";
pub const FRAME: &str = "frame";
pub const DAMAGED: &str = "damaged";

/// Makes `spool_dir`, if it is not there.
///
/// # Errors
/// It cannot be made, or others than this user can look into it.
pub fn prepare(folder: &Path) -> Result<(), String> {
    let wrong = |e: io::Error| format!("gateway.spool_dir: {}: {e}", folder.display());
    make(folder).map_err(wrong)?;
    let meta = fs::metadata(folder).map_err(wrong)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        let shown = folder.display();
        return Err(format!(
            "gateway.spool_dir: {shown} is no folder of the user that the gateway runs as"
        ));
    }
    if meta.mode() & 0o077 != 0 {
        let shown = folder.display();
        return Err(format!(
            "gateway.spool_dir: others can look into {shown}: chmod 700"
        ));
    }
    Ok(())
}

/// Makes a folder of mode 0700; one that is there stays as it is.
fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => {
            result?;
            folder.parent().map_or(Ok(()), sync)
        }
    }
}

/// Makes the names in a folder durable.
pub fn sync(folder: &Path) -> io::Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    File::open(folder)?.sync_all()
}

/// The folder of one process, held by its lock.
#[derive(Debug)]
pub struct Held {
    pub path: PathBuf,
    /// Open as long as it is held.
    _lock: File,
}

/// Makes and locks this process's own folder: under another name first, so that nobody who looks
/// for abandoned ones sees it without its lock.
pub fn own(domain: &Path, boot: [u8; 16]) -> io::Result<Held> {
    make(domain)?;
    let path = domain.join(Hex(boot).to_string());
    let new = domain.join(format!(".{}", Hex(boot)));
    make(&new)?;
    let lock = lock(&new, true)?.ok_or(io::ErrorKind::ResourceBusy)?;
    fs::rename(&new, &path)?;
    sync(domain)?;
    Ok(Held { path, _lock: lock })
}

fn lock(folder: &Path, create: bool) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).mode(0o600);
    let file = options.open(folder.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Folders of processes that are gone, the oldest first; from now on they are held by this one.
pub fn abandoned(domain: &Path) -> io::Result<Vec<Held>> {
    let mut found = Vec::new();
    for entry in entries(domain)? {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // One that was being made has a point before its name, and nothing in it.
        if Hex::<16>::parse(name.trim_start_matches('.')).is_none() || !path.is_dir() {
            continue;
        }
        match lock(&path, true) {
            Ok(Some(lock)) if !path.is_dir() => drop(lock),
            Ok(Some(lock)) => {
                let changed = fs::metadata(path.join(LOCK)).and_then(|m| m.modified());
                found.push((changed.ok(), Held { path, _lock: lock }));
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Locks are written once, when the folder is made.
    found.sort_by_key(|(changed, _)| *changed);
    Ok(found.into_iter().map(|(_, held)| held).collect())
}

impl Held {
    /// Numbers and lengths of the segments, in order.
    pub fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        for entry in entries(&self.path)? {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            if let Some(number) = number.and_then(|n| u64::from_str_radix(n, 16).ok()) {
                found.push((number, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{SEGMENT}"))
    }

    /// A new segment, to be appended to; its name is durable on return.
    pub fn new_segment(&self, number: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let file = options.open(self.segment(number))?;
        sync(&self.path)?;
        Ok(file)
    }

    /// All that was in it is acknowledged, or kept aside.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path.join(LOCK))?;
        match fs::remove_dir(&self.path) {
            // What somebody has laid into it is not ours to remove, and holds nothing up.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    /// Keeps a whole segment aside.
    pub fn keep_segment(&self, number: u64) -> io::Result<PathBuf> {
        let to = self.aside(number, DAMAGED)?;
        fs::rename(self.segment(number), &to)?;
        sync(&self.path)?;
        sync(to.parent().unwrap_or(&self.path))?;
        Ok(to)
    }

    /// Keeps one frame aside; durable on return.
    pub fn keep_frame(&self, number: u64, bytes: &[u8]) -> io::Result<PathBuf> {
        let to = self.aside(number, FRAME)?;
        let new = to.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &to)?;
        sync(to.parent().unwrap_or(&self.path))?;
        Ok(to)
    }

    fn aside(&self, number: u64, kind: &str) -> io::Result<PathBuf> {
        let domain = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        let folder = domain.join(ASIDE);
        make(&folder)?;
        let boot = self.path.file_name().unwrap_or_default().to_string_lossy();
        Ok(folder.join(format!("{boot}-{number:016x}.{kind}")))
    }
}

/// What is kept aside of a domain, in the order of its names.
pub fn aside(domain: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(&domain.join(ASIDE))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| {
            let end = path.extension().and_then(|end| end.to_str());
            matches!(end, Some(FRAME | DAMAGED))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Names of the domains that have left something here.
pub fn domains(folder: &Path) -> io::Result<Vec<String>> {
    let all = entries(folder)?;
    let names = all.into_iter().filter(|e| e.path().is_dir());
    let names = names.filter_map(|e| e.file_name().into_string().ok());
    let filled = |name: &String| entries(&folder.join(name)).is_ok_and(|e| !e.is_empty());
    Ok(names.filter(filled).collect())
}

/// Nothing where there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn formats_09_a_folder_has_one_holder_and_is_found_when_that_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let domain = root.path().join("improvement");
        let held = own(&domain, [7; 16]).unwrap();
        held.new_segment(1).unwrap();
        assert!(abandoned(&domain).unwrap().is_empty());
        drop(held);
        let mut found = abandoned(&domain).unwrap();
        assert_eq!(found.len(), 1);
        assert!(abandoned(&domain).unwrap().is_empty(), "held by the first");
        let held = found.remove(0);
        assert_eq!(held.segments().unwrap(), [(1, 0)]);
        held.keep_segment(1).unwrap();
        held.keep_frame(9, b"frame").unwrap();
        assert_eq!(aside(&domain).unwrap().len(), 2);
        held.remove().unwrap();
        assert_eq!(domains(root.path()).unwrap(), ["improvement"]);
    }

    #[test]
    fn formats_09_files_are_the_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let spool = root.path().join("spool");
        prepare(&spool).unwrap();
        let held = own(&spool.join("a"), [1; 16]).unwrap();
        held.new_segment(1).unwrap();
        held.keep_frame(1, b"x").unwrap();
        let mut folders = vec![spool.clone()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        files += 1;
                        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
                    }
                }
            }
        }
        assert_eq!(files, 3);
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(prepare(&spool).unwrap_err().contains("chmod 700"));
    }
}
