//! Each part of the file as meant: one file a part.
//!
//! What enters: tables with places. What leaves: checked parts, and findings. What can never
//! happen: a name that stands for nothing, or one fault that hides another. A part that cannot
//! be read keeps its name, so that what refers to it is not called wrong as well.

use std::path::{Path, PathBuf};

use super::Config;
use super::diagnostic::name_hint;
use super::raw::{Findings, Table, Text, shorten};

mod address;
mod backend;
mod bypath;
mod care;
mod context;
mod domain;
mod doors;
mod egress;
mod flows;
mod front;
mod kind;
mod limits;
mod policy;
mod route;
mod rule;
mod watch;
mod worlds;

/// Why a selector matches no place of a body of this format, and what to write instead.
pub fn matches_nothing(
    at: &crate::policy::Selector,
    format: super::Format,
) -> Option<(&'static str, &'static str)> {
    route::rows::wrong(at, Some(format))
}

/// A part with its name and where the name stands.
pub(in crate::config) struct Named<'a, T> {
    pub name: Text<'a>,
    /// `None`: it has errors of its own.
    pub part: Option<T>,
}

/// What routes refer to.
struct Names<'a> {
    pub backends: Vec<Named<'a, super::Backend>>,
    pub domains: Vec<Named<'a, super::Domain>>,
    pub policies: Vec<Named<'a, policy::Read<'a>>>,
    /// All included files could be read: an unknown policy is really unknown.
    pub complete: bool,
}

/// The whole configuration; `None` where a part is missing because of an error that is noted.
pub(super) fn config<'a>(
    path: &Path,
    root: Table<'a>,
    parts: Vec<Table<'a>>,
    complete: bool,
    findings: &'a Findings,
) -> Option<Config> {
    let kinds = kind::all(&root, &parts);
    let limits = limits::read(&root);
    let gateway = root
        .table("gateway", "[gateway]")
        .and_then(|table| worlds::gateway(table));
    let vault = root
        .table("vault", "[vault]")
        .and_then(|table| worlds::vault(table));
    let feed = root
        .table("feed", "[feed]")
        .and_then(|table| worlds::feed(table));
    let names = Names {
        backends: backend::all(&root),
        domains: domain::all(&root),
        policies: policy::all(&root, &parts, &kinds, complete),
        complete,
    };
    let routes = route::all(&root, &names, gateway.as_ref());
    flows::check(&routes, &names, findings);
    context::check_domains(&routes, &names, findings);
    bypath::check(&root, gateway.as_ref(), &routes, &names.backends);
    domain::check_spools(gateway.as_ref(), &routes, &names.domains, findings);
    if !root.has("gateway") && !root.has("vault") && !root.has("feed") {
        findings.error(
            &root.place,
            "the configuration describes neither a [gateway] nor a [vault]",
            "start from the config.toml of the distribution",
        );
    }
    for part in parts {
        part.finish();
    }
    let wants_feed = root.has("feed");
    root.finish();
    let config = route::assemble(path, kinds.kinds, names, routes, gateway, vault, limits)?;
    // Half of it is none: the findings say why.
    let feed = (!wants_feed).then_some(None).or(feed.map(Some))?;
    Some(Config { feed, ..config })
}

/// Finds what a name stands for; an unknown name is noted.
pub(super) fn resolve<T>(
    text: &Text<'_>,
    among: &[Named<'_, T>],
    what: &str,
    findings: &Findings,
) -> Option<usize> {
    let at = among.iter().position(|n| n.name.value == text.value);
    if at.is_none() {
        let hint = match among {
            [] => format!("write a [{what}.{}]", shorten(text.value)),
            _ => name_hint(text.value, among.iter().map(|n| n.name.value)),
        };
        let message = format!("there is no {what} `{}`", shorten(text.value));
        findings.error(&text.place, message, hint);
    }
    at
}

/// One of a fixed set of words; another one is noted.
pub(super) fn word<T: Copy>(
    text: &Text<'_>,
    what: &str,
    words: &[(&str, T)],
    findings: &Findings,
) -> Option<T> {
    let found = words
        .iter()
        .find(|(w, _)| *w == text.value)
        .map(|(_, v)| *v);
    if found.is_none() {
        let message = format!("`{}` is no {what}", shorten(text.value));
        let hint = name_hint(text.value, words.iter().map(|(w, _)| *w));
        findings.error(&text.place, message, hint);
    }
    found
}

/// Names of domains, backends, policies, kinds and routes: they stand in logs, metrics and derivations.
pub(super) fn plain_name(name: &Text<'_>, what: &str, findings: &Findings) -> bool {
    let good = !name.value.is_empty()
        && name.value.len() <= 64
        && name
            .value
            .starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        let message = format!("`{}` is no name for a {what}", shorten(name.value));
        findings.error(
            &name.place,
            message,
            "1 to 64 of a-z 0-9 -, a letter or digit first",
        );
    }
    good
}

/// Before the name of a file that the service manager hands over.
const CREDENTIAL: &str = "credential:";

/// Where systemd says that those files are (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// `credential:NAME` is a file that only this process was given.
fn credential(name: &str, text: &Text<'_>, findings: &Findings) -> Option<PathBuf> {
    if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        findings.error(
            &text.place,
            "this is no name of a credential",
            "the name in the unit: LoadCredential=gateway.key:/etc/cryptonym/keys/gateway.key",
        );
        return None;
    }
    let Some(folder) = std::env::var_os(CREDENTIALS) else {
        findings.error(
            &text.place,
            "no credentials were handed to this process",
            format!(
                "systemd does, with LoadCredential= in the unit; to try it by hand: {CREDENTIALS}=/etc/cryptonym/keys cryptonym …"
            ),
        );
        return None;
    };
    Some(Path::new(&folder).join(name))
}

/// A path, relative to the configuration's directory, or a credential.
pub(super) fn path_of(text: &Text<'_>, findings: &Findings) -> Option<PathBuf> {
    if text.value.is_empty() || text.value.contains('\0') {
        findings.error(
            &text.place,
            "this is no path",
            "a file name, relative to this file",
        );
        return None;
    }
    if let Some(name) = text.value.strip_prefix(CREDENTIAL) {
        return credential(name, text, findings);
    }
    Some(text.place.source.base.join(text.value))
}

/// A needed path.
pub(super) fn path(table: &Table<'_>, key: &'static str, example: &str) -> Option<PathBuf> {
    let text = table.require(key, table.text(key), &format!("{key} = \"{example}\""))?;
    path_of(&text, table.findings())
}
