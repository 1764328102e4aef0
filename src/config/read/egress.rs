//! `[gateway.egress]`: who may send out through the gateway, and where to.

use std::net::{IpAddr, SocketAddr};

use super::super::raw::{Table, Text};
use super::super::{Egress, Others, Portal};
use super::front::blocks;
use super::{address, path, word};
use crate::limits;

/// `[gateway.egress]`. `taken`: addresses of the gateway that stand before.
pub(super) fn read(table: Table<'_>, taken: &[SocketAddr]) -> Option<Egress> {
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
pub(super) fn portal(text: &str) -> Result<Portal, &'static str> {
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
