//! One configuration at work, and the next one in its place.
//!
//! What enters: a checked configuration, and what serves now. What leaves: what every worker will
//! serve by. What can never happen: something of the new one is used before all of it is there; a
//! count that protects people (identifiers that a client may ask back, requests of a client)
//! begins anew because somebody has reloaded.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};

use super::StartError;
use super::body::hold::HoldBudget;
use super::egress::Egress;
use super::metrics::Metrics;
use super::restore_budget::RestoreBudget;
use super::routes::Routes;
use super::shared::{Shared, Site};
use super::upstream::{Backends, Upstreams, original};
use crate::config::{self, Config, RequestBody, ResponseBody};
use crate::limits;
use crate::observe::trace::Tracer;
use crate::rewrite::tally::RuleCounts;
use crate::vault_link::VaultLink;

/// One configuration, ready to be served.
pub struct Generation {
    /// One a worker.
    pub sites: Vec<Site>,
    pub backends: Arc<Backends>,
}

/// Builds everything that requests need. `before`: what the workers serve by now; empty at the
/// start, and then `gateway.workers` says how many there are.
///
/// # Errors
/// A pattern, certificate or key that cannot be used.
pub fn build(
    config: &Config,
    link: Option<Arc<VaultLink>>,
    metrics: &Arc<Metrics>,
    tracer: Option<Arc<Tracer>>,
    before: &[Arc<Site>],
) -> Result<Generation, StartError> {
    let gateway = config.gateway.as_ref().ok_or(StartError::NoGateway)?;
    let old = before.first().map(|site| &*site.shared);
    let (routes, counters) = (&config.routes, |name: &str| metrics.route(name));
    let routes = Routes::new(routes, counters, old.map(|old| &old.routes));
    let outward = |host: &str| gateway.egress.as_ref().is_some_and(|e| e.opens(host));
    may_keep_sources(config)?;
    let egress = old.and_then(|old| old.egress.as_deref());
    let (backends, limits) = (&config.backends, &config.limits);
    let backends = Backends::new(backends, limits, metrics, old.map(|old| &*old.backends))?;
    let hold = old.filter(|old| old.hold.is_of(limits.hold_budget));
    let restore = old.map(|old| old.restore.clone());
    let shared = Arc::new(Shared {
        routes: routes
            .map_err(StartError::Route)?
            .outward(outward)
            .guarded(&config.policies),
        transparent: gateway.transparent,
        egress: Egress::new(gateway, &metrics.egress, egress)?,
        limits: Arc::new(limits.clone()),
        unrouted: metrics.route("-"),
        hold: hold.map_or_else(
            || Arc::new(HoldBudget::new(limits.hold_budget)),
            |old| old.hold.clone(),
        ),
        restore: restore.unwrap_or_else(|| Arc::new(RestoreBudget::new(limits::RESTORE_PER_DAY))),
        kinds: Arc::new(config.kinds.clone()),
        policies: config.policies.clone(),
        backends: backends.clone(),
        rules: rules(config, metrics),
        tracer,
        metrics: metrics.clone(),
        link,
    });
    let workers = match before.len() {
        0 => gateway.workers.max(1),
        running => running,
    };
    let site = |at: usize| Site {
        upstreams: Upstreams::new(&backends, before.get(at).map(|site| &site.upstreams)),
        shared: shared.clone(),
    };
    Ok(Generation {
        sites: (0..workers).map(site).collect(),
        backends,
    })
}

/// Whether connections can come from clients' addresses, where they are to: known now, and not
/// by the first client.
fn may_keep_sources(config: &Config) -> Result<(), StartError> {
    let keeps = |b: &config::Backend| b.original.as_ref().is_some_and(|o| o.keep_source);
    if !config.backends.iter().any(keeps) {
        return Ok(());
    }
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let may = original::make_transparent(&SockRef::from(&socket), any);
    may.map_err(StartError::Transparent)
}

/// Counters of policies. Those of `restore-own` put back what the request has brought.
fn rules(config: &Config, metrics: &Metrics) -> Vec<Option<Arc<RuleCounts>>> {
    let counted = |at: usize| {
        let mut routes = config.routes.iter();
        routes.any(|route| {
            matches!(route.request, RequestBody::Policy(policy) if policy == at)
                || matches!(route.response, ResponseBody::Policy(policy) if policy == at)
        })
    };
    let policies = config.policies.iter().enumerate();
    policies
        .map(|(at, policy)| counted(at).then(|| metrics.policy(policy)))
        .collect()
}
