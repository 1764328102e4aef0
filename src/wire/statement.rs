//! What an approver signs: the exact bytes of a reveal's statement, and the decision on it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Malformed;
use super::control::parse;
use super::text::{Base64, Hex};

/// DSSE payload type of a decision.
pub const DECISION_TYPE: &str = "application/vnd.cryptonym.reveal-decision+json";

/// Everything a reveal is about. The vault writes it once, stores the bytes and never writes it
/// again: comparisons are of bytes, not of meanings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub version: u8,
    pub vault: Hex<16>,
    /// Random: the request's name.
    pub request: Hex<16>,
    /// Registered id.
    pub requester: String,
    /// The requester's HPKE public key, to which results are sealed.
    pub hpke_key: Hex<32>,
    pub domain: String,
    pub domain_id: Hex<16>,
    /// Epochs of the pseudonyms, ascending.
    pub epochs: Vec<u32>,
    pub pseudonyms: Digest,
    pub purpose: String,
    pub reason: String,
    /// RFC 3339, UTC.
    pub created: String,
    pub expires: String,
    pub reads: u32,
}

/// Count and SHA-256 of the sorted text forms, each followed by a line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    pub count: u32,
    pub sha256: Hex<32>,
}

impl Digest {
    /// `sorted`: ascending, without doubles.
    pub fn of(sorted: &[String]) -> Self {
        let mut hash = Sha256::new();
        for text in sorted {
            hash.update(text.as_bytes());
            hash.update(b"\n");
        }
        Self {
            count: sorted.len() as u32,
            sha256: Hex(hash.finalize().into()),
        }
    }
}

impl Statement {
    /// One JSON object, members in the order above, no white space.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always have a JSON text")
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        parse(bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Approve,
    Refuse,
}

/// The payload that an approver signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub decision: Verdict,
    /// Registered id.
    pub approver: String,
    /// The statement's bytes as the approver saw them.
    pub statement: Base64,
}

impl Decision {
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings always have a JSON text")
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        parse(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_sorted_lines() {
        let digest = Digest::of(&["a".into(), "b".into()]);
        assert_eq!(digest.count, 2);
        let expected: [u8; 32] = Sha256::digest(b"a\nb\n").into();
        assert_eq!(digest.sha256, Hex(expected));
    }

    #[test]
    fn a_statement_with_an_unknown_member_is_refused() {
        assert!(Statement::parse(br#"{"version":1,"more":true}"#).is_err());
        assert!(Decision::parse(br#"{"decision":"maybe"}"#).is_err());
    }
}
