//! One `config.toml` for both worlds: raw (as written) → checked (as meant).
//!
//! What enters: TOML text. What leaves: a [`Config`] in which every name is resolved and every
//! path is relative to the file, or *all* the errors, each with file, line, column and a hint.
//! What can never happen: an unknown key is ignored, or a half-understood policy runs.

pub mod checked;
pub mod raw;

pub use checked::*;
