//! The inner loops of the token walk: runs of ordinary members and elements.
//!
//! What enters: tokens, at a place where a member, an element or what follows one is due. What
//! leaves: slots of strings; everything else only passes. What can never happen: these loops
//! decide something: at whatever is not ordinary (a drop, a refusal, a record's border, a
//! malformed token) they stop before that token or member, and the walk in `tokens` goes on.
//!
//! Nothing is stored for a value that passes; what the state needs is found again from the last
//! token on the way out.

use super::tokens::{scalar_end, text_end};
use super::{Frame, Machine, Role, State};
use crate::format::simd::Index;
use crate::format::{Found, Shape, Slot};
use crate::policy::plan::{Container, NodeId, Scalar};

/// Why a run of members stopped, with the number of tokens that are done with.
enum Stop {
    /// Before a member: all done tokens are whole members with their commas.
    Member(usize),
    /// Behind a colon: a bracket opens, and its inside is looked at.
    Open(usize, NodeId, u16),
    /// Before a closing brace.
    Close(usize),
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    First,
    Next,
    /// A comma or the closing bracket.
    After,
}

impl<const LINES: bool> Machine<LINES> {
    /// Walks over ordinary tokens, as many as there are in a row.
    #[inline(always)]
    pub(super) fn run(&mut self, index: &mut Index, window: &[u8], found: &mut Found) {
        let due = match self.state {
            State::FirstKey | State::FirstElement => Due::First,
            State::Key => Due::Next,
            State::Value if self.in_array() => Due::Next,
            State::After => Due::After,
            _ => return,
        };
        // An open extent, or a separator that must be measured, is not ordinary.
        if self.extent.is_none() {
            self.ordinary(due, index, window, found);
        }
    }

    fn ordinary(&mut self, mut due: Due, index: &mut Index, window: &[u8], found: &mut Found) {
        let tokens = index.tokens();
        let suspect = index.suspect();
        let mut done = 0;
        let Some(mut top) = self.stack.last().copied() else {
            return;
        };
        loop {
            if due == Due::After {
                let Some(&[at, ..]) = tokens[done..].first_chunk::<4>() else {
                    break;
                };
                let byte = window[at as usize];
                if byte == b',' {
                    due = Due::Next;
                } else if byte == top.closing()
                    && top.role == Role::Plain
                    && self.stack.len() - 1 > self.record_height
                {
                    self.stack.pop();
                    let Some(above) = self.stack.last() else {
                        break;
                    };
                    top = *above;
                } else {
                    break;
                }
                done += 1;
                continue;
            }
            let (inside, lead) = if top.array {
                match self.element(&tokens[done..], top.node, window, suspect) {
                    Some((None, count)) => {
                        done += count;
                        top.survivor = true;
                        due = Due::After;
                        continue;
                    }
                    Some((Some(inside), count)) => (inside, count),
                    None => break,
                }
            } else {
                let rest = &tokens[done..];
                let stop = if suspect {
                    self.members::<true>(rest, top.node, window, found)
                } else {
                    self.members::<false>(rest, top.node, window, found)
                };
                match stop {
                    Stop::Member(0) => break,
                    Stop::Member(count) => {
                        done += count;
                        top.survivor = true;
                        due = Due::Next;
                        break;
                    }
                    Stop::Close(count) => {
                        done += count;
                        top.survivor |= count > 0;
                        due = Due::After;
                        continue;
                    }
                    Stop::Open(count, inside, name) => {
                        top.name = name;
                        (inside, count)
                    }
                }
            };
            if self.stack.len() > self.options.depth {
                // Step back to the member's first token.
                let back = if top.array { 1 } else { 3 };
                done += lead - back;
                due = if lead > back { Due::Next } else { due };
                break;
            }
            top.survivor = true;
            if let Some(above) = self.stack.last_mut() {
                *above = top;
            }
            done += lead;
            top = Frame::open(inside, window[tokens[done - 1] as usize] == b'[');
            self.stack.push(top);
            due = Due::First;
        }
        if done == 0 {
            return;
        }
        self.state = match (due, top.array) {
            (Due::First, true) => State::FirstElement,
            (Due::First, false) => State::FirstKey,
            (Due::Next, true) => State::Value,
            (Due::Next, false) => State::Key,
            (Due::After, _) => State::After,
        };
        if let Some(above) = self.stack.last_mut() {
            *above = top;
        }
        let last = tokens[done - 1] as usize;
        self.pending = last; // The comma, where one has been seen and its member has not.
        // Behind a scalar there is only white space up to the next token.
        self.looked = match (due, tokens.get(done)) {
            (Due::After, Some(next)) => *next as usize,
            _ => last + 1,
        };
        index.skip(done);
    }

    /// One element: the inside of a container or `None` for a scalar that passes, and its tokens.
    #[inline(always)]
    fn element(
        &self,
        tokens: &[u32],
        node: NodeId,
        window: &[u8],
        suspect: bool,
    ) -> Option<(Option<NodeId>, usize)> {
        if self.stack.len() == self.record_height || self.unbounded {
            return None;
        }
        let [at, next, ..] = *tokens.first_chunk::<4>()?;
        let (at, next) = (at as usize, next as usize);
        let child = self.policy.plan.node(node).element;
        let verdict = self.policy.plan.node(child);
        let inside = match window[at] {
            b'{' | b'[' => Some(entered(verdict.container, child)?),
            _ => {
                scalar_end(window, at, next, suspect)?;
                if verdict.scalar != Scalar::Pass {
                    return None;
                }
                None
            }
        };
        Some((inside, 1))
    }

    /// Members of one object, up to the first that is not ordinary.
    #[inline(never)]
    fn members<const SUSPECT: bool>(
        &self,
        tokens: &[u32],
        node: NodeId,
        window: &[u8],
        found: &mut Found,
    ) -> Stop {
        if self.unbounded {
            return Stop::Member(0);
        }
        let plan = &self.policy.plan;
        let listed = plan.listed(node);
        let mut rest = tokens;
        let done = |rest: &[u32]| tokens.len() - rest.len();
        while let [name, colon, at, next, ..] = *rest {
            let [name, colon] = [name as usize, colon as usize];
            let [at, next] = [at as usize, next as usize];
            if window[name] != b'"' || window[colon] != b':' {
                break;
            }
            let Some(quote) = text_end(window, name, colon, SUSPECT) else {
                break;
            };
            let (child, listed) = listed.find(window, name + 1, quote);
            let verdict = plan.node(child);
            let byte = window[at];
            let after = window[next];
            if byte == b'"' {
                let Some(quote) = text_end(window, at, next, SUSPECT) else {
                    break;
                };
                match verdict.scalar {
                    Scalar::Pass => {}
                    Scalar::Slot | Scalar::SlotText if quote - at < self.options.value => {
                        if after != b',' && after != b'}' {
                            break;
                        }
                        if quote - at > 1 {
                            found.slots.push(Slot {
                                start: at,
                                end: quote + 1,
                                rule: verdict.rule,
                                shape: Shape::Text,
                                record: self.records,
                            });
                        }
                    }
                    _ => break,
                }
            } else if byte == b'{' || byte == b'[' {
                let Some(inside) = entered(verdict.container, child) else {
                    break;
                };
                return Stop::Open(done(rest) + 3, inside, listed);
            } else if verdict.scalar != Scalar::Pass
                || scalar_end(window, at, next, SUSPECT).is_none()
            {
                break;
            }
            match after {
                b',' => rest = &rest[4..],
                b'}' => return Stop::Close(done(rest) + 3),
                _ => break,
            }
        }
        Stop::Member(done(rest))
    }
}

/// The node inside a container that is looked into.
#[inline(always)]
fn entered(verdict: Container, child: NodeId) -> Option<NodeId> {
    match verdict {
        Container::Enter => Some(child),
        Container::EnterKept => Some(child | 1),
        _ => None,
    }
}
