//! What a rule does with a value.

use crate::pseudonym::{KindId, Kinds};

use crate::pseudonym::scrub::Detector;
pub use crate::pseudonym::{Generalise, Scrub};

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
    /// What identifies somebody inside free text is replaced; the rest passes.
    Scrub(Scrub),
    /// Response side only: a pseudonym made from an identifier of this very request becomes
    /// that identifier again.
    Restore {
        kind: KindId,
    },
}

impl Action {
    /// Whether a value may pass in part or whole, as it came.
    pub fn lets_through(&self) -> bool {
        matches!(self, Self::Keep | Self::Scrub(_))
    }

    /// Whether it makes recoverable pseudonyms of this kind.
    pub fn makes(&self, wanted: KindId) -> bool {
        match self {
            Self::Pseudonym { kind, scope } => *scope == Scope::Domain && *kind == wanted,
            Self::Scrub(scrub) => scrub.kinds().any(|kind| kind == wanted),
            _ => false,
        }
    }

    /// As a policy writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Redact(_) => "redact",
            Self::Mask(_) => "mask",
            Self::Pseudonym { .. } => "pseudonym",
            Self::Generalise(_) => "generalise",
            Self::Scrub(_) => "scrub",
            Self::Restore { .. } => "restore",
        }
    }
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

impl Action {
    /// What the backend sees at such a place, in a few words, for `check`'s table.
    pub fn describe(&self, kinds: &Kinds) -> String {
        match self {
            Action::Keep => "the value itself".into(),
            Action::Drop => "nothing: the member is left out".into(),
            Action::Reject => "nothing: the message is refused".into(),
            Action::Redact(Redact::Null) => "null".into(),
            Action::Redact(Redact::Constant(text)) => format!("always {text:?}"),
            Action::Mask(mask) => mask.describe(),
            Action::Pseudonym { kind, scope } => {
                let prefix = &kinds.get(*kind).prefix;
                match scope {
                    Scope::Domain => format!("{prefix}_…, one a value in the domain"),
                    Scope::Record => format!("{prefix}_0_…, new in every record"),
                }
            }
            Action::Generalise(to) => describe_generalise(to),
            Action::Scrub(scrub) => {
                let found: Vec<_> = scrub.detectors().map(Detector::name).collect();
                format!("the text; in it, pseudonyms for {}", found.join(", "))
            }
            Action::Restore { kind } => {
                format!(
                    "own {} again, as this client sent it",
                    kinds.get(*kind).name
                )
            }
        }
    }
}

impl Mask {
    fn describe(&self) -> String {
        let Mask { first, last, with } = self;
        match (first, last) {
            (0, 0) => format!("only {with:?}, as many as characters"),
            (_, 0) => format!("the first {first}, the rest {with:?}"),
            (0, _) => format!("the last {last}, the rest {with:?}"),
            _ => format!("the first {first} and last {last}, the rest {with:?}"),
        }
    }
}

fn describe_generalise(to: &Generalise) -> String {
    match to {
        Generalise::Year => "the year".into(),
        Generalise::Month => "year and month".into(),
        Generalise::AgeBand { width, top } => format!("a band of {width} years, {top}+ as one"),
        Generalise::OutwardPostcode => "the outward postcode".into(),
        Generalise::IpPrefix { v4, v6 } => format!("the network, /{v4} or /{v6}"),
        Generalise::Bucket { width } => format!("the multiple of {width} below"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pseudonym::{Class, Kind, Normaliser};

    #[test]
    fn every_action_says_what_the_backend_sees() {
        let kinds = Kinds::new(vec![Kind {
            name: "subscriber".into(),
            class: Class::Person,
            prefix: "sub".into(),
            normaliser: Normaliser::Subscriber,
        }]);
        let kind = KindId(0);
        let mask = |first, last| {
            Action::Mask(Mask {
                first,
                last,
                with: '*',
            })
        };
        for (action, expected) in [
            (Action::Keep, "the value itself"),
            (
                Action::Redact(Redact::Constant("x\"".into())),
                r#"always "x\"""#,
            ),
            (mask(0, 4), "the last 4, the rest '*'"),
            (mask(1, 1), "the first 1 and last 1, the rest '*'"),
            (
                Action::Pseudonym {
                    kind,
                    scope: Scope::Domain,
                },
                "sub_…, one a value in the domain",
            ),
            (
                Action::Pseudonym {
                    kind,
                    scope: Scope::Record,
                },
                "sub_0_…, new in every record",
            ),
            (
                Action::Generalise(Generalise::AgeBand { width: 10, top: 90 }),
                "a band of 10 years, 90+ as one",
            ),
            (
                Action::Generalise(Generalise::IpPrefix { v4: 24, v6: 48 }),
                "the network, /24 or /48",
            ),
            (
                Action::Restore { kind },
                "own subscriber again, as this client sent it",
            ),
        ] {
            assert_eq!(action.describe(&kinds), expected);
        }
    }
}
