//! The same answers for programs.

use serde_json::{Value, json};

use super::files::FileFault;
use super::{risks, sees, text};
use crate::config::{
    Config, Diagnostic, Egress, Loaded, Network, Others, Portal, RequestBody, ResponseBody, Route,
    Severity, Transparent,
};
use crate::policy::{Policy, RecordUnit, Unlisted};

/// `{"ok": false, "errors": [...], "warnings": [...]}`
pub(super) fn refused(found: &[Diagnostic]) -> Value {
    let of = |severity| {
        found
            .iter()
            .filter(move |d| d.severity == severity)
            .map(diagnostic)
            .collect::<Vec<_>>()
    };
    json!({ "ok": false, "errors": of(Severity::Error), "warnings": of(Severity::Warning) })
}

/// `{"ok": …, "routes": [...], "policies": [...], "risks": [...], "files": [...], "warnings": [...]}`
pub(super) fn meaning(loaded: &Loaded, faults: &[FileFault]) -> Value {
    let config = &loaded.config;
    json!({
        "ok": !faults.iter().any(|f| f.fatal),
        "routes": config.routes.iter().map(|r| route(r, config)).collect::<Vec<_>>(),
        "transparent": config.gateway.as_ref().and_then(|g| g.transparent).map(|how| match how {
            Transparent::Redirect => "redirect",
            Transparent::Tproxy => "tproxy",
        }),
        "egress": config.gateway.as_ref().and_then(|g| g.egress.as_ref()).map(egress),
        "policies": risks::policies_in_use(config).map(|p| policy(p, config)).collect::<Vec<_>>(),
        "risks": risks::all(config).iter().map(|r| json!({
            "about": r.about, "risk": r.text, "grave": r.grave,
        })).collect::<Vec<_>>(),
        "files": faults.iter().map(|f| json!({ "fault": f.text, "fatal": f.fatal })).collect::<Vec<_>>(),
        "warnings": loaded.warnings.iter().map(diagnostic).collect::<Vec<_>>(),
    })
}

fn egress(egress: &Egress) -> Value {
    let hosts = |all: &[Portal]| {
        let written = |p: &Portal| format!("{}:{}", p.host, p.port);
        all.iter().map(written).collect::<Vec<_>>()
    };
    let blocks = |all: &[Network]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "listen": egress.listen,
        "clients": blocks(&egress.clients),
        "hosts": hosts(&egress.hosts),
        "tunnel_hosts": hosts(&egress.tunnel_hosts),
        "others": match egress.others {
            Others::Refuse => "refuse",
            Others::Tunnel => "tunnel",
        },
        "private": blocks(&egress.private),
    })
}

fn route(route: &Route, config: &Config) -> Value {
    json!({
        "name": route.name,
        "host": route.host,
        "path": route.path,
        "methods": route.methods,
        "backend": config.backends[route.backend].name,
        "domain": route.domain.map(|d| &config.domains[d].name),
        "purpose": route.purpose.map(|p| p.name()),
        "request": match route.request {
            RequestBody::Policy(at) => json!({ "policy": config.policies[at].name }),
            RequestBody::Opaque => json!("opaque"),
            RequestBody::None => json!("none"),
        },
        "response": match route.response {
            ResponseBody::Policy(at) => json!({ "policy": config.policies[at].name }),
            _ => json!(route.response.name()),
        },
        "websocket": text::websocket_name(route.websocket),
        "format": route.format.map(text::format_name),
        "codings": route.codings.taken.iter().map(|c| c.name()).collect::<Vec<_>>(),
        "encode": if route.codings.plain { "identity" } else { "same" },
        "stream": route.stream,
        "hold": config.limits.hold,
        "client_certificate": route.client_certificate,
        "query": route.query.iter().map(|q| json!({ "name": q.name, "values": q.values })).collect::<Vec<_>>(),
        "captures": route.captures,
        "cookies": route.cookies,
        "doors": sees::around_the_body(route, config).iter().map(|(at, action, seen)| json!({
            "at": at, "action": action, "backend_sees": seen,
        })).collect::<Vec<_>>(),
    })
}

fn policy(policy: &Policy, config: &Config) -> Value {
    json!({
        "name": policy.name,
        "unlisted": match policy.unlisted {
            Unlisted::Reject => "reject",
            Unlisted::Drop => "drop",
            Unlisted::Keep => "keep",
        },
        "record": match policy.record {
            RecordUnit::Auto => "auto",
            RecordUnit::Document => "document",
            RecordUnit::Unbounded => "unbounded",
        },
        "rules": policy.rules.iter().map(|r| json!({
            "at": r.at.to_string(),
            "category": r.category.map(|c| c.name()),
            "special": r.special.map(|s| s.name()),
            "action": r.action.name(),
            "subject": r.subject,
            "backend_sees": sees::example(r, &config.kinds),
        })).collect::<Vec<_>>(),
    })
}

fn diagnostic(d: &Diagnostic) -> Value {
    json!({ "file": d.file, "line": d.line, "column": d.column, "message": d.message, "hint": d.hint })
}
