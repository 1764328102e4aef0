//! One request's spans, while it is on its way.
//!
//! What enters: the head, and the beginnings and ends of its steps. What leaves: `traceparent`
//! for the backend, and the spans, when the request is over. What can never happen: an attribute
//! that is not a configured name, a number or a constant; any work for a request where no
//! `[gateway.traces]` is configured.
//!
//! ```text
//! request (server) ─┬─ rewrite ─── vault, vault, …
//!                   └─ upstream (client): its id is the parent that the backend sees
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

use crate::error::Fault;
use crate::limits;
use crate::observe::trace::{Finished, Ids, Kind, Span, Tracer, Value, context};
use crate::pseudonym::{KindId, KindKey, Pseudonym};
use crate::rewrite::Keeper;
use crate::vault_link::{FirstSight, Lease};

/// The ids of a request, and what has been seen of it.
pub struct Trace {
    ids: Ids,
    joined: bool,
    parts: Mutex<Vec<Part>>,
}

/// A step of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Rewrite,
    Vault,
    Upstream,
}

struct Part {
    step: Step,
    start: Instant,
    end: Instant,
    ended_well: bool,
}

/// A step that goes on until this is dropped.
pub struct Running {
    trace: Arc<Trace>,
    step: Step,
    start: Instant,
    ended_well: bool,
}

impl Trace {
    /// `None` where there is no randomness for ids: a request is not refused for that.
    pub fn begin(tracer: &Tracer, headers: &HeaderMap) -> Option<Arc<Self>> {
        let ids = tracer.ids(context::of(headers)).ok()?;
        Some(Arc::new(Self {
            joined: ids.parent.is_some(),
            ids,
            parts: Mutex::default(),
        }))
    }

    /// Whether anybody will hear of it.
    pub fn is_told(&self) -> bool {
        self.ids.sampled
    }

    /// Tells the backend who its parent is. `tracestate` goes on only with the trace that it
    /// belongs to (and only where the route lists it: see [`super::headers`]).
    pub fn mark(&self, headers: &mut HeaderMap) {
        let Ids {
            trace,
            upstream,
            sampled,
            ..
        } = &self.ids;
        let value = context::header(trace, upstream, *sampled);
        headers.insert(context::TRACEPARENT, value);
        if !self.joined {
            headers.remove(context::TRACESTATE);
        }
    }

    /// A step begins; `None` if nobody will be told. Boxed: it is held while a body is awaited, and
    /// most requests have none.
    pub fn step(self: &Arc<Self>, step: Step) -> Option<Box<Running>> {
        let running = || Running {
            trace: self.clone(),
            step,
            start: Instant::now(),
            ended_well: false,
        };
        self.ids.sampled.then(|| Box::new(running()))
    }

    /// A lease that tells of its calls to the vault.
    pub fn watch(self: &Arc<Self>, lease: Arc<Lease>) -> Arc<dyn Keeper> {
        if self.ids.sampled {
            let trace = self.clone();
            Arc::new(Watched { lease, trace })
        } else {
            lease
        }
    }

    /// The request is over. Asked for only where [`Trace::is_told`].
    pub fn tell(&self, tracer: &Tracer, request: Ended) {
        let clock = Clock::now();
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = Vec::with_capacity(1 + parts.len());
        spans.push(Span {
            id: self.ids.server,
            parent: self.ids.parent,
            name: "request",
            kind: Kind::Server,
            start: clock.nanos(request.started),
            end: clock.now,
            failed: request.failed,
            attributes: request.attributes,
        });
        let backend = request.backend;
        spans.extend(
            parts
                .iter()
                .filter_map(|part| self.span(part, &clock, &backend)),
        );
        tracer.tell(Finished {
            trace: self.ids.trace,
            spans,
        });
    }

    fn span(&self, part: &Part, clock: &Clock, backend: &Option<String>) -> Option<Span> {
        let (id, parent, name, kind) = match part.step {
            Step::Rewrite => (self.ids.rewrite, self.ids.server, "rewrite", Kind::Internal),
            Step::Upstream => (self.ids.upstream, self.ids.server, "upstream", Kind::Client),
            Step::Vault => {
                let mut id = [0; 8];
                getrandom::fill(&mut id).ok()?;
                (id, self.ids.rewrite, "vault", Kind::Client)
            }
        };
        let backend = backend.as_ref().filter(|_| part.step == Step::Upstream);
        let attribute = |name: &String| ("cryptonym.backend", Value::Text(name.clone().into()));
        Some(Span {
            id,
            parent: Some(parent),
            name,
            kind,
            start: clock.nanos(part.start),
            end: clock.nanos(part.end),
            failed: !part.ended_well,
            attributes: backend.map(attribute).into_iter().collect(),
        })
    }
}

/// What is told of the request itself.
pub struct Ended {
    pub started: Instant,
    pub failed: bool,
    /// The configured backend of its route.
    pub backend: Option<String>,
    pub attributes: Vec<(&'static str, Value)>,
}

impl Running {
    pub fn ended_well(mut self) {
        self.ended_well = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let parts = &self.trace.parts;
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.len() < limits::TRACES_PARTS {
            parts.push(Part {
                step: self.step,
                start: self.start,
                end: Instant::now(),
                ended_well: self.ended_well,
            });
        }
    }
}

/// A lease, and the time that its records take.
struct Watched {
    lease: Arc<Lease>,
    trace: Arc<Trace>,
}

impl Keeper for Watched {
    fn kind(&self, kind: KindId) -> &KindKey {
        self.lease.kind(kind)
    }

    fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        self.lease.is_durable(pseudonym)
    }

    fn is_current(&self) -> bool {
        self.lease.is_current()
    }

    fn absent(&self, pseudonyms: &[Pseudonym], absent: &mut Vec<usize>) {
        self.lease.absent(pseudonyms, absent);
    }

    fn make_durable<'a>(
        &'a self,
        sights: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>> {
        Box::pin(async move {
            let running = self.trace.step(Step::Vault);
            let result = self.lease.make_durable(sights).await;
            if let (Some(running), Ok(())) = (running, &result) {
                running.ended_well();
            }
            result
        })
    }
}

/// Instants as times of day.
struct Clock {
    at: Instant,
    now: u64,
}

impl Clock {
    fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            at: Instant::now(),
            now: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn nanos(&self, then: Instant) -> u64 {
        let ago = self.at.saturating_duration_since(then).as_nanos();
        self.now
            .saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }
}
