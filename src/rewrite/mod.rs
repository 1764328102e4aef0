//! The five steps, joined: chunks of a body in, rewritten chunks out.
//!
//! What enters: decoded bytes of one body, its policy, the lease of its domain. What leaves: the
//! same bytes with answers in the slots' places. What can never happen: a pseudonym leaves
//! before its recovery record is durable, or a record leaves in part (see `RecordUnit`).

use std::sync::Arc;

use crate::config::{Format, Limits};
use crate::error::Fault;
use crate::policy::Policy;
use crate::pseudonym::Kinds;
use crate::vault_link::Lease;

pub mod own;

/// What one body needs to be rewritten. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    pub policy: Arc<Policy>,
    pub kinds: Arc<Kinds>,
    pub format: Format,
    /// `None` for policies that derive nothing.
    pub lease: Option<Arc<Lease>>,
    pub limits: Arc<Limits>,
    /// Where the request side remembers, and the response side finds, what this client sent.
    pub own: Option<Arc<own::OwnIdentifiers>>,
}

/// Rewrites one body.
pub struct Rewriter {}

/// What a finished body held, for log and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub records: u64,
    pub replaced: u64,
    pub first_sights: u64,
}

impl Rewriter {
    pub fn new(_job: Job) -> Self {
        todo!()
    }

    /// Takes the next chunk; appends to `out` what may leave now (perhaps nothing).
    pub async fn push(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Fault> {
        todo!()
    }

    /// The body has ended: appends the rest.
    pub async fn finish(&mut self, _out: &mut Vec<u8>) -> Result<Summary, Fault> {
        todo!()
    }
}
