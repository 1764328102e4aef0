//! The messages that the vault and those who ask it speak, versioned.
//!
//! What enters: bytes of the other side. What leaves: checked messages, or [`Malformed`]. What
//! can never happen: a decoder that panics, allocates more than its input justifies, or accepts
//! bytes behind the end of a message.
//!
//! Control messages are JSON ([`control`], [`statement`], [`dsse`]); what is large or secret is
//! compact binary: sealed batches of recovery records ([`batch`]) and the stream of known
//! pseudonyms ([`known`]). Both are described, byte by byte, in their files. [`sealed`] is HPKE
//! with the one suite that both sides use.

pub mod batch;
pub mod control;
pub mod dsse;
pub mod known;
pub mod sealed;
pub mod share;
pub mod statement;
pub mod text;

/// Header field of every answer of the vault: the store's incarnation, 32 hexadecimal digits.
pub const INCARNATION: &str = "cryptonym-incarnation";

/// Header field of every answer of the vault: the directive sequence, decimal.
pub const DIRECTIVES: &str = "cryptonym-directives";

/// Paths of the vault's interface.
pub mod path {
    pub const LEASES: &str = "/v1/leases";
    pub const RECORDS: &str = "/v1/records";
    pub const KNOWN: &str = "/v1/known";
    pub const REVEALS: &str = "/v1/reveals";
    pub const LOG_CHECKPOINT: &str = "/v1/log/checkpoint";
    pub const LOG_ENTRIES: &str = "/v1/log/entries";
    pub const LOG_KEY: &str = "/v1/log/key";
    /// How the vault stands; answered while it is sealed too, as the next three are.
    pub const STATUS: &str = "/v1/status";
    pub const SHARES: &str = "/v1/vault/shares";
    pub const SHARES_RESET: &str = "/v1/vault/shares/reset";
    pub const SEAL: &str = "/v1/vault/seal";
    pub const LOG_INCLUSION: &str = "/v1/log/inclusion";
    pub const LOG_CONSISTENCY: &str = "/v1/log/consistency";
}

/// A message that is not of the form it claims: the part that was wrong, never its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// Feeds arbitrary bytes to every decoder of this room; it must return.
pub fn fuzz_wire(bytes: &[u8]) {
    if let Ok(envelope) = batch::Envelope::decode(bytes) {
        assert_eq!(envelope.encode(), bytes, "an envelope has one encoding");
    }
    if let Ok(entries) = batch::Entries::decode(bytes) {
        let again = batch::encode_entries(entries.iter());
        assert_eq!(
            batch::Entries::decode(&again).map(|e| e.len()),
            Ok(entries.len())
        );
    }
    let mut reader = known::FrameReader::default();
    let mut seen = 0u64;
    for part in bytes.chunks(7) {
        let mut count = |read| seen += u64::from(matches!(read, known::Known::One(_)));
        if reader.push(part, &mut count).is_err() {
            break;
        }
    }
    assert!(seen * 16 <= bytes.len() as u64);
    let _ = control::parse::<control::LeaseRequest>(bytes);
    let _ = control::parse::<control::RevealAsk>(bytes);
    let _ = control::parse::<share::GivenShare>(bytes);
    let _ = control::parse::<share::SealedShare>(bytes);
    let _ = control::parse::<dsse::Envelope>(bytes);
    let _ = statement::Statement::parse(bytes);
    let _ = statement::Decision::parse(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_corpus_is_survived() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/wire");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            super::fuzz_wire(&bytes);
            for cut in 0..bytes.len().min(256) {
                super::fuzz_wire(&bytes[..cut]);
            }
            files += 1;
        }
        assert!(files >= 5, "the corpus is gone");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            super::fuzz_wire(&bytes);
        }
    }
}
