//! A CA of the test's own, that also revokes, and files that change under a running gateway.

// Each test uses a part of it.
#![allow(dead_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cryptonym::tls::{Role, client_config, identity};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, RevokedCertParams, SanType, SerialNumber,
    SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};

pub struct Authority {
    pub dir: PathBuf,
    pub file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn identity(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }
}

/// From when to when, in days from today.
pub const NOW: (i64, i64) = (-1, 30);

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        let file = dir.join(format!("{name}.pem"));
        put(&file, &certificate.pem());
        Self {
            dir: dir.to_owned(),
            file,
            issuer: Issuer::new(params, key),
        }
    }

    /// `NAME.pem` and `NAME.key` for these hosts.
    pub fn server(&self, name: &str, hosts: &[&str]) -> Pair {
        self.server_of(name, hosts, NOW, &PKCS_ECDSA_P256_SHA256)
    }

    /// The same with a key of another sort.
    pub fn server_ed25519(&self, name: &str, hosts: &[&str]) -> Pair {
        self.server_of(name, hosts, NOW, &PKCS_ED25519)
    }

    pub fn server_of(
        &self,
        name: &str,
        hosts: &[&str],
        days: (i64, i64),
        sort: &'static SignatureAlgorithm,
    ) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params, days, sort)
    }

    /// A client with this serial number, to revoke it by.
    pub fn client(&self, id: &str, serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        let uri = identity::uri(Role::Client, id);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        self.sign(id, params, NOW, &PKCS_ECDSA_P256_SHA256)
    }

    /// The same, for so many seconds from now.
    pub fn client_for(&self, id: &str, serial: u64, seconds: i64) -> Pair {
        let mut params = CertificateParams::default();
        let uri = identity::uri(Role::Client, id);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        let times = (Duration::days(-1), Duration::seconds(seconds));
        self.sign_for(id, params, times, &PKCS_ECDSA_P256_SHA256)
    }

    /// The list of what this CA has revoked, in PEM. `days`: until when it holds, from today.
    pub fn revocations(&self, serials: &[u64], days: i64) -> String {
        self.list(serials, 1, (Duration::days(-9), Duration::days(days)))
    }

    /// The same, with a number, and from when to when from now.
    pub fn list(&self, serials: &[u64], number: u64, (from, to): (Duration, Duration)) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now + from,
            next_update: now + to,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts this CA.
    pub fn trusting(&self, alpn: &[&[u8]], identity: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        client_config(Some(&self.file), identity.map(Pair::identity), false, alpn).unwrap()
    }

    fn sign(
        &self,
        name: &str,
        params: CertificateParams,
        (from, to): (i64, i64),
        sort: &'static SignatureAlgorithm,
    ) -> Pair {
        let times = (Duration::days(from), Duration::days(to));
        self.sign_for(name, params, times, sort)
    }

    fn sign_for(
        &self,
        name: &str,
        mut params: CertificateParams,
        (from, to): (Duration, Duration),
        sort: &'static SignatureAlgorithm,
    ) -> Pair {
        let now = OffsetDateTime::now_utc();
        params.not_before = now + from;
        params.not_after = now + to;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate_for(sort).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            certificate: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
        };
        put(&pair.certificate, &certificate.pem());
        put(&pair.key, &key.serialize_pem());
        pair
    }
}

/// Writes a file as careful people do: beside it, then over it. Mode 0600.
pub fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}
