//! The people of a reveal, as they would type it: an investigator, an approver, an auditor.
//!
//! What enters: a pseudonym. What leaves: the commands, what they printed, and what came of it.
//! What can never happen: one person plays two parts.

use super::installation::Installation;
use crate::local::processes::{Ended, Failure};

/// Those of `certs init`.
const INVESTIGATOR: &str = "i.okafor";
const APPROVER: &str = "a.lindqvist";
const AUDITOR: &str = "u.novak";

/// Lines of the log that are shown.
const LOG_LINES: usize = 6;

/// A command and what it printed.
pub struct Said {
    pub command: String,
    pub output: String,
}

/// A reveal, from the request to the identifier.
pub struct Reveal {
    pub said: Vec<Said>,
    /// Its name in the vault and in the log.
    pub request: String,
    /// What the investigator could open.
    pub identifier: Option<String>,
    /// Whether the investigator could not approve it, not even with the approver's signing key.
    pub alone_refused: bool,
}

/// What the log says afterwards.
pub struct Log {
    pub said: Vec<Said>,
    pub names_the_reveal: bool,
    pub verified: bool,
}

/// Asks for one pseudonym, tries to approve alone, has it approved, fetches the result.
///
/// # Errors
/// A command that should work did not.
pub fn reveal(installation: &Installation, pseudonym: &str) -> Result<Reveal, Failure> {
    let mut table = Vec::new();
    let asked = step(
        installation,
        &mut table,
        &[
            "reveal",
            "request",
            "--as",
            INVESTIGATOR,
            "--domain",
            "improvement",
            "--purpose",
            "share-results",
            "--reason",
            "ticket 4711: urgent result",
            pseudonym,
        ],
    )?;
    let request = expect(asked)?.stdout.trim().to_owned();

    let key = format!("certs/out/people/{APPROVER}.signing.key");
    // What it prints of the request is shown once, at the approval.
    let alone = step(
        installation,
        &mut table,
        &[
            "reveal",
            "approve",
            &request,
            "--as",
            INVESTIGATOR,
            "--signing-key",
            &key,
            "--yes",
        ],
    )?;
    if let Some(last) = table.last_mut() {
        last.output.clone_from(&alone.stderr);
    }
    let approved = step(
        installation,
        &mut table,
        &["reveal", "approve", &request, "--as", APPROVER, "--yes"],
    )?;
    expect(approved)?;
    let fetched = step(
        installation,
        &mut table,
        &["reveal", "fetch", &request, "--as", INVESTIGATOR],
    )?;
    let row = expect(fetched)?;
    let row = row.stdout.lines().find(|line| line.starts_with(pseudonym));
    Ok(Reveal {
        said: table,
        request,
        identifier: row
            .and_then(|row| row.split_whitespace().last())
            .map(str::to_owned),
        alone_refused: !alone.success,
    })
}

/// Reads the end of the log and has it verified.
///
/// # Errors
/// A command could not be run.
pub fn log(installation: &Installation, request: &str) -> Result<Log, Failure> {
    let mut said = Vec::new();
    let show = step(installation, &mut said, &["log", "show", "--as", AUDITOR])?;
    if let Some(last) = said.last_mut() {
        let lines: Vec<&str> = show.stdout.lines().collect();
        last.output = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    }
    let verify = step(installation, &mut said, &["log", "verify", "--as", AUDITOR])?;
    Ok(Log {
        said,
        names_the_reveal: show.success && show.stdout.contains(request),
        verified: verify.success,
    })
}

fn step(
    installation: &Installation,
    said: &mut Vec<Said>,
    arguments: &[&str],
) -> Result<Ended, Failure> {
    let ended = installation.command(arguments)?;
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    said.push(Said {
        command: format!("cryptonym {}", words.join(" ")),
        output: format!("{}{}", ended.stdout, ended.stderr),
    });
    Ok(ended)
}

fn expect(ended: Ended) -> Result<Ended, Failure> {
    if ended.success {
        return Ok(ended);
    }
    Err(Failure(format!(
        "a step of the reveal failed: {}{}",
        ended.stdout, ended.stderr
    )))
}

fn quoted(word: &str) -> String {
    if word.contains(' ') {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}
