//! Where a backend's host name leads now.
//!
//! What enters: a host and a port. What leaves: addresses, in turn. What can never happen: a
//! look-up that fails takes addresses away that were good, or a connection to an address that
//! has vanished is used for another request.
//!
//! A name is looked up when it is first needed, every `dns_time` after that, and when connecting
//! fails, at most once in [`limits::DNS_AGAIN`]. Requests in flight to an address that has
//! vanished come to their end; its connections are closed then, or at once when idle.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::backend::Backend;
use super::health::jittered;
use crate::gateway::coarse::Moment;
use crate::limits;

/// Looks one address's name up again and again.
pub async fn follow(backend: Arc<Backend>, target: usize) {
    loop {
        tokio::time::sleep(jittered(backend.care.dns_time)).await;
        backend.targets[target].endpoint.names.look_up_again().await;
    }
}

pub struct Names {
    host: String,
    port: u16,
    addresses: ArcSwap<Vec<SocketAddr>>,
    /// Counts the changes of `addresses`.
    version: AtomicU32,
    turn: AtomicUsize,
    /// Held while looking up: who comes meanwhile waits for the same answer.
    look_up: Mutex<LookUp>,
    fixed: bool,
}

#[derive(Default)]
struct LookUp {
    last: Option<Moment>,
    /// The one that is under way. It is a thread of its own that cannot be stopped: who gives up
    /// waiting leaves it to the next one, and while DNS hangs there is one of them.
    running: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Names {
    /// `host`: a DNS name or an address, without brackets.
    pub fn new(host: String, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok();
        let known = literal.map(|ip| SocketAddr::new(ip, port));
        Self {
            host,
            port,
            addresses: ArcSwap::from_pointee(known.into_iter().collect()),
            version: AtomicU32::new(0),
            turn: AtomicUsize::new(0),
            look_up: Mutex::default(),
            fixed: known.is_some(),
        }
    }

    /// An address that is written as one never changes.
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// All addresses, each call beginning with another one. Looks the name up if none is known.
    pub async fn addresses(&self) -> Vec<SocketAddr> {
        if self.addresses.load().is_empty() {
            self.look_up_again().await;
        }
        let mut all = self.addresses.load().to_vec();
        if !all.is_empty() {
            let first = self.turn.fetch_add(1, Relaxed) % all.len();
            all.rotate_left(first);
        }
        all
    }

    /// Looks the name up, unless that was done a moment ago. Whether the addresses changed.
    pub async fn look_up_again(&self) -> bool {
        let before = self.version();
        if !self.fixed {
            let mut look_up = self.look_up.lock().await;
            let due = look_up
                .last
                .is_none_or(|l| l.elapsed() >= limits::DNS_AGAIN);
            if due && look_up.running.is_none() {
                look_up.running = Some(self.begin());
            }
            if let Some(running) = &mut look_up.running {
                let found = running.await;
                look_up.running = None;
                look_up.last = Some(Moment::now());
                self.learn(found.unwrap_or_else(|e| Err(io::Error::other(e))));
            }
        }
        self.version() != before
    }

    fn begin(&self) -> JoinHandle<io::Result<Vec<SocketAddr>>> {
        let name = (self.host.clone(), self.port);
        tokio::spawn(async move {
            let found = tokio::net::lookup_host((name.0.as_str(), name.1)).await;
            found.map(Iterator::collect)
        })
    }

    /// The number of the present set of addresses.
    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    pub fn leads_to(&self, address: &SocketAddr) -> bool {
        self.addresses.load().contains(address)
    }

    /// A resolver that does not know is no reason to forget.
    fn learn(&self, found: io::Result<Vec<SocketAddr>>) {
        let mut found = match found {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(host = self.host, kind = ?error.kind(), "name not resolved");
                return;
            }
        };
        found.sort_unstable();
        found.dedup();
        found.truncate(limits::DNS_ADDRESSES);
        if **self.addresses.load() != found {
            tracing::info!(
                host = self.host,
                addresses = found.len(),
                "name leads elsewhere"
            );
            self.addresses.store(Arc::new(found));
            self.version.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[tokio::test]
    async fn addresses_take_turns_and_change_but_are_not_forgotten() {
        let names = Names::new("a.example".to_owned(), 80);
        assert!(!names.is_fixed());
        names.learn(Ok(vec![at(2), at(1), at(2)]));
        assert_eq!(names.version(), 1);
        assert_eq!(names.addresses().await, [at(1), at(2)]);
        assert_eq!(names.addresses().await, [at(2), at(1)]);
        // The resolver turns its answers round: that is no change.
        names.learn(Ok(vec![at(1), at(2)]));
        assert_eq!(names.version(), 1);
        names.learn(Ok(vec![at(3), at(2)]));
        assert_eq!(names.version(), 2);
        assert!(!names.leads_to(&at(1)) && names.leads_to(&at(2)));
        names.learn(Ok(vec![]));
        names.learn(Err(io::ErrorKind::NotFound.into()));
        assert!(names.leads_to(&at(3)));
        assert_eq!(names.version(), 2);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_when_needed_and_not_again_at_once() {
        let names = Names::new("localhost".to_owned(), 7);
        assert!(names.version() == 0 && !names.addresses().await.is_empty());
        let loopback = names.addresses().await;
        assert!(
            loopback
                .iter()
                .all(|a| a.ip().is_loopback() && a.port() == 7)
        );
        names.learn(Ok(vec![at(1)]));
        assert!(!names.look_up_again().await, "a moment ago");
        assert!(names.leads_to(&at(1)));

        // One that hangs is waited for by one after the other, and there is no second one.
        let hanging = Names::new("a.example".to_owned(), 7);
        let running = tokio::spawn(std::future::pending());
        let (id, abort) = (running.id(), running.abort_handle());
        hanging.look_up.lock().await.running = Some(running);
        for _ in 0..3 {
            let wait = std::time::Duration::from_millis(5);
            let waited = tokio::time::timeout(wait, hanging.look_up_again());
            assert!(waited.await.is_err());
            let now = hanging
                .look_up
                .lock()
                .await
                .running
                .as_ref()
                .map(|r| r.id());
            assert_eq!(now, Some(id));
        }
        abort.abort();
        assert!(!hanging.look_up_again().await && hanging.addresses.load().is_empty());
        assert!(hanging.look_up.lock().await.running.is_none());

        let literal = Names::new("::1".to_owned(), 7);
        assert!(literal.is_fixed() && !literal.look_up_again().await);
        assert_eq!(literal.addresses().await, ["[::1]:7".parse().unwrap()]);
    }
}
