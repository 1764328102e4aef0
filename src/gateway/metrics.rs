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
pub use self::route::{RouteMetrics, Said, Sample};
use self::rules::RuleTable;
use super::door::counts::DoorMetrics;
use super::egress::metrics::EgressMetrics;
use super::upstream::metrics::UpstreamMetrics;
use crate::observe::writer;
use crate::policy::Policy;
use crate::rewrite::tally::RuleCounts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabel {
    /// `client` or `backend`.
    side: &'static str,
}

/// Every family, and what belongs to no route.
pub struct Metrics {
    routes: Arc<RouteTable>,
    rules: Arc<RuleTable>,
    open: Family<SideLabel, Gauge>,
    pub connections: Gauge,
    open_clients: Gauge,
    open_backends: Gauge,
    websockets: Gauge,
    pub connections_refused: Counter,
    pub handshakes_failed: Counter,
    pub door: Arc<DoorMetrics>,
    pub floods: Counter,
    pub upstream: UpstreamMetrics,
    pub egress: Arc<EgressMetrics>,
    pub hold_waits: Counter,
}

/// One open connection, counted until it is dropped.
pub struct Open(Gauge);

impl Open {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let open: Family<SideLabel, Gauge> = Family::default();
        let side = |side| open.get_or_create_owned(&SideLabel { side });
        Self {
            routes: Arc::default(),
            rules: Arc::default(),
            connections: Gauge::default(),
            open_clients: side("client"),
            open_backends: side("backend"),
            open,
            websockets: Gauge::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            door: Arc::default(),
            floods: Counter::default(),
            upstream: UpstreamMetrics::default(),
            egress: Arc::default(),
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

    /// A client's connection, from its first byte on.
    pub fn client_connection(&self) -> Open {
        Open::of(&self.open_clients)
    }

    /// A backend's connection, pooled ones included.
    pub fn backend_connection(&self) -> Open {
        Open::of(&self.open_backends)
    }

    /// A connection that has switched to WebSocket.
    pub fn websocket(&self) -> Open {
        Open::of(&self.websockets)
    }

    /// Requests answered or given up, of clients now connected, and of connections to backends.
    pub fn totals(&self) -> (u64, i64, i64) {
        (
            self.routes.answers(),
            self.open_clients.get(),
            self.open_backends.get(),
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
            "log_lines_dropped",
            "Lines of the log that nobody read in time",
            writer::dropped(),
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
            "websockets_open",
            "Client connections now that have switched to WebSocket",
            self.websockets.clone(),
        );
        r.register(
            "connections_refused",
            "Over the cap",
            self.connections_refused.clone(),
        );
        r.register(
            "handshakes_failed",
            "TLS handshakes",
            self.handshakes_failed.clone(),
        );
        self.door.register(&mut r);
        r.register(
            "floods",
            "HTTP/2 connections closed for flooding",
            self.floods.clone(),
        );
        self.upstream.register(&mut r);
        self.egress.register(&mut r);
        r.register(
            "hold_waits",
            "Bodies that waited for the budget",
            self.hold_waits.clone(),
        );
        r
    }
}
