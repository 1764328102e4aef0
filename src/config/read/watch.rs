//! `[gateway.traces]` and `[gateway.admin]`: how a gateway is watched and led.

use super::super::raw::Table;
use super::super::{Admin, ServerTls, Traces};
use super::address;
use super::word;

/// `[gateway.traces]`
pub(super) fn traces(table: Table<'_>) -> Option<Traces> {
    let findings = table.findings();
    let text = table.require(
        "endpoint",
        table.text("endpoint"),
        "endpoint = \"http://127.0.0.1:4318/v1/traces\"",
    );
    let endpoint = text.and_then(|text| {
        let found = endpoint(text.value);
        match found {
            Err(hint) => {
                findings.error(&text.place, "this is no address of a collector", hint);
                None
            }
            Ok(found) => {
                if !address::loopback(&found.0) {
                    findings.warn(
                        &text.place,
                        "traces leave this machine in plain HTTP",
                        "they hold no personal data; a collector beside the gateway is better all the same",
                    );
                }
                Some(found)
            }
        }
    });
    let sample = table.fraction("sample");
    let join = table.text("from_clients").and_then(|text| {
        let words = [("join", true), ("restart", false)];
        word(
            &text,
            "way to treat a client's traceparent",
            &words,
            findings,
        )
    });
    table.finish();
    let (host, port, path) = endpoint?;
    Some(Traces {
        host,
        port,
        path,
        sample: sample.unwrap_or(0.01),
        join: join.unwrap_or(true),
    })
}

/// `http://host:port/path`
fn endpoint(text: &str) -> Result<(String, u16, String), &'static str> {
    let rest = text.strip_prefix("http://").ok_or(
        "write http://host:port/v1/traces: TLS is the business of the collector beside it",
    )?;
    let (authority, path) = rest
        .find('/')
        .map_or((rest, "/v1/traces"), |at| rest.split_at(at));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.bytes().all(plain) {
        return Err("a plain path, as in /v1/traces");
    }
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[bracket..].find(':') {
        Some(at) => authority.split_at(bracket + at),
        None => (authority, ":4318"),
    };
    let port = port[1..].parse().ok().filter(|port| *port != 0);
    let port = port.ok_or("a port is 1 to 65535")?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => address::host_name(host),
    };
    if !good {
        return Err("a host is a DNS name, an IPv4 address, or an IPv6 address in [ ]");
    }
    Ok((host.to_ascii_lowercase(), port, path.to_owned()))
}

/// `[gateway.admin]`. `server_tls` reads the table `tls`.
pub(super) fn admin<'a>(
    table: Table<'a>,
    taken: &[std::net::SocketAddr],
    server_tls: impl Fn(Table<'a>) -> Option<ServerTls>,
) -> Option<Admin> {
    let findings = table.findings();
    let text = table.require(
        "listen",
        table.text("listen"),
        "listen = \"127.0.0.1:9466\"",
    );
    let has_tls = table.has("tls");
    let tls = table.table("tls", "gateway.admin.tls");
    let tls = tls.and_then(|tls| {
        if !tls.has("client_ca") {
            findings.error(
                &tls.place,
                "the admin address has no `client_ca`: it could not tell who is asking",
                "write client_ca = \"certs/out/vault-ca.pem\"",
            );
            return None;
        }
        server_tls(tls)
    });
    let listen = text.and_then(|text| {
        let address = address::socket(&text, findings)?;
        if taken.contains(&address) && address.port() != 0 {
            findings.error(
                &text.place,
                "the admin address would stand on another one of the gateway",
                "give it a port of its own",
            );
        }
        if !address.ip().is_loopback() && !has_tls {
            findings.error(
                &text.place,
                "whoever reaches this address can drain the gateway",
                "a loopback address, or tls = { certificate = \"…\", key = \"…\", client_ca = \"…\" }",
            );
        }
        Some(address)
    });
    table.finish();
    if has_tls && tls.is_none() {
        return None;
    }
    Some(Admin {
        listen: listen?,
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn proxy_11_collectors() {
        let ok = |text: &str| {
            let (host, port, path) = endpoint(text).unwrap();
            format!("{host} {port} {path}")
        };
        assert_eq!(
            ok("http://127.0.0.1:4318/v1/traces"),
            "127.0.0.1 4318 /v1/traces"
        );
        assert_eq!(ok("http://Collector"), "collector 4318 /v1/traces");
        assert_eq!(ok("http://[::1]:1/x"), "[::1] 1 /x");
        for wrong in [
            "https://x/v1/traces",
            "http://",
            "http://x:0/",
            "http://x:99999/",
            "http://u@x/",
            "http://x/v1?a=b",
            "http://x/a b",
            "http://[::g]/",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
