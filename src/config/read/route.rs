//! `[[route]]`: which request goes where, and what happens to it.

use std::path::Path;
use std::sync::Arc;

use super::super::raw::{Place, Table, Text};
use super::super::{
    Config, Gateway, Limits, QueryRule, Rate, RequestBody, ResponseBody, Route, Vault, WebSocket,
};
use super::{Named, Names, domain, doors, policy, resolve, shorten};
use crate::config::diagnostic::name_hint;
use crate::policy::{Door, RecordUnit};
use crate::pseudonym::Kinds;

mod body;
mod coding;
pub(super) mod head;
mod pattern;
pub(super) mod rows;

/// A route as read, with the places that later checks point at.
pub(super) struct Read<'a> {
    pub route: Route,
    pub name: Text<'a>,
    pub backend: Place<'a>,
    pub request: Place<'a>,
}

/// Every route, in the order of the file.
pub(super) fn all<'a>(
    root: &Table<'a>,
    names: &Names<'a>,
    gateway: Option<&Gateway>,
) -> Vec<Read<'a>> {
    let findings = root.findings();
    let tables = root.tables("route", "[[route]]");
    if root.has("gateway") && root.lists_nothing("route") {
        findings.error(
            &root.place_of("gateway"),
            "the gateway has no routes",
            "write a [[route]]",
        );
    }
    let mut seen: Vec<Text<'a>> = Vec::new();
    let mut paths = pattern::Paths::default();
    let mut all = Vec::new();
    for table in tables {
        let name = table.require("name", table.text("name"), "name = \"results\"");
        if let Some(name) = &name {
            super::plain_name(name, "route", findings);
            if let Some(first) = seen.iter().find(|s| s.value == name.value) {
                let hint = format!("the first stands in line {}", first.place.line());
                findings.error(
                    &name.place,
                    format!("route `{}` stands twice", shorten(name.value)),
                    hint,
                );
            }
            seen.push(name.clone());
        }
        all.extend(read(table, name, names, gateway, &mut paths));
    }
    all
}

/// Puts the parts together; `None` where one is missing because of an error.
pub(super) fn assemble(
    path: &Path,
    kinds: Kinds,
    names: Names<'_>,
    routes: Vec<Read<'_>>,
    gateway: Option<Gateway>,
    vault: Option<Vault>,
    limits: Limits,
) -> Option<Config> {
    fn parts<T>(named: Vec<Named<'_, T>>) -> Option<Vec<T>> {
        named.into_iter().map(|n| n.part).collect()
    }
    let mut restores = Vec::new();
    let mut policies = Vec::new();
    for read in parts::<policy::Read<'_>>(names.policies)? {
        policies.push(Arc::new(read.policy));
        restores.push(read.restore);
    }
    let mut restore_index = vec![None; restores.len()];
    let mut checked = Vec::new();
    for read in routes {
        let mut route = read.route;
        if let ResponseBody::RestoreOwn(of) = route.response {
            if restore_index.get(of)?.is_none() {
                policies.push(Arc::new(restores[of].take()?));
                restore_index[of] = Some(policies.len() - 1);
            }
            route.response = ResponseBody::RestoreOwn(restore_index[of]?);
        }
        checked.push(route);
    }
    Some(Config {
        file: path.to_owned(),
        digest: [0; 32],
        included: vec![],
        kinds,
        domains: parts(names.domains)?,
        gateway,
        vault,
        feed: None,
        backends: parts(names.backends)?,
        routes: checked,
        policies,
        limits,
    })
}

fn read<'a>(
    table: Table<'a>,
    name: Option<Text<'a>>,
    names: &Names<'a>,
    gateway: Option<&Gateway>,
    paths: &mut pattern::Paths<'a>,
) -> Option<Read<'a>> {
    let findings = table.findings();
    let host = table.text("host");
    let host_good = host.as_ref().is_none_or(|h| head::host(h, findings));
    let methods = head::methods(&table);
    let path = table.require("path", table.text("path"), "path = \"/v1/results\"");
    let pattern = path.as_ref().and_then(|p| pattern::captures(p, findings));
    if let (Some(path), Some(_)) = (&path, &pattern) {
        paths.add(host.as_ref().map(|h| h.value), path, &methods, findings);
    }
    let backend = table.require("backend", table.text("backend"), "backend = \"analytics\"");
    let backend_place = backend
        .as_ref()
        .map_or_else(|| table.place.clone(), |b| b.place.clone());
    let backend = backend.and_then(|b| resolve(&b, &names.backends, "backend", findings));
    let domain_text = table.text("domain");
    let domain = domain_text
        .as_ref()
        .map(|d| resolve(d, &names.domains, "domain", findings));
    let purpose = purpose(&table, domain.flatten(), names);
    let request_place = if table.has("request") {
        table.place_of("request")
    } else {
        table.place_of("opaque")
    };
    let request = body::request(&table, names);
    let client_certificate = body::client_certificate(&table, gateway);
    let policy = match request {
        Some(RequestBody::Policy(at)) => Some(at),
        _ => None,
    };
    let read_policy = policy.and_then(|at| names.policies.get(at)?.part.as_ref());
    let response = body::response(&table, names, policy, read_policy, client_certificate);
    let of_answers = match response {
        Some(ResponseBody::Policy(at)) => names.policies.get(at).and_then(|p| p.part.as_ref()),
        _ => None,
    };
    let stream = table.boolean("stream").unwrap_or(false);
    let rows = rows::read(&table);
    let format = body::format(&table, request.as_ref(), rows);
    let codings = coding::codings(&table, request.as_ref());
    let websocket = body::websocket(
        &table,
        request.as_ref(),
        response.as_ref(),
        format,
        &methods,
    );
    let http2 = backend.and_then(|at| names.backends.get(at)?.part.as_ref());
    if websocket != WebSocket::Refuse && http2.is_some_and(|b| b.http2) {
        findings.error(
            &table.place_of("websocket"),
            "this route's backend is spoken to in HTTP/2, where a WebSocket cannot begin",
            "name a backend without http2 = true",
        );
    }
    let of_both = [("request", read_policy), ("response", of_answers)];
    let of_both: Vec<_> = of_both
        .into_iter()
        .filter_map(|(key, read)| Some((key, read?)))
        .collect();
    body::derives(&table, &of_both, domain.is_some());
    for (key, read) in &of_both {
        rows::meaning(&table, key, read, format);
    }
    if let Some(read) = read_policy
        && read.policy.record == RecordUnit::Unbounded
        && !stream
    {
        findings.warn(
            &table.place_of("request"),
            format!(
                "policy `{}` leaves as it is scanned, but this route holds every body",
                read.policy.name
            ),
            "write stream = true, or record = \"auto\" in the policy",
        );
    }
    if stream && policy.is_none() && !matches!(request, Some(RequestBody::Opaque)) {
        findings.warn(
            &table.place_of("stream"),
            "nothing streams: this route takes no body",
            "remove it, or name a `request` policy",
        );
    }
    let captures = captures(&table, path.as_ref(), pattern.as_deref(), read_policy);
    let query = query(&table);
    let cookies = head::cookies(&table);
    let request_headers = head::headers(&table, "request_headers");
    let response_headers = head::headers(&table, "response_headers");
    if let Some(read) = read_policy {
        let queries: Vec<_> = query.iter().map(|q| q.name.clone()).collect();
        let lists = [
            (Door::Query, "query", &*queries),
            (Door::Path, "captures", &*captures),
            (Door::Cookie, "cookies", &*cookies),
            (Door::Header, "request_headers", &*request_headers),
        ];
        let name = name.as_ref().map_or("", |n| n.value);
        doors::route(&table, read, name, pattern.as_deref(), &lists);
    }
    let rate = table.table("rate", "rate").and_then(rate);
    let slow = table.boolean("slow").unwrap_or(false);
    let host_upstream = table.text("host_upstream");
    let upstream_good = host_upstream
        .as_ref()
        .is_none_or(|h| head::authority(h, findings));
    table.finish();
    if !host_good || !upstream_good {
        return None;
    }
    let name = name?;
    Some(Read {
        route: Route {
            name: name.value.to_owned(),
            host: host.map(|h| h.value.to_owned()),
            path: path?.value.to_owned(),
            methods,
            backend: backend?,
            domain: domain.map_or(Some(None), |d| d.map(Some))?,
            purpose,
            request: request?,
            response: response?,
            websocket,
            format,
            codings,
            rows,
            stream,
            client_certificate,
            query,
            captures,
            cookies,
            request_headers,
            response_headers,
            host_upstream: host_upstream.map(|h| h.value.to_owned()),
            rate,
            slow,
        },
        name,
        backend: backend_place,
        request: request_place,
    })
}

/// The route's purpose: its own, else its domain's; the two must not differ.
fn purpose(
    table: &Table<'_>,
    domain: Option<usize>,
    names: &Names<'_>,
) -> Option<crate::policy::Purpose> {
    let findings = table.findings();
    let of_domain = domain.and_then(|at| names.domains.get(at)?.part.as_ref());
    let text = table.text("purpose");
    let own = text.as_ref().and_then(|t| domain::purpose(t, findings));
    if let (Some(text), Some(own), Some(domain)) = (&text, own, of_domain)
        && own != domain.purpose
    {
        findings.error(
            &text.place,
            format!(
                "domain `{}` serves another purpose: {}",
                domain.name,
                domain.purpose.name()
            ),
            "pseudonyms of one domain serve one purpose: use another domain, or leave `purpose` out",
        );
    }
    own.or_else(|| of_domain.map(|d| d.purpose))
}

/// Captures must be in the path, and every capture of the path must be named: an unnamed one
/// would refuse every request.
fn captures(
    table: &Table<'_>,
    path: Option<&Text<'_>>,
    pattern: Option<&[&str]>,
    policy: Option<&policy::Read<'_>>,
) -> Vec<String> {
    let findings = table.findings();
    let named = table.texts("captures");
    let Some(pattern) = pattern else {
        return Vec::new();
    };
    for text in &named {
        if !pattern.contains(&text.value) {
            let hint = match pattern {
                [] => "the path has none; they are written /{name}".to_owned(),
                _ => name_hint(text.value, pattern.iter().copied()),
            };
            let message = format!("the path captures no `{}`", shorten(text.value));
            findings.error(&text.place, message, hint);
        }
    }
    for capture in pattern {
        let ruled = policy.is_some_and(|read| read.policy.takes_capture(capture));
        if !ruled && !named.iter().any(|n| n.value == *capture) {
            let place = path.map_or_else(|| table.place.clone(), |p| p.place.clone());
            findings.error(
                &place,
                format!("capture `{capture}` is not named: every request would be refused"),
                format!(
                    "write captures = [\"{capture}\"] if it identifies nobody: it passes as it is; else have the policy say what becomes of path:{capture}"
                ),
            );
        }
    }
    named.iter().map(|n| n.value.to_owned()).collect()
}

fn query(table: &Table<'_>) -> Vec<QueryRule> {
    let findings = table.findings();
    let mut rules: Vec<QueryRule> = Vec::new();
    for entry in table.tables("query", "a query parameter") {
        let name = entry.require("name", entry.text("name"), "name = \"page\"");
        let values = entry.texts("values");
        if entry.has("values") && entry.lists_nothing("values") {
            findings.error(
                &entry.place_of("values"),
                "no value could ever pass",
                "name the values, or leave `values` out to let any pass",
            );
        }
        if let Some(name) = name {
            if rules.iter().any(|r| r.name == name.value) {
                findings.error(
                    &name.place,
                    "this parameter stands here twice",
                    "give all its values in one place",
                );
            }
            rules.push(QueryRule {
                name: name.value.to_owned(),
                values: values.iter().map(|v| v.value.to_owned()).collect(),
            });
        }
        entry.finish();
    }
    rules
}

/// `rate = { requests = 100, per = "1m", burst = 20 }`
fn rate(table: Table<'_>) -> Option<Rate> {
    const MOST: u64 = 1_000_000;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let requests = table.integer("requests", 1..=MOST).map(narrow);
    let requests = table.require("requests", requests, "requests = 100");
    let per = table.duration("per");
    let per = table.require("per", per, "per = \"1m\"");
    if per.is_some_and(|per| per.is_zero()) {
        table.findings().error(
            &table.place_of("per"),
            "`per` is zero",
            "a time, as in \"1m\"",
        );
    }
    let burst = table.integer("burst", 1..=MOST).map(narrow);
    let has_burst = table.has("burst");
    table.finish();
    let requests = requests?;
    Some(Rate {
        requests,
        per: per?,
        burst: if has_burst { burst? } else { requests },
    })
}
