//! `action = "scrub"`: what is looked for in free text, and of which kind it is.

use super::super::super::raw::{Table, Text};
use super::super::kind::ReadKinds;
use super::kind;
use crate::config::diagnostic::name_hint;
use crate::policy::{RecordUnit, Scrub};
use crate::pseudonym::scrub::Detector;

/// `find = ["email", "own"]` (all, if it is left out), `country = "44"`,
/// `kinds = { email = "clinic-email" }`. `None` where it has errors.
pub(super) fn read(table: &Table<'_>, kinds: &ReadKinds<'_>, complete: bool) -> Option<Scrub> {
    let findings = table.findings();
    let mut good = true;
    let mut used = Vec::new();
    for text in table.texts("find") {
        match Detector::ALL.iter().find(|d| d.name() == text.value) {
            Some(detector) => used.push(*detector),
            None => {
                let message = format!(
                    "`{}` is nothing that can be found",
                    crate::config::raw::shorten(text.value)
                );
                let hint = name_hint(text.value, Detector::ALL.iter().map(|d| d.name()));
                findings.error(&text.place, message, hint);
                good = false;
            }
        }
    }
    if !table.has("find") {
        used.extend(Detector::ALL);
    } else if table.lists_nothing("find") {
        findings.error(
            &table.place_of("find"),
            "nothing is looked for",
            "leave `find` out to look for everything, or write action = \"keep\"",
        );
        good = false;
    }
    let country = match table.text("country") {
        None => None,
        Some(text) => {
            let country = calling_code(&text, table);
            good &= country.is_some();
            country
        }
    };
    let named = table.table("kinds", "kinds by what is found");
    let mut scrub = Scrub::new(country);
    for detector in Detector::ALL
        .iter()
        .copied()
        .filter(|d| *d != Detector::Own)
    {
        let text = named.as_ref().and_then(|named| named.text(detector.name()));
        let id = match &text {
            Some(text) => kind(text, kinds, complete, findings),
            None => kinds.kinds.find(detector.name()),
        };
        let Some(id) = id else {
            good &= text.is_none() && !used.contains(&detector);
            continue;
        };
        let own = kinds.kinds.get(id);
        if own.normaliser.name() != detector.name() {
            let (place, hint) = match &text {
                Some(text) => (text.place.clone(), "name a kind with that normaliser"),
                None => (
                    table.place_of("action"),
                    "name another kind, as in kinds = { email = \"…\" }",
                ),
            };
            let message = format!(
                "what is found as `{}` needs a kind with the normaliser `{}`; `{}` has `{}`",
                detector.name(),
                detector.name(),
                own.name,
                own.normaliser.name()
            );
            if used.contains(&detector) {
                findings.error(&place, message, hint);
                good = false;
            }
        } else if used.contains(&detector) {
            scrub = scrub.find(detector, id);
        }
    }
    if let Some(named) = named {
        named.finish();
    }
    if used.contains(&Detector::Own) {
        scrub = scrub.own();
    }
    good.then_some(scrub)
}

/// One to three digits (ITU-T E.164, section 6.2.1), without the plus sign.
fn calling_code(text: &Text<'_>, table: &Table<'_>) -> Option<Box<str>> {
    let digits = text.value.bytes().all(|byte| byte.is_ascii_digit());
    let good = digits && (1..=3).contains(&text.value.len()) && !text.value.starts_with('0');
    if !good {
        table.findings().error(
            &text.place,
            "this is no country's calling code",
            "one to three digits without the plus sign, as in country = \"44\"",
        );
    }
    good.then(|| text.value.into())
}

/// The record's own identifiers are known where the record is held whole.
pub(in crate::config::read) fn check_record(
    scrub: &Scrub,
    record: RecordUnit,
    place: &super::super::super::raw::Place<'_>,
    findings: &super::Findings,
) {
    if scrub.finds_own() && record == RecordUnit::Unbounded {
        findings.error(
            place,
            "the record's own identifiers can only be found where a record is held whole",
            "leave record = \"unbounded\" out, or \"own\" out of `find`",
        );
    }
}
