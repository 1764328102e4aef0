//! `cryptonym log`: reads, verifies, witnesses and exports the vault's log.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use super::caller::CallerArgs;

mod export;
mod prove;
mod remembered;
mod show;
mod source;
mod verify;
mod witness;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym log show --as u.novak
  cryptonym log verify --as u.novak                 # remembers the checkpoint it has verified
  cryptonym log prove 17 --as u.novak               # one entry, without reading the others
  cryptonym log export --as u.novak log.ndjson      # and later, anywhere, without the vault:
  cryptonym log verify --export log.ndjson

On another machine, of somebody else:
  cryptonym log witness --as w.reed --vault https://vault:8200 --name w.example \\
      --signing-key witness.key --state witness.state --out cosigned --every 300
and against what it has seen:
  cryptonym log verify --as u.novak --witnessed cosigned --witness-key w.example+…

A verification without a remembered or witnessed checkpoint cannot see that the end of the log was
cut off, or that all of it was written anew.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the entries (role auditor)
    Show(Show),
    /// Recompute the tree; check commitments, signature, and what was remembered or witnessed
    Verify(Verify),
    /// Prove that one entry is in the log, and that the log continues what was remembered
    Prove(Prove),
    /// Cosign the log's checkpoint, from another machine, if it continues the last one
    Witness(Witness),
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
    /// A checkpoint that a witness has cosigned; the log must continue it (may be repeated)
    #[arg(long, value_name = "FILE", requires = "witness_key")]
    witnessed: Vec<PathBuf>,
    /// The witness's public key, as `log witness` prints it (may be repeated)
    #[arg(long, value_name = "KEY", requires = "witnessed")]
    witness_key: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct Prove {
    /// The entry's number, as `log show` prints it
    entry: u64,
    /// The checkpoint of the last verification [default: certs/out/log-checkpoint]
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// The log's public key (name+id+base64), if it is known from elsewhere
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct Witness {
    /// The witness's name in its cosignatures, without blanks or plus signs: a domain of yours
    #[arg(long)]
    name: String,
    /// The witness's ed25519 key (PKCS#8 PEM, mode 0600); made if it is not there. Not --key,
    /// which is of the certificate
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// Where the last cosigned checkpoint is remembered. Without it a witness sees nothing: keep it
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Where the cosigned note is written; it is printed as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The log's public key (name+id+base64), if it is known from elsewhere
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    /// Go on, with so many seconds between two looks
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
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
    // One thread asks for pages and reads them while this one verifies.
    let runtime = tokio::runtime::Builder::new_multi_thread()
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
    runtime.block_on(async {
        match args.command {
            Command::Show(args) => show::run(args, config).await,
            Command::Verify(args) => verify::run(args, config).await,
            Command::Prove(args) => prove::run(args, config).await,
            Command::Witness(args) => witness::run(args, config).await,
            Command::Export(args) => export::run(args, config).await,
        }
    })
}
