//! Load: a number of connections, each with one request at a time.
//!
//! What enters: a target, bodies, a pace. What leaves: latencies, counts, refusals by reason.
//! What can never happen: a slow answer that hides the requests it held up. At a fixed rate the
//! latency counts from the moment at which a request was due, not from when a connection was
//! free for it (no coordinated omission).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::bodies::Bodies;
use super::histogram::Histogram;
use super::target::{Connection, Target};
use crate::limits;
use crate::local::processes::{Failure, pause};

/// When the next request is sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as a connection has its answer (closed loop), until the time is over.
    Closed(Duration),
    /// So many a second, whatever the answers do, until the time is over.
    Fixed(f64, Duration),
    /// Each body once, as fast as it goes.
    Once,
}

/// What came of it.
#[derive(Clone, Default)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of successful requests.
    pub latencies: Histogram,
    pub bytes: u64,
    pub records: u64,
    pub errors: BTreeMap<String, u64>,
}

impl Outcome {
    pub fn requests(&self) -> u64 {
        self.latencies.total()
    }

    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.took += other.took;
        self.latencies.add(&other.latencies);
        self.bytes += other.bytes;
        self.records += other.records;
        for (why, count) in &other.errors {
            *self.errors.entry(why.clone()).or_default() += count;
        }
    }
}

/// Open connections. They are made before anything is measured.
pub struct Crew {
    target: Target,
    connections: Vec<Connection>,
    /// Requests sent so far, so that a later round goes on with the next body.
    sent: Arc<AtomicUsize>,
}

impl Crew {
    /// # Errors
    /// The first connection that cannot be made.
    pub async fn connect(target: &Target, connections: usize) -> Result<Self, Failure> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let connection = target.connect().await;
            open.push(connection.map_err(|why| Failure(format!("no connection: {why}")))?);
        }
        Ok(Self {
            target: target.clone(),
            connections: open,
            sent: Arc::default(),
        })
    }

    /// Sends at this pace and returns when the last answer is there.
    pub async fn drive(&mut self, bodies: &Bodies, pace: Pace) -> Outcome {
        let began = Instant::now();
        let work = Arc::new(Work {
            bodies: bodies.clone(),
            media: HeaderValue::from_str(&bodies.media)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
            target: self.target.clone(),
            turns: match pace {
                Pace::Closed(time) => Turns::Until(began + time),
                Pace::Fixed(rate, time) => Turns::Due(Mutex::new(pacer(rate, time))),
                Pace::Once => {
                    self.sent.store(0, Relaxed);
                    Turns::Bodies
                }
            },
            sent: self.sent.clone(),
        });
        let mut tasks = JoinSet::new();
        for connection in self.connections.drain(..) {
            tasks.spawn(work.clone().run(connection));
        }
        let mut outcome = Outcome::default();
        let mut last = began;
        while let Some(done) = tasks.join_next().await {
            // Only a panic of ours ends a task otherwise; the counts then miss it, visibly.
            let Ok((connection, tally, ended)) = done else {
                *outcome
                    .errors
                    .entry("the load generator failed".to_owned())
                    .or_default() += 1;
                continue;
            };
            outcome.add(&tally);
            last = last.max(ended);
            self.connections.extend(connection);
        }
        outcome.took = last.duration_since(began);
        if let Pace::Fixed(_, time) = pace {
            // The pause behind the last request belongs to the rate.
            outcome.took = outcome.took.max(time);
        }
        outcome
    }
}

/// What the connections of one drive share.
struct Work {
    target: Target,
    bodies: Bodies,
    media: HeaderValue,
    turns: Turns,
    sent: Arc<AtomicUsize>,
}

enum Turns {
    Until(Instant),
    Due(Mutex<mpsc::UnboundedReceiver<Instant>>),
    Bodies,
}

impl Work {
    async fn run(
        self: Arc<Self>,
        connection: Connection,
    ) -> (Option<Connection>, Outcome, Instant) {
        let mut tally = Outcome::default();
        let mut open = Some(connection);
        let mut ended = Instant::now();
        while let Some((at, due)) = self.next().await {
            let (body, records) = &self.bodies.all[at % self.bodies.all.len()];
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => match self.target.connect().await {
                    Ok(connection) => connection,
                    Err(why) => {
                        *tally.errors.entry(why).or_default() += 1;
                        tokio::time::sleep(limits::BENCH_PAUSE).await;
                        continue;
                    }
                },
            };
            match connection
                .send(&self.target, body.clone(), &self.media)
                .await
            {
                Ok(()) => {
                    ended = Instant::now();
                    tally.latencies.record(ended.duration_since(due));
                    tally.bytes += body.len() as u64;
                    tally.records += records;
                    open = Some(connection);
                }
                Err(refused) => {
                    *tally.errors.entry(refused.why).or_default() += 1;
                    open = (!refused.broken).then_some(connection);
                }
            }
        }
        (open, tally, ended)
    }

    /// Which body is next, and when it was due.
    async fn next(&self) -> Option<(usize, Instant)> {
        let due = match &self.turns {
            Turns::Until(end) => Some(Instant::now()).filter(|now| now < end)?,
            Turns::Due(due) => due.lock().await.recv().await?,
            Turns::Bodies => Instant::now(),
        };
        let at = self.sent.fetch_add(1, Relaxed);
        let last = matches!(self.turns, Turns::Bodies) && at >= self.bodies.all.len();
        (!last).then_some((at, due))
    }
}

/// Says when requests are due. A thread of its own: tokio's clock has steps of a millisecond.
fn pacer(rate: f64, time: Duration) -> mpsc::UnboundedReceiver<Instant> {
    let (due, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        for n in 0u32.. {
            let after = Duration::from_secs_f64(f64::from(n) / rate);
            if after >= time {
                break;
            }
            pause(after.saturating_sub(began.elapsed()));
            if due.send(began + after).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pacer_sends_what_is_due_and_ends() {
        let mut due = pacer(1000.0, Duration::from_millis(50));
        let mut all = Vec::new();
        while let Some(moment) = due.recv().await {
            assert!(Instant::now() >= moment);
            all.push(moment);
        }
        assert_eq!(all.len(), 50);
        assert_eq!(all[49] - all[0], Duration::from_millis(49));
    }
}
