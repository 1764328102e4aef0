//! The whole thing on this machine: generated records go in through TLS, pseudonyms reach a
//! real database, and only the vault turns one back.
//!
//! What enters: how many records, a seed. What leaves: a walk through the system that compares
//! what it shows with the originals. What can never happen: it listens beyond loopback, leaves
//! a process or a file behind, or uses a key that outlives it.

pub mod backend;
pub mod client;
pub mod generate;
pub mod processes;
pub mod random;
pub mod screen;
pub mod store;
