//! Opens one record. Private to the gate.

use crate::pseudonym::text;
use crate::vault::keys::cipher::Cipher;
use crate::vault::records::row::{self, parts};
use crate::vault::state::Vault;
use crate::vault::store::{Reader, StoreError};
use crate::wire::control::RevealedRow;

/// What a pseudonym stands for; nothing, if its record or its subject's key is gone.
pub fn open(
    vault: &Vault,
    reader: &mut dyn Reader,
    domain: &str,
    pseudonym: &str,
) -> Result<RevealedRow, StoreError> {
    let mut out = RevealedRow {
        pseudonym: pseudonym.to_owned(),
        kind: None,
        identifier: None,
    };
    let parsed = text::parse(pseudonym.as_bytes())
        .ok_or(StoreError::Damaged("a reveal names what is no pseudonym"))?;
    let Some(keys) = vault.keyring.by_name(domain, parsed.epoch) else {
        return Ok(out);
    };
    let index = keys.index(&parsed.pseudonym);
    let Some(record) = reader.record(&index)? else {
        return Ok(out);
    };
    let place = keys.row_place(row::IDENTIFIER, &index);
    let plaintext = match &record.subject {
        None => keys.vocabulary.open(&place, &record.sealed)?,
        Some(wrapped) => {
            let data_key = keys
                .subjects
                .open_key(&keys.row_place(row::SUBJECT, &index), wrapped)?;
            Cipher::new(&data_key).open(&place, &record.sealed)?
        }
    };
    let (kind, identifier) =
        parts(&plaintext).ok_or(StoreError::Damaged("a record's plaintext"))?;
    out.kind = Some(kind.to_owned());
    out.identifier = Some(String::from_utf8_lossy(identifier).into_owned());
    Ok(out)
}
