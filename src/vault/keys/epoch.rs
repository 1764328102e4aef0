//! The keys of one (domain, epoch): derivation to check what gateways say, and the keys of the
//! rows at rest.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::cipher::Cipher;
use super::{bind, derive};
use crate::pseudonym::{DomainKey, KindId, KindKey, Kinds, Pseudonym};
use crate::secret::Key32;

/// One (domain, epoch), unlocked.
pub struct EpochKeys {
    /// The epoch's row in the store.
    pub row: i64,
    pub vault: [u8; 16],
    pub domain_name: String,
    pub domain: [u8; 16],
    pub epoch: u32,
    leased: Key32,
    kinds: Vec<KindKey>,
    index: Hmac<Sha256>,
    tag: Hmac<Sha256>,
    pub known: Cipher,
    /// Wraps the data keys of subjects.
    pub subjects: Cipher,
    pub vocabulary: Cipher,
}

/// What an epoch's keys belong to.
#[derive(Clone, Debug)]
pub struct Place {
    pub row: i64,
    pub vault: [u8; 16],
    pub domain_name: String,
    pub domain: [u8; 16],
    pub epoch: u32,
}

impl EpochKeys {
    pub fn new(place: Place, root: &Key32, kinds: &Kinds) -> Self {
        let key = |what: &[u8]| {
            let epoch = place.epoch.to_be_bytes();
            derive(root, &[b"cryptonym epoch v1", what, &place.domain, &epoch])
        };
        let mac = |what: &[u8]| {
            Hmac::new_from_slice(key(what).expose()).expect("HMAC takes keys of any length")
        };
        let leased = key(b"lease");
        let domain_key = DomainKey::new(place.domain, place.epoch, leased.clone());
        Self {
            kinds: kinds.iter().map(|(_, k)| domain_key.kind(k)).collect(),
            index: mac(b"index"),
            tag: mac(b"tag"),
            known: Cipher::new(&key(b"known")),
            subjects: Cipher::new(&key(b"subjects")),
            vocabulary: Cipher::new(&key(b"vocabulary")),
            leased,
            row: place.row,
            vault: place.vault,
            domain_name: place.domain_name,
            domain: place.domain,
            epoch: place.epoch,
        }
    }

    /// The key that gateways lease: every pseudonym follows from it, no record does.
    pub fn leased(&self) -> &Key32 {
        &self.leased
    }

    pub fn kind(&self, kind: KindId) -> &KindKey {
        &self.kinds[usize::from(kind.0)]
    }

    /// Where a pseudonym's row is found: HMAC under this epoch's index key, 128 bits.
    pub fn index(&self, pseudonym: &Pseudonym) -> [u8; 16] {
        let mut mac = self.index.clone();
        mac.update(&pseudonym.0);
        first16(mac)
    }

    /// Tells whether two records at one index hold the same identifier, without opening either.
    pub fn tag(&self, index: &[u8; 16], kind: &str, identifier: &[u8]) -> [u8; 16] {
        let mut mac = self.tag.clone();
        for part in [index, kind.as_bytes(), identifier] {
            // As `bind` writes it.
            mac.update(&(part.len() as u32).to_be_bytes());
            mac.update(part);
        }
        first16(mac)
    }

    /// Associated data of a row's parts. They end with the index.
    pub fn row_place(&self, part: &[u8], index: &[u8; 16]) -> Vec<u8> {
        bind(&[
            part,
            &self.vault,
            &self.domain,
            &self.epoch.to_be_bytes(),
            index,
        ])
    }
}

impl std::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochKeys({}, epoch {})", self.domain_name, self.epoch)
    }
}

fn first16(mac: Hmac<Sha256>) -> [u8; 16] {
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut out = [0; 16];
    out.copy_from_slice(&full[..16]);
    out
}
