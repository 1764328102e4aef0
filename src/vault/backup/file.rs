//! The file of a backup.
//!
//! ```text
//! "cryptonym-backup-1\n" | u16 length, head (JSON) | u16 length, key (HPKE) | chunks
//! chunk: u32 length | nonce 12, ciphertext, tag 16 (AES-256-GCM)
//! ```
//!
//! The key is random for each backup, and sealed to the backup key's public half with the head as
//! associated data. A chunk's associated data are its number and whether it is the last: none can
//! be left out, exchanged, or cut off.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::limits;
use crate::secret::Key32;
use crate::vault::keys::cipher::{Cipher, OVERHEAD};
use crate::vault::keys::{bind, random_key};
use crate::wire::control::parse;
use crate::wire::sealed::{self, KeyPair};
use crate::wire::text::Hex;

const MAGIC: &[u8] = b"cryptonym-backup-1\n";
const INFO: &[u8] = b"cryptonym backup v1";

/// What a backup says of itself, in clear: nothing that its name and size do not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub vault: Hex<16>,
    /// RFC 3339, UTC: the moment whose state it is.
    pub made: String,
    /// The log's size then.
    pub log_entries: u64,
}

/// The key of one backup.
pub struct FileKey(Key32);

/// Seals everything that `from` gives.
///
/// # Errors
/// Reading, writing, or a public key that is none.
pub fn seal(
    head: &Head,
    public: &[u8; 32],
    from: &mut impl Read,
    to: &mut impl Write,
) -> Result<FileKey, Failed> {
    let key = random_key();
    let head = serde_json::to_vec(head).expect("a head always has a JSON text");
    let wrapped = sealed::seal(public, INFO, &head, key.expose()).map_err(|_| Failed::Sealed)?;
    to.write_all(MAGIC)?;
    for part in [&head, &wrapped] {
        let length = u16::try_from(part.len()).map_err(|_| Failed::Form)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(part)?;
    }
    let cipher = Cipher::new(&key);
    let mut chunk = vec![0; limits::BACKUP_CHUNK];
    let mut next = vec![0; limits::BACKUP_CHUNK];
    let mut length = fill(from, &mut chunk)?;
    for number in 0_u64.. {
        // Only who has looked ahead knows which chunk is the last.
        let after = fill(from, &mut next)?;
        let sealed = cipher.seal(&place(number, after == 0), &chunk[..length]);
        to.write_all(&(sealed.len() as u32).to_be_bytes())?;
        to.write_all(&sealed)?;
        if after == 0 {
            break;
        }
        std::mem::swap(&mut chunk, &mut next);
        length = after;
    }
    Ok(FileKey(key))
}

/// Reads the head and the sealed key behind it.
///
/// # Errors
/// It is no backup.
pub fn head(from: &mut impl Read) -> Result<(Head, Opening), Failed> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(Failed::Form);
    }
    let mut part = || {
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > limits::BACKUP_HEAD {
            return Err(Failed::Form);
        }
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let (associated, wrapped) = (part()?, part()?);
    let head = parse(&associated).map_err(|_| Failed::Form)?;
    let opening = Opening {
        associated,
        wrapped,
    };
    Ok((head, opening))
}

/// A head whose key is still sealed.
pub struct Opening {
    associated: Vec<u8>,
    wrapped: Vec<u8>,
}

impl Opening {
    /// # Errors
    /// The backup is sealed to another key, or its head was changed.
    pub fn key(&self, pair: &KeyPair) -> Result<FileKey, Failed> {
        let opened = pair.open(INFO, &self.associated, &self.wrapped);
        let opened = opened.map_err(|_| Failed::Sealed)?;
        let bytes: &[u8; 32] = opened.as_slice().try_into().map_err(|_| Failed::Sealed)?;
        Ok(FileKey(Key32::new(*bytes)))
    }
}

/// Opens the chunks behind a head.
///
/// # Errors
/// A chunk that does not open in its place; an end before the last one, or bytes behind it.
pub fn open(key: &FileKey, from: &mut impl Read, to: &mut impl Write) -> Result<(), Failed> {
    let cipher = Cipher::new(&key.0);
    let mut sealed = vec![0; limits::BACKUP_CHUNK + OVERHEAD];
    for number in 0_u64.. {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let chunk = sealed.get_mut(..length).ok_or(Failed::Form)?;
        from.read_exact(chunk)?;
        if let Ok(plain) = cipher.open(&place(number, false), chunk) {
            to.write_all(&plain)?;
            continue;
        }
        let plain = cipher.open(&place(number, true), chunk);
        to.write_all(&plain.map_err(|_| Failed::Sealed)?)?;
        break;
    }
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Failed::Form),
    }
}

/// Why a file of a backup cannot be written or read.
#[derive(Debug)]
pub enum Failed {
    Form,
    Sealed,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Form,
            _ => Self::Io(error),
        }
    }
}

impl Failed {
    pub(super) fn of(self, file: &std::path::Path) -> BackupError {
        match self {
            Self::Form => BackupError::Form,
            Self::Sealed => BackupError::Sealed,
            Self::Io(error) => BackupError::file(file, error),
        }
    }
}

fn place(number: u64, last: bool) -> Vec<u8> {
    bind(&[b"backup chunk", &number.to_be_bytes(), &[u8::from(last)]])
}

/// As much as there is, up to the buffer's length.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(bytes: &[u8], pair: &KeyPair) -> (Head, Vec<u8>) {
        let head = Head {
            vault: Hex([7; 16]),
            made: "2026-01-02T03:04:05Z".into(),
            log_entries: 9,
        };
        let mut out = Vec::new();
        seal(&head, &pair.public(), &mut &*bytes, &mut out).unwrap();
        (head, out)
    }

    fn read(file: &[u8], pair: &KeyPair) -> Result<Vec<u8>, Failed> {
        let mut from = file;
        let (_, opening) = head(&mut from)?;
        let mut out = Vec::new();
        open(&opening.key(pair)?, &mut from, &mut out)?;
        Ok(out)
    }

    #[test]
    fn vault_06_what_was_sealed_comes_back_for_its_key_alone() {
        let pair = KeyPair::generate();
        for size in [0, 1, limits::BACKUP_CHUNK, 2 * limits::BACKUP_CHUNK + 5] {
            let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let (said, file) = backup(&bytes, &pair);
            assert_eq!(head(&mut file.as_slice()).unwrap().0, said);
            assert!(read(&file, &pair).unwrap() == bytes, "{size}");
            assert!(read(&file, &KeyPair::generate()).is_err());
        }
    }

    #[test]
    fn vault_06_a_bent_a_cut_and_a_shuffled_backup_do_not_open() {
        let pair = KeyPair::generate();
        let chunk = limits::BACKUP_CHUNK;
        let (_, file) = backup(&vec![3; 3 * chunk], &pair);
        for at in [0, 20, 40, 100, 200, file.len() / 2, file.len() - 1] {
            let mut bent = file.clone();
            bent[at] ^= 1;
            assert!(read(&bent, &pair).is_err(), "byte {at}");
        }
        let sealed = chunk + OVERHEAD + 4;
        for length in [0, 10, 60, file.len() - 1, file.len() - sealed] {
            assert!(read(&file[..length], &pair).is_err(), "length {length}");
        }
        assert!(read(&[file.clone(), vec![0]].concat(), &pair).is_err());
        // The first two chunks exchanged; they are of one content.
        let start = file.len() - 3 * sealed;
        let mut shuffled = file.clone();
        shuffled[start..start + 2 * sealed].rotate_left(sealed);
        assert_ne!(shuffled, file);
        assert!(matches!(read(&shuffled, &pair), Err(Failed::Sealed)));
    }
}
