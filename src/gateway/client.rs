//! Who asks, as a number.
//!
//! What enters: a client's certificate, and its address. What leaves: one number for the holder of
//! a client certificate, else for the address (IPv6: its /64). What can never happen: it is told
//! from the number who that is: it is hashed under seeds of this process.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use super::door::places::network;
use crate::tls::identity::{Peer, Role};

/// Made once a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(u64);

static SEEDS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Client {
    pub fn of(peer: Option<&Peer>, address: IpAddr) -> Self {
        Self(match peer.filter(|p| p.role == Role::Client) {
            Some(peer) => SEEDS.hash_one((0, peer.id.as_str())),
            None => SEEDS.hash_one((1, network(address))),
        })
    }

    pub fn number(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_s_holder_is_one_client_wherever_it_is_and_a_network_is_one() {
        let at = |last: u8| IpAddr::from([192, 0, 2, last]);
        let none = |address| Client::of(None, address);
        assert_eq!(none(at(1)), none("::ffff:192.0.2.1".parse().unwrap()));
        assert_ne!(none(at(1)), none(at(2)));
        let v6 = |text: &str| none(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::2"), "one network");
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        let peer = |id: &str, role| Peer {
            role,
            id: id.to_owned(),
            fingerprint: Default::default(),
        };
        let known = peer("provider-1", Role::Client);
        assert_eq!(
            Client::of(Some(&known), at(1)),
            Client::of(Some(&known), at(9))
        );
        let other = peer("provider-2", Role::Client);
        assert_ne!(
            Client::of(Some(&known), at(1)),
            Client::of(Some(&other), at(1))
        );
        let officer = peer("o", Role::Officer);
        assert_eq!(Client::of(Some(&officer), at(1)), none(at(1)), "as without");
    }
}
