//! The frames of one folder in order, read from the first that is not acknowledged.
//!
//! What enters: a folder that is held. What leaves: frames; the segments behind them disappear
//! when all of theirs are acknowledged, or are kept aside where something in them was no frame of
//! ours. What can never happen: a segment is removed before its last frame is acknowledged; damage
//! passes unseen, or takes frames with it that can still be read.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::folder::Held;
use super::frame::{self, Authentic, Found, Frame, Link, SpoolKey};

/// What is seen on the way to the next frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Frame(Frame),
    /// No frame is left. Of a folder that nobody appends to: nothing at all is left.
    End,
    /// A frame whose end was never written has been passed over.
    Torn {
        file: PathBuf,
        bytes: u64,
    },
    /// Something that was changed after it had been written, or that is missing.
    Damaged {
        file: PathBuf,
        what: &'static str,
    },
    /// A segment is gone from the disk; kept aside there, if something in it was wrong.
    Gone {
        bytes: u64,
        aside: Option<PathBuf>,
    },
}

/// One folder being read.
#[derive(Debug)]
pub struct Source {
    pub held: Held,
    pub segments: VecDeque<Segment>,
    /// Of the first segment.
    file: Option<File>,
    at: u64,
    /// The frame before; `None`: its neighbours before may have been acknowledged and removed.
    before: Option<Link>,
    /// Something of the first segment is no frame of ours.
    damaged: bool,
    /// The frame that is looked at now has been reported already.
    reported: bool,
    /// The frame that was given last, and is not passed.
    given: Option<Link>,
}

#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub number: u64,
    /// As far as it is synced.
    pub len: u64,
}

/// What a folder holds when it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    pub bytes: u64,
    pub records: u64,
    /// When its first frame was written: milliseconds since 1970, 0 if there is none.
    pub oldest: u64,
}

impl Source {
    /// A folder that a process has left.
    pub fn found(held: Held) -> io::Result<Self> {
        let segments = held.segments()?.into_iter();
        let segments = segments.map(|(number, len)| Segment { number, len });
        Ok(Self::of(held, segments.collect(), None))
    }

    /// A folder that is being filled.
    pub fn new(held: Held, before: Link) -> Self {
        Self::of(held, VecDeque::new(), Some(before))
    }

    fn of(held: Held, segments: VecDeque<Segment>, before: Option<Link>) -> Self {
        Self {
            held,
            segments,
            file: None,
            at: 0,
            before,
            damaged: false,
            reported: false,
            given: None,
        }
    }

    /// Counts what is in it, without a key.
    pub fn holds(&self) -> io::Result<Holds> {
        let mut holds = Holds::default();
        for segment in &self.segments {
            holds.bytes += segment.len;
            let file = File::open(self.held.segment(segment.number))?;
            let mut at = 0;
            loop {
                match frame::read(&file, at, segment.len)? {
                    Found::Frame(frame) => {
                        if holds.records == 0 {
                            holds.oldest = frame.written;
                        }
                        holds.records += u64::from(frame.records);
                        at += frame.bytes.len() as u64;
                    }
                    Found::Damaged { next: Some(next) } => at = next,
                    Found::End | Found::Torn | Found::Damaged { next: None } => break,
                }
            }
        }
        Ok(holds)
    }

    /// What comes next. A frame comes again and again until [`Self::passed`]. `key` is that of the
    /// present lease; `filling`: more may be appended to the last segment.
    pub fn next(&mut self, key: Option<&SpoolKey>, filling: bool) -> io::Result<Seen> {
        loop {
            let Some(&Segment { number, len }) = self.segments.front() else {
                return Ok(Seen::End);
            };
            let path = self.held.segment(number);
            if self.file.is_none() {
                match File::open(&path) {
                    Ok(file) => self.file = Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(self.missing(path, len));
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(file) = &self.file else { continue };
            match frame::read(file, self.at, len)? {
                Found::End if filling && self.segments.len() == 1 && !self.damaged => {
                    return Ok(Seen::End);
                }
                Found::End => return self.close(),
                // Only the last segment can have been cut short: another was begun behind a whole one.
                Found::Torn if self.segments.len() > 1 => {
                    self.before = None;
                    self.at = len;
                    return Ok(self.damage(path, "a frame that is cut short"));
                }
                Found::Torn => {
                    let bytes = len - self.at;
                    self.at = len;
                    return Ok(Seen::Torn { file: path, bytes });
                }
                Found::Damaged { next } => {
                    // What comes behind it cannot follow it: that is not told twice.
                    self.before = None;
                    self.at = next.unwrap_or(len);
                    return Ok(self.damage(path, "bytes that are no frame"));
                }
                Found::Frame(frame) => {
                    let before = self.before.as_ref();
                    let follows = before.is_none_or(|before| frame.follows(before));
                    if !follows && !self.reported {
                        self.reported = true;
                        return Ok(self.damage(path, "a frame that does not follow the one before"));
                    }
                    let forged = key.map(|key| frame.is_authentic(key)) == Some(Authentic::No);
                    if forged {
                        self.step(&frame);
                        return Ok(self.damage(path, "a frame that this gateway did not write"));
                    }
                    self.given = Some(frame.link);
                    return Ok(Seen::Frame(frame));
                }
            }
        }
    }

    /// The frame is acknowledged, or kept aside; whether it was the one given last. (Of two tasks
    /// that had the same, one comes too late.)
    pub fn passed(&mut self, frame: &Frame) -> bool {
        let given = self.given == Some(frame.link);
        if given {
            self.step(frame);
        }
        given
    }

    /// Whether it gave this frame last.
    pub fn gave(&self, frame: &Frame) -> bool {
        self.given == Some(frame.link)
    }

    fn step(&mut self, frame: &Frame) {
        self.given = None;
        self.at += frame.bytes.len() as u64;
        self.before = Some(frame.link);
        self.reported = false;
    }

    /// Whether all that was written is passed.
    pub fn is_passed(&self) -> bool {
        match self.segments.front() {
            None => true,
            Some(segment) => self.segments.len() == 1 && self.at >= segment.len,
        }
    }

    /// The first segment is read to its end.
    pub fn close(&mut self) -> io::Result<Seen> {
        let Some(segment) = self.segments.front().copied() else {
            return Ok(Seen::End);
        };
        let aside = match self.damaged {
            true => Some(self.held.keep_segment(segment.number)?),
            false => {
                fs::remove_file(self.held.segment(segment.number))?;
                None
            }
        };
        self.segments.pop_front();
        (self.file, self.at, self.damaged) = (None, 0, false);
        Ok(Seen::Gone {
            bytes: segment.len,
            aside,
        })
    }

    /// Somebody has removed the first segment.
    fn missing(&mut self, file: PathBuf, bytes: u64) -> Seen {
        if !self.reported {
            self.reported = true;
            let what = "a file is missing";
            return Seen::Damaged { file, what };
        }
        self.segments.pop_front();
        (self.reported, self.before) = (false, None);
        Seen::Gone { bytes, aside: None }
    }

    fn damage(&mut self, file: PathBuf, what: &'static str) -> Seen {
        self.damaged = true;
        Seen::Damaged { file, what }
    }
}
