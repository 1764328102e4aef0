//! All selectors of a policy as one deterministic automaton.
//!
//! What enters: selectors, in the order of their rules. What leaves: states that a scanner
//! walks, one a nesting level. What can never happen: more than one look at a name for any
//! number of rules, or a rule that can never win goes unnoticed.
//!
//! A position is (rule, steps matched so far). A state is the set of positions that a path has
//! reached (subset construction); it knows the first rule that is complete there.

use std::collections::{BTreeSet, HashMap};

use super::selector::Step;
use super::{PolicyError, RuleId, Selector};
use crate::limits;

/// Index of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u16);

impl StateId {
    /// Nothing matches here or below.
    pub const DEAD: Self = Self(0);
    /// The record itself, `$`.
    pub const ROOT: Self = Self(1);
}

/// One place of the selector tree.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The first rule that matches here.
    pub rule: Option<RuleId>,
    /// Some rule can match below.
    pub live: bool,
    /// Where an array element leads.
    pub element: StateId,
    /// Where a member leads whose name is not in `edges`.
    pub other: StateId,
    /// Listed names (index into `names`) and where they lead, in order of the name.
    pub edges: Vec<(u16, StateId)>,
    /// Listed columns of a row without a header, in order; others lead where elements do.
    pub columns: Vec<(u32, StateId)>,
}

#[derive(Clone, Debug)]
pub struct Automaton {
    pub(crate) states: Vec<State>,
    /// Every name that a selector lists, sorted.
    pub(crate) names: Vec<Box<str>>,
}

impl Automaton {
    /// Compiles selectors in the order of their rules.
    ///
    /// # Errors
    /// Every rule that can never win, or [`PolicyError::TooManyStates`].
    pub fn compile<'a>(
        selectors: impl Iterator<Item = &'a Selector>,
    ) -> Result<Self, Vec<PolicyError>> {
        let selectors: Vec<&Selector> = selectors.collect();
        if selectors.len() > limits::RULES {
            return Err(vec![PolicyError::TooManyRules]);
        }
        let automaton = Builder::new(&selectors).build()?;
        Ok(automaton)
    }

    /// Where a member of this (unescaped) name leads.
    pub fn member(&self, from: StateId, name: &str) -> StateId {
        let state = self.state(from);
        state
            .edges
            .binary_search_by(|(id, _)| (*self.names[usize::from(*id)]).cmp(name))
            .map_or(state.other, |found| state.edges[found].1)
    }

    /// Where an array element leads.
    pub fn element(&self, from: StateId) -> StateId {
        self.state(from).element
    }

    /// The first rule that matches at this place.
    pub fn rule(&self, at: StateId) -> Option<RuleId> {
        self.state(at).rule
    }

    /// Whether any rule can match below this place.
    pub fn live_below(&self, at: StateId) -> bool {
        self.state(at).live
    }

    fn state(&self, id: StateId) -> &State {
        &self.states[usize::from(id.0)]
    }
}

/// (rule, steps matched).
type Position = (u16, u16);

struct Builder<'a> {
    selectors: &'a [&'a Selector],
    names: Vec<Box<str>>,
    known: HashMap<Vec<Position>, StateId>,
    sets: Vec<Vec<Position>>,
}

impl<'a> Builder<'a> {
    fn new(selectors: &'a [&'a Selector]) -> Self {
        let names: BTreeSet<&str> = selectors
            .iter()
            .flat_map(|s| s.steps.iter().filter_map(listed))
            .collect();
        Self {
            selectors,
            names: names.into_iter().map(Into::into).collect(),
            known: HashMap::new(),
            sets: Vec::new(),
        }
    }

    fn build(mut self) -> Result<Automaton, Vec<PolicyError>> {
        if self.names.len() > limits::SELECTOR_NAMES {
            return Err(vec![PolicyError::TooManyRules]);
        }
        let count = u16::try_from(self.selectors.len()).unwrap_or(u16::MAX);
        self.intern(Vec::new())?;
        // Without selectors the root is as dead as the dead state, but keeps its own number.
        let root: Vec<Position> = (0..count).map(|rule| (rule, 0)).collect();
        self.known.entry(root.clone()).or_insert(StateId::ROOT);
        self.sets.push(root);
        let mut states = Vec::new();
        let mut shadow: Vec<Option<u16>> = vec![None; self.selectors.len()];
        let mut wins = vec![false; self.selectors.len()];
        while states.len() < self.sets.len() {
            let set = self.sets[states.len()].clone();
            let mut complete = set.iter().filter(|p| self.step(**p).is_none());
            let first = complete.next().map(|p| p.0);
            if let Some(first) = first {
                wins[usize::from(first)] = true;
                for later in complete {
                    shadow[usize::from(later.0)].get_or_insert(first);
                }
            }
            let state = State {
                rule: first.map(RuleId),
                live: set.iter().any(|p| self.step(*p).is_some()),
                element: self.advance(&set, &Token::Element)?,
                other: self.advance(&set, &Token::Member(None))?,
                edges: self.edges(&set)?,
                columns: self.columns(&set)?,
            };
            states.push(state);
        }
        let shadowed: Vec<_> = (0..self.selectors.len())
            .filter(|rule| !wins[*rule])
            .map(|rule| PolicyError::Shadowed {
                rule,
                by: shadow[rule].map_or(0, usize::from),
            })
            .collect();
        if !shadowed.is_empty() {
            return Err(shadowed);
        }
        Ok(Automaton {
            states,
            names: self.names,
        })
    }

    /// The step that a position waits for; `None`: the selector is complete.
    fn step(&self, (rule, at): Position) -> Option<&'a Step> {
        self.selectors[usize::from(rule)].steps.get(usize::from(at))
    }

    fn edges(&mut self, set: &[Position]) -> Result<Vec<(u16, StateId)>, Vec<PolicyError>> {
        let names: BTreeSet<&'a str> = set
            .iter()
            .filter_map(|p| self.step(*p).and_then(listed))
            .collect();
        let mut edges = Vec::with_capacity(names.len());
        for name in names {
            let id = self
                .names
                .binary_search_by(|n| (**n).cmp(name))
                .ok()
                .and_then(|id| u16::try_from(id).ok())
                .expect("every name of a selector was listed");
            edges.push((id, self.advance(set, &Token::Member(Some(name)))?));
        }
        Ok(edges)
    }

    fn columns(&mut self, set: &[Position]) -> Result<Vec<(u32, StateId)>, Vec<PolicyError>> {
        let listed: BTreeSet<u32> = set
            .iter()
            .filter_map(|p| match self.step(*p) {
                Some(Step::Column(at)) => Some(*at),
                _ => None,
            })
            .collect();
        let lead = |at| Ok((at, self.advance(set, &Token::Column(at))?));
        listed.into_iter().map(lead).collect()
    }

    fn advance(&mut self, set: &[Position], token: &Token) -> Result<StateId, Vec<PolicyError>> {
        let mut next = BTreeSet::new();
        for &(rule, at) in set {
            let (stays, moves) = match (self.step((rule, at)), token) {
                (None, _) => (false, false),
                (Some(Step::Child(name)), token) => (false, token.is(name)),
                (Some(Step::Wildcard), _) => (false, true),
                (Some(Step::Descendant(name)), token) => (true, token.is(name)),
                (Some(Step::DescendantWildcard), _) => (true, true),
                (Some(Step::Column(at)), token) => {
                    (false, matches!(token, Token::Column(found) if found == at))
                }
            };
            if stays {
                next.insert((rule, at));
            }
            if moves {
                next.insert((rule, at + 1));
            }
        }
        self.intern(next.into_iter().collect())
    }

    fn intern(&mut self, set: Vec<Position>) -> Result<StateId, Vec<PolicyError>> {
        if let Some(id) = self.known.get(&set) {
            return Ok(*id);
        }
        if self.sets.len() == limits::AUTOMATON_STATES {
            return Err(vec![PolicyError::TooManyStates]);
        }
        let id = u16::try_from(self.sets.len())
            .map(StateId)
            .map_err(|_| vec![PolicyError::TooManyStates])?;
        self.sets.push(set.clone());
        self.known.insert(set, id);
        Ok(id)
    }
}

fn listed(step: &Step) -> Option<&str> {
    match step {
        Step::Child(name) | Step::Descendant(name) => Some(name),
        Step::Wildcard | Step::DescendantWildcard | Step::Column(_) => None,
    }
}

/// What leads from one place to the next.
enum Token<'a> {
    Element,
    /// A listed name, or any other.
    Member(Option<&'a str>),
    /// A field of a row without a header.
    Column(u32),
}

impl Token<'_> {
    fn is(&self, name: &str) -> bool {
        matches!(self, Token::Member(Some(found)) if *found == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(selectors: &[&str]) -> Result<Automaton, Vec<PolicyError>> {
        let selectors: Vec<_> = selectors
            .iter()
            .map(|s| Selector::parse(s).expect(s))
            .collect();
        Automaton::compile(selectors.iter())
    }

    /// Follows a path such as `a/*/b`, where `*` is an element.
    fn rule(automaton: &Automaton, path: &str) -> Option<u16> {
        let at =
            path.split('/')
                .filter(|p| !p.is_empty())
                .fold(StateId::ROOT, |at, part| match part {
                    "*" => automaton.element(at),
                    name => automaton.member(at, name),
                });
        automaton.rule(at).map(|r| r.0)
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let a = compile(&["$.a.b", "$..b", "$.a.*", "$"]).expect("compiles");
        assert_eq!(rule(&a, ""), Some(3));
        assert_eq!(rule(&a, "a"), None);
        assert_eq!(rule(&a, "a/b"), Some(0));
        assert_eq!(rule(&a, "a/c"), Some(2));
        assert_eq!(rule(&a, "a/*"), Some(2));
        assert_eq!(rule(&a, "b"), Some(1));
        assert_eq!(rule(&a, "x/*/y/b"), Some(1));
        assert_eq!(rule(&a, "x/*/y/b/b"), Some(1));
        assert_eq!(rule(&a, "x/y"), None);
    }

    #[test]
    fn wildcards_match_elements_and_names_do_not() {
        let a = compile(&["$.r[*].v", "$.k..*"]).expect("compiles");
        assert_eq!(rule(&a, "r/*/v"), Some(0));
        assert_eq!(rule(&a, "r/x/v"), Some(0));
        assert_eq!(rule(&a, "r/v"), None);
        assert_eq!(rule(&a, "k"), None);
        assert_eq!(rule(&a, "k/*/*/z"), Some(1));
        assert!(a.live_below(a.member(StateId::ROOT, "k")));
        assert_eq!(a.member(StateId::ROOT, "other"), StateId::DEAD);
        assert!(!a.live_below(StateId::DEAD));
    }

    #[test]
    fn columns_are_no_elements() {
        let a = compile(&["$[2]", "$.a", "$[*]"]).expect("compiles");
        let root = a.state(StateId::ROOT);
        let [(2, two)] = root.columns[..] else {
            panic!("one column is listed");
        };
        assert_eq!(a.rule(two), Some(RuleId(0)));
        assert_eq!(a.rule(root.element), Some(RuleId(2)));
        let errors = compile(&["$[*]", "$[2]"]).expect_err("shadowed");
        assert_eq!(errors, [PolicyError::Shadowed { rule: 1, by: 0 }]);
    }

    #[test]
    fn rules_that_can_never_win_are_named() {
        let shadowed = |rule, by| PolicyError::Shadowed { rule, by };
        let errors = compile(&["$..*", "$.a", "$.b", "$"]).expect_err("shadowed");
        assert_eq!(errors, [shadowed(1, 0), shadowed(2, 0)]);
        let errors = compile(&["$.a", "$['a']"]).expect_err("shadowed");
        assert_eq!(errors, [shadowed(1, 0)]);
        assert!(compile(&["$.a", "$..a", "$.*", "$..*"]).is_ok());
    }

    #[test]
    fn the_number_of_states_is_bounded() {
        let far: Vec<String> = (0..12)
            .map(|i| format!("$..a{}.b{i}", ".*".repeat(i)))
            .collect();
        let far: Vec<&str> = far.iter().map(String::as_str).collect();
        assert_eq!(
            compile(&far).expect_err("too many"),
            [PolicyError::TooManyStates]
        );
    }

    #[test]
    fn a_policy_without_rules_has_a_dead_root() {
        let a = compile(&[]).expect("compiles");
        assert!(!a.live_below(StateId::ROOT));
        assert_eq!(a.rule(StateId::ROOT), None);
        assert_eq!(a.member(StateId::ROOT, "a"), StateId::DEAD);
    }
}
