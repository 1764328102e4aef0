//! Client side.
//!
//! What enters: whom to trust and, perhaps, who we are. What leaves: a rustls configuration.
//! What can never happen: a server that is not checked by name and CA, or a session resumed that
//! carried our own identity.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::server::mismatch;
use super::{TlsError, files, provider};

/// TLS towards a peer whose CA is `ca` (or the system's roots), with an optional identity
/// (certificate, key). `tls13_only` for the vault link.
///
/// # Errors
/// As [`super::server::server_config`].
pub fn client_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    tls13_only: bool,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca {
        Some(path) => files::roots(path)?,
        None => system_roots()?,
    };
    let protocols: &[_] = if tls13_only {
        &[&TLS13]
    } else {
        &[&TLS13, &TLS12]
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(protocols)
        .map_err(|e| TlsError::new(ca.unwrap_or(Path::new("TLS")), e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(files::certificates(certificate)?, files::key(key)?)
            .map_err(|e| mismatch(certificate, key, &e))?,
    };
    if identity.is_some() {
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The machine's own trust anchors. Single unreadable ones are left out; none at all is an error.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(TlsError::new(
            Path::new("system roots"),
            "this machine has no trusted CA certificates; install ca-certificates, or name a ca file",
        ));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::config::ClientCertificate;
    use crate::tls::{Versions, server_config};

    #[test]
    fn a_server_of_another_ca_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (made, other) = (Made::new(one.path()), Made::new(two.path()));
        let server =
            server_config(&made.server(ClientCertificate::None), Versions::Tls13, &[]).unwrap();
        assert!(handshake(server, other.client(false, true)).is_err());
    }

    #[test]
    fn key_and_certificate_must_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        let server = made.server(ClientCertificate::None);
        let e = client_config(
            Some(&made.ca),
            Some((&made.client_certificate, &server.key)),
            true,
            &[],
        )
        .unwrap_err();
        assert!(e.what.contains("does not belong"), "{e}");
    }
}
