//! Control messages as JSON. Unknown members are errors: both sides are of one version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Malformed;
use super::text::{Base64, Hex, KeyText};

/// Reads one message.
///
/// # Errors
/// It is not that message; the text of the bytes is not repeated.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed("not the expected JSON message"))
}

/// `POST /v1/leases`, role gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The domain's name in the configuration.
    pub domain: String,
    /// Random, made when the gateway process starts.
    pub boot: Hex<16>,
    /// The boot of the process that has handed its place over to this one: both hold the lease
    /// for a while, and that is no alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Hex<16>>,
}

/// The key of a domain's present epoch, for a while.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAnswer {
    pub vault: Hex<16>,
    /// The gateway's registered id, as batches must bind it.
    pub gateway: String,
    pub domain: Hex<16>,
    pub epoch: u32,
    pub lease: Hex<16>,
    /// The lease's life from the answer on.
    pub seconds: u64,
    /// What `DomainKey::new` takes. Not the epoch's root: the keys of records do not follow from it.
    pub key: KeyText,
    /// The vault's HPKE public key for recovery batches.
    pub records_key: Hex<32>,
    /// Version of the normalisers that belongs to the epoch.
    pub normaliser: u16,
}

/// `POST /v1/records`, role gateway: every record of the batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsAnswer {
    /// Records that were new.
    pub new: u32,
    /// Records that were there already, with the same identifier.
    pub known: u32,
}

/// `POST /v1/reveals`, role investigator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealAsk {
    pub domain: String,
    pub pseudonyms: Vec<String>,
    pub purpose: String,
    pub reason: String,
    /// The requester's HPKE public key; the results are sealed to it.
    pub hpke_key: Hex<32>,
    /// Seconds until the request expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// How often the result can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u32>,
}

/// The life of a reveal: pending → approved → spent; pending → refused; either may expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevealState {
    Pending,
    Approved,
    Refused,
    Spent,
    Expired,
}

impl RevealState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Spent => "spent",
            Self::Expired => "expired",
        }
    }
}

/// A reveal as its two people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealView {
    pub request: Hex<16>,
    pub state: RevealState,
    pub reads_left: u32,
    /// Who approved or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The exact bytes that an approval signs: a [`super::statement::Statement`].
    pub statement: Base64,
    pub pseudonyms: Vec<String>,
}

/// `GET /v1/reveals`, newest first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealList {
    pub reveals: Vec<RevealView>,
}

/// `POST /v1/reveals/{id}/fetch`: the results, sealed to the requester's key with the statement
/// as associated data. The plaintext is a JSON array of [`RevealedRow`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealResult {
    pub statement: Base64,
    pub sealed: Base64,
}

/// HPKE's `info` for results of a reveal.
pub const REVEAL_INFO: &[u8] = b"cryptonym reveal result v1";

/// One pseudonym and what it stands for. Only ever inside a sealed result.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealedRow {
    pub pseudonym: String,
    /// Both are `None` if the record has been erased since the request.
    pub kind: Option<String>,
    pub identifier: Option<String>,
}

impl Drop for RevealedRow {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.identifier.zeroize();
    }
}

/// `GET /v1/log/key`: the log's public key as a signed-note verifier key (`name+id+base64`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKey {
    pub key: String,
}

/// `GET /v1/log/entries?start=&end=`: entries from `start` on, as many as one answer holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPage {
    pub start: u64,
    pub entries: Vec<LogEntry>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// The leaf's data: a salted commitment to the details.
    pub commitment: Hex<32>,
    /// Gone, with the details, once their retention has ended.
    pub salt: Option<Hex<32>>,
    /// JSON, exactly as committed to.
    pub details: Option<String>,
}

/// `GET /v1/log/inclusion?entry=&size=` and `GET /v1/log/consistency?old=&size=`: a proof about
/// the tree of the first `size` entries (RFC 9162, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogProof {
    pub size: u64,
    /// From the leaf to the root.
    pub hashes: Vec<Hex<32>>,
}

/// First line of an exported log: what `log verify` needs beside the entries, which follow, one
/// [`LogEntry`] a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogExport {
    pub key: String,
    pub checkpoint: String,
}

/// A problem document of the vault (RFC 9457).
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
    pub side: String,
}
