//! What the gateway counts, with typed labels.
//!
//! What enters: route names, codes, sizes. What leaves: a Prometheus registry. What can never
//! happen: a label that a message chose (labels are route names, codes and classes only).

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::door::counts::DoorMetrics;
use super::upstream::metrics::UpstreamMetrics;
use crate::error::Fault;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    /// `2xx`, …; `none` when the client went before an answer.
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    route: String,
    code: &'static str,
    side: String,
    stage: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabel {
    side: &'static str,
}

/// One open connection, counted until it is dropped.
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Every family, and what belongs to no route.
pub struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    bytes_in: Family<RouteLabel, Counter>,
    bytes_out: Family<RouteLabel, Counter>,
    records: Family<RouteLabel, Counter>,
    replaced: Family<RouteLabel, Counter>,
    first_sights: Family<RouteLabel, Counter>,
    pub connections: Gauge,
    connections_open: Family<SideLabel, Gauge>,
    pub connections_refused: Counter,
    pub handshakes_failed: Counter,
    pub door: Arc<DoorMetrics>,
    pub floods: Counter,
    pub upstream: UpstreamMetrics,
    pub hold_waits: Counter,
}

/// One route's counters, looked up once.
#[derive(Clone)]
pub struct RouteMetrics {
    name: String,
    answers: [Counter; CLASSES.len()],
    faults: Family<FaultLabels, Counter>,
    seconds: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
    records: Counter,
    replaced: Counter,
    first_sights: Counter,
}

/// What one exchange adds.
pub struct Sample<'a> {
    /// 0: no answer.
    pub status: u16,
    pub seconds: f64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub records: u64,
    pub replaced: u64,
    pub first_sights: u64,
    pub fault: Option<&'a Fault>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            answers: Family::default(),
            faults: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            records: Family::default(),
            replaced: Family::default(),
            first_sights: Family::default(),
            connections: Gauge::default(),
            connections_open: Family::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            door: Arc::default(),
            floods: Counter::default(),
            upstream: UpstreamMetrics::default(),
            hold_waits: Counter::default(),
        }
    }
}

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// A client's connection, from its first byte on.
    pub fn client_connection(&self) -> Open {
        self.connection("client")
    }

    /// A backend's connection, pooled ones included.
    pub fn backend_connection(&self) -> Open {
        self.connection("backend")
    }

    fn connection(&self, side: &'static str) -> Open {
        let gauge = self.connections_open.get_or_create(&SideLabel { side });
        gauge.inc();
        Open(gauge.clone())
    }

    /// The counters of one route; `-` for requests that found none.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let label = RouteLabel {
            route: name.to_owned(),
        };
        let counter = |f: &Family<RouteLabel, Counter>| f.get_or_create(&label).clone();
        RouteMetrics {
            name: name.to_owned(),
            answers: CLASSES.map(|class| {
                let route = name.to_owned();
                let labels = AnswerLabels { route, class };
                self.answers.get_or_create(&labels).clone()
            }),
            faults: self.faults.clone(),
            seconds: self.seconds.get_or_create(&label).clone(),
            bytes_in: counter(&self.bytes_in),
            bytes_out: counter(&self.bytes_out),
            records: counter(&self.records),
            replaced: counter(&self.replaced),
            first_sights: counter(&self.first_sights),
        }
    }

    pub fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("cryptonym_gateway");
        r.register("answers", "Answers to clients", self.answers.clone());
        r.register("faults", "Refusals and failures", self.faults.clone());
        r.register("seconds", "Head to last byte", self.seconds.clone());
        r.register(
            "request_bytes",
            "Body bytes from clients",
            self.bytes_in.clone(),
        );
        r.register(
            "response_bytes",
            "Body bytes to clients",
            self.bytes_out.clone(),
        );
        r.register("records", "Records rewritten", self.records.clone());
        r.register("replaced", "Values replaced", self.replaced.clone());
        r.register(
            "first_sights",
            "New recovery records",
            self.first_sights.clone(),
        );
        r.register(
            "connections",
            "Client connections now",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Connections now, to clients and to backends",
            self.connections_open.clone(),
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
        r.register(
            "hold_waits",
            "Bodies that waited for the budget",
            self.hold_waits.clone(),
        );
        r
    }
}

impl RouteMetrics {
    pub fn add(&self, sample: &Sample<'_>) {
        let class = usize::from(sample.status / 100).min(CLASSES.len() - 1);
        self.answers[class].inc();
        self.seconds.observe(sample.seconds);
        for (counter, by) in [
            (&self.bytes_in, sample.bytes_in),
            (&self.bytes_out, sample.bytes_out),
            (&self.records, sample.records),
            (&self.replaced, sample.replaced),
            (&self.first_sights, sample.first_sights),
        ] {
            if by > 0 {
                counter.inc_by(by);
            }
        }
        if let Some(fault) = sample.fault {
            let labels = FaultLabels {
                route: self.name.clone(),
                code: fault.code.name(),
                side: format!("{:?}", fault.side).to_ascii_lowercase(),
                stage: format!("{:?}", fault.stage).to_ascii_lowercase(),
            };
            self.faults.get_or_create(&labels).inc();
        }
    }
}

/// From a held small body (half a millisecond) to the longest answer allowed.
fn seconds() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
    ])
}
