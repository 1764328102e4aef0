//! Traces: which requests are told to a collector, under which ids.
//!
//! What enters: a client's `traceparent`, if any. What leaves: ids for the request's spans, and
//! finished spans on their way to the collector ([`export`]). What can never happen: a request
//! waits for the collector; an attribute holds a path, a query, an address or a value.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::mpsc;

pub mod context;
pub mod export;
mod otlp;

use self::context::Remote;
use self::export::Counts;
use crate::config::Traces;

/// Decides about each request, and takes what there is to tell of it.
pub struct Tracer {
    /// A trace is recorded if its id's last eight bytes, as a number, are not above this.
    sampled_up_to: Option<u64>,
    join: bool,
    queue: mpsc::Sender<Finished>,
    counts: Arc<Counts>,
}

/// The ids of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub trace: [u8; 16],
    /// The client's span; `None` where the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// The request itself.
    pub server: [u8; 8],
    /// Its rewriting.
    pub rewrite: [u8; 8],
    /// Its way to the backend, which is told this one.
    pub upstream: [u8; 8],
    /// Whether its spans are told to the collector.
    pub sampled: bool,
}

/// What is told of one request.
#[derive(Debug)]
pub struct Finished {
    pub trace: [u8; 16],
    pub spans: Vec<Span>,
}

/// One stretch of time. Times are nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug)]
pub struct Span {
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: &'static str,
    pub kind: Kind,
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

/// As the protocol numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Configured names and constants; never a text of a message.
#[derive(Debug)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(u64),
    Flag(bool),
}

impl Tracer {
    fn new(traces: &Traces, queue: mpsc::Sender<Finished>, counts: Arc<Counts>) -> Self {
        // Exact at both ends; in between a float is fine enough.
        let part = traces.sample * u64::MAX as f64;
        Self {
            sampled_up_to: (traces.sample > 0.0).then_some(part as u64),
            join: traces.join,
            queue,
            counts,
        }
    }

    /// The ids of a request whose client sent this. A client's trace is recorded if the client
    /// says so, its own if the dice do.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn ids(&self, remote: Option<Remote>) -> Result<Ids, getrandom::Error> {
        let mut random = [0; 40];
        getrandom::fill(&mut random)?;
        let [server, rewrite, upstream] =
            [16, 24, 32].map(|at| std::array::from_fn(|n| random[at + n]));
        let own: [u8; 16] = std::array::from_fn(|n| random[n]);
        let ids = Ids {
            trace: own,
            parent: None,
            server,
            rewrite,
            upstream,
            sampled: self.is_sampled(own),
        };
        Ok(match remote.filter(|_| self.join) {
            None => ids,
            Some(remote) => Ids {
                trace: remote.trace,
                parent: Some(remote.parent),
                sampled: remote.sampled,
                ..ids
            },
        })
    }

    fn is_sampled(&self, trace: [u8; 16]) -> bool {
        let last: [u8; 8] = std::array::from_fn(|n| trace[8 + n]);
        self.sampled_up_to
            .is_some_and(|most| u64::from_be_bytes(last) <= most)
    }

    /// Hands a request's spans over; where there is no room they are dropped and counted.
    pub fn tell(&self, finished: Finished) {
        if self.queue.try_send(finished).is_err() {
            self.counts.dropped_full.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(sample: f64, join: bool, room: usize) -> (Tracer, mpsc::Receiver<Finished>) {
        let (queue, out) = mpsc::channel(room);
        let traces = Traces {
            host: "localhost".to_owned(),
            port: 1,
            path: "/".to_owned(),
            sample,
            join,
        };
        (Tracer::new(&traces, queue, Arc::default()), out)
    }

    #[test]
    fn proxy_11_the_dice_hold_to_the_part_asked_for() {
        for (sample, least, most) in [(0.0, 0, 0), (0.25, 350, 650), (1.0, 2000, 2000)] {
            let (tracer, _out) = tracer(sample, true, 1);
            let sampled = (0..2000).filter(|_| tracer.ids(None).unwrap().sampled);
            let count = sampled.count();
            assert!((least..=most).contains(&count), "{sample}: {count}");
        }
    }

    #[test]
    fn proxy_11_a_client_s_trace_goes_on_or_begins_anew() {
        let remote = Remote {
            trace: [7; 16],
            parent: [8; 8],
            sampled: true,
        };
        let ids = tracer(0.0, true, 1).0.ids(Some(remote)).unwrap();
        assert_eq!((ids.trace, ids.parent), ([7; 16], Some([8; 8])));
        assert!(ids.sampled);
        let own = [ids.server, ids.rewrite, ids.upstream];
        assert!(own.iter().all(|id| *id != [0; 8] && *id != [8; 8]));
        let ids = tracer(0.0, false, 1).0.ids(Some(remote)).unwrap();
        assert_ne!(ids.trace, [7; 16]);
        assert_eq!((ids.parent, ids.sampled), (None, false));
    }

    #[test]
    fn proxy_11_a_full_queue_drops_and_counts() {
        let (tracer, _out) = tracer(1.0, true, 2);
        for _ in 0..5 {
            let spans = Vec::new();
            tracer.tell(Finished {
                trace: [1; 16],
                spans,
            });
        }
        assert_eq!(tracer.counts.dropped_full.get(), 3);
    }
}
