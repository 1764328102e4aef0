//! The file as written: serde structures with spans.
