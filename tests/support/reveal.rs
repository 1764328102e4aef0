//! A reveal as its two people do it, through the commands: ask, approve, fetch.

use std::collections::HashMap;

use super::installation::Installation;

/// At most 100 pseudonyms at once (`limits::REVEAL_PSEUDONYMS`).
#[allow(dead_code, reason = "each test uses a part of it")]
pub const BATCH: usize = 100;

/// Asks for, has approved and fetches what stands behind `pseudonyms`: pseudonym → identifier.
///
/// # Panics
/// Any of the three steps fails.
pub fn reveal(installation: &Installation, pseudonyms: &[String]) -> HashMap<String, String> {
    let mut ask = vec![
        "reveal",
        "request",
        "--as",
        "i.okafor",
        "--domain",
        "improvement",
        "--purpose",
        "share-results",
        "--reason",
        "a test",
    ];
    ask.extend(pseudonyms.iter().map(String::as_str));
    let request = installation.expect(&ask).trim().to_owned();
    installation.expect(&[
        "reveal",
        "approve",
        &request,
        "--as",
        "a.lindqvist",
        "--yes",
    ]);
    let rows = installation.expect(&["reveal", "fetch", &request, "--as", "i.okafor", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (text("pseudonym"), text("identifier"))
        })
        .collect()
}
