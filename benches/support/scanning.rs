//! Blood-test records under a policy with constant answers: no derivation.

use std::sync::Arc;

use cryptonym::format::fuzz::policy;
use cryptonym::format::{Answer, Found, Scanner, Shape, Slot};
use cryptonym::policy::{Action, Policy, RecordUnit, Redact, Unlisted};

pub const PSEUDONYM: &str = "sub_1_7c9e6679742540de944be07fc1f90ae7x";

/// Four places are replaced; under `Unlisted::Reject` the rest is listed as kept.
pub fn four_fields(unlisted: Unlisted) -> Arc<Policy> {
    let redact = || Action::Redact(Redact::Constant(PSEUDONYM.into()));
    let mut rules = vec![
        ("$.subscriber_id", redact()),
        ("$.name", redact()),
        ("$.email", redact()),
        ("$.nhs_number", redact()),
    ];
    if unlisted == Unlisted::Reject {
        let kept = [
            "$.date_of_birth",
            "$.sex",
            "$.ethnicity",
            "$.postcode",
            "$.phone",
            "$.kit_id",
            "$.provider_id",
            "$.collected_at",
            "$.ip",
            "$.results[*]..*",
        ];
        rules.extend(kept.map(|at| (at, Action::Keep)));
    }
    policy(unlisted, RecordUnit::Auto, &rules)
}

/// Hands each window of what was not released to the scanner, and its slots to `released`, as a
/// rewriter does. Returns the slots.
pub fn scan(
    scanner: &mut dyn Scanner,
    body: &[u8],
    chunk: usize,
    found: &mut Found,
    mut released: impl FnMut(&dyn Scanner, &[u8], &[Slot]),
) -> usize {
    let (mut from, mut to, mut slots) = (0, 0, 0);
    while to < body.len() {
        to = (to + chunk).min(body.len());
        let window = &body[from..to];
        scanner
            .scan(window, to == body.len(), found)
            .expect("it is well formed");
        let ready = found.ready();
        released(scanner, &window[..found.released], &found.slots[..ready]);
        slots += ready;
        from += found.released;
        found.advance(ready);
    }
    slots
}

/// A constant for each value.
pub fn answers(slots: &[Slot]) -> impl Iterator<Item = Answer<'static>> {
    slots.iter().map(|slot| match slot.shape {
        Shape::Extent => Answer::Nothing,
        _ => Answer::Text(PSEUDONYM),
    })
}
