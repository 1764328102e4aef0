//! Certificates made on the spot, as `cryptonym certs init` makes them.

use std::path::Path;
use std::sync::Arc;

use cryptonym::config::{ClientCertificate, ServerTls};
use cryptonym::tls::issue::{Made, Options, init};
use cryptonym::tls::server::{Versions, server_config};
use cryptonym::tls::{Role, client_config};

/// One installation's certificates in a directory of their own.
pub struct Certificates {
    pub dir: tempfile::TempDir,
    pub made: Made,
}

impl Certificates {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("certs"));
        let made = init(&options).unwrap();
        Self { dir, made }
    }

    /// The gateway's own, with its client CA.
    pub fn gateway(&self, client_certificate: ClientCertificate) -> ServerTls {
        ServerTls {
            certificate: self.made.gateway.certificate.clone(),
            key: self.made.gateway.key.clone(),
            client_ca: Some(self.made.gateway_ca.clone()),
            client_crl: None,
            client_certificate,
            resumption: client_certificate == ClientCertificate::None,
        }
    }

    /// TLS of a backend on localhost.
    pub fn backend(&self) -> Arc<rustls::ServerConfig> {
        let tls = self.gateway(ClientCertificate::None);
        server_config(&tls, Versions::Tls12And13, &[b"http/1.1"]).unwrap()
    }

    /// TLS of a client of the gateway, with the provider's certificate if `known`.
    pub fn client(&self, alpn: &[&[u8]], known: bool) -> Arc<rustls::ClientConfig> {
        let provider = self.made.person(Role::Client).unwrap();
        let pair = (
            provider.pair.certificate.as_path(),
            provider.pair.key.as_path(),
        );
        client_config(Some(self.ca()), known.then_some(pair), false, alpn).unwrap()
    }

    pub fn ca(&self) -> &Path {
        &self.made.gateway_ca
    }
}
