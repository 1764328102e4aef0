//! Server side.
use std::sync::Arc;

use crate::config::ServerTls;

/// Versions a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3 and 1.2 (gateway).
    Tls12And13,
    /// TLS 1.3 only (vault).
    Tls13,
}

/// # Errors
/// File, what is wrong with it, what to do; never key bytes.
pub fn server_config(
    _tls: &ServerTls,
    _versions: Versions,
    _alpn: &[&[u8]],
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    todo!()
}

/// A certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct TlsError {
    pub file: String,
    pub what: String,
}
