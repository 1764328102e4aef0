//! One round: connections, a warm-up, load, and what it cost.
//!
//! What enters: a way through, bodies, a pace. What leaves: a [`Round`]. What can never happen:
//! a round counts whose bodies did not arrive as they should: that is a failure, not a figure.

use std::time::{Duration, Instant};

use super::bodies::{Bodies, Pool};
use super::drive::{Crew, Outcome, Pace};
use super::origin::Origin;
use super::place::{Place, Way, counter};
use super::report::Round;
use super::verify::{self, Expect};
use crate::limits;
use crate::local::processes::Failure;

/// The gateway's counter of replaced values.
const REPLACED: &str = "cryptonym_gateway_replaced_total";

/// Connections that make everything durable beforehand, and the records of one body.
const BEFOREHAND: (usize, usize) = (4, 400);

/// Sends every record of the pool once, so that none is a first sight any more.
///
/// # Errors
/// One of them was refused.
pub async fn make_known(place: &Place, pool: &Pool, way: &Way) -> Result<(), Failure> {
    let (connections, records) = BEFOREHAND;
    let mut crew = Crew::connect(&way.target, connections).await?;
    place.origin.arm();
    let outcome = crew.drive(&pool.batches(records), Pace::Once).await;
    all_well(&outcome)
}

/// Whether every request was a success.
///
/// # Errors
/// How many were not, and why.
pub fn all_well(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.errors.first_key_value() {
        None => Ok(()),
        Some((why, _)) => {
            let failed = outcome.failed();
            let all = failed + outcome.requests();
            Err(Failure(format!("{failed} of {all} requests failed: {why}")))
        }
    }
}

/// What is sent to measure, and who looks at it.
pub struct Load<'a> {
    pub bodies: &'a Bodies,
    pub pace: Pace,
    pub connections: usize,
    /// The origin and the records, where they are ours.
    pub checked: Option<(&'a Origin, &'a Pool)>,
}

impl Load<'_> {
    /// One round through one way.
    ///
    /// # Errors
    /// No connection; or what arrived is not what should have.
    pub async fn round(&self, way: &Way) -> Result<Round, Failure> {
        let mut crew = Crew::connect(&way.target, self.connections).await?;
        let warmed = crew.drive(self.bodies, Pace::Closed(self.warm_up())).await;
        if let Some((origin, _)) = self.checked {
            origin.arm();
        }
        let counted = |(page, route)| counter(page, REPLACED, route);
        let before = way.counted.map(counted).transpose()?;
        let peak_since_start = way.meter.is_some_and(|meter| !meter.reset_peak());
        let began = way.meter.and_then(|meter| meter.read());
        let mut outcome = crew.drive(self.bodies, self.pace).await;
        let ended = way.meter.and_then(|meter| meter.read());
        let peak = way.meter.and_then(|meter| meter.peak());
        for (why, count) in warmed.errors {
            *outcome.errors.entry(why).or_default() += count;
        }
        let replaced = match (way.counted, before) {
            (Some((page, route)), Some(before)) => {
                let expected = expected(way, &outcome);
                Some(settled(|| Ok(counter(page, REPLACED, route)? - before), expected).await?)
            }
            _ => None,
        };
        Ok(Round {
            verified: self.verified(way, &outcome)?,
            outcome,
            cpu: ended
                .zip(began)
                .map(|(ended, began)| ended.since(&began).as_secs_f64()),
            peak,
            peak_since_start,
            replaced,
        })
    }

    /// A tenth of a round, at most a tenth of a second.
    fn warm_up(&self) -> Duration {
        match self.pace {
            Pace::Closed(time) | Pace::Fixed(_, time) => {
                (time / 10).min(Duration::from_millis(100))
            }
            Pace::Once => Duration::ZERO,
        }
    }

    fn verified(&self, way: &Way, outcome: &Outcome) -> Result<Option<u64>, Failure> {
        let (Some((origin, pool)), Some(expect)) = (self.checked, way.expect) else {
            return Ok(None);
        };
        // Refusals are reported as such; there may then be nothing to look at.
        if outcome.failed() > 0 {
            return Ok(None);
        }
        let (arrived, samples) = origin.seen();
        if arrived != outcome.requests() {
            return Err(Failure(format!(
                "{} answers through {}, but {arrived} bodies at the origin",
                outcome.requests(),
                way.name
            )));
        }
        let compared = verify::samples(&samples, pool, expect)
            .map_err(|failure| Failure(format!("through {}: {failure}", way.name)))?;
        Ok(Some(compared as u64))
    }
}

/// Values that must have been replaced, where the policy is ours.
fn expected(way: &Way, outcome: &Outcome) -> Option<u64> {
    match way.expect {
        Some(Expect::Replaced(members)) if outcome.failed() == 0 => {
            Some(outcome.records * members.len() as u64)
        }
        _ => None,
    }
}

/// Reads a count until it is `expected`: it is written just behind the answer.
///
/// # Errors
/// It stays another.
pub async fn settled(
    count: impl Fn() -> Result<u64, Failure>,
    expected: Option<u64>,
) -> Result<u64, Failure> {
    let began = Instant::now();
    loop {
        let counted = count()?;
        let Some(expected) = expected.filter(|expected| *expected != counted) else {
            return Ok(counted);
        };
        if began.elapsed() > limits::BENCH_SETTLE {
            return Err(Failure(format!(
                "{expected} values should be counted, and {counted} are"
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
