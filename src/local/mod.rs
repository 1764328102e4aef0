//! A Cryptonym of one's own on this machine: what the demonstration and the measurements share.
//!
//! What enters: a configuration. What leaves: child processes, generated people, a client. What
//! can never happen: it listens beyond loopback, leaves a process or a file behind, or makes an
//! identifier that somebody holds.

pub mod client;
pub mod ending;
pub mod generate;
pub mod processes;
pub mod random;
pub mod site;
