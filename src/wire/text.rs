//! Bytes in JSON: hexadecimal for ids and hashes (people compare them), base64 for the rest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Key32;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `N` bytes as lower-case hexadecimal text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Hex<N> {
    /// Reads exactly `2 * N` hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * N {
            return None;
        }
        let mut out = [0; N];
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(out))
    }
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Piece by piece, not byte by byte: a page of the log has thousands of them.
        let mut text = [0; 64];
        for bytes in self.0.chunks(text.len() / 2) {
            for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
            let written = std::str::from_utf8(&text[..2 * bytes.len()]);
            f.write_str(written.map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not hexadecimal of the right length"))
    }
}

/// Bytes as base64 text (RFC 4648, section 4, padded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| D::Error::custom("not base64"))
    }
}

/// A key as base64 text; the text is wiped after reading.
#[derive(Clone, Debug)]
pub struct KeyText(pub Key32);

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&Zeroizing::new(STANDARD.encode(self.0.expose())))
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(d)?);
        let mut key = [0; 32];
        let read = STANDARD.decode_slice(text.as_bytes(), &mut key);
        let made = Key32::new(key);
        key.zeroize();
        match read {
            Ok(32) => Ok(Self(made)),
            _ => Err(D::Error::custom("not a key of 32 bytes in base64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_spelling() {
        assert_eq!(Hex([0xab, 0x01]).to_string(), "ab01");
        let long: [u8; 70] = std::array::from_fn(|n| n as u8 * 3);
        assert_eq!(Hex::<70>::parse(&Hex(long).to_string()), Some(Hex(long)));
        assert_eq!(Hex::<2>::parse("ab01"), Some(Hex([0xab, 1])));
        for wrong in ["AB01", "ab0", "ab011", "ab 1", ""] {
            assert_eq!(Hex::<2>::parse(wrong), None);
        }
    }

    #[test]
    fn a_key_goes_round_and_debug_hides_it() {
        let text = serde_json::to_string(&KeyText(Key32::new([7; 32]))).unwrap();
        let back: KeyText = serde_json::from_str(&text).unwrap();
        assert_eq!(back.0.expose(), &[7; 32]);
        assert_eq!(format!("{back:?}"), "KeyText(Key32(hidden))");
        assert!(serde_json::from_str::<KeyText>("\"BwcH\"").is_err());
    }
}
