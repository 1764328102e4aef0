//! The vault's root key in a file: two lines, owner only.
//!
//! What enters: a path. What leaves: 32 bytes in a [`Key32`]. What can never happen: a root key
//! that anybody but its owner could read is used, or its bytes appear in an error.
//!
//! ```text
//! cryptonym-vault-root-key-1
//! <base64 of 32 bytes>
//! ```

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyFileError;
use crate::secret::Key32;

const HEADER: &str = "cryptonym-vault-root-key-1";

/// Reads the root key.
///
/// # Errors
/// The file is not there, others than its owner can read or write it, or it is no root key.
pub fn load(path: &Path) -> Result<Key32, KeyFileError> {
    let text = read_private(path)?;
    parse(&text).ok_or_else(|| {
        KeyFileError::new(
            path,
            format!("is no root key: expected the line {HEADER} and 44 characters of base64"),
        )
    })
}

/// The text of a root key file.
pub fn to_text(key: &Key32) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose()));
    Zeroizing::new(format!("{HEADER}\n{}\n", &*encoded))
}

/// Reads a small text file that must be its owner's alone.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let fail = |what: String| KeyFileError::new(path, what);
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            fail("is not there; `cryptonym certs init` makes a first one".to_owned())
        }
        _ => fail(format!("cannot be read: {e}")),
    })?;
    if !meta.is_file() {
        return Err(fail("is no regular file".to_owned()));
    }
    let mode = meta.permissions().mode() & 0o7777;
    // A mounted secret belongs to root, and its reader is this process's own group.
    let mounted = meta.uid() == 0 && !rustix::process::getuid().is_root();
    let others = if mounted { 0o037 } else { 0o077 };
    if mode & others != 0 {
        return Err(fail(format!(
            "has mode {mode:04o}: others than its owner can reach it; chmod 600 it, and replace the key if others may have read it"
        )));
    }
    if meta.size() > 16 * 1024 {
        return Err(fail("is too large to be a key file".to_owned()));
    }
    let bytes = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|e| fail(format!("cannot be read: {e}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(fail("is not text".to_owned())),
    }
}

fn parse(text: &str) -> Option<Key32> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let mut bytes = Zeroizing::new([0_u8; 33]);
    let encoded = lines.next()?;
    if encoded.len() != 44 || lines.next().is_some() {
        return None;
    }
    let length = STANDARD.decode_slice(encoded, &mut bytes[..]).ok()?;
    let key: [u8; 32] = bytes.get(..length)?.try_into().ok()?;
    (key != [0; 32]).then(|| Key32::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        write(&path, &to_text(&Key32::new([7; 32])), 0o600);
        assert_eq!(load(&path).unwrap().expose(), &[7; 32]);
    }

    #[test]
    fn open_modes_and_malformed_keys_are_refused_without_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let good = to_text(&Key32::new([7; 32]));
        for mode in [0o640, 0o604, 0o660, 0o610] {
            write(&path, &good, mode);
            assert!(load(&path).unwrap_err().what.contains("chmod 600"));
        }
        let secret = good.lines().nth(1).unwrap().to_owned();
        for text in [
            secret.clone(),
            format!("{HEADER}\n{}", &secret[1..]),
            format!("{HEADER}\n{secret}\nmore"),
            format!("{HEADER}\n{}", STANDARD.encode([0; 32])),
            String::new(),
        ] {
            write(&path, &text, 0o600);
            let e = format!("{:?}", load(&path).unwrap_err());
            assert!(
                e.contains("no root key") && !e.contains(&secret[..12]),
                "{e}"
            );
        }
    }
}
