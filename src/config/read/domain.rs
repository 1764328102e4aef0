//! `[domain.NAME]`: pseudonymisation domains.

use super::super::raw::{Findings, Table, Text};
use super::super::{Domain, Mode};
use super::{Named, plain_name, word};
use crate::limits;
use crate::policy::Purpose;

/// Every domain, in the order of the file.
pub(super) fn all<'a>(root: &Table<'a>) -> Vec<Named<'a, Domain>> {
    root.named("domain")
        .into_iter()
        .map(|(name, table)| {
            let good = plain_name(&name, "domain", root.findings());
            let part = read(name.value, table).filter(|_| good);
            Named { name, part }
        })
        .collect()
}

/// One of the data map's purposes.
pub(super) fn purpose(text: &Text<'_>, findings: &Findings) -> Option<Purpose> {
    let words: Vec<_> = Purpose::ALL.iter().map(|p| (p.name(), *p)).collect();
    word(text, "purpose", &words, findings)
}

fn read(name: &str, table: Table<'_>) -> Option<Domain> {
    let findings = table.findings();
    let mode = table.text("mode");
    let mode = match &mode {
        Some(text) if ["assigned", "oblivious"].contains(&text.value) => {
            findings.error(
                &text.place,
                format!("mode `{}` is not in this version", text.value),
                "write mode = \"keyed\"",
            );
            None
        }
        Some(text) => word(text, "mode", &[("keyed", Mode::Keyed)], findings),
        None => Some(Mode::Keyed),
    };
    let text = table.require("purpose", table.text("purpose"), "purpose = \"research\"");
    let purpose = text.and_then(|t| purpose(&t, findings));
    let budget_per_day = table
        .integer("budget_per_day", 1..=1_000_000_000_000)
        .unwrap_or(limits::BUDGET_PER_DAY);
    table.finish();
    Some(Domain {
        name: name.to_owned(),
        mode: mode?,
        purpose: purpose?,
        budget_per_day,
    })
}
