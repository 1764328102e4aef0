//! Policies: which field, what happens to it, and why it may flow. Pure.
//!
//! What enters: rules that `config` has read. What leaves: a [`Policy`] whose selectors are
//! compiled into one automaton. What can never happen: a place that matches two rules gets the
//! later one (the first in the file wins), or a place that matches none passes under `reject`.

pub mod action;
pub mod automaton;
pub mod category;
pub mod door;
pub(crate) mod plan;
pub mod selector;

pub use action::{Action, Generalise, Mask, Redact, Scope, Scrub};
pub use automaton::{Automaton, StateId};
pub use category::{Category, Purpose, Special, adequate};
pub use door::{Door, Doors};
pub use selector::{Selector, SelectorError, Step};

use plan::Plan;

/// Index of a rule in its policy. Small, because every slot carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u16);

impl RuleId {
    /// Stands in a slot that no rule asked for: a place that `unlisted = "drop"` leaves out.
    /// [`Policy::rule`] must not be asked for it.
    pub const UNLISTED: Self = Self(u16::MAX);
}

/// What happens to a value at a place that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unlisted {
    /// The message is refused (422).
    #[default]
    Reject,
    /// The member is left out.
    Drop,
    /// It passes as it is.
    Keep,
}

/// What `$` stands for, and what leaves whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordUnit {
    /// The line, the row, the element of a top-level array, else the document.
    #[default]
    Auto,
    /// The whole document, arrays included.
    Document,
    /// The whole document, but its bytes leave as soon as they are scanned: for documents of any
    /// size. What needs the whole record is refused by `check`.
    Unbounded,
}

/// One line of a policy.
#[derive(Clone, Debug)]
pub struct Rule {
    pub at: Selector,
    pub action: Action,
    /// The data-map category; `None` only where configuration allows it (restore places).
    pub category: Option<Category>,
    pub special: Option<Special>,
    /// This place names the subject of the record.
    pub subject: bool,
    /// The author has accepted that a vocabulary pseudonym can be undone by counting.
    pub accept_frequency: bool,
    /// What becomes of a value that is a pseudonym already.
    pub already: Already,
}

/// Why a rule may not let its values through for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayNotFlow {
    /// In clear, and the purpose does not list the category (GDPR Art. 5(1)(b)).
    Category(Category),
    /// A special category in clear, and the purpose has no condition for any (GDPR Art. 9(2)).
    Special(Special),
}

impl Rule {
    /// Everything that speaks against this rule where data flows for `purpose`.
    pub fn may_not_flow(&self, purpose: Purpose) -> impl Iterator<Item = MayNotFlow> {
        let clear = self.action.lets_through();
        let listed = |category: &Category| purpose.lists().contains(category);
        let category = self.category.filter(|c| clear && !listed(c));
        let special = (self.special).filter(|_| clear && purpose.condition().is_none());
        let category = category.map(MayNotFlow::Category);
        category.into_iter().chain(special.map(MayNotFlow::Special))
    }
}

/// What a `pseudonym` rule does with a value that is one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Already {
    /// The message is refused (422), as is whatever looks like one.
    #[default]
    Reject,
    /// One of the rule's own kind, exactly as this gateway writes them, passes untouched: for
    /// queries by pseudonym. Anything else that looks like one is refused.
    Keep,
}

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub unlisted: Unlisted,
    pub record: RecordUnit,
    pub rules: Vec<Rule>,
    /// Of the body's places.
    pub automaton: Automaton,
    /// Of the places outside it.
    pub doors: Doors,
    /// Whether any answer depends on who a record's subject is.
    pub wants_subject: bool,
    /// What scanners do at each state of the automaton.
    pub(crate) plan: Plan,
}

/// Why a list of rules does not make a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Rules count from 0. Earlier rules match every place that `rule` does; `by` is the first
    /// of them at the first such place.
    #[error(
        "rule {rule} can never match: earlier rules, such as rule {by}, match every place it does"
    )]
    Shadowed { rule: usize, by: usize },
    #[error(
        "the selectors need more states than the automaton holds ({})",
        crate::limits::AUTOMATON_STATES
    )]
    TooManyStates,
    #[error(
        "the policy has more rules or names than it may ({} each)",
        crate::limits::RULES
    )]
    TooManyRules,
}

impl Policy {
    /// Whether anything is said about a capture of this name.
    pub fn takes_capture(&self, name: &str) -> bool {
        self.unlisted == Unlisted::Keep || self.doors.rule(Door::Path, name.as_bytes()).is_some()
    }

    /// Compiles the rules, in order.
    ///
    /// # Errors
    /// Every [`PolicyError`] found, not just the first.
    pub fn compile(
        name: impl Into<String>,
        unlisted: Unlisted,
        record: RecordUnit,
        rules: Vec<Rule>,
    ) -> Result<Self, Vec<PolicyError>> {
        let automaton = Automaton::compile(rules.iter().map(|r| &r.at));
        let (automaton, doors) = match (automaton, Doors::compile(&rules)) {
            (Ok(automaton), Ok(doors)) => (automaton, doors),
            (automaton, doors) => {
                let errors = [automaton.err(), doors.err()].into_iter().flatten();
                return Err(errors.flatten().collect());
            }
        };
        let actions: Vec<&Action> = rules.iter().map(|r| &r.action).collect();
        let plan = Plan::new(&automaton, &actions, unlisted);
        Ok(Self {
            name: name.into(),
            unlisted,
            record,
            wants_subject: rules.iter().any(|r| r.action.wants_subject()),
            rules,
            automaton,
            doors,
            plan,
        })
    }

    /// Whether it is about bodies with places of their own (`$…`), and not only about what stands
    /// around them. A policy without rules is about everything.
    pub fn reads_bodies(&self) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|r| r.at.door == Door::Body)
    }

    /// By how many days, at most, its rules shift dates: all by the same.
    pub fn shifts(&self) -> Option<u16> {
        self.rules.iter().find_map(|rule| match rule.action {
            Action::DateShift { days } => Some(days),
            _ => None,
        })
    }

    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[usize::from(id.0)]
    }
}
