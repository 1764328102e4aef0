//! One route's counters, and how all routes' are written.
//!
//! What enters: samples of exchanges. What leaves: families with the labels `route`, `class`,
//! `code`, `side` and `stage`, each of a closed set or configured. What can never happen: a lock
//! or a string is made for a request; a label that a message chose.

use std::fmt::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::error::{Code, Fault, Side, Stage};
use crate::observe::count::{Sharded, Times, counter};

/// `2xx`, …; `none` when the client went before an answer.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What became of a WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    /// Of the client, by policy.
    Rewritten,
    /// Of the client; its connection was closed.
    Refused,
    /// Of the backend.
    Passed,
}

/// In the order of [`Said`].
const SAID: [&str; 3] = ["rewritten", "refused", "passed"];

/// One route's counters, looked up once.
#[derive(Clone, Debug)]
pub struct RouteMetrics(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    name: String,
    cells: Sharded<Cell>,
    /// By code, then side and stage. Made when a code is first seen: few ever are.
    faults: Box<[OnceLock<Box<Places>>]>,
}

type Places = [[AtomicU64; Stage::ALL.len()]; Side::ALL.len()];

/// What one thread counts of a route.
#[derive(Debug, Default)]
struct Cell {
    answers: [AtomicU64; CLASSES.len()],
    seconds: Times,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    records: AtomicU64,
    replaced: AtomicU64,
    first_sights: AtomicU64,
    said: [AtomicU64; SAID.len()],
}

/// What one exchange adds.
pub struct Sample<'a> {
    /// 0: no answer.
    pub status: u16,
    pub time: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub records: u64,
    pub replaced: u64,
    pub first_sights: u64,
    pub fault: Option<&'a Fault>,
}

impl RouteMetrics {
    pub fn add(&self, sample: &Sample<'_>) {
        let cell = self.0.cells.here();
        let class = usize::from(sample.status / 100).min(CLASSES.len() - 1);
        cell.answers[class].fetch_add(1, Relaxed);
        cell.seconds.add(sample.time);
        for (counter, by) in [
            (&cell.bytes_in, sample.bytes_in),
            (&cell.bytes_out, sample.bytes_out),
            (&cell.records, sample.records),
            (&cell.replaced, sample.replaced),
            (&cell.first_sights, sample.first_sights),
        ] {
            if by > 0 {
                counter.fetch_add(by, Relaxed);
            }
        }
        if let Some(fault) = sample.fault {
            let places = self.0.faults[fault.code as usize].get_or_init(Box::default);
            places[fault.side as usize][fault.stage as usize].fetch_add(1, Relaxed);
        }
    }

    /// One more WebSocket message.
    pub fn said(&self, what: Said) {
        self.0.cells.here().said[what as usize].fetch_add(1, Relaxed);
    }

    fn answers(&self) -> u64 {
        let class = |at: usize| self.0.cells.sum(|cell| &cell.answers[at]);
        (0..CLASSES.len()).map(class).sum()
    }
}

/// All routes that have been asked for, in that order.
#[derive(Debug, Default)]
pub struct RouteTable(Mutex<Vec<RouteMetrics>>);

impl RouteTable {
    /// The counters of this name: the same ones whenever it is asked for.
    pub fn get(&self, name: &str) -> RouteMetrics {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.iter().find(|one| one.0.name == name) {
            return found.clone();
        }
        let made = RouteMetrics(Arc::new(Counters {
            name: name.to_owned(),
            cells: Sharded::default(),
            faults: Code::ALL.iter().map(|_| OnceLock::new()).collect(),
        }));
        all.push(made.clone());
        made
    }

    fn all(&self) -> Vec<RouteMetrics> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// Requests answered or given up, over all routes.
    pub fn answers(&self) -> u64 {
        self.all().iter().map(RouteMetrics::answers).sum()
    }
}

impl Collector for RouteTable {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        let routes = self.all();
        let counts = MetricType::Counter;
        let mut family = to.encode_descriptor("answers", "Answers to clients", None, counts)?;
        for route in &routes {
            for (at, class) in CLASSES.into_iter().enumerate() {
                let labels = [("route", route.0.name.as_str()), ("class", class)];
                let sum = route.0.cells.sum(|cell| &cell.answers[at]);
                counter(&mut family, &labels, sum)?;
            }
        }
        let mut family = to.encode_descriptor("faults", "Refusals and failures", None, counts)?;
        for route in &routes {
            for (code, places) in Code::ALL.iter().zip(&route.0.faults) {
                let Some(places) = places.get() else { continue };
                for (side, stages) in Side::ALL.iter().zip(places.iter()) {
                    for (stage, count) in Stage::ALL.iter().zip(stages) {
                        let count = count.load(Relaxed);
                        if count > 0 {
                            let labels = [
                                ("route", route.0.name.as_str()),
                                ("code", code.name()),
                                ("side", side.name()),
                                ("stage", stage.name()),
                            ];
                            counter(&mut family, &labels, count)?;
                        }
                    }
                }
            }
        }
        let mut family =
            to.encode_descriptor("websocket_messages", "WebSocket messages", None, counts)?;
        for route in &routes {
            for (at, outcome) in SAID.into_iter().enumerate() {
                let sum = route.0.cells.sum(|cell| &cell.said[at]);
                if sum > 0 {
                    let labels = [("route", route.0.name.as_str()), ("outcome", outcome)];
                    counter(&mut family, &labels, sum)?;
                }
            }
        }
        let times = MetricType::Histogram;
        let mut family = to.encode_descriptor("seconds", "Head to last byte", None, times)?;
        for route in &routes {
            let labels = [("route", route.0.name.as_str())];
            let cells = route.0.cells.all().map(|cell| &cell.seconds);
            let all: Vec<&Times> = cells.collect();
            Times::encode(all.into_iter(), family.encode_family(&labels)?)?;
        }
        type Get = fn(&Cell) -> &AtomicU64;
        let plain: [(&str, &str, Get); 5] = [
            ("request_bytes", "Body bytes from clients", |c| &c.bytes_in),
            ("response_bytes", "Body bytes to clients", |c| &c.bytes_out),
            ("records", "Records rewritten", |c| &c.records),
            ("replaced", "Values replaced", |c| &c.replaced),
            ("first_sights", "New recovery records", |c| &c.first_sights),
        ];
        for (name, help, get) in plain {
            let mut family = to.encode_descriptor(name, help, None, counts)?;
            for route in &routes {
                let labels = [("route", route.0.name.as_str())];
                counter(&mut family, &labels, route.0.cells.sum(get))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn proxy_11_a_route_counts_what_its_exchanges_were() {
        let table = Arc::new(RouteTable::default());
        let route = table.get("r");
        let fault = Fault::new(Code::NotNormal, Stage::Resolve);
        let sample = |status, fault| Sample {
            status,
            time: Duration::from_millis(2),
            bytes_in: 10,
            bytes_out: 20,
            records: 1,
            replaced: 3,
            first_sights: 0,
            fault,
        };
        route.add(&sample(200, None));
        std::thread::scope(|scope| {
            scope.spawn(|| table.get("r").add(&sample(422, Some(&fault))));
        });
        let mut registry = Registry::with_prefix("x");
        registry.register_collector(Box::new(table.clone()));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        for line in [
            "x_answers_total{route=\"r\",class=\"2xx\"} 1",
            "x_answers_total{route=\"r\",class=\"4xx\"} 1",
            "x_faults_total{route=\"r\",code=\"not-normal\",side=\"client\",stage=\"resolve\"} 1",
            "x_seconds_bucket{le=\"0.001\",route=\"r\"} 0",
            "x_seconds_bucket{le=\"0.0025\",route=\"r\"} 2",
            "x_seconds_count{route=\"r\"} 2",
            "x_request_bytes_total{route=\"r\"} 20",
            "x_replaced_total{route=\"r\"} 6",
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        assert_eq!(table.answers(), 2);
    }
}
