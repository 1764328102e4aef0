//! The gateway's world: listen → serve → exchange → upstream, and back.
//!
//! What enters: a checked configuration and the link to the vault. What leaves: a running
//! gateway. What can never happen: a byte of a request's body goes to a backend before the body
//! is rewritten and its recovery records are durable, or a failed body ends cleanly.
//!
//! | file | duty |
//! |---|---|
//! | [`runtime`] | threads, and what is shared between them |
//! | [`generation`], [`shared`] | one configuration at work, and the next |
//! | [`listen`] | sockets, the cap |
//! | [`door`] | who comes in: PROXY protocol, SNI, handshake; TLS files that change |
//! | [`egress`] | who wants out: CONNECT, certificates of the day, tunnels ([`here`]) |
//! | [`serve`] | one connection: ALPN, time-outs ([`clock`], [`coarse`]) |
//! | [`client`], [`rates`], [`frames`] | who asks, and how often; HTTP/2 floods |
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
pub mod client;
pub mod clock;
pub mod coarse;
pub mod door;
pub mod egress;
pub mod exchange;
pub mod frames;
pub mod generation;
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
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpListener;

use self::door::Door;
pub use self::listen::Inherited;
use self::listen::{Entrance, Spot};
use self::metrics::Metrics;
pub use self::runtime::{Control, Running};
use self::shared::Worker;
use crate::config::{self, Config, Transparent};
use crate::observe::access::AccessLog;
use crate::observe::trace::Tracer;
use crate::observe::writer;
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

/// What a gateway is given beside its configuration.
pub struct Parts<'a> {
    /// `None` only where no route has a domain.
    pub link: Option<Arc<VaultLink>>,
    pub metrics: Arc<Metrics>,
    /// Somebody to tell of requests.
    pub tracer: Option<Tracer>,
    /// Sockets that need not be made.
    pub inherited: &'a mut Inherited,
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
    let parts = Parts {
        link,
        metrics,
        tracer: None,
        inherited: &mut Inherited::default(),
    };
    start_with(config, parts)
}

/// As [`start`].
///
/// # Errors
/// As [`start`].
pub fn start_with(config: &Config, parts: Parts<'_>) -> Result<Running, StartError> {
    let Parts {
        link,
        metrics,
        tracer,
        inherited,
    } = parts;
    let gateway = config.gateway.as_ref().ok_or(StartError::NoGateway)?;
    // From here on there are threads, and none of them may wait for whoever reads the log.
    writer::start();
    let plan = tls_plan(gateway, &config.routes);
    let proxies = gateway.proxy_protocol.clone();
    let door = Door::new(plan, proxies, &config.limits, metrics.door.clone())?;
    let tracer = tracer.map(Arc::new);
    let next = generation::build(config, link, &metrics, tracer, &[])?;
    let mut workers = Vec::with_capacity(next.sites.len());
    for site in next.sites {
        let mark = getrandom::u64().map_err(io::Error::other)?;
        workers.push(Worker::new(site, AccessLog::new(gateway.access_log), mark));
    }
    let socket = |spot: Spot| match inherited.take(spot.1) {
        Some(socket) => Ok((spot, socket)),
        None => open(spot),
    };
    let sockets: Result<Vec<_>, _> = spots(gateway).into_iter().map(socket).collect();
    let sockets = sockets?;
    for (spot, socket) in &sockets {
        redirected(gateway, *spot, SockRef::from(socket))?;
    }
    let listeners = registered(sockets)?;
    next.backends.watch();
    metrics.upstream.show(&next.backends);
    Ok(runtime::start(listeners, door, workers)?)
}

/// Another configuration for a gateway at work: all of it, or nothing. Requests in flight finish
/// on the one that they began under. Called inside [`runtime::control`]. `link` must have the
/// leases that the new routes need: until it has, they answer 503.
///
/// What can only be set when a process starts (`gateway.workers`, addresses for metrics and
/// administration, traces, the access log) is not looked at here.
///
/// # Errors
/// What cannot be used; everything stays as it was.
pub async fn adopt(
    control: &Arc<Control>,
    config: &Arc<Config>,
    link: Option<Arc<VaultLink>>,
) -> Result<(), StartError> {
    let before: Vec<_> = control.workers().iter().map(|w| w.site()).collect();
    // Files are read: not on the thread that accepts.
    let (held, new) = (control.clone(), config.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        let gateway = new.gateway.as_ref().ok_or(StartError::NoGateway)?;
        let shared = &before[0].shared;
        let plan = tls_plan(gateway, &new.routes);
        plan.load()?.dated()?;
        let missing = held.missing(&spots(gateway));
        let sockets: Result<Vec<_>, _> = missing.into_iter().map(open).collect();
        let sockets = sockets?;
        for (spot, socket) in &sockets {
            redirected(gateway, *spot, SockRef::from(socket))?;
        }
        for (spot, socket) in held.spots() {
            redirected(gateway, spot, SockRef::from(&*socket))?;
        }
        let (metrics, tracer) = (&shared.metrics, shared.tracer.clone());
        let next = generation::build(&new, link, metrics, tracer, &before)?;
        // The last thing that can fail; from here on all is new.
        let proxies = &gateway.proxy_protocol;
        held.door().adopt(plan, proxies.clone(), &new.limits)?;
        Ok::<_, StartError>((next, sockets))
    });
    let (next, sockets) = prepared.await.map_err(io::Error::other)??;
    next.backends.watch();
    let metrics = &control.workers()[0].metrics;
    metrics.upstream.show(&next.backends);
    for (worker, site) in control.workers().iter().zip(next.sites) {
        worker.adopt(site);
    }
    control.cap().becomes(config.limits.connections);
    control.listen(registered(sockets)?);
    let wanted = config.gateway.as_ref().map(spots);
    control.close_others(&wanted.unwrap_or_default());
    Ok(())
}

type Opened = (Spot, std::net::TcpListener);

fn open(spot: Spot) -> Result<Opened, StartError> {
    let (_, address) = spot;
    match listen::bind(address) {
        Ok(socket) => Ok((spot, socket)),
        Err(error) => Err(StartError::Listen { address, error }),
    }
}

/// Where a gateway listens.
fn spots(gateway: &config::Gateway) -> Vec<Spot> {
    let door = gateway.listen.iter().map(|a| (Entrance::Door, *a));
    let egress = gateway.egress.iter().flat_map(|egress| &egress.listen);
    door.chain(egress.map(|a| (Entrance::Egress, *a))).collect()
}

/// Lets a socket take what is redirected to it, where that is wanted.
fn redirected(
    gateway: &config::Gateway,
    (entrance, address): Spot,
    socket: SockRef<'_>,
) -> Result<(), StartError> {
    if entrance == Entrance::Egress || gateway.transparent != Some(Transparent::Tproxy) {
        return Ok(());
    }
    let made = upstream::original::make_transparent(&socket, address);
    made.map_err(StartError::Transparent)
}

/// With the runtime that accepts.
fn registered(sockets: Vec<Opened>) -> io::Result<Vec<(Spot, TcpListener)>> {
    let one = |(spot, socket)| Ok((spot, TcpListener::from_std(socket)?));
    sockets.into_iter().map(one).collect()
}

/// Which TLS files this gateway serves, under which names.
pub fn tls_plan(gateway: &config::Gateway, routes: &[config::Route]) -> Plan {
    // Hosts outside have certificates of their own, made when they are asked for.
    let outside = |host: &String| gateway.egress.as_ref().is_some_and(|e| e.opens(host));
    let hosts = routes.iter().filter_map(|r| r.host.clone());
    let hosts = hosts.filter(|host| !outside(host));
    Plan::of_gateway(gateway, hosts.collect(), serve::ALPN)
}
