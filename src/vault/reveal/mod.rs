//! Reveals: one person asks, another decides, and one gate opens records.
//!
//! ```text
//! ask ─▶ pending ─┬─ approve (signed) ─▶ approved ─ fetch ─▶ … ─▶ spent
//!                 └─ refuse (signed) ──▶ refused          any of them ─▶ expired
//! ```
//!
//! What enters: pseudonyms with a purpose and a reason; a signed decision. What leaves: results
//! sealed to the requester, never stored. What can never happen: a record is opened anywhere but
//! in [`gate`], or before the entry that says so is on the disk; one person is both of the two.

pub mod ask;
pub mod decide;
pub mod gate;
pub mod held;
pub mod show;
