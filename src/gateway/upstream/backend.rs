//! What a gateway knows of its backends: one place for all workers.
//!
//! What enters: the checked configuration; how requests and checks have ended. What leaves: which
//! address a request should try, and whether it may. What can never happen: two workers differ in
//! what they hold to be healthy, or this outlives the configuration that it was built from.
//!
//! [`Backends`] is built from a configuration, and lasts as long as requests on it. The next one
//! takes over, as they are, the backends that stand there with the same words and the same TLS
//! files: what has been learned of them, and their connections, outlast a reload.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::circuit::Circuit;
use super::connect::{Endpoint, endpoints};
use super::ejection::Ejections;
use super::gate::Gate;
use super::metrics::Counters;
use super::original::Outgoing;
use super::pool::Pool;
use super::retry::Budget;
use super::shares::Shares;
use super::{health, names};
use crate::config;
use crate::gateway::metrics::Metrics;
use crate::tls::{self, TlsError};

/// All backends of one configuration.
pub struct Backends(Vec<Arc<Tended>>);

/// A backend, and whoever asks and looks up for it, as long as a configuration has it.
struct Tended {
    backend: Arc<Backend>,
    origin: Origin,
    is_watched: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What a backend was built from.
#[derive(PartialEq)]
struct Origin {
    config: config::Backend,
    connect_time: Duration,
    files: [u8; 32],
}

/// One backend, as all workers see it.
pub struct Backend {
    pub name: String,
    pub care: config::Care,
    /// Its connections are shared by many requests.
    pub http2: bool,
    /// Connecting, TLS included, over all addresses together.
    pub connect_time: Duration,
    pub targets: Vec<Target>,
    /// Requests, from their place to the last byte of their answer.
    pub requests: Gate,
    pub shares: Shares,
    pub connections: Gate,
    pub circuit: Circuit,
    pub budget: Budget,
    pub counters: Counters,
    pub metrics: Arc<Metrics>,
    /// It is where its clients meant to go.
    pub original: Option<config::Original>,
    pub outgoing: Outgoing,
    ejections: Ejections,
    /// Of every worker: for whoever needs a connection's place that another keeps idle.
    pools: Mutex<Vec<Weak<Pool>>>,
}

/// One address of a backend.
pub struct Target {
    pub endpoint: Endpoint,
    /// Requests that have chosen it and not ended.
    pub in_flight: AtomicUsize,
    /// Connections.
    pub open: AtomicUsize,
    /// Requests in a row that failed.
    failures: AtomicU32,
    /// Why no request should go there; 0: it should.
    out: AtomicU8,
}

/// Bits of [`Target::out`].
const EJECTED: u8 = 1;
const UNHEALTHY: u8 = 2;

impl Backends {
    /// `before`: what is used now; backends that have not changed are taken over.
    ///
    /// # Errors
    /// A CA, certificate or key file that cannot be used.
    pub fn new(
        backends: &[config::Backend],
        limits: &config::Limits,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, TlsError> {
        let tended = |backend| Tended::new(backend, limits, metrics, before);
        let all: Result<_, _> = backends.iter().map(tended).collect();
        Ok(Arc::new(Self(all?)))
    }

    /// Begins to ask and to look up for those for whom nobody does yet, once for the whole
    /// gateway: in the control runtime. It ends with the last configuration that has the backend.
    pub fn watch(&self) {
        self.0.iter().for_each(|tended| tended.watch());
    }

    /// As configured.
    pub fn name(&self, backend: usize) -> Option<&String> {
        self.0.get(backend).map(|tended| &tended.backend.name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.0.iter().map(|tended| &tended.backend)
    }
}

impl Tended {
    fn new(
        config: &config::Backend,
        limits: &config::Limits,
        metrics: &Arc<Metrics>,
        before: Option<&Backends>,
    ) -> Result<Arc<Self>, TlsError> {
        let identity = config.identity.iter().flat_map(|(one, two)| [one, two]);
        let origin = Origin {
            config: config.clone(),
            connect_time: limits.connect_time,
            files: tls::contents(config.ca.iter().chain(identity).map(|f| f.as_path()))?,
        };
        let mut known = before.iter().flat_map(|before| &before.0);
        if let Some(same) = known.find(|tended| tended.origin == origin) {
            return Ok(same.clone());
        }
        Ok(Arc::new(Self {
            backend: Arc::new(Backend::new(config, limits, metrics)?),
            origin,
            is_watched: AtomicBool::new(false),
            tasks: Mutex::default(),
        }))
    }

    fn watch(&self) {
        if self.is_watched.swap(true, Relaxed) {
            return;
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, target) in self.backend.targets.iter().enumerate() {
            if let Some(rules) = self.backend.care.health.clone() {
                let check = health::watch(self.backend.clone(), at, rules);
                tasks.push(tokio::spawn(check).abort_handle());
            }
            if !target.endpoint.names.is_fixed() {
                let follow = names::follow(self.backend.clone(), at);
                tasks.push(tokio::spawn(follow).abort_handle());
            }
        }
    }
}

impl Drop for Tended {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Backend {
    fn new(
        config: &config::Backend,
        limits: &config::Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let targets: Vec<_> = endpoints(config)?.into_iter().map(Target::new).collect();
        let care = config.care.clone();
        // HTTP/1.1: one exchange a connection; more could not go on at once.
        let places = match config.http2 {
            true => care.max_requests,
            false => care.max_requests.min(care.max_connections),
        };
        Ok(Self {
            http2: config.http2,
            name: config.name.clone(),
            connect_time: limits.connect_time,
            requests: Gate::new(places, care.max_waiting),
            shares: Shares::new(places, care.max_requests_per_client),
            // Only requests that have a place wait here.
            connections: Gate::new(care.max_connections, usize::MAX),
            circuit: Circuit::new(care.circuit),
            budget: Budget::default(),
            counters: metrics.upstream.of(&config.name, targets.len()),
            ejections: Ejections::new(care.ejection, targets.len()),
            pools: Mutex::default(),
            metrics: metrics.clone(),
            original: config.original.clone(),
            outgoing: Outgoing::default(),
            targets,
            care,
        })
    }

    /// The less loaded of two addresses taken at random (Mitzenmacher, "The power of two choices
    /// in randomized load balancing", 2001), among those that are in and not `tried` (a bit each).
    /// Where none is left, one that is out; where all were tried, any.
    pub fn choose(&self, tried: u64, random: u64) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        let (mut all, mut well) = (0, 0);
        for (at, target) in self.targets.iter().enumerate() {
            all |= 1_u64 << at;
            well |= u64::from(target.is_in()) << at;
        }
        let among = [well & !tried, all & !tried, well];
        let among = among.into_iter().find(|&set| set != 0).unwrap_or(all);
        let count = among.count_ones();
        let one = nth(among, random as u32 % count);
        if count == 1 {
            return one;
        }
        let rest = among & !(1 << one);
        let other = nth(rest, (random >> 32) as u32 % (count - 1));
        let load = |at: usize| self.targets[at].in_flight.load(Relaxed);
        if load(other) < load(one) { other } else { one }
    }

    /// An answer's head has come from this address.
    pub fn answered(self: &Arc<Self>, target: usize, status: StatusCode) {
        if self.circuit.answered() {
            tracing::info!(backend = self.name, "circuit closed");
        }
        if matches!(status.as_u16(), 502..=504) {
            self.failed(target);
        } else {
            let failures = &self.targets[target].failures;
            if failures.load(Relaxed) != 0 {
                failures.store(0, Relaxed);
            }
        }
    }

    /// A request has failed at this address: no connection, no answer, or one that says so.
    pub fn failed(self: &Arc<Self>, target: usize) {
        let one = &self.targets[target];
        let failures = one.failures.fetch_add(1, Relaxed).saturating_add(1);
        let Some(time) = self.ejections.eject(target, failures) else {
            return;
        };
        one.out.fetch_or(EJECTED, Relaxed);
        self.counters.targets[target].ejections.inc();
        tracing::warn!(
            backend = self.name,
            url = target,
            seconds = time.as_secs_f32(),
            "address ejected"
        );
        let me = Arc::downgrade(self);
        let back = async move {
            tokio::time::sleep(time).await;
            if let Some(me) = me.upgrade() {
                me.take_back(target);
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(back)),
            // The process ends: nobody will ask.
            Err(_) => self.take_back(target),
        }
    }

    /// No address has answered a request.
    pub fn unanswered(&self) {
        if self.circuit.failed() {
            self.counters.circuit_opened.inc();
            tracing::warn!(backend = self.name, "circuit open");
        }
    }

    fn take_back(&self, target: usize) {
        self.ejections.take_back(target);
        let one = &self.targets[target];
        one.failures.store(0, Relaxed);
        one.out.fetch_and(!EJECTED, Relaxed);
        tracing::info!(backend = self.name, url = target, "address taken back");
    }

    /// What the checks say of an address.
    pub fn is_healthy(&self, target: usize, healthy: bool) {
        let out = &self.targets[target].out;
        let before = if healthy {
            out.fetch_and(!UNHEALTHY, Relaxed)
        } else {
            out.fetch_or(UNHEALTHY, Relaxed)
        };
        if healthy != (before & UNHEALTHY == 0) {
            tracing::warn!(backend = self.name, url = target, healthy, "health");
        }
    }

    pub fn joins(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|p| p.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Closes a connection that some worker keeps idle, so that its place becomes free.
    pub fn reclaim(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for pool in pools.iter().filter_map(Weak::upgrade) {
            if pool.close_one() {
                return;
            }
        }
    }
}

impl Target {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            in_flight: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            out: AtomicU8::new(0),
        }
    }

    /// Neither ejected nor unhealthy.
    pub fn is_in(&self) -> bool {
        self.out.load(Relaxed) == 0
    }
}

/// The position of the `n`th bit of a set that has more than `n`.
fn nth(mut set: u64, n: u32) -> usize {
    for _ in 0..n {
        set &= set - 1;
    }
    set.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    const TIME: Duration = Duration::from_millis(50);

    fn backend(addresses: usize) -> Arc<Backend> {
        let urls = (0..addresses).map(|n| config::BackendUrl {
            https: false,
            host: "127.0.0.1".to_owned(),
            port: 1000 + n as u16,
        });
        let config = config::Backend {
            name: "there".to_owned(),
            urls: urls.collect(),
            region: None,
            ca: None,
            server_name: None,
            identity: None,
            http2: false,
            care: config::Care {
                ejection: config::Ejection {
                    time: TIME,
                    ..config::Care::default().ejection
                },
                ..config::Care::default()
            },
            original: None,
        };
        let metrics = Arc::new(Metrics::new());
        let backend = Backend::new(&config, &config::Limits::default(), &metrics);
        Arc::new(backend.unwrap())
    }

    #[test]
    fn the_less_loaded_of_two_that_are_in_and_untried() {
        let backend = backend(4);
        let chosen = |tried: u64| {
            let mut seen = [0; 4];
            let mut random = 1;
            for _ in 0..1000 {
                random = super::super::pool::next_random(random);
                seen[backend.choose(tried, random)] += 1;
            }
            seen
        };
        // Of equals, each.
        assert!(chosen(0).iter().all(|&n| n > 150), "{:?}", chosen(0));
        // The most loaded one is never the less loaded of two.
        backend.targets[2].in_flight.store(9, Relaxed);
        let seen = chosen(0);
        assert!(seen[2] == 0 && seen[0] > 200, "{seen:?}");
        // Who is out is not asked, as long as others are in and untried.
        backend.is_healthy(0, false);
        let seen = chosen(0);
        assert!(seen[0] == 0 && seen[2] == 0, "{seen:?}");
        assert!(chosen(0b1010)[2] == 1000);
        assert!(chosen(0b1110)[0] == 1000);
        assert!(chosen(0b1111)[0] == 0);
        for target in 1..4 {
            backend.is_healthy(target, false);
        }
        assert!(chosen(0)[0] > 200, "where all are out, any");
    }

    #[tokio::test]
    async fn an_address_that_fails_is_ejected_and_comes_back() {
        let backend = backend(2);
        let fails = |times| (0..times).for_each(|_| backend.failed(1));
        fails(limits::EJECTION_FAILURES - 1);
        backend.answered(1, StatusCode::NOT_FOUND);
        fails(limits::EJECTION_FAILURES - 1);
        assert!(backend.targets[1].is_in(), "not in a row");
        backend.answered(1, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!backend.targets[1].is_in());
        // A check that is passed does not end it.
        backend.is_healthy(1, true);
        assert!(!backend.targets[1].is_in());
        (0..99).for_each(|_| backend.failed(0));
        assert!(backend.targets[0].is_in(), "half may be out");
        let out = std::time::Instant::now();
        while !backend.targets[1].is_in() {
            assert!(out.elapsed() < 100 * TIME, "it never comes back");
            tokio::task::yield_now().await;
        }
    }
}
