//! A gateway's metrics and admin addresses, and its traces: what is put together once the parts
//! exist.
//!
//! What enters: the configuration, the link, the counters. What leaves: listening addresses, a
//! tracer, and a token that says "drain". What can never happen: a status page that names a
//! client, a subject or a key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, RequestBody};
use crate::gateway::metrics::Metrics;
use crate::observe::admin::Admin;
use crate::observe::trace::{Tracer, export};
use crate::observe::{self, Door, Pages};
use crate::tls::server::{Versions, server_config};
use crate::tls::{Peer, Role};
use crate::vault_link::VaultLink;

/// What is watched from here on.
pub struct Watch {
    pub state: Arc<State>,
    /// Cancelled when somebody asks the gateway to drain.
    pub drain: CancellationToken,
    /// For the gateway; taken once.
    pub tracer: Option<Tracer>,
    exporter: Option<export::Exporter>,
    stop: CancellationToken,
}

/// How far the gateway's life has got.
#[derive(Default)]
pub struct State {
    pub serving: AtomicBool,
    pub draining: AtomicBool,
    pub addresses: OnceLock<Vec<SocketAddr>>,
}

impl State {
    fn name(&self) -> &'static str {
        match (self.draining.load(Relaxed), self.serving.load(Relaxed)) {
            (true, _) => "draining",
            (false, true) => "serving",
            (false, false) => "starting",
        }
    }
}

/// Listens, and begins to export traces.
///
/// # Errors
/// What cannot be listened on, or which file cannot be used.
pub async fn start(
    config: &Config,
    gateway: &config::Gateway,
    link: Option<&Arc<VaultLink>>,
    metrics: &Arc<Metrics>,
) -> Result<Watch, String> {
    let mut watch = Watch {
        state: Arc::default(),
        drain: CancellationToken::new(),
        tracer: None,
        exporter: None,
        stop: CancellationToken::new(),
    };
    let mut registry = metrics.registry();
    if let Some(link) = link {
        registry.register_collector(Box::new(link.page()));
    }
    if let Some(traces) = &gateway.traces {
        let (tracer, exporter) = export::start(traces);
        exporter.register(&mut registry);
        watch.tracer = Some(tracer);
        watch.exporter = Some(exporter);
    }
    let ready = ready(watch.state.clone(), link.cloned());
    let pages = Pages::new(registry, {
        let ready = ready.clone();
        move || std::future::ready(ready())
    });
    if let Some(address) = gateway.observe {
        let address = watch.listen(address, &pages, Door::Pages).await?;
        tracing::info!(%address, "metrics and health");
    }
    if let Some(admin) = &gateway.admin {
        let status = status(config, gateway, link, metrics, watch.state.clone(), ready);
        let status: Box<dyn Fn() -> Value + Send + Sync> = Box::new(status);
        let drain = watch.drain.clone();
        let door = door(admin, Arc::new(Admin { status, drain }))?;
        let address = watch.listen(admin.listen, &pages, door).await?;
        tracing::info!(%address, "admin");
    }
    Ok(watch)
}

impl Watch {
    async fn listen(
        &self,
        address: SocketAddr,
        pages: &Arc<Pages>,
        door: Door,
    ) -> Result<SocketAddr, String> {
        let (listener, bound) = observe::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let serving = observe::serve(listener, pages.clone(), door, self.stop.clone());
        tokio::spawn(serving);
        Ok(bound)
    }

    /// The gateway has ended: its last traces are sent, and nobody is answered any more.
    pub async fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
        self.stop.cancel();
    }
}

fn door(config: &config::Admin, admin: Arc<Admin>) -> Result<Door, String> {
    let Some(tls) = &config.tls else {
        return Ok(Door::Local(admin));
    };
    let tls = server_config(tls, Versions::Tls13, &[b"http/1.1"]).map_err(|e| e.to_string())?;
    Ok(Door::Mutual {
        tls: TlsAcceptor::from(tls),
        knows: |certificate| {
            Peer::from_certificate(certificate).is_ok_and(|peer| peer.role == Role::Custodian)
        },
        admin,
    })
}

fn ready(
    state: Arc<State>,
    link: Option<Arc<VaultLink>>,
) -> impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static {
    move || match &link {
        Some(link) if !link.ready() => Err("a domain has no lease yet".to_owned()),
        _ if state.name() != "serving" => Err("starting or stopping".to_owned()),
        _ => Ok(()),
    }
}

/// What `GET /status` shows (docs/observe.md).
fn status(
    config: &Config,
    gateway: &config::Gateway,
    link: Option<&Arc<VaultLink>>,
    metrics: &Arc<Metrics>,
    state: Arc<State>,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> impl Fn() -> Value + Send + Sync + 'static {
    let started = Instant::now();
    let (link, metrics) = (link.cloned(), metrics.clone());
    let routes: Vec<Value> = config.routes.iter().map(|r| route(config, r)).collect();
    let digest: String = config.digest.iter().map(|b| format!("{b:02x}")).collect();
    let file = config.file.display().to_string();
    let workers = gateway.workers;
    move || {
        let (requests, clients, backends) = metrics.totals();
        let leases = link.as_ref().map_or_else(Vec::new, |link| link.status());
        let domains: Vec<Value> = leases
            .iter()
            .map(|lease| {
                json!({
                    "domain": lease.domain,
                    "leased": lease.epoch.is_some(),
                    "epoch": lease.epoch,
                    "seconds_left": lease.seconds_left,
                    "durable_entries": lease.known,
                    "durable_bytes": lease.known_bytes,
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "uptime_seconds": started.elapsed().as_secs(),
            "state": state.name(),
            "ready": ready().is_ok(),
            "configuration": { "file": file, "sha256": digest },
            "listen": state.addresses.get(),
            "workers": workers,
            "log_level": observe::log::level(),
            "connections": { "client": clients, "backend": backends },
            "requests": requests,
            "routes": routes,
            "domains": domains,
        })
    }
}

fn route(config: &Config, route: &config::Route) -> Value {
    let policy = |at: usize| config.policies[at].name.as_str();
    json!({
        "name": route.name,
        "host": route.host,
        "path": route.path,
        "methods": route.methods,
        "backend": config.backends[route.backend].name,
        "domain": route.domain.map(|at| config.domains[at].name.as_str()),
        "request": match route.request {
            RequestBody::Policy(at) => policy(at),
            RequestBody::Opaque => "opaque",
            RequestBody::None => "none",
        },
        "response": route.response.name(),
        "stream": route.stream,
    })
}
