//! The only door from a gateway (or a feed) to the vault.
//!
//! What enters: names of domains, first sights of identifiers. What leaves: leased keys,
//! the certainty that a recovery record is durable. What can never happen: a pseudonym counts
//! as durable before the vault has said so in this incarnation of its store, or a leased key
//! touches a disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::{Config, VaultAddress};
use crate::limits;
use crate::pseudonym::{KindId, Pseudonym};
use crate::secret::PlainBuf;

pub mod calls;
pub mod client;
pub mod known;
mod lease;
mod publish;
mod renew;

pub use lease::Lease;

/// A pseudonym whose recovery record is not known to be durable, with what it stands for.
#[derive(Debug)]
pub struct FirstSight {
    pub kind: KindId,
    pub pseudonym: Pseudonym,
    /// The normal form.
    pub identifier: PlainBuf,
}

/// The link of one process to one vault: leases for the domains it serves, renewed in the background.
pub struct VaultLink {
    /// By index into `config.domains`; `None` for those this process does not serve.
    domains: Vec<Option<Arc<renew::Domain>>>,
    calls: Arc<calls::Calls>,
    tasks: Vec<JoinHandle<()>>,
}

/// One domain's lease, for readiness pages and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    pub domain: String,
    /// `None`: no live lease.
    pub epoch: Option<u32>,
    /// Pseudonyms known durable, and the bytes they take.
    pub known: usize,
    pub known_bytes: usize,
    pub seconds_left: u64,
}

impl VaultLink {
    /// Starts the background tasks that lease and renew. Returns at once: whether a domain is
    /// ready is asked of [`VaultLink::lease`]. `domains` are indices into `config.domains`.
    ///
    /// # Errors
    /// Certificate files or an address that cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        config: &Config,
        address: &VaultAddress,
        domains: &[usize],
    ) -> Result<Arc<Self>, LinkError> {
        let mut boot = [0; 16];
        getrandom::fill(&mut boot).map_err(|e| LinkError::Random(e.to_string()))?;
        let publisher = Arc::new(publish::Publisher {
            client: Arc::new(client::Client::new(address)?),
            kinds: config.kinds.clone(),
            boot,
            number: AtomicU64::new(0),
        });
        let mut link = Self {
            domains: vec![None; config.domains.len()],
            calls: publisher.client.calls(),
            tasks: Vec::new(),
        };
        for &at in domains {
            let domain = Arc::new(renew::Domain {
                name: config.domains[at].name.clone(),
                lease: ArcSwapOption::empty(),
                wake: Arc::new(Notify::new()),
            });
            link.domains[at] = Some(Arc::clone(&domain));
            let task = renew::run(Arc::clone(&publisher), domain);
            link.tasks.push(tokio::spawn(task));
        }
        Ok(Arc::new(link))
    }

    /// The current lease of a domain (index into `config.domains`), if there is a live one whose
    /// known set is loaded.
    pub fn lease(&self, domain: usize) -> Option<Arc<Lease>> {
        let lease = self.domains.get(domain)?.as_ref()?.lease.load_full()?;
        lease.shared.is_live().then_some(lease)
    }

    /// Whether every domain has a live lease.
    pub fn ready(&self) -> bool {
        let mut served = (0..self.domains.len()).filter(|at| self.domains[*at].is_some());
        served.all(|at| self.lease(at).is_some())
    }

    /// What a metrics page shows of this link.
    pub fn page(self: &Arc<Self>) -> calls::LinkPage {
        calls::LinkPage(Arc::downgrade(self), self.calls.clone())
    }

    /// Every served domain with its lease.
    pub fn status(&self) -> Vec<LeaseStatus> {
        let served = self.domains.iter().enumerate();
        served
            .filter_map(|(at, domain)| {
                let lease = self.lease(at);
                let shared = lease.as_ref().map(|lease| &lease.shared);
                Some(LeaseStatus {
                    domain: domain.as_ref()?.name.clone(),
                    epoch: shared.map(|s| s.epoch),
                    known: shared.map_or(0, |s| s.known.len()),
                    known_bytes: shared.map_or(0, |s| s.known.memory_bytes()),
                    seconds_left: shared.map_or(0, |s| s.left().as_secs()),
                })
            })
            .collect()
    }
}

impl Drop for VaultLink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The pause after a pause: twice as long, up to the longest.
fn retry_after(pause: Duration) -> Duration {
    (pause * 2).min(limits::VAULT_RETRY_LONGEST)
}

/// Why the link cannot even start (bad certificate files, bad address).
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Tls(String),
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}
