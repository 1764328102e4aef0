//! `cryptonym bench first-sight`: every record is about somebody new, so every one waits until
//! its recovery records are on the vault's disk.
//!
//! What enters: how many records. What leaves: new identifiers a second, and what they cost the
//! gateway and the vault. What can never happen: a number that the vault does not hold.

use serde::Serialize;

use super::bodies::Pool;
use super::drive::{Crew, Pace};
use super::link;
use super::measure::{all_well, settled};
use super::meter::{Meter, Reading};
use super::place::{NEW, Place, counter, new_path};
use super::report::{Document, Head};
use super::table::{self, number};
use super::verify::{self, Expect};
use crate::local::processes::{Failure, Process};

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub records: u64,
    /// New identifiers of each record, 1 to [`NEW`]'s length.
    pub identifiers: usize,
    /// Records in one body.
    pub batch: usize,
    pub connections: usize,
    pub http2: bool,
    pub seed: u64,
    pub json: bool,
}

#[derive(Serialize)]
struct Body {
    records: u64,
    new_identifiers: u64,
    /// As the gateway counted them.
    first_sights: u64,
    /// As the vault gave them to a new lease afterwards.
    vault_holds: u64,
    verified_records: u64,
    seconds: f64,
    records_per_second: f64,
    new_identifiers_per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    gateway: Cost,
    vault: Cost,
    vault_commits: u64,
    new_identifiers_per_commit: f64,
}

/// One process.
#[derive(Serialize)]
struct Cost {
    cpu_us_per_new_identifier: Option<f64>,
    /// Processor seconds by seconds on the clock: 1 is a core.
    cores: Option<f64>,
    peak_mib: Option<f64>,
}

/// # Errors
/// Something could not be started, a request failed, or a count is not what it should be.
pub async fn run(options: Options) -> Result<bool, Failure> {
    let head = Head::new("first-sight");
    let mut place = Place::start(options.http2).await?;
    place.start_gateway()?;
    let body = measure(&mut place, options).await?;
    place.stop();
    Document { head, body }.put(options.json, |document| print(&document.body))?;
    Ok(true)
}

async fn measure(place: &mut Place, options: Options) -> Result<Body, Failure> {
    let pool = Pool::of_new_subjects(options.seed, options.records)?;
    let bodies = pool.batches(options.batch);
    let addresses = place.site.addresses;
    let path = new_path(options.identifiers);
    let target = place.target(addresses.gateway, &path)?;
    let mut crew = Crew::connect(&target, options.connections).await?;
    place.origin.arm();
    let commits = || counter(addresses.vault_observe, "cryptonym_vault_commits_total", "");
    let commits_before = commits()?;
    let (gateway, vault) = place.meters();
    let read = || (gateway.and_then(|gateway| gateway.read()), vault.read());
    let before = read();
    let outcome = crew.drive(&bodies, Pace::Once).await;
    let after = read();
    all_well(&outcome)?;
    let new = pool.records() * options.identifiers as u64;
    let route = format!(r#"route="new-{}""#, options.identifiers);
    let count = || {
        let name = "cryptonym_gateway_first_sights_total";
        counter(addresses.gateway_observe, name, &route)
    };
    let first_sights = settled(count, Some(new)).await?;
    let members = &NEW[..options.identifiers];
    let verified = verify::samples(&place.origin.seen().1, &pool, Expect::Replaced(members))?;
    let vault_commits = commits()? - commits_before;
    let seconds = outcome.took.as_secs_f64();
    let cost = |meter: Option<Meter>, before: Option<Reading>, after: Option<Reading>| {
        let cpu = after
            .zip(before)
            .map(|(after, before)| after.since(&before));
        let cpu = cpu.map(|cpu| cpu.as_secs_f64());
        let peak = meter.and_then(|meter| meter.peak());
        Cost {
            cpu_us_per_new_identifier: cpu.map(|cpu| cpu * 1e6 / new as f64),
            cores: cpu.map(|cpu| cpu / seconds),
            peak_mib: peak.map(|bytes| bytes as f64 / f64::from(1 << 20)),
        }
    };
    let gateway = cost(gateway, before.0, after.0);
    let vault = cost(Some(vault), before.1, after.1);
    // One gateway has one lease at a time: ours goes before another asks.
    place.gateway.take().map(Process::stop);
    let vault_holds = link::held(&place.site).await?;
    if vault_holds != new {
        return Err(Failure(format!(
            "the vault holds {vault_holds} identifiers of the {new} that were sent"
        )));
    }
    Ok(Body {
        records: outcome.records,
        new_identifiers: new,
        first_sights,
        vault_holds,
        verified_records: verified as u64,
        seconds,
        records_per_second: outcome.records as f64 / seconds,
        new_identifiers_per_second: new as f64 / seconds,
        p50_ms: outcome.latencies.percentile(0.5),
        p99_ms: outcome.latencies.percentile(0.99),
        gateway,
        vault,
        vault_commits,
        new_identifiers_per_commit: new as f64 / vault_commits.max(1) as f64,
    })
}

fn print(body: &Body) {
    table::put(&format!(
        "{} records, each of a new subject, with {} new identifiers in all, in {:.1} s:\n",
        body.records, body.new_identifiers, body.seconds
    ));
    table::put(&format!(
        "  new subjects/s      {:>9}\n  new identifiers/s   {:>9}\n  p50, p99 of a body  {:>9} ms, {} ms",
        number(Some(body.records_per_second)),
        number(Some(body.new_identifiers_per_second)),
        number(body.p50_ms),
        number(body.p99_ms),
    ));
    table::put(&format!(
        "  commits             {:>9}, {} new identifiers each\n",
        body.vault_commits,
        number(Some(body.new_identifiers_per_commit))
    ));
    table::put("           CPU µs/identifier   cores   peak MiB");
    for (name, cost) in [("gateway", &body.gateway), ("vault", &body.vault)] {
        table::put(&format!(
            "  {name:<9}{:>17}{:>8}{:>11}",
            number(cost.cpu_us_per_new_identifier),
            number(cost.cores),
            number(cost.peak_mib)
        ));
    }
    table::put(&format!(
        "\nEach was synced to disk before its record left; the vault holds {}, and {} records were\n\
         compared at the origin.",
        body.vault_holds, body.verified_records
    ));
}
