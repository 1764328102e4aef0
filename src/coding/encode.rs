//! A stack of codings, done.
//!
//! What enters: bytes, in order. What leaves: the same, coded. What can never happen: an end
//! without [`Encoder::finish`].

use super::br::Brotli;
use super::zlib::{Deflate, Gzip};
use super::zstd::Zstd;
use super::{Broken, Coding, Encode};
use crate::error::{Fault, Stage};
use crate::limits;

/// Does a stack of codings.
pub struct Encoder {
    /// In the order in which they are done.
    layers: Vec<Box<dyn Encode>>,
    /// What goes from one layer to the next.
    between: Vec<u8>,
}

impl Encoder {
    /// `codings`: in the order of `Content-Encoding`.
    ///
    /// # Errors
    /// `Code::Internal`: no memory.
    pub fn new(codings: &[Coding]) -> Result<Self, Fault> {
        let layers: Result<_, Broken> = codings
            .iter()
            .map(|coding| {
                let encode: Box<dyn Encode> = match coding {
                    Coding::Gzip => Box::new(Gzip::new()),
                    Coding::Deflate => Box::new(Deflate::new()),
                    Coding::Br => Box::new(Brotli::new()),
                    Coding::Zstd => Box::new(Zstd::new()?),
                };
                Ok(encode)
            })
            .collect();
        Ok(Self {
            layers: layers.map_err(|broken| broken.fault(Stage::Encode))?,
            between: Vec::new(),
        })
    }

    /// Takes all of `input`, and appends to `out` what has come of it.
    ///
    /// # Errors
    /// `Code::Internal`.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.through(input, out, |encode, input, out| encode.push(input, out))
    }

    /// The same, and what was pushed does not wait for more: a receiver can decode all of it.
    ///
    /// # Errors
    /// `Code::Internal`.
    pub fn push_now(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.through(input, out, |encode, input, out| {
            encode.push(input, out)?;
            encode.flush(out)
        })
    }

    /// Appends the end. Nothing may be pushed after it.
    ///
    /// # Errors
    /// `Code::Internal`.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.through(&[], out, |encode, input, out| {
            if !input.is_empty() {
                encode.push(input, out)?;
            }
            encode.finish(out)
        })
    }

    /// All of a body at once.
    ///
    /// # Errors
    /// `Code::Internal`.
    pub fn whole(codings: &[Coding], body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut encoder = Self::new(codings)?;
        let mut out = Vec::with_capacity(body.len() / 4 + 64);
        encoder.push(body, &mut out)?;
        encoder.finish(&mut out)?;
        Ok(out)
    }

    /// Bytes of memory that these codings take.
    pub fn memory(codings: &[Coding]) -> usize {
        codings.len() * limits::CODING_OUT_STATE
    }

    fn through(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        step: impl Fn(&mut dyn Encode, &[u8], &mut Vec<u8>) -> Result<(), Broken>,
    ) -> Result<(), Fault> {
        let fault = |broken: Broken| broken.fault(Stage::Encode);
        match &mut self.layers[..] {
            [] => out.extend_from_slice(input),
            [only] => step(&mut **only, input, out).map_err(fault)?,
            [first, others @ .., last] => {
                self.between.clear();
                step(&mut **first, input, &mut self.between).map_err(fault)?;
                for layer in others {
                    let coded = std::mem::take(&mut self.between);
                    step(&mut **layer, &coded, &mut self.between).map_err(fault)?;
                }
                step(&mut **last, &self.between, out).map_err(fault)?;
            }
        }
        Ok(())
    }
}
