//! See docs/policies.md.
