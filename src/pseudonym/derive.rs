//! Keyed derivation: HMAC-SHA256 under subkeys of a domain's epoch key.

use super::Kind;
use crate::secret::Key32;

/// 128 bits that stand in an identifier's place. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym(pub [u8; 16]);

/// The key of one (domain, epoch).
#[derive(Debug)]
pub struct DomainKey {
    pub domain: [u8; 16],
    pub epoch: u32,
    _root: Key32,
}

impl DomainKey {
    pub fn new(domain: [u8; 16], epoch: u32, root: Key32) -> Self {
        Self {
            domain,
            epoch,
            _root: root,
        }
    }

    /// The precomputed key of one kind.
    pub fn kind(&self, _kind: &Kind) -> KindKey {
        todo!()
    }
}

/// Derives pseudonyms of one kind in one (domain, epoch), and writes their text form.
pub struct KindKey {}

impl KindKey {
    /// The pseudonym of a normal form.
    pub fn derive(&self, _normal: &[u8]) -> Pseudonym {
        todo!()
    }

    /// Appends the text form: `prefix_`, epoch, 26 characters, check character.
    pub fn write(&self, _pseudonym: &Pseudonym, _out: &mut String) {
        todo!()
    }
}
