//! The whole thing on this machine: generated records go in through TLS, pseudonyms reach a
//! real database, and only the vault turns one back.
//!
//! What enters: how many records, a seed. What leaves: a walk through the system that compares
//! what it shows with the originals. What can never happen: it listens beyond loopback, leaves
//! a process or a file behind, or uses a key that outlives it.

use installation::Installation;
use screen::Screen;

use crate::local::ending::Ending;
use crate::local::processes::Failure;

pub mod backend;
pub mod installation;
pub mod people;
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
        // Before anything is started.
        let mut ending = Ending::catch()?;
        let mut screen = Screen::new();
        // Whatever ends the walk, the installation is dropped on the way out.
        let (installation, held) = tokio::select! {
            walked = walk(&mut screen, options) => walked?,
            () = ending.asked() => return Err(Failure("ended early, as asked".to_owned())),
        };
        if !options.once {
            show::commands(&mut screen, &installation, options.seed)?;
            screen.say("");
            screen.say("Running until Ctrl-C.");
            ending.asked().await;
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
        installation.addresses.gateway,
        installation.vault.id(),
        installation.addresses.vault,
        installation.folder().display()
    ));
    let held = show::run(screen, &installation, options.records, options.seed).await?;
    Ok((installation, held))
}
