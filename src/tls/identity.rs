//! Who a client certificate says its holder is.
//!
//! A certificate of Cryptonym's client CA carries one URI subject alternative name,
//! `cryptonym:<role>:<id>`, e.g. `cryptonym:investigator:i.okafor`.
//!
//! What enters: a certificate that TLS has already verified. What leaves: one role and one id.
//! What can never happen: a certificate with two identities counts as either of them.

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::limits;

const SCHEME: &str = "cryptonym:";

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

impl Role {
    pub const ALL: &'static [Role] = &[
        Role::Client,
        Role::Gateway,
        Role::Investigator,
        Role::Approver,
        Role::Officer,
        Role::Linker,
        Role::Custodian,
        Role::Auditor,
    ];

    /// The name in certificates, in the registry and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Gateway => "gateway",
            Role::Investigator => "investigator",
            Role::Approver => "approver",
            Role::Officer => "officer",
            Role::Linker => "linker",
            Role::Custodian => "custodian",
            Role::Auditor => "auditor",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.name() == name)
    }
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
    pub fn from_certificate(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| "not an X.509 certificate".to_owned())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".to_owned());
        }
        let mut found = identity_uris(&certificate)?.into_iter();
        let uri = found
            .next()
            .ok_or("the certificate has no subject alternative name URI:cryptonym:<role>:<id>")?;
        if found.next().is_some() {
            return Err("the certificate has more than one cryptonym: identity".to_owned());
        }
        let (role, id) = parse_uri(uri)?;
        Ok(Self {
            role,
            id: id.to_owned(),
            fingerprint: Sha256::digest(der).into(),
        })
    }
}

/// The URI that says role and id.
pub fn uri(role: Role, id: &str) -> String {
    format!("{SCHEME}{}:{id}", role.name())
}

/// Whether an id can stand in a certificate: lower case, so that no two differ in case alone.
pub fn valid_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    id.len() <= limits::PERSON_ID
        && id.bytes().next().is_some_and(plain)
        && id.bytes().all(|b| plain(b) || b"._@-".contains(&b))
}

fn identity_uris<'a>(certificate: &'a X509Certificate<'a>) -> Result<Vec<&'a str>, String> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| "the certificate's subject alternative names cannot be read".to_owned())?;
    let names = names.iter().flat_map(|n| &n.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        })
        .collect())
}

fn parse_uri(uri: &str) -> Result<(Role, &str), String> {
    let rest = uri.strip_prefix(SCHEME).unwrap_or(uri);
    let (role, id) = rest
        .split_once(':')
        .ok_or("the certificate's identity is not cryptonym:<role>:<id>")?;
    let role =
        Role::parse(role).ok_or("the certificate's identity names no role of this system")?;
    if !valid_id(id) {
        return Err(
            "the certificate's id is not 1 to 64 of a-z 0-9 . _ @ -, a letter or digit first"
                .to_owned(),
        );
    }
    Ok((role, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        for uri in uris {
            let name = (*uri).try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(name));
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn one_identity_is_read() {
        let der = certificate(&["https://other.example/", "cryptonym:investigator:i.okafor"]);
        let peer = Peer::from_certificate(&der).unwrap();
        assert_eq!((peer.role, &*peer.id), (Role::Investigator, "i.okafor"));
        let digest: [u8; 32] = Sha256::digest(&der).into();
        assert_eq!(peer.fingerprint, digest);
    }

    #[test]
    fn none_two_and_malformed_are_refused() {
        for (uris, why) in [
            (&[][..], "no subject alternative name"),
            (
                &["cryptonym:officer:a", "cryptonym:approver:a"],
                "more than one",
            ),
            (
                &["cryptonym:officer:a", "cryptonym:officer:a"],
                "more than one",
            ),
            (&["cryptonym:officer"], "is not cryptonym:<role>:<id>"),
            (&["cryptonym:root:a"], "no role"),
            (&["cryptonym:Officer:a"], "no role"),
            (&["cryptonym:officer:A"], "a letter or digit first"),
            (&["cryptonym:officer:"], "a letter or digit first"),
            (&["cryptonym:officer:a:b"], "a letter or digit first"),
        ] {
            let e = Peer::from_certificate(&certificate(uris)).unwrap_err();
            assert!(e.contains(why), "{uris:?}: {e}");
        }
        let mut long = certificate(&["cryptonym:officer:a"]);
        long.push(0);
        assert!(Peer::from_certificate(&long).is_err());
        assert!(Peer::from_certificate(b"").is_err());
    }

    #[test]
    fn uri_and_parse_agree_for_every_role() {
        for role in Role::ALL {
            assert_eq!(parse_uri(&uri(*role, "a.b-1")), Ok((*role, "a.b-1")));
        }
    }
}
