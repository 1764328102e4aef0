//! Who may stand before the gateway, and under which names it answers: `[[gateway.certificate]]`
//! and `gateway.proxy_protocol`.

use std::net::IpAddr;

use super::super::raw::{Findings, Table, Text};
use super::super::{NamedCertificate, Network, ProxyProtocol};
use super::{address, path};
use crate::limits;

/// Every `[[gateway.certificate]]`, in the order of the file. `None`: one has errors.
pub(super) fn certificates(gateway: &Table<'_>) -> Option<Vec<NamedCertificate>> {
    let tables = gateway.tables("certificate", "[[gateway.certificate]]");
    if tables.len() > limits::CERTIFICATES {
        gateway.findings().error(
            &gateway.place_of("certificate"),
            format!("more than {} certificates", limits::CERTIFICATES),
            "a certificate may have many names, and wildcards",
        );
        return None;
    }
    // Read all of them before giving up, so that every fault is told.
    let read: Vec<_> = tables.into_iter().map(certificate).collect();
    read.into_iter().collect()
}

fn certificate(table: Table<'_>) -> Option<NamedCertificate> {
    let findings = table.findings();
    let mut names = Vec::new();
    for text in table.texts("names") {
        if let Some(name) = host(&text, findings) {
            if names.contains(&name) {
                findings.error(&text.place, "this name stands here twice", "name it once");
            }
            names.push(name);
        }
    }
    let certificate = path(&table, "certificate", "certs/portal.pem");
    let key = path(&table, "key", "certs/portal.key");
    table.finish();
    Some(NamedCertificate {
        names,
        certificate: certificate?,
        key: key?,
    })
}

/// `gateway.example` or `*.gateway.example`, in lower case.
fn host(text: &Text<'_>, findings: &Findings) -> Option<String> {
    let name = text.value.strip_prefix("*.").unwrap_or(text.value);
    let good = address::host_name(name)
        && !name.bytes().any(|b| b.is_ascii_uppercase())
        && name.parse::<IpAddr>().is_err();
    if !good {
        findings.error(
            &text.place,
            "this is no name that a client can ask for",
            "a host name in lower case, or `*.` and a host name; clients that use an address name no host",
        );
    }
    good.then(|| text.value.to_owned())
}

/// `gateway.proxy_protocol`. `None`: it has errors; `Some(None)`: there is none.
pub(super) fn proxy_protocol(gateway: &Table<'_>) -> Option<Option<ProxyProtocol>> {
    if !gateway.has("proxy_protocol") {
        // Asked for all the same, so that a misspelt key is compared with it.
        gateway.get("proxy_protocol");
        return Some(None);
    }
    let table = gateway.table("proxy_protocol", "gateway.proxy_protocol")?;
    let findings = table.findings();
    let texts = table.texts("trusted");
    if table.lists_nothing("trusted") {
        findings.error(
            &table.place_of("trusted"),
            "nobody is trusted to send a PROXY header",
            "write trusted = [\"10.0.0.0/8\"], the addresses of your load balancers",
        );
    }
    let trusted: Vec<Network> = (texts.iter())
        .filter_map(|text| network(text, findings).map(|network| (text, network)))
        .inspect(|(text, network)| {
            if network.bits == 0 {
                findings.warn(
                    &text.place,
                    "everybody may say whose connection it is",
                    "name the addresses of your load balancers, and let nobody else reach the gateway",
                );
            }
        })
        .map(|(_, network)| network)
        .collect();
    let required = table.boolean("required").unwrap_or(true);
    table.finish();
    let whole = !trusted.is_empty() && trusted.len() == texts.len();
    whole.then_some(Some(ProxyProtocol { trusted, required }))
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub(super) fn network(text: &Text<'_>, findings: &Findings) -> Option<Network> {
    let (address, bits) = match text.value.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text.value, None),
    };
    let wrong = |hint: String| {
        findings.error(&text.place, "this is no block of addresses", hint);
        None
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return wrong("an IP address, a slash and a number of bits, as in \"10.0.0.0/8\"".into());
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => width,
        Some(bits) => match bits.parse::<u8>() {
            Ok(n) if n <= width && !bits.starts_with('+') => n,
            _ => {
                return wrong(format!(
                    "behind the slash stands a number from 0 to {width}"
                ));
            }
        },
    };
    let base = base(address, bits);
    if base != address {
        return wrong(format!(
            "the address has bits beyond its /{bits}; write \"{base}/{bits}\""
        ));
    }
    Some(Network { address, bits })
}

/// Blocks of addresses; `whole` is told of those that are all there are, which do not count.
pub(super) fn blocks(
    texts: &[Text<'_>],
    findings: &Findings,
    whole: impl Fn(&Text<'_>),
) -> Vec<Network> {
    let read = |text: &Text<'_>| {
        let network = network(text, findings)?;
        if network.bits == 0 {
            whole(text);
            return None;
        }
        Some(network)
    };
    texts.iter().filter_map(read).collect()
}

/// The first address of the block.
fn base(address: IpAddr, bits: u8) -> IpAddr {
    let low = |width: u32| u128::MAX.checked_shl(width - u32::from(bits)).unwrap_or(0);
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & (low(32) as u32)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & low(128)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        for (address, bits, first) in [
            ("10.1.2.3", 8, "10.0.0.0"),
            ("10.1.2.3", 32, "10.1.2.3"),
            ("10.1.2.3", 0, "0.0.0.0"),
            ("fd00:1:2::3", 16, "fd00::"),
            ("fd00:1:2::3", 128, "fd00:1:2::3"),
            ("fd00:1:2::3", 0, "::"),
        ] {
            assert_eq!(base(ip(address), bits), ip(first), "{address}/{bits}");
        }
        let net = |address: &str, bits| Network {
            address: ip(address),
            bits,
        };
        assert!(net("10.0.0.0", 8).contains(ip("10.255.0.1")));
        assert!(!net("10.0.0.0", 8).contains(ip("11.0.0.1")));
        assert!(!net("10.0.0.0", 8).contains(ip("::ffff:10.0.0.1")));
        assert!(net("0.0.0.0", 0).contains(ip("255.255.255.255")));
        assert!(net("127.0.0.1", 32).contains(ip("127.0.0.1")));
        assert!(!net("127.0.0.1", 32).contains(ip("127.0.0.2")));
        assert!(
            net("fd00::", 8).contains(ip("fdff::1")) && !net("fd00::", 8).contains(ip("fe00::"))
        );
        assert!(net("::", 0).contains(ip("::1")) && !net("::", 0).contains(ip("127.0.0.1")));
    }
}
