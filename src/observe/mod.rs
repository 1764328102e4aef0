//! What an operator sees: log, access log, metrics, health.
//!
//! What enters: events and counts. What leaves: lines on standard error, and HTTP on an address
//! of its own. What can never happen: a line or label holds a value, a path, a query or an
//! address out of a message.

pub mod access;
pub mod admin;
pub mod count;
pub mod log;
pub mod manager;
pub mod panics;
pub mod serve;
pub mod trace;
pub mod visits;
pub mod writer;

pub use serve::{Door, Pages, bind, serve};
