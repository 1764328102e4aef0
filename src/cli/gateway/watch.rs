//! A gateway's metrics and admin addresses, and its traces: what is put together once the parts
//! exist.
//!
//! What enters: the configuration, the link, the counters. What leaves: listening addresses, a
//! tracer, and a token that says "drain". What can never happen: a status page that names a
//! client, a subject or a key.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, RequestBody};
use crate::gateway::metrics::Metrics;
use crate::gateway::{Control, Inherited};
use crate::limits;
use crate::observe::admin::{Admin, AskedReload};
use crate::observe::trace::{Tracer, export};
use crate::observe::{self, Door, Pages};
use crate::tls::reload::{Plan, Reloadable};
use crate::tls::server::Versions;
use crate::tls::{self, Peer, Role};
use crate::vault_link::spool::SpoolStatus;
use crate::vault_link::{Boot, Current};

/// What is watched from here on.
pub struct Watch {
    pub state: Arc<State>,
    /// Cancelled when somebody asks the gateway to drain.
    pub drain: CancellationToken,
    /// Those who ask for a reload.
    pub reloads: mpsc::Receiver<AskedReload>,
    /// The sockets listened on, for a process that takes over.
    pub sockets: Vec<OwnedFd>,
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
    pub control: OnceLock<Arc<Control>>,
    shown: ArcSwapOption<Shown>,
    pub reloads: Reloads,
}

/// What a status page shows of a configuration.
struct Shown {
    file: String,
    digest: String,
    routes: Vec<Value>,
}

/// What came of reloads.
#[derive(Clone, Default)]
pub struct Reloads {
    pub done: Counter,
    pub refused: Counter,
    /// When the configuration that is served was read: seconds since 1970.
    pub loaded: Gauge,
}

impl Reloads {
    fn register(&self, registry: &mut Registry) {
        let what = "Configurations read again and served since";
        registry.register("reloads", what, self.done.clone());
        let what = "Configurations read again and refused";
        registry.register("reloads_refused", what, self.refused.clone());
        let what = "When the configuration that is served was read";
        registry.register("configuration_seconds", what, self.loaded.clone());
    }
}

impl State {
    fn name(&self) -> &'static str {
        match (self.draining.load(Relaxed), self.serving.load(Relaxed)) {
            (true, _) => "draining",
            (false, true) => "serving",
            (false, false) => "starting",
        }
    }

    /// This one is served from now on.
    pub fn shows(&self, config: &Config) {
        self.reloads.loaded.set(tls::now());
        self.shown.store(Some(Arc::new(Shown {
            file: config.file.display().to_string(),
            digest: config.digest.iter().map(|b| format!("{b:02x}")).collect(),
            routes: config.routes.iter().map(|r| route(config, r)).collect(),
        })));
    }

    /// File and digest of the configuration that is served.
    pub fn configuration(&self) -> Value {
        let shown = self.shown.load();
        let shown = shown.as_deref();
        shown.map_or(
            Value::Null,
            |s| json!({ "file": s.file, "sha256": s.digest }),
        )
    }
}

/// Listens, and begins to export traces.
///
/// # Errors
/// What cannot be listened on, or which file cannot be used.
pub async fn start(
    config: &Config,
    gateway: &config::Gateway,
    (boot, link): (&Boot, &Current),
    metrics: &Arc<Metrics>,
    inherited: &mut Inherited,
) -> Result<Watch, String> {
    // One asks, one is being answered: whoever comes third waits.
    let (asks, reloads) = mpsc::channel(1);
    let mut watch = Watch {
        state: Arc::default(),
        drain: CancellationToken::new(),
        reloads,
        sockets: Vec::new(),
        tracer: None,
        exporter: None,
        stop: CancellationToken::new(),
    };
    watch.state.shows(config);
    let mut registry = metrics.registry();
    registry.register_collector(Box::new(boot.page(link.clone())));
    watch.state.reloads.register(&mut registry);
    if let Some(traces) = &gateway.traces {
        let (tracer, exporter) = export::start(traces);
        exporter.register(&mut registry);
        watch.tracer = Some(tracer);
        watch.exporter = Some(exporter);
    }
    let ready = ready(watch.state.clone(), link.clone(), boot.clone());
    let pages = Pages::new(registry, {
        let ready = ready.clone();
        move || std::future::ready(ready())
    });
    if let Some(address) = gateway.observe {
        let address = watch
            .listen(address, inherited, &pages, Door::Pages)
            .await?;
        tracing::info!(%address, "metrics and health");
    }
    if let Some(admin) = &gateway.admin {
        let status = status(gateway, (boot, link), metrics, watch.state.clone(), ready);
        let status: Box<dyn Fn() -> Value + Send + Sync> = Box::new(status);
        let drain = watch.drain.clone();
        let reload = asks;
        let admin_of = Admin {
            status,
            drain,
            reload,
        };
        let door = door(admin, Arc::new(admin_of), &watch.stop)?;
        let address = watch.listen(admin.listen, inherited, &pages, door).await?;
        tracing::info!(%address, "admin");
    }
    Ok(watch)
}

impl Watch {
    async fn listen(
        &mut self,
        address: SocketAddr,
        inherited: &mut Inherited,
        pages: &Arc<Pages>,
        door: Door,
    ) -> Result<SocketAddr, String> {
        let wrong = |error| format!("cannot listen on {address}: {error}");
        let (listener, bound) = match inherited.take(address) {
            Some(socket) => (TcpListener::from_std(socket).map_err(wrong)?, address),
            None => observe::bind(address).await.map_err(wrong)?,
        };
        let socket = listener.as_fd().try_clone_to_owned().map_err(wrong)?;
        self.sockets.push(socket);
        let serving = observe::serve(listener, pages.clone(), door, self.stop.clone());
        tokio::spawn(serving);
        Ok(bound)
    }

    /// Another process answers on these addresses from now on.
    pub fn leave_addresses(&mut self) {
        self.stop.cancel();
    }

    /// The gateway has ended: its last traces are sent, and nobody is answered any more.
    pub async fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
        self.stop.cancel();
    }
}

fn door(
    config: &config::Admin,
    admin: Arc<Admin>,
    stop: &CancellationToken,
) -> Result<Door, String> {
    let Some(tls) = &config.tls else {
        return Ok(Door::Local(admin));
    };
    let served = Reloadable::new(Plan {
        tls: tls.clone(),
        certificates: Vec::new(),
        hosts: Vec::new(),
        sni_required: false,
        versions: Versions::Tls13,
        alpn: vec![b"http/1.1".to_vec()],
    });
    let served = Arc::new(served.map_err(|e| e.to_string())?);
    tokio::spawn(follow(served.clone(), stop.clone()));
    Ok(Door::Mutual {
        tls: Arc::new(move || served.current().config.clone()),
        knows: |certificate| {
            Peer::from_certificate(certificate).is_ok_and(|peer| peer.role == Role::Custodian)
        },
        admin,
    })
}

/// Reads the admin address's TLS files again whenever they have changed.
async fn follow(tls: Arc<Reloadable>, stop: CancellationToken) {
    let mut changes = tls.changes();
    let mut tick = tokio::time::interval(limits::TLS_FILES_TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if !changes.is_due(tls.stamps()) {
            continue;
        }
        let tls = tls.clone();
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(_)) => tracing::info!("the admin address has new TLS files"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the admin address goes on with the TLS files it had");
            }
            Err(_) => {}
        }
    }
}

/// Ready, and a line for each spool; or why not.
fn ready(
    state: Arc<State>,
    link: Current,
    boot: Boot,
) -> impl Fn() -> Result<String, String> + Clone + Send + Sync + 'static {
    move || {
        let spools = boot.spools();
        let lines: String = spools.iter().map(|s| s.line() + "\n").collect();
        let not = match &*link.load() {
            Some(link) if !link.ready() => "a domain has no lease yet",
            _ if state.name() != "serving" => "starting or stopping",
            _ if spools.iter().any(|s| s.stale) => "a spool is stale",
            _ => return Ok(lines),
        };
        // The page ends it with a line feed.
        Err(format!("{not}\n{lines}").trim_end().to_owned())
    }
}

/// What `GET /status` shows (docs/observe.md).
fn status(
    gateway: &config::Gateway,
    (boot, link): (&Boot, &Current),
    metrics: &Arc<Metrics>,
    state: Arc<State>,
    ready: impl Fn() -> Result<String, String> + Send + Sync + 'static,
) -> impl Fn() -> Value + Send + Sync + 'static {
    let started = Instant::now();
    let (boot, link, metrics) = (boot.clone(), link.clone(), metrics.clone());
    let workers = gateway.workers;
    move || {
        let (requests, clients, backends) = metrics.totals();
        let leases = (link.load().as_ref()).map_or_else(Vec::new, |link| link.status());
        let shown = state.shown.load();
        let routes = shown.as_ref().map_or(&[][..], |shown| &shown.routes);
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
            "configuration": state.configuration(),
            "listen": state.control.get().map(|control| control.addresses()),
            "workers": workers,
            "log_level": observe::log::level(),
            "connections": { "client": clients, "backend": backends },
            "requests": requests,
            "routes": routes,
            "backends": metrics.upstream.standing(),
            "domains": domains,
            "spools": boot.spools().iter().map(spool).collect::<Vec<_>>(),
        })
    }
}

fn spool(spool: &SpoolStatus) -> Value {
    json!({
        "domain": spool.domain,
        "bytes": spool.bytes,
        "max_bytes": spool.bounds.map(|b| b.max_bytes),
        "records": spool.records,
        "oldest_seconds": spool.oldest.as_secs(),
        "max_staleness_seconds": spool.bounds.map(|b| b.max_staleness.as_secs()),
        "stale": spool.stale,
        "full": spool.full,
        "kept_aside": spool.aside,
    })
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
