//! Shares of the vault's root key: as a custodian keeps one, and as they give it.
//!
//! A share is sealed twice in its life, by HPKE ([`super::sealed`]) each time: to its custodian's
//! key, when it is made; and to a key that the vault has made for this one round of giving, when
//! it is given. So the share's bytes stand in no buffer of TLS or HTTP.
//!
//! What can never happen: a share that was given to open the vault counts for a resharing, or for
//! another one; a share of another vault, sharing or number opens.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Malformed;
use super::sealed::{self, KeyPair};
use super::text::{Base64, Hex};

/// Bytes of a share: its number, and as many as the root has.
pub const SHARE: usize = 33;

/// What a share's file says it is.
pub const FORMAT: &str = "cryptonym-share-1";

const KEPT: &[u8] = b"cryptonym custodian share v1";
const GIVEN: &[u8] = b"cryptonym given share v1";

/// One share, sealed to its custodian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    pub format: String,
    pub vault: Hex<16>,
    /// Random, another one after every resharing.
    pub sharing: Hex<16>,
    /// 1 for the first.
    pub number: u8,
    /// So many open the vault, of so many.
    pub threshold: u8,
    pub shares: u8,
    /// The public key that it is sealed to.
    pub custodian: Hex<32>,
    pub sealed: Base64,
}

impl SealedShare {
    /// Seals `share` to the custodian that the other members name.
    ///
    /// # Errors
    /// The custodian's key is no usable one.
    pub fn seal(mut self, share: &[u8]) -> Result<Self, Malformed> {
        let sealed = sealed::seal(&self.custodian.0, KEPT, &self.place(), share)?;
        self.sealed = Base64(sealed);
        Ok(self)
    }

    /// The share itself, to its custodian.
    ///
    /// # Errors
    /// It is damaged, was exchanged, or is sealed to another key.
    pub fn open(&self, key: &KeyPair) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let share = key.open(KEPT, &self.place(), &self.sealed.0)?;
        let whole = share.len() == SHARE && share[0] == self.number;
        whole.then_some(share).ok_or(Malformed("share"))
    }

    /// Everything that stands beside it. Each part has its length.
    fn place(&self) -> Vec<u8> {
        let counts = [self.number, self.threshold, self.shares];
        [
            &self.vault.0[..],
            &self.sharing.0,
            &counts,
            &self.custodian.0,
        ]
        .concat()
    }
}

/// What a share is given for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Purpose {
    /// To open the vault.
    Unseal,
    /// To make a new root, and new shares for these custodians.
    Reshare(Reshare),
}

/// Everybody who gives a share for a resharing names the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshare {
    pub threshold: u8,
    /// Public keys, in the order of the new shares' numbers.
    pub custodians: Vec<Hex<32>>,
}

impl Purpose {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unseal => "unseal",
            Self::Reshare(_) => "reshare",
        }
    }

    /// SHA-256 of all that it says.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"cryptonym share purpose v1\0");
        match self {
            Self::Unseal => hash.update([0]),
            Self::Reshare(new) => {
                hash.update([1, new.threshold]);
                new.custodians.iter().for_each(|key| hash.update(key.0));
            }
        }
        hash.finalize().into()
    }
}

/// `POST /v1/vault/shares`, role custodian: one share, sealed to the vault's key of this round.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenShare {
    pub vault: Hex<16>,
    pub sharing: Hex<16>,
    pub number: u8,
    pub purpose: Purpose,
    /// To which it is sealed, as [`VaultStatus::round`] said.
    pub round: Hex<32>,
    pub sealed: Base64,
}

impl GivenShare {
    /// Seals an opened share for the vault.
    ///
    /// # Errors
    /// The vault's key is no usable one.
    pub fn seal(
        kept: &SealedShare,
        share: &[u8],
        purpose: Purpose,
        round: Hex<32>,
    ) -> Result<Self, Malformed> {
        let mut given = Self {
            vault: kept.vault,
            sharing: kept.sharing,
            number: kept.number,
            purpose,
            round,
            sealed: Base64(Vec::new()),
        };
        given.sealed = Base64(sealed::seal(&round.0, GIVEN, &given.place(), share)?);
        Ok(given)
    }

    /// The share itself, to the vault.
    ///
    /// # Errors
    /// It is damaged, or was given for something else.
    pub fn open(&self, round: &KeyPair) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let share = round.open(GIVEN, &self.place(), &self.sealed.0)?;
        let whole = share.len() == SHARE && share[0] == self.number;
        whole.then_some(share).ok_or(Malformed("share"))
    }

    fn place(&self) -> Vec<u8> {
        let digest = self.purpose.digest();
        [&self.vault.0[..], &self.sharing.0, &[self.number], &digest].concat()
    }
}

/// How the vault stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Sealed,
    Open,
}

/// How a vault's root key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptIn {
    KeyFile,
    Shares,
}

/// `GET /v1/status`, every registered caller; also while the vault is sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultStatus {
    pub state: Standing,
    pub root: KeptIn,
    pub vault: Hex<16>,
    /// `None` with a key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<SharesStatus>,
}

/// How far a round of giving has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharesStatus {
    pub sharing: Hex<16>,
    pub threshold: u8,
    pub shares: u8,
    /// Numbers of the shares that have come.
    pub given: Vec<u8>,
    /// What they were given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Seconds until they are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_in: Option<u64>,
    /// The vault's HPKE public key of this round.
    pub round: Hex<32>,
}

/// `GET /v1/vault/shares`, role custodian, and the answer to the last share of a resharing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareList {
    pub shares: Vec<SealedShare>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(to: &KeyPair) -> SealedShare {
        let mut share = vec![7; SHARE];
        share[0] = 2;
        SealedShare {
            format: FORMAT.to_owned(),
            vault: Hex([1; 16]),
            sharing: Hex([2; 16]),
            number: 2,
            threshold: 3,
            shares: 5,
            custodian: Hex(to.public()),
            sealed: Base64(Vec::new()),
        }
        .seal(&share)
        .unwrap()
    }

    #[test]
    fn a_kept_share_opens_whole_in_its_place_and_to_its_custodian_alone() {
        let key = KeyPair::generate();
        let kept = kept(&key);
        assert_eq!(kept.open(&key).unwrap().len(), SHARE);
        assert!(kept.open(&KeyPair::generate()).is_err());
        let bent = |change: &dyn Fn(&mut SealedShare)| {
            let mut other = kept.clone();
            change(&mut other);
            assert!(other.open(&key).is_err());
        };
        bent(&|s| s.vault.0[0] ^= 1);
        bent(&|s| s.sharing.0[0] ^= 1);
        bent(&|s| s.number = 3);
        bent(&|s| s.threshold = 2);
        bent(&|s| s.shares = 6);
        bent(&|s| s.sealed.0[40] ^= 1);
    }

    #[test]
    fn a_given_share_serves_the_purpose_it_was_given_for() {
        let (own, round) = (KeyPair::generate(), KeyPair::generate());
        let kept = kept(&own);
        let share = kept.open(&own).unwrap();
        let to = Hex(round.public());
        let mut given = GivenShare::seal(&kept, &share, Purpose::Unseal, to).unwrap();
        assert_eq!(given.open(&round).unwrap(), share);
        let custodians = vec![Hex([5; 32])];
        let threshold = 2;
        given.purpose = Purpose::Reshare(Reshare {
            threshold,
            custodians,
        });
        assert!(given.open(&round).is_err());
    }
}
