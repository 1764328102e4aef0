//! What a rule does with a value.

use crate::pseudonym::KindId;

/// The actions of this version. What the backend sees is said by [`Action::describe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The value passes as it is.
    Keep,
    /// The member is left out, with its separator.
    Drop,
    /// The message is refused (422).
    Reject,
    Redact(Redact),
    Mask(Mask),
    Pseudonym {
        kind: KindId,
        scope: Scope,
    },
    Generalise(Generalise),
    /// Response side only: a pseudonym made from an identifier of this very request becomes
    /// that identifier again.
    Restore {
        kind: KindId,
    },
}

/// Within what a value keeps its pseudonym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// Same value, same pseudonym in the whole pseudonymisation domain; recoverable.
    #[default]
    Domain,
    /// Random in every record (a token); the same within one record; not recoverable.
    Record,
}

/// A constant in the value's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redact {
    Null,
    Constant(Box<str>),
}

/// All characters but some become `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Characters kept at the start.
    pub first: u8,
    /// Characters kept at the end.
    pub last: u8,
    pub with: char,
}

/// A coarser value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generalise {
    /// `1984-05-17` → `1984`. Dates as in ISO 8601: `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, with or
    /// without a time behind.
    Year,
    /// `1984-05-17` → `1984-05`.
    Month,
    /// An age in years → `30-39` (`width` years; `top` and above is one band, `90+`).
    AgeBand { width: u16, top: u16 },
    /// `LS1 4AP` → `LS1` (United Kingdom, BS 7666).
    OutwardPostcode,
    /// `198.51.100.7` → `198.51.100.0/24`.
    IpPrefix { v4: u8, v6: u8 },
    /// A number → the lower bound of its bucket of this width.
    Bucket { width: u32 },
}
