//! The meaning of a configuration, for people: 80 columns where the names allow it.

use std::fmt::Write as _;

use super::files::FileFault;
use super::{risks, sees};
use crate::config::{
    Backend, Codings, Config, Format, Gateway, Network, Others, Portal, RequestBody, ResponseBody,
    Root, Route, Transparent, WebSocket,
};
use crate::policy::{Policy, RecordUnit, Unlisted};

const WIDTH: usize = 80;

/// Routes, policies, risks, files.
pub(super) fn meaning(config: &Config, faults: &[FileFault], color: bool) -> String {
    let mut page = Page {
        text: String::new(),
        color,
    };
    worlds(config, &mut page);
    if !config.routes.is_empty() {
        page.head("Routes");
    }
    for route in &config.routes {
        self::route(route, config, &mut page);
    }
    for policy in risks::policies_in_use(config) {
        self::policy(policy, config, &mut page);
    }
    restores(config, &mut page);
    let risks = risks::all(config);
    if !risks.is_empty() {
        page.head("To know");
    }
    let mut about = String::new();
    for risk in risks {
        if risk.about != about {
            page.line(&format!("  {}", risk.about));
            about.clone_from(&risk.about);
        }
        let style = if risk.grave {
            Style::Red
        } else {
            Style::Yellow
        };
        page.item(&risk.text, style);
    }
    if !faults.is_empty() {
        page.head("Files");
    }
    for fault in faults {
        let (label, style) = if fault.fatal {
            ("error", Style::Red)
        } else {
            ("warning", Style::Yellow)
        };
        page.item(&format!("{label}: {}", fault.text), style);
    }
    page.line("");
    match faults.iter().filter(|f| f.fatal).count() {
        0 => page.line("The configuration is understood."),
        1 => page.line("The configuration is understood, but a file it names is not usable."),
        n => page.line(&format!(
            "The configuration is understood, but {n} things about its files are not."
        )),
    }
    page.text
}

pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Json => "json",
        Format::Ndjson => "ndjson",
        Format::Form => "form",
        Format::Csv(_) => "csv",
        Format::Tsv { .. } => "tsv",
        Format::EventStream => "event-stream",
    }
}

pub(super) fn websocket_name(websocket: WebSocket) -> &'static str {
    match websocket {
        WebSocket::Refuse => "refuse",
        WebSocket::Policy => "policy",
        WebSocket::Opaque => "opaque",
    }
}

fn worlds(config: &Config, page: &mut Page) {
    let off = || "off".to_owned();
    if let Some(gateway) = &config.gateway {
        let listen: Vec<_> = gateway.listen.iter().map(ToString::to_string).collect();
        let observe = gateway.observe.map_or_else(off, |a| a.to_string());
        page.line(&format!(
            "Gateway on {}; metrics {observe}",
            listen.join(", ")
        ));
        page.line(&format!(
            "  keys and records at https://{}:{}",
            gateway.vault.host, gateway.vault.port
        ));
        bypaths(gateway, page);
    }
    if let Some(vault) = &config.vault {
        let observe = vault.observe.map_or_else(off, |a| a.to_string());
        page.line(&format!("Vault on {}; metrics {observe}", vault.listen));
        page.line(&format!("  store {}", vault.store.display()));
        page.line(match vault.root {
            Root::Shares => "  root key in shares of custodians; it starts sealed",
            Root::File(_) => "  root key in a file, the weaker choice, for development",
        });
    }
}

/// What comes without having named the gateway.
fn bypaths(gateway: &Gateway, page: &mut Page) {
    match gateway.transparent {
        Some(Transparent::Redirect) => page.line("  takes connections that nftables redirects"),
        Some(Transparent::Tproxy) => page.line("  takes connections to any address (tproxy)"),
        None => {}
    }
    let Some(egress) = &gateway.egress else {
        return;
    };
    let list = |all: &[String]| all.join(", ");
    let hosts = |all: &[Portal]| list(&all.iter().map(portal).collect::<Vec<_>>());
    let blocks = |all: &[Network]| list(&all.iter().map(ToString::to_string).collect::<Vec<_>>());
    let listen: Vec<_> = egress.listen.iter().map(ToString::to_string).collect();
    page.wrapped(0, &format!("Egress proxy on {} (CONNECT)", list(&listen)));
    page.wrapped(2, &format!("for clients in {}", blocks(&egress.clients)));
    page.wrapped(2, &format!("opens TLS to {}", hosts(&egress.hosts)));
    let unseen = |text: String, page: &mut Page, style| {
        let line = page.paint(&text, style);
        page.line(&format!("  {line}"));
    };
    if !egress.tunnel_hosts.is_empty() {
        let text = format!("passes unseen to {}", hosts(&egress.tunnel_hosts));
        unseen(text, page, Style::Yellow);
    }
    match egress.others {
        Others::Refuse => page.line("  refuses all other hosts"),
        Others::Tunnel => {
            let ports: Vec<_> = egress
                .tunnel_ports
                .iter()
                .map(ToString::to_string)
                .collect();
            let text = format!("passes unseen to all other hosts, port {}", list(&ports));
            unseen(text, page, Style::Red);
        }
    }
    if !egress.private.is_empty() {
        let text = format!("tunnels may lead inside, to {}", blocks(&egress.private));
        unseen(text, page, Style::Yellow);
    }
}

fn portal(portal: &Portal) -> String {
    match portal.port {
        443 => portal.host.clone(),
        port => format!("{}:{port}", portal.host),
    }
}

fn route(route: &Route, config: &Config, page: &mut Page) {
    let methods = match &*route.methods {
        [] => "any method".to_owned(),
        some => some.join(" "),
    };
    let host = route.host.as_deref().unwrap_or("*");
    page.line(&format!("  {}", page.paint(&route.name, Style::Bold)));
    page.wrapped(4, &format!("{methods} https://{host}{}", route.path));
    page.wrapped(
        4,
        &format!("→ {}", backend(&config.backends[route.backend])),
    );
    if let Some(domain) = route.domain.map(|d| &config.domains[d]) {
        page.wrapped(
            4,
            &format!("domain {} for {}", domain.name, domain.purpose.name()),
        );
    } else if let Some(purpose) = route.purpose {
        page.wrapped(4, &format!("for {}", purpose.name()));
    }
    match route.request {
        RequestBody::Policy(at) => {
            let format = sees::formats(route, &config.policies[at]);
            page.wrapped(
                4,
                &format!("request  {} ({format})", config.policies[at].name),
            );
            let hold = size(config.limits.hold);
            let beyond = if route.stream {
                "larger ones stream"
            } else {
                "larger ones are refused (413)"
            };
            page.wrapped(13, &format!("held whole up to {hold}; {beyond}"));
            if !route.codings.taken.is_empty() {
                page.wrapped(13, &codings(&route.codings));
            }
        }
        RequestBody::Opaque => {
            let line = page.paint("request  opaque: passes unseen", Style::Red);
            page.line(&format!("    {line}"));
        }
        RequestBody::None => page.wrapped(4, "request  no body"),
    }
    match route.websocket {
        WebSocket::Refuse => {}
        WebSocket::Policy => page.wrapped(
            4,
            "websocket: each text message is one document; binary ones are refused",
        ),
        WebSocket::Opaque => {
            let line = page.paint(
                "websocket opaque: messages pass unseen, both ways",
                Style::Red,
            );
            page.line(&format!("    {line}"));
        }
    }
    let response = match route.response {
        ResponseBody::Pass => "pass",
        ResponseBody::RestoreOwn(_) => "restore-own: the client's own identifiers come back",
        ResponseBody::Policy(at) => &config.policies[at].name,
    };
    page.wrapped(4, &format!("response {response}"));
    if route.client_certificate {
        page.wrapped(4, "wants a client certificate");
    }
    for query in &route.query {
        let values = match &*query.values {
            [] => "any value".to_owned(),
            some => some
                .iter()
                .map(|v| format!("{v:?}"))
                .collect::<Vec<_>>()
                .join(" or "),
        };
        page.wrapped(4, &format!("query    {}: {values}", query.name));
    }
    for (place, action, seen) in sees::around_the_body(route, config) {
        page.wrapped(4, &format!("{place} → {action}: {seen}"));
    }
}

fn backend(backend: &Backend) -> String {
    if let Some(original) = &backend.original {
        let networks: Vec<_> = original.networks.iter().map(ToString::to_string).collect();
        let ports: Vec<_> = original.ports.iter().map(ToString::to_string).collect();
        let from = if original.keep_source {
            ", from the client's own address"
        } else {
            ""
        };
        return format!(
            "{} (where the client meant to go, in {}, port {}{from})",
            backend.name,
            networks.join(" or "),
            ports.join(" or "),
        );
    }
    let urls: Vec<_> = backend
        .urls
        .iter()
        .map(|u| {
            format!(
                "{}://{}:{}",
                if u.https { "https" } else { "http" },
                u.host,
                u.port
            )
        })
        .collect();
    let region = backend
        .region
        .as_deref()
        .map_or_else(String::new, |r| format!(", {r}"));
    format!("{} ({}{region})", backend.name, urls.join(", "))
}

fn policy(policy: &Policy, config: &Config, page: &mut Page) {
    page.head(&format!("Policy {}", policy.name));
    let unlisted = match policy.unlisted {
        Unlisted::Reject => "what no rule names is refused (422)".to_owned(),
        Unlisted::Drop => "what no rule names is left out".to_owned(),
        Unlisted::Keep => page.paint("what no rule names passes in clear", Style::Red),
    };
    let record = match policy.record {
        RecordUnit::Auto => "a record leaves whole or not at all",
        RecordUnit::Document => "the document is one record",
        RecordUnit::Unbounded => "leaves as it is scanned",
    };
    page.line(&format!("  {unlisted}; {record}"));
    page.line("");
    let rows: Vec<[String; 4]> = policy
        .rules
        .iter()
        .map(|rule| {
            let category = rule.category.map_or("", |c| c.name());
            let category = match rule.special {
                Some(special) if special.name() == category => category.to_owned(),
                Some(special) => format!("{category}, {}", special.name()),
                None => category.to_owned(),
            };
            [
                rule.at.to_string(),
                category,
                rule.action.name().to_owned(),
                sees::example(rule, &config.kinds),
            ]
        })
        .collect();
    page.table(["PLACE", "CATEGORY", "ACTION", "THE BACKEND SEES"], &rows);
}

/// Content codings of a route, in words.
fn codings(codings: &Codings) -> String {
    let names: Vec<_> = codings.taken.iter().map(|c| c.name()).collect();
    let then = if codings.plain {
        "goes on uncompressed"
    } else {
        "compressed again"
    };
    format!("compressed by {}: {then}", names.join(", "))
}

fn restores(config: &Config, page: &mut Page) {
    let mut shown = Vec::new();
    for route in &config.routes {
        let ResponseBody::RestoreOwn(at) = route.response else {
            continue;
        };
        if shown.contains(&at) {
            continue;
        }
        shown.push(at);
        let policy = &config.policies[at];
        page.head(&format!(
            "Answers of {}",
            policy.name.trim_end_matches(" (restore)")
        ));
        page.line("  pseudonyms of what this client sent in this request come back at");
        let places: Vec<_> = policy.rules.iter().map(|r| r.at.to_string()).collect();
        page.wrapped(4, &places.join("  "));
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Red,
    Yellow,
}

struct Page {
    text: String,
    color: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, title: &str) {
        let title = self.paint(title, Style::Bold);
        let _ = writeln!(self.text, "\n{title}");
    }

    fn paint(&self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Bold => "1",
            Style::Red => "1;31",
            Style::Yellow => "33",
        };
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Words, broken before column 80, later lines two columns further in.
    fn wrapped(&mut self, indent: usize, text: &str) {
        let mut line = " ".repeat(indent);
        let mut width = indent;
        let mut fresh = true;
        for word in text.split(' ') {
            let length = word.chars().count();
            if !fresh && width + 1 + length > WIDTH {
                self.line(line.trim_end());
                line = " ".repeat(indent + 2);
                width = indent + 2;
                fresh = true;
            }
            if !fresh {
                line.push(' ');
                width += 1;
            }
            line.push_str(word);
            width += length;
            fresh = false;
        }
        self.line(line.trim_end());
    }

    /// A point of a list, its mark in the style.
    fn item(&mut self, text: &str, style: Style) {
        let mark = self.paint("!", style);
        let mut inner = Page {
            text: String::new(),
            color: self.color,
        };
        inner.wrapped(4, text);
        let body = inner.text.get(4..).unwrap_or_default();
        let _ = write!(self.text, "  {mark} {body}");
    }

    fn table(&mut self, heads: [&str; 4], rows: &[[String; 4]]) {
        let width = |at: usize| {
            let cells = rows.iter().map(|r| r[at].chars().count());
            cells.chain([heads[at].len()]).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        let row = |cells: [&str; 4]| {
            let mut line = String::from(" ");
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(line, " {cell:width$} ");
            }
            let _ = write!(line, " {}", cells[3]);
            line.trim_end().to_owned()
        };
        self.line(&row(heads));
        for cells in rows {
            self.line(&row([&cells[0], &cells[1], &cells[2], &cells[3]]));
        }
    }
}
