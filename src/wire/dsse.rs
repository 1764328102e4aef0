//! DSSE envelopes (Dead Simple Signing Envelope, secure-systems-lab/dsse v1.0.2) with ed25519.
//!
//! What enters: a payload type, payload bytes, a key. What leaves: an envelope, or the payload of
//! one whose signature holds. What can never happen: a payload that is used before its signature
//! and key id have been checked.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::text::{Base64, Hex};

/// An envelope. Exactly one signature is accepted where one person decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    pub payload: Base64,
    pub signatures: Vec<EnvelopeSignature>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    pub keyid: String,
    pub sig: Base64,
}

/// Why an envelope does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("the payload type is not the expected one")]
    Type,
    #[error("there must be exactly one signature")]
    Count,
    #[error("the key id is not that of the enrolled key")]
    Key,
    #[error("the signature does not hold")]
    Signature,
}

impl Envelope {
    /// Signs `payload` as it stands.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication(payload_type, &payload));
        Self {
            payload_type: payload_type.to_owned(),
            payload: Base64(payload),
            signatures: vec![EnvelopeSignature {
                keyid: key_id(&key.verifying_key()),
                sig: Base64(signature.to_bytes().to_vec()),
            }],
        }
    }

    /// The payload, if `key` has signed it as `payload_type`.
    pub fn verify(&self, payload_type: &str, key: &VerifyingKey) -> Result<&[u8], Unsigned> {
        if self.payload_type != payload_type {
            return Err(Unsigned::Type);
        }
        let [signature] = &self.signatures[..] else {
            return Err(Unsigned::Count);
        };
        if signature.keyid != key_id(key) {
            return Err(Unsigned::Key);
        }
        let bytes = Signature::from_slice(&signature.sig.0).map_err(|_| Unsigned::Signature)?;
        key.verify_strict(&pre_authentication(payload_type, &self.payload.0), &bytes)
            .map_err(|_| Unsigned::Signature)?;
        Ok(&self.payload.0)
    }
}

/// The id of a signing key: SHA-256 of its 32 bytes, hexadecimal.
pub fn key_id(key: &VerifyingKey) -> String {
    Hex::<32>(Sha256::digest(key.as_bytes()).into()).to_string()
}

/// PAE of the DSSE protocol: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_the_protocol_s_example() {
        // secure-systems-lab/dsse, protocol.md, test vectors.
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn only_the_signed_payload_under_its_type_and_key_passes() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let other = SigningKey::from_bytes(&[2; 32]);
        let envelope = Envelope::sign("t", b"body".to_vec(), &key);
        assert_eq!(envelope.verify("t", &key.verifying_key()), Ok(&b"body"[..]));
        assert_eq!(
            envelope.verify("u", &key.verifying_key()),
            Err(Unsigned::Type)
        );
        assert_eq!(
            envelope.verify("t", &other.verifying_key()),
            Err(Unsigned::Key)
        );
        let mut bent = envelope.clone();
        bent.payload.0[0] ^= 1;
        assert_eq!(
            bent.verify("t", &key.verifying_key()),
            Err(Unsigned::Signature)
        );
        let mut twice = envelope.clone();
        twice.signatures.push(envelope.signatures[0].clone());
        assert_eq!(
            twice.verify("t", &key.verifying_key()),
            Err(Unsigned::Count)
        );
    }
}
