//! `cryptonym vault init`: a root key in shares, from the first moment or from now on.
//!
//! What enters: the custodians' public keys. What leaves: a store whose root key nobody has, and
//! a sealed share for each of them. What can never happen: the root in a file or on a screen; a
//! store that is there already and gets another root without its old one.

use std::path::{Path, PathBuf};

use super::super::{Exit, caller};
use super::custodians::write_new;
use crate::config::{Config, Root, custodian_key, root_key};
use crate::harden;
use crate::secret::Key32;
use crate::vault::keys::{random, random_key};
use crate::vault::log::Event;
use crate::vault::seal::rewrap;
use crate::vault::seal::sharing::Sharing;
use crate::vault::state::{make, store_id};
use crate::vault::store::sqlite::Sqlite;
use crate::vault::store::{Store as _, Writer};
use crate::wire::share::SealedShare;
use crate::wire::text::Hex;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym vault init --shares 5 --threshold 3 --out shares \\
      --custodian c.one.key.pub --custodian c.two.key.pub --custodian c.three.key.pub \\
      --custodian c.four.key.pub --custodian c.five.key.pub

The configuration says root = \"shares\" in [vault]. A store that was made with a key file keeps
everything: name the file with --root-key, and remove it (and its copies) when the vault has been
opened with shares once. Give each custodian their share-SHARING-N.json; the vault keeps copies, which
only they can open.")]
pub struct Args {
    /// How many shares; there are as many custodians
    #[arg(long, value_name = "N")]
    shares: u8,
    /// How many of them open the vault
    #[arg(long, value_name = "K")]
    threshold: u8,
    /// A custodian's public key, one file for each share, in the order of their numbers
    #[arg(long, value_name = "FILE", required = true)]
    custodian: Vec<PathBuf>,
    /// The root key file of a store that has one, to bring its root into shares
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// Where share-SHARING-N.json go; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "shares")]
    out: PathBuf,
}

pub fn run(args: &Args, config: &Path) -> Exit {
    let _ = harden::process();
    let config = match caller::load(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match init(args, &config) {
        Ok(sharing) => {
            println!(
                "The vault's root key is in {} shares; any {} of them open it.\n",
                sharing.count(),
                sharing.threshold
            );
            for (share, key) in sharing.shares.iter().zip(&args.custodian) {
                let file = share_file(&args.out, share);
                println!("  {}\tfor the owner of {}", file.display(), key.display());
            }
            println!(
                "\nNext:\n  cryptonym vault                                  starts sealed\n  cryptonym vault unseal --as ID --custodian-key FILE   each of {} custodians",
                sharing.threshold
            );
            Exit::Done
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

fn init(args: &Args, config: &Config) -> Result<Sharing, Box<dyn std::error::Error>> {
    let settings = config
        .vault
        .as_ref()
        .ok_or("the configuration has no [vault]")?;
    if settings.root != Root::Shares {
        return Err("write root = \"shares\" in [vault], in place of `root_key`, first".into());
    }
    if usize::from(args.shares) != args.custodian.len() {
        return Err(format!(
            "{} shares want as many --custodian FILE; {} were named",
            args.shares,
            args.custodian.len()
        )
        .into());
    }
    let custodians = public_keys(&args.custodian)?;
    let store = Sqlite::open(&settings.store)?;
    let mut writer = store.writer()?;
    if Sharing::read(&mut *writer)?.is_some() {
        return Err(
            "the store's root key is in shares already; `cryptonym vault reshare` makes new ones"
                .into(),
        );
    }
    let sharing = match (store_id(&mut *writer)?, &args.root_key) {
        (None, _) => fresh(&mut *writer, args.threshold, &custodians)?,
        (Some(vault), Some(file)) => {
            let (old, new) = (root_key::load(file)?, random_key());
            let sharing = Sharing::make(&new, vault, args.threshold, &custodians)?;
            let count = u64::from(sharing.count());
            rewrap::exchange(&mut *writer, vault, (&old, &new), &sharing, |now| Event {
                count: Some(count),
                reason: Some(format!("threshold {}, from a key file", args.threshold)),
                ..Event::new("vault-reshared", now)
            })?;
            sharing
        }
        (Some(_), None) => {
            return Err("the store was made with a key file; name it with --root-key FILE".into());
        }
    };
    write_shares(&args.out, &sharing.shares)?;
    Ok(sharing)
}

fn fresh(
    store: &mut dyn Writer,
    threshold: u8,
    custodians: &[Hex<32>],
) -> Result<Sharing, Box<dyn std::error::Error>> {
    let (root, vault): (Key32, [u8; 16]) = (random_key(), random());
    let sharing = Sharing::make(&root, vault, threshold, custodians)?;
    store.begin()?;
    make(store, &root, vault)?;
    sharing.write(store)?;
    store.commit()?;
    Ok(sharing)
}

/// Reads public keys, in order.
pub fn public_keys(files: &[PathBuf]) -> Result<Vec<Hex<32>>, Box<dyn std::error::Error>> {
    let read = |file: &PathBuf| Ok(Hex(custodian_key::load_public(file)?));
    files.iter().map(read).collect()
}

/// Writes each share into its file. They lie in the store too, so one that is missed can be asked
/// for.
pub fn write_shares(
    folder: &Path,
    shares: &[SealedShare],
) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for share in shares {
        let mut text = serde_json::to_vec_pretty(share)?;
        text.push(b'\n');
        write_new(&share_file(folder, share), &text, 0o600)?;
    }
    Ok(())
}

pub fn share_file(folder: &Path, share: &SealedShare) -> PathBuf {
    folder.join(format!(
        "share-{}-{}.json",
        &share.sharing.to_string()[..8],
        share.number
    ))
}
