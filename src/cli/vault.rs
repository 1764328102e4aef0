//! `cryptonym vault`.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, caller};
use crate::config::Config;
use crate::harden;
use crate::observe::{self, log::LogFormat};
use crate::vault::{self, StartError};

mod backup;

/// Run the vault, the separate process that keeps the keys; or back its store up and restore it
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym certs init                    # a CA, certificates, registry and root key
  cryptonym vault --config config.toml    # makes its store on the first start

  cryptonym vault backup-key backup.key              # elsewhere: only backup.key.pub comes here
  cryptonym vault backup --for backup.key.pub FILE   # while it runs
  cryptonym vault restore --key backup.key FILE      # while it does not

It ends on SIGTERM or Ctrl-C, after what it has accepted is on the disk.
docs/vault.md describes the interface, the keys and the store.")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
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
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    runtime.block_on(serve(&config))
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
