//! `[limits]`: the configurable bounds.

use std::time::Duration;

use super::super::Limits;
use super::super::raw::Table;

/// The configured bounds over the defaults of `limits.rs`.
pub(super) fn read(root: &Table<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(table) = root.table("limits", "[limits]") else {
        return limits;
    };
    sizes(&table, &mut limits);
    counts(&table, &mut limits);
    paces(&table, &mut limits);
    times(&table, &mut limits);
    table.finish();
    limits
}

fn sizes(table: &Table<'_>, limits: &mut Limits) {
    let findings = table.findings();
    for (key, field) in [
        ("hold", &mut limits.hold),
        ("hold_budget", &mut limits.hold_budget),
        ("record", &mut limits.record),
    ] {
        match table.size(key) {
            Some(0) => findings.error(
                &table.place_of(key),
                format!("`{key}` is zero"),
                "at least 1 byte",
            ),
            Some(size) => *field = size,
            None => {}
        }
    }
    if limits.hold > limits.hold_budget {
        let key = if table.has("hold") {
            "hold"
        } else {
            "hold_budget"
        };
        findings.error(
            &table.place_of(key),
            "`hold` is larger than `hold_budget`: not one body of that size could be held",
            "raise hold_budget, or lower hold",
        );
    }
}

fn counts(table: &Table<'_>, limits: &mut Limits) {
    let count = |key, range| {
        table
            .integer(key, range)
            .and_then(|n| usize::try_from(n).ok())
    };
    // Deeper than 512 and readers behind the gateway start to overflow their stacks.
    limits.depth = count("depth", 1..=512).unwrap_or(limits.depth);
    limits.restore = count("restore", 1..=1_000_000).unwrap_or(limits.restore);
    limits.connections = count("connections", 1..=1_000_000).unwrap_or(limits.connections);
    limits.handshakes = count("handshakes", 1..=1_000_000).unwrap_or(limits.handshakes);
    limits.connection_requests =
        count("connection_requests", 1..=1_000_000_000).unwrap_or(limits.connection_requests);
}

/// What is counted over time, or per client.
fn paces(table: &Table<'_>, limits: &mut Limits) {
    let narrow = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let rate = table.integer("body_rate", 0..=1_000_000_000);
    limits.body_rate = rate.map_or(limits.body_rate, narrow);
    let each = table.integer("connections_per_address", 1..=1_000_000);
    limits.connections_per_address = each.map_or(limits.connections_per_address, narrow);
    let each = table.integer("handshakes_per_address", 1..=1_000_000);
    limits.handshakes_per_address = each.map_or(limits.handshakes_per_address, narrow);
}

fn times(table: &Table<'_>, limits: &mut Limits) {
    for (key, field) in [
        ("handshake_time", &mut limits.handshake_time),
        ("head_time", &mut limits.head_time),
        ("idle_time", &mut limits.idle_time),
        ("body_idle_time", &mut limits.body_idle_time),
        ("connect_time", &mut limits.connect_time),
        ("response_time", &mut limits.response_time),
        ("drain_time", &mut limits.drain_time),
        ("exchange_time", &mut limits.exchange_time),
        ("connection_time", &mut limits.connection_time),
    ] {
        match table.duration(key) {
            Some(Duration::ZERO) => table.findings().error(
                &table.place_of(key),
                format!("`{key}` is zero: nothing could ever be in time"),
                "there is no way to switch a time-out off; write a long one",
            ),
            Some(time) => *field = time,
            None => {}
        }
    }
}
