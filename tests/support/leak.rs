//! Looks for identifiers where none may be: in files of any size and kind, all needles at once.
//!
//! Each needle is looked for as it was sent; for a sample also as hexadecimal and as base64,
//! which is how a careless `Debug` or a dump would show it. A hit counts only between bytes that
//! are no letters or digits, so that ten digits inside a longer number are not a NHS number.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a needle that decide whether it is looked at closer.
const HEAD: usize = 6;

/// A set of needles.
pub struct LeakSearch {
    needles: Vec<Vec<u8>>,
    /// First [`HEAD`] bytes → needles that start so.
    heads: HashMap<[u8; HEAD], Vec<u32>>,
    /// One bit for a hash of the head: answers 'no' for nearly every position of a file.
    filter: Vec<u64>,
    longest: usize,
}

/// Where something was found. Prints the place and what was found: test data, nobody's secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Leak {
    pub file: PathBuf,
    pub offset: u64,
    pub needle: String,
}

impl LeakSearch {
    /// Needles shorter than [`HEAD`] bytes are refused: they are found everywhere by chance.
    pub fn new<'a>(needles: impl IntoIterator<Item = &'a str>) -> Self {
        let mut search = Self {
            needles: Vec::new(),
            heads: HashMap::new(),
            filter: vec![0; 1 << 18],
            longest: 0,
        };
        let mut all: Vec<&str> = needles.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        for (at, needle) in all.iter().enumerate() {
            search.add(needle.as_bytes().to_vec());
            if at % (all.len() / 500 + 1) == 0 {
                search.add(hex(needle.as_bytes()));
                search.add(base64_core(needle.as_bytes()));
            }
        }
        search
    }

    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Searches a file, or every file below a folder. Sockets and the like are passed over.
    pub fn look(&self, place: &Path) -> Vec<Leak> {
        if place.is_dir() {
            let entries = fs::read_dir(place).unwrap();
            return entries
                .flat_map(|entry| self.look(&entry.unwrap().path()))
                .collect();
        }
        if !place.is_file() {
            return Vec::new();
        }
        self.look_in_file(place)
    }

    fn look_in_file(&self, path: &Path) -> Vec<Leak> {
        let mut file = File::open(path).unwrap();
        let mut found = Vec::new();
        // What the last chunk ended with stays in front of the next: a needle may cross.
        let (mut window, mut base) = (Vec::new(), 0u64);
        loop {
            let keep = window.len().min(self.longest + 1);
            base += (window.len() - keep) as u64;
            window.drain(..window.len() - keep);
            let before = window.len();
            let read = file
                .by_ref()
                .take(8 << 20)
                .read_to_end(&mut window)
                .unwrap();
            let last = read == 0;
            // A position is looked at once all bytes behind it that matter have been read.
            let from = before.saturating_sub(self.longest);
            let to = if last {
                window.len()
            } else {
                window.len().saturating_sub(self.longest)
            };
            for at in from..to {
                if let Some(needle) = self.at(&window, at) {
                    found.push(Leak {
                        file: path.to_owned(),
                        offset: base + at as u64,
                        needle: String::from_utf8_lossy(needle).into_owned(),
                    });
                }
            }
            if last || found.len() > 20 {
                return found;
            }
        }
    }

    fn at(&self, window: &[u8], at: usize) -> Option<&[u8]> {
        let head: [u8; HEAD] = window.get(at..at + HEAD)?.try_into().ok()?;
        let (word, bit) = slot(head);
        if self.filter[word] & bit == 0 {
            return None;
        }
        let candidates = self.heads.get(&head)?;
        let boundary = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_alphanumeric);
        if at > 0 && !boundary(window.get(at - 1)) {
            return None;
        }
        candidates
            .iter()
            .map(|&index| self.needles[index as usize].as_slice())
            .find(|needle| {
                window[at..].starts_with(needle) && boundary(window.get(at + needle.len()))
            })
    }

    fn add(&mut self, needle: Vec<u8>) {
        assert!(needle.len() >= HEAD, "too short to look for: {needle:?}");
        let head: [u8; HEAD] = needle[..HEAD].try_into().unwrap();
        let (word, bit) = slot(head);
        self.filter[word] |= bit;
        self.longest = self.longest.max(needle.len());
        let index = u32::try_from(self.needles.len()).unwrap();
        self.heads.entry(head).or_default().push(index);
        self.needles.push(needle);
    }
}

fn slot(head: [u8; HEAD]) -> (usize, u64) {
    let mut wide = [0; 8];
    wide[..HEAD].copy_from_slice(&head);
    let hash = u64::from_le_bytes(wide).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// Base64 of the whole bytes: the three that stand at its end may look different in a longer
/// text, so they are left out; the boundary rule then needs the text to start there.
fn base64_core(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for three in bytes.chunks(3) {
        let group = three
            .iter()
            .fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
        let group = group << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            out.push(LETTERS[(group >> (18 - 6 * place)) as usize & 63]);
        }
    }
    out.resize(out.len().next_multiple_of(4), b'=');
    out
}

/// The search proves itself before it is believed: a needle at every sort of boundary, across
/// the border of two reads, and near misses.
pub fn prove() {
    let folder = tempfile::tempdir().unwrap();
    let search = LeakSearch::new(["SUB-12345678", "9990000018", "ann@example.org"]);
    let found = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        search.look(&file).len()
    };
    assert_eq!(found("alone", b"SUB-12345678"), 1);
    assert_eq!(found("end", b"\0\0\"9990000018\""), 1);
    assert_eq!(found("twice", b"9990000018 ann@example.org"), 2);
    assert_eq!(found("longer", b"19990000018 99900000185 SUB-1234567"), 0);
    assert_eq!(found("hex", b"5355422d3132333435363738"), 1);
    assert_eq!(found("base64", b"U1VCLTEyMzQ1Njc4"), 1);
    for shift in [0, 1, 6, 11, 12, 13] {
        let mut far = vec![b'.'; (8 << 20) - shift];
        far.extend_from_slice(b"SUB-12345678.");
        assert_eq!(found("border", &far), 1, "{shift}");
    }
    assert_eq!(search.look(folder.path()).len(), 1 + 1 + 2 + 1 + 1 + 1);
}
