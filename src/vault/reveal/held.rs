//! A reveal as the store holds it: life in clear columns, content sealed.
//!
//! The clear columns serve lists and searches. Whoever can write the database can write them, so
//! they may only shorten a reveal's life; what grants anything is the sealed statement, the
//! approver's signature on it and the log.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::vault::keys::bind;
use crate::vault::log::Event;
use crate::vault::state::Vault;
use crate::vault::store::{RevealRow, RevealRowState, StoreError};
use crate::wire::control::{RevealState, RevealView};
use crate::wire::dsse;
use crate::wire::statement::Statement;
use crate::wire::text::{Base64, Hex};

/// What is sealed in a reveal's row.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// The exact bytes of the [`Statement`].
    pub statement: Base64,
    /// Sorted, distinct text forms.
    pub pseudonyms: Vec<String>,
    /// The log's size when it was asked: its reads stand behind that.
    #[serde(default)]
    pub log: u64,
}

/// What is sealed in a decided reveal's row.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decided {
    pub by: String,
    /// The signed envelope, for whoever wants to verify the decision later.
    pub envelope: dsse::Envelope,
}

/// A reveal's row, opened.
#[derive(Debug)]
pub struct Open {
    pub row: RevealRow,
    pub held: Held,
    pub statement: Statement,
}

const ODD: StoreError = StoreError::Damaged("a reveal's row");

impl Open {
    pub fn read(vault: &Vault, row: RevealRow) -> Result<Self, StoreError> {
        let bytes = vault
            .root
            .reveals
            .open(&place(&vault.id, &row.id, b"held"), &row.sealed)?;
        let held: Held = serde_json::from_slice(&bytes).map_err(|_| ODD)?;
        let statement = Statement::parse(&held.statement.0).map_err(|_| ODD)?;
        Ok(Self {
            row,
            held,
            statement,
        })
    }

    pub fn is_expired(&self, now: OffsetDateTime) -> bool {
        let lives = OffsetDateTime::parse(&self.statement.expires, &Rfc3339).is_ok_and(|e| now < e);
        !lives || now.unix_timestamp() >= self.row.expires
    }

    pub fn state(&self, now: OffsetDateTime) -> RevealState {
        match self.row.state {
            RevealRowState::Refused => RevealState::Refused,
            RevealRowState::Approved if self.row.reads_left == 0 => RevealState::Spent,
            _ if self.is_expired(now) => RevealState::Expired,
            RevealRowState::Pending => RevealState::Pending,
            RevealRowState::Approved => RevealState::Approved,
        }
    }

    pub fn view(&self, vault: &Vault, now: OffsetDateTime) -> Result<RevealView, StoreError> {
        Ok(RevealView {
            request: Hex(self.row.id),
            state: self.state(now),
            reads_left: self.row.reads_left,
            decided_by: self.decided(vault)?.map(|d| d.by),
            statement: self.held.statement.clone(),
            pseudonyms: self.held.pseudonyms.clone(),
        })
    }

    /// Who decided, and the signed envelope: it opens in this reveal's row alone.
    pub fn decided(&self, vault: &Vault) -> Result<Option<Decided>, StoreError> {
        let Some(sealed) = &self.row.decision else {
            return Ok(None);
        };
        let place = place(&vault.id, &self.row.id, b"decision");
        let bytes = vault.root.reveals.open(&place, sealed)?;
        serde_json::from_slice(&bytes).map_err(|_| ODD)
    }

    /// Fills an event with what the reveal is about.
    pub fn describe(&self, event: &mut Event) {
        event.domain = Some(self.statement.domain.clone());
        event.request = Some(self.statement.request.to_string());
        event.purpose = Some(self.statement.purpose.clone());
        event.reason = Some(self.statement.reason.clone());
        event.count = Some(self.held.pseudonyms.len() as u64);
        event.pseudonyms = self.held.pseudonyms.clone();
        event.statement = Some(digest(&self.held.statement.0));
    }
}

pub fn seal<T: Serialize>(vault: &Vault, id: &[u8; 16], part: &[u8], value: &T) -> Vec<u8> {
    let bytes = serde_json::to_vec(value).expect("strings always have a JSON text");
    vault.root.reveals.seal(&place(&vault.id, id, part), &bytes)
}

/// SHA-256 of a statement's bytes, as the log names it.
pub fn digest(statement: &[u8]) -> String {
    use sha2::Digest as _;
    Hex::<32>(sha2::Sha256::digest(statement).into()).to_string()
}

/// Associated data of what is sealed in a reveal's row.
pub fn place(vault: &[u8; 16], id: &[u8; 16], part: &[u8]) -> Vec<u8> {
    bind(&[b"reveal", part, vault, id])
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::vault::log::event::rfc3339;
    use crate::wire::statement::Digest;

    #[test]
    fn the_column_can_shorten_a_life_and_not_lengthen_it() {
        let now = OffsetDateTime::now_utc();
        let is_expired = |signed: i64, column: i64| {
            let statement = Statement {
                version: 1,
                vault: Hex([0; 16]),
                request: Hex([0; 16]),
                requester: "i".into(),
                hpke_key: Hex([0; 32]),
                domain: "d".into(),
                domain_id: Hex([0; 16]),
                epochs: vec![1],
                pseudonyms: Digest::of(&[]),
                purpose: "p".into(),
                reason: "r".into(),
                created: rfc3339(now),
                expires: rfc3339(now + Duration::seconds(signed)),
                reads: 1,
            };
            let held = Held {
                statement: Base64(statement.to_bytes()),
                pseudonyms: vec![],
                log: 0,
            };
            let row = RevealRow {
                id: [0; 16],
                created: 0,
                expires: now.unix_timestamp() + column,
                state: RevealRowState::Approved,
                reads_left: 1,
                sealed: vec![],
                decision: None,
            };
            let open = Open {
                row,
                held,
                statement,
            };
            open.is_expired(now)
        };
        assert!(!is_expired(60, 60));
        assert!(is_expired(60, -60));
        assert!(is_expired(-60, 60));
    }
}
