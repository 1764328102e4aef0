//! Normalise, derive, write: how a value becomes a pseudonym. Pure.
//!
//! What enters: a value, its kind, a domain key. What leaves: 128 bits and their text form, or
//! a refusal. What can never happen: a repaired value, or one that two kinds share.

pub mod derive;
pub mod generalise;
pub mod kind;
pub mod mask;
pub mod normalise;
pub mod text;

pub use derive::{DomainKey, KindKey, Pseudonym};
pub use kind::{Class, Kind, KindId, Kinds};
pub use normalise::{Normaliser, NotNormal};
