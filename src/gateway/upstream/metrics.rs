//! What is counted of backends, and what is shown of their state.
//!
//! What enters: events. What leaves: Prometheus families. What can never happen: a label that
//! says more than a backend's name and the position of an address in its `urls`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::backend::{Backend, Backends};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UrlLabel {
    backend: String,
    url: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabel {
    backend: String,
    reason: &'static str,
}

/// Why a request was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// An address could not be connected to; another one was tried.
    Connect,
    /// The connection ended before anything was written.
    Unsent,
    /// It ended before an answer began; the request may be sent twice.
    Broken,
    /// No answer in `attempt_time`; the request may be sent twice.
    Slow,
}

const REASONS: [&str; 4] = ["connect", "unsent", "broken", "slow"];

#[derive(Default)]
pub struct UpstreamMetrics {
    ejections: Family<UrlLabel, Counter>,
    connect_failed: Family<UrlLabel, Counter>,
    checks_failed: Family<UrlLabel, Counter>,
    retries: Family<RetryLabel, Counter>,
    retries_refused: Family<BackendLabel, Counter>,
    circuit_opened: Family<BackendLabel, Counter>,
    pub opened: Counter,
    pub reused: Counter,
    now: Shown,
}

/// One backend's counters, looked up once.
pub struct Counters {
    pub targets: Vec<TargetCounters>,
    retries: [Counter; REASONS.len()],
    /// By the budget.
    pub retries_refused: Counter,
    pub circuit_opened: Counter,
    /// Connections made, and taken from the pool: of all backends.
    pub opened: Counter,
    pub reused: Counter,
}

pub struct TargetCounters {
    pub ejections: Counter,
    pub connect_failed: Counter,
    pub checks_failed: Counter,
}

impl Counters {
    pub fn again(&self, why: Again) {
        self.retries[why as usize].inc();
    }
}

impl UpstreamMetrics {
    /// The counters of a backend with so many addresses.
    pub fn of(&self, name: &str, addresses: usize) -> Counters {
        let backend = || name.to_owned();
        let label = BackendLabel { backend: backend() };
        let target = |url: usize| {
            let label = UrlLabel {
                backend: backend(),
                url: url as u32,
            };
            TargetCounters {
                ejections: self.ejections.get_or_create(&label).clone(),
                connect_failed: self.connect_failed.get_or_create(&label).clone(),
                checks_failed: self.checks_failed.get_or_create(&label).clone(),
            }
        };
        let retries = REASONS.map(|reason| RetryLabel {
            backend: backend(),
            reason,
        });
        Counters {
            targets: (0..addresses).map(target).collect(),
            retries: retries.map(|label| self.retries.get_or_create(&label).clone()),
            retries_refused: self.retries_refused.get_or_create(&label).clone(),
            circuit_opened: self.circuit_opened.get_or_create(&label).clone(),
            opened: self.opened.clone(),
            reused: self.reused.clone(),
        }
    }

    /// From now on, the state of these is shown.
    pub fn show(&self, backends: &Arc<Backends>) {
        *self.now.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(backends);
    }

    /// How all backends stand now.
    pub fn standing(&self) -> Vec<Standing> {
        let backends = self.now.backends();
        let all = backends.iter().flat_map(|backends| backends.iter());
        all.map(|backend| Standing {
            name: backend.name.clone(),
            up: backend.targets.iter().map(|t| t.is_in()).collect(),
            in_flight: backend.requests.inside(),
            waiting: backend.requests.waiting(),
            circuit_open: !backend.circuit.is_closed(),
        })
        .collect()
    }

    pub fn register(&self, r: &mut Registry) {
        r.register(
            "upstream_opened",
            "Backend connections",
            self.opened.clone(),
        );
        r.register("upstream_reused", "From the pool", self.reused.clone());
        r.register(
            "backend_ejections",
            "Addresses put out for failing requests",
            self.ejections.clone(),
        );
        r.register(
            "backend_connects_failed",
            "Connections that could not be made",
            self.connect_failed.clone(),
        );
        r.register(
            "backend_checks_failed",
            "Health checks not passed",
            self.checks_failed.clone(),
        );
        r.register(
            "backend_retries",
            "Requests tried again",
            self.retries.clone(),
        );
        r.register(
            "backend_retries_refused",
            "Retries beyond the budget",
            self.retries_refused.clone(),
        );
        r.register(
            "backend_circuit_opened",
            "Backends left alone",
            self.circuit_opened.clone(),
        );
        r.register_collector(Box::new(self.now.clone()));
    }
}

/// How a backend stands, as `/status` shows it.
#[derive(Serialize)]
pub struct Standing {
    #[serde(rename = "backend")]
    pub name: String,
    /// Of each address in the order of `urls`: whether requests go there.
    pub up: Vec<bool>,
    pub in_flight: usize,
    pub waiting: usize,
    /// Left alone, or being probed.
    pub circuit_open: bool,
}

/// A gauge: name, help, and how its value is found.
type OfUrl = (&'static str, &'static str, fn(&Backend, usize) -> i64);
type OfBackend = (&'static str, &'static str, fn(&Backend) -> i64);

/// The state is asked for when the page is.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Weak<Backends>>>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    fn backends(&self) -> Option<Arc<Backends>> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.upgrade()
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Some(backends) = self.backends() else {
            return Ok(());
        };
        let each: [OfUrl; 3] = [
            (
                "backend_up",
                "1: requests go to this address",
                |backend, at| i64::from(backend.targets[at].is_in()),
            ),
            (
                "backend_requests",
                "Requests in flight to an address now",
                |backend, at| number(backend.targets[at].in_flight.load(Relaxed)),
            ),
            (
                "backend_connections",
                "Connections to an address now",
                |backend, at| number(backend.targets[at].open.load(Relaxed)),
            ),
        ];
        for (name, help, value) in each {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for backend in backends.iter() {
                for at in 0..backend.targets.len() {
                    let label = UrlLabel {
                        backend: backend.name.clone(),
                        url: at as u32,
                    };
                    ConstGauge::new(value(backend, at)).encode(family.encode_family(&label)?)?;
                }
            }
        }
        let whole: [OfBackend; 2] = [
            (
                "backend_waiting",
                "Requests that wait for a place",
                |backend| number(backend.requests.waiting()),
            ),
            (
                "backend_circuit_open",
                "1: left alone, or being probed",
                |backend| i64::from(!backend.circuit.is_closed()),
            ),
        ];
        for (name, help, value) in whole {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for backend in backends.iter() {
                let label = BackendLabel {
                    backend: backend.name.clone(),
                };
                ConstGauge::new(value(backend)).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
