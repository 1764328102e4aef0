//! What is remembered of one request, for the log, the metrics and the problem document.
//!
//! What enters: sizes, counts, codes. What leaves: one line and one sample when the exchange is
//! over, however it ended. What can never happen: a value, a path or a query is kept here.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, Version};

use super::clock::InFlight;
use super::coarse::Moment;
use super::metrics::Sample;
use super::routes::Route;
use super::serve::Conn;
use super::shared::{RequestId, Site};
use super::trace::{Ended, Running, Step, Trace};
use crate::error::{Code, Fault, Stage};
use crate::observe::access::Line;
use crate::observe::trace::Value;
use crate::rewrite::Summary;

const NO_ROUTE: usize = usize::MAX;

/// One request, from its head to the last byte of its answer.
pub struct Story {
    pub conn: Arc<Conn>,
    /// The configuration that the request began under.
    pub site: Arc<Site>,
    /// Distinct among all requests of all gateways, for practical purposes; says nothing.
    pub id: RequestId,
    started: Instant,
    began: Moment,
    method: &'static str,
    protocol: &'static str,
    route: AtomicUsize,
    status: AtomicU16,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    records: AtomicU64,
    replaced: AtomicU64,
    first_sights: AtomicU64,
    fault: OnceLock<Fault>,
    /// Part of a streamed body has been handed to the backend.
    partial: AtomicBool,
    /// The body on its way to the backend was broken off on this side.
    broken_off: AtomicBool,
    /// Milliseconds since `began` at which the request last moved towards the backend.
    moved: AtomicU64,
    /// What moves next has to come from the client (or its rewriting), not to be taken by the backend.
    awaits_client: AtomicBool,
    /// Milliseconds since `began` at which waiting for the client's body began, and how many that
    /// took altogether.
    waits_since: AtomicU64,
    waited: AtomicU64,
    delivered: AtomicBool,
    /// Only where traces are configured.
    pub trace: Option<Arc<Trace>>,
    _in_flight: InFlight,
}

impl Story {
    pub fn begin(conn: Arc<Conn>, parts: &Parts) -> Arc<Self> {
        let site = conn.worker.site();
        let tracer = site.shared.tracer.as_ref();
        Arc::new(Self {
            trace: tracer.and_then(|tracer| Trace::begin(tracer, &parts.headers)),
            id: conn.worker.request_id(),
            started: Instant::now(),
            began: Moment::now(),
            method: known(&parts.method),
            protocol: match parts.version {
                Version::HTTP_2 => "h2",
                Version::HTTP_10 => "http/1.0",
                _ => "http/1.1",
            },
            route: AtomicUsize::new(NO_ROUTE),
            status: AtomicU16::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            records: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            first_sights: AtomicU64::new(0),
            fault: OnceLock::new(),
            partial: AtomicBool::new(false),
            broken_off: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            awaits_client: AtomicBool::new(false),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            delivered: AtomicBool::new(false),
            _in_flight: conn.clock.request(),
            conn,
            site,
        })
    }

    /// Requests that begin now are served by another configuration.
    pub fn is_outdated(&self) -> bool {
        !Arc::ptr_eq(&self.site, &self.conn.worker.site())
    }

    /// A step begins, if somebody will be told of it.
    pub fn step(&self, step: Step) -> Option<Box<Running>> {
        self.trace.as_ref().and_then(|trace| trace.step(step))
    }

    pub fn takes_route(&self, index: usize) {
        self.route.store(index, Relaxed);
    }

    pub fn answers(&self, status: http::StatusCode) {
        self.status.store(status.as_u16(), Relaxed);
    }

    pub fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub fn rewrote(&self, summary: Summary) {
        self.records.fetch_add(summary.records, Relaxed);
        self.replaced.fetch_add(summary.replaced, Relaxed);
        self.first_sights.fetch_add(summary.first_sights, Relaxed);
    }

    /// The first fault is the one that counts: later ones are its echoes.
    pub fn fail(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    pub fn partly_sent(&self) {
        self.partial.store(true, Relaxed);
    }

    pub fn is_partly_sent(&self) -> bool {
        self.partial.load(Relaxed)
    }

    /// The client left, or sent what may not go on: whatever comes of the request now, the backend
    /// is not to blame.
    pub fn breaks_off(&self) {
        self.broken_off.store(true, Relaxed);
    }

    pub fn is_broken_off(&self) -> bool {
        self.broken_off.load(Relaxed)
    }

    /// The backend has taken something, or is waiting for the client.
    pub fn moves(&self, awaits_client: bool) {
        self.moved.store(self.began.millis(), Relaxed);
        self.awaits_client.store(awaits_client, Relaxed);
    }

    /// Waits until the backend has neither taken anything nor answered for `time`, while it
    /// was its turn.
    pub async fn backend_silence(&self, time: Duration) {
        loop {
            let left = if self.awaits_client.load(Relaxed) {
                time
            } else {
                let moved = Duration::from_millis(self.moved.load(Relaxed));
                (moved + time).saturating_sub(self.began.elapsed())
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// The client's body is waited for from now on. How much of it has come, and in how much
    /// waiting.
    pub fn begins_to_wait(&self) -> (u64, Duration) {
        self.waits_since.store(self.began.millis(), Relaxed);
        let waited = Duration::from_millis(self.waited.load(Relaxed));
        (self.bytes_in.load(Relaxed), waited)
    }

    pub fn has_waited(&self) {
        let since = self.waits_since.load(Relaxed);
        let time = self.began.millis().saturating_sub(since);
        self.waited.fetch_add(time, Relaxed);
    }

    /// The route that was found.
    pub fn route(&self) -> Option<&Route> {
        match self.route.load(Relaxed) {
            NO_ROUTE => None,
            index => Some(self.site.shared.routes.get(index)),
        }
    }

    /// The last byte of the answer has been handed over.
    pub fn delivered(&self) {
        self.delivered.store(true, Relaxed);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let (worker, shared) = (&self.conn.worker, &self.site.shared);
        let route = self.route();
        let elapsed = self.started.elapsed();
        let sample = Sample {
            status: self.status.load(Relaxed),
            time: elapsed,
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            records: self.records.load(Relaxed),
            replaced: self.replaced.load(Relaxed),
            first_sights: self.first_sights.load(Relaxed),
            fault: self.fault.get(),
        };
        route.map_or(&shared.unrouted, |r| &r.metrics).add(&sample);
        worker.access.write(&Line {
            request: (self.id.mark, self.id.number),
            route: route.map(|r| r.config.name.as_str()),
            method: self.method,
            protocol: self.protocol,
            status: sample.status,
            client: self.conn.peer.as_ref().map(|p| p.id.as_str()),
            bytes_in: sample.bytes_in,
            bytes_out: sample.bytes_out,
            micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            records: sample.records,
            replaced: sample.replaced,
            first_sights: sample.first_sights,
            code: sample.fault.map(|f| f.code.name()),
            whole: self.delivered.load(Relaxed),
        });
        let told = self.trace.as_ref().filter(|trace| trace.is_told());
        if let (Some(trace), Some(tracer)) = (told, &shared.tracer) {
            let route = route.map(|r| &r.config);
            let backend = route.and_then(|r| shared.backends.name(r.backend));
            trace.tell(
                tracer,
                Ended {
                    started: self.started,
                    failed: sample.status == 0 || sample.status >= 500,
                    backend: backend.cloned(),
                    attributes: self.attributes(route.map(|r| &*r.name), &sample),
                },
            );
        }
    }
}

impl Story {
    /// Of the request's span. What a message chose is not among them.
    fn attributes(&self, route: Option<&str>, sample: &Sample<'_>) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::Text(text.to_owned().into());
        let mut all = vec![
            ("cryptonym.request", text(&self.id.to_string())),
            ("cryptonym.route", text(route.unwrap_or("-"))),
            ("http.request.method", Value::Text(self.method.into())),
            ("cryptonym.protocol", Value::Text(self.protocol.into())),
            (
                "http.response.status_code",
                Value::Number(sample.status.into()),
            ),
            ("cryptonym.records", Value::Number(sample.records)),
            ("cryptonym.replaced", Value::Number(sample.replaced)),
            ("cryptonym.first_sights", Value::Number(sample.first_sights)),
            ("cryptonym.whole", Value::Flag(self.delivered.load(Relaxed))),
        ];
        if let Some(fault) = sample.fault {
            let name = fault.code.name();
            all.push(("cryptonym.code", Value::Text(name.into())));
        }
        all
    }
}

/// Logs and counts a head that never became a request. Without it a scan for parser faults
/// would leave no trace.
pub fn unparsed(conn: &Conn, code: Code) {
    let worker = &conn.worker;
    let fault = Fault::new(code, Stage::Head);
    worker.site().shared.unrouted.add(&Sample {
        status: code.status(),
        time: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
        records: 0,
        replaced: 0,
        first_sights: 0,
        fault: Some(&fault),
    });
    let id = worker.request_id();
    worker.access.write(&Line {
        request: (id.mark, id.number),
        route: None,
        method: "other",
        protocol: "http/1.1",
        status: code.status(),
        client: conn.peer.as_ref().map(|p| p.id.as_str()),
        bytes_in: 0,
        bytes_out: 0,
        micros: 0,
        records: 0,
        replaced: 0,
        first_sights: 0,
        code: Some(code.name()),
        whole: true,
    });
}

/// A method name of the standard; what a client made up is not repeated.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}
