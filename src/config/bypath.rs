//! How traffic reaches a gateway that nobody has named: by redirection in the network, or by
//! HTTP CONNECT on its way out.
//!
//! What enters: nothing. What leaves: the types of `gateway.transparent`, `gateway.egress` and of a
//! backend that stands where the client meant to go.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Network;

/// `gateway.transparent`: how the kernel brings connections that were made to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transparent {
    /// nftables `redirect`: the address is translated; connection tracking remembers the first.
    Redirect,
    /// nftables `tproxy`: the socket has the first address.
    Tproxy,
}

/// A backend with `address = "original"`: each connection goes where its client meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Where that may be; never empty.
    pub networks: Vec<Network>,
    pub ports: Vec<u16>,
    /// Whether TLS is spoken there.
    pub https: bool,
    /// Whether the server sees the client's own address as the source.
    pub keep_source: bool,
}

impl Original {
    /// Whether a connection may go there.
    pub fn allows(&self, to: SocketAddr) -> bool {
        let here = |n: &Network| n.contains(to.ip());
        self.ports.contains(&to.port()) && self.networks.iter().any(here)
    }
}

/// `[gateway.egress]`: a proxy for clients that send to portals outside.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Where CONNECT is spoken, in plain HTTP; never empty.
    pub listen: Vec<SocketAddr>,
    /// The CA that makes certificates for `hosts`, and its key.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who may use it; never empty.
    pub clients: Vec<Network>,
    /// Hosts whose TLS ends here, so that routes see what is sent; never empty.
    pub hosts: Vec<Portal>,
    /// Hosts that are let through untouched and unseen.
    pub tunnel_hosts: Vec<Portal>,
    pub others: Others,
    /// Ports to which `others = "tunnel"` leads.
    pub tunnel_ports: Vec<u16>,
    /// Tunnels at once.
    pub max_tunnels: usize,
    /// How long nothing may move in one.
    pub tunnel_idle_time: Duration,
    /// Where tunnels may lead although it is inside: loopback, link-local, private.
    pub private: Vec<Network>,
}

/// A host and a port as CONNECT names them. The host is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Portal {
    pub host: String,
    pub port: u16,
}

/// What becomes of a CONNECT to a host that no list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Refuse,
    Tunnel,
}

impl Egress {
    /// Whether TLS to this host ends here, whatever the port.
    pub fn opens(&self, host: &str) -> bool {
        self.hosts.iter().any(|portal| portal.host == host)
    }

    /// Whether a tunnel may lead to this address: one of the public internet, or allowed by name.
    pub fn may_lead_to(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        public(ip) || self.private.iter().any(|n| n.contains(ip))
    }
}

/// Whether an address belongs to the public internet (IANA's registries of special-purpose
/// addresses, RFC 6890). Forms that carry another address (NAT64, 6to4, Teredo) do not count.
fn public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(a == 0
                || a == 10
                || a == 127
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 169 && b == 254)
                || (a == 172 && (16..32).contains(&b))
                || (a == 192 && b == 168)
                || (a == 192 && b == 0 && (c == 0 || c == 2))
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19))
                || (a == 198 && b == 51 && c == 100)
                || (a == 203 && b == 0 && c == 113))
        }
        // Only 2000::/3 is given out for unicast.
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let odd = match a {
                0x2001 => b < 0x200 || b == 0xdb8,
                0x2002 => true,
                0x3fff => b < 0x1000,
                _ => false,
            };
            a & 0xe000 == 0x2000 && !odd
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_09_inside_is_not_the_public_internet() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:a00:1::",
            "3fff:1::1",
            "::10.0.0.1",
        ] {
            assert!(
                !public(inside.parse::<IpAddr>().unwrap().to_canonical()),
                "{inside}"
            );
        }
        for outside in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
        ] {
            assert!(
                public(outside.parse::<IpAddr>().unwrap().to_canonical()),
                "{outside}"
            );
        }
    }

    #[test]
    fn proxy_09_originals_are_on_a_list() {
        let original = Original {
            networks: vec![Network {
                address: [10, 9, 2, 0].into(),
                bits: 24,
            }],
            ports: vec![443],
            https: true,
            keep_source: true,
        };
        let allows = |text: &str| original.allows(text.parse().unwrap());
        assert!(allows("10.9.2.7:443"));
        assert!(!allows("10.9.3.7:443") && !allows("10.9.2.7:80") && !allows("[::1]:443"));
    }
}
