//! Content codings, undone and done again (RFC 9110, section 8.4.1).
//!
//! What enters: coded bytes in pieces of any size. What leaves: decoded bytes, never more at once
//! than was asked for; and the way back. Nothing here knows of HTTP, files or time. What can never
//! happen: a stream that is cut short, damaged, or followed by something else ends well; what
//! comes out, or is needed to make it, grows beyond its bound, whatever the input says.
//!
//! - [`decode`]: a stack of codings undone, with the bound on how much may come out of how little;
//! - [`encode`]: the same stack done again;
//! - `zlib` (gzip, deflate), `br`, `zstd`: one coding each, both ways.
//!
//! | coding | read | refused | written |
//! |---|---|---|---|
//! | `gzip` (RFC 1952) | one member or many | bytes that begin no member | one member, no name, no time |
//! | `deflate` (RFC 1950) | zlib | raw deflate (RFC 1951), preset dictionaries | zlib |
//! | `br` (RFC 7932) | windows to [`limits::BROTLI_WINDOW`] | larger ones, "large window" | window [`limits::BROTLI_OUT_WINDOW`] |
//! | `zstd` (RFC 8878) | frames, skippable ones left out | windows over [`limits::ZSTD_WINDOW`] (RFC 9659), dictionaries | one frame |
//!
//! Names, comments and skippable frames that a sender has put beside the data do not come out
//! again: nobody has looked at them.

use crate::error::{Code, Fault, Stage};
use crate::limits;

mod br;
pub mod decode;
pub mod encode;
#[cfg(test)]
mod tests;
mod zlib;
mod zstd;

pub use decode::Decoder;
pub use encode::Encoder;

/// One content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

impl Coding {
    /// In the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Br, Self::Zstd];

    /// As IANA has registered it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of a name; names are compared without regard to case, and `x-gzip` is `gzip`
    /// (RFC 9110, section 8.4.1.3).
    pub fn of(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| is(coding.name()))
    }
}

/// Undoes one coding.
trait Decode: Send {
    /// Reads from `input`, writes to `output`; how much of each. With neither, it needs more
    /// input.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Broken>;

    /// Whether the coded stream may end here.
    fn may_end(&self) -> bool;

    /// Bytes of memory that it takes, or has said that it will.
    fn memory(&self) -> usize;
}

/// Does one coding.
trait Encode: Send {
    /// Takes all of `input`; appends to `out` what has come of it.
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken>;

    /// Appends everything that was pushed: a decoder of what has come so far has all of it.
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Broken>;

    /// Appends the end.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken>;
}

/// Why a coding cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// No such stream, or something after its end.
    Corrupt,
    /// It wants a larger window than it may have.
    Window,
    /// The library failed (no memory).
    Failed,
}

impl Broken {
    fn fault(self, stage: Stage) -> Fault {
        let code = match self {
            Self::Corrupt => Code::CodingBroken,
            Self::Window => Code::CodingWindow,
            Self::Failed => Code::Internal,
        };
        Fault::new(code, stage)
    }
}

/// Memory of undoing these codings before any has said its window: what is held while the
/// beginning of a body is read.
pub fn beginning(codings: &[Coding]) -> usize {
    codings.len() * limits::CODING_STATE
}
