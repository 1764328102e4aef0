//! A root key in shares: Shamir's secret sharing over GF(256), by `vsss-rs`.
//!
//! What enters: a root and the custodians' public keys. What leaves: sealed shares, and for each
//! one a commitment by which the vault knows it again. What can never happen: a share in clear
//! outside of memory; a share that is taken for another one.
//!
//! A commitment is the SHA-256 of 33 bytes of which 32 are uniformly random: it tells nothing. The
//! sealed shares lie in the store too, since a resharing must be durable with its shares; fewer
//! than the threshold of custodians' keys open nothing.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::limits;
use crate::secret::{Key32, stack};
use crate::vault::keys::random;
use crate::vault::store::{StoreError, Writer};
use crate::wire::share::{FORMAT, SHARE, SealedShare};
use crate::wire::text::{Base64, Hex};

/// One sharing of one root, as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sharing {
    pub id: Hex<16>,
    pub threshold: u8,
    /// In the order of the numbers, from 1 on.
    commitments: Vec<Hex<32>>,
    pub shares: Vec<SealedShare>,
}

/// Why there is no sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharingError {
    #[error("between 2 and 16 shares, and a threshold between 2 and their number")]
    Counts,
    #[error("two shares for one custodian's key: the one who has it would count twice")]
    TwiceOne,
    #[error("a custodian's public key is no usable X25519 key")]
    Key,
    #[error("the shares do not fit together")]
    Shares,
}

/// Whether a root can be shared like that.
///
/// # Errors
/// Why not.
pub fn plausible(threshold: u8, custodians: &[Hex<32>]) -> Result<(), SharingError> {
    let most = usize::from(limits::SHARES);
    let count = custodians.len();
    let few = usize::from(threshold) < usize::from(limits::SHARES_THRESHOLD);
    if few || usize::from(threshold) > count || count > most {
        return Err(SharingError::Counts);
    }
    let twice = (1..count).any(|at| custodians[..at].contains(&custodians[at]));
    if twice {
        return Err(SharingError::TwiceOne);
    }
    Ok(())
}

impl Sharing {
    /// Shares a root out, one share for each custodian.
    ///
    /// # Errors
    /// As [`plausible`], or a key that cannot be sealed to.
    pub fn make(
        root: &Key32,
        vault: [u8; 16],
        threshold: u8,
        custodians: &[Hex<32>],
    ) -> Result<Self, SharingError> {
        plausible(threshold, custodians)?;
        stack::touched();
        let id = Hex(random());
        let count = custodians.len();
        let pieces = Gf256::split_bytes(threshold.into(), count, root.expose(), UnwrapErr(SysRng));
        let pieces = Zeroizing::new(pieces.map_err(|_| SharingError::Counts)?);
        let mut made = Self {
            id,
            threshold,
            commitments: Vec::with_capacity(count),
            shares: Vec::with_capacity(count),
        };
        for (piece, custodian) in pieces.iter().zip(custodians) {
            let number = piece[0];
            made.commitments
                .push(commitment(&vault, &id, number, piece));
            let share = SealedShare {
                format: FORMAT.to_owned(),
                vault: Hex(vault),
                sharing: id,
                number,
                threshold,
                shares: count as u8,
                custodian: *custodian,
                sealed: Base64(Vec::new()),
            };
            made.shares
                .push(share.seal(piece).map_err(|_| SharingError::Key)?);
        }
        Ok(made)
    }

    /// How many shares there are.
    pub fn count(&self) -> u8 {
        self.shares.len() as u8
    }

    /// Whether a share is the one of its number in this sharing.
    pub fn knows(&self, vault: &[u8; 16], share: &[u8]) -> bool {
        let (Some(number), SHARE) = (share.first(), share.len()) else {
            return false;
        };
        let at = usize::from(*number).checked_sub(1);
        let expected = at.and_then(|at| self.commitments.get(at));
        expected.is_some_and(|expected| {
            let found = commitment(vault, &self.id, *number, share);
            bool::from(found.0.ct_eq(&expected.0))
        })
    }

    /// # Errors
    /// The store, or what is in it.
    pub fn read(store: &mut dyn Writer) -> Result<Option<Self>, StoreError> {
        let Some(text) = store.meta(META)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|_| StoreError::Damaged("the sharing of the root key"))
    }

    /// # Errors
    /// The store.
    pub fn write(&self, store: &mut dyn Writer) -> Result<(), StoreError> {
        let text = serde_json::to_vec(self).expect("strings and numbers always have a JSON text");
        store.set_meta(META, &text)
    }
}

/// The root of threshold-many shares, each of which [`Sharing::knows`].
///
/// # Errors
/// They do not fit together.
pub fn combine(shares: &Zeroizing<Vec<Vec<u8>>>) -> Result<Key32, SharingError> {
    stack::touched();
    let root = Gf256::combine_bytes(&**shares).map_err(|_| SharingError::Shares)?;
    let root = Zeroizing::new(root);
    let key: &[u8; 32] = root
        .as_slice()
        .try_into()
        .map_err(|_| SharingError::Shares)?;
    Ok(Key32::new(*key))
}

/// Under which the store keeps it.
const META: &str = "sharing";

fn commitment(vault: &[u8; 16], sharing: &Hex<16>, number: u8, share: &[u8]) -> Hex<32> {
    let hash = Sha256::new()
        .chain_update(b"cryptonym share commitment v1\0")
        .chain_update(vault)
        .chain_update(sharing.0)
        .chain_update([number])
        .chain_update(share);
    Hex(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sealed::KeyPair;

    const VAULT: [u8; 16] = [9; 16];

    fn people(count: usize) -> (Vec<KeyPair>, Vec<Hex<32>>) {
        let keys: Vec<_> = (0..count).map(|_| KeyPair::generate()).collect();
        let public = keys.iter().map(|k| Hex(k.public())).collect();
        (keys, public)
    }

    fn opened(sharing: &Sharing, keys: &[KeyPair], of: &[usize]) -> Zeroizing<Vec<Vec<u8>>> {
        let open = |at: &usize| sharing.shares[*at].open(&keys[*at]).unwrap().to_vec();
        Zeroizing::new(of.iter().map(open).collect())
    }

    #[test]
    fn any_threshold_of_shares_gives_the_root_and_fewer_do_not() {
        let (keys, public) = people(5);
        let root = crate::vault::keys::random_key();
        let sharing = Sharing::make(&root, VAULT, 3, &public).unwrap();
        for of in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let shares = opened(&sharing, &keys, &of);
            assert!(shares.iter().all(|s| sharing.knows(&VAULT, s)));
            assert_eq!(combine(&shares).unwrap().expose(), root.expose());
        }
        let two = opened(&sharing, &keys, &[0, 1]);
        assert_ne!(combine(&two).unwrap().expose(), root.expose());
    }

    #[test]
    fn a_share_that_is_not_this_one_is_known() {
        let (keys, public) = people(3);
        let root = crate::vault::keys::random_key();
        let sharing = Sharing::make(&root, VAULT, 2, &public).unwrap();
        let other = Sharing::make(&root, VAULT, 2, &public).unwrap();
        let good = opened(&sharing, &keys, &[1]).remove(0);
        assert!(sharing.knows(&VAULT, &good));
        assert!(!sharing.knows(&[8; 16], &good), "another vault's");
        assert!(!other.knows(&VAULT, &good), "another sharing's");
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at] ^= 1;
            assert!(!sharing.knows(&VAULT, &bent), "byte {at}");
        }
        assert!(!sharing.knows(&VAULT, &good[..32]));
        assert!(!sharing.knows(&VAULT, &[]));
    }

    #[test]
    fn one_person_alone_never_opens() {
        let (_, public) = people(17);
        for (threshold, count) in [(1, 1), (1, 3), (0, 3), (4, 3), (2, 17)] {
            let refused = plausible(threshold, &public[..count]);
            assert_eq!(refused, Err(SharingError::Counts), "{threshold} of {count}");
        }
        let twice = [public[0], public[1], public[0]];
        assert_eq!(plausible(2, &twice), Err(SharingError::TwiceOne));
    }
}
