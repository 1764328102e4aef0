//! argv → one world.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = cryptonym::cli::main();
    // What has been logged is read by somebody, if anybody reads.
    cryptonym::observe::writer::finish();
    ended
}
