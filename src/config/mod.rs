//! One `config.toml` for both worlds: raw (as written) → checked (as meant).
//!
//! What enters: TOML text. What leaves: a [`Config`] in which every name is resolved and every
//! path is relative to the file, or *all* the errors, each with file, line, column and a hint.
//! What can never happen: an unknown key is ignored, or a half-understood policy runs.
//!
//! Beside it, the two other files an installation has: the vault's [`registry`] of persons, and
//! its key files ([`root_key`], [`signing_key`], [`custodian_key`], [`backup_key`]).

use std::path::Path;

pub mod backup_key;
mod bypath;
pub mod changes;
pub mod checked;
pub mod custodian_key;
pub mod diagnostic;
pub mod folders;
mod formats;
mod load;
mod raw;
mod read;
pub mod registry;
pub mod root_key;
pub mod signing_key;
pub mod units;

pub use bypath::{Egress, Original, Others, Portal, Transparent};
pub use checked::*;
pub use diagnostic::{Diagnostic, Severity};
pub use formats::{Format, Rows};
pub use load::{Loaded, fuzz_config};
pub use read::matches_nothing;
pub use registry::{Person, Registry};

/// A key file that cannot be used: which, and why; never its bytes.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct KeyFileError {
    pub file: String,
    pub what: String,
}

impl KeyFileError {
    fn new(file: &Path, what: impl Into<String>) -> Self {
        Self {
            file: file.display().to_string(),
            what: what.into(),
        }
    }
}
