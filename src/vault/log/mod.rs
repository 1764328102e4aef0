//! The vault's log: an append-only Merkle tree of salted commitments.
//!
//! What enters: events. What leaves: leaves, details sealed under the key of their month, and
//! signed checkpoints. What can never happen: an event that changes state without its entry in
//! the same transaction, or an entry that names an identifier.
//!
//! [`merkle`] hashes and [`proof`] proves (RFC 9162), [`note`] signs (C2SP signed-note,
//! tlog-checkpoint), [`cosign`] is what witnesses add (C2SP tlog-cosignature), [`event`] says what
//! is logged, [`ledger`] appends, [`retention`] forgets, [`verify`] checks offline.

pub mod cosign;
pub mod event;
pub mod ledger;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod retention;
pub mod verify;

pub use event::Event;
