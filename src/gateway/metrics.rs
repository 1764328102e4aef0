//! What the gateway counts, with typed labels.
//!
//! What enters: route names, codes, sizes. What leaves: a Prometheus registry. What can never
//! happen: a label that a message chose (labels are route names, rules, codes and classes only),
//! or a lock taken for a request.

mod route;
mod rules;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::route::RouteTable;
pub use self::route::{RouteMetrics, Sample};
use self::rules::RuleTable;
use super::handshake::Reason;
use crate::policy::Policy;
use crate::rewrite::tally::RuleCounts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    /// `client` or `backend`.
    side: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Every family, and what belongs to no route.
pub struct Metrics {
    routes: Arc<RouteTable>,
    rules: Arc<RuleTable>,
    open: Family<PeerLabel, Gauge>,
    handshakes_failed: Family<ReasonLabel, Counter>,
    /// Client connections.
    pub connections: Gauge,
    backend_connections: Gauge,
    pub connections_refused: Counter,
    pub upstream_opened: Counter,
    pub upstream_reused: Counter,
    pub hold_waits: Counter,
}

/// A connection, counted as open until this is dropped.
pub struct OpenConnection(Gauge);

impl OpenConnection {
    pub fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let open: Family<PeerLabel, Gauge> = Family::default();
        let side = |side| open.get_or_create_owned(&PeerLabel { side });
        let handshakes_failed: Family<ReasonLabel, Counter> = Family::default();
        for reason in Reason::ALL {
            let reason = reason.name();
            // Each is there from the beginning, so that its first rise is seen as one.
            drop(handshakes_failed.get_or_create(&ReasonLabel { reason }));
        }
        Self {
            routes: Arc::default(),
            rules: Arc::default(),
            connections: side("client"),
            backend_connections: side("backend"),
            open,
            handshakes_failed,
            connections_refused: Counter::default(),
            upstream_opened: Counter::default(),
            upstream_reused: Counter::default(),
            hold_waits: Counter::default(),
        }
    }
}

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of one route; `-` for requests that found none.
    pub fn route(&self, name: &str) -> RouteMetrics {
        self.routes.get(name)
    }

    /// The counters of one policy's rules.
    pub fn policy(&self, policy: &Policy) -> Arc<RuleCounts> {
        self.rules.get(policy)
    }

    /// A connection to a backend has been opened.
    pub fn backend_opened(&self) -> OpenConnection {
        self.upstream_opened.inc();
        OpenConnection::of(&self.backend_connections)
    }

    pub fn handshake_failed(&self, reason: Reason) {
        let reason = reason.name();
        let labels = ReasonLabel { reason };
        self.handshakes_failed.get_or_create(&labels).inc();
    }

    /// Requests answered or given up, of clients now connected, and of connections to backends.
    pub fn totals(&self) -> (u64, i64, i64) {
        (
            self.routes.answers(),
            self.connections.get(),
            self.backend_connections.get(),
        )
    }

    pub fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("cryptonym_gateway");
        r.register_collector(Box::new(self.routes.clone()));
        r.register_collector(Box::new(self.rules.clone()));
        r.register(
            "build",
            "The program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        r.register(
            "connections",
            "Client connections now",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Connections now, by who is at the other end",
            self.open.clone(),
        );
        r.register(
            "connections_refused",
            "Over the cap",
            self.connections_refused.clone(),
        );
        r.register(
            "handshakes_failed",
            "TLS handshakes, by what was wrong",
            self.handshakes_failed.clone(),
        );
        r.register(
            "upstream_opened",
            "Backend connections",
            self.upstream_opened.clone(),
        );
        r.register(
            "upstream_reused",
            "From the pool",
            self.upstream_reused.clone(),
        );
        r.register(
            "hold_waits",
            "Bodies that waited for the budget",
            self.hold_waits.clone(),
        );
        r
    }
}
