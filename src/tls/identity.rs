//! Who a client certificate says its holder is.
//!
//! A certificate of Cryptonym's client CA carries one URI subject alternative name,
//! `cryptonym:<role>:<id>`, e.g. `cryptonym:investigator:i.okafor`.

/// The roles of the vault's interface, and `client` for those who talk to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Client,
    Gateway,
    Investigator,
    Approver,
    Officer,
    Linker,
    Custodian,
    Auditor,
}

/// A verified peer: role and registered id. Ids are of staff and services, not of subjects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub role: Role,
    pub id: String,
    /// SHA-256 of the certificate (DER).
    pub fingerprint: [u8; 32],
}

impl Peer {
    /// Reads the identity from a verified end-entity certificate (DER).
    ///
    /// # Errors
    /// What is missing or doubled in it.
    pub fn from_certificate(_der: &[u8]) -> Result<Self, String> {
        todo!()
    }
}
