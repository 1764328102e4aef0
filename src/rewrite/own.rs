//! `restore-own`: what this client sent in this very request, by the pseudonym it became.

/// Pseudonym text → the spelling that came in. First spelling wins; bounded by `limits.restore`.
#[derive(Default)]
pub struct OwnIdentifiers {}
