//! `cryptonym vault unseal` and `reshare`: a custodian opens their share with their own key, and
//! gives it to the vault.
//!
//! What can never happen: a share in clear outside of this process's memory and the vault's.

use std::path::{Path, PathBuf};

use super::super::Exit;
use super::super::caller::{CallerArgs, block_on, failed};
use super::init::{public_keys, share_file, write_shares};
use super::standing;
use crate::config::custodian_key;
use crate::harden;
use crate::vault_link::client::{CallError, Client};
use crate::wire::control::parse;
use crate::wire::path;
use crate::wire::sealed::KeyPair;
use crate::wire::share::{
    GivenShare, Purpose, Reshare as New, SealedShare, ShareList, SharesStatus, VaultStatus,
};

#[derive(clap::Args)]
pub struct Unseal {
    #[command(flatten)]
    own: Own,
    /// Print the vault's status as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
#[command(after_help = "\
Example, for a custodian who has lost their key and is replaced; each of three says the same:
  cryptonym vault reshare --as c.one --custodian-key c.one.key --threshold 3 \\
      --custodian c.one.key.pub --custodian c.two.key.pub --custodian c.new.key.pub --out shares

With the last share the root key is exchanged: earlier shares, and earlier copies of the store
with them, open nothing of what comes after. Gateways load their known sets again.")]
pub struct Reshare {
    #[command(flatten)]
    own: Own,
    /// How many of the new shares open the vault
    #[arg(long, value_name = "K")]
    threshold: u8,
    /// A public key for each new share, in the order of their numbers
    #[arg(long, value_name = "FILE", required = true)]
    custodian: Vec<PathBuf>,
    /// Where the new shares' files go, from whoever gives the last one
    #[arg(long, value_name = "DIR", default_value = "shares")]
    out: PathBuf,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(clap::Args)]
struct Own {
    /// The custodian's private key, as `custodian-key` made it
    #[arg(long, value_name = "FILE")]
    custodian_key: PathBuf,
    /// The share's file [default: the vault's own copy]
    #[arg(long, value_name = "FILE")]
    share: Option<PathBuf>,
}

/// Why a share is not given.
enum Fault {
    /// Said by this side.
    Own(String),
    /// Said by the vault, about the share of this number.
    Vault(Option<u8>, CallError),
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Self::Vault(None, error)
    }
}

pub fn unseal(args: &Unseal, config: &Path) -> Exit {
    give(&args.caller, config, &args.own, Purpose::Unseal, |bytes| {
        let status: VaultStatus = parse(bytes).map_err(|_| CallError::Malformed)?;
        standing::print(&status, args.json);
        Ok(())
    })
}

pub fn reshare(args: &Reshare, config: &Path) -> Exit {
    let custodians = match public_keys(&args.custodian) {
        Ok(custodians) => custodians,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    let purpose = Purpose::Reshare(New {
        threshold: args.threshold,
        custodians,
    });
    give(&args.caller, config, &args.own, purpose, |bytes| {
        if let Ok(status) = parse::<VaultStatus>(bytes) {
            standing::print(&status, false);
            return Ok(());
        }
        let list: ShareList = parse(bytes).map_err(|_| CallError::Malformed)?;
        println!("The root key was exchanged; earlier shares open nothing.\n");
        write_shares(&args.out, &list.shares).map_err(|error| {
            Fault::Own(format!("{error}\nThe vault has the new shares: `cryptonym vault unseal` without --share asks it for them"))
        })?;
        for (share, key) in list.shares.iter().zip(&args.custodian) {
            let file = share_file(&args.out, share);
            println!("  {}\tfor the owner of {}", file.display(), key.display());
        }
        Ok(())
    })
}

fn give(
    caller: &CallerArgs,
    config: &Path,
    own: &Own,
    purpose: Purpose,
    done: impl FnOnce(&[u8]) -> Result<(), Fault>,
) -> Exit {
    let _ = harden::process();
    let key = custodian_key::load(&own.custodian_key);
    let key = key.map_err(|e| e.to_string());
    let key = match key.and_then(|k| KeyPair::from_secret(k).map_err(|e| e.to_string())) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    let client = match caller.connect(config) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let given = block_on_result(async {
        let bytes = send(&client, own, &key, purpose).await?;
        done(&bytes)
    });
    match given {
        Ok(()) => Exit::Done,
        Err(Fault::Own(text)) => {
            eprintln!("error: {text}");
            Exit::Failed
        }
        Err(Fault::Vault(number, error)) => {
            if let Some(number) = number {
                eprint!("share {number}: ");
            }
            failed(&error)
        }
    }
}

fn block_on_result(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let mut result = Ok(());
    let ran = block_on(async {
        result = work.await;
        Exit::Done
    });
    match ran {
        Exit::Done => result,
        _ => Err(Fault::Own("the command could not run".to_owned())),
    }
}

async fn send(
    client: &Client,
    own: &Own,
    key: &KeyPair,
    purpose: Purpose,
) -> Result<Vec<u8>, Fault> {
    let status = client.get::<VaultStatus>(path::STATUS).await?.message;
    let text = "the vault's root key is in a file, not in shares; restart the vault to open it";
    let shares = status.shares.ok_or(Fault::Own(text.to_owned()))?;
    let kept = match &own.share {
        Some(file) => from_file(file)?,
        None => from_vault(client, key).await?,
    };
    let number = kept.number;
    fits(&kept, &shares, &status.vault)?;
    let share = kept.open(key).map_err(|_| {
        Fault::Own(format!(
            "share {number} does not open: it is damaged, was exchanged, or is sealed to another custodian's key; the copy that the vault keeps can be used by leaving --share out"
        ))
    })?;
    let given = GivenShare::seal(&kept, &share, purpose, shares.round)
        .map_err(|_| Fault::Own("the vault's key of this round is no key".to_owned()))?;
    let answer = client
        .post::<Box<serde_json::value::RawValue>>(path::SHARES, &given)
        .await;
    let answer = answer.map_err(|error| Fault::Vault(Some(number), error))?;
    Ok(answer.message.get().as_bytes().to_vec())
}

fn from_file(file: &Path) -> Result<SealedShare, Fault> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|e| Fault::Own(format!("{name}: {e}")))?;
    parse(&bytes).map_err(|_| Fault::Own(format!("{name}: this is no share, or it is damaged")))
}

async fn from_vault(client: &Client, key: &KeyPair) -> Result<SealedShare, Fault> {
    let list = client.get::<ShareList>(path::SHARES).await?.message;
    let own = |share: &SealedShare| share.custodian.0 == key.public();
    let text = "the vault has no share for this key; name the share's file with --share";
    let found = list.shares.into_iter().find(own);
    found.ok_or(Fault::Own(text.to_owned()))
}

/// What can be said before anything is opened.
fn fits(
    kept: &SealedShare,
    shares: &SharesStatus,
    vault: &crate::wire::text::Hex<16>,
) -> Result<(), Fault> {
    let number = kept.number;
    if kept.vault != *vault {
        let text = format!("share {number} belongs to another vault ({})", kept.vault);
        return Err(Fault::Own(text));
    }
    if kept.sharing != shares.sharing {
        let text = format!(
            "share {number} is of another sharing ({}); the present one is {}: leave --share out, or take the file of the last resharing",
            kept.sharing, shares.sharing
        );
        return Err(Fault::Own(text));
    }
    Ok(())
}
