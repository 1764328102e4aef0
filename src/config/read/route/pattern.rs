//! Path patterns and their conflicts.

use super::super::super::raw::{Findings, Text};
use crate::limits;

/// The names of a pattern's captures: `/v1/subscribers/{id}`, `/static/{*rest}`.
pub(super) fn captures<'a>(path: &Text<'a>, findings: &Findings) -> Option<Vec<&'a str>> {
    let error = |offset, message: &str, hint: &str| {
        let place = path.place.inside(path.value, offset);
        findings.error(&place, message, hint);
    };
    let value = path.value;
    if !value.starts_with('/') {
        error(0, "a path starts with /", "as in path = \"/v1/results\"");
        return None;
    }
    if value.len() > limits::PATH_PATTERN {
        error(0, "the path is too long", "at most 2048 bytes");
        return None;
    }
    if let Some(at) = value.find(|c: char| !c.is_ascii_graphic() || "?#%\\\"<>^`|".contains(c)) {
        error(
            at,
            "this character cannot stand in a path pattern",
            "paths are matched as sent: no query, no fragment, no escapes",
        );
        return None;
    }
    let mut offset = 1;
    for segment in value[1..].split('/') {
        let last = offset + segment.len() == value.len();
        if (segment.is_empty() && !last) || matches!(segment, "." | "..") {
            error(
                offset,
                "this segment would never match",
                "such paths are refused before routing",
            );
            return None;
        }
        offset += segment.len() + 1;
    }
    let mut names = Vec::new();
    let mut rest = value;
    while let Some(open) = rest.find('{') {
        let at = value.len() - rest.len() + open;
        let inner = &rest[open + 1..];
        if let Some(behind) = inner.strip_prefix('{') {
            rest = behind;
            continue;
        }
        let Some(close) = inner.find('}') else {
            error(
                at,
                "this capture has no end",
                "captures are written {name} or {*rest}",
            );
            return None;
        };
        let name = inner[..close].strip_prefix('*').unwrap_or(&inner[..close]);
        if names.contains(&name) {
            error(
                at,
                "this capture stands here twice",
                "give each capture a name of its own",
            );
            return None;
        }
        names.push(name);
        rest = &inner[close + 1..];
    }
    Some(names)
}

/// All patterns so far, by host, with the methods of each.
#[derive(Default)]
pub(super) struct Paths<'a> {
    hosts: Vec<(Option<&'a str>, matchit::Router<usize>)>,
    routes: Vec<(Text<'a>, Option<&'a str>, Vec<String>)>,
}

impl<'a> Paths<'a> {
    /// Notes a pattern that the router cannot hold beside the others, or that another route has
    /// for the same method.
    pub(super) fn add(
        &mut self,
        host: Option<&'a str>,
        path: &Text<'a>,
        methods: &[String],
        findings: &Findings,
    ) {
        let same = self.routes.iter().find(|(p, h, m)| {
            p.value == path.value
                && *h == host
                && (m.is_empty() || methods.is_empty() || m.iter().any(|m| methods.contains(m)))
        });
        if let Some((first, _, _)) = same {
            let hint = format!(
                "the first stands in line {}; give them different methods, hosts or paths",
                first.place.line()
            );
            findings.error(
                &path.place,
                "another route has this path for the same method",
                hint,
            );
        }
        let known = self
            .routes
            .iter()
            .any(|(p, h, _)| p.value == path.value && *h == host);
        self.routes.push((path.clone(), host, methods.to_vec()));
        if known {
            return;
        }
        let at = match self.hosts.iter().position(|(h, _)| *h == host) {
            Some(at) => at,
            None => {
                self.hosts.push((host, matchit::Router::new()));
                self.hosts.len() - 1
            }
        };
        let place = self.routes.len() - 1;
        if let Err(e) = self.hosts[at].1.insert(path.value, place) {
            let (message, hint) = explain(&e);
            findings.error(&path.place, message, hint);
        }
    }
}

fn explain(error: &matchit::InsertError) -> (String, String) {
    match error {
        matchit::InsertError::Conflict { with } => (
            format!("this path and `{with}` match the same requests"),
            "use the same capture names in both, or different paths".to_owned(),
        ),
        matchit::InsertError::InvalidParamSegment => (
            "a segment has at most one capture".to_owned(),
            "as in /v1/{id}/results".to_owned(),
        ),
        matchit::InsertError::InvalidCatchAll => (
            "{*rest} stands at the end of a path, behind a /".to_owned(),
            "as in /static/{*rest}".to_owned(),
        ),
        _ => (
            "a capture needs a name and both its braces".to_owned(),
            "as in /v1/{id}; a brace itself is written {{ or }}".to_owned(),
        ),
    }
}
