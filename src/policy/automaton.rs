//! All selectors of a policy as one automaton.
use super::{PolicyError, Selector};

#[derive(Clone, Debug)]
pub struct Automaton {}

impl Automaton {
    pub fn compile<'a>(
        _selectors: impl Iterator<Item = &'a Selector>,
    ) -> Result<Self, Vec<PolicyError>> {
        todo!()
    }
}
