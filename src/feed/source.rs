//! One input, read and decoded.
//!
//! What enters: a file or standard input, and how it is compressed. What leaves: decoded chunks,
//! all of one size but the last, and the digest of what was read. What can never happen: where a
//! chunk ends, or how much had been read by then, depends on how the system gave the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::digest::Running;
use super::place::{Input, Item};
use super::stop::Stop;
use crate::coding::Decoder;
use crate::limits;

pub struct Source {
    name: String,
    from: Box<dyn Read>,
    decoder: Option<Decoder>,
    /// Coded bytes that were read and not decoded: from `at` on.
    block: Vec<u8>,
    at: usize,
    read: u64,
    digest: Running,
    decoded: u64,
    ended: bool,
    /// Bytes of the file; standard input has no size.
    pub size: Option<u64>,
}

impl Source {
    /// # Errors
    /// It cannot be opened.
    pub fn open(item: &Item) -> Result<Self, Stop> {
        let (from, size): (Box<dyn Read>, _) = match &item.input {
            Input::Stdin => (Box::new(io::stdin().lock()), None),
            Input::File(path) => {
                let failed = |error| Stop::file(path, &error);
                let file = File::open(path).map_err(failed)?;
                let meta = file.metadata().map_err(failed)?;
                let size = meta.is_file().then_some(meta.len());
                (Box::new(file), size)
            }
        };
        Self::new(&item.name, from, size, item.decode.as_slice())
    }

    fn new(
        name: &str,
        from: Box<dyn Read>,
        size: Option<u64>,
        codings: &[crate::coding::Coding],
    ) -> Result<Self, Stop> {
        let decoder = match codings {
            [] => None,
            codings => Some(Decoder::new(codings).map_err(|fault| Stop::fault(name, &fault))?),
        };
        Ok(Self {
            name: name.to_owned(),
            from,
            decoder,
            block: Vec::new(),
            at: 0,
            read: 0,
            digest: Running::default(),
            decoded: 0,
            ended: false,
            size,
        })
    }

    /// Puts the next chunk into `chunk`: [`limits::FEED_CHUNK`] bytes, fewer only at the end.
    ///
    /// # Errors
    /// The file cannot be read, or its coding is damaged.
    pub fn next(&mut self, chunk: &mut Vec<u8>) -> Result<(), Stop> {
        chunk.clear();
        if self.decoder.is_none() {
            chunk.resize(limits::FEED_CHUNK, 0);
            let filled = self.fill(chunk)?;
            chunk.truncate(filled);
            self.ended = filled < limits::FEED_CHUNK;
            self.digest.add(chunk);
            self.read += filled as u64;
        } else {
            while chunk.len() < limits::FEED_CHUNK && !self.ended {
                self.decode(chunk)?;
            }
        }
        self.decoded += chunk.len() as u64;
        Ok(())
    }

    fn decode(&mut self, chunk: &mut Vec<u8>) -> Result<(), Stop> {
        let room = limits::FEED_CHUNK - chunk.len();
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        let mut left = &self.block[self.at..];
        let pushed = decoder.push(&mut left, chunk, room);
        self.at = self.block.len() - left.len();
        pushed.map_err(|fault| Stop::fault(&self.name, &fault))?;
        if chunk.len() == limits::FEED_CHUNK {
            return Ok(());
        }
        // Everything is taken, and more is wanted.
        let mut block = std::mem::take(&mut self.block);
        block.resize(limits::FEED_BLOCK, 0);
        let filled = self.fill(&mut block)?;
        block.truncate(filled);
        self.digest.add(&block);
        self.read += filled as u64;
        (self.block, self.at) = (block, 0);
        if filled == 0 {
            self.ended = true;
            let decoder = self.decoder.as_ref();
            let finished = decoder.map_or(Ok(()), Decoder::finish);
            return finished.map_err(|fault| Stop::fault(&self.name, &fault));
        }
        Ok(())
    }

    fn fill(&mut self, room: &mut [u8]) -> Result<usize, Stop> {
        let mut filled = 0;
        while filled < room.len() {
            match self.from.read(&mut room[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::file(Path::new(&self.name), &error)),
            }
        }
        Ok(filled)
    }

    /// Whether the last chunk has been given.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Decoded bytes so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Bytes of the file so far, as they lie there.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Their digest.
    pub fn digest(&self) -> String {
        self.digest.hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::{Coding, Encoder};

    /// Gives few bytes at once, as pipes do.
    struct Dribble(Vec<u8>, usize, usize);

    impl Read for Dribble {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let step = self.2.min(room.len()).min(self.0.len() - self.1);
            room[..step].copy_from_slice(&self.0[self.1..self.1 + step]);
            self.1 += step;
            Ok(step)
        }
    }

    #[test]
    fn formats_10_chunks_do_not_depend_on_how_bytes_come() {
        let plain: Vec<u8> = (0..200_000u32)
            .flat_map(|n| (n.wrapping_mul(0x9E37_79B1) >> 9).to_le_bytes())
            .collect();
        for coding in [None, Some(Coding::Gzip), Some(Coding::Zstd)] {
            let coded = Encoder::whole(coding.as_slice(), &plain).unwrap();
            let trace = |step: usize| {
                let from = Box::new(Dribble(coded.clone(), 0, step));
                let mut source = Source::new("x", from, None, coding.as_slice()).unwrap();
                let (mut chunk, mut all, mut at) = (Vec::new(), Vec::new(), Vec::new());
                while !source.ended() {
                    source.next(&mut chunk).unwrap();
                    all.extend_from_slice(&chunk);
                    at.push((source.decoded(), source.read(), source.digest()));
                }
                assert!(all == plain, "{coding:?}");
                at
            };
            assert_eq!(trace(7), trace(1 << 20), "{coding:?}");
        }
    }

    #[test]
    fn formats_10_a_cut_file_is_refused() {
        let coded = Encoder::whole(&[Coding::Gzip], &[b'x'; 1000]).unwrap();
        let from = Box::new(Dribble(coded[..coded.len() - 3].to_vec(), 0, 99));
        let mut source = Source::new("x", from, None, &[Coding::Gzip]).unwrap();
        let mut chunk = Vec::new();
        let stop = source.next(&mut chunk).unwrap_err();
        assert!(stop.what.contains("truncated"), "{stop}");
    }
}
