//! A reveal as its two people do it, through the commands: ask, approve, fetch.

use std::collections::HashMap;

use crate::support::installation::Installation;

/// At most 100 pseudonyms at once (`limits::REVEAL_PSEUDONYMS`).
pub const BATCH: usize = 100;

/// Asks for, approves and fetches what stands behind `pseudonyms`: pseudonym → identifier.
///
/// # Panics
/// Any of the three steps fails.
pub fn reveal(installation: &Installation, pseudonyms: &[String]) -> HashMap<String, String> {
    let _ = (installation, pseudonyms);
    unimplemented!()
}
