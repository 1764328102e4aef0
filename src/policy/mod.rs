//! Policies: which field, what happens to it, and why it may flow. Pure.
//!
//! What enters: rules that `config` has read. What leaves: a [`Policy`] whose selectors are
//! compiled into one automaton. What can never happen: a place that matches two rules gets the
//! later one (the first in the file wins), or a place that matches none passes under `reject`.

pub mod action;
pub mod automaton;
pub mod category;
pub mod selector;

pub use action::{Action, Generalise, Mask, Redact, Scope};
pub use automaton::Automaton;
pub use category::{Category, Purpose, Special};
pub use selector::Selector;

/// Index of a rule in its policy. Small, because every slot carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u16);

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
}

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub unlisted: Unlisted,
    pub record: RecordUnit,
    pub rules: Vec<Rule>,
    pub automaton: Automaton,
}

/// Why a list of rules does not make a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Rule `rule` can never match: `by` comes first and matches every place it does.
    Shadowed {
        rule: usize,
        by: usize,
    },
    /// The selectors need more states than the automaton holds.
    TooManyStates,
    TooManyRules,
}

impl Policy {
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
        let automaton = Automaton::compile(rules.iter().map(|r| &r.at))?;
        Ok(Self {
            name: name.into(),
            unlisted,
            record,
            rules,
            automaton,
        })
    }

    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[usize::from(id.0)]
    }
}
