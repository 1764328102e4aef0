//! `cryptonym reveal`: two people, one purpose, one log entry.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use super::caller::{CallerArgs, block_on};
use crate::wire::text::Hex;

mod ask;
mod decide;
mod fetch;
mod open;
mod show;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym reveal request --as i.okafor --domain improvement \\
      --purpose share-results --reason 'ticket 4711: urgent result' sub_1_…
  cryptonym reveal approve 6f0c… --as a.lindqvist
  cryptonym reveal fetch 6f0c… --as i.okafor

The one who asks and the one who approves are two registered people. Every step, and every
refused step, is an entry in the vault's log.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask for the identifiers behind pseudonyms (role investigator)
    Request(Request),
    /// List the reveals that the caller may see, newest first
    List(Plain),
    /// Show one reveal: the statement, the pseudonyms, its state
    Show(One),
    /// Approve a reveal by signing its exact bytes (role approver)
    Approve(Decide),
    /// Refuse a reveal by signing its exact bytes (role approver)
    Refuse(Decide),
    /// Fetch the result of one's own approved reveal (role investigator)
    Fetch(One),
    /// Open sealed values with the keys that a reveal has given; asks nobody
    Open(Open),
}

#[derive(clap::Args)]
struct Request {
    /// The pseudonymisation domain that the pseudonyms come from
    #[arg(long)]
    domain: String,
    /// What for, as a short name: share-results
    #[arg(long)]
    purpose: String,
    /// Why, for the second person and the log
    #[arg(long)]
    reason: String,
    /// Seconds until the request expires [default: one day]
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// How often the result can be read [default: 1]
    #[arg(long, value_name = "N")]
    reads: Option<u32>,
    /// The pseudonyms, as they stand in the data
    #[arg(required = true, value_name = "PSEUDONYM")]
    pseudonyms: Vec<String>,
    #[command(flatten)]
    plain: Plain,
}

#[derive(clap::Args)]
struct Plain {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct One {
    /// The reveal's id
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: Hex<16>,
    #[command(flatten)]
    plain: Plain,
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym reveal fetch 6f0c… --as i.okafor --json | \\
      cryptonym reveal open --at '$.note' sea_1_….…")]
struct Open {
    /// The place at which the values were sealed, as the policy writes it
    #[arg(long, value_name = "PLACE")]
    at: String,
    /// What `reveal fetch --json` has printed; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    keys: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Sealed values, as they stand in the data; the part before the dot is the key's pseudonym
    #[arg(required = true, value_name = "SEALED")]
    sealed: Vec<String>,
}

#[derive(clap::Args)]
struct Decide {
    /// The reveal's id
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: Hex<16>,
    /// The approver's ed25519 key, PKCS#8 PEM [default: certs/out/people/ID.signing.key]
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    plain: Plain,
}

pub fn run(args: Args, config: &Path) -> Exit {
    let plain = match &args.command {
        Command::Open(args) => return open::run(args),
        Command::Request(args) => &args.plain,
        Command::List(plain) => plain,
        Command::Show(args) | Command::Fetch(args) => &args.plain,
        Command::Approve(args) | Command::Refuse(args) => &args.plain,
    };
    let out = plain.caller.out(config);
    // The client's connection lives on the runtime, but is made by its first call.
    let client = match plain.caller.connect(config) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    block_on(async {
        match args.command {
            Command::Request(args) => ask::run(&client, &out, args).await,
            Command::List(plain) => show::list(&client, plain.json).await,
            Command::Show(args) => show::one(&client, args.id, args.plain.json).await,
            Command::Approve(args) => decide::run(&client, &out, args, true).await,
            Command::Refuse(args) => decide::run(&client, &out, args, false).await,
            Command::Fetch(args) => fetch::run(&client, &out, args.id, args.plain.json).await,
            Command::Open(args) => open::run(&args),
        }
    })
}

fn parse_id(text: &str) -> Result<Hex<16>, String> {
    Hex::parse(text).ok_or_else(|| "an id is 32 hexadecimal digits".to_owned())
}

/// Where the private key of one's own request lies until its result is fetched.
fn key_file(out: &Path, id: Hex<16>) -> PathBuf {
    out.join("reveal").join(format!("{id}.key"))
}
