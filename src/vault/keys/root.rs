//! Keys that follow from the root key file, each for one use, in one vault.

use super::cipher::{Broken, Cipher};
use super::{bind, derive};
use crate::secret::Key32;

/// Derives and wraps under the root key. Holds no copy of the root itself.
#[derive(Debug)]
pub struct RootKeys {
    vault: [u8; 16],
    wrap: Cipher,
    pub names: Cipher,
    pub name_index: Key32,
    pub reveals: Cipher,
}

/// What a wrapped key is for: part of the associated data, so that none can stand in for another.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    /// The root of one (domain, epoch).
    Epoch { domain: [u8; 16], epoch: u32 },
    /// The HPKE private key for recovery batches.
    Records,
    /// The log's ed25519 key.
    LogSigning,
    /// The log's key of one retention period.
    LogPeriod(u32),
}

impl RootKeys {
    pub fn new(root: &Key32, vault: [u8; 16]) -> Self {
        let key = |what: &[u8]| derive(root, &[b"cryptonym vault v1", what, &vault]);
        Self {
            vault,
            wrap: Cipher::new(&key(b"wrap")),
            names: Cipher::new(&key(b"names")),
            name_index: key(b"name-index"),
            reveals: Cipher::new(&key(b"reveals")),
        }
    }

    pub fn wrap(&self, what: Use, key: &Key32) -> Vec<u8> {
        self.wrap.seal(&self.place(what), key.expose())
    }

    pub fn unwrap(&self, what: Use, wrapped: &[u8]) -> Result<Key32, Broken> {
        self.wrap.open_key(&self.place(what), wrapped)
    }

    fn place(&self, what: Use) -> Vec<u8> {
        match what {
            Use::Epoch { domain, epoch } => {
                bind(&[b"epoch", &self.vault, &domain, &epoch.to_be_bytes()])
            }
            Use::Records => bind(&[b"records", &self.vault]),
            Use::LogSigning => bind(&[b"log-signing", &self.vault]),
            Use::LogPeriod(period) => bind(&[b"log-period", &self.vault, &period.to_be_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_opens_only_in_its_place() {
        let root = Key32::new([1; 32]);
        let keys = RootKeys::new(&root, [9; 16]);
        let place = |epoch| Use::Epoch {
            domain: [2; 16],
            epoch,
        };
        let wrapped = keys.wrap(place(1), &Key32::new([3; 32]));
        assert_eq!(keys.unwrap(place(1), &wrapped).unwrap().expose(), &[3; 32]);
        assert!(keys.unwrap(place(2), &wrapped).is_err());
        assert!(keys.unwrap(Use::Records, &wrapped).is_err());
        assert!(
            RootKeys::new(&root, [8; 16])
                .unwrap(place(1), &wrapped)
                .is_err()
        );
        assert!(
            RootKeys::new(&Key32::new([2; 32]), [9; 16])
                .unwrap(place(1), &wrapped)
                .is_err()
        );
    }
}
