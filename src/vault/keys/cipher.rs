//! AES-256-GCM with random nonces: `nonce 12 | ciphertext | tag 16`.
//!
//! What can never happen: two messages under one nonce by design of the caller (nonces are drawn
//! here, or are the keyed hash of what is sealed), or an opened message whose tag did not hold.

use std::sync::Arc;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use zeroize::Zeroizing;

use super::random;
use crate::secret::{Key32, stack};

/// Bytes that a sealed message is longer than its plaintext.
pub const OVERHEAD: usize = NONCE + TAG;
pub const NONCE: usize = 12;
pub const TAG: usize = 16;

/// Something sealed does not open: damaged, moved, or under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open: it is damaged, was moved, or the key is another")]
pub struct Broken;

/// A key with its schedule, wiped with the last clone. Shared, so that moving one leaves no copy
/// of the schedule behind.
#[derive(Clone)]
pub struct Cipher(Arc<Aes256Gcm>);

impl Cipher {
    pub fn new(key: &Key32) -> Self {
        stack::touched();
        Self(Arc::new(Aes256Gcm::new(key.expose().into())))
    }

    /// Seals under a random nonce. One key seals at most 2^32 messages (SP 800-38D, 8.3).
    pub fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_with(&random(), associated, plaintext)
    }

    /// Seals under a nonce that the caller has drawn.
    pub fn seal_with(&self, nonce: &[u8; NONCE], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_written(nonce, associated, plaintext.len(), |out| {
            out.extend_from_slice(plaintext);
        })
    }

    /// As [`Cipher::seal_with`], for a plaintext of `length` bytes that `write` appends: it is
    /// sealed where it lies, and no copy stays behind.
    ///
    /// # Panics
    /// If `write` appends another number of bytes.
    pub fn seal_written(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        stack::touched();
        let mut out = Vec::with_capacity(length + OVERHEAD);
        out.extend_from_slice(nonce);
        write(&mut out);
        // A vector that had to grow would have left its plaintext in freed memory.
        assert_eq!(out.len(), NONCE + length, "as long as was said");
        let tag = self
            .0
            .encrypt_inout_detached(nonce.into(), associated, (&mut out[NONCE..]).into())
            .expect("messages are far below the 64 GiB of GCM");
        out.extend_from_slice(&tag);
        out
    }

    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Broken> {
        stack::touched();
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Broken)?;
        let mut out = Zeroizing::new(rest.to_vec());
        self.0
            .decrypt_in_place(nonce.into(), associated, &mut *out)
            .map_err(|_| Broken)?;
        debug_assert_eq!(out.len() + OVERHEAD, sealed.len());
        Ok(out)
    }

    /// Opens a key of 32 bytes.
    pub fn open_key(&self, associated: &[u8], sealed: &[u8]) -> Result<Key32, Broken> {
        let bytes = self.open(associated, sealed)?;
        let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| Broken)?;
        Ok(Key32::new(*key))
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_whole_and_in_its_place() {
        let cipher = Cipher::new(&Key32::new([1; 32]));
        let sealed = cipher.seal(b"here", b"SUB-1");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(&**cipher.open(b"here", &sealed).unwrap(), b"SUB-1");
        assert!(cipher.open(b"there", &sealed).is_err());
        assert!(
            Cipher::new(&Key32::new([2; 32]))
                .open(b"here", &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(cipher.open(b"here", &bent).is_err());
            assert!(cipher.open(b"here", &sealed[..at]).is_err());
        }
    }
}
