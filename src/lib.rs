//! # Cryptonym: the map of the house
//!
//! A TLS reverse proxy that replaces identifiers with keyed pseudonyms on the way through
//! (the *gateway*), and a separate process that alone can turn a pseudonym back into a person
//! (the *vault*). Read `ARCHITECTURE.md` for the way of a request; this is where things live.
//!
//! The way of the data, for every format, both directions and files:
//!
//! ```text
//! bytes in → decode → scan → resolve → splice → encode → bytes out
//! ```
//!
//! Worlds (each may use everything below it, and none knows another):
//!
//! | room | what enters, what leaves |
//! |---|---|
//! | [`cli`] | argv → one world; one file a command |
//! | [`gateway`] | sockets: listen → serve → exchange → upstream, and back |
//! | [`feed`] | files: the same five steps, resumable, with a manifest of what was made of what |
//! | [`vault`] | the key holder: roles, keys, records, reveal, log, store |
//! | [`demo`] | everything on one machine, with generated data |
//! | [`bench`] | load in, figures out: how fast, and at what cost |
//!
//! Shared by the worlds:
//!
//! | room | what it does |
//! |---|---|
//! | [`coding`] | content codings (gzip, deflate, br, zstd), undone and done, as bounded streams; pure, but built only with the worlds, since it compiles C |
//! | [`rewrite`] | the five steps joined: chunks of a body in, rewritten chunks out |
//! | [`vault_link`] | the only door from a gateway or a feed to the vault |
//! | [`wire`] | the messages both sides of that door speak |
//! | [`tls`] | server and client TLS, identities, roles in certificates |
//! | [`config`] | one TOML file: raw (as written) → checked (as meant) |
//! | [`observe`] | log, access log, metrics, traces, readiness, the admin address |
//! | [`local`] | a Cryptonym of one's own on loopback, for `demo` and `bench` |
//! | [`harden`] | no core dumps, no swap, no more files and calls than needed: what a process with keys asks of the system |
//!
//! Pure (no runtime, no clock, no disk, no randomness that is not handed in; they build with
//! `--no-default-features`):
//!
//! | room | what it does |
//! |---|---|
//! | [`format`] | one room a format: scan and splice |
//! | [`policy`] | selectors, rules, actions, categories, purposes |
//! | [`pseudonym`] | normalise, derive, text form, the other actions on values |
//!
//! On the ground: [`secret`] (types whose `Debug` hides what they hold), [`error`] (what went
//! wrong, on which side, at which stage), [`limits`] (every bound, with its reason).
//!
//! `tests/architecture.rs` holds these lines by reading the imports.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod error;
pub mod limits;
pub mod secret;

pub mod format;
pub mod policy;
pub mod pseudonym;

#[cfg(feature = "worlds")]
pub mod bench;
#[cfg(feature = "worlds")]
pub mod cli;
#[cfg(feature = "worlds")]
pub mod coding;
#[cfg(feature = "worlds")]
pub mod config;
#[cfg(feature = "worlds")]
pub mod demo;
#[cfg(feature = "worlds")]
pub mod feed;
#[cfg(feature = "worlds")]
pub mod gateway;
#[cfg(feature = "worlds")]
pub mod harden;
#[cfg(feature = "worlds")]
pub mod local;
#[cfg(feature = "worlds")]
pub mod observe;
#[cfg(feature = "worlds")]
pub mod rewrite;
#[cfg(feature = "worlds")]
pub mod tls;
#[cfg(feature = "worlds")]
pub mod vault;
#[cfg(feature = "worlds")]
pub mod vault_link;
#[cfg(feature = "worlds")]
pub mod wire;
