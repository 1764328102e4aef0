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
    pub fn code128(&self, parts: &[&[u8]]) -> [u8; 16] {
        let begun = self.begin(parts);
        begun.end_alone(self)
    }

    /// A message of these parts, absorbed up to its last block.
    pub fn begin(&self, parts: &[&[u8]]) -> Begun {
        let mut begun = Begun {
            state: self.0.inner,
            block: [0; BLOCK],
        };
        absorb(&mut begun, parts);
        begun
    }

    /// As [`KeyedHmac::begin`] of the opening, four bytes, and the rest, if all of it fits into
    /// one block with its padding (nearly every message does).
    #[inline]
    pub fn begin_behind(&self, opening: &Opening, four: [u8; 4], rest: &[u8]) -> Option<Begun> {
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
        Some(Begun {
            state: self.0.inner,
            block,
        })
    }
}

/// A message before its last two compressions: [`Begun::inner`], [`Begun::turn`] and
/// [`Begun::outer`]. Those of many messages wait for nothing of each other, so a processor does
/// two or three at a time, if each step is done for all of them before the next. Behind `turn`
/// nothing of the message is left in it; who drops it before wipes it.
#[derive(Clone, Zeroize)]
pub(super) struct Begun {
    state: [u32; 8],
    block: [u8; BLOCK],
}

impl Begun {
    /// Ends the inner hash.
    #[inline]
    pub fn inner(&mut self) {
        compress256(&mut self.state, std::slice::from_ref(&self.block));
    }

    /// Makes the inner hash the message of the outer one.
    #[inline]
    pub fn turn(&mut self, key: &KeyedHmac) {
        // In the same block, so that the message does not stay behind.
        for (bytes, word) in self.block.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        self.block[32] = 0x80;
        self.block[33..56].fill(0);
        self.block[56..].copy_from_slice(&bits(BLOCK + 32));
        self.state = key.0.outer;
    }

    /// Ends the outer hash: its first 128 bits.
    #[inline]
    pub fn outer(&mut self) -> [u8; 16] {
        compress256(&mut self.state, std::slice::from_ref(&self.block));
        let mut code = [0; 16];
        for (bytes, word) in code.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        code
    }

    /// All three.
    #[inline]
    pub fn end_alone(mut self, key: &KeyedHmac) -> [u8; 16] {
        self.inner();
        self.turn(key);
        self.outer()
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

/// Absorbs a message, and leaves its last block with the padding in it (FIPS 180-4, section
/// 5.1.1). One key block came before it.
fn absorb(begun: &mut Begun, parts: &[&[u8]]) {
    let Begun { state, block } = begun;
    let mut filled = 0;
    let mut total = BLOCK;
    for part in parts {
        total += part.len();
        let mut rest = *part;
        while filled + rest.len() >= BLOCK {
            let (now, later) = rest.split_at(BLOCK - filled);
            block[filled..].copy_from_slice(now);
            compress256(state, std::slice::from_ref(block));
            filled = 0;
            rest = later;
        }
        block[filled..filled + rest.len()].copy_from_slice(rest);
        filled += rest.len();
    }
    block[filled] = 0x80;
    block[filled + 1..].fill(0);
    if filled >= BLOCK - 8 {
        compress256(state, std::slice::from_ref(block));
        block.fill(0);
    }
    block[BLOCK - 8..].copy_from_slice(&bits(total));
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
                let begun = keyed.begin_behind(&opening, *four, &message[start..end]);
                let code = begun.map(|begun| begun.end_alone(&keyed));
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
    fn a_finished_message_leaves_nothing_of_itself() {
        let keyed = KeyedHmac::new(&Key32::new([3; 32]));
        let opening = Opening::new(b"QQQQ").unwrap();
        for rest in [&[b'Q'; 40][..], &[b'Q'; 51], &[b'Q'; 52], &[b'Q'; 130]] {
            let short = keyed.begin_behind(&opening, *b"QQQQ", rest);
            let mut begun = short.unwrap_or_else(|| keyed.begin(&[b"QQQQ", rest]));
            begun.inner();
            begun.turn(&keyed);
            assert!(!begun.block.windows(4).any(|four| four == b"QQQQ"));
        }
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
