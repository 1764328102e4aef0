//! An approver's ed25519 signing key in a file: PKCS#8 PEM (RFC 8410), owner only.
//!
//! What enters: a path. What leaves: the signing key. What can never happen: a key that others
//! can read is used, or its bytes appear in an error. `openssl genpkey -algorithm ed25519` makes
//! the same file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::KeyFileError;
use super::root_key::read_private;

/// DER of a PrivateKeyInfo with the OID 1.3.101.112 up to the 32 bytes of the key (RFC 8410,
/// section 7), without and with the public key behind it.
const HEAD_V1: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const HEAD_V2: [u8; 14] = [
    0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Reads a signing key.
///
/// # Errors
/// The file is not there, others than its owner can reach it, or it holds no ed25519 key.
pub fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
    let text = read_private(path)?;
    let fail = || {
        KeyFileError::new(
            path,
            "holds no ed25519 key in PKCS#8 PEM; `openssl genpkey -algorithm ed25519` makes one",
        )
    };
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| fail())?;
    let der = der.secret_pkcs8_der();
    let seed = der
        .strip_prefix(&HEAD_V1)
        .filter(|s| s.len() == 32)
        .or_else(|| {
            let body = der.get(2..)?.strip_prefix(&HEAD_V2)?;
            body.get(..32)
        });
    let mut seed: [u8; 32] = seed.and_then(|s| s.try_into().ok()).ok_or_else(fail)?;
    let key = SigningKey::from_bytes(&seed);
    seed.zeroize();
    Ok(key)
}

/// The PEM text of a signing key.
pub fn to_pem(key: &SigningKey) -> Zeroizing<String> {
    let mut der = Zeroizing::new([0_u8; 48]);
    der[..16].copy_from_slice(&HEAD_V1);
    der[16..].copy_from_slice(&*Zeroizing::new(key.to_bytes()));
    let encoded = Zeroizing::new(STANDARD.encode(&der[..]));
    Zeroizing::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        &*encoded
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn put(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let key = SigningKey::from_bytes(&[5; 32]);
        put(&path, &to_pem(&key));
        assert_eq!(load(&path).unwrap().to_bytes(), [5; 32]);
    }

    #[test]
    fn keys_of_other_tools_are_read_and_other_kinds_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        // PKCS#8 version 2, with the public key behind.
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        put(&path, &made.serialize_pem());
        let read = load(&path).unwrap().verifying_key();
        assert_eq!(&read.as_bytes()[..], made.public_key_raw());
        let other = rcgen::KeyPair::generate().unwrap();
        put(&path, &other.serialize_pem());
        assert!(load(&path).unwrap_err().what.contains("no ed25519 key"));
        put(&path, "");
        assert!(load(&path).is_err());
    }
}
