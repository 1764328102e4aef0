//! A stack of codings, undone.
//!
//! What enters: coded bytes, and how much may come out. What leaves: at most that much. What can
//! never happen: any coding of the stack makes more than [`limits::CODING_RATIO`] bytes of each
//! coded byte that came in, beyond the first [`limits::CODING_GRACE`].
//!
//! ```text
//!  coded ─▶ last coding ─▶ (a step's worth) ─▶ … ─▶ first coding ─▶ at most `most` bytes
//!
//!   new ── push* ── finish      push: call again, with what is left, while it fills its room;
//!                               finish: may the stream end here?
//! ```

use super::br::Unbrotli;
use super::zlib::{Gunzip, Inflate};
use super::zstd::Unzstd;
use super::{Broken, Coding, Decode};
use crate::error::{Code, Fault, Stage};
use crate::limits;

/// Undoes a stack of codings.
pub struct Decoder {
    /// In the order in which they are undone.
    layers: Vec<Layer>,
    /// Coded bytes taken.
    came: u64,
    failed: bool,
}

struct Layer {
    decode: Box<dyn Decode>,
    /// What the layer before has made and this one has not read: from `at` on.
    input: Vec<u8>,
    at: usize,
    /// Bytes made.
    made: u64,
}

impl Decoder {
    /// `codings`: in the order in which they were done, which is that of `Content-Encoding`.
    ///
    /// # Errors
    /// [`Code::Internal`]: no memory.
    pub fn new(codings: &[Coding]) -> Result<Self, Fault> {
        let layers: Result<Vec<Layer>, Broken> = codings
            .iter()
            .rev()
            .map(|coding| {
                let decode: Box<dyn Decode> = match coding {
                    Coding::Gzip => Box::new(Gunzip::new()),
                    Coding::Deflate => Box::new(Inflate::new()),
                    Coding::Br => Box::new(Unbrotli::new()),
                    Coding::Zstd => Box::new(Unzstd::new()?),
                };
                Ok(Layer {
                    decode,
                    input: Vec::new(),
                    at: 0,
                    made: 0,
                })
            })
            .collect();
        Ok(Self {
            layers: layers.map_err(|broken| broken.fault(Stage::Decode))?,
            came: 0,
            failed: false,
        })
    }

    /// Takes from `input` (what it has taken is gone from it) and appends at most `most` bytes to
    /// `out`. If it appends fewer, it has taken all of `input` and has nothing more to give.
    ///
    /// # Errors
    /// [`Code::CodingBroken`], `CodingWindow` or `CodingRatio`, at the offset of the decoded
    /// bytes; from then on every call fails.
    pub fn push(&mut self, input: &mut &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), Fault> {
        if self.failed {
            return Err(Fault::new(Code::Internal, Stage::Decode));
        }
        let before = self.came;
        let mut coming = Coming {
            input,
            before,
            taken: 0,
        };
        let result = fill(&mut self.layers, &mut coming, out, most);
        self.came += coming.taken;
        result.map_err(|broken| {
            self.failed = true;
            let fault = match broken {
                Stopped::Broken(broken) => broken.fault(Stage::Decode),
                Stopped::Ratio => Fault::new(Code::CodingRatio, Stage::Decode),
            };
            fault.at(self.made())
        })
    }

    /// Nothing more comes in, and everything has been taken out.
    ///
    /// # Errors
    /// [`Code::Truncated`].
    pub fn finish(&self) -> Result<(), Fault> {
        let mut layers = self.layers.iter();
        if !self.failed && layers.all(|l| l.at == l.input.len() && l.decode.may_end()) {
            return Ok(());
        }
        Err(Fault::new(Code::Truncated, Stage::Decode).at(self.made()))
    }

    /// Bytes of memory that it takes, or that its streams have said they will need. Known once
    /// something has come out.
    pub fn memory(&self) -> usize {
        let of = |layer: &Layer| layer.decode.memory() + layer.input.capacity();
        self.layers.iter().map(of).sum()
    }

    fn made(&self) -> u64 {
        self.layers.last().map_or(0, |last| last.made)
    }
}

/// The coded bytes on their way in.
struct Coming<'a, 'b> {
    input: &'a mut &'b [u8],
    before: u64,
    taken: u64,
}

enum Stopped {
    Broken(Broken),
    Ratio,
}

/// Fills `out` by at most `most` bytes from the last of `layers`, which is fed by those before.
fn fill(
    layers: &mut [Layer],
    coming: &mut Coming<'_, '_>,
    out: &mut Vec<u8>,
    most: usize,
) -> Result<(), Stopped> {
    let Some((layer, before)) = layers.split_last_mut() else {
        return Ok(());
    };
    let start = out.len();
    let full = start + most;
    out.resize(full, 0);
    let mut end = start;
    let result = layer.fill(before, coming, out, &mut end);
    out.truncate(end);
    result
}

impl Layer {
    /// Fills `out` from `end` on.
    fn fill(
        &mut self,
        before: &mut [Layer],
        coming: &mut Coming<'_, '_>,
        out: &mut [u8],
        end: &mut usize,
    ) -> Result<(), Stopped> {
        while *end < out.len() {
            let room = &mut out[*end..];
            let is_first = before.is_empty();
            let input: &[u8] = if is_first {
                coming.input
            } else {
                &self.input[self.at..]
            };
            let (read, written) = self.decode.step(input, room).map_err(Stopped::Broken)?;
            if is_first {
                *coming.input = &coming.input[read..];
                coming.taken += read as u64;
            } else {
                self.at += read;
            }
            *end += written;
            self.made += written as u64;
            let came = coming.before + coming.taken;
            if self.made > limits::CODING_GRACE + came.saturating_mul(limits::CODING_RATIO) {
                return Err(Stopped::Ratio);
            }
            if read > 0 || written > 0 {
                continue;
            }
            // Nothing more to give until more comes.
            if is_first {
                return if coming.input.is_empty() {
                    Ok(())
                } else {
                    Err(Stopped::Broken(Broken::Corrupt))
                };
            }
            if self.at < self.input.len() {
                return Err(Stopped::Broken(Broken::Corrupt));
            }
            self.input.clear();
            self.at = 0;
            fill(before, coming, &mut self.input, limits::CODING_STEP)?;
            if self.input.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}
