//! Bodies, in both directions.
//!
//! What enters: frames of one peer. What leaves: bytes for the other. What can never happen: a
//! body that failed, or whose sender has gone, ends like a whole one.
//!
//! - [`reader`]: one peer's body, with its time-out;
//! - [`media`]: what the body is, by its head alone;
//! - [`coded`]: its content codings, undone;
//! - [`hold`]: bodies that fit are taken whole, within a budget;
//! - [`stream`]: larger ones go through a pump, two chunks in flight;
//! - [`discard`]: the rest of an HTTP/2 body that nobody wants;
//! - [`outgoing`], [`answer`]: the body types that hyper sends to backend and client;
//! - [`sending`]: how much of answers waits on one HTTP/2 connection.

pub mod answer;
pub mod coded;
pub mod discard;
pub mod hold;
pub mod media;
pub mod outgoing;
pub mod reader;
pub mod sending;
pub mod stream;

/// Why hyper is told to break a message off. The reason itself is in the story.
#[derive(Debug, thiserror::Error)]
#[error("the message was broken off")]
pub struct BrokenOff;
