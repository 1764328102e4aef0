//! The gateway's world: listen → serve → exchange → upstream, and back.
//!
//! What enters: a checked configuration and the link to the vault. What leaves: a running
//! gateway. What can never happen: a byte of a request's body goes to a backend before the body
//! is rewritten and its recovery records are durable, or a failed body ends cleanly.
//!
//! | file | duty |
//! |---|---|
//! | [`runtime`] | threads, and what is shared between them |
//! | [`listen`] | sockets, the cap |
//! | [`door`] | who comes in: PROXY protocol, SNI, handshake; TLS files that change |
//! | [`serve`] | one connection: ALPN, time-outs ([`clock`], [`coarse`]) |
//! | [`frames`], [`rates`] | HTTP/2 floods, requests of a client |
//! | [`exchange`] | **the way of one request** |
//! | [`head`], [`routes`], [`query`], [`plan`] | trust, route, grant |
//! | [`headers`] | what passes, what is made anew |
//! | [`body`] | hold, stream, break off |
//! | [`upstream`] | backends: pools, health, limits, retries |
//! | [`websocket`] | connections that have switched: messages by policy, or a tunnel |
//! | [`respond`] | the way back, `restore-own` ([`restore_budget`]) |
//! | [`rescue`] | the one place where a fault becomes an answer |
//! | [`socket`] | a socket that resets unless its message was delivered |
//! | [`story`], [`metrics`], [`trace`] | what is remembered, counted and told |

pub mod body;
pub mod clock;
pub mod coarse;
pub mod door;
pub mod exchange;
pub mod frames;
pub mod head;
pub mod headers;
pub mod listen;
pub mod metrics;
pub mod plan;
pub mod query;
pub mod rates;
pub mod rescue;
pub mod respond;
pub mod restore_budget;
pub mod routes;
pub mod runtime;
pub mod serve;
pub mod shared;
pub mod socket;
pub mod story;
pub mod trace;
pub mod upstream;
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use self::door::Door;
use self::metrics::Metrics;
pub use self::runtime::Running;
use self::shared::{Shared, Worker};
use crate::config::{self, Config, RequestBody};
use crate::limits;
use crate::observe::access::AccessLog;
use crate::observe::trace::Tracer;
use crate::rewrite::tally::RuleCounts;
use crate::tls::TlsError;
use crate::tls::reload::Plan;
use crate::vault_link::VaultLink;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration has no [gateway]")]
    NoGateway,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Route(String),
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Builds everything and begins to accept. Called inside [`runtime::control`]; `link` is `None`
/// only where no route has a domain.
///
/// # Errors
/// Whatever would make the gateway run other than as configured.
pub fn start(
    config: &Config,
    link: Option<Arc<VaultLink>>,
    metrics: Arc<Metrics>,
) -> Result<Running, StartError> {
    start_traced(config, link, metrics, None)
}

/// As [`start`], with somebody to tell of requests.
///
/// # Errors
/// As [`start`].
pub fn start_traced(
    config: &Config,
    link: Option<Arc<VaultLink>>,
    metrics: Arc<Metrics>,
    tracer: Option<Tracer>,
) -> Result<Running, StartError> {
    let gateway = config.gateway.as_ref().ok_or(StartError::NoGateway)?;
    let plan = tls_plan(gateway, &config.routes);
    let proxies = gateway.proxy_protocol.clone();
    let door = Door::new(plan, proxies, &config.limits, metrics.door.clone())?;
    let shared = Arc::new(share(config, link, metrics, tracer)?);
    let mut workers = Vec::with_capacity(gateway.workers.max(1));
    for _ in 0..gateway.workers.max(1) {
        workers.push(worker(gateway, &shared)?);
    }
    let mut listeners = Vec::with_capacity(gateway.listen.len());
    for &address in &gateway.listen {
        let bound = listen::bind(address);
        listeners.push(bound.map_err(|error| StartError::Listen { address, error })?);
    }
    shared.backends.watch();
    Ok(runtime::start(listeners, door, workers)?)
}

/// Which TLS files this gateway serves, under which names.
pub fn tls_plan(gateway: &config::Gateway, routes: &[config::Route]) -> Plan {
    let hosts = routes.iter().filter_map(|r| r.host.clone());
    Plan::of_gateway(gateway, hosts.collect(), serve::ALPN)
}

fn share(
    config: &Config,
    link: Option<Arc<VaultLink>>,
    metrics: Arc<Metrics>,
    tracer: Option<Tracer>,
) -> Result<Shared, StartError> {
    let routes = routes::Routes::new(&config.routes, |name| metrics.route(name));
    Ok(Shared {
        routes: routes.map_err(StartError::Route)?,
        limits: Arc::new(config.limits.clone()),
        unrouted: metrics.route("-"),
        hold: body::hold::HoldBudget::new(config.limits.hold_budget),
        restore: restore_budget::RestoreBudget::new(limits::RESTORE_PER_DAY),
        kinds: Arc::new(config.kinds.clone()),
        policies: config.policies.clone(),
        backends: upstream::Backends::new(&config.backends, &config.limits, &metrics)?,
        rules: rules(config, &metrics),
        tracer,
        metrics,
        link,
    })
}

/// Counters of the policies of requests. Those of answers restore what the request has brought.
fn rules(config: &Config, metrics: &Metrics) -> Vec<Option<Arc<RuleCounts>>> {
    let counted = |at: usize| {
        let mut routes = config.routes.iter();
        routes.any(|route| matches!(route.request, RequestBody::Policy(policy) if policy == at))
    };
    let policies = config.policies.iter().enumerate();
    policies
        .map(|(at, policy)| counted(at).then(|| metrics.policy(policy)))
        .collect()
}

fn worker(gateway: &config::Gateway, shared: &Arc<Shared>) -> Result<Worker, StartError> {
    Ok(Worker {
        upstreams: upstream::Upstreams::new(&shared.backends),
        shared: shared.clone(),
        access: AccessLog::new(gateway.access_log),
        mark: getrandom::u64().map_err(io::Error::other)?,
        requests: AtomicU64::new(0),
    })
}
