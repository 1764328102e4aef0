//! What a scanner does at each place: the automaton and the actions in one flat table.
//!
//! What enters: an automaton, the actions of its rules, `unlisted`. What leaves: two nodes a
//! state (below a kept container or not) with the verdict on a scalar and on a container. What
//! can never happen: a scanner decides anything itself.

use super::{Action, Automaton, RuleId, StateId, Unlisted};

/// Index of a node: the automaton's state times two, plus one below a kept container.
pub(crate) type NodeId = u16;

/// Everything below passes and no name is looked at: the inside of a container that is kept,
/// replaced or dropped whole.
pub(crate) const QUIET: NodeId = 1;

/// The record itself.
pub(crate) const RECORD: NodeId = StateId::ROOT.0 * 2;

/// What happens to a string, number, boolean or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Pass,
    /// A slot (but none for null and the empty string).
    Slot,
    /// A slot if it is a string: `restore` gives back whole strings only.
    SlotText,
    Drop,
    Reject,
    Unlisted,
}

/// What happens to an array or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Its inside is looked at.
    Enter,
    /// Its inside is looked at, and passes where no rule says otherwise.
    EnterKept,
    /// One slot for the whole.
    Slot,
    Drop,
    Reject,
    Unlisted,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub scalar: Scalar,
    pub container: Container,
    /// The rule of a slot; [`RuleId::UNLISTED`] where `unlisted` decides.
    pub rule: RuleId,
    pub element: NodeId,
    /// Members whose name is not listed.
    pub other: NodeId,
    /// Where this node's hash table starts in `entries`.
    table: u32,
    /// Its size is 2^(64 - shift); 0: it lists no name.
    shift: u8,
}

/// A listed name in a node's hash table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ends: Ends,
    /// Index into the automaton's names.
    name: u16,
    next: NodeId,
}

/// The first and last eight bytes of a name and its length: nearly always the whole comparison.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u64,
    last: u64,
    length: usize,
}

/// `Frame::name` of a member whose name no selector lists at its place.
pub(crate) const NO_NAME: u16 = u16::MAX;

/// Marks a free place in a hash table: no name is that long.
const FREE: usize = usize::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    nodes: Box<[Node]>,
    entries: Box<[Entry]>,
    names: Box<[Box<str>]>,
    /// The array of a stream of records, or the body itself: its elements are records.
    pub body: NodeId,
    /// Listed columns of a record that is a row without a header.
    columns: Box<[(u32, NodeId)]>,
}

impl Plan {
    pub fn new(automaton: &Automaton, actions: &[&Action], unlisted: Unlisted) -> Self {
        let mut nodes = Vec::with_capacity(automaton.states.len() * 2 + 2);
        let mut entries = Vec::new();
        for state in &automaton.states {
            let (table, shift) = hash_table(&mut entries, &automaton.names, &state.edges);
            for kept in [false, true] {
                let action = state.rule.map(|r| actions[usize::from(r.0)]);
                let (scalar, container) = verdicts(action, state.live, kept, unlisted);
                nodes.push(Node {
                    scalar,
                    container,
                    rule: state.rule.unwrap_or(RuleId::UNLISTED),
                    element: state.element.0 * 2 + u16::from(kept),
                    other: state.other.0 * 2 + u16::from(kept),
                    table,
                    shift,
                });
            }
        }
        let record = &automaton.states[usize::from(StateId::ROOT.0)];
        let columns = record.columns.iter().map(|(at, next)| (*at, next.0 * 2));
        let body = nodes.len();
        let quiet = nodes[usize::from(QUIET)];
        nodes.extend(
            [Node {
                element: RECORD,
                ..quiet
            }; 2],
        );
        Self {
            nodes: nodes.into(),
            entries: entries.into(),
            names: automaton.names.clone().into(),
            columns: columns.collect(),
            body: NodeId::try_from(body).expect("states are bounded by limits::AUTOMATON_STATES"),
        }
    }

    #[inline(always)]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::from(id)]
    }

    /// The names listed at a node, to look up several members of one object.
    #[inline(always)]
    pub fn listed(&self, at: NodeId) -> Listed<'_> {
        let node = self.node(at);
        let size = if node.shift == 0 {
            0
        } else {
            1usize << (64 - node.shift)
        };
        Listed {
            entries: &self.entries[node.table as usize..][..size],
            names: &self.names,
            shift: node.shift,
            kept: at & 1,
            other: node.other,
        }
    }

    /// Where the member named `bytes[start..end]` leads from `from`, and its listed name.
    pub fn member(&self, from: NodeId, bytes: &[u8], start: usize, end: usize) -> (NodeId, u16) {
        self.listed(from).find(bytes, start, end)
    }

    /// Where a row's field in this column leads from `from`, and whether the column is listed.
    pub fn column(&self, from: NodeId, at: usize) -> (NodeId, bool) {
        let known = |(n, _): &(u32, NodeId)| (*n as usize).cmp(&at);
        match self.columns.binary_search_by(known) {
            Ok(found) => (self.columns[found].1 | from & 1, true),
            Err(_) => (self.node(from).element, false),
        }
    }

    /// One more than the last listed column.
    pub fn columns(&self) -> usize {
        self.columns.last().map_or(0, |(at, _)| *at as usize + 1)
    }

    /// A listed name's text, for places in faults.
    pub fn name(&self, name: u16) -> &str {
        &self.names[usize::from(name)]
    }
}

/// One node's names: a hash table with open addressing, at most a quarter full.
#[derive(Clone, Copy)]
pub(crate) struct Listed<'a> {
    entries: &'a [Entry],
    names: &'a [Box<str>],
    shift: u8,
    kept: NodeId,
    other: NodeId,
}

impl Listed<'_> {
    /// Where every member leads, if no name is listed.
    #[inline(always)]
    pub fn all(&self) -> Option<NodeId> {
        self.entries.is_empty().then_some(self.other)
    }

    /// Where the member named `bytes[start..end]` leads, and its listed name.
    #[inline(always)]
    pub fn find(&self, bytes: &[u8], start: usize, end: usize) -> (NodeId, u16) {
        if self.entries.is_empty() {
            return (self.other, NO_NAME);
        }
        let ends = Ends::of(bytes, start, end);
        let mut at = ends.hash(self.shift);
        loop {
            let entry = &self.entries[at & (self.entries.len() - 1)];
            // Names over 16 bytes may differ in the middle alone.
            if entry.ends == ends && (ends.length <= 16 || self.is(entry.name, &bytes[start..end]))
            {
                return (entry.next | self.kept, entry.name);
            }
            if entry.ends.length == FREE {
                return (self.other, NO_NAME);
            }
            at += 1;
        }
    }

    #[cold]
    fn is(&self, name: u16, bytes: &[u8]) -> bool {
        self.names[usize::from(name)].as_bytes() == bytes
    }
}

/// What an action means for a scalar and for a container.
fn verdicts(
    action: Option<&Action>,
    live: bool,
    kept: bool,
    unlisted: Unlisted,
) -> (Scalar, Container) {
    match action {
        Some(Action::Keep) => (Scalar::Pass, Container::EnterKept),
        Some(Action::Drop) => (Scalar::Drop, Container::Drop),
        Some(Action::Reject) => (Scalar::Reject, Container::Reject),
        Some(Action::Restore { .. }) => (Scalar::SlotText, Container::EnterKept),
        Some(
            Action::Redact(_) | Action::Mask(_) | Action::Pseudonym { .. } | Action::Generalise(_),
        ) => (Scalar::Slot, Container::Slot),
        // A text is a scalar. What stands inside an array or object has its own rules, or none.
        Some(Action::Scrub(_)) => {
            let unlisted = match unlisted {
                Unlisted::Keep => Unlisted::Reject,
                other => other,
            };
            (Scalar::Slot, verdicts(None, live, false, unlisted).1)
        }
        None if kept => (Scalar::Pass, Container::EnterKept),
        None => {
            let (scalar, whole) = match unlisted {
                Unlisted::Reject => (Scalar::Unlisted, Container::Unlisted),
                Unlisted::Drop => (Scalar::Drop, Container::Drop),
                Unlisted::Keep => (Scalar::Pass, Container::EnterKept),
            };
            (scalar, if live { Container::Enter } else { whole })
        }
    }
}

/// Appends a node's hash table and says where it starts and how
/// far a hash is shifted for it.
fn hash_table(entries: &mut Vec<Entry>, names: &[Box<str>], edges: &[(u16, StateId)]) -> (u32, u8) {
    if edges.is_empty() {
        return (0, 0);
    }
    let start = entries.len();
    let size = (edges.len() * 4).next_power_of_two();
    let shift = 64 - size.trailing_zeros();
    let free = Entry {
        ends: Ends {
            first: 0,
            last: 0,
            length: FREE,
        },
        name: NO_NAME,
        next: QUIET,
    };
    entries.resize(start + size, free);
    let shift = u8::try_from(shift).expect("at most 63");
    for (name, next) in edges {
        let text = names[usize::from(*name)].as_bytes();
        let ends = Ends::of(text, 0, text.len());
        let mut at = ends.hash(shift);
        while entries[start + at].ends.length != FREE {
            at = (at + 1) % size;
        }
        entries[start + at] = Entry {
            ends,
            name: *name,
            next: next.0 * 2,
        };
    }
    let start = u32::try_from(start).expect("states times names is bounded by limits");
    (start, shift)
}

/// One comparison instead of three: the parts hardly ever differ alone.
impl PartialEq for Ends {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let length = (self.length ^ other.length) as u64;
        (self.first ^ other.first) | (self.last ^ other.last) | length == 0
    }
}

impl Ends {
    #[inline(always)]
    fn of(bytes: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        let eight = match bytes.get(start..).and_then(<[u8]>::first_chunk) {
            Some(eight) if length > 0 => u64::from_le_bytes(*eight),
            _ => short(&bytes[start..end]),
        };
        // What lies behind the name is shifted out.
        let first = eight << (8 * (8 - length.clamp(1, 8)));
        let last = if length > 8 {
            load(&bytes[end - 8..])
        } else {
            0
        };
        Self {
            first,
            last,
            length,
        }
    }

    #[inline(always)]
    fn hash(&self, shift: u8) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // A hash table is never larger than usize.
        (mixed >> shift) as usize
    }
}

#[inline(always)]
fn load(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(eight)
}

/// The first eight bytes, or as many as there are.
#[cold]
fn short(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |all, b| all << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Selector;

    #[test]
    fn finds_names_of_every_length_and_no_others() {
        let mut names: Vec<String> = (0..40)
            .map(|n| "abcdefghijklmnopqrstuvwxyz0123456789____"[..n].into())
            .collect();
        names.extend(
            [
                "provider_id",
                "provider_no",
                "12345678middle12345678",
                "12345678maddle12345678",
            ]
            .map(String::from),
        );
        let selectors: Vec<Selector> = names
            .iter()
            .map(|n| Selector::parse(&format!("$['{n}']")).expect("parses"))
            .collect();
        let automaton = Automaton::compile(selectors.iter()).expect("compiles");
        let keep = vec![&Action::Keep; names.len()];
        let plan = Plan::new(&automaton, &keep, Unlisted::Reject);
        for name in &names {
            let id = automaton.member(StateId::ROOT, name);
            for around in ["", "\": 1234567"] {
                let text = format!("{around}{name}{around}");
                let (start, end) = (around.len(), around.len() + name.len());
                let (next, found) = plan.member(RECORD, text.as_bytes(), start, end);
                assert_eq!((next, plan.name(found)), (id.0 * 2, name.as_str()));
                let kept = plan.member(RECORD | 1, text.as_bytes(), start, end).0;
                assert_eq!(kept, id.0 * 2 + 1);
            }
        }
        for other in [
            "b",
            "abcdefgx",
            "provider_ip",
            "12345678muddle12345678",
            "\0",
            "ab\0",
        ] {
            let found = plan.member(RECORD, other.as_bytes(), 0, other.len());
            assert_eq!(found, (StateId::DEAD.0 * 2, NO_NAME), "{other:?}");
        }
    }
}
