//! Header fields: what passes, in which direction, and what is made anew.
//!
//! What enters: the fields of one side. What leaves: a new list for the other side, into which
//! only named fields are moved. What can never happen: a field passes because nobody thought of
//! it. One room a duty:
//!
//! - [`hop`]: fields that belong to one connection;
//! - [`request`], [`response`]: what passes, and what rewriting takes away;
//! - [`standing`]: request fields that pass on every route, and which of their values;
//! - [`cookie`]: crumbs joined, names listed;
//! - [`forwarded`]: `Forwarded` and `Via`, made here;
//! - [`grpc`]: what gRPC needs besides, trailers included.

pub mod cookie;
pub mod forwarded;
pub mod grpc;
pub mod hop;
pub mod request;
pub mod response;
pub mod standing;
mod tame;
