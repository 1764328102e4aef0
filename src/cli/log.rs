//! `cryptonym log`: reads, verifies and exports the vault's log.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use super::caller::{CallerArgs, block_on};

mod export;
mod show;
mod source;
mod verify;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym log show --as u.novak
  cryptonym log verify --as u.novak                 # remembers the checkpoint it has verified
  cryptonym log export --as u.novak log.json        # and later, anywhere, without the vault:
  cryptonym log verify --export log.json

A verification without a remembered checkpoint cannot see that the end of the log was cut off.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the entries (role auditor)
    Show(Show),
    /// Recompute the tree, and check commitments, signature and what was remembered
    Verify(Verify),
    /// Write the log with its checkpoint and key to a file (role auditor)
    Export(Export),
}

#[derive(clap::Args)]
struct Show {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct Verify {
    /// The checkpoint of the last verification; written after this one [default:
    /// certs/out/log-checkpoint]
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// Verify an exported file instead of asking the vault
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The log's public key (name+id+base64), if it is known from elsewhere
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct Export {
    /// The file to write
    file: PathBuf,
    #[command(flatten)]
    caller: CallerArgs,
}

pub fn run(args: Args, config: &Path) -> Exit {
    block_on(async {
        match args.command {
            Command::Show(args) => show::run(args, config).await,
            Command::Verify(args) => verify::run(args, config).await,
            Command::Export(args) => export::run(args, config).await,
        }
    })
}
