//! Client side.
use std::path::Path;
use std::sync::Arc;

use super::server::TlsError;

/// TLS towards a peer whose CA is `ca` (or the system's roots), with an optional identity
/// (certificate, key). `tls13_only` for the vault link.
///
/// # Errors
/// As [`super::server::server_config`].
pub fn client_config(
    _ca: Option<&Path>,
    _identity: Option<(&Path, &Path)>,
    _tls13_only: bool,
    _alpn: &[&[u8]],
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    todo!()
}
