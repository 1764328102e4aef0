//! Certificates made on the spot, by a CA that can make no others.
//!
//! What enters: a CA with its key, and the hosts that it is there for. What leaves: for one of
//! these hosts, what serves it: a certificate of a day, whose key was made beside it and is never
//! written down. What can never happen: a certificate for another host, a CA that could make one
//! (its own name constraints forbid it to whoever has its key: RFC 5280, section 4.2.1.10), or
//! more certificates in memory than hosts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server::{self, Versions};
use super::trust::Trust;
use super::{TlsError, files, provider};
use crate::config::{ClientCertificate, ServerTls};
use crate::limits;

mod constraints;

/// A CA at work.
pub struct Mint {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// What stands between a leaf and the root: without the root itself.
    chain: Vec<CertificateDer<'static>>,
    /// When the CA ends, in seconds since 1970-01-01T00:00:00Z.
    ends: i64,
    alpn: Vec<Vec<u8>>,
    hosts: Vec<String>,
    made: Mutex<HashMap<String, Made>>,
}

/// One host's.
struct Made {
    config: Arc<ServerConfig>,
    at: OffsetDateTime,
}

impl Mint {
    /// `certificate`: the CA's own, then perhaps those above it. `alpn`: most wanted first.
    ///
    /// # Errors
    /// A file that cannot be used, or a CA that could make certificates for other hosts, or none
    /// for these: what is wrong, what to do.
    pub fn load(
        certificate: &Path,
        key: &Path,
        hosts: &[&str],
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let chain = files::certificates(certificate)?;
        let signing = files::key(key)?;
        // Both belong together, as with any other certificate.
        server::certified(certificate, key)?;
        let ends = constraints::check(certificate, &chain[0], hosts)?;
        let cannot = |what: &dyn std::fmt::Display| {
            TlsError::new(certificate, format!("cannot sign certificates: {what}"))
        };
        let signing = KeyPair::try_from(&signing).map_err(|e| cannot(&e))?;
        let issuer = Issuer::from_ca_cert_der(&chain[0], signing).map_err(|e| cannot(&e))?;
        let mint = Self {
            file: certificate.to_owned(),
            issuer,
            chain: chain.iter().filter(|c| !own_issuer(c)).cloned().collect(),
            ends,
            alpn: alpn.iter().map(|p| p.to_vec()).collect(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            made: Mutex::default(),
        };
        mint.proves_itself(&chain[0])?;
        Ok(mint)
    }

    /// What a client that asks for this host is served with.
    ///
    /// # Errors
    /// The host is none of its own, or the CA has ended.
    pub fn serve(&self, host: &str) -> Result<Arc<ServerConfig>, TlsError> {
        let now = OffsetDateTime::now_utc();
        // What is replaced is replaced whole: a panic elsewhere leaves nothing half made.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = made.get(host)
            // A clock that was set back makes a certificate that begins later.
            && (there.at..there.at + limits::LEAF_RENEWAL).contains(&now)
        {
            return Ok(there.config.clone());
        }
        let config = self.config(host, now)?;
        let there = Made {
            config: config.clone(),
            at: now,
        };
        made.insert(host.to_owned(), there);
        Ok(config)
    }

    fn config(&self, host: &str, now: OffsetDateTime) -> Result<Arc<ServerConfig>, TlsError> {
        let (leaf, key) = self.leaf(host, now)?;
        let mut chain = vec![leaf];
        chain.extend(self.chain.iter().cloned());
        let wrong = |e: &dyn std::fmt::Display| TlsError::new(&self.file, e.to_string());
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| wrong(&e))?;
        // Its tickets end with it: each has a ticketer of its own.
        let trust = Trust::load(&ServerTls {
            certificate: self.file.clone(),
            key: PathBuf::new(),
            client_ca: None,
            client_crl: None,
            client_certificate: ClientCertificate::None,
            resumption: true,
        })?;
        let alpn: Vec<&[u8]> = self.alpn.iter().map(Vec::as_slice).collect();
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        server::build(&self.file, Versions::Tls12And13, &alpn, &trust, resolver)
    }

    fn leaf(
        &self,
        host: &str,
        now: OffsetDateTime,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
        if !self.hosts.iter().any(|one| one == host) {
            return Err(TlsError::new(&self.file, "is not there for this host"));
        }
        let ends = OffsetDateTime::from_unix_timestamp(self.ends).unwrap_or(now);
        if ends <= now {
            return Err(TlsError::new(&self.file, constraints::ENDED));
        }
        let make = || -> Result<_, rcgen::Error> {
            let mut params = CertificateParams::new(vec![host.to_owned()])?;
            params.distinguished_name = DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, "Cryptonym egress");
            params.not_before = now - limits::LEAF_BEFORE;
            params.not_after = (now + limits::LEAF_LIFE).min(ends);
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            Ok((certificate.der().clone(), key.into()))
        };
        make().map_err(|e| TlsError::new(&self.file, format!("cannot sign certificates: {e}")))
    }

    /// Makes a certificate for each host and looks at it as a client would that trusts this CA.
    fn proves_itself(&self, ca: &CertificateDer<'static>) -> Result<(), TlsError> {
        let wrong = |e: &dyn std::fmt::Display| {
            let what = format!("makes certificates that clients will not take: {e}");
            TlsError::new(&self.file, what)
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(|e| wrong(&e))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().map_err(|e| wrong(&e))?;
        for host in &self.hosts {
            let (leaf, _) = self.leaf(host, OffsetDateTime::now_utc())?;
            let name = ServerName::try_from(host.as_str()).map_err(|e| wrong(&e))?;
            verifier
                .verify_server_cert(&leaf, &[], &name, &[], UnixTime::now())
                .map_err(|e| wrong(&e))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mint({})", self.file.display())
    }
}

/// Whether it is a root: clients have it, or do not trust it.
fn own_issuer(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, c)| c.subject().as_raw() == c.issuer().as_raw())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CidrSubnet, GeneralSubtree, NameConstraints};

    use super::*;

    const HOSTS: &[&str] = &["portal.example", "api.portal.example", "lab.test"];

    pub(super) fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![dns("portal.example"), dns("lab.test")],
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        params
    }

    fn load(change: impl FnOnce(&mut CertificateParams)) -> Result<Mint, TlsError> {
        let dir = tempfile::tempdir().unwrap();
        let mut params = params();
        change(&mut params);
        let signing = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&signing).unwrap();
        let [pem, key] = ["ca.pem", "ca.key"].map(|name| dir.path().join(name));
        fs::write(&pem, certificate.pem()).unwrap();
        fs::write(&key, signing.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Mint::load(&pem, &key, HOSTS, &[b"http/1.1"])
    }

    #[test]
    fn proxy_09_a_constrained_ca_makes_a_certificate_a_host_and_no_others() {
        let mint = load(|_| ()).unwrap();
        let one = mint.serve("portal.example").unwrap();
        let again = mint.serve("portal.example").unwrap();
        assert!(Arc::ptr_eq(&one, &again), "made once");
        assert!(!Arc::ptr_eq(&one, &mint.serve("lab.test").unwrap()));
        for host in ["other.example", "www.portal.example", "", "portal.example."] {
            let error = mint.serve(host).unwrap_err();
            assert!(error.what.contains("not there for this host"), "{host}");
        }
        let (leaf, _) = mint.leaf("lab.test", OffsetDateTime::now_utc()).unwrap();
        let facts = super::super::Facts::of(&leaf).unwrap();
        assert_eq!(facts.names, ["DNS:lab.test"]);
        assert!(!facts.ca);
        assert_eq!(facts.not_after - facts.not_before, 25 * 3600);
        let mut made = mint.made.lock().unwrap();
        // Half a day later, or when the clock was set back, there is a new one.
        for by in [time::Duration::hours(-13), time::Duration::hours(1)] {
            made.get_mut("portal.example").unwrap().at += by;
            drop(made);
            let new = mint.serve("portal.example").unwrap();
            assert!(!Arc::ptr_eq(&one, &new));
            made = mint.made.lock().unwrap();
        }
    }

    #[test]
    fn proxy_09_a_ca_that_could_make_others_is_refused() {
        type Change = fn(&mut CertificateParams);
        let cases: [(&str, Change); 10] = [
            ("no name constraints", |p| p.name_constraints = None),
            ("CA:TRUE", |p| p.is_ca = IsCa::ExplicitNoCa),
            ("pathlen:0", |p| {
                p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
            }),
            ("pathlen:0", |p| {
                p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))
            }),
            ("keyCertSign", |p| {
                p.key_usages = vec![KeyUsagePurpose::CrlSign]
            }),
            ("`example`", |p| {
                let names = p.name_constraints.as_mut().unwrap();
                names.permitted_subtrees = vec![GeneralSubtree::DnsName("example".to_owned())];
            }),
            ("`lab.test`", |p| {
                p.name_constraints
                    .as_mut()
                    .unwrap()
                    .permitted_subtrees
                    .pop();
            }),
            ("no DNS names at all", |p| {
                p.name_constraints
                    .as_mut()
                    .unwrap()
                    .permitted_subtrees
                    .clear();
            }),
            ("addresses", |p| {
                p.name_constraints.as_mut().unwrap().excluded_subtrees.pop();
            }),
            ("has ended", |p| {
                p.not_before = OffsetDateTime::now_utc() - time::Duration::days(9);
                p.not_after = OffsetDateTime::now_utc() - time::Duration::days(1);
            }),
        ];
        for (why, change) in cases {
            let error = load(change).unwrap_err();
            assert!(error.what.contains(why), "{why}: {error}");
        }
    }
}
