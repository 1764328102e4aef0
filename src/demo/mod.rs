//! The whole thing on this machine: generated records go in through TLS, pseudonyms reach a
//! real database, and only the vault turns one back.
//!
//! What enters: how many records, a seed. What leaves: a walk through the system that compares
//! what it shows with the originals. What can never happen: it listens beyond loopback, leaves
//! a process or a file behind, or uses a key that outlives it.

use installation::Installation;
use processes::Failure;
use screen::Screen;

pub mod backend;
pub mod client;
pub mod generate;
pub mod installation;
pub mod people;
pub mod processes;
pub mod random;
pub mod screen;
pub mod show;
pub mod store;

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// End after the walk instead of waiting for Ctrl-C.
    pub once: bool,
    pub records: u64,
    pub seed: u64,
}

/// Starts everything, walks through it, and takes it down again. `Ok(false)`: a check did not hold.
///
/// # Errors
/// Something could not be started, or a step could not be carried out.
pub fn run(options: Options) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let held = runtime.block_on(async {
        let mut screen = Screen::new();
        // Whatever ends the walk, the installation is dropped on the way out.
        let (installation, held) = tokio::select! {
            walked = walk(&mut screen, options) => walked?,
            () = asked_to_end() => return Err(Failure("ended early, as asked".to_owned())),
        };
        if !options.once {
            show::commands(&mut screen, &installation, options.seed)?;
            screen.say("");
            screen.say("Running until Ctrl-C.");
            asked_to_end().await;
            screen.say("");
        }
        installation.stop();
        Ok(held)
    });
    runtime.shutdown_background();
    held
}

async fn walk(screen: &mut Screen, options: Options) -> Result<(Installation, bool), Failure> {
    screen.say(
        "Cryptonym on this machine: a gateway and a vault as separate processes, a small \
         analytics backend, generated people. Everything lies in a temporary folder and is \
         removed at the end.",
    );
    let installation = Installation::start().await?;
    screen.dim(&format!(
        "gateway: process {}, {}; vault: process {}, {}; folder {}",
        installation.gateway.id(),
        installation.gateway_address,
        installation.vault.id(),
        installation.vault_address,
        installation.folder().display()
    ));
    let held = show::run(screen, &installation, options.records, options.seed).await?;
    Ok((installation, held))
}

/// SIGINT or SIGTERM.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
