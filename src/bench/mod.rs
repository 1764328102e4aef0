//! Measurements for whoever runs a gateway: load in, figures out, without anything but this
//! executable.
//!
//! What enters: what to send, where, how long. What leaves: a table or a JSON document. What can
//! never happen: a figure of something that did not do its work, or a process or file that stays.
//!
//! | file | duty |
//! |---|---|
//! | [`speed`], [`first_sight`], [`growth`], [`soak`], [`trouble`], [`vault`] | one command each |
//! | [`place`], [`peers`], [`origin`], [`link`] | what is measured, and what stands around it |
//! | [`bodies`], [`target`], [`drive`] | what is sent, where, and when |
//! | [`measure`], [`meter`], [`histogram`], [`verify`] | one round, its cost, its latencies, its truth |
//! | [`report`], [`compare`], [`table`], [`progress`] | what is said about it |

use crate::local::ending::Ending;
use crate::local::processes::Failure;

pub mod bodies;
pub mod compare;
pub mod drive;
pub mod first_sight;
pub mod growth;
pub mod histogram;
pub mod link;
pub mod measure;
pub mod meter;
pub mod origin;
pub mod peers;
pub mod place;
pub mod progress;
pub mod report;
pub mod soak;
pub mod speed;
pub mod table;
pub mod target;
pub mod trouble;
pub mod vault;
pub mod verify;

/// What was asked for on the command line.
pub enum Task {
    Speed(Box<speed::Options>),
    FirstSight(first_sight::Options),
    Growth(growth::Options),
    Calm(soak::Options),
    Soak(trouble::Options),
    Vault(vault::Options),
}

/// Measures and prints. `Ok(false)`: it ran, and something was not well.
///
/// # Errors
/// Something could not be started, or what was measured did not do its work.
pub fn run(task: &Task) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let well = runtime.block_on(async {
        // Before anything is started.
        let mut ending = Ending::catch()?;
        let measured = async {
            match task {
                Task::Speed(options) => speed::run(options).await,
                Task::FirstSight(options) => first_sight::run(*options).await,
                Task::Growth(options) => growth::run(options.clone()).await,
                Task::Calm(options) => soak::run(*options).await,
                Task::Soak(options) => trouble::run(*options).await,
                Task::Vault(options) => vault::run(*options).await,
            }
        };
        // Whatever ends it, what was started is dropped on the way out.
        tokio::select! {
            measured = measured => measured,
            () = ending.asked() => Err(Failure("ended early, as asked".to_owned())),
        }
    });
    runtime.shutdown_background();
    well
}
