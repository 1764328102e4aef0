//! `[backend.NAME]`: where rewritten messages go.

use std::net::IpAddr;

use super::super::Backend;
use super::super::raw::Table;
use super::{Named, address, bypath, care, path_of, plain_name};
use crate::limits;

/// Every backend, in the order of the file.
pub(super) fn all<'a>(root: &Table<'a>) -> Vec<Named<'a, Backend>> {
    root.named("backend")
        .into_iter()
        .map(|(name, table)| {
            let good = plain_name(&name, "backend", root.findings());
            let part = read(name.value, table).filter(|_| good);
            Named { name, part }
        })
        .collect()
}

fn read(name: &str, table: Table<'_>) -> Option<Backend> {
    let findings = table.findings();
    let texts = table.texts("urls");
    let aims = table.has("address");
    let original = bypath::original(&table);
    if table.lists_nothing("urls") && !aims {
        findings.error(
            &table.place_of("urls"),
            format!("backend `{name}` has no address"),
            "write urls = [\"http://127.0.0.1:8123\"]",
        );
    }
    let mut urls = Vec::new();
    for text in &texts {
        let Some(url) = address::url(text, findings) else {
            continue;
        };
        if !url.https && !address::loopback(&url.host) {
            findings.warn(
                &text.place,
                "what goes to this backend can be read on the way",
                "use https:// for a backend on another machine",
            );
        }
        if urls.contains(&url) {
            findings.error(
                &text.place,
                "this address stands here twice",
                "name it once",
            );
        }
        urls.push(url);
    }
    if urls.len() > limits::BACKEND_URLS {
        findings.error(
            &table.place_of("urls"),
            format!("backend `{name}` has {} addresses", urls.len()),
            format!(
                "at most {}; give what is behind them one name",
                limits::BACKEND_URLS
            ),
        );
    }
    let mut care = care::read(&table, urls.len());
    if aims {
        // One server of many that is down must not keep the others from being asked.
        care.circuit.failures = 0;
        care.ejection.failures = 0;
    }
    let region = table.text("region");
    let shaped = |r: &str| r.len() == 2 && r.bytes().all(|b| b.is_ascii_uppercase());
    if let Some(text) = region.as_ref().filter(|t| !shaped(t.value)) {
        findings.error(
            &text.place,
            "this is no region",
            "two capital letters of ISO 3166, as in \"GB\"",
        );
    }
    let file = |key| table.text(key).and_then(|t| path_of(&t, findings));
    let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
    if table.has("certificate") != table.has("key") {
        findings.error(
            &table.place,
            format!(
                "backend `{name}` has a certificate without a key, or a key without a certificate"
            ),
            "write both, or neither",
        );
    }
    let server_name = table.text("server_name").filter(|text| {
        let good = address::host_name(text.value) && text.value.parse::<IpAddr>().is_err();
        if !good {
            findings.error(
                &text.place,
                "this is no name of a server",
                "a DNS name that the backend's certificate has, as in \"data.example\"",
            );
        }
        good
    });
    let encrypted = urls.iter().any(|u| u.https) || original.as_ref().is_some_and(|o| o.https);
    for only in ["ca", "certificate", "server_name"] {
        if table.has(only) && !encrypted && (!urls.is_empty() || original.is_some()) {
            findings.error(
                &table.place_of(only),
                format!("`{only}` has no use: no address of this backend is https"),
                "write https:// in urls, or remove it",
            );
        }
    }
    let http2 = table.boolean("http2").unwrap_or(false);
    table.finish();
    if aims != original.is_some() {
        return None;
    }
    Some(Backend {
        name: name.to_owned(),
        urls,
        region: region.map(|r| r.value.to_owned()),
        ca,
        server_name: server_name.map(|t| t.value.to_ascii_lowercase()),
        identity: certificate.zip(key),
        http2,
        care,
        original,
    })
}
