//! Rules about places outside the body: what they can mean at all, and on a route.

use super::super::raw::{Findings, Table, Text};
use super::policy::Read;
use super::route::head::may_be_ruled;
use crate::policy::{Action, Door, Generalise, Redact, Selector};

/// Notes what a rule cannot do at its place.
pub(super) fn rule(table: &Table<'_>, at: &Text<'_>, selector: &Selector, action: &Action) {
    let findings = table.findings();
    let here = || table.place_of("action");
    match selector.door {
        Door::Body | Door::Query | Door::Form | Door::Cookie => {}
        Door::Header | Door::Trailer => {
            let named = selector.to_string();
            let name = named.split_once(':').map_or("", |(_, name)| name);
            if !may_be_ruled(name) {
                findings.error(
                    &at.place,
                    "no rule can say what becomes of this field",
                    match name {
                        "cookie" | "set-cookie" => "cookies have places of their own: cookie:name",
                        _ => "the gateway makes, drops or judges it itself: see docs/http.md",
                    },
                );
            }
            let passes = matches!(action, Action::Keep | Action::Drop);
            if selector.door == Door::Trailer && !passes {
                findings.error(
                    &here(),
                    "a trailer comes when the message has left: it passes or it does not",
                    "write action = \"keep\" or \"drop\"",
                );
            }
        }
        Door::Path => {
            if let Some((message, hint)) = no_segment(action) {
                findings.error(&here(), message, hint);
            }
        }
    }
}

/// Why an action's answer cannot stand in a path.
fn no_segment(action: &Action) -> Option<(&'static str, &'static str)> {
    // What the head's own check would refuse.
    let odd = |c: char| c.is_control() || "/\\%;".contains(c);
    match action {
        Action::Drop | Action::Redact(Redact::Null) => Some((
            "a path cannot do without its segment",
            "write action = \"reject\", or redact with a `value`",
        )),
        Action::Redact(Redact::Constant(text))
            if text.is_empty() || matches!(&**text, "." | "..") || text.contains(odd) =>
        {
            Some((
                "this value would be another path",
                "letters, digits, - and _, as in value = \"removed\"",
            ))
        }
        Action::Mask(mask) if odd(mask.with) || mask.with == '.' => Some((
            "this character would make another path",
            "write with = \"*\"",
        )),
        Action::Generalise(Generalise::IpPrefix { .. }) => Some((
            "a network is written with a slash, which would be another path",
            "pseudonymise or redact it",
        )),
        _ => None,
    }
}

/// Restore places stand in bodies.
pub(super) fn body_only(
    text: &Text<'_>,
    selector: Selector,
    findings: &Findings,
) -> Option<Selector> {
    if selector.door == Door::Body {
        return Some(selector);
    }
    findings.error(
        &text.place,
        "nothing is restored outside the body of an answer",
        "write a place of the body: $..subscriber_id",
    );
    None
}

/// Notes rules that have no place on this route, and places that both it and a rule speak of.
/// `lists`: what the route lets pass at each door, under the key that says so.
pub(super) fn route(
    table: &Table<'_>,
    read: &Read<'_>,
    name: &str,
    pattern: Option<&[&str]>,
    lists: &[(Door, &'static str, &[String])],
) {
    let findings = table.findings();
    let mark = |rule: crate::policy::RuleId| read.marks.get(usize::from(rule.0));
    if let Some(pattern) = pattern {
        for (capture, rule) in read.policy.doors.names(Door::Path) {
            if let (false, Some(mark)) = (pattern.contains(&capture), mark(rule)) {
                findings.error(
                    mark,
                    format!("the path of route `{name}` captures no `{capture}`"),
                    match pattern {
                        [] => "it has no captures; they are written /{name}".to_owned(),
                        some => format!("it captures: {}", some.join(", ")),
                    },
                );
            }
        }
    }
    for (door, key, names) in lists {
        for listed in *names {
            let rule = read.policy.doors.named(*door, listed.as_bytes());
            if let Some(mark) = rule.and_then(mark) {
                findings.error(
                    &table.place_of(key),
                    format!("`{listed}` passes here, and the policy has a rule for it"),
                    format!(
                        "remove it here: line {} says what becomes of {}:{listed}",
                        mark.line(),
                        door.name(),
                    ),
                );
            }
        }
    }
}
