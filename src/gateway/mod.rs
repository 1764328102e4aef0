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
//! | [`egress`] | who wants out: CONNECT, certificates of the day, tunnels ([`here`]) |
//! | [`serve`] | one connection: ALPN, time-outs ([`clock`], [`coarse`]) |
//! | [`frames`], [`rates`] | HTTP/2 floods, requests of a client |
//! | [`exchange`] | **the way of one request** |
//! | [`head`], [`routes`], [`query`], [`plan`] | trust, route, grant |
//! | [`headers`] | what passes, what is made anew |
//! | [`body`] | hold, stream, break off |
//! | [`upstream`] | backends: pools, health, limits, retries |
//! | [`respond`] | the way back, `restore-own` ([`restore_budget`]) |
//! | [`rescue`] | the one place where a fault becomes an answer |
//! | [`socket`] | a socket that resets unless its message was delivered |
//! | [`story`], [`metrics`], [`trace`] | what is remembered, counted and told |

pub mod body;
pub mod clock;
pub mod coarse;
pub mod door;
pub mod egress;
pub mod exchange;
pub mod frames;
pub mod head;
pub mod headers;
pub mod here;
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

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use socket2::SockRef;

use self::door::Door;
use self::listen::Entrance;
use self::metrics::Metrics;
pub use self::runtime::Running;
use self::shared::{Shared, Worker};
use crate::config::{self, Config, RequestBody, Transparent};
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
    #[error(
        "this process may not use other machines' addresses ({0}), which `transparent = \"tproxy\"` and `source = \"client\"` need: give it CAP_NET_RAW, as docs/transparent.md shows"
    )]
    Transparent(io::Error),
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
    let outward = gateway.egress.iter().flat_map(|egress| &egress.listen);
    let all = gateway.listen.iter().map(|a| (Entrance::Door, *a));
    let mut listeners = Vec::with_capacity(gateway.listen.len());
    for (entrance, address) in all.chain(outward.map(|a| (Entrance::Egress, *a))) {
        let bound = listen::bind(address);
        let listener = bound.map_err(|error| StartError::Listen { address, error })?;
        if entrance == Entrance::Door && gateway.transparent == Some(Transparent::Tproxy) {
            let socket = SockRef::from(&listener);
            let made = upstream::original::make_transparent(&socket, address);
            made.map_err(StartError::Transparent)?;
        }
        listeners.push((entrance, listener));
    }
    shared.backends.watch();
    Ok(runtime::start(listeners, door, workers)?)
}

/// Which TLS files this gateway serves, under which names.
pub fn tls_plan(gateway: &config::Gateway, routes: &[config::Route]) -> Plan {
    // Hosts outside have certificates of their own, made when they are asked for.
    let outside = |host: &String| gateway.egress.as_ref().is_some_and(|e| e.opens(host));
    let hosts = routes.iter().filter_map(|r| r.host.clone());
    let hosts = hosts.filter(|host| !outside(host));
    Plan::of_gateway(gateway, hosts.collect(), serve::ALPN)
}

fn share(
    config: &Config,
    link: Option<Arc<VaultLink>>,
    metrics: Arc<Metrics>,
    tracer: Option<Tracer>,
) -> Result<Shared, StartError> {
    let gateway = config.gateway.as_ref().ok_or(StartError::NoGateway)?;
    let routes = routes::Routes::new(&config.routes, |name| metrics.route(name));
    let outward = |host: &str| gateway.egress.as_ref().is_some_and(|e| e.opens(host));
    may_keep_sources(config)?;
    Ok(Shared {
        routes: routes.map_err(StartError::Route)?.outward(outward),
        transparent: gateway.transparent,
        egress: egress::Egress::new(gateway, &metrics.egress)?,
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

/// Whether connections can come from clients' addresses, where they are to: known at the start,
/// and not by the first client.
fn may_keep_sources(config: &Config) -> Result<(), StartError> {
    let keeps = |b: &config::Backend| b.original.as_ref().is_some_and(|o| o.keep_source);
    if !config.backends.iter().any(keeps) {
        return Ok(());
    }
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let may = upstream::original::make_transparent(&SockRef::from(&socket), any);
    may.map_err(StartError::Transparent)
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
