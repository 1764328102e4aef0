//! Connections that switch to WebSocket (RFC 6455).
//!
//! What enters: a request to switch, on a route that takes it. What leaves: the client's messages
//! as the route's policy makes them, the backend's as they are; or, on opaque routes, bytes. What
//! can never happen: a byte of the client reaches the backend before the backend has switched, or
//! (by policy) before its whole message is rewritten and durable; a ping or a closing reason is a
//! way around the policy.
//!
//! ```text
//! head ─▶ route, grant ─▶ Asked ─▶ backend ─ 101, right Accept ─▶ 101 to the client ─▶ Tunnel
//!                           │         └─ another status: an ordinary answer
//!                           └─ 400, 426
//! ```
//!
//! | file | duty |
//! |---|---|
//! | [`handshake`] | what is asked for, what the backend says to it |
//! | [`tunnel`] | the connection after that, until it ends |
//! | [`messages`] | one JSON document a message, by policy |
//! | [`bytes`] | unseen, on opaque routes |
//! | [`meter`] | silence, slow messages, the hold budget |
//! | [`ending`] | who is told what at the end |
//!
//! Frames are tungstenite's duty: masks, opcodes, fragments, lengths, UTF-8. It answers pings by
//! itself; the gateway never passes one on.

mod bytes;
mod ending;
mod handshake;
mod messages;
mod meter;
mod tunnel;

pub use self::handshake::Asked;
pub use self::tunnel::Tunnel;
