//! How many distinct identifiers one client may use with `restore-own` in a day.
//!
//! What enters: the pseudonyms that one request's identifiers became. What leaves: yes, or 429.
//! What can never happen: a client walks through a population by asking who comes back. The
//! count is this gateway's own and starts anew with the UTC day or the process.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::error::{Code, Fault, Stage};
use crate::tls::identity::Peer;

/// Counts per client id, so that a second or a renewed certificate is no second budget.
pub struct RestoreBudget {
    most: usize,
    today: Mutex<Today>,
}

#[derive(Default)]
struct Today {
    day: u64,
    /// Eight bytes of each pseudonym: enough to count, and uniformly spread.
    seen: HashMap<String, HashSet<u64>>,
}

impl RestoreBudget {
    pub fn new(most: usize) -> Self {
        let today = Mutex::default();
        Self { most, today }
    }

    /// Counts these pseudonyms for this client, all or none.
    ///
    /// # Errors
    /// [`Code::RestoreBudget`].
    pub fn charge(
        &self,
        client: &Peer,
        pseudonyms: impl Iterator<Item = u64> + Clone,
    ) -> Result<(), Fault> {
        self.charge_on(day(), client, pseudonyms)
    }

    fn charge_on(
        &self,
        day: u64,
        client: &Peer,
        pseudonyms: impl Iterator<Item = u64> + Clone,
    ) -> Result<(), Fault> {
        let lock = self.today.lock();
        let mut today = lock.unwrap_or_else(std::sync::PoisonError::into_inner);
        if today.day != day {
            *today = Today {
                day,
                seen: HashMap::new(),
            };
        }
        let seen = today.seen.entry(client.id.clone()).or_default();
        let new: HashSet<u64> = pseudonyms.filter(|p| !seen.contains(p)).collect();
        if seen.len() + new.len() > self.most {
            return Err(Fault::new(Code::RestoreBudget, Stage::Authorise));
        }
        seen.extend(new);
        Ok(())
    }
}

fn day() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() / 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::identity::Role;

    fn client(id: &str, certificate: u8) -> Peer {
        Peer {
            role: Role::Client,
            id: id.to_owned(),
            fingerprint: [certificate; 32],
        }
    }

    #[test]
    fn distinct_identifiers_are_counted_per_client_and_day() {
        let budget = RestoreBudget::new(3);
        let (a, b) = (client("a", 1), client("b", 2));
        assert!(budget.charge_on(1, &a, [1, 2, 2, 1].into_iter()).is_ok());
        assert!(budget.charge_on(1, &a, [1, 2, 3].into_iter()).is_ok());
        let over = budget.charge_on(1, &a, [4].into_iter()).unwrap_err();
        assert_eq!(over.code, Code::RestoreBudget);
        assert!(budget.charge_on(1, &a, [1].into_iter()).is_ok());
        let renewed = client("a", 3);
        assert!(budget.charge_on(1, &renewed, [4].into_iter()).is_err());
        assert!(budget.charge_on(1, &b, [4].into_iter()).is_ok());
        assert!(budget.charge_on(2, &a, [4].into_iter()).is_ok());
    }
}
