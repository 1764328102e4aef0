//! `cryptonym bench soak --calm`: one load at a fixed rate for a long time.
//!
//! What enters: minutes, a rate. What leaves: a line a period, and at the end whether memory
//! grew. What can never happen: an error or a leak that ends as a success.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::bodies::{Format, Load, Pool};
use super::drive::{Crew, Pace};
use super::measure::make_known;
use super::place::{FOUR, Place};
use super::report::{Document, Head};
use super::table::{self, number};
use super::verify::{self, Expect};
use crate::limits;
use crate::local::processes::Failure;

/// The body of the load `stream`.
const STREAM: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub minutes: f64,
    pub rate: f64,
    /// Seconds between two lines.
    pub period: f64,
    pub load: Load,
    pub connections: usize,
    pub http2: bool,
    pub seed: u64,
    pub json: bool,
}

#[derive(Serialize)]
struct Body {
    rate: f64,
    load: &'static str,
    periods: Vec<Period>,
    requests: u64,
    errors: u64,
    gateway: Memory,
    vault: Memory,
}

/// What one line says.
#[derive(Clone, Serialize)]
pub struct Period {
    /// Since the beginning, at the end of the period.
    pub seconds: f64,
    pub requests: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    pub errors: std::collections::BTreeMap<String, u64>,
    pub gateway_mib: Option<f64>,
    pub vault_mib: Option<f64>,
}

/// Resident memory of one process over the run.
#[derive(Serialize)]
pub struct Memory {
    /// Median of the second quarter, and of the last.
    early_mib: Option<f64>,
    late_mib: Option<f64>,
    pub grew: bool,
}

/// `Ok(false)`: requests failed, or memory grew.
///
/// # Errors
/// Something could not be started, or what arrived was wrong.
pub async fn run(options: Options) -> Result<bool, Failure> {
    let head = Head::new("soak");
    let mut place = Place::start(options.http2).await?;
    place.start_gateway()?;
    let periods = measure(&place, options).await?;
    place.stop();
    let body = Body {
        rate: options.rate,
        load: options.load.name(),
        requests: periods.iter().map(|period| period.requests).sum(),
        errors: periods
            .iter()
            .flat_map(|period| period.errors.values())
            .sum(),
        gateway: Memory::of(&periods, |period| period.gateway_mib),
        vault: Memory::of(&periods, |period| period.vault_mib),
        periods,
    };
    let well = body.errors == 0 && !body.gateway.grew && !body.vault.grew;
    Document { head, body }.put(options.json, |document| conclude(&document.body))?;
    Ok(well)
}

async fn measure(place: &Place, options: Options) -> Result<Vec<Period>, Failure> {
    let pool = Pool::new(options.seed, &[options.load], STREAM)?;
    let bodies = pool.bodies(options.load, Format::Json, STREAM);
    let ways = place.ways()?;
    make_known(place, &pool, &ways[0]).await?;
    let (gateway, vault) = place.meters();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut crew = Crew::connect(&ways[0].target, options.connections).await?;
    if !options.json {
        heading();
    }
    let (began, whole) = (
        Instant::now(),
        Duration::from_secs_f64(options.minutes * 60.0),
    );
    let mut periods = Vec::new();
    while let Some(left) = whole
        .checked_sub(began.elapsed())
        .filter(|left| !left.is_zero())
    {
        place.origin.arm();
        let time = Duration::from_secs_f64(options.period).min(left);
        let outcome = crew.drive(&bodies, Pace::Fixed(options.rate, time)).await;
        if outcome.requests() > 0 {
            let samples = place.origin.seen().1;
            verify::samples(&samples, &pool, Expect::Replaced(FOUR))?;
        }
        let period = Period {
            seconds: began.elapsed().as_secs_f64(),
            requests: outcome.requests(),
            p50_ms: outcome.latencies.percentile(0.5),
            p99_ms: outcome.latencies.percentile(0.99),
            p999_ms: outcome.latencies.percentile(0.999),
            errors: outcome.errors,
            gateway_mib: gateway.and_then(|meter| meter.resident()).map(mebibytes),
            vault_mib: vault.resident().map(mebibytes),
        };
        if !options.json {
            print(&period);
        }
        periods.push(period);
    }
    Ok(periods)
}

impl Memory {
    pub fn of(periods: &[Period], memory: impl Fn(&Period) -> Option<f64>) -> Self {
        let median = |part: &[Period]| {
            let mut values: Vec<f64> = part.iter().filter_map(&memory).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let quarter = periods.len().div_ceil(4);
        // With a single period there is nothing to compare: both are that one.
        let second = quarter.min(periods.len().saturating_sub(1));
        let early = median(&periods[second..(second + quarter).min(periods.len())]);
        let late = median(&periods[periods.len() - quarter..]);
        Self {
            early_mib: early,
            late_mib: late,
            grew: early
                .zip(late)
                .is_none_or(|(early, late)| late - early > allowed(early)),
        }
    }
}

impl Memory {
    pub fn says(&self, name: &str) {
        let verdict = if self.grew { "GREW" } else { "did not grow" };
        let allowed = self.early_mib.map(allowed);
        table::put(&format!(
            "{name}: memory {verdict}: {} MiB in the second quarter, {} MiB in the last ({} MiB are allowed)",
            number(self.early_mib),
            number(self.late_mib),
            number(allowed)
        ));
    }
}

/// Growth that is none, in MiB.
fn allowed(early: f64) -> f64 {
    (limits::BENCH_GROWTH as f64 / f64::from(1 << 20)).max(early * limits::BENCH_GROWTH_PART)
}

pub fn heading() {
    table::put("     time  requests   p50 ms   p99 ms    p99.9   errors  gateway MiB  vault MiB");
}

pub fn print(period: &Period) {
    let seconds = period.seconds as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    table::put(&format!(
        "{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>13}{:>11}",
        format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        period.requests,
        number(period.p50_ms),
        number(period.p99_ms),
        number(period.p999_ms),
        period.errors.values().sum::<u64>(),
        number(period.gateway_mib),
        number(period.vault_mib),
    ));
    for (why, count) in &period.errors {
        table::put(&format!("    {count} requests failed: {why}"));
    }
}

fn conclude(body: &Body) {
    table::put(&format!(
        "\n{} requests, {} errors",
        body.requests, body.errors
    ));
    body.gateway.says("gateway");
    body.vault.says("vault");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(values: &[f64]) -> Memory {
        let periods: Vec<Period> = values
            .iter()
            .map(|mib| Period {
                seconds: 1.0,
                requests: 1,
                p50_ms: None,
                p99_ms: None,
                p999_ms: None,
                errors: Default::default(),
                gateway_mib: Some(*mib),
                vault_mib: None,
            })
            .collect();
        Memory::of(&periods, |period| period.gateway_mib)
    }

    #[test]
    fn a_leak_is_found_and_a_warm_up_is_none() {
        assert!(!memory(&[20.0]).grew);
        assert!(!memory(&[20.0, 30.0]).grew);
        assert!(!memory(&[5.0, 30.0, 30.0, 31.0, 30.0, 29.0, 31.0, 30.0]).grew);
        let leak: Vec<f64> = (0..40).map(|n| 20.0 + f64::from(n)).collect();
        assert!(memory(&leak).grew);
        assert!(memory(&[20.0, 20.0, 20.0, 25.0]).grew);
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_called_well() {
        let unseen = Memory::of(&[], |period| period.gateway_mib);
        assert!(unseen.grew && unseen.early_mib.is_none());
    }
}
