//! Server side.
//!
//! What enters: a certificate, its key and whom to let in. What leaves: a rustls configuration.
//! What can never happen: a session of an authenticated client is resumed where nobody has asked
//! for it. A resumed session keeps the identity of its first handshake; [`super::trust`] says
//! what a gateway that resumes does about it.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

pub use super::files::TlsError;
use super::trust::Trust;
use super::{files, provider};
use crate::config::ServerTls;

/// Versions a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3 and 1.2 (gateway).
    Tls12And13,
    /// TLS 1.3 only (vault).
    Tls13,
}

/// A server's TLS: its certificate (whatever name a client asks for), its versions, its ALPN
/// protocols (most wanted first), and whether client certificates are asked for or required.
///
/// # Errors
/// File, what is wrong with it, what to do; never key bytes.
pub fn server_config(
    tls: &ServerTls,
    versions: Versions,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let certified = certified(&tls.certificate, &tls.key)?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    build(
        &tls.certificate,
        versions,
        alpn,
        &Trust::load(tls)?,
        resolver,
    )
}

/// A configuration of its parts. `file`: what an error is about.
pub(super) fn build(
    file: &Path,
    versions: Versions,
    alpn: &[&[u8]],
    trust: &Trust,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let protocols: &[_] = match versions {
        Versions::Tls12And13 => &[&TLS13, &TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(protocols)
        .map_err(|e| TlsError::new(file, e.to_string()))?;
    let builder = match &trust.verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    if let Some(ticketer) = &trust.ticketer {
        config.ticketer = ticketer.clone();
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// A certificate chain with the key that belongs to it.
pub(super) fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = files::certificates(certificate)?;
    CertifiedKey::from_der(chain, files::key(key)?, &provider())
        .map_err(|e| mismatch(certificate, key, &e))
}

/// rustls's reasons for refusing a certificate with its key, in our words.
pub(super) fn mismatch(
    certificate: &std::path::Path,
    key: &std::path::Path,
    error: &rustls::Error,
) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::new(
            key,
            format!(
                "does not belong to the first certificate of {}; that file must begin with the certificate made for this key",
                certificate.display()
            ),
        ),
        rustls::Error::General(_) => TlsError::new(
            key,
            "is no key this program can sign with (ECDSA P-256, P-384, Ed25519 or RSA)",
        ),
        other => TlsError::new(certificate, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::config::ClientCertificate;

    #[test]
    fn no_tickets_where_resumption_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        for asked in [ClientCertificate::Optional, ClientCertificate::Required] {
            let mut tls = made.server(asked);
            tls.resumption = false;
            let config = server_config(&tls, Versions::Tls12And13, &[b"h2"]).unwrap();
            assert_eq!(config.send_tls13_tickets, 0);
            assert!(!config.ticketer.enabled());
            assert!(!config.session_storage.can_cache());
            assert_eq!(config.alpn_protocols, vec![b"h2".to_vec()]);
        }
        let open =
            server_config(&made.server(ClientCertificate::None), Versions::Tls13, &[]).unwrap();
        assert!(open.ticketer.enabled());
    }

    #[test]
    fn certificate_required_optional_and_none() {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        let with = made.client(true, false);
        let without = made.client(false, false);
        for (asked, client, good) in [
            (ClientCertificate::None, &without, true),
            (ClientCertificate::Optional, &without, true),
            (ClientCertificate::Optional, &with, true),
            (ClientCertificate::Required, &with, true),
            (ClientCertificate::Required, &without, false),
        ] {
            let server =
                server_config(&made.server(asked), Versions::Tls12And13, &[b"h2"]).unwrap();
            let met = handshake(server, client.clone());
            assert_eq!(met.is_ok(), good, "{asked:?} {met:?}");
            if let Ok(met) = met {
                assert_eq!(met.group, "X25519MLKEM768");
                let expect = asked != ClientCertificate::None && Arc::ptr_eq(client, &with);
                assert_eq!(met.peer.is_some(), expect);
                if let Some(peer) = met.peer {
                    let peer = crate::tls::Peer::from_certificate(&peer).unwrap();
                    assert_eq!(
                        (peer.role, &*peer.id),
                        (crate::tls::Role::Gateway, "gateway-1")
                    );
                }
            }
        }
    }

    #[test]
    fn vault_refuses_tls12() {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        let server = server_config(
            &made.server(ClientCertificate::Required),
            Versions::Tls13,
            &[],
        )
        .unwrap();
        assert!(handshake(server, made.client_tls12()).is_err());
    }

    #[test]
    fn a_client_of_another_ca_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (made, other) = (Made::new(one.path()), Made::new(two.path()));
        let mut tls = made.server(ClientCertificate::Required);
        tls.client_ca = other.server(ClientCertificate::Required).client_ca;
        let server = server_config(&tls, Versions::Tls13, &[]).unwrap();
        assert!(handshake(server, made.client(true, true)).is_err());
    }

    #[test]
    fn errors_name_the_file_and_never_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        let good = made.server(ClientCertificate::None);
        let secret = std::fs::read_to_string(&good.key).unwrap();
        let secret = secret.lines().nth(1).unwrap();

        let mut cross = good.clone();
        cross.key = made.client_key.clone();
        let e = server_config(&cross, Versions::Tls13, &[]).unwrap_err();
        assert!(e.what.contains("does not belong"), "{e}");

        let mut absent = good.clone();
        absent.key = dir.path().join("nowhere.key");
        let e = server_config(&absent, Versions::Tls13, &[]).unwrap_err();
        assert!(
            e.file.ends_with("nowhere.key") && e.what.contains("certs init"),
            "{e}"
        );

        let mut swapped = good.clone();
        std::mem::swap(&mut swapped.key, &mut swapped.certificate);
        let e = server_config(&swapped, Versions::Tls13, &[]).unwrap_err();
        assert!(e.what.contains("holds no certificate"), "{e}");

        let broken = dir.path().join("broken.key");
        std::fs::write(
            &broken,
            format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n-----END PRIVATE KEY-----\n"),
        )
        .unwrap();
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut bad = good.clone();
        bad.key = broken;
        let e = server_config(&bad, Versions::Tls13, &[]).unwrap_err();
        assert!(!format!("{e} {e:?}").contains(&secret[..16]), "{e}");

        std::fs::set_permissions(&good.key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let e = server_config(&good, Versions::Tls13, &[]).unwrap_err();
        assert!(e.what.contains("chmod 600"), "{e}");
        std::fs::set_permissions(&good.key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(server_config(&good, Versions::Tls13, &[]).is_ok());
    }
}
