//! Keepers that keep, answer late or refuse, in place of a lease.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use cryptonym::error::{Code, Fault, Stage};
use cryptonym::pseudonym::{DomainKey, KindId, KindKey, Kinds, Pseudonym};
use cryptonym::rewrite::Keeper;
use cryptonym::vault_link::FirstSight;

/// What a keeper does with new identifiers.
#[derive(Clone, Copy)]
pub enum Behaviour {
    Keep,
    Late,
    Refuse(Code),
}

/// A keeper with keys of its own. Knows what it has been asked to keep.
pub struct TestKeeper {
    keys: Vec<KindKey>,
    durable: Mutex<HashSet<Pseudonym>>,
    /// What it has kept, in order.
    pub sights: Mutex<Vec<FirstSight>>,
    pub calls: AtomicUsize,
    behaviour: Behaviour,
}

impl TestKeeper {
    /// Of one domain's epoch, for these kinds.
    pub fn of(domain: &DomainKey, kinds: &Kinds, behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            keys: kinds.iter().map(|(_, kind)| domain.kind(kind)).collect(),
            durable: Mutex::default(),
            sights: Mutex::default(),
            calls: AtomicUsize::new(0),
            behaviour,
        })
    }
}

impl Keeper for TestKeeper {
    fn kind(&self, kind: KindId) -> &KindKey {
        &self.keys[usize::from(kind.0)]
    }

    fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        self.durable.lock().unwrap().contains(pseudonym)
    }

    fn is_current(&self) -> bool {
        true
    }

    fn make_durable<'a>(
        &'a self,
        sights: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>> {
        Box::pin(async move {
            self.calls.fetch_add(1, SeqCst);
            match self.behaviour {
                Behaviour::Keep => {
                    let mut durable = self.durable.lock().unwrap();
                    durable.extend(sights.iter().map(|sight| sight.pseudonym));
                    self.sights.lock().unwrap().extend(sights);
                    Ok(())
                }
                Behaviour::Late => std::future::pending().await,
                Behaviour::Refuse(code) => Err(Fault::new(code, Stage::Resolve)),
            }
        })
    }
}
