//! Which addresses are this machine's own.
//!
//! What enters: an address. What leaves: whether a connection to it would end here. What can never
//! happen: the gateway is sent to itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Whether this machine has the address now. The kernel knows best: only an own address can be
/// bound. (Where `ip_nonlocal_bind` is set every address can, and counts as own.)
pub fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Whether one of the sockets that listen takes connections to this address.
pub fn is_listening(listening: &[SocketAddr], to: SocketAddr) -> bool {
    let mut there = listening.iter().filter(|one| one.port() == to.port());
    there.any(|one| one.ip() == to.ip() || (one.ip().is_unspecified() && is_own(to.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_09_own_addresses_are_known() {
        assert!(is_own([127, 0, 0, 1].into()) && is_own([127, 9, 9, 9].into()));
        assert!(!is_own([192, 0, 2, 1].into()));
        let all: Vec<SocketAddr> = ["0.0.0.0:8443", "10.0.0.5:443"]
            .map(|a| a.parse().unwrap())
            .into();
        let listening = |text: &str| is_listening(&all, text.parse().unwrap());
        assert!(listening("127.0.0.1:8443") && listening("10.0.0.5:443"));
        assert!(!listening("127.0.0.1:443") && !listening("192.0.2.1:8443"));
    }
}
