//! Addresses of IP.

use std::io::Write;
use std::net::IpAddr;

/// IPv4 in four decimal numbers, or IPv6 in any of the spellings of RFC 4291, section 2.2. Normal
/// form: that of RFC 5952; `::ffff:198.51.100.7` is IPv4.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let address: IpAddr = std::str::from_utf8(value).ok()?.parse().ok()?;
    write!(out, "{}", address.to_canonical()).ok()
}

/// `0.0.0.0` and `::` are nobody's (RFC 6890).
pub(super) fn is_sentinel(value: &[u8]) -> bool {
    let address = std::str::from_utf8(value).ok().map(str::parse::<IpAddr>);
    matches!(address, Some(Ok(address)) if address.is_unspecified())
}
