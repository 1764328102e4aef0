//! The key pair of backups: an X25519 key in a file of its owner's, its public half in another.
//!
//! What enters: a path. What leaves: 32 bytes. What can never happen: a private key that anybody
//! but its owner could read is used, or its bytes appear in an error.
//!
//! ```text
//! cryptonym-backup-key-1                 cryptonym-backup-public-key-1
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

const HEADER: &str = "cryptonym-backup-key-1";
const PUBLIC_HEADER: &str = "cryptonym-backup-public-key-1";

/// Reads the private key, which opens backups.
///
/// # Errors
/// The file is not there, others than its owner can read or write it, or it is no such key.
pub fn load(path: &Path) -> Result<Key32, KeyFileError> {
    let text = read_private(path)?;
    let bytes = body(&text, HEADER).ok_or_else(|| {
        KeyFileError::new(
            path,
            "is no private key of backups; `cryptonym vault backup-key` makes a pair",
        )
    })?;
    Ok(Key32::new(*bytes))
}

/// Reads the public key, to which backups are sealed.
///
/// # Errors
/// The file cannot be read, or it is no such key.
pub fn load_public(path: &Path) -> Result<[u8; 32], KeyFileError> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| KeyFileError::new(path, format!("cannot be read: {e}")))?;
    body(&text, PUBLIC_HEADER).map(|key| *key).ok_or_else(|| {
        let what = match text.starts_with(HEADER) {
            true => "is the private half: it stays away from the vault; give the .pub file",
            false => "is no public key of backups; `cryptonym vault backup-key` makes a pair",
        };
        KeyFileError::new(path, what)
    })
}

/// The text of the private key's file.
pub fn to_text(key: &Key32) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose()));
    Zeroizing::new(format!("{HEADER}\n{}\n", &*encoded))
}

/// The text of the public key's file.
pub fn public_text(key: &[u8; 32]) -> String {
    format!("{PUBLIC_HEADER}\n{}\n", STANDARD.encode(key))
}

fn body(text: &str, header: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut lines = text.lines();
    if lines.next()? != header {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    let read = STANDARD.decode_slice(lines.next()?, key.as_mut()).ok()?;
    (read == 32 && lines.next().is_none()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn vault_06_what_is_written_is_read_and_halves_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("k"), dir.path().join("k.pub"));
        fs::write(&private, to_text(&Key32::new([5; 32])).as_bytes()).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&public, public_text(&[6; 32])).unwrap();
        assert_eq!(load(&private).unwrap().expose(), &[5; 32]);
        assert_eq!(load_public(&public).unwrap(), [6; 32]);
        let wrong = load_public(&private).unwrap_err().what;
        assert!(wrong.contains("private half"), "{wrong}");
        fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(&public).is_err());
        fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&private).unwrap_err().what.contains("0644"));
    }
}
