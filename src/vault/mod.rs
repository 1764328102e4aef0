//! Room under construction.
pub mod store;
