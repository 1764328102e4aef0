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
use crate::policy::plan::{Container, NO_NAME, NodeId, Scalar};

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
        let (tokens, kinds) = (index.tokens(), index.kinds());
        let suspect = index.suspect();
        let plain = index.plain();
        let mut done = 0;
        let Some(mut top) = self.stack.last().copied() else {
            return;
        };
        loop {
            if due == Due::After {
                let Some(&[byte, ..]) = kinds[done..].first_chunk::<4>() else {
                    break;
                };
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
                let kinds = &kinds[done..];
                let stop = if plain {
                    self.members::<true>(rest, kinds, top.node, window, false, found)
                } else {
                    self.members::<false>(rest, kinds, top.node, window, suspect, found)
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
            top = Frame::open(inside, kinds[done - 1] == b'[');
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

    /// Members of one object, up to the first that is not ordinary. `PLAIN`: every string ends
    /// right before the next token and has no escape.
    #[inline(never)]
    fn members<const PLAIN: bool>(
        &self,
        tokens: &[u32],
        kinds: &[u8],
        node: NodeId,
        window: &[u8],
        suspect: bool,
        found: &mut Found,
    ) -> Stop {
        if self.unbounded {
            return Stop::Member(0);
        }
        let plan = &self.policy.plan;
        let listed = plan.listed(node);
        if let Some(child) = listed.all()
            && PLAIN
            && plan.node(child).scalar == Scalar::Pass
        {
            return passing(
                tokens,
                kinds,
                window,
                entered(plan.node(child).container, child),
            );
        }
        let text_end = |open: u32, next: u32| {
            if PLAIN {
                Some(next as usize - 1)
            } else {
                text_end(window, open as usize, next as usize, suspect)
            }
        };
        let mut done = 0;
        while let Some(&[quote, colon, byte, after]) = kinds[done..].first_chunk()
            && let Some(&[name, name_end, at, next]) = tokens[done..].first_chunk()
        {
            if quote != b'"' || colon != b':' {
                break;
            }
            let Some(name_end) = text_end(name, name_end) else {
                break;
            };
            let (child, name) = listed.find(window, name as usize + 1, name_end);
            let verdict = plan.node(child);
            if byte == b'"' {
                let Some(quote) = text_end(at, next) else {
                    break;
                };
                if verdict.scalar != Scalar::Pass {
                    let slot = matches!(verdict.scalar, Scalar::Slot | Scalar::SlotText);
                    let start = at as usize;
                    // The slot is pushed once: only if the member is ordinary to its end.
                    if !slot || quote - start >= self.options.value || !ends_member(after) {
                        break;
                    }
                    if quote - start > 1 {
                        found.slots.push(Slot {
                            start,
                            end: quote + 1,
                            rule: verdict.rule,
                            shape: Shape::Text,
                            record: self.records,
                        });
                    }
                }
            } else if byte == b'{' || byte == b'[' {
                let Some(inside) = entered(verdict.container, child) else {
                    break;
                };
                return Stop::Open(done + 3, inside, name);
            } else if verdict.scalar != Scalar::Pass
                || scalar_end(window, at as usize, next as usize, false).is_none()
            {
                break;
            }
            match after {
                b',' => done += 4,
                b'}' => return Stop::Close(done + 3),
                _ => break,
            }
        }
        Stop::Member(done)
    }
}

/// Members of an object whose names do not matter and whose scalars pass; every string ends
/// right before the next token. `inside`: the node of containers in it.
#[inline(always)]
fn passing(tokens: &[u32], kinds: &[u8], window: &[u8], inside: Option<NodeId>) -> Stop {
    let mut done = 0;
    while let Some(&[quote, colon, byte, after]) = kinds[done..].first_chunk() {
        if quote != b'"' || colon != b':' {
            break;
        }
        if byte != b'"' {
            if byte == b'{' || byte == b'[' {
                let Some(inside) = inside else { break };
                return Stop::Open(done + 3, inside, NO_NAME);
            }
            let (at, next) = (tokens[done + 2] as usize, tokens[done + 3] as usize);
            if scalar_end(window, at, next, false).is_none() {
                break;
            }
        }
        match after {
            b',' => done += 4,
            b'}' => return Stop::Close(done + 3),
            _ => break,
        }
    }
    Stop::Member(done)
}

#[inline(always)]
fn ends_member(byte: u8) -> bool {
    byte == b',' || byte == b'}'
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
