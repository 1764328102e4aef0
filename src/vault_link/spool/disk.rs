//! A domain's spool on the disk: what this process appends, and what earlier ones have left.
//!
//! ```text
//! write ─▶ own folder ─▶ sync ─┐
//!                              ├─▶ next ─▶ (vault) ─▶ passed ─▶ segment removed
//! adopt ─▶ folders of others ──┘
//! ```
//!
//! What enters: sealed batches. What leaves: frames in the order in which they were written,
//! those of earlier processes first. What can never happen: `write` returns without an error
//! before everything is synced; a frame is appended behind one that was written in part.
//!
//! All of it blocks: it is called on threads for that, under one lock.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::folder;
use super::frame::{self, Frame, Link, SpoolKey};
use super::source::{Holds, Seen, Segment, Source};

/// A sealed batch with the number of its records.
pub type Batch = (Bytes, u32);

pub struct Disk {
    /// The domain's folder.
    folder: PathBuf,
    boot: [u8; 16],
    adopted: VecDeque<(Source, Holds)>,
    own: Option<Own>,
    /// Of the frames of this process, whatever folders they were in.
    last: Link,
    segments: u64,
}

struct Own {
    source: Source,
    /// Of the last segment; `None`: the next frame begins another.
    file: Option<File>,
    /// When the first frame that is not passed was written.
    oldest: u64,
}

impl Disk {
    pub fn new(folder: PathBuf, boot: [u8; 16]) -> Self {
        Self {
            folder,
            boot,
            adopted: VecDeque::new(),
            own: None,
            last: Link::START,
            segments: 0,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes over what processes that are gone have left; gives what it holds.
    pub fn adopt(&mut self) -> io::Result<Holds> {
        let mut all = Holds::default();
        for held in folder::abandoned(&self.folder)? {
            let source = Source::found(held)?;
            if source.segments.is_empty() {
                source.held.remove()?;
                continue;
            }
            let holds = source.holds()?;
            all.bytes += holds.bytes;
            all.records += holds.records;
            self.adopted.push_back((source, holds));
        }
        Ok(all)
    }

    /// When the oldest frame of all was written: milliseconds since 1970; 0: there is none.
    pub fn oldest(&self) -> u64 {
        let adopted = self.adopted.iter().map(|(_, holds)| holds.oldest);
        let own = self.own.iter().map(|own| own.oldest);
        adopted.chain(own).filter(|at| *at > 0).min().unwrap_or(0)
    }

    /// Appends batches, each a frame, with one sync for all of them; gives the bytes that the disk
    /// has taken. `segment`: the size from which on another segment is begun.
    ///
    /// # Errors
    /// Nothing of it is durable. (The vault may hear of it all the same: a record too many.)
    pub fn write(
        &mut self,
        batches: &[(Batch, &SpoolKey)],
        now: u64,
        segment: u64,
    ) -> io::Result<u64> {
        let mut own = match self.own.take() {
            Some(own) => own,
            None => Own {
                source: Source::new(folder::own(&self.folder, self.boot)?, self.last),
                file: None,
                oldest: 0,
            },
        };
        let written = self.append(&mut own, batches, now, segment);
        self.own = Some(own);
        written
    }

    fn append(
        &mut self,
        own: &mut Own,
        batches: &[(Batch, &SpoolKey)],
        now: u64,
        segment: u64,
    ) -> io::Result<u64> {
        let (mut bytes, mut last) = (Vec::new(), self.last);
        for ((envelope, records), key) in batches {
            last = frame::write(&last, now, (envelope, *records), key, &mut bytes);
        }
        let source = &mut own.source;
        let full = source.segments.back().is_none_or(|s| s.len >= segment);
        if full || own.file.is_none() {
            self.segments += 1;
            own.file = Some(source.held.new_segment(self.segments)?);
            source.segments.push_back(Segment {
                number: self.segments,
                len: 0,
            });
        }
        let (Some(file), Some(end)) = (&mut own.file, source.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let done = file.write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = done {
            // Nobody knows what of it is there. It is cut off, and nothing comes behind it.
            let _ = file.set_len(end.len);
            own.file = None;
            return Err(error);
        }
        if own.oldest == 0 {
            own.oldest = now;
        }
        end.len += bytes.len() as u64;
        self.last = last;
        Ok(bytes.len() as u64)
    }

    /// What comes next; a frame until [`Self::passed`]. `End`: nothing is left anywhere.
    pub fn next(&mut self, key: Option<&SpoolKey>) -> io::Result<Seen> {
        while let Some((source, holds)) = self.adopted.front_mut() {
            match source.next(key, false)? {
                Seen::End => {
                    if let Some((source, _)) = self.adopted.pop_front() {
                        source.held.remove()?;
                    }
                }
                seen => {
                    if let Seen::Frame(frame) = &seen {
                        holds.oldest = frame.written;
                    }
                    return Ok(seen);
                }
            }
        }
        let Some(own) = &mut self.own else {
            return Ok(Seen::End);
        };
        let seen = own.source.next(key, own.file.is_some())?;
        match &seen {
            Seen::Frame(frame) => own.oldest = frame.written,
            Seen::End if own.source.is_passed() => {
                own.oldest = 0;
                if own.source.segments.is_empty() {
                    if let Some(own) = self.own.take() {
                        own.source.held.remove()?;
                    }
                } else {
                    own.file = None;
                    return own.source.close();
                }
            }
            // A damaged segment is left behind: the next frame begins another.
            Seen::Damaged { .. } if own.source.segments.len() == 1 => own.file = None,
            _ => {}
        }
        Ok(seen)
    }

    /// A frame that [`Self::next`] gave is acknowledged, or kept aside: the first time, it counts.
    pub fn passed(&mut self, frame: &Frame) -> bool {
        self.sources().any(|source| source.passed(frame))
    }

    /// Keeps a frame aside, for people to look at; the caller passes it then.
    pub fn keep(&mut self, frame: &Frame) -> io::Result<PathBuf> {
        let source = self.sources().find(|source| source.gave(frame));
        let source = source.ok_or(io::ErrorKind::NotFound)?;
        source.held.keep_frame(frame.link.number, &frame.bytes)
    }

    fn sources(&mut self) -> impl Iterator<Item = &mut Source> {
        let adopted = self.adopted.iter_mut().map(|(source, _)| source);
        adopted.chain(self.own.iter_mut().map(|own| &mut own.source))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pseudonym::DomainKey;
    use crate::secret::Key32;
    use crate::wire::batch::Envelope;

    /// Segments of a few frames each.
    const SEGMENT: u64 = 500;

    fn key() -> SpoolKey {
        SpoolKey::of(&DomainKey::new([3; 16], 1, Key32::new([9; 32])))
    }

    fn batch(n: u8) -> Batch {
        let sealed = [n; 80];
        let envelope = Envelope {
            domain: [3; 16],
            epoch: 1,
            boot: [5; 16],
            number: n.into(),
            sealed: &sealed,
        };
        (envelope.encode().into(), 2)
    }

    fn disk(root: &Path, boot: u8) -> Disk {
        Disk::new(root.join("improvement"), [boot; 16])
    }

    fn write(disk: &mut Disk, numbers: std::ops::Range<u8>) {
        for n in numbers {
            let key = key();
            let one = [(batch(n), &key)];
            disk.write(&one, 1000 + u64::from(n), SEGMENT).unwrap();
        }
    }

    /// Numbers of all frames that come, each passed; then what else was seen.
    fn drain(disk: &mut Disk) -> (Vec<u8>, Vec<Seen>) {
        let (mut numbers, mut seen) = (Vec::new(), Vec::new());
        loop {
            match disk.next(Some(&key())).unwrap() {
                Seen::End => return (numbers, seen),
                Seen::Frame(frame) => {
                    let envelope = frame.envelope();
                    numbers.push(Envelope::decode(&envelope).unwrap().number as u8);
                    assert!(disk.passed(&frame));
                    assert!(!disk.passed(&frame), "passed twice");
                }
                Seen::Gone { aside: None, .. } => {}
                other => seen.push(other),
            }
        }
    }

    fn files(root: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(files(&path)),
                false => found.push(path),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn formats_09_what_is_written_comes_back_in_order_and_then_nothing_is_left() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = disk(root.path(), 1);
        write(&mut disk, 0..4);
        assert_eq!(disk.oldest(), 1000);
        let Seen::Frame(first) = disk.next(Some(&key())).unwrap() else {
            panic!("no frame");
        };
        disk.passed(&first);
        // More comes while it is being read.
        write(&mut disk, 4..9);
        assert!(files(root.path()).len() > 2, "several segments and a lock");
        let (numbers, seen) = drain(&mut disk);
        assert_eq!((numbers, seen), ((1..9).collect(), vec![]));
        assert_eq!(disk.oldest(), 0);
        assert!(files(root.path()).is_empty());
        // It begins anew, and its numbers go on.
        write(&mut disk, 9..10);
        assert_eq!(drain(&mut disk), (vec![9], vec![]));
    }

    #[test]
    fn formats_09_the_next_process_takes_over_in_order_and_beside_its_own() {
        let root = tempfile::tempdir().unwrap();
        let mut before = disk(root.path(), 1);
        write(&mut before, 0..5);
        let mut disk = disk(root.path(), 2);
        assert_eq!(
            disk.adopt().unwrap(),
            Holds::default(),
            "it is still at work"
        );
        drop(before);
        write(&mut disk, 5..7);
        let holds = disk.adopt().unwrap();
        assert_eq!((holds.records, disk.oldest()), (10, 1000));
        assert_eq!(drain(&mut disk), ((0..7).collect(), vec![]));
        assert!(files(root.path()).is_empty());
    }

    /// Copies a spool, with the last segment changed.
    fn changed(from: &Path, change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let all = files(from);
        let mut change = Some(change);
        for file in all.iter().rev() {
            let to = root.path().join(file.strip_prefix(from).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let mut bytes = fs::read(file).unwrap();
            let is_segment = file.extension().is_some_and(|end| end == "seg");
            if is_segment && let Some(change) = change.take() {
                change(&mut bytes);
            }
            fs::write(to, bytes).unwrap();
        }
        root
    }

    #[test]
    fn formats_09_a_kill_at_any_byte_of_a_write_loses_nothing_that_was_durable() {
        let root = tempfile::tempdir().unwrap();
        write(&mut disk(root.path(), 1), 0..6);
        let frame = frame::size(&batch(0).0) as usize;
        let last = files(root.path());
        let last = last
            .iter()
            .rfind(|f| f.extension().is_some_and(|e| e == "seg"));
        let length = fs::metadata(last.unwrap()).unwrap().len() as usize;
        assert_eq!(length, 2 * frame, "the last segment holds two");
        for cut in frame..length {
            let root = changed(root.path(), |bytes| bytes.truncate(cut));
            let mut disk = disk(root.path(), 2);
            assert_eq!(disk.adopt().unwrap().records, 10);
            let (numbers, seen) = drain(&mut disk);
            assert_eq!(numbers, [0, 1, 2, 3, 4], "cut at {cut}");
            let torn = seen
                .iter()
                .filter(|s| matches!(s, Seen::Torn { .. }))
                .count();
            assert_eq!(
                (torn, seen.len()),
                (usize::from(cut > frame), torn),
                "{cut}"
            );
            assert!(files(root.path()).is_empty(), "cut at {cut}");
        }
    }

    #[test]
    fn formats_09_a_changed_byte_anywhere_is_an_alarm_and_the_file_is_kept() {
        let root = tempfile::tempdir().unwrap();
        write(&mut disk(root.path(), 1), 0..6);
        let frame = frame::size(&batch(0).0) as usize;
        for at in 0..2 * frame {
            let root = changed(root.path(), |bytes| bytes[at] ^= 0x10);
            let mut disk = disk(root.path(), 2);
            disk.adopt().unwrap();
            let (numbers, seen) = drain(&mut disk);
            let wanted = if at < frame {
                [0, 1, 2, 3, 5]
            } else {
                [0, 1, 2, 3, 4]
            };
            assert_eq!(numbers, wanted, "byte {at}");
            let damages = seen
                .iter()
                .filter(|s| matches!(s, Seen::Damaged { .. }))
                .count();
            let kept = seen
                .iter()
                .filter(|s| matches!(s, Seen::Gone { .. }))
                .count();
            assert_eq!(
                (damages, kept, seen.len()),
                (1, 1, 2),
                "byte {at}: {seen:?}"
            );
            let left = files(root.path());
            assert_eq!(left.len(), 1, "byte {at}");
            assert!(left[0].extension().is_some_and(|end| end == "damaged"));
        }
    }

    /// A head that says it is longer than the file, checked anew.
    fn lengthen(bytes: &mut [u8], frame: usize) {
        use sha2::{Digest as _, Sha256};
        let head = &mut bytes[frame..frame + frame::HEAD];
        head[4..8].copy_from_slice(&100_000_u32.to_be_bytes());
        let check = Sha256::digest(&head[..frame::HEAD - 8]);
        head[frame::HEAD - 8..].copy_from_slice(&check[..8]);
    }

    #[test]
    fn formats_09_a_false_length_takes_nothing_behind_it_away() {
        let root = tempfile::tempdir().unwrap();
        write(&mut disk(root.path(), 1), 0..6);
        let frame = frame::size(&batch(0).0) as usize;
        // Before another frame of its segment.
        let behind = changed(root.path(), |bytes| lengthen(bytes, 0));
        // At the end of a segment that is not the last.
        let ends = changed(root.path(), |_| ());
        let segments: Vec<PathBuf> = files(ends.path())
            .into_iter()
            .filter(|f| f.extension().is_some_and(|e| e == "seg"))
            .collect();
        let mut bytes = fs::read(&segments[0]).unwrap();
        let last = bytes.len() - frame;
        lengthen(&mut bytes, last);
        fs::write(&segments[0], bytes).unwrap();
        for (root, wanted) in [(behind, [0, 1, 2, 3, 5]), (ends, [0, 2, 3, 4, 5])] {
            let mut disk = disk(root.path(), 2);
            disk.adopt().unwrap();
            let (numbers, seen) = drain(&mut disk);
            assert_eq!(numbers, wanted);
            assert!(
                matches!(
                    seen[..],
                    [Seen::Damaged { .. }, Seen::Gone { aside: Some(_), .. }]
                ),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn formats_09_a_strange_file_in_a_folder_holds_up_no_other() {
        let root = tempfile::tempdir().unwrap();
        for boot in [1, 2] {
            write(&mut disk(root.path(), boot), boot..boot + 1);
        }
        let folders: Vec<PathBuf> = fs::read_dir(root.path().join("improvement"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        for folder in &folders {
            fs::write(folder.join("strange"), "x").unwrap();
        }
        // Once with segments, once with nothing else.
        for wanted in [vec![1, 2], vec![]] {
            let mut disk = disk(root.path(), 3);
            disk.adopt().unwrap();
            let (mut numbers, seen) = drain(&mut disk);
            numbers.sort_unstable();
            assert_eq!((numbers, seen), (wanted, vec![]));
            assert_eq!(files(root.path()).len(), 2);
        }
    }

    #[test]
    fn formats_09_damage_to_the_file_that_is_being_filled_stops_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = disk(root.path(), 1);
        write(&mut disk, 0..2);
        let all = files(root.path());
        let segment = all
            .iter()
            .find(|f| f.extension().is_some_and(|e| e == "seg"));
        let segment = segment.unwrap();
        let mut bytes = fs::read(segment).unwrap();
        bytes[100] ^= 1;
        fs::write(segment, bytes).unwrap();
        assert!(matches!(
            disk.next(Some(&key())).unwrap(),
            Seen::Damaged { .. }
        ));
        write(&mut disk, 2..4);
        let (numbers, seen) = drain(&mut disk);
        assert_eq!(numbers, [1, 2, 3]);
        assert!(matches!(seen[..], [Seen::Gone { aside: Some(_), .. }]));
        // One that is taken away is noticed as well.
        write(&mut disk, 4..5);
        for file in files(root.path()) {
            if file.extension().is_some_and(|end| end == "seg") {
                fs::remove_file(file).unwrap();
            }
        }
        let (numbers, seen) = drain(&mut disk);
        assert!(
            numbers.is_empty() && matches!(seen[..], [Seen::Damaged { .. }]),
            "{seen:?}"
        );
        write(&mut disk, 5..6);
        assert_eq!(drain(&mut disk).0, [5]);
    }

    #[test]
    fn formats_09_what_the_vault_refuses_is_kept_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = disk(root.path(), 1);
        write(&mut disk, 0..2);
        let Seen::Frame(frame) = disk.next(Some(&key())).unwrap() else {
            panic!("no frame");
        };
        let file = disk.keep(&frame).unwrap();
        disk.passed(&frame);
        assert_eq!(drain(&mut disk).0, [1]);
        assert_eq!(fs::read(file).unwrap(), frame.bytes);
    }
}
