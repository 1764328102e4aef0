//! The vault's state, opened: store, root key, registry, log, unlocked epochs.
//!
//! What enters: what does not depend on keys, and the root key. What leaves: a [`Vault`] that can answer. What can never
//! happen: a store opens under another root key, or a log whose leaves are not what was signed
//! is continued.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ed25519_dalek::{SigningKey, VerifyingKey};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::keyring::Keyring;
use super::keys::root::{RootKeys, Use};
use super::keys::{random, random_key};
use super::log::Event;
use super::log::ledger::Ledger;
use super::log::retention;
use super::metrics::Metrics;
use super::refusal::Refusal;
use super::sequencer::{Sequencer, Tx};
use super::store::sqlite::Sqlite;
use super::store::{Reader, Store, StoreError, Writer};
use crate::config::{Config, Domain, KeyFileError, Registry, Root, root_key};
use crate::pseudonym::Kinds;
use crate::secret::{Key32, stack};
use crate::tls::identity::{Peer, Role};
use crate::wire::sealed::KeyPair;

/// (gateway, domain) → who holds its lease.
pub(super) type Leases = HashMap<(String, String), Holder>;

/// One process of a gateway, as the vault knows it.
pub(super) struct Holder {
    pub boot: [u8; 16],
    pub until: Instant,
    /// Whose place it has taken, and until when that one may still be at work.
    pub predecessor: Option<([u8; 16], Instant)>,
}

/// One vault. Shared by all connections.
pub struct Vault {
    pub id: [u8; 16],
    /// Random, made at every start and never stored: a restored backup cannot pass for the store
    /// that a gateway's known set came from. A plain restart costs each gateway one reload.
    pub incarnation: [u8; 16],
    pub kinds: Kinds,
    pub domains: Vec<Domain>,
    pub registry: Arc<Registry>,
    pub root: Arc<RootKeys>,
    pub keyring: Keyring,
    /// To which gateways seal their batches.
    pub records_key: KeyPair,
    pub log_key: super::log::note::Verifier,
    /// What proofs are made from.
    pub log_chunks: super::log::proof::Chunks,
    pub sequencer: Sequencer,
    pub metrics: Arc<Metrics>,
    /// Cancelled when the vault is sealed: whoever holds it lets go of it.
    pub closing: CancellationToken,
    /// Live leases by gateway and domain.
    pub(super) leases: Mutex<Leases>,
    store: Arc<dyn Store>,
    readers: Mutex<Vec<Box<dyn Reader>>>,
}

/// A verified and registered caller.
#[derive(Clone, Debug)]
pub struct Caller {
    pub id: String,
    pub role: Role,
    pub signing_key: Option<VerifyingKey>,
    /// The domains that a gateway may use; `None`: all.
    pub domains: Option<Vec<String>>,
}

/// What is the same whether the vault is open or sealed.
#[derive(Clone)]
pub struct Parts {
    pub kinds: Kinds,
    pub domains: Vec<Domain>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    /// Locked for this process; nobody has a connection to it while the vault is sealed.
    pub store: Arc<dyn Store>,
    /// How long the log keeps details, in months.
    pub log_months: u32,
}

/// Why a root key does not open a vault.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the root key is not the one that this store was made with")]
    OtherRoot,
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Why a vault does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has no [vault]")]
    NoVault,
    #[error("the root key file {0}")]
    RootKey(#[from] KeyFileError),
    #[error("the registry was not understood:\n{0}")]
    Registry(String),
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error(
        "the store's root key is in no shares yet; `cryptonym vault init --shares N --threshold K` makes them"
    )]
    NoShares,
    #[error("the store's root key is in shares of custodians; write root = \"shares\" in [vault]")]
    InShares,
    #[error("{0}")]
    Tls(#[from] crate::tls::server::TlsError),
    #[error("{address}: {error}")]
    Listen {
        address: std::net::SocketAddr,
        error: std::io::Error,
    },
}

/// Makes the directory that the store lies in, if it is not there.
///
/// # Errors
/// No permission.
pub fn make_store_folder(config: &Config) -> Result<(), StoreError> {
    match &config.vault {
        Some(vault) => Sqlite::make_folder(&vault.store),
        None => Ok(()),
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

impl Parts {
    /// # Errors
    /// The registry is not understood, or the store cannot be opened.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let settings = config.vault.as_ref().ok_or(StartError::NoVault)?;
        let registry = Registry::load(&settings.registry).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(|e| format!("{e}")).collect();
            StartError::Registry(lines.join("\n"))
        })?;
        Ok(Self {
            kinds: config.kinds.clone(),
            domains: config.domains.clone(),
            registry: Arc::new(registry),
            metrics: Arc::default(),
            store: Arc::new(Sqlite::open(&settings.store)?),
            log_months: settings.log_retention_months,
        })
    }

    /// Who a peer is in the registry: role, id and certificate must all agree.
    pub fn caller(&self, peer: &Peer) -> Option<Caller> {
        self.registry.find(peer).map(|person| Caller {
            id: person.id.clone(),
            role: person.role,
            signing_key: person.signing_key,
            domains: person.domains.clone(),
        })
    }
}

impl Vault {
    /// Opens the vault of a configuration whose root key is in a file. Blocks.
    ///
    /// # Errors
    /// Everything that keeps it from starting.
    pub fn open(config: &Config) -> Result<(Arc<Self>, JoinHandle<()>), StartError> {
        let settings = config.vault.as_ref().ok_or(StartError::NoVault)?;
        let Root::File(file) = &settings.root else {
            return Err(StartError::InShares);
        };
        let root = root_key::load(file)?;
        Ok(Self::unlock(&Parts::new(config)?, &root)?)
    }

    /// Opens a store with its root key, making what a fresh one needs. Blocks: it reads the whole
    /// log. The thread ends, with every accepted work done, when the vault is dropped.
    ///
    /// # Errors
    /// Another root key, or the store fails.
    #[inline(never)] // so that a thread's stack can be wiped of all of it
    pub fn unlock(parts: &Parts, root: &Key32) -> Result<(Arc<Self>, JoinHandle<()>), OpenError> {
        let mut writer = parts.store.writer()?;
        let first = open_or_make(&mut *writer, root)?;
        let ledger = Ledger::open(&mut *writer, &first.id, first.signing)?;
        let keyring = Keyring::load(&mut *writer, &first.root, first.id, &parts.kinds)?;
        let log_key = ledger.verifier();
        let root = Arc::new(first.root);
        let metrics = Arc::clone(&parts.metrics);
        let (sequencer, thread) = Sequencer::start(writer, ledger, Arc::clone(&root), metrics)?;
        let vault = Self {
            id: first.id,
            incarnation: random(),
            kinds: parts.kinds.clone(),
            domains: parts.domains.clone(),
            registry: Arc::clone(&parts.registry),
            root,
            keyring,
            records_key: first.records,
            log_key,
            log_chunks: Default::default(),
            sequencer,
            metrics: Arc::clone(&parts.metrics),
            closing: CancellationToken::new(),
            leases: Mutex::default(),
            store: Arc::clone(&parts.store),
            readers: Mutex::default(),
        };
        Ok((Arc::new(vault), thread))
    }

    /// Whether somebody still holds one of its keys; asks without holding them.
    pub fn ghosts(self: &Arc<Self>) -> impl Fn() -> bool + Send + use<> {
        let (vault, root) = (Arc::downgrade(self), Arc::downgrade(&self.root));
        let epochs = self.keyring.ghosts();
        move || {
            vault.strong_count() > 0
                || root.strong_count() > 0
                || epochs.iter().any(|epoch| epoch.strong_count() > 0)
        }
    }

    pub fn domain(&self, name: &str) -> Option<&Domain> {
        self.domains.iter().find(|d| d.name == name)
    }

    /// Reads from the store, off the async threads.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = Arc::clone(self);
        let read = move || {
            let result = this.read_blocking(work);
            drop(this);
            stack::wipe();
            result
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| StoreError::Stopped)?
    }

    /// As [`Vault::read`], on this thread.
    #[inline(never)]
    pub fn read_blocking<T>(
        &self,
        work: impl FnOnce(&Self, &mut dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.store.reader()?,
        };
        let result = work(self, &mut *reader);
        self.idle().push(reader);
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one event to the log, durable on return.
    pub async fn log(
        &self,
        event: impl FnOnce(OffsetDateTime) -> Event + Send + 'static,
    ) -> Result<(), StoreError> {
        self.sequencer
            .run(move |tx: &mut Tx<'_>| {
                let event = event(tx.now);
                tx.log(&event)
            })
            .await
    }

    /// Destroys the keys of the log's months whose retention has ended.
    pub async fn forget(&self, months: u32) -> Result<(), StoreError> {
        let work = move |tx: &mut Tx<'_>| retention::forget(tx, months);
        for period in self.sequencer.run(work).await? {
            tracing::info!(period, "the details of a month of the log are gone");
        }
        Ok(())
    }

    /// Whether a gateway may use a domain of this vault. One that may not, and tries, raises an
    /// alarm: it was set up wrongly, or its key is in other hands.
    pub async fn may_use(&self, caller: &Caller, domain: &str) -> Result<(), Refusal> {
        let allowed = caller.domains.as_deref();
        if allowed.is_none_or(|names| names.iter().any(|name| name == domain)) {
            return Ok(());
        }
        let domain = domain.to_owned();
        Err(self
            .refuse(Refusal::OtherDomain, "domain-alarm", caller, |event| {
                event.domain = Some(domain);
            })
            .await)
    }

    /// Says what the registry leaves open, for who reads the process's log.
    pub(super) fn warn_of_open_gateways(&self) {
        let gateways = self.registry.persons.iter();
        for gateway in gateways.filter(|p| p.role == Role::Gateway) {
            let id = &gateway.id;
            match &gateway.domains {
                None => tracing::warn!(
                    gateway = id,
                    "may lease every domain: the registry gives it no `domains`"
                ),
                Some(names) => {
                    for name in names.iter().filter(|name| self.domain(name).is_none()) {
                        let domain = name.as_str();
                        tracing::warn!(
                            gateway = id,
                            domain,
                            "the configuration has no such domain"
                        );
                    }
                }
            }
        }
    }

    /// Logs a refusal and gives it back. If it cannot be logged, the answer is [`Refusal::Store`].
    pub async fn refuse(
        &self,
        refusal: Refusal,
        event: &'static str,
        caller: &Caller,
        fill: impl FnOnce(&mut Event) + Send + 'static,
    ) -> Refusal {
        let caller = caller.clone();
        let logged = self
            .log(move |now| {
                let mut event = caller.event(event, now);
                event.code = Some(refusal.name());
                fill(&mut event);
                event
            })
            .await;
        match logged {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }
}

impl Caller {
    /// An event with this caller as its author.
    pub fn event(&self, name: &'static str, now: OffsetDateTime) -> Event {
        Event {
            who: Some(self.id.clone()),
            role: Some(self.role.name()),
            ..Event::new(name, now)
        }
    }
}

/// What is the same for the life of a store.
struct First {
    id: [u8; 16],
    root: RootKeys,
    records: KeyPair,
    signing: Box<SigningKey>,
}

fn open_or_make(store: &mut dyn Writer, root: &Key32) -> Result<First, OpenError> {
    if store.meta("vault")?.is_none() {
        store.begin()?;
        make(store, root, random())?;
        store.commit()?;
    }
    let vault = store_id(store)?.ok_or(StoreError::Damaged("the store has no id"))?;
    let keys = RootKeys::new(root, vault);
    let records = first_key(store, &keys, "records-key", Use::Records)?;
    Ok(First {
        id: vault,
        records: KeyPair::from_secret(records)
            .map_err(|_| StoreError::Damaged("the records key"))?,
        signing: signing_key(store, &keys)?,
        root: keys,
    })
}

/// The id of a store that has been made.
///
/// # Errors
/// The store.
pub fn store_id(store: &mut dyn Writer) -> Result<Option<[u8; 16]>, StoreError> {
    let id = store.meta("vault")?.map(<[u8; 16]>::try_from);
    id.transpose()
        .map_err(|_| StoreError::Damaged("an id of the store"))
}

/// The log's signing key.
///
/// # Errors
/// Another root, or the store.
pub fn signing_key(store: &mut dyn Writer, keys: &RootKeys) -> Result<Box<SigningKey>, OpenError> {
    let signing = first_key(store, keys, "log-key", Use::LogSigning)?;
    Ok(Box::new(SigningKey::from_bytes(signing.expose())))
}

fn first_key(
    store: &mut dyn Writer,
    keys: &RootKeys,
    name: &str,
    what: Use,
) -> Result<Key32, OpenError> {
    let wrapped = store.meta(name)?.ok_or(StoreError::Damaged(
        "the store lacks one of its first entries",
    ))?;
    keys.unwrap(what, &wrapped)
        .map_err(|_| OpenError::OtherRoot)
}

/// Everything a fresh store needs, in the open transaction.
///
/// # Errors
/// The store.
pub fn make(store: &mut dyn Writer, root: &Key32, vault: [u8; 16]) -> Result<(), StoreError> {
    let keys = RootKeys::new(root, vault);
    let records = KeyPair::generate();
    store.set_meta("vault", &vault)?;
    store.set_meta("records-key", &keys.wrap(Use::Records, records.secret()))?;
    store.set_meta("log-key", &keys.wrap(Use::LogSigning, &random_key()))
}
