//! gzip (RFC 1952) and deflate, which is zlib (RFC 1950), by flate2 on zlib-rs.

use std::io::{self, Write};

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};

use super::{Broken, Decode, Encode};
use crate::limits;

/// Bits of deflate's largest window: 32 KiB.
const WINDOW: u8 = 15;

/// What undoing takes: window and tables.
const MEMORY: usize = 64 * 1024;

/// Undoes gzip, member after member.
pub struct Gunzip {
    /// `None` between two members.
    member: Option<Decompress>,
    begun: bool,
}

impl Gunzip {
    pub fn new() -> Self {
        Self {
            member: None,
            begun: false,
        }
    }
}

impl Decode for Gunzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken> {
        if self.member.is_none() && input.is_empty() {
            return Ok((0, 0));
        }
        self.begun = true;
        let member = (self.member).get_or_insert_with(|| Decompress::new_gzip(WINDOW));
        let (read, written, ended) = inflate(member, input, output)?;
        if ended {
            self.member = None;
        }
        Ok((read, written))
    }

    fn may_end(&self) -> bool {
        self.begun && self.member.is_none()
    }

    fn memory(&self) -> usize {
        MEMORY
    }
}

/// Undoes zlib.
pub struct Inflate {
    stream: Decompress,
    ended: bool,
}

impl Inflate {
    pub fn new() -> Self {
        Self {
            stream: Decompress::new_with_window_bits(true, WINDOW),
            ended: false,
        }
    }
}

impl Decode for Inflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken> {
        if self.ended {
            return if input.is_empty() {
                Ok((0, 0))
            } else {
                Err(Broken::Corrupt)
            };
        }
        let (read, written, ended) = inflate(&mut self.stream, input, output)?;
        self.ended = ended;
        Ok((read, written))
    }

    fn may_end(&self) -> bool {
        self.ended
    }

    fn memory(&self) -> usize {
        MEMORY
    }
}

/// What was read, what was written, whether the stream has ended. A preset dictionary, which
/// nobody has agreed on, is an error of the library's.
fn inflate(
    stream: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(usize, usize, bool), Broken> {
    let (before_in, before_out) = (stream.total_in(), stream.total_out());
    let status = stream
        .decompress(input, output, FlushDecompress::None)
        .map_err(|_| Broken::Corrupt)?;
    let of = |total: u64, before: u64| usize::try_from(total - before).unwrap_or(usize::MAX);
    Ok((
        of(stream.total_in(), before_in),
        of(stream.total_out(), before_out),
        status == Status::StreamEnd,
    ))
}

fn level() -> Compression {
    Compression::new(limits::GZIP_LEVEL)
}

/// An encoder of the library, around what it has made.
pub trait Wrapped: Write + Send {
    fn made(&mut self) -> &mut Vec<u8>;
    fn end(&mut self) -> io::Result<()>;
}

impl Wrapped for GzEncoder<Vec<u8>> {
    fn made(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

impl Wrapped for ZlibEncoder<Vec<u8>> {
    fn made(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

/// Does one of the two.
pub struct Made<W>(W);

/// Does gzip: one member that says nothing but the data.
pub type Gzip = Made<GzEncoder<Vec<u8>>>;

/// Does deflate, as zlib.
pub type Deflate = Made<ZlibEncoder<Vec<u8>>>;

impl Gzip {
    pub fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), level()))
    }
}

impl Deflate {
    pub fn new() -> Self {
        Self(ZlibEncoder::new(Vec::new(), level()))
    }
}

impl<W: Wrapped> Made<W> {
    fn step(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Broken> {
        step(&mut self.0).map_err(|_| Broken::Failed)?;
        out.append(self.0.made());
        Ok(())
    }
}

impl<W: Wrapped> Encode for Made<W> {
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.step(out, |encoder| encoder.write_all(input))
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.step(out, Write::flush)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.step(out, Wrapped::end)
    }
}
