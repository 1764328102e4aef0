//! `gateway.transparent`, `[gateway.egress]`, and backends with `address = "original"`.

use std::net::{IpAddr, SocketAddr};

use super::super::raw::{Findings, Table, Text};
use super::super::{
    Backend, Egress, Gateway, Network, Original, Others, Portal, ProxyProtocol, Transparent,
};
use super::{Named, address, front, path, route, word};
use crate::limits;

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
    for key in ["urls", "health", "ejection", "circuit"] {
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

/// `[gateway.egress]`. `taken`: addresses of the gateway that stand before.
pub(super) fn egress(table: Table<'_>, taken: &[SocketAddr]) -> Option<Egress> {
    let findings = table.findings();
    let mut listen: Vec<SocketAddr> = Vec::new();
    for text in table.texts("listen") {
        let Some(address) = address::socket(&text, findings) else {
            continue;
        };
        if (taken.contains(&address) || listen.contains(&address)) && address.port() != 0 {
            findings.error(
                &text.place,
                "another address of the gateway stands here",
                "give the egress proxy a port of its own, as in \"127.0.0.1:3128\"",
            );
        }
        listen.push(address);
    }
    if table.lists_nothing("listen") {
        findings.error(
            &table.place_of("listen"),
            "the egress proxy listens nowhere",
            "write listen = [\"10.1.0.5:3128\"]",
        );
    }
    let ca = table.require(
        "ca",
        table.table("ca", "gateway.egress.ca"),
        "ca = { certificate = \"certs/egress-ca.pem\", key = \"certs/egress-ca.key\" }",
    );
    let ca = ca.and_then(|ca| {
        let certificate = path(&ca, "certificate", "certs/egress-ca.pem");
        let key = path(&ca, "key", "certs/egress-ca.key");
        ca.finish();
        certificate.zip(key)
    });
    let clients = table.texts("clients");
    if clients.is_empty() {
        findings.error(
            &table.place_of("clients"),
            "nobody may use the egress proxy",
            "write clients = [\"10.1.0.0/16\"], the networks of those who send",
        );
    }
    let everybody = |text: &Text<'_>| {
        findings.error(
            &text.place,
            "this is everybody: the egress proxy would be open to the world",
            "name the networks of those who send",
        );
    };
    let (asked, clients) = (clients.len(), blocks(&clients, findings, everybody));
    let hosts = portals(&table, "hosts");
    if table.lists_nothing("hosts") {
        findings.error(
            &table.place_of("hosts"),
            "no host is named whose TLS ends here",
            "write hosts = [\"portal.example\"], and a route with that host",
        );
    }
    let tunnel_hosts = portals(&table, "tunnel_hosts");
    if let (Some(hosts), Some(tunnels)) = (&hosts, &tunnel_hosts)
        && let Some(both) = tunnels.iter().find(|portal| hosts.contains(portal))
    {
        findings.error(
            &table.place_of("tunnel_hosts"),
            format!("`{}` stands in `hosts` too", both.host),
            "either its TLS ends here, or it passes unseen",
        );
    }
    let others = table.text("others").map(|text| {
        let words = [("refuse", Others::Refuse), ("tunnel", Others::Tunnel)];
        word(&text, "way to treat other hosts", &words, findings)
    });
    let others = others.unwrap_or(Some(Others::Refuse));
    let ports = table.integers("tunnel_ports", 1..=65535);
    if table.has("tunnel_ports") && others == Some(Others::Refuse) {
        findings.error(
            &table.place_of("tunnel_ports"),
            "`tunnel_ports` has no use: hosts that no list has are refused",
            "remove it; a host in tunnel_hosts may have a port of its own, as in \"a.example:8443\"",
        );
    }
    let ports = if ports.is_empty() { vec![443] } else { ports };
    let max_tunnels = table.integer("max_tunnels", 1..=100_000);
    let max_tunnels = max_tunnels.and_then(|n| usize::try_from(n).ok());
    let idle = table.duration("tunnel_idle_time");
    if idle.is_some_and(|time| time.is_zero()) {
        findings.error(
            &table.place_of("tunnel_idle_time"),
            "`tunnel_idle_time` is zero: every tunnel would be cut at once",
            "a time, as in \"5m\"",
        );
    }
    let private = table.texts("private");
    let inside = |text: &Text<'_>| {
        findings.error(
            &text.place,
            "this is every address: tunnels could lead anywhere inside",
            "name the networks that clients may reach through the proxy",
        );
    };
    let (meant, private) = (private.len(), blocks(&private, findings, inside));
    table.finish();
    if asked != clients.len() || meant != private.len() || listen.is_empty() {
        return None;
    }
    let (certificate, key) = ca?;
    let hosts = hosts.filter(|hosts| !hosts.is_empty())?;
    Some(Egress {
        listen,
        certificate,
        key,
        clients,
        hosts,
        tunnel_hosts: tunnel_hosts?,
        others: others?,
        tunnel_ports: ports
            .into_iter()
            .filter_map(|p| p.try_into().ok())
            .collect(),
        max_tunnels: max_tunnels.unwrap_or(limits::TUNNELS),
        tunnel_idle_time: idle.unwrap_or(limits::TUNNEL_IDLE_TIME),
        private,
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

/// Blocks of addresses; `whole` is told of those that are all there are, which do not count.
fn blocks(texts: &[Text<'_>], findings: &Findings, whole: impl Fn(&Text<'_>)) -> Vec<Network> {
    let read = |text: &Text<'_>| {
        let network = front::network(text, findings)?;
        if network.bits == 0 {
            whole(text);
            return None;
        }
        Some(network)
    };
    texts.iter().filter_map(read).collect()
}

/// A list of hosts. `None`: one has errors.
fn portals(table: &Table<'_>, key: &'static str) -> Option<Vec<Portal>> {
    let findings = table.findings();
    let texts = table.texts(key);
    if texts.len() > limits::EGRESS_HOSTS {
        findings.error(
            &table.place_of(key),
            format!("more than {} hosts", limits::EGRESS_HOSTS),
            "name those that people send to",
        );
        return None;
    }
    let mut all: Vec<Portal> = Vec::new();
    for text in &texts {
        match portal(text.value) {
            Ok(portal) if all.contains(&portal) => {
                findings.error(&text.place, "this host stands here twice", "name it once");
            }
            Ok(portal) => all.push(portal),
            Err(hint) => findings.error(&text.place, "this is no host to send to", hint),
        }
    }
    (all.len() == texts.len()).then_some(all)
}

/// `portal.example`, or with a port other than 443.
fn portal(text: &str) -> Result<Portal, &'static str> {
    let (host, port) = match text.split_once(':') {
        None => (text, Some(443)),
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
    };
    let port = port.ok_or("a port is 1 to 65535, as in \"portal.example:8443\"")?;
    let good = address::host_name(host)
        && !host.bytes().any(|b| b.is_ascii_uppercase())
        && host.parse::<IpAddr>().is_err();
    if !good {
        return Err("a host name in lower case, as in \"portal.example\"; no wildcard, no address");
    }
    Ok(Portal {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::portal;

    #[test]
    fn proxy_09_hosts_of_the_egress_proxy() {
        let ok = |text: &str| {
            let portal = portal(text).unwrap();
            (portal.host, portal.port)
        };
        assert_eq!(ok("portal.example"), ("portal.example".to_owned(), 443));
        assert_eq!(ok("a.example:8443"), ("a.example".to_owned(), 8443));
        for wrong in [
            "",
            "A.example",
            "*.example",
            "10.0.0.1",
            "[::1]:443",
            "a.example:0",
            "a.example:99999",
            "https://a.example",
            "a.example.",
        ] {
            assert!(portal(wrong).is_err(), "{wrong}");
        }
    }
}
