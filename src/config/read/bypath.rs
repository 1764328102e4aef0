//! `gateway.transparent` and backends with `address = "original"`; and what these and
//! `[gateway.egress]` say of each other and of routes.

use super::super::raw::Table;
use super::super::{Backend, Gateway, Original, ProxyProtocol, Transparent};
use super::egress::portal;
use super::front::blocks;
use super::{Named, route, word};

/// `gateway.transparent`. `proxy_protocol`: as read.
pub(super) fn transparent(
    table: &Table<'_>,
    proxy_protocol: Option<&Option<ProxyProtocol>>,
) -> Option<Transparent> {
    let text = table.text("transparent")?;
    let words = [
        ("redirect", Transparent::Redirect),
        ("tproxy", Transparent::Tproxy),
    ];
    let how = word(&text, "way to redirect", &words, table.findings());
    if matches!(proxy_protocol, Some(Some(_))) {
        table.findings().error(
            &text.place,
            "behind a load balancer the original destination is the load balancer's own",
            "remove `proxy_protocol`, or `transparent`",
        );
    }
    how
}

/// `address = "original"` and what goes with it. `None`: it is not there, or has errors.
pub(super) fn original(table: &Table<'_>) -> Option<Original> {
    let findings = table.findings();
    let text = table.text("address");
    let networks = table.texts("networks");
    let ports = table.integers("ports", 1..=65535);
    let scheme = table.text("scheme");
    let source = table.text("source");
    let Some(text) = text else {
        for key in ["networks", "ports", "scheme", "source"] {
            if table.has(key) {
                findings.error(
                    &table.place_of(key),
                    format!("`{key}` has no use: this backend is where its `urls` say"),
                    "write address = \"original\" in place of urls, or remove it",
                );
            }
        }
        return None;
    };
    word(&text, "address", &[("original", ())], findings)?;
    for key in ["urls", "http2", "health", "ejection", "circuit"] {
        if table.has(key) {
            findings.error(
                &table.place_of(key),
                format!("`{key}` has no use: this backend is wherever its client meant to go"),
                "remove it",
            );
        }
    }
    if table.lists_nothing("networks") {
        findings.error(
            &table.place_of("networks"),
            "nothing says where this backend may be: the gateway would be an open relay",
            "write networks = [\"10.9.2.0/24\"], the addresses of the servers behind the gateway",
        );
    }
    let count = networks.len();
    let networks = blocks(&networks, findings, |text| {
        findings.error(
            &text.place,
            "this is every address: the gateway would be an open relay",
            "name the networks of the servers behind the gateway",
        );
    });
    if table.has("ports") && table.lists_nothing("ports") {
        findings.error(
            &table.place_of("ports"),
            "no port could ever be reached",
            "write ports = [443], or leave it out",
        );
    }
    let ports = if ports.is_empty() { vec![443] } else { ports };
    let schemes = [("https", true), ("http", false)];
    let https = scheme.map(|text| {
        let https = word(&text, "scheme", &schemes, findings);
        if https == Some(false) {
            findings.warn(
                &text.place,
                "what goes to this backend can be read on the way",
                "scheme = \"https\", if it speaks TLS",
            );
        }
        https
    });
    let sources = [("client", true), ("gateway", false)];
    let keep_source = source.map(|text| word(&text, "source address", &sources, findings));
    if networks.is_empty() || networks.len() != count {
        return None;
    }
    Some(Original {
        networks,
        ports: ports
            .into_iter()
            .filter_map(|p| p.try_into().ok())
            .collect(),
        https: https.unwrap_or(Some(true))?,
        keep_source: keep_source.unwrap_or(Some(false))?,
    })
}

/// What the parts say of each other.
pub(super) fn check(
    root: &Table<'_>,
    gateway: Option<&Gateway>,
    routes: &[route::Read<'_>],
    backends: &[Named<'_, Backend>],
) {
    let findings = root.findings();
    let Some(gateway) = gateway else {
        return;
    };
    let aims = |read: &route::Read<'_>| {
        let backend = backends.get(read.route.backend)?.part.as_ref()?;
        backend.original.as_ref()
    };
    for read in routes {
        let outward = (gateway.egress.as_ref())
            .zip(read.route.host.as_ref())
            .is_some_and(|(egress, host)| egress.opens(host));
        if outward && read.route.client_certificate {
            findings.error(
                &read.name.place,
                "clients of the egress proxy show no certificate: this route would answer nobody",
                "remove client_certificate and restore-own from this route",
            );
        }
        if aims(read).is_none() {
            continue;
        }
        if outward || gateway.transparent.is_none() {
            findings.error(
                &read.backend,
                "this backend is where clients meant to go, and nothing says where that is",
                "write transparent = \"redirect\" or \"tproxy\" in [gateway], or give the backend urls",
            );
        }
    }
    let Some(egress) = &gateway.egress else {
        return;
    };
    let written = root.table("gateway", "[gateway]");
    let written = written.and_then(|t| t.table("egress", "[gateway.egress]"));
    for text in written.iter().flat_map(|t| t.texts("hosts")) {
        let Ok(portal) = portal(text.value) else {
            continue;
        };
        let its = |read: &&route::Read<'_>| read.route.host.as_ref() == Some(&portal.host);
        if egress.opens(&portal.host) && routes.iter().find(its).is_none() {
            findings.error(
                &text.place,
                format!(
                    "no route says what becomes of messages to `{}`",
                    portal.host
                ),
                format!("write a [[route]] with host = \"{}\"", portal.host),
            );
        }
    }
}
