//! `cryptonym vault status`, `seal` and `reset`.

use std::path::Path;

use super::super::Exit;
use super::super::caller::{CallerArgs, block_on, failed};
use crate::vault_link::client::{CallError, Client};
use crate::wire::path;
use crate::wire::share::{KeptIn, Purpose, Standing, VaultStatus};

#[derive(clap::Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
pub struct Change {
    /// Print the vault's status as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

pub fn status(args: &Status, config: &Path) -> Exit {
    ask(&args.caller, config, args.json, async |client| {
        Ok(client.get::<VaultStatus>(path::STATUS).await?.message)
    })
}

pub fn seal(args: &Change, config: &Path) -> Exit {
    change(args, config, path::SEAL)
}

pub fn reset(args: &Change, config: &Path) -> Exit {
    change(args, config, path::SHARES_RESET)
}

fn change(args: &Change, config: &Path, path: &str) -> Exit {
    ask(&args.caller, config, args.json, async |client| {
        let answer = client.post_bytes::<VaultStatus>(path, bytes::Bytes::new());
        Ok(answer.await?.message)
    })
}

fn ask(
    caller: &CallerArgs,
    config: &Path,
    json: bool,
    call: impl AsyncFnOnce(&Client) -> Result<VaultStatus, CallError>,
) -> Exit {
    let client = match caller.connect(config) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    block_on(async {
        match call(&client).await {
            Ok(status) => {
                print(&status, json);
                Exit::Done
            }
            Err(error) => failed(&error),
        }
    })
}

/// A status for people, or for programs.
pub fn print(status: &VaultStatus, json: bool) {
    if json {
        let text = serde_json::to_string(status);
        println!("{}", text.expect("messages always have a JSON text"));
        return;
    }
    let state = match status.state {
        Standing::Sealed => "sealed: it serves nothing but this",
        Standing::Open => "open",
    };
    println!("vault     {}\nstate     {state}", status.vault);
    match (&status.shares, status.root) {
        (Some(shares), KeptIn::Shares) => {
            println!(
                "root key  in {} shares, of which {} open it (sharing {})",
                shares.shares, shares.threshold, shares.sharing
            );
            let given: Vec<_> = shares.given.iter().map(u8::to_string).collect();
            if let (Some(purpose), Some(left)) = (&shares.purpose, shares.forgotten_in) {
                println!(
                    "given     {} of {} to {}: numbers {}; forgotten in {left} s",
                    given.len(),
                    shares.threshold,
                    purpose.name(),
                    given.join(", ")
                );
                if let Purpose::Reshare(new) = purpose {
                    println!(
                        "          for {} new shares, threshold {}, to these keys:",
                        new.custodians.len(),
                        new.threshold
                    );
                    new.custodians
                        .iter()
                        .for_each(|key| println!("          {key}"));
                }
            } else {
                println!("given     0 of {}", shares.threshold);
            }
        }
        _ => println!("root key  in a key file: the weaker choice, for development"),
    }
}
