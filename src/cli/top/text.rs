//! Figures in words: what `--once` prints, and how both it and the screen write a number.

use std::fmt::Write as _;

use super::figures::{Backend, Figures, Gateway, Named, Route, Vault, World};

/// Columns of the table of routes: what stands above, and how wide.
pub const COLUMNS: [(&str, u16); 9] = [
    ("ROUTE", 16),
    ("REQ/S", 7),
    ("P50 ms", 7),
    ("P99 ms", 7),
    ("IN/S", 7),
    ("OUT/S", 7),
    ("REPL/S", 7),
    ("4XX/S", 6),
    ("5XX/S", 6),
];

/// One route, column by column.
pub fn cells(route: &Route) -> [String; COLUMNS.len()] {
    [
        route.name.clone(),
        number(route.requests.per_second),
        millis(route.latency.p50_ms),
        millis(route.latency.p99_ms),
        number(route.bytes_in.per_second),
        number(route.bytes_out.per_second),
        number(route.replaced.per_second),
        number(route.answers_4xx.per_second),
        number(route.answers_5xx.per_second),
    ]
}

/// At most six characters: `0`, `0.4`, `12.3`, `842`, `12.3k`, `4.6M`.
pub fn number(value: f64) -> String {
    match value {
        v if v < 0.05 => "0".to_owned(),
        v if v < 99.95 => format!("{v:.1}"),
        v if v < 999.5 => format!("{v:.0}"),
        v if v < 999_500.0 => format!("{:.1}k", v / 1e3),
        v if v < 999_500_000.0 => format!("{:.1}M", v / 1e6),
        v => format!("{:.1}G", v / 1e9),
    }
}

pub fn millis(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v < 100.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.0}"),
    }
}

/// The gateway in one line.
pub fn summary(gateway: &Gateway) -> String {
    let failed: f64 = per_second(&gateway.turned_away);
    format!(
        "requests {}/s  in {}B/s  out {}B/s  clients {}  backends {}  TLS failed {}/s",
        number(gateway.requests.per_second),
        number(gateway.bytes_in.per_second),
        number(gateway.bytes_out.per_second),
        gateway.connections_client,
        gateway.connections_backend,
        number(failed),
    )
}

/// What has been refused, most of late first.
pub fn refusals(gateway: &Gateway) -> Vec<String> {
    let mut all: Vec<&Named> = gateway.refusals.iter().collect();
    all.sort_by(|a, b| {
        let by_rate = b.rate.per_second.total_cmp(&a.rate.per_second);
        by_rate.then(b.rate.total.cmp(&a.rate.total))
    });
    let line = |one: &&Named| {
        let Named { name, rate } = one;
        format!(
            "{name:<20} {:>6}/s {:>7}",
            number(rate.per_second),
            rate.total
        )
    };
    all.iter().map(line).collect()
}

/// Backends, those in trouble first.
pub fn backends(gateway: &Gateway) -> Vec<String> {
    let mut all: Vec<&Backend> = gateway.backends.iter().collect();
    all.sort_by_key(|one| !is_in_trouble(one));
    let line = |one: &&Backend| {
        let addresses = one.up + one.down.len() as u64;
        let mut line = format!(
            "{:<16} {} of {addresses} up  in flight {}  connections {}",
            one.name, one.up, one.requests, one.connections,
        );
        if one.waiting > 0 {
            let _ = write!(line, "  waiting {}", one.waiting);
        }
        if !one.down.is_empty() {
            let _ = write!(line, "  DOWN: url {}", one.down.join(", "));
        }
        if one.circuit_open {
            line += "  CIRCUIT OPEN";
        }
        line
    };
    all.iter().map(line).collect()
}

pub fn is_in_trouble(backend: &Backend) -> bool {
    backend.circuit_open || backend.waiting > 0 || !backend.down.is_empty()
}

/// Calls to the vault, and the durable sets.
pub fn link(gateway: &Gateway) -> Vec<String> {
    let mut lines = Vec::new();
    for call in gateway.vault_calls.iter().filter(|c| c.name != "other") {
        lines.push(format!(
            "call {:<8} {:>6}/s p99 {:>6} failed {}",
            call.name,
            number(call.ok.per_second),
            millis(call.latency.p99_ms),
            call.failed.total,
        ));
    }
    for domain in &gateway.domains {
        lines.push(format!(
            "{:.12} durable {} ({}B) lease {} s",
            domain.name,
            number(domain.durable_entries as f64),
            number(domain.durable_bytes as f64),
            domain.lease_seconds,
        ));
    }
    lines
}

/// The vault itself.
pub fn vault(vault: &Vault) -> Vec<String> {
    vec![
        format!(
            "commits {}/s  p99 {} ms  connections {}",
            number(vault.commits.per_second),
            millis(vault.commit_latency.p99_ms),
            vault.connections,
        ),
        format!(
            "records new {}/s  of {}  refused {}",
            number(vault.records_new.per_second),
            vault.records_new.total,
            vault.refused.total,
        ),
        format!(
            "reveals {}  fetched {}  alarms {}",
            vault.reveals_asked.total, vault.reveals_fetched.total, vault.alarms.total,
        ),
    ]
}

fn per_second(all: &[Named]) -> f64 {
    all.iter().map(|one| one.rate.per_second).sum()
}

/// Everything, for `--once`.
pub fn table(figures: &Figures) -> String {
    let mut out = String::new();
    match &figures.gateway {
        None => {}
        Some(World::Unseen { error }) => line(&mut out, &format!("gateway: {error}")),
        Some(World::Seen(gateway)) => {
            line(&mut out, &format!("gateway {}", gateway.version));
            line(&mut out, &summary(gateway));
            out.push('\n');
            row(&mut out, &COLUMNS.map(|(name, _)| name.to_owned()));
            for route in &gateway.routes {
                row(&mut out, &cells(route));
            }
            section(&mut out, "BACKENDS", &backends(gateway));
            section(&mut out, "REFUSALS", &refusals(gateway));
            section(&mut out, "LINK TO THE VAULT", &link(gateway));
        }
    }
    match &figures.vault {
        None => {}
        Some(World::Unseen { error }) => line(&mut out, &format!("vault: {error}")),
        Some(World::Seen(seen)) => {
            section(&mut out, &format!("VAULT {}", seen.version), &vault(seen));
        }
    }
    out
}

fn section(out: &mut String, name: &str, lines: &[String]) {
    if !lines.is_empty() {
        out.push('\n');
        line(out, name);
        lines.iter().for_each(|one| line(out, one));
    }
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}

fn row(out: &mut String, cells: &[String; COLUMNS.len()]) {
    for (n, (cell, (_, width))) in cells.iter().zip(COLUMNS).enumerate() {
        let width = usize::from(width);
        let _ = match n {
            0 => write!(out, "{cell:<width$}"),
            _ => write!(out, " {cell:>width$}"),
        };
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::Look;
    use super::super::page::Page;
    use super::*;
    use std::time::Instant;

    #[test]
    fn proxy_12_backends_in_trouble_come_first_and_say_why() {
        let page = "\
            cryptonym_gateway_backend_up{backend=\"good\",url=\"0\"} 1\n\
            cryptonym_gateway_backend_up{backend=\"bad\",url=\"0\"} 1\n\
            cryptonym_gateway_backend_up{backend=\"bad\",url=\"1\"} 0\n\
            cryptonym_gateway_backend_waiting{backend=\"bad\"} 3\n\
            cryptonym_gateway_backend_circuit_open{backend=\"bad\"} 1\n";
        let look = || Look {
            at: Instant::now(),
            gateway: Some(Ok(Page::read(page))),
            vault: None,
        };
        let figures = Figures::between(&look(), &look());
        let Some(World::Seen(gateway)) = figures.gateway else {
            panic!("a page was seen");
        };
        let lines = backends(&gateway);
        assert!(lines[0].starts_with("bad  "), "{lines:?}");
        for what in ["1 of 2 up", "waiting 3", "DOWN: url 1", "CIRCUIT OPEN"] {
            assert!(lines[0].contains(what), "{what}: {lines:?}");
        }
        assert!(lines[1].starts_with("good ") && lines[1].contains("1 of 1 up"));
        assert!(!lines[1].contains("DOWN"), "{lines:?}");
    }

    #[test]
    fn proxy_12_numbers_fit_their_columns() {
        for (value, text) in [
            (0.0, "0"),
            (0.26, "0.3"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.6, "1.0k"),
            (123_456.0, "123.5k"),
            (4_600_000.0, "4.6M"),
            (12e9, "12.0G"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(millis(Some(1.234)), "1.23");
        assert_eq!(millis(None), "-");
        let width: u16 = COLUMNS.iter().map(|(_, width)| width + 1).sum();
        assert!(width - 1 <= 80, "{width}");
    }
}
