//! The record of processing that a configuration amounts to (GDPR Art. 30(1)), a part a route.
//!
//! What enters: a checked configuration. What leaves: Markdown that an officer can file, or JSON.
//! What can never happen: something is said that the configuration does not say. What only the
//! controller knows stands there as open.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sees;
use crate::config::{Config, RequestBody, ResponseBody, Route};
use crate::policy::{Action, Policy, Rule, Scope, Unlisted, adequate};
use crate::pseudonym::Class;

/// One route.
pub(super) struct Record {
    route: String,
    /// Methods, host, path.
    takes: String,
    purpose: Option<&'static str>,
    basis: Option<&'static str>,
    /// GDPR Art. 9(2); only where a special category is named.
    condition: Option<String>,
    /// Kinds of class person whose holders the data is about.
    subjects: Vec<String>,
    data: Vec<Data>,
    /// Of places that no rule names, or of a body that nobody reads.
    rest: String,
    recipient: String,
    transfer: String,
    measures: Vec<String>,
}

/// What one rule says.
struct Data {
    at: String,
    category: &'static str,
    special: Option<&'static str>,
    action: &'static str,
    received: String,
}

pub(super) fn records(config: &Config) -> Vec<Record> {
    config.routes.iter().map(|r| record(r, config)).collect()
}

fn record(route: &Route, config: &Config) -> Record {
    let policy = match route.request {
        RequestBody::Policy(at) => Some(&*config.policies[at]),
        RequestBody::Opaque | RequestBody::None => None,
    };
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    let special = rules.iter().any(|rule| rule.special.is_some());
    let condition = route.purpose.filter(|_| special).map(|purpose| {
        purpose.condition().map_or_else(
            || "none: special categories do not reach the recipient in clear".to_owned(),
            str::to_owned,
        )
    });
    let backend = &config.backends[route.backend];
    let region = backend.region.as_deref();
    let all = || "any method".to_owned();
    let methods = match route.methods.is_empty() {
        true => all(),
        false => route.methods.join(", "),
    };
    Record {
        route: route.name.clone(),
        takes: format!(
            "{methods} {}{}",
            route.host.as_deref().unwrap_or("any host"),
            route.path
        ),
        purpose: route.purpose.map(|p| p.name()),
        basis: route.purpose.map(|p| p.basis()),
        condition,
        subjects: subjects(rules, config),
        data: rules.iter().map(|rule| data(rule, config)).collect(),
        rest: rest(route, policy).to_owned(),
        recipient: format!(
            "{} ({})",
            backend.name,
            region.map_or_else(|| "region not stated".to_owned(), str::to_owned)
        ),
        transfer: match region {
            None => "not known: the backend has no `region`".to_owned(),
            Some(region) if adequate(region) => {
                "none outside the United Kingdom, the EEA and adequate countries".to_owned()
            }
            Some(region) => format!(
                "to {region}: of identifiable categories nothing but pseudonyms (Art. 44, 46)"
            ),
        },
        measures: measures(route, rules, config),
    }
}

fn subjects(rules: &[Rule], config: &Config) -> Vec<String> {
    let mut names: Vec<String> = rules
        .iter()
        .filter_map(|rule| match rule.action {
            Action::Pseudonym { kind, .. } => Some(config.kinds.get(kind)),
            _ => None,
        })
        .filter(|kind| kind.class == Class::Person)
        .map(|kind| kind.name.to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn data(rule: &Rule, config: &Config) -> Data {
    Data {
        at: rule.at.to_string(),
        category: rule.category.map_or("-", |c| c.name()),
        special: rule.special.map(|s| s.name()),
        action: rule.action.name(),
        received: sees::example(rule, &config.kinds),
    }
}

fn rest(route: &Route, policy: Option<&Policy>) -> &'static str {
    match (policy.map(|p| p.unlisted), &route.request) {
        (Some(Unlisted::Reject), _) => "a message with anything else is refused",
        (Some(Unlisted::Drop), _) => "anything else is left out",
        (Some(Unlisted::Keep), _) => {
            "ANYTHING ELSE PASSES AS IT IS: what it is, the controller states"
        }
        (None, RequestBody::None) => "no body",
        (None, _) => "BODIES PASS UNSEEN: what is in them, the controller states",
    }
}

/// Technical measures (Art. 32), as far as the configuration knows them.
fn measures(route: &Route, rules: &[Rule], config: &Config) -> Vec<String> {
    let mut all = vec!["TLS 1.2 or 1.3 from the client".to_owned()];
    if route.client_certificate {
        all.push("clients are known by certificate".to_owned());
    }
    let urls = &config.backends[route.backend].urls;
    if !urls.is_empty() {
        all.push(match urls.iter().all(|url| url.https) {
            true => "TLS to the recipient".to_owned(),
            false => "no TLS to the recipient".to_owned(),
        });
    }
    let makes = |wanted: Scope| {
        rules
            .iter()
            .any(|rule| matches!(rule.action, Action::Pseudonym { scope, .. } if scope == wanted))
    };
    let scrubs = rules
        .iter()
        .any(|rule| matches!(rule.action, Action::Scrub(_)));
    if let Some(domain) = route.domain.filter(|_| makes(Scope::Domain) || scrubs) {
        all.push(format!(
            "pseudonyms of the domain `{}` (Art. 4(5)); the additional information is kept apart, in the vault, and is given out to two people together, with an entry in a log",
            config.domains[domain].name
        ));
    }
    if makes(Scope::Record) {
        all.push("random tokens, new in every record, that nobody can turn back".to_owned());
    }
    if scrubs {
        all.push("free text passes without what a detector finds in it; what has no form (a name that stands nowhere else, a place, a rare event) stays".to_owned());
    }
    if matches!(route.response, ResponseBody::RestoreOwn(_)) {
        all.push("answers give a client back what it sent itself, and nothing more".to_owned());
    }
    all
}

pub(super) fn json(records: &[Record]) -> Value {
    let one = |record: &Record| {
        let data = |data: &Data| {
            json!({
                "at": data.at,
                "category": data.category,
                "special": data.special,
                "action": data.action,
                "received": data.received,
            })
        };
        json!({
            "route": record.route,
            "takes": record.takes,
            "purpose": record.purpose,
            "lawful_basis": record.basis,
            "special_condition": record.condition,
            "data_subjects": record.subjects,
            "data": record.data.iter().map(data).collect::<Vec<_>>(),
            "unlisted": record.rest,
            "recipient": record.recipient,
            "transfer": record.transfer,
            "measures": record.measures,
            "erasure": null,
        })
    };
    json!({ "records": records.iter().map(one).collect::<Vec<_>>() })
}

const OPEN: &str = "*not in the configuration: to be completed by the controller*";

pub(super) fn markdown(records: &[Record], config: &Config) -> String {
    let mut out = String::from("# Record of processing activities (GDPR Art. 30(1))\n\n");
    let digest: String = config.digest.iter().map(|b| format!("{b:02x}")).collect();
    let _ = writeln!(
        out,
        "What the configuration `{}` (SHA-256 `{digest}`) lets the gateway do.\n\n\
         - Controller, representative, data-protection officer (a): {OPEN}",
        config.file.display()
    );
    for record in records {
        let _ = write!(out, "\n## {}\n\n| | |\n|---|---|\n", cell(&record.route));
        let mut row = |name: &str, text: &str| {
            let _ = writeln!(out, "| {name} | {} |", cell(text));
        };
        row("Requests", &record.takes);
        row("Purpose (b)", record.purpose.unwrap_or(OPEN));
        row("Lawful basis", record.basis.unwrap_or(OPEN));
        if let Some(condition) = &record.condition {
            row("Special categories: condition", condition);
        }
        let subjects = match record.subjects.is_empty() {
            true => OPEN.to_owned(),
            false => format!("those named by: {}", record.subjects.join(", ")),
        };
        row("Data subjects (c)", &subjects);
        row("Recipient (d)", &record.recipient);
        row("Transfers (e)", &record.transfer);
        row("Time limits for erasure (f)", OPEN);
        row("Security (g)", &record.measures.join("; "));
        row("What no rule names", &record.rest);
        if record.data.is_empty() {
            continue;
        }
        out += "\n| data (c) | category | special category | action | the recipient gets |\n|---|---|---|---|---|\n";
        for data in &record.data {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                cell(&data.at),
                data.category,
                data.special.unwrap_or("–"),
                data.action,
                cell(&data.received)
            );
        }
    }
    out
}

/// Text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
