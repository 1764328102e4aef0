//! The only door from a gateway (or a feed) to the vault.
//!
//! What enters: names of domains, first sights of identifiers. What leaves: leased keys,
//! the certainty that a recovery record is durable. What can never happen: a pseudonym counts
//! as durable before the vault has said so in this incarnation of its store, or the domain's spool
//! has synced it; or a leased key touches a disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::{self, Config, VaultAddress};
use crate::limits;
use crate::pseudonym::{KindId, Pseudonym};
use crate::secret::PlainBuf;
use crate::tls;

pub mod calls;
pub mod client;
pub mod known;
mod lease;
mod publish;
mod renew;
pub mod spool;

pub use lease::Lease;
use spool::{SpoolStatus, Spools};

/// A pseudonym whose recovery record is not known to be durable, with what it stands for.
#[derive(Debug)]
pub struct FirstSight {
    pub kind: KindId,
    pub pseudonym: Pseudonym,
    /// The normal form.
    pub identifier: PlainBuf,
    /// For scope `subject`: whom the record is about, which the pseudonym follows from too.
    pub subject: Option<(KindId, Pseudonym)>,
}

/// The link of one process to one vault: leases for the domains it serves, renewed in the background.
pub struct VaultLink {
    /// By index into `config.domains`; `None` for those this process does not serve.
    domains: Vec<Option<Arc<Renewed>>>,
    publisher: Arc<publish::Publisher>,
    address: VaultAddress,
    /// Of the files that `address` names, as they were read.
    files: [u8; 32],
}

/// A domain, and whoever renews its lease, as long as a link has it.
struct Renewed {
    domain: Arc<renew::Domain>,
    tasks: Vec<JoinHandle<()>>,
}

/// What names one process towards the vault, from its start to its end.
#[derive(Clone)]
pub struct Boot {
    id: [u8; 16],
    /// Of the process that has handed its place over to this one.
    predecessor: Option<[u8; 16]>,
    /// Counts the process's batches, whatever links it has had.
    batches: Arc<AtomicU64>,
    calls: Arc<calls::Calls>,
    /// `None`: nothing is spooled.
    spools: Option<Arc<Spools>>,
}

impl Boot {
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(predecessor: Option<[u8; 16]>) -> Result<Self, LinkError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| LinkError::Random(e.to_string()))?;
        Ok(Self {
            id,
            predecessor,
            batches: Arc::default(),
            calls: Arc::default(),
            spools: None,
        })
    }

    /// Domains that have a spool find it in this folder (`gateway.spool_dir`); what earlier
    /// processes have left there is sent. Only for a process that has the folder's certificate to
    /// the vault: batches are sealed in its name.
    ///
    /// # Errors
    /// In words for an operator.
    pub fn spooling(mut self, folder: PathBuf) -> Result<Self, String> {
        self.spools = Some(Arc::new(Spools::open(folder, self.id)?));
        Ok(self)
    }

    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What a metrics page shows of the process's links: of the one that `current` has.
    pub fn page(&self, current: Current) -> calls::LinkPage {
        calls::LinkPage(current, self.calls.clone(), self.spools.clone())
    }

    /// Spools that may be used, or hold something.
    pub fn spools(&self) -> Vec<SpoolStatus> {
        self.spools.as_ref().map_or_else(Vec::new, |s| s.status())
    }

    /// From now on the bounds of this configuration hold: it is served, with these domains.
    pub fn bound_spools(&self, config: &Config, domains: &[usize]) {
        if let Some(spools) = &self.spools {
            let served = domains.iter().map(|at| &config.domains[*at]);
            spools.set_bounds(served.map(|domain| (domain.name.as_str(), domain.spool)));
        }
    }
}

/// The link that is used now; empty where no route has a domain.
pub type Current = Arc<ArcSwapOption<VaultLink>>;

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
        Self::start_as(&Boot::new(None)?, config, address, domains, None)
    }

    /// As [`Self::start`], for a process that has had a link, or will have another. What the link
    /// `before` has leased is taken over where vault, its files, kinds and domain are the same.
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_as(
        boot: &Boot,
        config: &Config,
        address: &VaultAddress,
        domains: &[usize],
        before: Option<&Self>,
    ) -> Result<Arc<Self>, LinkError> {
        let files = [&address.certificate, &address.key, &address.ca];
        let files = tls::contents(files.into_iter().map(|file| file.as_path()))
            .map_err(|e| LinkError::Tls(e.to_string()))?;
        let same = before.filter(|before| {
            let kinds = &before.publisher.kinds;
            before.address == *address && before.files == files && *kinds == config.kinds
        });
        let publisher = match same {
            Some(before) => before.publisher.clone(),
            None => Arc::new(publish::Publisher {
                client: Arc::new(client::Client::counted(address, boot.calls.clone())?),
                kinds: config.kinds.clone(),
                boot: boot.clone(),
            }),
        };
        let renewed = |at: usize| {
            let domain = &config.domains[at];
            let name = &domain.name;
            let mut known = same
                .iter()
                .flat_map(|before| before.domains.iter().flatten());
            let known = known.find(|renewed| renewed.domain.name == *name);
            known.map_or_else(|| Renewed::start(&publisher, domain), Arc::clone)
        };
        if let (Some(spools), None) = (&boot.spools, before) {
            let served = domains.iter().map(|at| config.domains[*at].name.as_str());
            spools.warn_of_unserved(&served.collect::<Vec<_>>());
        }
        let all = 0..config.domains.len();
        let domains = all.map(|at| domains.contains(&at).then(|| renewed(at)));
        Ok(Arc::new(Self {
            domains: domains.collect(),
            publisher,
            address: address.clone(),
            files,
        }))
    }

    /// The current lease of a domain (index into `config.domains`), if there is a live one whose
    /// known set is loaded.
    pub fn lease(&self, domain: usize) -> Option<Arc<Lease>> {
        let renewed = self.domains.get(domain)?.as_ref()?;
        let lease = renewed.domain.lease.load_full()?;
        lease.shared.is_live().then_some(lease)
    }

    /// Whether every domain has a live lease.
    pub fn ready(&self) -> bool {
        self.without().next().is_none()
    }

    /// The domains that have no live lease.
    pub fn waiting(&self) -> Vec<String> {
        self.without().map(|d| d.name.clone()).collect()
    }

    /// A domain without a lease that the vault does not give us, and why.
    pub fn refusal(&self) -> Option<(String, Arc<String>)> {
        self.without()
            .find_map(|d| Some((d.name.clone(), d.refusal.load_full()?)))
    }

    /// The log's signed checkpoint as it stands now (C2SP tlog-checkpoint): how far the log had
    /// come when something was made.
    ///
    /// # Errors
    /// The vault is not reached, or is of a version that tells its auditors only.
    pub async fn log_checkpoint(&self) -> Result<String, client::CallError> {
        let path = crate::wire::path::LOG_CHECKPOINT;
        self.publisher.client.get_text(path).await
    }

    fn without(&self) -> impl Iterator<Item = &renew::Domain> {
        let served = self.domains.iter().enumerate();
        let served = served.filter_map(|(at, d)| Some((at, &*d.as_ref()?.domain)));
        served
            .filter(|(at, _)| self.lease(*at).is_none())
            .map(|(_, domain)| domain)
    }

    /// Every served domain with its lease.
    pub fn status(&self) -> Vec<LeaseStatus> {
        let served = self.domains.iter().enumerate();
        served
            .filter_map(|(at, domain)| {
                let lease = self.lease(at);
                let shared = lease.as_ref().map(|lease| &lease.shared);
                Some(LeaseStatus {
                    domain: domain.as_ref()?.domain.name.clone(),
                    epoch: shared.map(|s| s.epoch),
                    known: shared.map_or(0, |s| s.known.len()),
                    known_bytes: shared.map_or(0, |s| s.known.memory_bytes()),
                    seconds_left: shared.map_or(0, |s| s.left().as_secs()),
                })
            })
            .collect()
    }
}

impl Renewed {
    fn start(publisher: &Arc<publish::Publisher>, domain: &config::Domain) -> Arc<Self> {
        let spools = publisher.boot.spools.as_ref();
        let spool = spools.map(|spools| spools.of(&domain.name, domain.spool));
        let domain = Arc::new(renew::Domain {
            name: domain.name.clone(),
            lease: ArcSwapOption::empty(),
            wake: Arc::new(Notify::new()),
            refusal: ArcSwapOption::empty(),
            spool: spool.clone(),
        });
        let task = renew::run(publisher.clone(), domain.clone());
        let mut tasks = vec![tokio::spawn(task)];
        if let Some(spool) = spool {
            let replay = spool::replay(publisher.clone(), domain.clone(), spool);
            tasks.push(tokio::spawn(replay));
        }
        Arc::new(Self { domain, tasks })
    }
}

impl Drop for Renewed {
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
