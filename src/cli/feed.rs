//! `cryptonym feed`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::Exit;
use crate::config::{Config, Loaded, units};
use crate::feed::cohorts::{Small, Wanted};
use crate::feed::place::Written;
use crate::feed::progress::Progress;
use crate::feed::stop::{Stop, Why};
use crate::feed::{self, Request};
use crate::format::csv::Dialect;
use crate::harden;

mod report;
mod verify;

const HELP: &str = "\
Examples:
  cryptonym feed --policy research-extract --domain research people.csv -o out.csv
  cryptonym feed --policy p --domain research visits.ndjson.gz -o visits.ndjson.zst
  cryptonym feed --policy p --domain research extracts/ -o released/     a folder, same tree out
  zcat big.csv.gz | cryptonym feed --policy p --domain research --format csv - -o - | psql …
  cryptonym feed … in.csv -o out.csv --rejects left-out.ndjson           go on without bad records
  cryptonym feed … in.csv -o out.csv --resume                            go on where it was killed
  cryptonym feed … in.csv -o out.csv --k 5 --quasi sex,year_of_birth,outward_postcode \\
                 --small suppress                                        no cohort below five
  cryptonym feed verify out.csv.manifest.json                            is it still what it was?

Format and compression go by the file's name: .csv .tsv .ndjson .jsonl .json, with .gz or .zst
behind it, for input and output each. OUT has its name only when it is whole; OUT.manifest.json
then says what was made of what. Until then there are OUT.cryptonym-part and
OUT.cryptonym-journal: --resume goes on with them, --force begins again.

Exit codes:
  0  done; records in --rejects are counted in the summary
  1  a record cannot be rewritten, an input has changed since, the output still has cohorts below
     --k, or (verify) a file is not what the manifest says
  2  the command line was not understood
  3  the configuration, or policy, domain and purpose, do not go together
  4  a file cannot be read or written, or is there already
  5  the vault could not be reached, or refused: run again with --resume";

#[derive(clap::Args)]
#[command(
    after_help = HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// What to rewrite: files, folders, or - for standard input
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,

    /// Where it goes: a file, a folder for several, or - for standard output
    #[arg(short, long, required = true, value_name = "OUT")]
    out: Option<PathBuf>,

    /// The policy, by its name in the configuration
    #[arg(long, required = true)]
    policy: Option<String>,

    /// The pseudonymisation domain; its purpose says what may be kept in clear
    #[arg(long, required = true)]
    domain: Option<String>,

    /// How the input is written, where its name does not say so
    #[arg(long, value_enum)]
    format: Option<FormatName>,

    /// What stands between fields of CSV: , ; | or tab
    #[arg(long, value_parser = delimiter, default_value = ",", value_name = "CHAR")]
    delimiter: u8,

    /// CSV and TSV without a header row: the policy goes by column numbers, $[0]
    #[arg(long)]
    no_header: bool,

    /// Leave out records that cannot be rewritten, and list them here (positions and codes only)
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Go on with a run that was interrupted; begin if there is none
    #[arg(long)]
    resume: bool,

    /// Replace what is there, also an interrupted run
    #[arg(long)]
    force: bool,

    /// How much input an interrupted run does again at most
    #[arg(long, value_parser = size, default_value = "64MiB", value_name = "SIZE")]
    checkpoint: u64,

    /// Count records that share the values of --quasi, and report cohorts smaller than this
    #[arg(long, requires = "quasi", value_parser = clap::value_parser!(u64).range(2..), value_name = "N")]
    k: Option<u64>,

    /// The quasi-identifiers, as the output has them: names, or selectors as in the policy
    #[arg(long, requires = "k", value_delimiter = ',', value_name = "PLACE,…")]
    quasi: Vec<String>,

    /// What becomes of records in small cohorts: left out, or their quasi-identifiers made null
    /// (empty in CSV, \N in TSV)
    #[arg(long, requires = "k", value_enum)]
    small: Option<SmallName>,

    /// The summary as JSON: what the manifest says
    #[arg(long)]
    json: bool,

    /// No progress on the terminal
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Compare files with a manifest: sizes and digests
    Verify(verify::Args),
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Csv,
    Tsv,
    Ndjson,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum SmallName {
    Suppress,
    Generalise,
}

pub fn run(args: Args, config: &Path) -> Exit {
    if let Some(Command::Verify(args)) = args.command {
        return verify::run(args);
    }
    // Before any key is read.
    let shortfalls = harden::process();
    let color = io::stderr().is_terminal();
    let Loaded { config, .. } = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in errors {
                eprintln!("{}\n", error.rendered(color));
            }
            return Exit::Configuration;
        }
    };
    crate::observe::panics::hide_payloads();
    if !args.quiet && color {
        shortfalls.iter().for_each(|what| eprintln!("note: {what}"));
    }
    let (json, quiet) = (args.json, args.quiet);
    let Some(request) = request(args) else {
        return Exit::Failed;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The vault's side of it; rewriting has this thread.
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    let mut progress = Progress::new(quiet);
    let result = runtime.block_on(feed::run(&config, &request, &mut progress));
    drop(progress);
    runtime.shutdown_background();
    match result {
        Ok(report) => report::print(&report, json),
        Err(stop) => stopped(&stop),
    }
}

fn request(args: Args) -> Option<Request> {
    let wanted = args.k.map(|k| Wanted {
        k,
        quasi: args.quasi,
        small: match args.small {
            None => Small::Report,
            Some(SmallName::Suppress) => Small::Suppress,
            Some(SmallName::Generalise) => Small::Generalise,
        },
    });
    Some(Request {
        inputs: args.inputs,
        out: args.out?,
        policy: args.policy?,
        domain: args.domain?,
        format: args.format.map(|format| match format {
            FormatName::Csv => Written::Csv,
            FormatName::Tsv => Written::Tsv,
            FormatName::Ndjson => Written::Ndjson,
            FormatName::Json => Written::Json,
        }),
        rows: Dialect {
            delimiter: args.delimiter,
            header: !args.no_header,
        },
        rejects: args.rejects,
        force: args.force,
        resume: args.resume,
        every: args.checkpoint,
        cohorts: wanted,
    })
}

/// Says why, and what to do next.
fn stopped(stop: &Stop) -> Exit {
    eprintln!("error: {}\n  {}", stop.what, stop.next);
    match stop.why {
        Why::Input | Why::No => Exit::No,
        Why::Configuration => Exit::Configuration,
        Why::Failed => Exit::Failed,
        Why::Vault => Exit::Vault,
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    let byte = match text {
        "tab" | "\\t" => b'\t',
        _ => match text.as_bytes() {
            [byte] => *byte,
            _ => 0,
        },
    };
    match Dialect::DELIMITERS.contains(&byte) {
        true => Ok(byte),
        false => Err("one of , ; | or tab".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = units::size(text).map_err(str::to_owned)?;
    match u64::try_from(size) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err("more than nothing, as in 64MiB".to_owned()),
    }
}
