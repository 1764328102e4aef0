//! `cryptonym vault`: runs it; and what custodians do with it. One file a duty.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, caller};
use crate::config::Config;
use crate::harden;
use crate::observe::{self, log::LogFormat};
use crate::secret::stack;
use crate::vault::{self, StartError};

mod backup;
mod custodians;
mod init;
mod shares;
mod standing;

/// Run the vault, the separate process that keeps the keys; or seal, open, copy and look at one
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cryptonym certs init                    # a CA, certificates, registry and root key
  cryptonym vault --config config.toml    # runs it; makes its store on the first start

With its root key in shares of custodians (root = \"shares\" in [vault]):
  cryptonym vault custodian-key c.one.key                # each custodian, once
  cryptonym vault init --shares 5 --threshold 3 \\
      --custodian c.one.key.pub --custodian c.two.key.pub …
  cryptonym vault                                        # starts sealed
  cryptonym vault unseal --as c.one --custodian-key c.one.key    # each of three
  cryptonym vault status --as c.one
  cryptonym vault seal --as c.one                        # forgets every key at once

  cryptonym vault backup-key backup.key              # elsewhere: only backup.key.pub comes here
  cryptonym vault backup --for backup.key.pub FILE   # while it runs
  cryptonym vault restore --key backup.key FILE      # while it does not

It ends on SIGTERM or Ctrl-C, after what it has accepted is on the disk.
docs/vault.md describes the interface, the keys, sealing and the store.")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a new store's root key in shares, or bring a key file's root into shares; on the
    /// vault's machine, while it does not run
    Init(init::Args),
    /// Make a custodian's key pair: FILE is theirs alone, FILE.pub is for `init` and `reshare`
    CustodianKey(custodians::Args),
    /// Say whether the vault is sealed, and how many shares have come (every registered caller)
    Status(standing::Status),
    /// Give one share to open a sealed vault (role custodian)
    Unseal(shares::Unseal),
    /// Give one share for a new root key and new shares; each one who gives says the same (role
    /// custodian)
    Reshare(shares::Reshare),
    /// Forget the shares that have come (role custodian)
    Reset(standing::Change),
    /// Forget every key at once (role custodian)
    Seal(standing::Change),
    /// Make the key pair of backups: FILE opens them, FILE.pub seals them
    BackupKey(backup::NewKey),
    /// Copy the store while the vault runs, sealed to a backup key, and check the copy
    Backup(backup::Take),
    /// Make the store from a backup; overwrites nothing
    Restore(backup::Restore),
}

pub fn run(args: Args, config: &Path) -> Exit {
    match args.command {
        None => keep(config),
        Some(Command::Init(args)) => init::run(&args, config),
        Some(Command::CustodianKey(args)) => custodians::run(&args),
        Some(Command::Status(args)) => standing::status(&args, config),
        Some(Command::Unseal(args)) => shares::unseal(&args, config),
        Some(Command::Reshare(args)) => shares::reshare(&args, config),
        Some(Command::Reset(args)) => standing::reset(&args, config),
        Some(Command::Seal(args)) => standing::seal(&args, config),
        Some(Command::BackupKey(args)) => backup::new_key(&args),
        Some(Command::Backup(args)) => backup::take(&args, config),
        Some(Command::Restore(args)) => backup::restore(&args, config),
    }
}

fn keep(config: &Path) -> Exit {
    // Before any key is read.
    let shortfalls = harden::process();
    let config = match caller::load(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    observe::log::start(LogFormat::Json, "info");
    observe::panics::hide_payloads();
    // What it may write to later has to be there. What prevents it is told by the start below.
    let _ = vault::make_store_folder(&config);
    // Before there is a second thread: what is taken away is taken from those to come.
    let folders = config.vault_folders();
    let landlock = harden::files::only(&folders.read, &folders.write);
    let taken = landlock.into_iter().chain(harden::calls::fewer());
    for shortfall in shortfalls.into_iter().chain(taken) {
        tracing::warn!(shortfall, "hardening");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A worker that has nothing to do keeps nothing of a key on its stack.
        .on_thread_park(stack::wipe)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    // Not on this thread, which would wait in the middle of it and keep its stack as it is.
    let serving = runtime.spawn(async move { serve(&config).await });
    runtime.block_on(serving).unwrap_or(Exit::Failed)
}

async fn serve(config: &Config) -> Exit {
    // Signals are caught before anything is opened, so that none falls in between.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("error: signals cannot be caught");
        return Exit::Failed;
    };
    let running = match vault::start(config).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("error: {error}");
            return match error {
                StartError::NoVault | StartError::Registry(_) => Exit::Configuration,
                _ => Exit::Failed,
            };
        }
    };
    tracing::info!(address = %running.address, "the vault listens");
    observe::manager::ready("serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("the vault ends");
    observe::manager::stopping();
    running.stop().await;
    Exit::Done
}
