//! How many connections one address has.
//!
//! What enters: where a connection comes from. What leaves: a place, or none. What can never
//! happen: one address has more than `connections_per_address`, or is remembered after its last
//! connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Places {
    most: usize,
    here: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; given back when dropped.
pub struct Place(Option<(Arc<Places>, IpAddr)>);

impl Places {
    /// `most` of one address; as many as there may be in all (`all`): nothing is counted.
    pub fn new(most: usize, all: usize) -> Arc<Self> {
        Arc::new(Self {
            most: if most >= all { usize::MAX } else { most },
            here: Mutex::default(),
        })
    }

    /// `None`: this address has as many as it may.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.most == usize::MAX {
            return Some(Place(None));
        }
        let address = network(address);
        let mut here = self.lock();
        let count = here.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), address))))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, address)) = self.0.take() else {
            return;
        };
        let mut here = places.lock();
        if let Some(count) = here.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                here.remove(&address);
            }
        }
    }
}

/// What belongs to one customer: an IPv4 address, a /64 of IPv6 (RFC 6177, section 2).
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places_and_is_forgotten() {
        let places = Places::new(2, 100);
        let enter = |text: &str| places.enter(text.parse().unwrap());
        let (first, second) = (enter("192.0.2.1"), enter("192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("::ffff:192.0.2.1").is_none(), "the same address");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        let six: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
            .map(enter)
            .into();
        assert_eq!(six.iter().flatten().count(), 2);
        drop((second, six));
        assert!(places.lock().is_empty());
        let off = Places::new(100, 100);
        let all: Vec<_> = (0..200).map(|_| off.enter([192, 0, 2, 1].into())).collect();
        assert_eq!(all.iter().flatten().count(), 200);
    }
}
