//! `cryptonym demo`.

use std::path::Path;

use super::Exit;
use crate::demo::{self, Options};

const EXAMPLE: &str = "\
Examples:
  cryptonym demo                  walk through it, then keep running for the curl commands it prints
  cryptonym demo --once           end after the walk (0: everything it claims held, 1: it did not)
  cryptonym demo --records 20000 --seed 7

It reads no configuration of yours, listens on free loopback ports only, and removes its
processes and files at the end. Nobody in it is real: NHS numbers start with 999, telephone
numbers are those of drama, addresses those of documentation.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// End after the walk instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,

    /// Home blood tests to generate; a quarter as many orders and six laboratory lines each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    records: u64,

    /// Another seed, other people; the same seed, the same people
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

pub fn run(args: Args, _config: &Path) -> Exit {
    let options = Options {
        once: args.once,
        records: args.records,
        seed: args.seed,
    };
    match demo::run(options) {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::No,
        Err(failure) => {
            eprintln!("demo: {failure}");
            Exit::Failed
        }
    }
}
