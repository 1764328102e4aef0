//! The vault's root key, and the two states of the process that has it or has not.
//!
//! ```text
//! start, key file ───────────────────────────▶ open
//! start, shares ──▶ sealed ── threshold ─────▶ open ── seal ──▶ sealed
//!                   │  ▲  share by share        │  ▲
//!                   └──┘  forgotten: time-out,  └──┘ threshold, for a resharing: closed,
//!                         reset, end of round        everything wrapped anew, opened again
//! ```
//!
//! What enters: a key file, or shares of custodians. What leaves: an open [`super::Vault`], which
//! ends with everything that it knows. What can never happen: a sealed process that holds a key, or
//! reads a row; a share that counts though it is another vault's, another sharing's or damaged; a
//! key under the old root after a resharing.
//!
//! [`keeper`] holds the state, [`round`] the shares that have come, [`sharing`] makes and checks
//! shares, [`rewrap`] exchanges the root.

pub mod keeper;
pub mod rewrap;
mod round;
pub mod sharing;
