//! TLS for all worlds: rustls with aws-lc-rs, certificates from files, roles from certificates.
//!
//! What enters: paths from the configuration. What leaves: rustls configurations and, for a
//! connection, the peer's [`identity::Peer`]. What can never happen: a protocol below TLS 1.2, a
//! peer without a certificate where one is required, key bytes in an error.
//!
//! Key exchange is X25519MLKEM768 first (a recording of today's traffic stays closed to
//! tomorrow's quantum computer), then X25519, P-256 and P-384. Cipher suites are rustls's own
//! defaults: authenticated encryption with forward secrecy, nothing else.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub mod client;
pub mod facts;
pub mod files;
pub mod identity;
pub mod issue;
pub mod lists;
pub mod mint;
pub mod reload;
pub mod server;
pub mod sni;
pub mod trust;

pub use client::client_config;
pub use facts::{Facts, not_after, now};
pub use files::{TlsError, contents};
pub use identity::{Peer, Role};
pub use server::{Versions, server_config};

/// The one provider. Named everywhere, so that no process-wide default decides.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

#[cfg(test)]
pub(crate) mod testing {
    //! Certificates made on the spot, and a handshake in memory.

    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        SanType,
    };

    use super::{client_config, files, identity, provider};
    use crate::config::{ClientCertificate, ServerTls};

    pub(crate) struct Made {
        pub ca: PathBuf,
        pub client_certificate: PathBuf,
        pub client_key: PathBuf,
        server_certificate: PathBuf,
        server_key: PathBuf,
    }

    impl Made {
        pub(crate) fn new(dir: &Path) -> Self {
            let ca_key = KeyPair::generate().unwrap();
            let mut ca = CertificateParams::default();
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca_certificate = ca.self_signed(&ca_key).unwrap();
            let issuer = Issuer::new(ca, ca_key);
            let leaf = |names: &[&str], uri: Option<String>, usage| {
                let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
                let mut params = CertificateParams::new(names).unwrap();
                if let Some(uri) = uri {
                    let uri = uri.as_str().try_into().unwrap();
                    params.subject_alt_names.push(SanType::URI(uri));
                }
                params.extended_key_usages = vec![usage];
                let key = KeyPair::generate().unwrap();
                let certificate = params.signed_by(&key, &issuer).unwrap();
                (certificate.pem(), key.serialize_pem())
            };
            let server = leaf(&["localhost"], None, ExtendedKeyUsagePurpose::ServerAuth);
            let uri = identity::uri(super::Role::Gateway, "gateway-1");
            let client = leaf(&[], Some(uri), ExtendedKeyUsagePurpose::ClientAuth);
            let put = |name: &str, text: &str| {
                let path = dir.join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                path
            };
            Self {
                ca: put("ca.pem", &ca_certificate.pem()),
                server_certificate: put("server.pem", &server.0),
                server_key: put("server.key", &server.1),
                client_certificate: put("client.pem", &client.0),
                client_key: put("client.key", &client.1),
            }
        }

        pub(crate) fn server(&self, client_certificate: ClientCertificate) -> ServerTls {
            ServerTls {
                certificate: self.server_certificate.clone(),
                key: self.server_key.clone(),
                client_ca: Some(self.ca.clone()),
                client_crl: None,
                client_certificate,
                resumption: true,
            }
        }

        pub(crate) fn client(&self, identity: bool, tls13: bool) -> Arc<rustls::ClientConfig> {
            let identity = identity.then_some((&*self.client_certificate, &*self.client_key));
            client_config(Some(&self.ca), identity, tls13, &[b"h2"]).unwrap()
        }

        pub(crate) fn client_tls12(&self) -> Arc<rustls::ClientConfig> {
            let config = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .with_root_certificates(files::roots(&self.ca).unwrap())
                .with_client_auth_cert(
                    files::certificates(&self.client_certificate).unwrap(),
                    files::key(&self.client_key).unwrap(),
                )
                .unwrap();
            Arc::new(config)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Met {
        pub group: String,
        pub peer: Option<Vec<u8>>,
    }

    /// Both ends in memory, until neither has anything left to say.
    pub(crate) fn handshake(
        server: Arc<rustls::ServerConfig>,
        client: Arc<rustls::ClientConfig>,
    ) -> Result<Met, rustls::Error> {
        let name = "localhost".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(client, name)?;
        let mut server = rustls::ServerConnection::new(server)?;
        let mut wire = Vec::new();
        for _ in 0..20 {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut bytes = &wire[..];
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                server.process_new_packets()?;
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut bytes = &wire[..];
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let group = server.negotiated_key_exchange_group().unwrap().name();
        Ok(Met {
            group: format!("{group:?}"),
            peer: server
                .peer_certificates()
                .and_then(|c| c.first())
                .map(|c| c.as_ref().to_vec()),
        })
    }
}
