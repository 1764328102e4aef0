//! The unlocked epochs, and how a domain comes to be: at the first use of its name it gets a
//! random id, which never changes, and the random root of its first epoch.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::keys::epoch::{EpochKeys, Place};
use super::keys::root::{RootKeys, Use};
use super::keys::{bind, derive, random, random_key};
use super::log::Event;
use super::sequencer::Tx;
use super::store::{DomainRow, EpochRow, StoreError, Writer};
use crate::pseudonym::Kinds;

/// Epochs in memory. There are few, so they are searched.
#[derive(Debug, Default)]
pub struct Keyring(RwLock<Vec<Arc<EpochKeys>>>);

impl Keyring {
    /// Unlocks every epoch of the store.
    pub fn load(
        store: &mut dyn Writer,
        root: &RootKeys,
        vault: [u8; 16],
        kinds: &Kinds,
    ) -> Result<Self, StoreError> {
        let ring = Self::default();
        let domains = store.domains()?;
        for row in store.epochs()? {
            let domain = domains.iter().find(|d| d.id == row.domain);
            let domain = domain.ok_or(StoreError::Damaged("an epoch has no domain"))?;
            let name = root.names.open(&name_place(&domain.id), &domain.name)?;
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| StoreError::Damaged("a domain's name"))?;
            ring.unlock(root, vault, name, &row, kinds)?;
        }
        Ok(ring)
    }

    /// The newest epoch of a domain.
    pub fn newest(&self, domain_name: &str) -> Option<Arc<EpochKeys>> {
        self.find(|e| e.domain_name == domain_name)
            .max_by_key(|e| e.epoch)
    }

    pub fn by_id(&self, domain: &[u8; 16], epoch: u32) -> Option<Arc<EpochKeys>> {
        self.find(|e| e.domain == *domain && e.epoch == epoch)
            .next()
    }

    pub fn by_name(&self, domain_name: &str, epoch: u32) -> Option<Arc<EpochKeys>> {
        self.find(|e| e.domain_name == domain_name && e.epoch == epoch)
            .next()
    }

    /// The same epoch number of every other domain.
    pub fn elsewhere(&self, domain_name: &str, epoch: u32) -> Vec<Arc<EpochKeys>> {
        self.find(|e| e.domain_name != domain_name && e.epoch == epoch)
            .collect()
    }

    /// All of them, without keeping them.
    pub fn ghosts(&self) -> Vec<Weak<EpochKeys>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ring.iter().map(Arc::downgrade).collect()
    }

    fn find(&self, wanted: impl Fn(&EpochKeys) -> bool) -> impl Iterator<Item = Arc<EpochKeys>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = ring.iter().filter(|e| wanted(e)).cloned().collect();
        found.into_iter()
    }

    /// Takes an epoch from its row into memory; does nothing if it is there.
    pub fn unlock(
        &self,
        root: &RootKeys,
        vault: [u8; 16],
        domain_name: String,
        row: &EpochRow,
        kinds: &Kinds,
    ) -> Result<(), StoreError> {
        let place = Use::Epoch {
            domain: row.domain,
            epoch: row.epoch,
        };
        let key = root.unwrap(place, &row.wrapped)?;
        let place = Place {
            row: row.row,
            vault,
            domain_name,
            domain: row.domain,
            epoch: row.epoch,
        };
        let keys = Arc::new(EpochKeys::new(place, &key, kinds));
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !ring.iter().any(|e| e.row == row.row) {
            ring.push(keys);
        }
        Ok(())
    }
}

/// The newest epoch of a domain in the open transaction; makes domain and epoch at first use.
pub fn ensure(tx: &mut Tx<'_>, root: &RootKeys, name: &str) -> Result<EpochRow, StoreError> {
    let tag = name_tag(root, name);
    let domain = match tx.store.domain_by_tag(&tag)? {
        Some(id) => id,
        None => make_domain(tx, root, name, tag)?,
    };
    let newest = tx
        .store
        .epochs()?
        .into_iter()
        .filter(|row| row.domain == domain)
        .max_by_key(|row| row.epoch);
    match newest {
        Some(row) => Ok(row),
        None => make_epoch(tx, root, name, domain),
    }
}

fn make_domain(
    tx: &mut Tx<'_>,
    root: &RootKeys,
    name: &str,
    name_tag: [u8; 16],
) -> Result<[u8; 16], StoreError> {
    let id = random();
    tx.store.add_domain(&DomainRow {
        id,
        name_tag,
        name: root.names.seal(&name_place(&id), name.as_bytes()),
    })?;
    tx.log(&Event {
        domain: Some(name.to_owned()),
        ..Event::new("domain-created", tx.now)
    })?;
    Ok(id)
}

fn make_epoch(
    tx: &mut Tx<'_>,
    root: &RootKeys,
    name: &str,
    domain: [u8; 16],
) -> Result<EpochRow, StoreError> {
    let epoch = 1;
    let wrapped = root.wrap(Use::Epoch { domain, epoch }, &random_key());
    let row = tx.store.add_epoch(&domain, epoch, &wrapped)?;
    tx.log(&Event {
        domain: Some(name.to_owned()),
        epoch: Some(epoch),
        ..Event::new("epoch-created", tx.now)
    })?;
    Ok(EpochRow {
        row,
        domain,
        epoch,
        wrapped,
    })
}

/// A keyed hash of the name: HKDF serves as one, with the name in its info.
pub fn name_tag(root: &RootKeys, name: &str) -> [u8; 16] {
    let full = derive(&root.name_index, &[b"domain name", name.as_bytes()]);
    let mut out = [0; 16];
    out.copy_from_slice(&full.expose()[..16]);
    out
}

/// Associated data of a domain's sealed name.
pub fn name_place(id: &[u8; 16]) -> Vec<u8> {
    bind(&[b"domain name", id])
}
