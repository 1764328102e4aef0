//! More cohorts than are counted in memory: by their hashes' first bits into files, each of which
//! is counted by itself.
//!
//! What enters: a hash a record. What leaves: sizes of cohorts, and the records of small ones in
//! order. What can never happen: anything but hashes and numbers of records in a file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::Hash;
use crate::feed::sink::private;
use crate::feed::stop::{Stop, Why};
use crate::limits;

/// A hash and the number of its record, counted over all files.
const ENTRY: usize = 24;

/// Files of one split.
pub struct Parts {
    folder: PathBuf,
    name: String,
    depth: usize,
    files: Vec<BufWriter<File>>,
}

impl Parts {
    /// # Errors
    /// The disk.
    pub fn create(folder: &Path) -> Result<Self, Stop> {
        let failed = |error| Stop::file(folder, &error);
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).map_err(failed)?;
        Self::split(folder, String::from("p"), 0)
    }

    fn split(folder: &Path, name: String, depth: usize) -> Result<Self, Stop> {
        let mut files = Vec::with_capacity(limits::FEED_PARTS);
        for at in 0..limits::FEED_PARTS {
            let path = folder.join(format!("{name}-{at:02x}"));
            let file = private()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path);
            let file = file.map_err(|error| Stop::file(&path, &error))?;
            files.push(BufWriter::with_capacity(4096, file));
        }
        Ok(Self {
            folder: folder.to_owned(),
            name,
            depth,
            files,
        })
    }

    /// # Errors
    /// The disk.
    pub fn add(&mut self, hash: &Hash, record: u64) -> Result<(), Stop> {
        let part = usize::from(hash[self.depth]) % limits::FEED_PARTS;
        let mut entry = [0; ENTRY];
        entry[..16].copy_from_slice(hash);
        entry[16..].copy_from_slice(&record.to_le_bytes());
        let written = self.files[part].write_all(&entry);
        written.map_err(|error| Stop::file(&self.folder, &error))
    }

    /// Counts every part; tells `each` the cohorts. Gives the records of those below `k`.
    ///
    /// # Errors
    /// The disk.
    pub fn count(self, k: u64, mut each: impl FnMut(&Hash, u64)) -> Result<Merge, Stop> {
        let folder = self.folder.clone();
        let mut small = Vec::new();
        self.count_all(k, &mut each, &mut small)?;
        Merge::new(&folder, small)
    }

    fn count_all(
        self,
        k: u64,
        each: &mut dyn FnMut(&Hash, u64),
        small: &mut Vec<PathBuf>,
    ) -> Result<(), Stop> {
        let Self {
            folder,
            name,
            depth,
            files,
        } = self;
        for file in files {
            let flushed = file.into_inner().map_err(io::IntoInnerError::into_error);
            flushed.map_err(|error| Stop::file(&folder, &error))?;
        }
        for at in 0..limits::FEED_PARTS {
            let part = format!("{name}-{at:02x}");
            let path = folder.join(&part);
            let failed = |error| Stop::file(&path, &error);
            let mut sizes: HashMap<Hash, u64> = HashMap::new();
            let mut full = false;
            entries(&path, |hash, _| {
                *sizes.entry(hash).or_default() += 1;
                full = sizes.len() > limits::FEED_COHORTS;
                Ok(!full)
            })?;
            if full {
                sizes = HashMap::new();
                if depth + 1 == limits::FEED_SPLITS as usize {
                    let what = "more cohorts than can be counted".to_owned();
                    return Err(Stop::new(Why::Failed, what, "Split the input."));
                }
                let mut finer = Self::split(&folder, part, depth + 1)?;
                entries(&path, |hash, record| {
                    finer.add(&hash, record).map(|()| true)
                })?;
                fs::remove_file(&path).map_err(failed)?;
                finer.count_all(k, each, small)?;
            }
            sizes.iter().for_each(|(hash, size)| each(hash, *size));
            if sizes.values().any(|size| *size < k) {
                let list = folder.join(format!("{name}-{at:02x}.small"));
                let file = private()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&list);
                let mut out = BufWriter::new(file.map_err(failed)?);
                entries(&path, |hash, record| {
                    if sizes.get(&hash).is_some_and(|size| *size < k) {
                        let written = out.write_all(&record.to_le_bytes());
                        written.map_err(|error| Stop::file(&list, &error))?;
                    }
                    Ok(true)
                })?;
                out.flush().map_err(failed)?;
                small.push(list);
            }
            let _ = fs::remove_file(&path);
        }
        Ok(())
    }
}

/// Every entry of a file, until `each` says no.
fn entries(path: &Path, mut each: impl FnMut(Hash, u64) -> Result<bool, Stop>) -> Result<(), Stop> {
    let failed = |error| Stop::file(path, &error);
    let mut file = BufReader::with_capacity(ENTRY * 1024, File::open(path).map_err(failed)?);
    let mut entry = [0; ENTRY];
    loop {
        match file.read_exact(&mut entry) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(failed(error)),
            Ok(()) => {}
        }
        let (mut hash, mut record) = ([0; 16], [0; 8]);
        hash.copy_from_slice(&entry[..16]);
        record.copy_from_slice(&entry[16..]);
        if !each(hash, u64::from_le_bytes(record))? {
            return Ok(());
        }
    }
}

/// Numbers of records, ascending, out of many lists that ascend.
pub struct Merge {
    lists: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    folder: PathBuf,
}

impl Merge {
    fn new(folder: &Path, paths: Vec<PathBuf>) -> Result<Self, Stop> {
        let mut merge = Self {
            lists: Vec::new(),
            heads: BinaryHeap::new(),
            folder: folder.to_owned(),
        };
        for (at, path) in paths.iter().enumerate() {
            let file = File::open(path).map_err(|error| Stop::file(path, &error))?;
            merge.lists.push(BufReader::with_capacity(4096, file));
            merge.advance(at)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, at: usize) -> Result<(), Stop> {
        let mut record = [0; 8];
        match self.lists[at].read_exact(&mut record) {
            Ok(()) => self.heads.push(Reverse((u64::from_le_bytes(record), at))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(Stop::file(&self.folder, &error)),
        }
        Ok(())
    }

    /// Whether `record` is among them; asked in ascending order.
    pub fn next_is(&mut self, record: u64) -> Result<bool, Stop> {
        match self.heads.peek() {
            Some(Reverse((least, at))) if *least == record => {
                let at = *at;
                self.heads.pop();
                self.advance(at)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More cohorts than memory holds, one of them in 17, the others alone.
    #[test]
    fn formats_11_cohorts_in_files_are_counted_as_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Parts::create(&folder.path().join("c")).unwrap();
        let hash = |n: u64| {
            let mut hash = [0; 16];
            let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            hash[..8].copy_from_slice(&mixed.to_le_bytes());
            hash[8..].copy_from_slice(&n.to_le_bytes());
            hash
        };
        let records = 300_000u64;
        let of = |record: u64| if record % 1000 == 7 { 7 } else { record };
        for record in 0..records {
            parts.add(&hash(of(record)), record).unwrap();
        }
        let (mut cohorts, mut large) = (0, 0);
        let mut merge = parts
            .count(5, |_, size| {
                cohorts += 1;
                large += u64::from(size >= 5);
            })
            .unwrap();
        assert_eq!((cohorts, large), (records - records / 1000 + 1, 1));
        for record in 0..records {
            assert_eq!(merge.next_is(record).unwrap(), of(record) != 7, "{record}");
        }
        let left = fs::read_dir(folder.path().join("c")).unwrap();
        let left: Vec<_> = left.map(|f| f.unwrap().file_name()).collect();
        assert!(left.iter().all(|f| f.to_string_lossy().ends_with(".small")));
    }
}
