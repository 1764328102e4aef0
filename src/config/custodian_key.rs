//! A custodian's key pair in files: X25519, for HPKE (RFC 9180). The private one is its owner's alone.
//!
//! What enters: a path. What leaves: 32 bytes. What can never happen: a private key that anybody
//! but its owner could read is used, or its bytes appear in an error.
//!
//! ```text
//! cryptonym-custodian-key-1              cryptonym-custodian-public-key-1
//! <base64 of 32 bytes>                   <base64 of 32 bytes>
//! ```

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyFileError;
use super::root_key::read_private;
use crate::secret::Key32;

const HEADER: &str = "cryptonym-custodian-key-1";
const PUBLIC_HEADER: &str = "cryptonym-custodian-public-key-1";

/// Reads a private key.
///
/// # Errors
/// The file is not there, others than its owner can read or write it, or it is no such key.
pub fn load(path: &Path) -> Result<Key32, KeyFileError> {
    let text = read_private(path)?;
    let bytes = body(&text, HEADER).ok_or_else(|| {
        let hint = match text.starts_with(PUBLIC_HEADER) {
            true => "is the public half: the private one opens a share",
            false => "is no custodian's key; `cryptonym vault custodian-key` makes one",
        };
        KeyFileError::new(path, hint)
    })?;
    Ok(Key32::new(*bytes))
}

/// Reads a public key.
///
/// # Errors
/// The file cannot be read, or it is no such key.
pub fn load_public(path: &Path) -> Result<[u8; 32], KeyFileError> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| KeyFileError::new(path, format!("cannot be read: {e}")))?;
    body(&text, PUBLIC_HEADER).map(|key| *key).ok_or_else(|| {
        let hint = match text.starts_with(HEADER) {
            true => "is a private key: its owner gives away the .pub file only",
            false => "is no custodian's public key; `cryptonym vault custodian-key` makes a pair",
        };
        KeyFileError::new(path, hint)
    })
}

/// The text of a private key's file.
pub fn to_text(key: &Key32) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose()));
    Zeroizing::new(format!("{HEADER}\n{}\n", &*encoded))
}

/// The text of a public key's file.
pub fn public_text(key: &[u8; 32]) -> String {
    format!("{PUBLIC_HEADER}\n{}\n", STANDARD.encode(key))
}

fn body(text: &str, header: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut lines = text.lines();
    if lines.next()? != header {
        return None;
    }
    let encoded = lines.next()?;
    if encoded.len() != 44 || lines.next().is_some() {
        return None;
    }
    let mut bytes = Zeroizing::new([0_u8; 33]);
    let length = STANDARD.decode_slice(encoded, &mut bytes[..]).ok()?;
    let key: [u8; 32] = bytes.get(..length)?.try_into().ok()?;
    (key != [0; 32]).then(|| Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_halves_are_not_confused() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("k.key"), dir.path().join("k.pub"));
        fs::write(&private, to_text(&Key32::new([7; 32]))).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&public, public_text(&[9; 32])).unwrap();
        assert_eq!(load(&private).unwrap().expose(), &[7; 32]);
        assert_eq!(load_public(&public).unwrap(), [9; 32]);
        assert!(load_public(&private).unwrap_err().what.contains("private"));
        fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(&public).unwrap_err().what.contains("public half"));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&private).unwrap_err().what.contains("chmod 600"));
    }
}
