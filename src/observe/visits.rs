//! Who is connected to a metrics or admin address.
//!
//! What enters: connections, and when each asks something. What leaves: a place for each. What can
//! never happen: connections that ask nothing keep out one that does: where all places are taken,
//! whoever has been silent for longest is asked to leave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// All of one address.
pub struct Visits {
    places: Arc<Semaphore>,
    here: Mutex<HashMap<u64, Arc<One>>>,
    /// Counts what happens: a number for each connection, and its turn among the silent.
    next: AtomicU64,
}

struct One {
    /// When it fell silent; 0: it asks something.
    silent: AtomicU64,
    leave: CancellationToken,
}

/// One connection; leaves when dropped.
pub struct Visit {
    all: Arc<Visits>,
    number: u64,
    one: Arc<One>,
    _place: OwnedSemaphorePermit,
}

/// A request that is being answered.
pub struct Asks {
    all: Arc<Visits>,
    one: Arc<One>,
}

impl Visits {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            here: Mutex::default(),
            next: AtomicU64::new(1),
        })
    }

    /// A place, for which whoever was silent for longest may have to leave; `None` where all ask
    /// something.
    pub async fn enter(self: &Arc<Self>) -> Option<Visit> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.make_room()?;
                let place = self.places.clone().acquire_owned();
                let place = tokio::time::timeout(limits::OBSERVE_WAIT, place);
                place.await.ok()?.ok()?
            }
        };
        let number = self.next.fetch_add(1, Relaxed);
        let one = Arc::new(One {
            silent: AtomicU64::new(number),
            leave: CancellationToken::new(),
        });
        self.lock().insert(number, one.clone());
        Some(Visit {
            all: self.clone(),
            number,
            one,
            _place: place,
        })
    }

    fn make_room(&self) -> Option<()> {
        let here = self.lock();
        let silent = here.values().filter_map(|one| {
            let since = one.silent.load(Relaxed);
            (since > 0 && !one.leave.is_cancelled()).then_some((since, one))
        });
        let (_, longest) = silent.min_by_key(|(since, _)| *since)?;
        longest.leave.cancel();
        Some(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<One>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Until somebody else needs the place.
    pub async fn asked_to_leave(&self) {
        self.one.leave.cancelled().await;
    }

    /// It asks something, until this is dropped.
    pub fn asks(&self) -> Asks {
        self.one.silent.store(0, Relaxed);
        Asks {
            all: self.all.clone(),
            one: self.one.clone(),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        let turn = self.all.next.fetch_add(1, Relaxed);
        self.one.silent.store(turn, Relaxed);
    }
}
