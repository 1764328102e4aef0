//! `cryptonym check`.

use std::path::Path;

use super::Exit;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args, _config: &Path) -> Exit {
    todo!()
}
