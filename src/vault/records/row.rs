//! A record's row at rest: what is in it, how it is padded and sealed.
//!
//! ```text
//! plaintext = kind length u8 | kind | identifier length u16 | identifier | zeros
//! ```
//!
//! padded to one of [`limits::ROW_SIZES`]. A person's or an object's lies under a random data key
//! of its subject, which is wrapped under the epoch's subject key; a vocabulary value lies under
//! the epoch's vocabulary key. Associated data bind vault, domain, epoch and index.

use zeroize::Zeroizing;

use crate::limits;
use crate::pseudonym::{Class, Kind, Pseudonym};
use crate::secret::Key32;
use crate::vault::keys::cipher::{Cipher, NONCE};
use crate::vault::keys::epoch::EpochKeys;
use crate::vault::store::RecordRow;

/// Parts of a row, in its associated data.
pub const KNOWN: &[u8] = b"known";
pub const SUBJECT: &[u8] = b"subject";
pub const IDENTIFIER: &[u8] = b"identifier";

/// Random bytes of one record: data key, nonce of its wrapping, nonce of the row.
const RANDOM: usize = 32 + NONCE + NONCE;

/// Seals the records of one batch, with randomness drawn once for all of them.
pub struct Sealer<'a> {
    keys: &'a EpochKeys,
    random: Zeroizing<Vec<u8>>,
    /// Records sealed so far, and so pieces of `random` used.
    sealed: usize,
    known: Place,
    subject: Place,
    identifier: Place,
}

/// The associated data of one part, rewritten from record to record.
struct Place(Vec<u8>);

impl Place {
    fn new(keys: &EpochKeys, part: &[u8]) -> Self {
        Self(keys.row_place(part, &[0; 16]))
    }

    fn of(&mut self, index: &[u8; 16]) -> &[u8] {
        let at = self.0.len() - index.len();
        self.0[at..].copy_from_slice(index);
        &self.0
    }
}

impl<'a> Sealer<'a> {
    pub fn new(keys: &'a EpochKeys, records: usize) -> Self {
        let mut random = Zeroizing::new(vec![0; records * RANDOM]);
        getrandom::fill(&mut random).expect("the system gives random bytes, or nothing is safe");
        Self {
            keys,
            random,
            sealed: 0,
            known: Place::new(keys, KNOWN),
            subject: Place::new(keys, SUBJECT),
            identifier: Place::new(keys, IDENTIFIER),
        }
    }

    /// # Panics
    /// For more records than [`Sealer::new`] was told: randomness is never used twice.
    pub fn seal(&mut self, pseudonym: &Pseudonym, kind: &Kind, identifier: &[u8]) -> RecordRow {
        let keys = self.keys;
        let at = self.sealed * RANDOM;
        let random = self.random.get(at..at + RANDOM);
        let random = random.expect("as many records as the sealer was made for");
        self.sealed += 1;
        let (data_key, nonces) = random.split_first_chunk::<32>().expect("RANDOM has a key");
        let (wrap_nonce, nonces) = nonces.split_first_chunk().expect("RANDOM has two nonces");
        let (row_nonce, _) = nonces.split_first_chunk().expect("RANDOM has two nonces");

        let index = keys.index(pseudonym);
        // The index is a keyed hash of the very pseudonym that is sealed: a nonce that repeats
        // only with its message.
        let mut known_nonce = [0; NONCE];
        known_nonce.copy_from_slice(&index[..NONCE]);
        let seal = |cipher: &Cipher, place: &[u8]| {
            let size = padded(&kind.name, identifier);
            cipher.seal_written(row_nonce, place, size, |out| {
                pad(&kind.name, identifier, size, out);
            })
        };
        let place = self.identifier.of(&index);
        let (subject, sealed) = match kind.class {
            Class::Vocabulary => (None, seal(&keys.vocabulary, place)),
            Class::Person | Class::Object => {
                let data_key = Key32::new(*data_key);
                let place_of_key = self.subject.of(&index);
                let wrapped = keys
                    .subjects
                    .seal_with(wrap_nonce, place_of_key, data_key.expose());
                (Some(wrapped), seal(&Cipher::new(&data_key), place))
            }
        };
        RecordRow {
            tag: keys.tag(&index, &kind.name, identifier),
            known: keys
                .known
                .seal_with(&known_nonce, self.known.of(&index), &pseudonym.0),
            index,
            subject,
            sealed,
        }
    }
}

/// The size of a record's plaintext.
fn padded(kind: &str, identifier: &[u8]) -> usize {
    let length = 3 + kind.len() + identifier.len();
    let size = limits::ROW_SIZES.into_iter().find(|size| *size >= length);
    size.expect("the longest kind with the longest identifier fits the largest row")
}

/// Appends a plaintext of `size` bytes.
fn pad(kind: &str, identifier: &[u8], size: usize, out: &mut Vec<u8>) {
    let end = out.len() + size;
    out.push(kind.len() as u8);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(&(identifier.len() as u16).to_be_bytes());
    out.extend_from_slice(identifier);
    out.resize(end, 0);
}

/// Splits an opened row into kind and identifier.
pub fn parts(plaintext: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = plaintext.split_first()?;
    let (kind, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let identifier = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(kind).ok()?, identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_a_few_classes_and_parts_come_back() {
        let longest_kind = "k".repeat(limits::KIND_NAME);
        let longest = vec![b'x'; limits::IDENTIFIER];
        for (kind, identifier) in [
            ("subscriber", &b"SUB-1"[..]),
            ("email", &[b'x'; 200]),
            (&longest_kind, &longest),
        ] {
            let mut row = Vec::new();
            pad(kind, identifier, padded(kind, identifier), &mut row);
            assert!(limits::ROW_SIZES.contains(&row.len()));
            assert_eq!(parts(&row), Some((kind, identifier)));
        }
        assert_eq!(padded("a", b"1"), padded("subscriber", b"SUB-000001"));
        assert_eq!(parts(&[5, b'a']), None);
    }
}
