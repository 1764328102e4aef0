//! `cryptonym bench growth`: does a record cost more when many people are known, or a mebibyte
//! more in a longer body?
//!
//! What enters: numbers of known subjects, lengths of bodies. What leaves: processor time of each,
//! also divided by what the same bodies cost on a route that only passes them in the same round,
//! since machines change their speed between two rows. What can never happen: a row about people
//! whom the vault does not hold.

use std::time::Instant;

use serde::Serialize;

use super::bodies::{Bodies, Format, Load as Shape, Pool};
use super::drive::Pace;
use super::link;
use super::measure::{Load, all_well, make_known};
use super::place::{NEW, Place, Way, new_path};
use super::progress::Progress;
use super::report::{Document, Head};
use super::table::{self, number};
use super::verify::Expect;
use crate::local::processes::{Failure, Process};
use crate::local::random::SplitMix64;

/// New subjects that are held in memory at once while the vault is filled: 60 MB of records.
const FILL: u64 = 100_000;
/// Records of one body, and connections that send them.
const BATCH: usize = 100;
const CONNECTIONS: usize = 4;
/// Known subjects that a row is measured with, chosen at random among all: their entries in the
/// gateway's set lie in more memory than a processor keeps at hand.
const SAMPLE: u64 = 200_000;
/// Bytes that a row about the length of a body sends in each round, at least.
const ENOUGH: usize = 64 << 20;

const MIB: f64 = (1 << 20) as f64;

#[derive(Clone, Debug)]
pub struct Options {
    /// Rising.
    pub subjects: Vec<u64>,
    /// Lengths of bodies in MiB; none: only the rows about subjects.
    pub mib: Vec<u32>,
    pub rounds: usize,
    pub seed: u64,
    pub json: bool,
}

#[derive(Serialize)]
struct Body {
    subjects: Vec<Known>,
    lengths: Vec<Length>,
}

/// So many people known, one pseudonym each.
#[derive(Serialize)]
struct Known {
    subjects: u64,
    /// As the vault gave them to a new lease.
    vault_holds: u64,
    /// From the gateway's start to ready, with the whole set loaded.
    start_ms: f64,
    cpu_us_per_record: Option<f64>,
    /// Divided by the same bodies' on the route that passes them.
    to_pass_through: Option<f64>,
    /// Resident memory of the gateway above that of one that knows nobody, right after its start.
    bytes_per_known: Option<f64>,
    vault_mib: Option<f64>,
}

/// One body as long as this, lines of known people.
#[derive(Serialize)]
struct Length {
    mib: u32,
    cpu_ms_per_mib: Option<f64>,
    to_pass_through: Option<f64>,
    peak_mib: Option<f64>,
}

/// # Errors
/// Something could not be started, a request failed, or what arrived was wrong.
pub async fn run(options: Options) -> Result<bool, Failure> {
    let head = Head::new("growth");
    let mut progress = Progress::new(options.subjects.len() * 2 + options.mib.len(), options.json);
    // Each in a place of its own, so that neither counts what the other left.
    let mut place = Place::start(false).await?;
    place.start_gateway()?;
    let lengths = lengths(&mut place, &options, &mut progress).await?;
    place.stop();
    let mut place = Place::start(false).await?;
    let subjects = subjects(&mut place, &options, &mut progress).await?;
    place.stop();
    drop(progress);
    let body = Body { subjects, lengths };
    Document { head, body }.put(options.json, |document| print(&document.body))?;
    Ok(true)
}

async fn subjects(
    place: &mut Place,
    options: &Options,
    progress: &mut Progress,
) -> Result<Vec<Known>, Failure> {
    let mut rows = Vec::new();
    let empty = resident_after_start(place)?.1;
    let mut known = 0;
    for &subjects in &options.subjects {
        progress.step(&format!("{subjects} subjects become known"));
        while known < subjects {
            let more = FILL.min(subjects - known);
            let pool = Pool::of_subjects(options.seed, known..known + more)?;
            make_known(place, &pool, &way(place)?).await?;
            known += more;
        }
        place.gateway.take().map(Process::stop);
        let vault_holds = link::held(&place.site).await?;
        if vault_holds != subjects {
            return Err(Failure(format!(
                "the vault holds {vault_holds} identifiers of the {subjects} that were sent"
            )));
        }
        let (start_ms, resident) = resident_after_start(place)?;
        progress.step(&format!("{subjects} subjects"));
        let mut random = SplitMix64::new(options.seed);
        let chosen = (0..SAMPLE.min(subjects)).map(|_| random.below(subjects));
        let pool = Pool::of_subjects(options.seed, chosen)?;
        let cost = cost(place, &pool, &pool.batches(BATCH), options.rounds, 1).await?;
        let above = resident
            .zip(empty)
            .map(|(now, empty)| now.saturating_sub(empty));
        rows.push(Known {
            subjects,
            vault_holds,
            start_ms,
            cpu_us_per_record: cost.cpu.map(|cpu| cpu * 1e6 / pool.records() as f64),
            to_pass_through: cost.to_pass,
            bytes_per_known: above.map(|bytes| bytes as f64 / subjects as f64),
            vault_mib: place.meters().1.resident().map(|bytes| bytes as f64 / MIB),
        });
    }
    Ok(rows)
}

async fn lengths(
    place: &mut Place,
    options: &Options,
    progress: &mut Progress,
) -> Result<Vec<Length>, Failure> {
    let mut rows = Vec::new();
    for &mib in &options.mib {
        progress.step(&format!("bodies of {mib} MiB"));
        let size = (mib as usize) << 20;
        let pool = Pool::new(options.seed, &[Shape::Stream], size)?;
        make_known(place, &pool, &way(place)?).await?;
        // What the first sights needed is not part of the peak.
        resident_after_start(place)?;
        let body = pool.bodies(Shape::Stream, Format::Ndjson, size);
        let times = ENOUGH.div_ceil(size);
        let cost = cost(place, &pool, &body, options.rounds, times).await?;
        let sent = body.mean_size() * times as f64 / MIB;
        rows.push(Length {
            mib,
            cpu_ms_per_mib: cost.cpu.map(|cpu| cpu * 1e3 / sent),
            to_pass_through: cost.to_pass,
            peak_mib: cost.peak.map(|bytes| bytes as f64 / MIB),
        });
    }
    Ok(rows)
}

struct Cost {
    /// Seconds of the processor for all bodies once: the median round.
    cpu: Option<f64>,
    /// Median of the rounds' ratios.
    to_pass: Option<f64>,
    peak: Option<u64>,
}

/// Sends all bodies, `times` over, in every round: replaced, then passed, on connections that
/// are kept within a round.
async fn cost(
    place: &Place,
    pool: &Pool,
    bodies: &Bodies,
    rounds: usize,
    times: usize,
) -> Result<Cost, Failure> {
    let all = bodies.all.iter().cycle().take(bodies.all.len() * times);
    let bodies = Bodies {
        media: bodies.media.clone(),
        all: all.cloned().collect(),
    };
    let load = Load {
        bodies: &bodies,
        pace: Pace::Once,
        connections: CONNECTIONS.min(bodies.all.len()),
        checked: Some((&place.origin, pool)),
    };
    let pass = place.ways()?.remove(1);
    let replaced = way(place)?;
    let (mut cpus, mut ratios, mut peak) = (Vec::new(), Vec::new(), None);
    // The first round warms up what a fresh process has not touched yet.
    for round in 0..=rounds {
        let ours = load.round(&replaced).await?;
        let passed = load.round(&pass).await?;
        all_well(&ours.outcome)?;
        all_well(&passed.outcome)?;
        if round > 0 {
            cpus.extend(ours.cpu);
            ratios.extend(ours.cpu.zip(passed.cpu).map(|(ours, passed)| ours / passed));
            peak = peak.max(ours.peak);
        }
    }
    Ok(Cost {
        cpu: median(cpus),
        to_pass: median(ratios),
        peak,
    })
}

/// The route on which one member of a record is replaced.
fn way(place: &Place) -> Result<Way, Failure> {
    let (gateway, _) = place.meters();
    Ok(Way {
        name: super::place::GATEWAY,
        target: place.target(place.site.addresses.gateway, &new_path(1))?,
        meter: gateway,
        expect: Some(Expect::Replaced(&NEW[..1])),
        counted: None,
        reads: true,
    })
}

/// Starts the gateway anew: how long until it is ready, in ms, and what memory it has then.
fn resident_after_start(place: &mut Place) -> Result<(f64, Option<u64>), Failure> {
    place.gateway.take().map(Process::stop);
    let began = Instant::now();
    place.start_gateway()?;
    let start = began.elapsed().as_secs_f64() * 1e3;
    let resident = place.meters().0.and_then(|gateway| gateway.resident());
    Ok((start, resident))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn print(body: &Body) {
    if !body.lengths.is_empty() {
        table::put("one body, every subject known:\n");
        table::put("       MiB    ms/MiB   × pass-through   peak MiB");
    }
    for row in &body.lengths {
        table::put(&format!(
            "{:>10}{:>10}{:>17}{:>11}",
            row.mib,
            number(row.cpu_ms_per_mib),
            number(row.to_pass_through),
            number(row.peak_mib)
        ));
    }
    table::put("\nknown subjects, records of random ones of them:\n");
    table::put("  subjects   µs/record   × pass-through   bytes/known   start ms   vault MiB");
    for row in &body.subjects {
        table::put(&format!(
            "{:>10}{:>12}{:>17}{:>14}{:>11}{:>12}",
            row.subjects,
            number(row.cpu_us_per_record),
            number(row.to_pass_through),
            number(row.bytes_per_known),
            number(Some(row.start_ms)),
            number(row.vault_mib)
        ));
    }
    table::put(
        "\nbytes/known: resident memory of the gateway after its start, above an empty one's.",
    );
}
