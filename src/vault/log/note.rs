//! Signed notes and checkpoints (C2SP: signed-note, tlog-checkpoint), ed25519.
//!
//! ```text
//! <origin>\n<size>\n<base64 of the root>\n\n— <origin> <base64 of key id 4 | signature 64>\n
//! ```
//!
//! A verifier key is `<origin>+<key id, 8 hex>+<base64 of 0x01 | public key>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::merkle::Hash;
use crate::wire::text::Hex;

const ED25519: u8 = 1;

/// What a log's owner says about it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// A log's public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    pub origin: String,
    pub key: VerifyingKey,
}

/// Why a checkpoint or a verifier key does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the verifier key is not of the form name+id+key")]
    Key,
    #[error("the checkpoint is malformed")]
    Form,
    #[error("the checkpoint is of another log")]
    Origin,
    #[error("the checkpoint's signature does not hold")]
    Signature,
    #[error("the checkpoint is not signed by this witness")]
    NotWitnessed,
}

impl Checkpoint {
    /// What a note says, whoever has signed it: for comparing copies, never for trusting one.
    pub fn unverified(note: &str) -> Option<Self> {
        let (text, _) = note.split_once("\n\n")?;
        parse_text(text)
    }

    pub fn sign(&self, key: &SigningKey) -> String {
        let text = format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        );
        let mut signature = key_id(&self.origin, ED25519, &key.verifying_key()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n\u{2014} {} {}\n",
            self.origin,
            STANDARD.encode(signature)
        )
    }
}

impl Verifier {
    /// Reads `name+id+base64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(origin), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519, key)) = key.split_first() else {
            return Err(NoteError::Key);
        };
        let key = <&[u8; 32]>::try_from(key).map_err(|_| NoteError::Key)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::Key)?;
        if Hex::<4>::parse(id) != Some(Hex(key_id(origin, ED25519, &key))) {
            return Err(NoteError::Key);
        }
        Ok(Self {
            origin: origin.to_owned(),
            key,
        })
    }

    /// The checkpoint in a note that this key has signed.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Form)?;
        let text = format!("{text}\n");
        let checkpoint = parse_text(&text).ok_or(NoteError::Form)?;
        if checkpoint.origin != self.origin {
            return Err(NoteError::Origin);
        }
        let id = key_id(&self.origin, ED25519, &self.key);
        let ours = format!("\u{2014} {} ", self.origin);
        for line in signatures.lines() {
            let Some(encoded) = line.strip_prefix(&ours) else {
                continue; // another witness's signature
            };
            let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
            let Some(signature) = bytes.strip_prefix(&id) else {
                continue;
            };
            let signature = Signature::from_slice(signature).map_err(|_| NoteError::Form)?;
            return match self.key.verify_strict(text.as_bytes(), &signature) {
                Ok(()) => Ok(checkpoint),
                Err(_) => Err(NoteError::Signature),
            };
        }
        Err(NoteError::Signature)
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = Hex(key_id(&self.origin, ED25519, &self.key));
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{id}+{}", self.origin, STANDARD.encode(key))
    }
}

fn parse_text(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    let origin = lines.next().filter(|origin| !origin.is_empty())?;
    let size = lines.next()?;
    let parsed: u64 = size.parse().ok()?;
    if parsed.to_string() != size {
        return None; // no plus sign, no leading zeros: one spelling for one tree
    }
    let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    lines.next().is_none().then(|| Checkpoint {
        origin: origin.to_owned(),
        size: parsed,
        root,
    })
}

/// First four bytes of SHA-256 over name, line feed, algorithm, key (C2SP signed-note).
pub(super) fn key_id(name: &str, algorithm: u8, key: &VerifyingKey) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([b'\n', algorithm])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (SigningKey, Verifier, Checkpoint) {
        let key = SigningKey::from_bytes(&[1; 32]);
        let verifier = Verifier {
            origin: "cryptonym.vault/test".into(),
            key: key.verifying_key(),
        };
        let checkpoint = Checkpoint {
            origin: verifier.origin.clone(),
            size: 12,
            root: [7; 32],
        };
        (key, verifier, checkpoint)
    }

    #[test]
    fn a_checkpoint_goes_round_under_the_key_s_own_text() {
        let (key, verifier, checkpoint) = log();
        let verifier = Verifier::parse(&verifier.to_string()).unwrap();
        assert_eq!(verifier.open(&checkpoint.sign(&key)), Ok(checkpoint));
    }

    /// The key that golang.org/x/mod/sumdb/note and C2SP signed-note print as their example.
    #[test]
    fn vault_05_a_known_verifier_key_is_read() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let verifier = Verifier::parse(text).unwrap();
        assert_eq!(verifier.origin, "PeterNeumann");
        assert_eq!(verifier.to_string(), text);
    }

    #[test]
    fn another_key_another_origin_and_a_bent_text_are_refused() {
        let (key, verifier, checkpoint) = log();
        let note = checkpoint.sign(&key);
        let other = SigningKey::from_bytes(&[2; 32]);
        assert!(verifier.open(&checkpoint.sign(&other)).is_err());
        assert_eq!(
            verifier.open(&note.replacen("\n12\n", "\n13\n", 1)),
            Err(NoteError::Signature)
        );
        assert_eq!(
            verifier.open(&note.replacen("\n12\n", "\n+12\n", 1)),
            Err(NoteError::Form)
        );
        let elsewhere = Checkpoint {
            origin: "another".into(),
            ..checkpoint
        };
        assert_eq!(verifier.open(&elsewhere.sign(&key)), Err(NoteError::Origin));
        assert!(Verifier::parse("a+00000000+AAAA").is_err());
    }
}
