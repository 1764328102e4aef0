//! Certificates and keys from PEM files.
//!
//! What enters: a path. What leaves: DER, checked to be there and to be of the right sort. What
//! can never happen: bytes of a key in an error, or a key used that every user of the machine
//! could have read.
//!
//! Who may read a TLS key: its owner and, since that is how distributions share keys between
//! services (`root:ssl-cert 0640`), its group. A key that others can read is refused; `check`
//! warns where the group can. (The vault's root key is stricter: owner only.)

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::limits;

/// A certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct TlsError {
    pub file: String,
    pub what: String,
}

impl TlsError {
    pub fn new(file: &Path, what: impl Into<String>) -> Self {
        Self {
            file: file.display().to_string(),
            what: what.into(),
        }
    }
}

/// Every certificate of a PEM file, in order (end entity first, then its chain); at least one.
///
/// # Errors
/// The file cannot be read, or holds no certificate, or a broken one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|e| TlsError::new(path, broken_pem(&e, "certificate")))?;
    if all.is_empty() {
        return Err(TlsError::new(
            path,
            "holds no certificate; expected a PEM block BEGIN CERTIFICATE",
        ));
    }
    Ok(all)
}

/// What these files say, as SHA-256 of one after the other: equal only where none has changed.
///
/// # Errors
/// The first that cannot be read.
pub fn contents<'a>(files: impl Iterator<Item = &'a Path>) -> Result<[u8; 32], TlsError> {
    let mut all = Sha256::new();
    for file in files {
        let text = read(file)?;
        all.update((text.len() as u64).to_be_bytes());
        all.update(&text);
    }
    Ok(all.finalize().into())
}

/// The first private key of a PEM file (PKCS#8, SEC 1 or PKCS#1).
///
/// # Errors
/// The file cannot be read, can be read by everybody, or holds no key.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    if exposure(path)? == Exposure::Others {
        return Err(TlsError::new(
            path,
            "is a private key that every user of this machine can read; chmod 600 it, and replace the key if others may have",
        ));
    }
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| {
        let what = match e {
            pem::Error::NoItemsFound => {
                "holds no private key; expected a PEM block BEGIN PRIVATE KEY (an encrypted key must be decrypted first)".to_owned()
            }
            e => broken_pem(&e, "private key"),
        };
        TlsError::new(path, what)
    })
}

/// The certificates of a CA file as trust anchors.
///
/// # Errors
/// As [`certificates`], or a certificate that cannot be a trust anchor.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|e| TlsError::new(path, format!("is no usable CA certificate: {e}")))?;
    }
    Ok(store)
}

/// Every list of revoked certificates of a PEM file (`X509 CRL`, RFC 7468, section 6); at least one.
///
/// # Errors
/// The file cannot be read, or holds no list, or a broken one.
pub fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = read_up_to(path, limits::CRL_FILE)?;
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    let all =
        all.map_err(|e| TlsError::new(path, broken_pem(&e, "list of revoked certificates")))?;
    if all.is_empty() {
        return Err(TlsError::new(
            path,
            "holds no list of revoked certificates; expected a PEM block BEGIN X509 CRL",
        ));
    }
    Ok(all)
}

/// Who beside the owner can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    Owner,
    Group,
    Others,
}

/// Looks at the mode of a file (of what a symbolic link points at).
///
/// # Errors
/// The file is not there.
pub fn exposure(path: &Path) -> Result<Exposure, TlsError> {
    let mode = fs::metadata(path)
        .map_err(|e| unreadable(path, &e))?
        .permissions()
        .mode();
    Ok(match mode {
        m if m & 0o007 != 0 => Exposure::Others,
        m if m & 0o070 != 0 => Exposure::Group,
        _ => Exposure::Owner,
    })
}

/// Reads a small file; wiped when dropped, since it may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    read_up_to(path, limits::PEM_FILE)
}

fn read_up_to(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let size = fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
    if size > most {
        return Err(TlsError::new(path, "is too large to be a PEM file"));
    }
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &io::Error) -> TlsError {
    let what = match error.kind() {
        io::ErrorKind::NotFound => {
            "is not there; `cryptonym certs init` makes a first set".to_owned()
        }
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    TlsError::new(path, what)
}

/// Says what is wrong with the PEM without repeating any of it.
fn broken_pem(error: &pem::Error, what: &str) -> String {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a block is not base64",
        _ => "the PEM cannot be read",
    };
    format!("holds a broken {what}: {why}")
}
