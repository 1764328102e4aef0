//! HPKE (RFC 9180) in base mode with the one suite both sides use: DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM. One encapsulation a message.
//!
//! What enters: a public key and a plaintext, or a private key and a sealed message. What
//! leaves: the other. What can never happen: a plaintext whose associated data differ.

use hpke::aead::{AeadTag, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use super::Malformed;
use crate::secret::{Key32, stack};

/// Bytes that a sealed message is longer than its plaintext: the encapsulated key and the tag.
pub const OVERHEAD: usize = ENCAPSULATED + TAG;
const ENCAPSULATED: usize = 32;
const TAG: usize = 16;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// A key pair of the receiving side.
#[derive(Debug)]
pub struct KeyPair {
    secret: Key32,
    public: [u8; 32],
}

impl KeyPair {
    /// A new pair from the system's randomness.
    pub fn generate() -> Self {
        let (secret, public) = X25519HkdfSha256::gen_keypair();
        let bytes = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
        Self {
            secret: Key32::new(*bytes),
            public: public.to_bytes().into(),
        }
    }

    /// The pair of a stored private key.
    ///
    /// # Errors
    /// The bytes are no X25519 private key.
    pub fn from_secret(secret: Key32) -> Result<Self, Malformed> {
        let key = PrivateKey::from_bytes(secret.expose()).map_err(|_| Malformed("private key"))?;
        let public = X25519HkdfSha256::sk_to_pk(&key).to_bytes().into();
        Ok(Self { secret, public })
    }

    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    pub fn secret(&self) -> &Key32 {
        &self.secret
    }

    /// Opens `encapsulated key | ciphertext | tag`.
    ///
    /// # Errors
    /// It was not sealed to this key with this `info` and these associated data.
    pub fn open(
        &self,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        stack::touched();
        let wrong = Malformed("sealed message");
        if sealed.len() < OVERHEAD {
            return Err(wrong);
        }
        let (encapsulated, rest) = sealed.split_at(ENCAPSULATED);
        let (body, tag) = rest.split_at(rest.len() - TAG);
        let secret = PrivateKey::from_bytes(self.secret.expose()).map_err(|_| wrong)?;
        let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| wrong)?;
        let tag = AeadTag::<AesGcm256>::from_bytes(tag).map_err(|_| wrong)?;
        let mut plaintext = Zeroizing::new(body.to_vec());
        hpke::single_shot_open_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &encapsulated,
            info,
            InOutBuf::from(plaintext.as_mut_slice()),
            associated,
            &tag,
        )
        .map_err(|_| wrong)?;
        Ok(plaintext)
    }
}

/// Seals to a public key: `encapsulated key | ciphertext | tag`.
///
/// # Errors
/// `public` is no usable X25519 key.
pub fn seal(
    public: &[u8; 32],
    info: &[u8],
    associated: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let wrong = Malformed("public key");
    let public = PublicKey::from_bytes(public).map_err(|_| wrong)?;
    let mut out = vec![0; ENCAPSULATED + plaintext.len()];
    out[ENCAPSULATED..].copy_from_slice(plaintext);
    let (encapsulated, tag) =
        hpke::single_shot_seal_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            info,
            InOutBuf::from(&mut out[ENCAPSULATED..]),
            associated,
        )
        .map_err(|_| wrong)?;
    out[..ENCAPSULATED].copy_from_slice(&encapsulated.to_bytes());
    out.extend_from_slice(&tag.to_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_info_and_associated_data() {
        let pair = KeyPair::generate();
        let again = KeyPair::from_secret(pair.secret().clone()).unwrap();
        assert_eq!(pair.public(), again.public());
        let sealed = seal(&pair.public(), b"info", b"aad", b"SUB-1").unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(&**again.open(b"info", b"aad", &sealed).unwrap(), b"SUB-1");
        assert!(pair.open(b"other", b"aad", &sealed).is_err());
        assert!(pair.open(b"info", b"other", &sealed).is_err());
        assert!(KeyPair::generate().open(b"info", b"aad", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(pair.open(b"info", b"aad", &bent).is_err(), "byte {at}");
            assert!(pair.open(b"info", b"aad", &sealed[..at]).is_err());
        }
    }

    #[test]
    fn a_small_order_key_is_refused() {
        assert!(seal(&[0; 32], b"", b"", b"x").is_err());
    }
}
