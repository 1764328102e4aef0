//! temp
pub mod keys;
pub mod log;
pub mod metrics;
pub mod sequencer;
pub mod store;
