//! `cryptonym vault backup-key`, `backup` and `restore`: on the vault's machine, as its user.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::{Exit, caller};
use crate::config::{Config, backup_key};
use crate::harden;
use crate::vault::backup::{self, BackupError, Checked};
use crate::wire::sealed::KeyPair;

#[derive(clap::Args)]
pub struct NewKey {
    /// Where the private key goes (mode 0600); the public one goes beside it, with .pub
    file: PathBuf,
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym vault backup --for backup.key.pub /backups/vault-2026-01-31

The vault goes on meanwhile. What was written is opened again and checked before FILE has its name:
SQLite's integrity check, and the log's tree. The copy of a moment takes as much room again beside
the store. The rows in it are sealed under the vault's root key, which is not in it: keep that, or
its shares, as well, and not with the backups.")]
pub struct Take {
    /// The file to write; it must not be there yet
    file: PathBuf,
    /// The public half of the backup key
    #[arg(long = "for", value_name = "FILE")]
    public: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym vault restore --key backup.key /backups/vault-2026-01-31

The store's place must be empty: move a damaged store away first, with its -wal and -shm files. The
vault's first entry on the restored store says from when it is. Gateways see another incarnation,
load the known set again, and publish what the backup lacks. An auditor who remembers a later
checkpoint is told that the log was put back: that is so.")]
pub struct Restore {
    /// The backup
    file: PathBuf,
    /// The private half of the backup key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn new_key(args: &NewKey) -> Exit {
    let _ = harden::process();
    let pair = KeyPair::generate();
    let mut public = args.file.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let private = backup_key::to_text(pair.secret());
    let made = write_new(&args.file, private.as_bytes(), 0o600).and_then(|()| {
        let text = backup_key::public_text(&pair.public());
        write_new(&public, text.as_bytes(), 0o644)
    });
    match made {
        Ok(()) => {
            println!(
                "{}\topens backups: keep it away from the vault and from the backups\n{}\tseals backups: for the vault's machine",
                args.file.display(),
                public.display()
            );
            Exit::Done
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

pub fn take(args: &Take, config: &Path) -> Exit {
    let _ = harden::process();
    let done = || {
        let store = store(config)?;
        let public = backup_key::load_public(&args.public).map_err(said)?;
        backup::take(&store, &public, &args.file).map_err(failed)
    };
    match done() {
        Ok(checked) => {
            print(&checked, None, args.json);
            Exit::Done
        }
        Err(exit) => exit,
    }
}

pub fn restore(args: &Restore, config: &Path) -> Exit {
    let _ = harden::process();
    let done = || {
        let store = store(config)?;
        let key = backup_key::load(&args.key).map_err(said)?;
        let pair = KeyPair::from_secret(key).map_err(said)?;
        backup::restore(&args.file, &pair, &store).map_err(failed)
    };
    match done() {
        Ok((head, checked)) => {
            print(&checked, Some(&head.made), args.json);
            Exit::Done
        }
        Err(exit) => exit,
    }
}

fn store(config: &Path) -> Result<PathBuf, Exit> {
    let config: Config = caller::load(config)?;
    match config.vault {
        Some(vault) => Ok(vault.store),
        None => {
            eprintln!("error: the configuration has no [vault]");
            Err(Exit::Configuration)
        }
    }
}

fn print(checked: &Checked, made: Option<&str>, as_json: bool) {
    let Checked {
        vault,
        records,
        log_entries,
        checkpoint,
    } = checked;
    if as_json {
        let said = json!({
            "vault": vault.to_string(),
            "made": made,
            "records": records,
            "log_entries": log_entries,
            "checkpoint": checkpoint,
        });
        println!("{said}");
        return;
    }
    println!("vault       {vault}");
    if let Some(made) = made {
        println!("state of    {made}");
    }
    println!("records     {records}");
    println!("log         {log_entries} entries; its tree gives the last checkpoint's root");
    println!("checked     opened again, and the database is whole");
}

fn failed(error: BackupError) -> Exit {
    eprintln!("error: {error}");
    match error {
        BackupError::Form | BackupError::Sealed | BackupError::Broken(_) => Exit::No,
        _ => Exit::Failed,
    }
}

fn said(error: impl std::fmt::Display) -> Exit {
    eprintln!("error: the key file: {error}");
    Exit::Failed
}

/// Writes a file that is not there yet, synced.
fn write_new(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file)?;
    out.write_all(bytes)?;
    out.sync_all()
}
