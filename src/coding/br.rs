//! br (RFC 7932), by the brotli crates. The decoder's window grows with what it has seen, up to
//! what the stream's first byte says.

use std::io::Write;

use brotli::CompressorWriter;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Broken, Decode, Encode};
use crate::limits;

/// What undoing takes beside the window: tables of prefix codes.
const TABLES: usize = 128 * 1024;

/// The encoder hands over in pieces of this.
const PIECE: usize = 16 * 1024;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// Undoes br.
pub struct Unbrotli {
    state: Box<State>,
    ended: bool,
}

impl Unbrotli {
    pub fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            // Strict: the extension of large windows, to 1 GiB, is an error.
            state: Box::new(State::new_strict(alloc(), alloc(), alloc())),
            ended: false,
        }
    }
}

impl Decode for Unbrotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken> {
        if self.ended {
            return if input.is_empty() {
                Ok((0, 0))
            } else {
                Err(Broken::Corrupt)
            };
        }
        let (mut left, mut read) = (input.len(), 0);
        let (mut room, mut written) = (output.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            input,
            &mut room,
            &mut written,
            output,
            &mut 0,
            &mut self.state,
        );
        if self.state.window_bits > limits::BROTLI_WINDOW {
            return Err(Broken::Window);
        }
        match result {
            BrotliResult::ResultFailure => return Err(Broken::Corrupt),
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok((read, written))
    }

    fn may_end(&self) -> bool {
        self.ended
    }

    fn memory(&self) -> usize {
        TABLES + (1 << self.state.window_bits.min(limits::BROTLI_WINDOW))
    }
}

/// Does br.
pub struct Brotli {
    /// `None` once it has ended.
    writer: Option<CompressorWriter<Vec<u8>>>,
}

impl Brotli {
    pub fn new() -> Self {
        let (level, window) = (limits::BROTLI_LEVEL, limits::BROTLI_OUT_WINDOW);
        let writer = CompressorWriter::new(Vec::new(), PIECE, level, window);
        Self {
            writer: Some(writer),
        }
    }

    fn writer(&mut self) -> Result<&mut CompressorWriter<Vec<u8>>, Broken> {
        self.writer.as_mut().ok_or(Broken::Failed)
    }
}

impl Encode for Brotli {
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        let writer = self.writer()?;
        writer.write_all(input).map_err(|_| Broken::Failed)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let writer = self.writer()?;
        writer.flush().map_err(|_| Broken::Failed)?;
        out.append(writer.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let writer = self.writer.take().ok_or(Broken::Failed)?;
        out.append(&mut writer.into_inner());
        Ok(())
    }
}
