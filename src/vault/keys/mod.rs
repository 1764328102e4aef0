//! The vault's keys: what is random, what wraps it, what is derived from it.
//!
//! ```text
//! root key ─────── HKDF ──┬─ wraps the random root of each (domain, epoch)
//!                         ├─ wraps the HPKE private key, the log's signing key
//!                         ├─ wraps the log's key of each month
//!                         ├─ names (domain names), reveals at rest
//! root of (domain, epoch) ─ HKDF ──┬─ leased key: pseudonyms follow from it, records do not
//!                                  ├─ index, tag and known keys of record rows
//!                                  ├─ wraps each subject's random data key
//!                                  └─ vocabulary key
//! ```
//!
//! So the destruction of an epoch's wrapped root is final for everything below it. What can
//! never happen: a key at rest in clear, or a wrapped key that opens in another place.

pub mod cipher;
pub mod epoch;
pub mod root;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Key32;

/// Joins parts so that no two lists of parts give the same bytes: each is preceded by its length.
pub fn bind(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| 4 + p.len()).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// HKDF-SHA256 (RFC 5869) with a length-prefixed info.
pub fn derive(key: &Key32, info: &[&[u8]]) -> Key32 {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, key.expose())
        .expand(&bind(info), out.as_mut())
        .expect("32 bytes are a valid length of HKDF-SHA256");
    Key32::new(*out)
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the system gives random bytes, or nothing is safe");
    out
}

/// A random key.
pub fn random_key() -> Key32 {
    Key32::new(*Zeroizing::new(random()))
}
