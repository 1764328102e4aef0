//! Cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`, ed25519).
//!
//! ```text
//! — <witness> <base64 of key id 4 | unix seconds 8 | signature 64>\n
//! ```
//!
//! over `cosignature/v1\ntime <unix seconds>\n<the checkpoint's text>`. A witness's key is
//! `<witness>+<key id, 8 hex>+<base64 of 0x04 | public key>`. What enters: a checkpoint that its
//! log has signed. What leaves: the line to add, or when a witness has seen it. What can never
//! happen: a line of another key counts, or one that was made over another checkpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::note::{NoteError, key_id};
use crate::wire::text::Hex;

const COSIGNATURE: u8 = 4;

/// A witness: its name and the key it signs with.
pub struct Cosigner {
    name: String,
    key: SigningKey,
}

/// A witness as a verifier knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub name: String,
    pub key: VerifyingKey,
}

impl Cosigner {
    /// # Errors
    /// The name is empty, or has white space or a plus sign.
    pub fn new(name: &str, key: SigningKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }

    pub fn witness(&self) -> Witness {
        Witness {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// The note with this witness's line behind its signatures; an older line of it is replaced.
    ///
    /// # Errors
    /// The note has no signatures.
    pub fn cosign(&self, note: &str, unix_seconds: u64) -> Result<String, NoteError> {
        let (text, signatures) = parts(note)?;
        let signature = self.key.sign(&message(text, unix_seconds)).to_bytes();
        let witness = self.witness();
        let mut line = witness.id().to_vec();
        line.extend_from_slice(&unix_seconds.to_be_bytes());
        line.extend_from_slice(&signature);
        let start = format!("\u{2014} {} ", self.name);
        let own = |other: &&str| {
            let encoded = other.strip_prefix(&start);
            let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
            bytes.is_some_and(|bytes| bytes.starts_with(&witness.id()))
        };
        let mut out = format!("{text}\n");
        for other in signatures.lines().filter(|line| !own(line)) {
            out.push_str(other);
            out.push('\n');
        }
        out.push_str(&format!("{start}{}\n", STANDARD.encode(line)));
        Ok(out)
    }
}

impl Witness {
    /// Reads `name+id+base64`.
    ///
    /// # Errors
    /// It is not of that form, or no key of a witness.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&COSIGNATURE, key)) = key.split_first() else {
            return Err(NoteError::Key);
        };
        let key = <&[u8; 32]>::try_from(key).map_err(|_| NoteError::Key)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::Key)?;
        let witness = Self {
            name: name.to_owned(),
            key,
        };
        if !is_name(name) || Hex::<4>::parse(id) != Some(Hex(witness.id())) {
            return Err(NoteError::Key);
        }
        Ok(witness)
    }

    /// When this witness has seen the checkpoint of a note, in Unix seconds. The log's own
    /// signature is another's to verify.
    ///
    /// # Errors
    /// There is no line of it, or its signature does not hold.
    pub fn seen(&self, note: &str) -> Result<u64, NoteError> {
        let (text, signatures) = parts(note)?;
        let start = format!("\u{2014} {} ", self.name);
        for line in signatures.lines() {
            let Some(encoded) = line.strip_prefix(&start) else {
                continue;
            };
            let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
            let Some(rest) = bytes.strip_prefix(&self.id()) else {
                continue;
            };
            let (time, signature) = rest.split_first_chunk::<8>().ok_or(NoteError::Form)?;
            let time = u64::from_be_bytes(*time);
            let signature = Signature::from_slice(signature).map_err(|_| NoteError::Form)?;
            return match self.key.verify_strict(&message(text, time), &signature) {
                Ok(()) => Ok(time),
                Err(_) => Err(NoteError::Signature),
            };
        }
        Err(NoteError::NotWitnessed)
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, COSIGNATURE, &self.key)
    }
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![COSIGNATURE];
        key.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            Hex(self.id()),
            STANDARD.encode(key)
        )
    }
}

fn message(text: &str, unix_seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_seconds}\n{text}").into_bytes()
}

/// The signed text with its line feed, and the lines behind the empty one.
fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    let end = note.find("\n\n").ok_or(NoteError::Form)?;
    Ok((&note[..=end], &note[end + 2..]))
}

/// C2SP signed-note: a name has no white space and no plus sign.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::log::note::{Checkpoint, Verifier};

    fn note(size: u64) -> (Verifier, String) {
        let key = SigningKey::from_bytes(&[1; 32]);
        let checkpoint = Checkpoint {
            origin: "cryptonym.vault/test".into(),
            size,
            root: [7; 32],
        };
        let verifier = Verifier {
            origin: checkpoint.origin.clone(),
            key: key.verifying_key(),
        };
        (verifier, checkpoint.sign(&key))
    }

    #[test]
    fn vault_05_a_cosignature_says_who_saw_what_and_when() {
        let (log, note) = note(12);
        let cosigner = Cosigner::new("w.example", SigningKey::from_bytes(&[2; 32])).unwrap();
        let witness = Witness::parse(&cosigner.witness().to_string()).unwrap();
        assert_eq!(witness, cosigner.witness());
        assert_eq!(witness.seen(&note), Err(NoteError::NotWitnessed));
        let cosigned = cosigner.cosign(&note, 1_700_000_000).unwrap();
        assert_eq!(witness.seen(&cosigned), Ok(1_700_000_000));
        // The log's own signature stays as it was.
        assert!(cosigned.starts_with(&note));
        assert_eq!(log.open(&cosigned).unwrap().size, 12);
        // Again, later: one line.
        let again = cosigner.cosign(&cosigned, 1_700_000_001).unwrap();
        assert_eq!(witness.seen(&again), Ok(1_700_000_001));
        assert_eq!(again.lines().count(), cosigned.lines().count());
        // A second witness beside it.
        let other = Cosigner::new("v.example", SigningKey::from_bytes(&[3; 32])).unwrap();
        let both = other.cosign(&again, 5).unwrap();
        assert_eq!(witness.seen(&both), Ok(1_700_000_001));
        assert_eq!(other.witness().seen(&both), Ok(5));
    }

    #[test]
    fn vault_05_a_bent_cosignature_does_not_count() {
        let (_, note) = note(12);
        let cosigner = Cosigner::new("w.example", SigningKey::from_bytes(&[2; 32])).unwrap();
        let witness = cosigner.witness();
        let cosigned = cosigner.cosign(&note, 1_700_000_000).unwrap();
        let other_size = cosigned.replacen("\n12\n", "\n13\n", 1);
        assert_eq!(witness.seen(&other_size), Err(NoteError::Signature));
        // Another key under the same name, and the same key under another name.
        let same_name = Cosigner::new("w.example", SigningKey::from_bytes(&[9; 32])).unwrap();
        assert_eq!(
            same_name.witness().seen(&cosigned),
            Err(NoteError::NotWitnessed)
        );
        let other_name = Cosigner::new("w", SigningKey::from_bytes(&[2; 32])).unwrap();
        assert_eq!(
            other_name.witness().seen(&cosigned),
            Err(NoteError::NotWitnessed)
        );
        for wrong in ["", "a b", "a+b", "a\n"] {
            assert!(Cosigner::new(wrong, SigningKey::from_bytes(&[2; 32])).is_err());
        }
        // A log's key is no witness's key.
        let log = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(Witness::parse(log), Err(NoteError::Key));
    }

    /// The message that is signed, byte by byte, as the specification shows it.
    #[test]
    fn vault_05_the_signed_bytes_are_those_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\n\
                    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(
            String::from_utf8(message(text, 1_679_315_147)).unwrap(),
            "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
             CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        );
    }
}
