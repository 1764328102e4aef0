//! What all workers share: the routes, the policies, the door to the vault, the budgets; and what
//! each has of its own.
//!
//! What enters: the parts of one configuration. What leaves: a [`Site`] a request. What can never
//! happen: a request sees two configurations: it takes its site once, when it begins, and keeps it
//! to its last byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::body::hold::HoldBudget;
use super::egress::Egress;
use super::metrics::{Metrics, RouteMetrics};
use super::restore_budget::RestoreBudget;
use super::routes::Routes;
use super::trace::Trace;
use super::upstream::{Backends, Upstreams};
use crate::config::{self, Format, Limits, Transparent};
use crate::error::{Code, Fault, Stage};
use crate::observe::access::AccessLog;
use crate::observe::trace::Tracer;
use crate::policy::Policy;
use crate::pseudonym::Kinds;
use crate::rewrite::own::OwnIdentifiers;
use crate::rewrite::tally::RuleCounts;
use crate::rewrite::{Job, Keeper, Rewriter};
use crate::vault_link::{Lease, VaultLink};

pub struct Shared {
    pub routes: Routes,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    /// Counters of requests that found no route.
    pub unrouted: RouteMetrics,
    pub hold: Arc<HoldBudget>,
    pub restore: Arc<RestoreBudget>,
    pub kinds: Arc<Kinds>,
    pub policies: Vec<Arc<Policy>>,
    /// Counters of each policy's rules; `None` for those of answers.
    pub rules: Vec<Option<Arc<RuleCounts>>>,
    pub backends: Arc<Backends>,
    /// `None`: no request is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// `None` only where no route has a domain.
    pub link: Option<Arc<VaultLink>>,
    /// How connections are brought that were made to somebody else.
    pub transparent: Option<Transparent>,
    /// `None`: nothing leaves by CONNECT.
    pub egress: Option<Arc<Egress>>,
}

impl Shared {
    /// The lease that a route's domain needs now; `None` for a route without a domain.
    ///
    /// # Errors
    /// [`Code::NotReady`].
    pub fn lease(&self, route: &config::Route) -> Result<Option<Arc<Lease>>, Fault> {
        let Some(domain) = route.domain else {
            return Ok(None);
        };
        let lease = self.link.as_ref().and_then(|link| link.lease(domain));
        let lease = lease.ok_or_else(|| Fault::new(Code::NotReady, Stage::Authorise))?;
        Ok(Some(lease))
    }

    /// The rewriting of one body by `policy` (an index into the configuration's policies).
    ///
    /// # Errors
    /// [`Code::NotReady`].
    pub fn rewrite(
        &self,
        route: &config::Route,
        policy: usize,
        format: Format,
        own: Option<Arc<OwnIdentifiers>>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Rewriter, Fault> {
        let job = self.job(route, policy, true, own, trace)?;
        let rewriter = Rewriter::new(Job { format, ..job });
        Ok(match &self.rules[policy] {
            Some(counts) => rewriter.counting(counts.clone()),
            None => rewriter,
        })
    }

    /// What is needed to answer the places of a message; the route's lease only if values are
    /// asked for.
    ///
    /// # Errors
    /// [`Code::NotReady`].
    pub fn job(
        &self,
        route: &config::Route,
        policy: usize,
        asks: bool,
        own: Option<Arc<OwnIdentifiers>>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Job, Fault> {
        let lease = if asks { self.lease(route)? } else { None };
        let keeper = lease.map(|lease| match trace {
            Some(trace) => trace.watch(lease),
            None => lease as Arc<dyn Keeper>,
        });
        Ok(Job {
            policy: self.policies[policy].clone(),
            kinds: self.kinds.clone(),
            format: Format::Json,
            keeper,
            limits: self.limits.clone(),
            own,
        })
    }
}

/// One configuration, as one worker serves it.
pub struct Site {
    pub shared: Arc<Shared>,
    pub upstreams: Upstreams,
}

/// What one worker has of its own, beside what all share.
pub struct Worker {
    /// For requests that begin now.
    site: ArcSwap<Site>,
    pub metrics: Arc<Metrics>,
    pub access: AccessLog,
    /// Random, of this process and worker.
    pub mark: u64,
    pub requests: AtomicU64,
}

impl Worker {
    pub fn new(site: Site, access: AccessLog, mark: u64) -> Self {
        Self {
            metrics: site.shared.metrics.clone(),
            site: ArcSwap::from_pointee(site),
            access,
            mark,
            requests: AtomicU64::new(beginning(mark)),
        }
    }

    /// What a request that begins now is served by.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Requests that begin from now on are served by this; those in flight stay with theirs.
    pub fn adopt(&self, site: Site) {
        self.site.store(Arc::new(site));
    }

    /// An id for a problem document and its log line: random start, then counted.
    pub fn request_id(&self) -> RequestId {
        RequestId {
            mark: self.mark & 0xffff_ffff_ffff,
            number: self.requests.fetch_add(1, Relaxed),
        }
    }
}

/// Where a worker begins to count: the upper part of its random mark, which names only the lower
/// one. From 0 on, an id would say how many requests there were.
fn beginning(mark: u64) -> u64 {
    mark >> 48 << 16
}

/// Names one request. Written as `mark-number`, both hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Of process and worker: 48 bits.
    pub mark: u64,
    pub number: u64,
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:012x}-{:x}", self.mark, self.number)
    }
}
