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
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use sha2::{Digest, Sha256};

use super::files::TlsError;
use super::lists::{self, Issue};
use super::{files, provider};
use crate::config::{ClientCertificate, ServerTls};

/// Who is let in, as the files said at one moment.
pub struct Trust {
    /// Counts up whenever the trust of one server changes.
    pub generation: u64,
    /// Of everything that decides: CA, lists, whether certificates are needed, whether to resume.
    digest: [u8; 32],
    /// When the first of its lists ends, in seconds since 1970-01-01T00:00:00Z.
    pub ends: Option<i64>,
    issues: Vec<Issue>,
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
        let (verifier, lists) = verifier.unzip();
        let (ends, issues) = lists.flatten().unzip();
        let ticketer = if tls.resumption {
            let made = Ticketer::new();
            Some(made.map_err(|e| TlsError::new(&tls.certificate, e.to_string()))?)
        } else {
            None
        };
        Ok(Self {
            generation: 0,
            digest: digest.finalize().into(),
            ends,
            issues: issues.unwrap_or_default(),
            verifier,
            ticketer,
        })
    }

    /// Whether both say the same of every client.
    pub fn is_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether one of the lists of this trust is older than the same list of the other: a list that
    /// somebody has put back lets in again whom a newer one has shut out.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let newer = |one: &Issue| other.issues.iter().any(|known| known.is_newer_than(one));
        self.issues.iter().any(newer)
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

/// What verifies, when the first of its lists ends, and how new each is.
type Verifying = (Arc<dyn ClientCertVerifier>, Option<(i64, Vec<Issue>)>);

fn verifier(
    tls: &ServerTls,
    asked: ClientCertificate,
    digest: &mut Sha256,
) -> Result<Verifying, TlsError> {
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
    let mut used = None;
    if let Some(path) = &tls.client_crl {
        let lists = files::revocations(path)?;
        lists.iter().for_each(|der| digest.update(der));
        used = Some(lists::usable(path, &lists, ca, &authorities)?);
        builder = builder.with_crls(lists).enforce_revocation_expiration();
        file = path;
    }
    let verifier = builder
        .build()
        .map_err(|e| TlsError::new(file, format!("cannot be used: {e}")))?;
    Ok((verifier, used))
}
