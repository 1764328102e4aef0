//! Normalise, derive, write: how a value becomes a pseudonym. Pure.
//!
//! What enters: a value, its kind, a domain key. What leaves: 128 bits and their text form, or
//! a refusal. What can never happen: a repaired value, or one that two kinds share.
//!
//! | file | duty |
//! |---|---|
//! | [`normalise`] | raw spelling → normal form, or a refusal |
//! | [`derive`](mod@derive) | normal form → 128 bits, under a key of (domain, epoch, kind) |
//! | [`text`] | 128 bits ↔ `sub_1_…`, with its check character |
//! | [`generalise`](mod@generalise), [`mask`](mod@mask) | the other actions on values |
//! | [`scrub`] | what identifies somebody inside free text |
//!
//! `docs/policies.md` has the forms in words and the golden vectors; `golden.rs` checks every
//! row of them.

mod check;
pub mod derive;
pub mod generalise;
mod keyed;
pub mod kind;
pub mod mask;
pub mod normalise;
pub mod scrub;
pub mod text;

#[cfg(test)]
mod golden;

pub use derive::{DomainKey, KindKey, Pseudonym, Use, token};
pub use generalise::{Generalise, NotGeneralisable, generalise};
pub use kind::{Class, Kind, KindId, Kinds};
pub use mask::mask;
pub use normalise::{Normaliser, NotNormal};
pub use scrub::Scrub;
pub use text::{Parsed, TextForm, looks_like_pseudonym};
