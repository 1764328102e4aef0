//! `[gateway]` and `[vault]`: where each world listens, and with which keys.

use super::super::raw::Table;
use super::super::{
    ClientCertificate, Feed, Gateway, ListenWhen, Root, ServerTls, Vault, VaultAddress,
};
use super::{address, bypath, egress, front, path, path_of, watch, word};
use crate::limits;

/// `[gateway]`
pub(super) fn gateway(table: Table<'_>) -> Option<Gateway> {
    let findings = table.findings();
    let mut listen = Vec::new();
    let texts = table.texts("listen");
    for text in &texts {
        if let Some(address) = address::socket(text, findings) {
            if listen.contains(&address) && address.port() != 0 {
                findings.error(
                    &text.place,
                    "this address stands here twice",
                    "name it once",
                );
            }
            listen.push(address);
        }
    }
    if table.lists_nothing("listen") {
        findings.error(
            &table.place_of("listen"),
            "the gateway listens nowhere",
            "write listen = [\"127.0.0.1:8443\"]",
        );
    }
    let tls = table.require(
        "tls",
        table.table("tls", "gateway.tls"),
        "tls = { certificate = \"…\", key = \"…\" }",
    );
    let sni_required = (tls.as_ref()).and_then(|t| t.boolean("sni_required"));
    let tls = tls.and_then(|t| server_tls(t, Door::Gateway));
    let certificates = front::certificates(&table);
    let proxy_protocol = front::proxy_protocol(&table);
    let vault = table.require(
        "vault",
        table.table("vault", "gateway.vault"),
        "vault = { address = \"https://127.0.0.1:8200\", certificate = \"…\", key = \"…\", ca = \"…\" }",
    );
    let vault = vault.and_then(vault_address);
    let observe = table.text("observe").and_then(|t| {
        let address = address::socket(&t, findings)?;
        if listen.contains(&address) && address.port() != 0 {
            findings.error(
                &t.place,
                "metrics would stand on the public address",
                "give `observe` a port of its own",
            );
        }
        if !address.ip().is_loopback() {
            findings.warn(
                &t.place,
                "metrics and health can be read from other machines",
                "they hold no personal data; keep them inside your network all the same",
            );
        }
        Some(address)
    });
    let traces = table.table("traces", "[gateway.traces]");
    let has_traces = traces.is_some();
    let traces = traces.and_then(watch::traces);
    let mut taken = listen.clone();
    taken.extend(observe);
    let admin = table.table("admin", "[gateway.admin]");
    let has_admin = admin.is_some();
    let admin = admin.and_then(|t| watch::admin(t, &taken, |tls| server_tls(tls, Door::Admin)));
    taken.extend(admin.as_ref().map(|admin| admin.listen));
    let written = table.table("egress", "[gateway.egress]");
    let has_egress = written.is_some();
    let egress = written.and_then(|t| egress::read(t, &taken));
    let transparent = bypath::transparent(&table, proxy_protocol.as_ref());
    let workers = table
        .integer("workers", 1..=1024)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let access_log = table.boolean("access_log").unwrap_or(true);
    let listen_when = table.text("listen_when").and_then(|text| {
        let words = [
            ("at-once", ListenWhen::AtOnce),
            ("ready", ListenWhen::Ready),
        ];
        word(&text, "moment to listen", &words, findings)
    });
    let reload_on_change = table.text("reload").and_then(|text| {
        let words = [("signal", false), ("change", true)];
        word(&text, "moment to reload", &words, findings)
    });
    let handover = (table.text("handover")).and_then(|text| path_of(&text, findings));
    let spool_dir = (table.text("spool_dir")).and_then(|text| path_of(&text, findings));
    table.finish();
    let read = [
        has_traces == traces.is_some(),
        has_admin == admin.is_some(),
        has_egress == egress.is_some(),
    ];
    if read.contains(&false) {
        return None;
    }
    Some(Gateway {
        listen,
        tls: tls?,
        certificates: certificates?,
        sni_required: sni_required.unwrap_or(false),
        proxy_protocol: proxy_protocol?,
        vault: vault?,
        observe,
        traces,
        admin,
        workers,
        access_log,
        listen_when: listen_when.unwrap_or(ListenWhen::AtOnce),
        transparent,
        egress,
        reload_on_change: reload_on_change.unwrap_or(false),
        handover,
        spool_dir,
    })
}

/// `[vault]`
pub(super) fn vault(table: Table<'_>) -> Option<Vault> {
    let findings = table.findings();
    let listen = table.require(
        "listen",
        table.text("listen"),
        "listen = \"127.0.0.1:8200\"",
    );
    let listen = listen.and_then(|t| address::socket(&t, findings));
    let tls = table.require(
        "tls",
        table.table("tls", "vault.tls"),
        "tls = { certificate = \"…\", key = \"…\", client_ca = \"…\" }",
    );
    let tls = tls.and_then(|t| server_tls(t, Door::Vault));
    let store = table.require(
        "store",
        table.text("store"),
        "store = \"sqlite:vault.sqlite\"",
    );
    let store = store.and_then(|text| match text.value.strip_prefix("sqlite:") {
        Some(file) if !file.is_empty() && !file.contains('\0') => {
            Some(text.place.source.base.join(file))
        }
        _ => {
            let hint = if text.value.starts_with("postgres") {
                "PostgreSQL is not in this version; write \"sqlite:PATH\""
            } else {
                "write \"sqlite:PATH\", as in \"sqlite:vault.sqlite\""
            };
            findings.error(&text.place, "this is no store", hint);
            None
        }
    });
    let root = root(&table);
    let unseal_time = table.duration("unseal_time");
    let registry = path(&table, "registry", "certs/out/registry.toml");
    let observe = table.text("observe").and_then(|t| {
        let address = address::socket(&t, findings)?;
        if Some(address) == listen && address.port() != 0 {
            findings.error(
                &t.place,
                "metrics would stand on the vault's own address",
                "give `observe` a port of its own",
            );
        }
        if !address.ip().is_loopback() {
            findings.warn(
                &t.place,
                "the vault's metrics and health can be read from other machines",
                "they hold no personal data; keep them inside your network all the same",
            );
        }
        Some(address)
    });
    let months = table.integer(
        "log_retention_months",
        1..=u64::from(limits::LOG_MONTHS_MOST),
    );
    table.finish();
    Some(Vault {
        listen: listen?,
        tls: tls?,
        store: store?,
        root: root?,
        unseal_time: unseal_time.unwrap_or(limits::UNSEAL_TIME),
        registry: registry?,
        observe,
        log_retention_months: months
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(limits::LOG_MONTHS),
    })
}

/// `root = "shares"`, or else `root_key` names a file.
fn root(table: &Table<'_>) -> Option<Root> {
    let findings = table.findings();
    match table.text("root") {
        Some(text) if text.value == "shares" => {
            if table.get("root_key").is_some() {
                findings.error(
                    &table.place_of("root_key"),
                    "the root key is in shares and in a file",
                    "remove `root_key`, or `root`",
                );
            }
            Some(Root::Shares)
        }
        Some(text) if text.value != "file" => {
            findings.error(
                &text.place,
                "the root key cannot be kept like that",
                "write root = \"shares\" for shares of custodians, or root = \"file\" and `root_key`",
            );
            table.get("root_key");
            None
        }
        _ => path(table, "root_key", "certs/out/vault-root.key").map(Root::File),
    }
}

/// `[feed]`
pub(super) fn feed(table: Table<'_>) -> Option<Feed> {
    let vault = table.require(
        "vault",
        table.table("vault", "feed.vault"),
        "vault = { address = \"https://127.0.0.1:8200\", certificate = \"…\", key = \"…\", ca = \"…\" }",
    );
    let vault = vault.and_then(vault_address);
    table.finish();
    Some(Feed { vault: vault? })
}

/// Whose TLS is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Gateway,
    Admin,
    Vault,
}

/// A server's certificate and whom it lets in: but for the gateway's own door, client certificates
/// are always required.
fn server_tls(table: Table<'_>, door: Door) -> Option<ServerTls> {
    let strict = door != Door::Gateway;
    let findings = table.findings();
    let certificate = path(&table, "certificate", "certs/out/gateway.pem");
    let key = path(&table, "key", "certs/out/gateway.key");
    let client_ca = table.text("client_ca").and_then(|t| path_of(&t, findings));
    if strict && !table.has("client_ca") {
        findings.error(
            &table.place,
            "the vault has no `client_ca`: it could not tell who is asking",
            "write client_ca = \"certs/out/vault-ca.pem\"",
        );
    }
    let asked = table.text("client_certificate").and_then(|text| {
        let words = [
            ("none", ClientCertificate::None),
            ("optional", ClientCertificate::Optional),
            ("required", ClientCertificate::Required),
        ];
        let asked = word(&text, "way to treat client certificates", &words, findings)?;
        if strict && asked != ClientCertificate::Required {
            findings.error(
                &text.place,
                "client certificates are always required here",
                "remove this key",
            );
        } else if asked != ClientCertificate::None && !table.has("client_ca") {
            findings.error(
                &text.place,
                "client certificates are asked for, but no `client_ca` says whose",
                "write client_ca = \"certs/out/gateway-ca.pem\"",
            );
        }
        Some(asked)
    });
    let client_certificate = asked.unwrap_or(if strict {
        ClientCertificate::Required
    } else if client_ca.is_some() {
        ClientCertificate::Optional
    } else {
        ClientCertificate::None
    });
    // The vault's list of who may enter is its registry.
    let client_crl = match door {
        Door::Vault => None,
        _ => table.text("client_crl").and_then(|t| path_of(&t, findings)),
    };
    if client_crl.is_some() && client_certificate == ClientCertificate::None {
        findings.error(
            &table.place_of("client_crl"),
            "`client_crl` has no use: no client certificate is asked for",
            "write client_ca = \"…\" beside it, or remove it",
        );
    }
    let resumption = table.boolean("resumption");
    if strict && resumption == Some(true) {
        findings.error(
            &table.place_of("resumption"),
            "sessions are never resumed here",
            "remove this key: such connections are few and long",
        );
    }
    table.finish();
    Some(ServerTls {
        certificate: certificate?,
        key: key?,
        client_ca,
        client_crl,
        client_certificate,
        resumption: resumption.unwrap_or(client_certificate == ClientCertificate::None),
    })
}

fn vault_address(table: Table<'_>) -> Option<VaultAddress> {
    let findings = table.findings();
    let text = table.require(
        "address",
        table.text("address"),
        "address = \"https://127.0.0.1:8200\"",
    );
    let url = text.and_then(|text| {
        let url = address::url(&text, findings)?;
        if !url.https {
            findings.error(
                &text.place,
                "the vault is reached over TLS only",
                "write https://",
            );
            return None;
        }
        Some(url)
    });
    let certificate = path(&table, "certificate", "certs/out/gateway-link.pem");
    let key = path(&table, "key", "certs/out/gateway-link.key");
    let ca = path(&table, "ca", "certs/out/vault-ca.pem");
    table.finish();
    let url = url?;
    Some(VaultAddress {
        host: url.host,
        port: url.port,
        certificate: certificate?,
        key: key?,
        ca: ca?,
    })
}
