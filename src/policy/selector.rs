//! Selectors: the one-pass part of JSONPath (RFC 9535).

/// One step of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `['name']`: a member of this name (after unescaping).
    Child(Box<str>),
    /// `.*` or `[*]`: every member or element.
    Wildcard,
    /// `..name`: a member of this name at any depth below.
    Descendant(Box<str>),
    /// `..*`: everything at any depth below.
    DescendantWildcard,
}

/// A parsed selector, relative to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub steps: Vec<Step>,
}
