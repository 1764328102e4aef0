//! How many handshakes of one address go on at once.
//!
//! What enters: where a handshake comes from. What leaves: a turn, in the order of coming. What can
//! never happen: one address has more than its turns, keeps others from theirs by waiting, or is
//! remembered after its last handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::places::network;

pub struct Turns {
    most: usize,
    here: Mutex<HashMap<IpAddr, Queue>>,
}

/// Of one address.
struct Queue {
    turns: Arc<Semaphore>,
    /// Who has a turn or waits for one.
    users: usize,
}

/// A handshake that goes on; its turn is given back when dropped.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _there: There,
}

/// One of an address's users.
struct There {
    all: Arc<Turns>,
    address: IpAddr,
}

impl Turns {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.clamp(1, Semaphore::MAX_PERMITS),
            here: Mutex::default(),
        })
    }

    /// Waits for a turn of this address (IPv6: its /64).
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Turn> {
        let address = network(address);
        let turns = {
            let mut here = self.lock();
            let queue = here.entry(address).or_insert_with(|| Queue {
                turns: Arc::new(Semaphore::new(self.most)),
                users: 0,
            });
            queue.users += 1;
            queue.turns.clone()
        };
        let there = There {
            all: self.clone(),
            address,
        };
        Some(Turn {
            _turn: turns.acquire_owned().await.ok()?,
            _there: there,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Queue>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for There {
    fn drop(&mut self) {
        let mut here = self.all.lock();
        if let Some(queue) = here.get_mut(&self.address) {
            queue.users -= 1;
            if queue.users == 0 {
                here.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn proxy_07_each_address_waits_for_its_own_turns_and_is_forgotten() {
        let turns = Turns::new(2);
        let take = async |text: &str| {
            let turn = turns.take(text.parse().unwrap());
            let turn = tokio::time::timeout(Duration::from_millis(20), turn).await;
            turn.ok().flatten()
        };
        let first = take("2001:db8::1").await;
        let second = take("2001:db8::2").await;
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").await.is_none(), "one network");
        let other = take("192.0.2.1").await;
        assert!(other.is_some());
        drop(first);
        let third = take("2001:db8::3").await;
        assert!(third.is_some());
        drop((second, other, third));
        assert!(turns.lock().is_empty());
    }
}
