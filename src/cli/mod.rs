//! One file a command. What enters: argv. What leaves: an exit code from [`Exit`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;
pub mod caller;
pub mod certs;
pub mod check;
pub mod demo;
pub mod feed;
pub mod gateway;
pub mod log;
pub mod reveal;
pub mod top;
pub mod vault;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command ran, and the answer is no (check found errors, a proof does not hold, a reveal was refused)
  2  the command line was not understood
  3  the configuration was not understood
  4  it could not start or go on (an address in use, a file not readable, a disk full)
  5  the vault could not be reached, or refused";

/// How a command ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    No = 1,
    Configuration = 3,
    Failed = 4,
    Vault = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[derive(Parser)]
#[command(
    name = "cryptonym",
    version,
    about = "A pseudonymisation gateway and the vault that keeps its keys apart",
    after_help = EXIT_CODES,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    /// The configuration file that both worlds read
    #[arg(
        long,
        global = true,
        default_value = "config.toml",
        value_name = "FILE"
    )]
    config: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway: the TLS reverse proxy that pseudonymises on the way through
    Gateway(gateway::Args),
    /// Run the vault: the separate process that keeps the keys
    Vault(vault::Args),
    /// Rewrite files by a policy: CSV, TSV, NDJSON, JSON, compressed or not, whole folders
    Feed(feed::Args),
    /// Show the whole thing on this machine, with generated records
    Demo(demo::Args),
    /// Measure speed and cost: on this machine with generated records, or a gateway of yours
    Bench(bench::Args),
    /// Show what gateway and vault are doing: routes, rates, latency, refusals, vault, durable set
    Top(top::Args),
    /// Make a private CA and the certificates of a first installation
    Certs(certs::Args),
    /// Read configuration and policies, and say what they mean; changes nothing
    Check(check::Args),
    /// Ask for, approve and fetch a re-identification: two people, one purpose, one log entry
    Reveal(reveal::Args),
    /// Read and verify the vault's log
    Log(log::Args),
}

/// Parses argv and runs the command it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Gateway(args) => gateway::run(args, &cli.config),
        Command::Vault(args) => vault::run(args, &cli.config),
        Command::Feed(args) => feed::run(args, &cli.config),
        Command::Demo(args) => demo::run(args, &cli.config),
        Command::Bench(args) => bench::run(args, &cli.config),
        Command::Top(args) => top::run(args, &cli.config),
        Command::Certs(args) => certs::run(args, &cli.config),
        Command::Check(args) => check::run(args, &cli.config),
        Command::Reveal(args) => reveal::run(args, &cli.config),
        Command::Log(args) => log::run(args, &cli.config),
    }
    .into()
}
