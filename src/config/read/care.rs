//! How a backend is watched, spared and tried again: the keys of `[backend.NAME]` beside its
//! addresses.

use std::time::Duration;

use super::super::raw::Table;
use super::super::{Care, Circuit, Ejection, Health};
use crate::limits;

/// The configured rules over the defaults of `limits.rs`. `addresses`: how many the backend has.
pub(super) fn read(table: &Table<'_>, addresses: usize) -> Care {
    let mut care = Care {
        health: table.table("health", "health").and_then(health),
        ..Care::default()
    };
    if let Some(t) = table.table("ejection", "ejection") {
        care.ejection = ejection(t, care.ejection, addresses);
    }
    if let Some(t) = table.table("circuit", "circuit") {
        care.circuit = circuit(t, care.circuit);
    }
    let count = |key, least| table.integer(key, least..=1_000_000).map(narrow);
    care.max_connections = count("max_connections", 1).unwrap_or(care.max_connections);
    care.max_requests = count("max_requests", 1).unwrap_or(care.max_requests);
    care.max_requests_per_client = count("max_requests_per_client", 1);
    care.max_waiting = count("max_waiting", 0).unwrap_or(care.max_waiting);
    set(table, "wait_time", &mut care.wait_time);
    set(table, "dns_time", &mut care.dns_time);
    let tries = table.integer("retries", 0..=u64::from(limits::RETRIES_MOST));
    care.retries = tries.map_or(care.retries, narrow32);
    care.attempt_time = time(table, "attempt_time");
    if care.attempt_time.is_some() && care.retries == 0 {
        table.findings().error(
            &table.place_of("attempt_time"),
            "`attempt_time` has no use: there is only one try",
            "remove it, or allow retries",
        );
    }
    care
}

fn health(table: Table<'_>) -> Option<Health> {
    let findings = table.findings();
    let path = table.require("path", table.text("path"), "path = \"/ping\"");
    let shaped = |p: &str| p.starts_with('/') && p.bytes().all(|b| (0x21..0x7f).contains(&b));
    if let Some(text) = path
        .as_ref()
        .filter(|t| !shaped(t.value) || t.value.contains('#'))
    {
        findings.error(
            &text.place,
            "this is no path to ask for",
            "a path and perhaps a query, as in \"/ping\"",
        );
    }
    let mut health = Health::default();
    set(&table, "interval", &mut health.interval);
    set(&table, "timeout", &mut health.timeout);
    let count = |key| table.integer(key, 1..=100).map(narrow32);
    health.healthy = count("healthy").unwrap_or(health.healthy);
    health.unhealthy = count("unhealthy").unwrap_or(health.unhealthy);
    let statuses = table.integers("status", 200..=599);
    if table.has("status") {
        if table.lists_nothing("status") {
            findings.error(
                &table.place_of("status"),
                "no answer would ever be good",
                "write status = [200]",
            );
        }
        health.status = statuses.iter().map(|&s| s as u16).collect();
    }
    if health.timeout > health.interval {
        let key = if table.has("timeout") {
            "timeout"
        } else {
            "interval"
        };
        findings.error(
            &table.place_of(key),
            "a check may take longer than the time between two",
            "raise interval, or lower timeout",
        );
    }
    table.finish();
    health.path = path?.value.to_owned();
    Some(health)
}

fn ejection(table: Table<'_>, default: Ejection, addresses: usize) -> Ejection {
    let mut ejection = default;
    let failures = table.integer("failures", 0..=10_000).map(narrow32);
    ejection.failures = failures.unwrap_or(ejection.failures);
    times(&table, &mut ejection.time, &mut ejection.longest);
    let share = table.integer("share", 1..=100).map(narrow32);
    ejection.share = share.unwrap_or(ejection.share);
    let most = addresses * ejection.share as usize / 100;
    if ejection.failures > 0 && most == 0 && addresses > 0 {
        table.findings().warn(
            &table.place,
            "no address of this backend can ever be ejected",
            "its share of the addresses is less than one; add addresses, or raise share",
        );
    }
    table.finish();
    ejection
}

fn circuit(table: Table<'_>, default: Circuit) -> Circuit {
    let mut circuit = default;
    let failures = table.integer("failures", 0..=1_000_000).map(narrow32);
    circuit.failures = failures.unwrap_or(circuit.failures);
    times(&table, &mut circuit.time, &mut circuit.longest);
    table.finish();
    circuit
}

fn times(table: &Table<'_>, first: &mut Duration, longest: &mut Duration) {
    set(table, "time", first);
    set(table, "longest", longest);
    if first > longest {
        let key = if table.has("longest") {
            "longest"
        } else {
            "time"
        };
        table.findings().error(
            &table.place_of(key),
            "the first time is longer than the longest",
            "raise longest, or lower time",
        );
    }
}

fn set(table: &Table<'_>, key: &'static str, field: &mut Duration) {
    if let Some(time) = time(table, key) {
        *field = time;
    }
}

fn time(table: &Table<'_>, key: &'static str) -> Option<Duration> {
    let time = table.duration(key)?;
    if time.is_zero() {
        table.findings().error(
            &table.place_of(key),
            format!("`{key}` is zero"),
            "at least \"1ms\"",
        );
        return None;
    }
    Some(time)
}

fn narrow(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn narrow32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
