//! The place of a fault, in the policy's own notation.
//!
//! What can never happen: a name is printed that the policy does not list at that very place.

use super::{Machine, Role, State};
use crate::policy::plan::NO_NAME;
use crate::policy::selector::write_name;

impl<const LINES: bool> Machine<LINES> {
    /// The container or member that the walk stands at, such as `$.results[*].*`; for the inside
    /// of a container that is replaced whole, that container.
    pub(super) fn place(&self) -> String {
        let mut place = String::from("$");
        let frames = self.stack.get(self.record_height..).unwrap_or_default();
        for (above, frame) in frames.iter().enumerate() {
            if frame.role == Role::Slot {
                break;
            }
            if frame.array {
                place.push_str("[*]");
                continue;
            }
            let top = above + 1 == frames.len();
            if top && self.before_member() {
                break;
            }
            if frame.name == NO_NAME {
                place.push_str(".*");
            } else {
                let name = self.policy.plan.name(frame.name);
                // Writing into a string cannot fail.
                let _ = write_name(&mut place, "", name);
            }
        }
        place
    }

    fn before_member(&self) -> bool {
        match self.state {
            State::FirstKey | State::Key => true,
            State::Text(_) => self.key,
            _ => false,
        }
    }
}
