//! What is allowed and still should be known.

use crate::config::{Backend, Config, Others, RequestBody, ResponseBody, Root, Route, WebSocket};
use crate::policy::selector::Step;
use crate::policy::{Action, Policy, Rule, Unlisted};

/// A risk, and whether it is worth red ink.
pub(super) struct Risk {
    /// What it is about: `route results`, `policy blood-results`, `keys`.
    pub about: String,
    pub text: String,
    pub grave: bool,
}

/// Every risk of a configuration.
pub(super) fn all(config: &Config) -> Vec<Risk> {
    let mut risks = Vec::new();
    for route in &config.routes {
        of_route(route, config, &mut risks);
    }
    for policy in policies_in_use(config) {
        of_policy(policy, config, &mut risks);
    }
    of_watching(config, &mut risks);
    of_bypaths(config, &mut risks);
    if let Some(Root::File(_)) = config.vault.as_ref().map(|vault| &vault.root) {
        risks.push(Risk {
            about: "root key".to_owned(),
            text: "the vault's root key is in a file, for development: whoever has it and a copy of the store has every identifier. `root = \"shares\"` keeps it with custodians (docs/vault.md, Sealing)".to_owned(),
            grave: false,
        });
    }
    if config.gateway.is_some() || config.vault.is_some() {
        risks.push(Risk {
            about: "keys".to_owned(),
            text: "private keys stand in files: whoever can read this disk has them. An HSM is the stronger choice".to_owned(),
            grave: false,
        });
    }
    risks
}

/// Request policies that a route uses or that stand unused; restore policies are shown apart.
pub(super) fn policies_in_use(config: &Config) -> impl Iterator<Item = &Policy> {
    let restores: Vec<usize> = config
        .routes
        .iter()
        .filter_map(|r| match r.response {
            ResponseBody::RestoreOwn(at) => Some(at),
            ResponseBody::Pass | ResponseBody::Policy(_) => None,
        })
        .collect();
    config
        .policies
        .iter()
        .enumerate()
        .filter(move |(at, _)| !restores.contains(at))
        .map(|(_, p)| &**p)
}

/// Traces, and who may lead the gateway.
fn of_watching(config: &Config, risks: &mut Vec<Risk>) {
    let Some(gateway) = &config.gateway else {
        return;
    };
    let mut add = |about: &str, text: &str| {
        risks.push(Risk {
            about: about.to_owned(),
            text: text.to_owned(),
            grave: false,
        });
    };
    if gateway.traces.as_ref().is_some_and(|traces| traces.join) {
        add(
            "traces",
            "a client's trace id goes on to backends: sixteen bytes of its choosing. `from_clients = \"restart\"` stops that",
        );
    }
    if gateway
        .admin
        .as_ref()
        .is_some_and(|admin| admin.tls.is_none())
    {
        add(
            "admin",
            "whoever has an account on this machine can drain the gateway. With `tls` it wants a custodian's certificate",
        );
    }
}

/// What comes without having named the gateway, and what passes it unseen.
fn of_bypaths(config: &Config, risks: &mut Vec<Risk>) {
    let mut add = |about: &str, grave, text: &str| {
        risks.push(Risk {
            about: about.to_owned(),
            text: text.to_owned(),
            grave,
        });
    };
    let egress = config.gateway.as_ref().and_then(|g| g.egress.as_ref());
    if let Some(egress) = egress {
        if egress.others == Others::Tunnel {
            add(
                "egress",
                true,
                "others = \"tunnel\": whatever clients send to hosts that no list has passes unseen, identifiers and all",
            );
        }
        if !egress.tunnel_hosts.is_empty() {
            add("egress", false, "what goes to tunnel_hosts passes unseen");
        }
        add(
            "egress",
            false,
            "whoever has the CA's key can be any of `hosts` to those who trust it: keep it as the keys of the gateway",
        );
    }
    let kept = |b: &&Backend| b.original.as_ref().is_some_and(|o| o.keep_source);
    for backend in config.backends.iter().filter(kept) {
        add(
            &format!("backend {}", backend.name),
            false,
            "source = \"client\": the server learns clients' addresses, which are personal data",
        );
    }
}

fn of_route(route: &Route, config: &Config, risks: &mut Vec<Risk>) {
    let about = format!("route {}", route.name);
    let mut add = |grave, text: String| {
        risks.push(Risk {
            about: about.clone(),
            text,
            grave,
        });
    };
    match route.request {
        RequestBody::Opaque => add(
            true,
            "opaque: bodies pass unseen, identifiers and all".to_owned(),
        ),
        RequestBody::Policy(at) if route.stream => {
            let policy = &config.policies[at].name;
            add(
                false,
                format!(
                    "streams: a body refused midway is cut off, but blocks that the backend has committed by then stay there (policy {policy})"
                ),
            );
        }
        _ => {}
    }
    if route.websocket == WebSocket::Opaque {
        add(
            true,
            "websocket = \"opaque\": messages pass unseen, both ways".to_owned(),
        );
    }
    for rule in route.query.iter().filter(|q| q.values.is_empty()) {
        add(
            false,
            format!("query parameter `{}` passes with any value", rule.name),
        );
    }
    for capture in &route.captures {
        add(false, format!("path capture `{capture}` passes as it is"));
    }
    for cookie in &route.cookies {
        add(false, format!("cookie `{cookie}` passes as it is"));
    }
}

fn of_policy(policy: &Policy, config: &Config, risks: &mut Vec<Risk>) {
    let about = format!("policy {}", policy.name);
    let mut add = |grave, text: String| {
        risks.push(Risk {
            about: about.clone(),
            text,
            grave,
        });
    };
    if policy.unlisted == Unlisted::Keep {
        add(
            true,
            "unlisted = \"keep\": what no rule names passes in clear".to_owned(),
        );
    }
    let wild: Vec<_> = policy
        .rules
        .iter()
        .filter(|r| passes_names(r))
        .map(|r| r.at.to_string())
        .collect();
    if !wild.is_empty() {
        add(
            false,
            format!(
                "a wildcard does not look at member names: where it meets an object they pass in clear ({})",
                wild.join(", ")
            ),
        );
    }
    let moved = |rule: &&Rule| matches!(rule.action, Action::DateShift { .. });
    if let Some(rule) = policy.rules.iter().find(moved) {
        add(
            false,
            format!(
                "{}: whoever knows one true date of a subject knows all of its dates. Places whose names do not say so, texts, files and other routes may hold some: `check` cannot see that",
                rule.at
            ),
        );
    }
    let sealed = |rule: &&Rule| matches!(rule.action, Action::Seal { .. });
    if let Some(rule) = policy.rules.iter().find(sealed) {
        add(
            false,
            format!(
                "{}: sealed under a key for each record, and each key is a recovery record: it counts in the day's budget of new identifiers",
                rule.at
            ),
        );
    }
    for rule in &policy.rules {
        if let Action::Scrub(_) = rule.action {
            add(
                false,
                format!(
                    "{}: free text. Names that stand nowhere else in the record, places and rare events have no form that could be found, and pass",
                    rule.at
                ),
            );
        }
    }
    for rule in policy.rules.iter().filter(|r| r.accept_frequency) {
        let kind = match rule.action {
            Action::Pseudonym { kind, .. } => &*config.kinds.get(kind).name,
            _ => continue,
        };
        add(
            false,
            format!(
                "{}: pseudonyms of `{kind}` can be undone by counting how often each appears (accepted)",
                rule.at
            ),
        );
    }
}

/// Whether a rule lets names of members through that nobody has listed.
fn passes_names(rule: &Rule) -> bool {
    let wild = |s: &Step| matches!(s, Step::Wildcard | Step::DescendantWildcard);
    !matches!(rule.action, Action::Drop | Action::Reject) && rule.at.steps.iter().any(wild)
}
