//! Open or sealed: who has the vault, and how it comes and goes.
//!
//! What enters: a key file at the start, or shares while the process runs. What leaves: the open
//! vault, to requests, one at a time. What can never happen: two changes of state at once; a vault
//! that is sealed while somebody still holds one of its keys: then the process ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::rewrap;
use super::round::{Complete, Round};
use super::sharing::Sharing;
use crate::config::{Config, Root, root_key};
use crate::limits;
use crate::secret::{Key32, stack};
use crate::vault::backup;
use crate::vault::keys::{random, random_key};
use crate::vault::log::Event;
use crate::vault::refusal::Refusal;
use crate::vault::state::{Caller, OpenError, Parts, StartError, Vault, store_id};
use crate::vault::store::StoreError;
use crate::wire::share::{GivenShare, KeptIn, Purpose, Reshare, ShareList, Standing, VaultStatus};
use crate::wire::text::Hex;

/// The process's vault, open or not.
pub struct Keeper {
    pub parts: Parts,
    /// Goes with answers while the vault is sealed.
    pub incarnation: [u8; 16],
    id: [u8; 16],
    open: RwLock<Option<Open>>,
    /// `None`: the root is in a file.
    round: Option<Mutex<Round>>,
    /// Held by whoever changes the state.
    turn: tokio::sync::Mutex<()>,
}

/// A vault and the thread that writes its store.
struct Open {
    vault: Arc<Vault>,
    writer: JoinHandle<()>,
}

/// What is to be logged.
type Entry = Box<dyn FnOnce(time::OffsetDateTime) -> Event + Send>;

/// What a share has led to.
pub enum Given {
    /// It is kept, or it was the last one that opened the vault.
    Status(VaultStatus),
    /// New shares, for their custodians.
    Reshared(ShareList),
}

impl Keeper {
    /// Reads what there is. With a key file the vault is open on return, with shares it is sealed.
    /// Blocks.
    ///
    /// # Errors
    /// Everything that keeps it from starting.
    pub fn start(config: &Config) -> Result<Arc<Self>, StartError> {
        let settings = config.vault.as_ref().ok_or(StartError::NoVault)?;
        let (parts, id, sharing);
        let mut open = None;
        match &settings.root {
            Root::File(file) => {
                let root = root_key::load(file)?;
                parts = Parts::new(config)?;
                sharing = in_store(&parts)?.1;
                if sharing.is_some() {
                    return Err(StartError::InShares);
                }
                let (vault, writer) = Vault::unlock(&parts, &root)?;
                id = vault.id;
                open = Some(Open { vault, writer });
            }
            Root::Shares => {
                parts = Parts::new(config)?;
                let (found, shared) = in_store(&parts)?;
                let (Some(found), Some(_)) = (found, &shared) else {
                    return Err(StartError::NoShares);
                };
                (id, sharing) = (found, shared);
            }
        }
        let round = sharing.map(|sharing| {
            let mut round = Round::new(id, sharing, settings.unseal_time);
            round.note(|now| Event::new("vault-started", now));
            Mutex::new(round)
        });
        stack::wipe();
        Ok(Arc::new(Self {
            parts,
            incarnation: random(),
            id,
            open: RwLock::new(open),
            round,
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// The open vault.
    pub fn vault(&self) -> Option<Arc<Vault>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(|open| Arc::clone(&open.vault))
    }

    pub fn status(&self) -> VaultStatus {
        let (state, root) = match (self.vault(), &self.round) {
            (Some(_), None) => (Standing::Open, KeptIn::KeyFile),
            (None, None) => (Standing::Sealed, KeptIn::KeyFile),
            (Some(_), Some(_)) => (Standing::Open, KeptIn::Shares),
            (None, Some(_)) => (Standing::Sealed, KeptIn::Shares),
        };
        VaultStatus {
            state,
            root,
            vault: Hex(self.id),
            shares: self.round().map(|round| round.status()),
        }
    }

    /// The sealed shares of the present sharing.
    ///
    /// # Errors
    /// The root is in a file.
    pub fn shares(&self) -> Result<ShareList, Refusal> {
        let round = self.round().ok_or(Refusal::InKeyFile)?;
        Ok(ShareList {
            shares: round.sharing.shares.clone(),
        })
    }

    /// Takes a share of a custodian. At the threshold the vault opens, or gets another root.
    ///
    /// # Errors
    /// What is wrong with the share, or why the vault does not open.
    pub async fn give(
        self: &Arc<Self>,
        caller: &Caller,
        share: GivenShare,
    ) -> Result<Given, Refusal> {
        let _turn = self.turn.lock().await;
        let number = share.number;
        let taken = match (&share.purpose, self.vault()) {
            (Purpose::Unseal, Some(_)) => Err(Refusal::NotSealed),
            (Purpose::Reshare(_), None) => Err(Refusal::Sealed),
            _ => self.take(caller, &share),
        };
        let event = |name| {
            let caller = caller.clone();
            move |now| Event {
                count: Some(number.into()),
                ..caller.event(name, now)
            }
        };
        match taken {
            Ok(None) => {
                tracing::info!(who = caller.id, share = number, "a share has come");
                self.tell(event("share-given")).await?;
                Ok(Given::Status(self.status()))
            }
            Ok(Some(complete)) => {
                self.tell(event("share-given")).await?;
                match &complete.purpose {
                    Purpose::Unseal => self.unseal(caller, &complete).await,
                    Purpose::Reshare(new) => {
                        let list = self.reshare(caller, &complete, new.clone()).await?;
                        Ok(Given::Reshared(list))
                    }
                }
            }
            Err(refusal) => {
                let code = refusal.name();
                tracing::warn!(who = caller.id, share = number, code, "a share was refused");
                let refused = event("share-refused");
                self.tell(move |now| Event {
                    code: Some(code),
                    ..refused(now)
                })
                .await?;
                Err(refusal)
            }
        }
    }

    /// Forgets the shares that have come.
    ///
    /// # Errors
    /// The root is in a file, or the log cannot be written.
    pub async fn reset(&self, caller: &Caller) -> Result<VaultStatus, Refusal> {
        let _turn = self.turn.lock().await;
        self.round().ok_or(Refusal::InKeyFile)?.forget();
        tracing::info!(who = caller.id, "the shares that had come are forgotten");
        let caller = caller.clone();
        self.tell(move |now| caller.event("shares-reset", now))
            .await?;
        Ok(self.status())
    }

    /// Forgets every key. A vault that is sealed already stays so, and forgets shares.
    pub async fn seal(&self, caller: &Caller) -> VaultStatus {
        let _turn = self.turn.lock().await;
        if let Some(mut round) = self.round() {
            round.forget();
        }
        let who = caller.clone();
        let event = move |now| who.event("vault-sealed", now);
        if self.vault().is_some() {
            self.close(Some(Box::new(event))).await;
        } else if let Some(mut round) = self.round() {
            round.note(event);
        }
        tracing::warn!(who = caller.id, "the vault is sealed");
        self.status()
    }

    /// Ends: what was accepted is on the disk on return.
    pub async fn end(&self) {
        let _turn = self.turn.lock().await;
        self.close(None).await;
    }

    async fn unseal(
        self: &Arc<Self>,
        caller: &Caller,
        complete: &Complete,
    ) -> Result<Given, Refusal> {
        let open = self.unlock(complete.root.clone()).await?;
        let (who, givers) = (caller.clone(), complete.givers.clone());
        let opened = move |now| Event {
            count: Some(givers.len() as u64),
            reason: Some(format!("shares of {}", givers.join(", "))),
            ..who.event("vault-unsealed", now)
        };
        // What was noted while there was no log comes first, and all of it before anybody is answered:
        // an open vault whose log does not say so would answer without a trace.
        let unlogged = self.round().map(|round| round.unlogged.clone());
        let unlogged = unlogged.unwrap_or_default();
        let told = unlogged.len();
        let logged = open.vault.sequencer.run(move |tx| {
            unlogged.iter().try_for_each(|event| tx.log(event))?;
            tx.log(&opened(tx.now))
        });
        let settled = match logged.await {
            Ok(()) => {
                if let Some(mut round) = self.round() {
                    let told = told.min(round.unlogged.len());
                    round.unlogged.drain(..told);
                }
                self.settle(&open.vault).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            Self::give_up(open, None).await;
            return Err(error.into());
        }
        tracing::warn!(who = caller.id, "the vault is open");
        open.vault.warn_of_open_gateways();
        self.publish(open);
        Ok(Given::Status(self.status()))
    }

    /// What an open vault does first: says in its log that it comes from a backup, and forgets
    /// what the log must not keep.
    ///
    /// # Errors
    /// The store's.
    pub async fn settle(&self, vault: &Vault) -> Result<(), StoreError> {
        backup::log_restored(vault).await?;
        vault.forget(self.parts.log_months).await
    }

    /// Closes, exchanges the root, opens.
    async fn reshare(
        self: &Arc<Self>,
        caller: &Caller,
        complete: &Complete,
        new: Reshare,
    ) -> Result<ShareList, Refusal> {
        let root = random_key();
        let sharing = Sharing::make(&root, self.id, new.threshold, &new.custodians);
        let sharing = sharing.map_err(|_| Refusal::BadSharing)?;
        self.close(None).await;
        let (who, givers) = (caller.clone(), complete.givers.join(", "));
        let event = move |now| Event {
            count: Some(new.custodians.len() as u64),
            reason: Some(format!(
                "threshold {}, by shares of {givers}",
                new.threshold
            )),
            ..who.event("vault-reshared", now)
        };
        let (this, old, next) = (Arc::clone(self), complete.root.clone(), root.clone());
        let exchanged = {
            let sharing = sharing.clone();
            blocking(move || {
                let mut store = this.parts.store.writer()?;
                rewrap::exchange(&mut *store, this.id, (&old, &next), &sharing, event)
            })
            .await
        };
        if let Err(error) = exchanged {
            tracing::error!(%error, "the root key was not exchanged");
            self.publish(self.unlock(complete.root.clone()).await?);
            return Err(Refusal::Store);
        }
        let list = ShareList {
            shares: sharing.shares.clone(),
        };
        if let Some(mut round) = self.round() {
            round.sharing = sharing;
            round.forget();
        }
        // It is done, and its shares are in the store: that it does not open says its status.
        self.publish(self.unlock(root).await?);
        tracing::warn!(
            who = caller.id,
            "the root key was exchanged; earlier shares open nothing"
        );
        Ok(list)
    }

    fn take(
        self: &Arc<Self>,
        caller: &Caller,
        share: &GivenShare,
    ) -> Result<Option<Complete>, Refusal> {
        let mut round = self.round().ok_or(Refusal::InKeyFile)?;
        let before = (round.number, round.has_begun());
        let taken = round.take(&caller.id, share)?;
        // The first of its round: the same share once more needs no other clock.
        if taken.is_none() && before != (round.number, true) {
            self.forget_later(&round);
        }
        Ok(taken)
    }

    /// So that shares are not kept until somebody asks again.
    fn forget_later(self: &Arc<Self>, round: &Round) {
        let (number, time) = (round.number, round.time());
        let keeper = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(time).await;
            let Some(keeper) = keeper.upgrade() else {
                return;
            };
            if let Some(mut round) = keeper.round()
                && round.number == number
                && round.has_begun()
            {
                round.forget();
                round.note(|now| Event::new("shares-forgotten", now));
                tracing::warn!("the shares that had come are forgotten: their time is over");
            }
        });
    }

    /// Opens the store with its root; nobody is answered yet.
    async fn unlock(self: &Arc<Self>, root: Key32) -> Result<Open, Refusal> {
        let this = Arc::clone(self);
        match blocking(move || Vault::unlock(&this.parts, &root)).await {
            Ok((vault, writer)) => Ok(Open { vault, writer }),
            Err(error) => {
                tracing::error!(%error, "the vault does not open");
                Err(Refusal::Store)
            }
        }
    }

    /// From now on requests find the vault.
    fn publish(&self, vault: Open) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = Some(vault);
    }

    /// Forgets the open vault: from now on requests find none, those that are on their way end,
    /// the entry is written, and every key is wiped. What does not end in time ends with the process.
    async fn close(&self, event: Option<Entry>) {
        let taken = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.take()
        };
        if let Some(open) = taken {
            Self::give_up(open, event).await;
        }
    }

    /// Ends a vault that no request finds any more.
    async fn give_up(Open { vault, writer }: Open, event: Option<Entry>) {
        vault.closing.cancel();
        if let Some(event) = event {
            let logged = timeout(limits::SEAL_LOG_TIME, vault.log(event)).await;
            if !matches!(logged, Ok(Ok(()))) {
                tracing::error!("the vault is sealed, and its log could not be told");
            }
        }
        let held = vault.ghosts();
        drop(vault);
        let end = Instant::now() + limits::SEAL_TIME;
        while held() || !writer.is_finished() {
            if Instant::now() >= end {
                tracing::error!("something still holds a key: the process ends, to forget it");
                std::process::exit(4);
            }
            sleep(Duration::from_millis(2)).await;
        }
        let _ = writer.join();
    }

    /// Logs an event, or keeps it until there is a log again.
    async fn tell(
        &self,
        event: impl FnOnce(time::OffsetDateTime) -> Event + Send + 'static,
    ) -> Result<(), Refusal> {
        match self.vault() {
            // Whoever waits for a store that hangs must not keep others from sealing.
            Some(vault) => match timeout(limits::SEAL_LOG_TIME, vault.log(event)).await {
                Ok(logged) => Ok(logged?),
                Err(_) => Err(Refusal::Store),
            },
            None => {
                if let Some(mut round) = self.round() {
                    round.note(event);
                }
                Ok(())
            }
        }
    }

    fn round(&self) -> Option<MutexGuard<'_, Round>> {
        let round = self.round.as_ref()?;
        Some(round.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A store's id, and its sharing if its root is in shares.
fn in_store(parts: &Parts) -> Result<(Option<[u8; 16]>, Option<Sharing>), StoreError> {
    let mut store = parts.store.writer()?;
    Ok((store_id(&mut *store)?, Sharing::read(&mut *store)?))
}

/// Runs a work with keys off the async threads, on a stack that is wiped afterwards.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let work = move || {
        let result = work();
        stack::wipe();
        result
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| OpenError::from(StoreError::Stopped))?
}
