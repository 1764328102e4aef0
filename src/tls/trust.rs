//! Whose client certificates count, and the tickets given out under that trust.
//!
//! What enters: the files of CA and revoked certificates. What leaves: a verifier, and a ticketer
//! of its own. What can never happen: a ticket of one trust is taken under another (each has keys
//! of its own, made anew), or a certificate whose CA has sent no list counts as not revoked.
//!
//! Revocation is checked for the whole chain. A list that has ended is refused like one that is
//! not there: whoever can stop the distribution of lists could otherwise keep a stolen
//! certificate alive.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::files::TlsError;
use super::{files, provider};
use crate::config::{ClientCertificate, ServerTls};

/// Who is let in, as the files said at one moment.
pub struct Trust {
    /// Counts up whenever the trust of one server changes.
    pub generation: u64,
    /// Of everything that decides: CA, lists, whether certificates are needed, whether to resume.
    digest: [u8; 32],
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl Trust {
    /// # Errors
    /// A file that cannot be used: which, what is wrong, what to do.
    pub fn load(tls: &ServerTls) -> Result<Self, TlsError> {
        let mut digest = Sha256::new();
        digest.update([tls.client_certificate as u8, u8::from(tls.resumption)]);
        let verifier = match tls.client_certificate {
            ClientCertificate::None => None,
            asked => Some(verifier(tls, asked, &mut digest)?),
        };
        let ticketer = if tls.resumption {
            let made = Ticketer::new();
            Some(made.map_err(|e| TlsError::new(&tls.certificate, e.to_string()))?)
        } else {
            None
        };
        Ok(Self {
            generation: 0,
            digest: digest.finalize().into(),
            verifier,
            ticketer,
        })
    }

    /// Whether both say the same of every client.
    pub fn is_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether a client with this chain (end entity first; empty: none) would be let in now.
    pub fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        match (&self.verifier, chain.split_first()) {
            (Some(verifier), Some((leaf, rest))) => verifier
                .verify_client_cert(leaf, rest, UnixTime::now())
                .is_ok(),
            // Certificates are not asked for any more: nobody is who they were.
            (None, Some(_)) => false,
            (Some(verifier), None) => !verifier.client_auth_mandatory(),
            (None, None) => true,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust(generation {})", self.generation)
    }
}

fn verifier(
    tls: &ServerTls,
    asked: ClientCertificate,
    digest: &mut Sha256,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let ca = tls.client_ca.as_ref().ok_or_else(|| {
        TlsError::new(
            &tls.certificate,
            "client certificates are asked for, but no client_ca says whose",
        )
    })?;
    let authorities = files::certificates(ca)?;
    authorities.iter().for_each(|der| digest.update(der));
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots
            .add(authority.clone())
            .map_err(|e| TlsError::new(ca, format!("is no usable CA certificate: {e}")))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if asked != ClientCertificate::Required {
        builder = builder.allow_unauthenticated();
    }
    let mut file = ca;
    if let Some(path) = &tls.client_crl {
        let lists = files::revocations(path)?;
        lists.iter().for_each(|der| digest.update(der));
        usable(path, &lists, ca, &authorities)?;
        builder = builder.with_crls(lists).enforce_revocation_expiration();
        file = path;
    }
    builder
        .build()
        .map_err(|e| TlsError::new(file, format!("cannot be used: {e}")))
}

/// Each list is one that can be read and has not ended, and each CA has one.
fn usable(
    path: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    ca: &Path,
    authorities: &[CertificateDer<'_>],
) -> Result<(), TlsError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut issuers = Vec::new();
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|_| TlsError::new(path, "holds a block that is no X.509 CRL"))?;
        let end = list.next_update().map(|t| t.timestamp());
        if end.is_none_or(|end| end < i64::try_from(now).unwrap_or(i64::MAX)) {
            return Err(TlsError::new(
                path,
                "holds a list that has ended (nextUpdate): put the CA's newest list there",
            ));
        }
        issuers.push(list.issuer().as_raw().to_vec());
    }
    for authority in authorities {
        let known = X509Certificate::from_der(authority)
            .is_ok_and(|(_, c)| issuers.iter().any(|i| i == c.subject().as_raw()));
        if !known {
            return Err(TlsError::new(
                path,
                format!(
                    "has no list of one of the CAs in {}; put the lists of all of them into this file, one after the other",
                    ca.display()
                ),
            ));
        }
    }
    Ok(())
}
