//! SHA-256 as hexadecimal digits, of what has passed so far.

use sha2::{Digest as _, Sha256};

/// A digest that grows.
#[derive(Clone, Default)]
pub struct Running(Sha256);

impl Running {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of everything so far; more may follow.
    pub fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
