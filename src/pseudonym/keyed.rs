//! HMAC-SHA256 (RFC 2104, FIPS 198-1) from precomputed key states.
//!
//! What enters: a 256-bit key once, then many short messages. What leaves: their codes. What can
//! never happen: a key state that outlives its owner in memory, or is printed.
//!
//! The compression function is sha2's own. Keeping the two states behind the key pads instead of
//! cloning the `hmac` crate's object saves a quarter of the time of a short message
//! (`benches/derive.rs`); a property test holds both equal.

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::Key32;

/// Bytes of one SHA-256 block.
const BLOCK: usize = 64;

/// SHA-256's initial state (FIPS 180-4, section 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A keyed HMAC-SHA256. Boxed, so that moving it leaves no copy of the states behind.
pub(super) struct KeyedHmac(Box<States>);

#[derive(Zeroize, ZeroizeOnDrop)]
struct States {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl KeyedHmac {
    pub fn new(key: &Key32) -> Self {
        let mut states = Box::new(States {
            inner: START,
            outer: START,
        });
        absorb_pad(&mut states.inner, key, 0x36);
        absorb_pad(&mut states.outer, key, 0x5c);
        Self(states)
    }

    /// The first 128 bits of the code of the parts, one after the other.
    #[inline]
    pub fn code128(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut block = [0u8; BLOCK];
        let mut state = self.0.inner;
        hash(&mut state, &mut block, parts);
        self.outer(state, &mut block)
    }

    /// As [`KeyedHmac::code128`] of the opening, four bytes, and the rest, if all of it fits into
    /// one block with its padding (nearly every message does).
    #[inline]
    pub fn code128_behind(
        &self,
        opening: &Opening,
        four: [u8; 4],
        rest: &[u8],
    ) -> Option<[u8; 16]> {
        let start = opening.length + four.len();
        let end = start + rest.len();
        if end >= BLOCK - 8 {
            return None;
        }
        let mut block = opening.block;
        block[opening.length..start].copy_from_slice(&four);
        block[start..end].copy_from_slice(rest);
        block[end] = 0x80;
        block[BLOCK - 8..].copy_from_slice(&bits(BLOCK + end));
        let mut state = self.0.inner;
        compress256(&mut state, std::slice::from_ref(&block));
        Some(self.outer(state, &mut block))
    }

    /// The outer hash of the inner one's final state.
    #[inline]
    fn outer(&self, mut state: [u32; 8], block: &mut [u8; BLOCK]) -> [u8; 16] {
        // The same block serves again, so that the message does not stay behind on the stack.
        for (bytes, word) in block.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        block[32] = 0x80;
        block[33..56].fill(0);
        block[56..].copy_from_slice(&bits(BLOCK + 32));
        state = self.0.outer;
        compress256(&mut state, std::slice::from_ref(block));

        let mut code = [0; 16];
        for (bytes, word) in code.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        code
    }
}

/// What many messages start with, laid out as the beginning of a block, zeros behind it.
pub(super) struct Opening {
    block: [u8; BLOCK],
    length: usize,
}

impl Opening {
    /// `None`: it is longer than a block.
    pub fn new(start: &[u8]) -> Option<Self> {
        let mut block = [0; BLOCK];
        block.get_mut(..start.len())?.copy_from_slice(start);
        Some(Self {
            block,
            length: start.len(),
        })
    }
}

/// Runs one block of `key XOR pad` through the state.
fn absorb_pad(state: &mut [u32; 8], key: &Key32, pad: u8) {
    let mut block = [pad; BLOCK];
    for (byte, key) in block.iter_mut().zip(key.expose()) {
        *byte ^= key;
    }
    compress256(state, &[block]);
    block.zeroize();
}

/// Absorbs the message and its padding (FIPS 180-4, section 5.1.1), one key block before it.
#[inline]
fn hash(state: &mut [u32; 8], block: &mut [u8; BLOCK], parts: &[&[u8]]) {
    let mut filled = 0;
    let mut total = BLOCK;
    for part in parts {
        total += part.len();
        let mut rest = *part;
        while filled + rest.len() >= BLOCK {
            let (now, later) = rest.split_at(BLOCK - filled);
            block[filled..].copy_from_slice(now);
            compress256(state, &[*block]);
            filled = 0;
            rest = later;
        }
        block[filled..filled + rest.len()].copy_from_slice(rest);
        filled += rest.len();
    }
    block[filled] = 0x80;
    block[filled + 1..].fill(0);
    if filled >= BLOCK - 8 {
        compress256(state, &[*block]);
        block.fill(0);
    }
    block[BLOCK - 8..].copy_from_slice(&bits(total));
    compress256(state, &[*block]);
}

/// A length in bits, as SHA-256 ends a message with it.
fn bits(bytes: usize) -> [u8; 8] {
    (bytes as u64 * 8).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;

    fn by_the_crate(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes()[..16].try_into().unwrap()
    }

    #[test]
    fn every_short_length_equals_the_hmac_crate() {
        let key = [0xa5; 32];
        let keyed = KeyedHmac::new(&Key32::new(key));
        let message: Vec<u8> = (0..=255).collect();
        for end in 0..message.len() {
            for cut in [0, end / 2, end.saturating_sub(1), end] {
                let parts = [&message[..cut], &message[cut..end]];
                assert_eq!(keyed.code128(&parts), by_the_crate(&key, &parts), "{end}");
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_hmac_crate(
            key: [u8; 32],
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..5),
        ) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let keyed = KeyedHmac::new(&Key32::new(key));
            prop_assert_eq!(keyed.code128(&parts), by_the_crate(&key, &parts));
        }
    }

    #[test]
    fn a_message_behind_an_opening_equals_the_hmac_crate() {
        let key = [0x3c; 32];
        let keyed = KeyedHmac::new(&Key32::new(key));
        let message: Vec<u8> = (0..=255).cycle().take(360).collect();
        for length in 0..=BLOCK {
            let opening = Opening::new(&message[..length]).unwrap();
            let (start, four) = (length + 4, message[length..].first_chunk().unwrap());
            for end in start..start + 80 {
                let code = keyed.code128_behind(&opening, *four, &message[start..end]);
                // The padding is a byte and a length of eight.
                assert_eq!(code.is_some(), end + 9 <= BLOCK, "{length} {end}");
                if let Some(code) = code {
                    let plain = by_the_crate(&key, &[&message[..end]]);
                    assert_eq!(code, plain, "{length} {end}");
                }
            }
        }
        assert!(Opening::new(&message[..BLOCK + 1]).is_none());
    }

    #[test]
    fn states_are_wiped() {
        let mut keyed = KeyedHmac::new(&Key32::new([3; 32]));
        keyed.0.zeroize();
        assert_eq!((keyed.0.inner, keyed.0.outer), ([0; 8], [0; 8]));
        fn wiped_on_drop<T: ZeroizeOnDrop>() {}
        wiped_on_drop::<States>();
    }
}
