//! TLS for all worlds: rustls with aws-lc-rs, certificates from files, roles from certificates.
//!
//! What enters: paths from the configuration. What leaves: rustls configurations and, for a
//! connection, the peer's [`identity::Peer`]. What can never happen: a protocol below TLS 1.2, a
//! peer without a certificate where one is required, key bytes in an error.

pub mod client;
pub mod identity;
pub mod server;
