//! Another root key under everything: each wrapped key and sealed value is opened under the old
//! one and sealed under the new one, all in one transaction, its log entry with it.
//!
//! What can never happen: a store of which a part lies under each root; an earlier version of a
//! row that is left in the store's files.

use time::OffsetDateTime;

use super::sharing::Sharing;
use crate::secret::Key32;
use crate::vault::keyring::{name_place, name_tag};
use crate::vault::keys::cipher::Cipher;
use crate::vault::keys::root::{RootKeys, Use};
use crate::vault::log::Event;
use crate::vault::log::ledger::Ledger;
use crate::vault::reveal::held::place as row_place;
use crate::vault::state::{OpenError, signing_key};
use crate::vault::store::{StoreError, Writer};

/// Exchanges the root of a store that nobody else has open, and writes the new root's sharing.
///
/// # Errors
/// The old root is not the store's, or the store fails: then nothing has changed.
pub fn exchange(
    store: &mut dyn Writer,
    vault: [u8; 16],
    (old, new): (&Key32, &Key32),
    sharing: &Sharing,
    event: impl FnOnce(OffsetDateTime) -> Event,
) -> Result<(), OpenError> {
    let (old, new) = (RootKeys::new(old, vault), RootKeys::new(new, vault));
    let signing = signing_key(store, &old)?;
    let mut ledger = Ledger::open(store, &vault, signing)?;
    store.begin()?;
    let done = all(store, &vault, &old, &new).and_then(|()| {
        sharing.write(store)?;
        let now = OffsetDateTime::now_utc();
        ledger.append(store, &new, &event(now), now)?;
        ledger.checkpoint(store)?;
        store.commit()
    });
    if let Err(error) = done {
        store.rollback()?;
        return Err(error.into());
    }
    // It is done; that old rows linger in a file is worth a line, not a failure.
    if let Err(error) = store.forget_earlier() {
        tracing::error!(%error, "earlier versions of wrapped keys may be left in the store's files");
    }
    Ok(())
}

fn all(
    store: &mut dyn Writer,
    vault: &[u8; 16],
    old: &RootKeys,
    new: &RootKeys,
) -> Result<(), StoreError> {
    let wrapped =
        |what, bytes: &[u8]| Ok::<_, StoreError>(new.wrap(what, &old.unwrap(what, bytes)?));
    for (name, what) in [("records-key", Use::Records), ("log-key", Use::LogSigning)] {
        let bytes = store.meta(name)?;
        let bytes = bytes.ok_or(StoreError::Damaged("one of its first entries"))?;
        store.set_meta(name, &wrapped(what, &bytes)?)?;
    }
    for mut row in store.domains()? {
        let place = name_place(&row.id);
        let name = old.names.open(&place, &row.name)?;
        let text =
            std::str::from_utf8(&name).map_err(|_| StoreError::Damaged("a domain's name"))?;
        row.name_tag = name_tag(new, text);
        row.name = new.names.seal(&place, &name);
        store.set_domain(&row)?;
    }
    for row in store.epochs()? {
        let (domain, epoch) = (row.domain, row.epoch);
        let bytes = wrapped(Use::Epoch { domain, epoch }, &row.wrapped)?;
        store.set_epoch(row.row, &bytes)?;
    }
    for (period, bytes) in store.wrapped_log_periods()? {
        if let Some(bytes) = bytes {
            store.set_log_period(period, &wrapped(Use::LogPeriod(period), &bytes)?)?;
        }
    }
    let sealed = |place: &[u8], bytes: &[u8]| again(&old.reveals, &new.reveals, place, bytes);
    for mut row in store.reveals()? {
        row.sealed = sealed(&row_place(vault, &row.id, b"held"), &row.sealed)?;
        if let Some(decision) = &row.decision {
            row.decision = Some(sealed(&row_place(vault, &row.id, b"decision"), decision)?);
        }
        store.set_reveal_seals(&row)?;
    }
    Ok(())
}

fn again(old: &Cipher, new: &Cipher, place: &[u8], bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    Ok(new.seal(place, &old.open(place, bytes)?))
}
