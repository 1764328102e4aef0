//! `cryptonym bench`: every load in every format, through every way, in turn.
//!
//! What enters: [`Options`]. What leaves: a table or a document. What can never happen: one way
//! is measured in a quiet minute and another in a noisy one; rounds take turns.

use std::path::PathBuf;
use std::time::Duration;

use super::bodies::{Bodies, Format, Load, Pool};
use super::compare;
use super::drive::Pace;
use super::measure::{self, make_known};
use super::meter::Meter;
use super::place::{GATEWAY, Place, Way};
use super::progress::Progress;
use super::report::{CPU_REQUEST, Cell, Document, Figure, Head, Round, Speed, TO_NGINX};
use super::table;
use super::target::{Target, Trust};
use crate::local::processes::Failure;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Somebody's own gateway, instead of one on loopback.
    pub aim: Option<Aim>,
    pub loads: Vec<Load>,
    /// Measured time of one row, over all its rounds.
    pub seconds: f64,
    pub rounds: usize,
    pub connections: usize,
    pub http2: bool,
    /// Requests a second; `None`: each load as it is.
    pub rate: Option<f64>,
    pub stream: usize,
    pub peers: bool,
    pub seed: u64,
    pub json: bool,
    pub compare: Option<PathBuf>,
}

/// A gateway that is not ours.
#[derive(Clone, Debug)]
pub struct Aim {
    pub url: String,
    pub ca: Option<PathBuf>,
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A body of one's own, and its media type.
    pub body: Option<(PathBuf, String)>,
    pub process: Option<u32>,
    pub observe: Option<std::net::SocketAddr>,
}

/// The load `latency`: requests a second.
const LATENCY_RATE: f64 = 200.0;

/// Large bodies keep a connection busy; more of them at once only wait for each other.
const STREAMS: usize = 2;

/// Measures, prints. `Ok(false)`: requests failed.
///
/// # Errors
/// Something could not be started, or what arrived was wrong.
pub async fn run(options: &Options) -> Result<bool, Failure> {
    let before = options.compare.as_deref().map(compare::read).transpose()?;
    let mut head = Head::new("speed");
    let cells = match &options.aim {
        Some(aim) => of_target(options, aim).await?,
        None => of_our_own(options, &mut head).await?,
    };
    let mut document = Document {
        head,
        body: Speed {
            cells,
            compared: None,
        },
    };
    let differences = before
        .as_ref()
        .map(|before| compare::differences(before, &document));
    document.body.compared =
        before.map(|before| compare::changes(&before.body.cells, &document.body.cells));
    document.put(options.json, |document| print(document, options))?;
    for difference in differences.into_iter().flatten() {
        eprintln!("bench: {difference}");
    }
    Ok(document
        .body
        .cells
        .iter()
        .all(|cell| cell.errors.is_empty()))
}

async fn of_our_own(options: &Options, head: &mut Head) -> Result<Vec<Cell>, Failure> {
    let plans = plans(options);
    let mut place = Place::start(options.http2).await?;
    place.start_gateway()?;
    if options.peers {
        for (name, version) in place.start_peers()? {
            head.peers.insert(name.to_owned(), version);
        }
    }
    let pool = Pool::new(options.seed, &options.loads, options.stream)?;
    let ways = place.ways()?;
    let rows = plans
        .iter()
        .map(|plan| ways.iter().filter(|way| plan.wants(way)).count());
    let mut progress = Progress::new(rows.sum::<usize>() * options.rounds + 1, options.json);
    progress.step("making every identifier known to the vault");
    make_known(&place, &pool, &ways[0]).await?;
    let mut cells = Vec::new();
    for plan in plans {
        let bodies = pool.bodies(plan.load, plan.format, options.stream);
        let load = measure::Load {
            bodies: &bodies,
            pace: plan.pace,
            connections: plan.connections,
            checked: Some((&place.origin, &pool)),
        };
        let wanted: Vec<&Way> = ways.iter().filter(|way| plan.wants(way)).collect();
        let name = (plan.load.name(), plan.format.name());
        cells.extend(rounds(&load, name, &wanted, options.rounds, &mut progress).await?);
    }
    drop(progress);
    place.stop();
    compare_to_nginx(&mut cells);
    Ok(cells)
}

async fn of_target(options: &Options, aim: &Aim) -> Result<Vec<Cell>, Failure> {
    let identity = aim.identity.as_ref();
    let trust = Trust {
        ca: aim.ca.as_deref(),
        identity: identity.map(|(certificate, key)| (certificate.as_path(), key.as_path())),
    };
    let way = Way {
        name: "target",
        target: Target::at(&aim.url, trust, options.http2).await?,
        meter: aim.process.map(Meter::new),
        expect: None,
        counted: aim.observe.map(|page| (page, "")),
        reads: true,
    };
    if let Some(process) = aim.process.filter(|id| Meter::new(*id).read().is_none()) {
        return Err(Failure(format!("there is no process {process}")));
    }
    let mut all: Vec<(String, String, Bodies, Plan)> = Vec::new();
    match &aim.body {
        Some((file, media)) => {
            let body = std::fs::read(file)
                .map_err(|error| Failure(format!("{}: {error}", file.display())))?;
            let plan = Plan::new(options, Load::Single, Format::Json);
            let bodies = Bodies {
                media: media.clone(),
                all: vec![(body.into(), 0)],
            };
            let format = media.rsplit(['/', '-']).next().unwrap_or(media);
            all.push(("file".to_owned(), format.to_uppercase(), bodies, plan));
        }
        None => {
            let pool = Pool::new(options.seed, &options.loads, options.stream)?;
            for plan in plans(options) {
                let bodies = pool.bodies(plan.load, plan.format, options.stream);
                let (load, format) = (plan.load.name(), plan.format.name());
                all.push((load.to_owned(), format.to_owned(), bodies, plan));
            }
        }
    }
    let mut progress = Progress::new(all.len() * options.rounds, options.json);
    let mut cells = Vec::new();
    for (name, format, bodies, plan) in &all {
        let load = measure::Load {
            bodies,
            pace: plan.pace,
            connections: plan.connections,
            checked: None,
        };
        let name = (name.as_str(), format.as_str());
        cells.extend(rounds(&load, name, &[&way], options.rounds, &mut progress).await?);
    }
    Ok(cells)
}

/// Rounds of one load, the ways taking turns.
async fn rounds(
    load: &measure::Load<'_>,
    (name, format): (&str, &str),
    ways: &[&Way],
    rounds: usize,
    progress: &mut Progress,
) -> Result<Vec<Cell>, Failure> {
    let mut done: Vec<Vec<Round>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, done) in ways.iter().zip(&mut done) {
            progress.step(&format!("{name} {format} {}", way.name));
            done.push(load.round(way).await?);
        }
    }
    let cell = |(way, rounds): (&&Way, Vec<Round>)| {
        let whole = Round::whole(&rounds);
        Cell {
            load: name.to_owned(),
            format: format.to_owned(),
            through: way.name.to_owned(),
            connections: load.connections,
            rate: match load.pace {
                Pace::Fixed(rate, _) => Some(rate),
                _ => None,
            },
            body_bytes: load.bodies.mean_size(),
            records_per_request: load.bodies.mean_records(),
            requests: whole.outcome.requests(),
            records: whole.outcome.records,
            replaced: whole.replaced,
            verified_records: whole.verified,
            errors: whole.outcome.errors.clone(),
            peak_since_start: whole.peak_since_start,
            seconds: whole.outcome.took.as_secs_f64(),
            figures: Round::figures(&rounds),
        }
    };
    Ok(ways.iter().zip(done).map(cell).collect())
}

/// One load in one format.
struct Plan {
    load: Load,
    format: Format,
    pace: Pace,
    connections: usize,
}

impl Plan {
    fn new(options: &Options, load: Load, format: Format) -> Self {
        let time = Duration::from_secs_f64(options.seconds / options.rounds as f64);
        let rate = match load {
            Load::Latency => Some(options.rate.unwrap_or(LATENCY_RATE)),
            _ => options.rate,
        };
        Self {
            load,
            format,
            pace: match rate {
                Some(rate) => Pace::Fixed(rate, time),
                None => Pace::Closed(time),
            },
            connections: match load {
                Load::Stream => options.connections.min(STREAMS),
                _ => options.connections,
            },
        }
    }

    /// Who does not read the records is measured once.
    fn wants(&self, way: &Way) -> bool {
        way.reads || self.format == Format::ALL[0]
    }
}

fn plans(options: &Options) -> Vec<Plan> {
    let each = |&load: &Load| Format::ALL.map(|format| Plan::new(options, load, format));
    options.loads.iter().flat_map(each).collect()
}

/// Adds what each cell costs a request, divided by what nginx costs in the same load.
fn compare_to_nginx(cells: &mut [Cell]) {
    let nginx: Vec<(String, Figure)> = cells
        .iter()
        .filter(|cell| cell.through == "nginx")
        .filter_map(|cell| Some((cell.load.clone(), *cell.figures.get(CPU_REQUEST)?)))
        .collect();
    for cell in cells {
        let yardstick = nginx.iter().find(|(load, _)| *load == cell.load);
        let (Some((_, nginx)), Some(own)) = (yardstick, cell.figures.get(CPU_REQUEST)) else {
            continue;
        };
        let ratio = Figure {
            value: own.value / nginx.value,
            low: own.low / nginx.high,
            high: own.high / nginx.low,
        };
        cell.figures.insert(TO_NGINX.to_owned(), ratio);
    }
}

fn print(document: &Document<Speed>, options: &Options) {
    let head = &document.head;
    let http = if options.http2 { "HTTP/2" } else { "HTTP/1.1" };
    table::put(&format!(
        "cryptonym {} on {} cores of {}, {http}, rounds: {}\n",
        head.cryptonym, head.machine.cores, head.machine.model, options.rounds
    ));
    table::put(&table::speed(&document.body.cells));
    if let Some(aim) = &options.aim {
        table::put("What reached the backend was not looked at: it is not ours.");
        if aim.process.is_none() {
            table::put("Processor time and memory of the target: with --pid, on its own machine.");
        }
    } else {
        table::put(&format!(
            "`{GATEWAY}` replaced four values a record, compared at the origin; every other row only\n\
             passes bytes, whatever their format. nginx and HAProxy have one worker, the gateway one a core."
        ));
    }
    for (peer, version) in &head.peers {
        table::put(&match version {
            Some(version) => format!("{peer} {version}"),
            None => format!("{peer}: not installed, so there is no row of it"),
        });
    }
    let cells = &document.body.cells;
    if cells.iter().any(|cell| cell.peak_since_start) {
        table::put("Peak memory is that since the start of a process: only root may reset it.");
    }
    if head.unoptimised {
        table::put("This executable was built without optimisation: the figures say nothing.");
    }
    if let Some(changes) = &document.body.compared {
        table::put(&format!("\n{}", table::compared(changes)));
    }
}
