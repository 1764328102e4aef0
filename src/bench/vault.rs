//! `cryptonym bench vault`: the vault alone, driven by the client that a gateway uses.
//!
//! What enters: how many records, how many a call. What leaves: durable records a second, what
//! they cost, and how long a gateway that starts waits for its lease. What can never happen:
//! a record counts that the vault does not hold afterwards.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use serde::Serialize;
use tokio::task::JoinSet;

use super::histogram::Histogram;
use super::link::Link;
use super::meter::Meter;
use super::place::{Place, counter};
use super::report::{Document, Head};
use super::table::{self, number};
use crate::local::generate::Generator;
use crate::local::processes::Failure;
use crate::pseudonym::Normaliser;
use crate::secret::PlainBuf;
use crate::vault_link::FirstSight;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub records: u64,
    /// Records of one call: what a segment of a body brings.
    pub batch: usize,
    /// Calls at once.
    pub calls: usize,
    /// Leases afterwards, each with the whole known set.
    pub leases: usize,
    pub seed: u64,
    pub json: bool,
}

#[derive(Serialize)]
struct Body {
    records: u64,
    records_per_call: usize,
    calls_at_once: usize,
    seconds: f64,
    calls_per_second: f64,
    records_per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    commits: u64,
    vault_holds: u64,
    vault_cpu_us_per_record: Option<f64>,
    /// The client: sealing, TLS, the known set.
    link_cpu_us_per_record: Option<f64>,
    vault_peak_mib: Option<f64>,
    leases: usize,
    /// With all those records in the known set.
    lease_p50_ms: Option<f64>,
    lease_longest_ms: Option<f64>,
}

/// # Errors
/// Something could not be started, or the vault refused.
pub async fn run(options: Options) -> Result<bool, Failure> {
    let head = Head::new("vault");
    let place = Place::start(false).await?;
    let body = measure(&place, options).await?;
    place.stop();
    Document { head, body }.put(options.json, |document| print(&document.body))?;
    Ok(true)
}

async fn measure(place: &Place, options: Options) -> Result<Body, Failure> {
    let page = place.site.addresses.vault_observe;
    let commits = || counter(page, "cryptonym_vault_commits_total", "");
    let link = Link::open(&place.site).await?;
    let work = sights(&link, options)?;
    let (vault, ours) = (place.meters().1, Meter::new(std::process::id()));
    let commits_before = commits()?;
    let (vault_before, all_before) = (vault.read(), ours.read());
    let began = Instant::now();
    let latencies = publish(&link, work, options.calls).await?;
    let seconds = began.elapsed().as_secs_f64();
    let vault_cpu = vault
        .read()
        .zip(vault_before)
        .map(|(now, then)| now.since(&then));
    let all_cpu = ours
        .read()
        .zip(all_before)
        .map(|(now, then)| now.since(&then));
    let vault_peak = vault.peak();
    let commits = commits()? - commits_before;
    drop(link);

    let mut leases = Histogram::default();
    let mut vault_holds = None;
    for _ in 0..options.leases.max(1) {
        let link = Link::open(&place.site).await?;
        leases.record(link.took);
        vault_holds = Some(link.known());
    }
    let vault_holds = vault_holds.unwrap_or(0);
    if vault_holds != options.records {
        return Err(Failure(format!(
            "the vault holds {vault_holds} of {} records",
            options.records
        )));
    }
    let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / options.records as f64;
    Ok(Body {
        records: options.records,
        records_per_call: options.batch,
        calls_at_once: options.calls,
        seconds,
        calls_per_second: latencies.total() as f64 / seconds,
        records_per_second: options.records as f64 / seconds,
        p50_ms: latencies.percentile(0.5),
        p99_ms: latencies.percentile(0.99),
        commits,
        vault_holds,
        vault_cpu_us_per_record: vault_cpu.map(each),
        link_cpu_us_per_record: all_cpu
            .zip(vault_cpu)
            // The vault is a child of this process.
            .map(|(all, vault)| each(all.saturating_sub(vault))),
        vault_peak_mib: vault_peak.map(|bytes| bytes as f64 / f64::from(1 << 20)),
        leases: options.leases.max(1),
        lease_p50_ms: leases.percentile(0.5),
        lease_longest_ms: leases.percentile(1.0),
    })
}

/// The first sights of so many subjects, as a rewrite would find them.
fn sights(link: &Link, options: Options) -> Result<Vec<Vec<FirstSight>>, Failure> {
    let lease = link.lease()?;
    let kind = link.config.kinds.find("subscriber");
    let kind = kind.ok_or_else(|| Failure("there is no kind `subscriber`".to_owned()))?;
    let generator = Generator::new(options.seed);
    let mut normal = Vec::new();
    let sight = |index| {
        let id = generator.subscriber(index).subscriber_id;
        Normaliser::Subscriber
            .normalise(id.as_bytes(), &mut normal)
            .map_err(|_| Failure("a generated identifier has no normal form".to_owned()))?;
        Ok(FirstSight {
            kind,
            pseudonym: lease.kind(kind).derive(&normal),
            identifier: PlainBuf::new(normal.clone()),
            subject: None,
        })
    };
    let mut all = (0..options.records)
        .map(sight)
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut calls = Vec::new();
    while !all.is_empty() {
        let rest = all.len().saturating_sub(options.batch);
        calls.push(all.split_off(rest));
    }
    Ok(calls)
}

async fn publish(
    link: &Link,
    work: Vec<Vec<FirstSight>>,
    calls: usize,
) -> Result<Histogram, Failure> {
    let lease = link.lease()?;
    let work = Arc::new(Mutex::new(work));
    let mut tasks = JoinSet::new();
    for _ in 0..calls {
        let (lease, work) = (lease.clone(), work.clone());
        tasks.spawn(async move {
            let next = || work.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut latencies = Histogram::default();
            while let Some(sights) = next() {
                let began = Instant::now();
                lease.make_durable(sights).await?;
                latencies.record(began.elapsed());
            }
            Ok::<_, crate::error::Fault>(latencies)
        });
    }
    let mut all = Histogram::default();
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| Failure(error.to_string()))?;
        all.add(&done.map_err(|fault| Failure(fault.to_string()))?);
    }
    Ok(all)
}

fn print(body: &Body) {
    table::put(&format!(
        "{} new records in calls of {}, {} at once, in {:.1} s:\n",
        body.records, body.records_per_call, body.calls_at_once, body.seconds
    ));
    table::put(&format!(
        "  calls/s             {:>9}\n  records/s           {:>9}\n  p50, p99 of a call  {:>9} ms, {} ms\n  commits             {:>9}",
        number(Some(body.calls_per_second)),
        number(Some(body.records_per_second)),
        number(body.p50_ms),
        number(body.p99_ms),
        body.commits
    ));
    table::put(&format!(
        "  vault CPU           {:>9} µs/record, peak {} MiB\n  client CPU          {:>9} µs/record (sealing, TLS)",
        number(body.vault_cpu_us_per_record),
        number(body.vault_peak_mib),
        number(body.link_cpu_us_per_record)
    ));
    table::put(&format!(
        "  lease               {:>9} ms (p50 of {}; longest {} ms), with a known set of {}",
        number(body.lease_p50_ms),
        body.leases,
        number(body.lease_longest_ms),
        body.vault_holds
    ));
}
