//! What is logged. Details name people of the staff, services, domains and pseudonyms; never an
//! identifier.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::wire::control::LogEntry;

/// One event. Written as JSON in this order; what does not apply is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event {
    pub event: &'static str,
    /// RFC 3339, UTC.
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Why it was refused, or what the alarm is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The reveal, or the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pseudonyms: Vec<String>,
    /// SHA-256 of what was signed, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Id of the key that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

impl Event {
    pub fn new(event: &'static str, now: OffsetDateTime) -> Self {
        Self {
            event,
            time: rfc3339(now),
            ..Self::default()
        }
    }

    /// Whether somebody should look at once.
    pub fn is_alarm(&self) -> bool {
        self.event.ends_with("-alarm")
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON text")
    }
}

/// Seconds precision is enough for people, and sorts.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let seconds = at.replace_nanosecond(0).unwrap_or(at);
    seconds
        .format(&Rfc3339)
        .expect("years of the present have an RFC 3339 form")
}

/// The data of a leaf: SHA-256 over a domain separator, a random salt and the details. The salt
/// is sealed with the details: when both are gone, the leaf tells nothing.
pub fn commitment(salt: &[u8; 32], details: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"cryptonym log entry v1\0")
        .chain_update(salt)
        .chain_update(details)
        .finalize()
        .into()
}

/// An entry's details are not those that its leaf commits to, or it has a salt or details alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCommitted;

/// What an entry says; `None`: it is forgotten, salt and all.
///
/// # Errors
/// [`NotCommitted`].
pub fn details(entry: &LogEntry) -> Result<Option<&str>, NotCommitted> {
    match (&entry.salt, &entry.details) {
        (None, None) => Ok(None),
        (Some(salt), Some(details))
            if commitment(&salt.0, details.as_bytes()) == entry.commitment.0 =>
        {
            Ok(Some(details))
        }
        _ => Err(NotCommitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::Hex;

    #[test]
    fn vault_05_details_without_their_salt_are_no_details() {
        let (salt, text) = ([5; 32], "{\"event\":\"reveal-fetched\"}".to_owned());
        let whole = LogEntry {
            commitment: Hex(commitment(&salt, text.as_bytes())),
            salt: Some(Hex(salt)),
            details: Some(text.clone()),
        };
        assert_eq!(details(&whole), Ok(Some(text.as_str())));
        let forged = LogEntry {
            salt: None,
            details: Some("{\"event\":\"vault-started\"}".to_owned()),
            ..whole.clone()
        };
        let alone = LogEntry {
            details: None,
            ..whole.clone()
        };
        let other = LogEntry {
            details: forged.details.clone(),
            ..whole.clone()
        };
        for entry in [forged, alone.clone(), other] {
            assert_eq!(details(&entry), Err(NotCommitted));
        }
        let forgotten = LogEntry {
            salt: None,
            ..alone
        };
        assert_eq!(details(&forgotten), Ok(None));
    }
}
