//! A private CA and the certificates it signs: ECDSA P-256, by rcgen.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::tls::identity::{self, Role};

/// A CA lives ten years: replacing it means new files at every client.
const CA_LIFE: Duration = Duration::days(3650);

/// A certificate lives 13 months: renewal is an exercise that should not be forgotten.
const LIFE: Duration = Duration::days(397);

/// Clocks of other machines may be behind.
const BEFORE: Duration = Duration::hours(1);

pub(super) struct Authority {
    pub issued: Issued,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Issued {
    pub der: Vec<u8>,
    pub certificate: String,
    pub key: Zeroizing<String>,
    pub not_after: i64,
}

impl Authority {
    pub(super) fn new(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(name, Vec::new(), CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let issued = Issued {
            der: certificate.der().to_vec(),
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
            not_after: params.not_after.unix_timestamp(),
        };
        let issuer = Issuer::new(params, key);
        Ok(Self { issued, issuer })
    }

    /// A server certificate for these DNS names and addresses.
    pub(super) fn server(&self, name: &str, hosts: Vec<String>) -> Result<Issued, rcgen::Error> {
        let mut params = params(name, hosts, LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client certificate with a role and an id.
    pub(super) fn client(&self, role: Role, id: &str) -> Result<Issued, rcgen::Error> {
        let mut params = params(id, Vec::new(), LIFE)?;
        let uri = identity::uri(role, id);
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Issued, rcgen::Error> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            der: certificate.der().to_vec(),
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
            not_after: params.not_after.unix_timestamp(),
        })
    }
}

fn params(
    name: &str,
    hosts: Vec<String>,
    life: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Cryptonym");
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + life;
    Ok(params)
}
