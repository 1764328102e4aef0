//! zstd (RFC 8878, with the window of RFC 9659), by the reference library.

use zstd_safe::zstd_sys::ZSTD_EndDirective::{self, ZSTD_e_continue, ZSTD_e_end, ZSTD_e_flush};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use super::{Broken, Decode, Encode};
use crate::limits;

/// The library's `ZSTD_error_frameParameter_windowTooLarge`, one of its stable numbers, as it
/// returns errors: negated.
const WINDOW_TOO_LARGE: usize = 0usize.wrapping_sub(16);

/// Undoes zstd, frame after frame.
pub struct Unzstd {
    context: DCtx<'static>,
    /// At the end of a frame, with none begun after it.
    between: bool,
}

impl Unzstd {
    pub fn new() -> Result<Self, Broken> {
        let mut context = DCtx::try_create().ok_or(Broken::Failed)?;
        context
            .set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW))
            .map_err(|_| Broken::Failed)?;
        Ok(Self {
            context,
            between: false,
        })
    }
}

impl Decode for Unzstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken> {
        if self.between && input.is_empty() {
            return Ok((0, 0));
        }
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(output);
        let hint = self.context.decompress_stream(&mut to, &mut from);
        let hint = hint.map_err(|code| match code {
            WINDOW_TOO_LARGE => Broken::Window,
            _ => Broken::Corrupt,
        })?;
        let (read, written) = (from.pos(), to.pos());
        // A frame is over when it has been read to its end and flushed.
        self.between = hint == 0;
        Ok((read, written))
    }

    fn may_end(&self) -> bool {
        self.between
    }

    fn memory(&self) -> usize {
        self.context.sizeof()
    }
}

/// Does zstd: one frame.
pub struct Zstd(CCtx<'static>);

impl Zstd {
    pub fn new() -> Result<Self, Broken> {
        let mut context = CCtx::try_create().ok_or(Broken::Failed)?;
        for parameter in [
            CParameter::CompressionLevel(limits::ZSTD_LEVEL),
            CParameter::WindowLog(limits::ZSTD_OUT_WINDOW),
            CParameter::ChecksumFlag(true),
        ] {
            context
                .set_parameter(parameter)
                .map_err(|_| Broken::Failed)?;
        }
        Ok(Self(context))
    }

    fn run(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        how: ZSTD_EndDirective,
    ) -> Result<(), Broken> {
        let mut from = InBuffer::around(input);
        loop {
            let start = out.len();
            out.reserve(limits::CODING_STEP);
            let mut to = OutBuffer::around_pos(out, start);
            let left = self
                .0
                .compress_stream2(&mut to, &mut from, how)
                .map_err(|_| Broken::Failed)?;
            let done = match how {
                ZSTD_e_continue => from.pos() == input.len(),
                _ => left == 0,
            };
            if done {
                return Ok(());
            }
        }
    }
}

impl Encode for Zstd {
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.run(input, out, ZSTD_e_continue)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.run(&[], out, ZSTD_e_flush)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.run(&[], out, ZSTD_e_end)
    }
}
