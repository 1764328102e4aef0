//! Types for values that must not be seen.
//!
//! What enters: key material and identifiers in clear. What leaves: the same bytes, to callers
//! that ask for them by name. What can never happen: a `Debug` or `Display` that prints them.

pub mod stack;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// An identifier in clear, borrowed from a buffer of the message that is being rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a>(&'a [u8]);

impl<'a> Plain<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Name the reason where you call this.
    pub fn expose(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plain({} bytes)", self.0.len())
    }
}

/// An identifier in clear, owned; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Default, Zeroize, ZeroizeOnDrop)]
pub struct PlainBuf(Vec<u8>);

impl PlainBuf {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PlainBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainBuf({} bytes)", self.0.len())
    }
}

/// 256 bits of key material, wiped when dropped. Boxed, so that moving it leaves no copy behind.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key32(Box<[u8; 32]>);

impl Key32 {
    pub fn new(bytes: [u8; 32]) -> Self {
        stack::touched();
        Self(Box::new(bytes))
    }

    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key32(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_what_is_held() {
        assert_eq!(format!("{:?}", Plain::new(b"SUB-1")), "Plain(5 bytes)");
        assert_eq!(
            format!("{:?}", PlainBuf::new(b"SUB-1".to_vec())),
            "PlainBuf(5 bytes)"
        );
        assert_eq!(format!("{:?}", Key32::new([7; 32])), "Key32(hidden)");
    }
}
