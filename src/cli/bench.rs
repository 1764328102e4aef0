//! `cryptonym bench`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Exit;
use crate::bench::bodies::Load;
use crate::bench::speed::Aim;
use crate::bench::{self, Task, first_sight, growth, soak, speed, trouble, vault};

const EXAMPLES: &str = "\
Examples:
  cryptonym bench                                  all loads, beside nginx and HAProxy if installed
  cryptonym bench --load single --http 2 --seconds 10
  cryptonym bench --json > before.json             and after a change:
  cryptonym bench --compare before.json            ratios; + better, ! worse, beyond the noise
  cryptonym bench --load batch --rate 500          latency at a fixed rate, from the intended time
  cryptonym bench --target https://ingest.example/v1/results --ca ca.pem \\
      --certificate me.pem --key me.key --body batch.ndjson --pid 4711
  cryptonym bench first-sight --records 100000     every record about somebody new
  cryptonym bench soak                             ten minutes of trouble: lost, wrong, grown?
  cryptonym bench soak --calm --minutes 60         does memory grow?
  cryptonym bench vault                            the vault alone
  cryptonym bench growth --subjects 1000000,10000000 --mib 0

Without --target it starts a vault, a gateway and an origin of its own on free loopback ports,
with generated people, and removes them at the end. docs/bench.md says what each column means.

Exit codes: 0 measured · 1 requests failed, or (soak) memory grew · 4 it could not be measured,
or what reached the origin was not what the policy says";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,

    #[command(flatten)]
    speed: SpeedArgs,
}

#[derive(clap::Subcommand)]
enum Other {
    /// New identifiers a second: every record waits for the vault's disk
    FirstSight(FirstSightArgs),
    /// Whether a record costs more when more people are known, or a MiB more in a longer body
    Growth(GrowthArgs),
    /// Ten minutes with reloads, restarts and clients that break off; says what was lost, wrong or grew
    Soak(SoakArgs),
    /// The vault alone, driven by the client that a gateway uses
    Vault(VaultArgs),
}

#[derive(clap::Args)]
struct SpeedArgs {
    /// What to send (may be repeated) [default: all]
    #[arg(long, value_enum, value_name = "LOAD")]
    load: Vec<Load>,

    /// Measured time of each row, over all its rounds
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = positive)]
    seconds: f64,

    /// Rounds of each row; the rows of one load take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// A fixed rate for every load; a latency counts from when its request was due
    #[arg(long, value_name = "REQUESTS/S", value_parser = positive)]
    rate: Option<f64>,

    /// Size of the body of `stream`
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    stream_mib: u32,

    #[command(flatten)]
    wire: WireArgs,

    /// Leave nginx and HAProxy out
    #[arg(long)]
    no_peers: bool,

    /// Measure nginx and HAProxy beside the gateway, if they are installed (this is the default)
    #[arg(long, conflicts_with_all = ["no_peers", "target"])]
    peers: bool,

    /// Compare with the document of an earlier `bench --json`
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,

    #[command(flatten)]
    out: OutArgs,

    /// A gateway of your own; its host, port, path and query
    #[arg(long, value_name = "URL", help_heading = "Your own gateway")]
    target: Option<String>,

    /// The CA of the target's certificate [default: those that this machine trusts]
    #[arg(
        long,
        value_name = "FILE",
        requires = "target",
        help_heading = "Your own gateway"
    )]
    ca: Option<PathBuf>,

    /// A client certificate
    #[arg(long, value_name = "FILE", requires_all = ["target", "key"], help_heading = "Your own gateway")]
    certificate: Option<PathBuf>,

    /// The certificate's private key
    #[arg(
        long,
        value_name = "FILE",
        requires = "certificate",
        help_heading = "Your own gateway"
    )]
    key: Option<PathBuf>,

    /// Send this body instead of generated records
    #[arg(
        long,
        value_name = "FILE",
        requires = "target",
        conflicts_with = "load",
        help_heading = "Your own gateway"
    )]
    body: Option<PathBuf>,

    /// Its Content-Type [default: by the file's ending]
    #[arg(
        long,
        value_name = "MEDIA",
        requires = "body",
        help_heading = "Your own gateway"
    )]
    media: Option<String>,

    /// The target's process on this machine, for processor time and memory
    #[arg(
        long,
        value_name = "N",
        requires = "target",
        help_heading = "Your own gateway"
    )]
    pid: Option<u32>,

    /// The target's `gateway.observe`, for replaced values
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "target",
        help_heading = "Your own gateway"
    )]
    observe: Option<SocketAddr>,
}

#[derive(clap::Args)]
struct WireArgs {
    /// Connections at once, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,

    /// The protocol
    #[arg(long, value_name = "VERSION", default_value = "1.1", value_parser = ["1.1", "2"])]
    http: String,
}

#[derive(clap::Args)]
struct OutArgs {
    /// Print a JSON document, for programs and for --compare
    #[arg(long)]
    json: bool,

    /// Another seed, other people; the same seed, the same people
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct FirstSightArgs {
    /// Records, each of a new subject
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=800_000))]
    records: u64,

    /// New identifiers of each: subscriber id, email, NHS number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    new_per_record: u8,

    /// Records in one body
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,

    #[command(flatten)]
    wire: WireArgs,

    #[command(flatten)]
    out: OutArgs,
}

#[derive(clap::Args)]
struct GrowthArgs {
    /// Known subjects, rising (may be repeated, or with commas)
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [50_000, 500_000], value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    subjects: Vec<u64>,

    /// Length of a body in MiB (may be repeated, or with commas); 0: none of these rows
    #[arg(long, value_name = "MIB", value_delimiter = ',', default_values_t = [1, 16, 128], value_parser = clap::value_parser!(u32).range(0..=2048))]
    mib: Vec<u32>,

    /// Rounds of each row; replaced and passed take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    #[command(flatten)]
    out: OutArgs,
}

#[derive(clap::Args)]
struct SoakArgs {
    /// How long
    #[arg(long, value_name = "M", default_value_t = 10.0, value_parser = positive)]
    minutes: f64,

    /// Requests a second [default: 20, with --calm 200]
    #[arg(long, value_name = "REQUESTS/S", value_parser = positive)]
    rate: Option<f64>,

    /// Seconds between two reloads; the backend goes away half as often, the vault a third
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = positive, conflicts_with = "calm")]
    every: f64,

    /// No trouble: one load at a fixed rate, nothing else
    #[arg(long)]
    calm: bool,

    /// Seconds between two lines
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = positive)]
    period: f64,

    /// What to send with --calm
    #[arg(
        long,
        value_enum,
        value_name = "LOAD",
        default_value = "single",
        requires = "calm"
    )]
    load: Load,

    #[command(flatten)]
    wire: WireArgs,

    #[command(flatten)]
    out: OutArgs,
}

#[derive(clap::Args)]
struct VaultArgs {
    /// New records
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    records: u64,

    /// Records of one call
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Calls at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    calls: u32,

    /// Leases afterwards, each with the whole known set
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    leases: u32,

    #[command(flatten)]
    out: OutArgs,
}

pub fn run(args: Args, _config: &Path) -> Exit {
    let task = match args.other {
        None => Task::Speed(Box::new(args.speed.checked())),
        Some(Other::FirstSight(args)) => Task::FirstSight(first_sight::Options {
            records: args.records,
            identifiers: usize::from(args.new_per_record),
            batch: args.batch as usize,
            connections: args.wire.connections as usize,
            http2: args.wire.http == "2",
            seed: args.out.seed,
            json: args.out.json,
        }),
        Some(Other::Growth(args)) => Task::Growth(growth::Options {
            subjects: rising(args.subjects),
            mib: args.mib.into_iter().filter(|mib| *mib > 0).collect(),
            rounds: args.rounds as usize,
            seed: args.out.seed,
            json: args.out.json,
        }),
        Some(Other::Soak(args)) if !args.calm => Task::Soak(trouble::Options {
            minutes: args.minutes,
            rate: args.rate.unwrap_or(20.0),
            period: args.period,
            every: args.every,
            clients: args.wire.connections as usize,
            seed: args.out.seed,
            json: args.out.json,
        }),
        Some(Other::Soak(args)) => Task::Calm(soak::Options {
            minutes: args.minutes,
            rate: args.rate.unwrap_or(200.0),
            period: args.period,
            load: args.load,
            connections: args.wire.connections as usize,
            http2: args.wire.http == "2",
            seed: args.out.seed,
            json: args.out.json,
        }),
        Some(Other::Vault(args)) => Task::Vault(vault::Options {
            records: args.records,
            batch: args.batch as usize,
            calls: args.calls as usize,
            leases: args.leases as usize,
            seed: args.out.seed,
            json: args.out.json,
        }),
    };
    match bench::run(&task) {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::No,
        Err(failure) => {
            eprintln!("bench: {failure}");
            Exit::Failed
        }
    }
}

impl SpeedArgs {
    fn checked(self) -> speed::Options {
        let media = |file: &Path| match file.extension().and_then(|ending| ending.to_str()) {
            Some("ndjson" | "jsonl") => "application/x-ndjson".to_owned(),
            _ => "application/json".to_owned(),
        };
        let named = self.media;
        speed::Options {
            aim: self.target.map(|url| Aim {
                url,
                ca: self.ca,
                identity: self.certificate.zip(self.key),
                body: self.body.map(|file| {
                    let media = named.unwrap_or_else(|| media(&file));
                    (file, media)
                }),
                process: self.pid,
                observe: self.observe,
            }),
            loads: match self.load.is_empty() {
                true => Load::ALL.to_vec(),
                false => self.load,
            },
            seconds: self.seconds,
            rounds: self.rounds as usize,
            connections: self.wire.connections as usize,
            http2: self.wire.http == "2",
            rate: self.rate,
            stream: (self.stream_mib as usize) << 20,
            peers: !self.no_peers,
            seed: self.out.seed,
            json: self.out.json,
            compare: self.compare,
        }
    }
}

fn rising(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A number above 0 and below a million.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e6 => Ok(number),
        _ => Err("a number above 0 and below a million".to_owned()),
    }
}
