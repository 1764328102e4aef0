//! The people of a reveal, as they would type it: an investigator, an approver, an auditor.
//!
//! What enters: a pseudonym. What leaves: the commands, what they printed, and what came of it.
//! What can never happen: one person plays two parts.

use super::installation::Installation;
use super::processes::Failure;

/// A command and what it printed.
pub struct Said {
    pub command: String,
    pub output: String,
}

pub struct Reveal {
    pub said: Vec<Said>,
    /// What the investigator could open.
    pub identifier: Option<String>,
    /// Whether an approval by the investigator was refused.
    pub alone_refused: bool,
}

pub struct Log {
    pub said: Vec<Said>,
    pub names_the_reveal: bool,
    pub verified: bool,
}

/// # Errors
/// A command ended otherwise than shown.
pub fn reveal(_installation: &Installation, _pseudonym: &str) -> Result<Reveal, Failure> {
    Err(Failure("not yet".to_owned()))
}

/// # Errors
/// A command ended otherwise than shown.
pub fn log(_installation: &Installation) -> Result<Log, Failure> {
    Err(Failure("not yet".to_owned()))
}
