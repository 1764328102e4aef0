//! `[domain.NAME]`: pseudonymisation domains.

use std::time::Duration;

use super::super::raw::{Findings, Table, Text};
use super::super::{Domain, Gateway, Mode, Spool};
use super::{Named, plain_name, route, word};
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
    let spool = spool(&table);
    table.finish();
    Some(Domain {
        name: name.to_owned(),
        mode: mode?,
        purpose: purpose?,
        budget_per_day,
        spool: spool?,
    })
}

/// `spool = true` or `spool = { … }`: outer `None` for what cannot be read.
fn spool(table: &Table<'_>) -> Option<Option<Spool>> {
    let Some(node) = table.get("spool") else {
        return Some(None);
    };
    let mut spool = Spool {
        max_bytes: limits::SPOOL_BYTES,
        max_staleness: limits::SPOOL_STALENESS,
    };
    if !node.is_table() {
        return Some(table.boolean("spool")?.then_some(spool));
    }
    let inner = node.table("spool")?;
    let findings = inner.findings();
    if let Some(bytes) = inner.size("max_bytes") {
        if bytes < limits::SPOOL_LEAST {
            let hint = format!("at least {} KiB", limits::SPOOL_LEAST / 1024);
            let place = inner.place_of("max_bytes");
            findings.error(&place, "`max_bytes` is too small for a spool", hint);
        }
        spool.max_bytes = bytes;
    }
    match inner.duration("max_staleness") {
        Some(Duration::ZERO) => findings.error(
            &inner.place_of("max_staleness"),
            "`max_staleness` is zero: nothing could ever be spooled",
            "write spool = false, or a time as in \"15m\"",
        ),
        Some(time) => spool.max_staleness = time,
        None => {}
    }
    inner.finish();
    Some(Some(spool))
}

/// Domains with a spool need a place for it.
pub(super) fn check_spools(
    gateway: Option<&Gateway>,
    routes: &[route::Read<'_>],
    domains: &[Named<'_, Domain>],
    findings: &Findings,
) {
    if gateway.is_none_or(|gateway| gateway.spool_dir.is_some()) {
        return;
    }
    for (at, domain) in domains.iter().enumerate() {
        let spools = domain.part.as_ref().is_some_and(|d| d.spool.is_some());
        if spools && routes.iter().any(|read| read.route.domain == Some(at)) {
            findings.error(
                &domain.name.place,
                "this domain has a spool, and the gateway has no folder for it",
                "write spool_dir = \"/var/lib/cryptonym-gateway/spool\" in [gateway]",
            );
        }
    }
}
