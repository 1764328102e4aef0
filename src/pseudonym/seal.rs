//! Sealed values: encrypted under a random key of their record, which only a recovery record holds.
//!
//! What enters: a key, the kind it is kept under, the place and the value. What leaves: a text that
//! stands in the value's place; or, of such a text, the value. What can never happen: two values
//! under one key and nonce, a value that opens at another place or under another kind, or a length
//! that tells more than a power of two.
//!
//! ```text
//! text      = pseudonym of the key "." base64url (no padding) of: nonce 12 | ciphertext | tag 16
//! key       = 32 random bytes, new for every record and kind
//! pseudonym = as any of its kind, of the key's 64 lower-case hexadecimal digits
//! nonce     = 0 in 8 bytes, then the number of the value under this key, big-endian, from 0
//! plaintext = value | 0x80 | zeros up to 32, 64, 128, … bytes             ISO/IEC 7816-4, 9797-1
//! cipher    = AES-256-GCM                                                 SP 800-38D
//! binds     = field("cryptonym-seal-1") field(kind name) field(place)     `field` as in `derive`
//! ```

use std::fmt;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::derive::length;
use super::text::{looks_like_pseudonym, parse};
use super::{Kind, Kinds};
use crate::limits;
use crate::secret::{Key32, PlainBuf};

const VERSION: &[u8] = b"cryptonym-seal-1";
const NONCE: usize = 12;
const TAG: usize = 16;

/// It is no sealed text, or was sealed under another key or kind, or at another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this does not open: it is damaged, or the key, the kind or the place is another")]
pub struct Broken;

/// The key of one record's sealed values of one kind.
pub struct SealKey {
    key: Key32,
    cipher: Aes256Gcm,
    /// Values sealed so far.
    count: u32,
}

impl SealKey {
    /// `key` is fresh randomness that nothing else uses.
    pub fn new(key: Key32) -> Self {
        Self {
            cipher: Aes256Gcm::new(key.expose().into()),
            key,
            count: 0,
        }
    }

    /// What the recovery record holds.
    pub fn identifier(&self) -> PlainBuf {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = self.key.expose().iter();
        let digits = bytes.flat_map(|byte| [byte >> 4, byte & 15]);
        let mut out = Vec::with_capacity(64);
        out.extend(digits.map(|digit| DIGITS[usize::from(digit)]));
        PlainBuf::new(out)
    }

    /// The key of a recovery record, to open with.
    pub fn of_identifier(identifier: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        if identifier.len() != 64 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(identifier.chunks_exact(2)) {
            let digit = |byte: u8| match byte {
                b'0'..=b'9' => Some(byte - b'0'),
                b'a'..=b'f' => Some(byte - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self::new(Key32::new(*key)))
    }

    /// Appends `.` and the sealed value: what stands behind the key's pseudonym.
    ///
    /// # Errors
    /// [`Broken`] after 2^32 values, which no record has.
    pub fn seal(
        &mut self,
        kind: &str,
        place: &str,
        value: &[u8],
        out: &mut String,
    ) -> Result<(), Broken> {
        let mut nonce = [0; NONCE];
        nonce[8..].copy_from_slice(&self.count.to_be_bytes());
        self.count = self.count.checked_add(1).ok_or(Broken)?;
        let padded = (value.len() + 1)
            .next_power_of_two()
            .max(limits::SEAL_LEAST);
        // The exact size at once: a buffer that grows leaves copies behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE + padded + TAG));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        sealed.push(0x80);
        sealed.resize(NONCE + padded, 0);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                (&nonce).into(),
                &binds(kind, place),
                (&mut sealed[NONCE..]).into(),
            )
            .map_err(|_| Broken)?;
        sealed.extend_from_slice(&tag);
        out.push('.');
        URL_SAFE_NO_PAD.encode_string(&*sealed, out);
        Ok(())
    }

    /// The value of what [`SealKey::seal`] has written, without its `.`.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open(
        &self,
        kind: &str,
        place: &str,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Broken> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Broken)?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Broken)?;
        let mut out = Zeroizing::new(rest.to_vec());
        self.cipher
            .decrypt_in_place(nonce.into(), &binds(kind, place), &mut *out)
            .map_err(|_| Broken)?;
        let end = out.iter().rposition(|byte| *byte != 0).ok_or(Broken)?;
        if out[end] != 0x80 {
            return Err(Broken);
        }
        out.truncate(end);
        Ok(out)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(hidden)")
    }
}

/// A sealed text's two halves: the key's pseudonym, and what stands behind the dot.
pub fn halves(text: &str) -> Option<(&str, &str)> {
    text.split_once('.')
}

/// Whether a value is, or was meant to be, a sealed text or a pseudonym: it must not be sealed
/// again.
pub fn looks_sealed(value: &[u8], kinds: &Kinds) -> bool {
    let head = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    looks_like_pseudonym(head, kinds)
}

/// Whether a value is a text sealed under this kind, of whatever epoch, to the letter.
pub fn is_sealed(value: &[u8], kind: &Kind) -> bool {
    let halves = std::str::from_utf8(value).ok().and_then(halves);
    let Some((head, sealed)) = halves else {
        return false;
    };
    let known = parse(head.as_bytes())
        .is_some_and(|parsed| parsed.prefix == &*kind.prefix && parsed.epoch > 0);
    let bytes = URL_SAFE_NO_PAD.decode(sealed);
    let length = bytes.map_or(0, |b| b.len().saturating_sub(NONCE + TAG));
    known && length >= limits::SEAL_LEAST && length.is_power_of_two()
}

fn binds(kind: &str, place: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    for field in [VERSION, kind.as_bytes(), place.as_bytes()] {
        out.extend_from_slice(&length(field));
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pseudonym::{Class, Normaliser, Pseudonym, TextForm};

    fn key(byte: u8) -> SealKey {
        SealKey::new(Key32::new([byte; 32]))
    }

    fn sealed(key: &mut SealKey, value: &[u8]) -> String {
        let mut out = String::new();
        key.seal("sealed", "$.note", value, &mut out).unwrap();
        out.split_off(1)
    }

    #[test]
    fn formats_07_a_value_opens_with_its_key_kind_and_place_only() {
        let mut mine = key(1);
        let text = sealed(&mut mine, b"came at night");
        let opened = mine.open("sealed", "$.note", &text).unwrap();
        assert_eq!(&**opened, b"came at night");
        let again = SealKey::of_identifier(mine.identifier().expose()).unwrap();
        assert_eq!(again.open("sealed", "$.note", &text).unwrap(), opened);
        assert!(key(2).open("sealed", "$.note", &text).is_err());
        assert!(mine.open("other", "$.note", &text).is_err());
        assert!(mine.open("sealed", "$.notes", &text).is_err());
        assert!(mine.open("sealed$", ".note", &text).is_err());
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert!(mine.open("sealed", "$.note", &bent).is_err(), "{at}");
            assert!(mine.open("sealed", "$.note", &text[..at]).is_err());
        }
    }

    #[test]
    fn formats_07_lengths_fall_into_powers_of_two_and_no_text_comes_twice() {
        let mut mine = key(1);
        let mut length = |of: usize| sealed(&mut mine, &vec![b'x'; of]).len();
        let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
        for (value, padded) in [(0, 32), (1, 32), (31, 32), (32, 64), (63, 64), (64, 128)] {
            assert_eq!(length(value), base64(12 + padded + 16), "{value}");
        }
        let mut mine = key(1);
        assert_ne!(sealed(&mut mine, b"x"), sealed(&mut mine, b"x"));
    }

    #[test]
    fn formats_07_what_is_no_key_is_none() {
        let good = key(0xa5).identifier();
        assert_eq!(good.expose(), "a5".repeat(32).as_bytes());
        for bad in [
            "",
            "a5",
            &"A5".repeat(32),
            &"g5".repeat(32),
            &"a5".repeat(33),
        ] {
            assert!(SealKey::of_identifier(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_eq!(format!("{:?}", key(1)), "SealKey(hidden)");
    }

    #[test]
    fn formats_07_a_sealed_text_is_known_again() {
        let kind = |name: &str, prefix: &str| Kind {
            name: name.into(),
            class: Class::Object,
            prefix: prefix.into(),
            normaliser: Normaliser::Text,
        };
        let kinds = Kinds::new(vec![kind("sealed", "sea"), kind("other", "oth")]);
        let (mine, other) = (kinds.get(crate::pseudonym::KindId(0)), kind("other", "oth"));
        let mut head = String::new();
        TextForm::new("sea", 1).write(&Pseudonym([5; 16]), &mut head);
        let text = format!("{head}.{}", sealed(&mut key(1), b"x"));
        assert!(is_sealed(text.as_bytes(), mine) && !is_sealed(text.as_bytes(), &other));
        for near in [
            &text[..text.len() - 4],
            &format!("{text}AAAA"),
            &head,
            &format!("{head}."),
        ] {
            assert!(!is_sealed(near.as_bytes(), mine), "{near}");
            assert!(looks_sealed(near.as_bytes(), &kinds), "{near}");
        }
        for free in ["came at night. sea_1", "a.b", ""] {
            assert!(!looks_sealed(free.as_bytes(), &kinds), "{free}");
        }
    }

    proptest! {
        #[test]
        fn formats_07_any_value_comes_back(values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4)) {
            let mut mine = key(3);
            let texts: Vec<_> = values.iter().map(|value| sealed(&mut mine, value)).collect();
            for (value, text) in values.iter().zip(&texts) {
                let opened = mine.open("sealed", "$.note", text);
                prop_assert_eq!(opened.as_deref().ok(), Some(value));
            }
        }

        #[test]
        fn formats_07_any_text_has_an_answer(text in "[A-Za-z0-9_.-]{0,90}") {
            prop_assert!(key(3).open("sealed", "$.note", &text).is_err());
        }
    }
}
