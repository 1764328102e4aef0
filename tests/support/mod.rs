//! What the tests of a running system share: certificates, a gateway, raw peers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part of this"
)]

pub mod authority;
pub mod backend;
pub mod certificates;
pub mod gateway;
pub mod h2;
pub mod peers;
pub mod raw;
pub mod seen;
pub mod vectors;
pub mod whole;
