//! The only door from a gateway (or a feed) to the vault.
//!
//! What enters: names of domains, first sights of identifiers. What leaves: leased keys,
//! the certainty that a recovery record is durable. What can never happen: a pseudonym counts
//! as durable before the vault has said so in this incarnation of its store, or a leased key
//! touches a disk.

use std::sync::Arc;

use crate::config::{Config, VaultAddress};
use crate::error::Fault;
use crate::pseudonym::{KindId, KindKey, Pseudonym};
use crate::secret::PlainBuf;

pub mod known;

/// A pseudonym whose recovery record is not known to be durable, with what it stands for.
#[derive(Debug)]
pub struct FirstSight {
    pub kind: KindId,
    pub pseudonym: Pseudonym,
    /// The normal form.
    pub identifier: PlainBuf,
}

/// The link of one process to one vault: leases for the domains it serves, renewed in the background.
pub struct VaultLink {}

impl VaultLink {
    /// Starts the background task that leases and renews. Returns at once: whether a domain is
    /// ready is asked of [`VaultLink::lease`]. `domains` are indices into `config.domains`.
    pub fn start(
        _config: &Config,
        _address: &VaultAddress,
        _domains: &[usize],
    ) -> Result<Arc<Self>, LinkError> {
        todo!()
    }

    /// The current lease of a domain (index into `config.domains`), if there is a live one whose
    /// known set is loaded.
    pub fn lease(&self, _domain: usize) -> Option<Arc<Lease>> {
        todo!()
    }

    /// Whether every domain has a live lease (readiness), and per domain: name, epoch, known entries, seconds left.
    pub fn ready(&self) -> bool {
        todo!()
    }
}

/// A leased domain key with the set of pseudonyms known durable under it.
pub struct Lease {}

impl Lease {
    pub fn epoch(&self) -> u32 {
        todo!()
    }

    pub fn kind(&self, _kind: KindId) -> &KindKey {
        todo!()
    }

    /// Whether this pseudonym's recovery record is durable in the vault's present incarnation.
    pub fn is_durable(&self, _pseudonym: &Pseudonym) -> bool {
        todo!()
    }

    /// Returns once every record is durable. Calls of many requests share one sealed batch and
    /// one fsync (group commit).
    ///
    /// # Errors
    /// [`crate::error::Code::VaultUnreachable`], `VaultRefused`, `VaultConflict` or `Budget`.
    pub async fn make_durable(&self, _sights: Vec<FirstSight>) -> Result<(), Fault> {
        todo!()
    }
}

/// Why the link cannot even start (bad certificate files, bad address).
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Tls(String),
}
