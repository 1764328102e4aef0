//! The stream of pseudonyms whose records are durable, vault to gateway.
//!
//! ```text
//! head:   expected u64
//! frame:  count u32 (1 ..= 4096) | count × 16 bytes
//! end:    0 u32 | total u64
//! ```
//!
//! What is expected is how many there are when the stream begins: room for them can be made at
//! once. More may come, since records are added meanwhile. Integers are big-endian. A stream without its end is not the whole set and counts as broken.

use super::Malformed;
use crate::limits;
use crate::pseudonym::Pseudonym;

/// Writes the head of the stream.
pub fn head(expected: u64) -> Vec<u8> {
    expected.to_be_bytes().to_vec()
}

/// Writes one frame; at most [`limits::KNOWN_FRAME`] entries, and never none.
pub fn frame(entries: &[[u8; 16]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + 16 * entries.len());
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    entries
        .iter()
        .for_each(|entry| out.extend_from_slice(entry));
    out
}

/// Writes the end of the stream.
pub fn end(total: u64) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&total.to_be_bytes());
    out
}

/// What a [`FrameReader`] has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Comes first, once.
    Expected(u64),
    One(Pseudonym),
}

/// Reads the stream in whatever chunks it comes. Keeps at most 15 bytes between two of them.
#[derive(Debug, Default)]
pub struct FrameReader {
    part: Vec<u8>,
    /// Entries of the present frame still to come.
    left: u32,
    seen: u64,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Expected,
    Head,
    Entries,
    Total,
    Done,
}

impl FrameReader {
    /// Takes the next bytes and calls `each` for everything that is whole.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Known)) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let need = match self.state {
                State::Head => 4,
                State::Entries => 16,
                State::Expected | State::Total => 8,
                State::Done => return Err(Malformed("bytes behind the end of the known set")),
            };
            let take = (need - self.part.len()).min(bytes.len());
            self.part.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.part.len() == need {
                self.item(&mut each)?;
                self.part.clear();
            }
        }
        Ok(())
    }

    fn item(&mut self, each: &mut impl FnMut(Known)) -> Result<(), Malformed> {
        let wrong = Malformed("frame of the known set");
        match self.state {
            State::Expected => {
                let expected = self.part[..].try_into().map_err(|_| wrong)?;
                each(Known::Expected(u64::from_be_bytes(expected)));
                self.state = State::Head;
            }
            State::Head => {
                self.left = u32::from_be_bytes(self.part[..].try_into().map_err(|_| wrong)?);
                if self.left as usize > limits::KNOWN_FRAME {
                    return Err(wrong);
                }
                self.state = if self.left == 0 {
                    State::Total
                } else {
                    State::Entries
                };
            }
            State::Entries => {
                let entry = self.part[..].try_into().map_err(|_| wrong)?;
                each(Known::One(Pseudonym(entry)));
                self.seen += 1;
                self.left -= 1;
                if self.left == 0 {
                    self.state = State::Head;
                }
            }
            State::Total => {
                let total = u64::from_be_bytes(self.part[..].try_into().map_err(|_| wrong)?);
                if total != self.seen {
                    return Err(Malformed("total of the known set"));
                }
                self.state = State::Done;
            }
            State::Done => return Err(wrong),
        }
        Ok(())
    }

    /// How many entries came, once the stream has ended.
    ///
    /// # Errors
    /// The end has not been seen: the stream was cut.
    pub fn finish(&self) -> Result<u64, Malformed> {
        match self.state {
            State::Done => Ok(self.seen),
            _ => Err(Malformed("the known set was cut short")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_chunking_gives_the_same_entries_and_a_cut_is_seen() {
        let entries: Vec<[u8; 16]> = (0..70u8).map(|n| [n; 16]).collect();
        let mut bytes = head(69);
        bytes.extend(frame(&entries[..40]));
        bytes.extend(frame(&entries[40..]));
        bytes.extend(end(70));
        for size in [1, 3, 16, 64, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut out = Vec::new();
            for chunk in bytes.chunks(size) {
                assert!(reader.finish().is_err());
                reader.push(chunk, |known| out.push(known)).unwrap();
            }
            assert_eq!(reader.finish(), Ok(70));
            assert_eq!(out[0], Known::Expected(69));
            let ones = entries.iter().map(|e| Known::One(Pseudonym(*e)));
            assert!(out[1..].iter().copied().eq(ones));
        }
    }

    #[test]
    fn a_wrong_total_and_bytes_behind_the_end_are_refused() {
        let mut bytes = head(1);
        bytes.extend(frame(&[[1; 16]]));
        bytes.extend(end(2));
        assert!(FrameReader::default().push(&bytes, |_| ()).is_err());
        let mut bytes = head(0);
        bytes.extend(end(0));
        assert!(FrameReader::default().push(&bytes, |_| ()).is_ok());
        bytes.push(0);
        assert!(FrameReader::default().push(&bytes, |_| ()).is_err());
    }
}
