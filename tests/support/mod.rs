//! What the tests of a running system share: certificates, a gateway, raw peers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part of this"
)]

pub mod authority;
pub mod backend;
pub mod certificates;
pub mod corpus;
pub mod gateway;
pub mod h2;
pub mod peers;
pub mod raw;
pub mod seen;
pub mod vectors;
pub mod whole;

/// Waits until a count is this: what a client has felt is counted a moment later.
pub async fn settles(what: &str, wanted: u64, count: impl Fn() -> u64) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while count() < wanted && std::time::Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(count(), wanted, "{what}");
}
