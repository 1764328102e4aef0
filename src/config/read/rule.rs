//! One line of a policy.

use super::super::raw::{Findings, Table, Text};
use super::kind::ReadKinds;
use super::{doors, word};
use crate::config::diagnostic::name_hint;
use crate::policy::{
    Action, Already, Category, Generalise, Mask, Redact, Rule, Scope, Selector, Special,
};
use crate::pseudonym::{Class, KindId};

pub(super) mod scrub;

/// What each action may be given beside `at`, `category`, `special`, `action` and `subject`.
const OPTIONS: [(&str, &[&str]); 8] = [
    ("keep", &[]),
    ("drop", &[]),
    ("reject", &[]),
    ("redact", &["value"]),
    ("mask", &["first", "last", "with"]),
    ("pseudonym", &["kind", "scope", "accept", "already"]),
    ("generalise", &["to", "width", "top", "v4", "v6"]),
    ("scrub", &["find", "country", "kinds"]),
];

const LATER: [&str; 5] = ["seal", "digits", "like", "date-shift", "restore"];

/// Reads one rule; `None` where it has errors.
pub(super) fn read(table: Table<'_>, kinds: &ReadKinds<'_>, complete: bool) -> Option<Rule> {
    let findings = table.findings();
    let at = table.require("at", table.text("at"), "at = \"$.subscriber_id\"");
    let selector = at.as_ref().and_then(|t| self::selector(t, findings));
    let category = table.require(
        "category",
        table.text("category"),
        "category = \"identity\"",
    );
    let category = category.and_then(|t| {
        let words: Vec<_> = Category::ALL.iter().map(|c| (c.name(), *c)).collect();
        word(&t, "category", &words, findings)
    });
    let special = table.text("special").map(|t| {
        let words: Vec<_> = Special::ALL.iter().map(|c| (c.name(), *c)).collect();
        word(&t, "special category", &words, findings)
    });
    let named = table.require("action", table.text("action"), "action = \"pseudonym\"");
    let action = named
        .as_ref()
        .and_then(|t| action(t, &table, kinds, complete));
    let subject = table.boolean("subject").unwrap_or(false);
    let accept = accept(&table);
    let already = already(&table, action.as_ref());
    if let Some(name) = &named {
        misplaced(&table, name);
    }
    if let (Some(Some(special)), Some(action)) = (special, &action)
        && !special.collected()
        && !matches!(action, Action::Drop | Action::Reject)
    {
        let place = named.as_ref().map(|n| n.place.clone());
        findings.error(
            &place.unwrap_or_else(|| table.place.clone()),
            format!(
                "`{}` is not collected: it may not pass in any form (GDPR Art. 5(1)(c), 9(1))",
                special.name()
            ),
            "write action = \"reject\" or action = \"drop\"",
        );
    }
    check_pseudonym(&table, action.as_ref(), kinds, subject, accept);
    if let (Some(at), Some(selector), Some(action)) = (&at, &selector, &action) {
        doors::rule(&table, at, selector, action);
    }
    table.finish();
    Some(Rule {
        at: selector?,
        action: action?,
        category: Some(category?),
        special: special.map_or(Some(None), |s| s.map(Some))?,
        subject,
        accept_frequency: accept,
        already: already?,
    })
}

/// A selector, with errors at the very character.
pub(super) fn selector(text: &Text<'_>, findings: &Findings) -> Option<Selector> {
    match Selector::parse(text.value) {
        Ok(selector) => Some(selector),
        Err(e) => {
            let place = text.place.inside(text.value, e.offset);
            let hint = e
                .hint
                .unwrap_or("$.name, $['a name'], $.list[*].name, $..name, $..*; query:name");
            findings.error(&place, e.message, hint);
            None
        }
    }
}

/// A kind by name.
pub(super) fn kind(
    text: &Text<'_>,
    kinds: &ReadKinds<'_>,
    complete: bool,
    findings: &Findings,
) -> Option<KindId> {
    let found = kinds.kinds.find(text.value);
    if found.is_none() && complete && !kinds.broken.contains(&text.value) {
        let message = format!("there is no kind `{}`", super::shorten(text.value));
        let hint = name_hint(text.value, kinds.kinds.iter().map(|(_, k)| &*k.name));
        findings.error(&text.place, message, hint);
    }
    found
}

fn action(
    name: &Text<'_>,
    table: &Table<'_>,
    kinds: &ReadKinds<'_>,
    complete: bool,
) -> Option<Action> {
    let findings = table.findings();
    match name.value {
        "keep" => Some(Action::Keep),
        "drop" => Some(Action::Drop),
        "reject" => Some(Action::Reject),
        "redact" => Some(Action::Redact(match table.text("value") {
            Some(text) => Redact::Constant(text.value.into()),
            None => Redact::Null,
        })),
        "mask" => mask(table),
        "pseudonym" => {
            let kind_text = table.require("kind", table.text("kind"), "kind = \"subscriber\"");
            let kind = kind_text.and_then(|t| kind(&t, kinds, complete, findings));
            let scope = match table.text("scope") {
                None => Some(Scope::Domain),
                Some(text) if text.value == "subject" => {
                    findings.error(
                        &text.place,
                        "scope `subject` is not in this version",
                        "write scope = \"record\" (random each time) or leave it out",
                    );
                    None
                }
                Some(text) => word(
                    &text,
                    "scope",
                    &[("domain", Scope::Domain), ("record", Scope::Record)],
                    findings,
                ),
            };
            Some(Action::Pseudonym {
                kind: kind?,
                scope: scope?,
            })
        }
        "generalise" => generalise(table).map(Action::Generalise),
        "scrub" => scrub::read(table, kinds, complete).map(Action::Scrub),
        later if LATER.contains(&later) => {
            let hint = if later == "restore" {
                "restore places stand in the policy's own list: restore = [{ at = \"…\", kind = \"…\" }]"
            } else {
                "see docs/policies.md for the actions there are"
            };
            let message = format!("action `{later}` is not in this version's rules");
            findings.error(&name.place, message, hint);
            None
        }
        other => {
            let message = format!("`{}` is no action", super::shorten(other));
            let hint = name_hint(other, OPTIONS.iter().map(|(name, _)| *name));
            findings.error(&name.place, message, hint);
            None
        }
    }
}

fn mask(table: &Table<'_>) -> Option<Action> {
    let count = |key| {
        table
            .integer(key, 0..=64)
            .and_then(|n| u8::try_from(n).ok())
    };
    let with = match table.text("with") {
        None => '*',
        Some(text) => {
            let mut chars = text.value.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) if !c.is_control() => c,
                _ => {
                    let findings = table.findings();
                    findings.error(&text.place, "`with` is one character", "as in with = \"*\"");
                    return None;
                }
            }
        }
    };
    Some(Action::Mask(Mask {
        first: count("first").unwrap_or(0),
        last: count("last").unwrap_or(0),
        with,
    }))
}

fn generalise(table: &Table<'_>) -> Option<Generalise> {
    let to = table.require("to", table.text("to"), "to = \"year\"")?;
    let narrow = |key, range, default: u64| table.integer(key, range).unwrap_or(default);
    let findings = table.findings();
    let words = [
        ("year", 0),
        ("month", 1),
        ("age-band", 2),
        ("outward-postcode", 3),
        ("ip-prefix", 4),
        ("bucket", 5),
    ];
    let which = word(&to, "way to generalise", &words, findings)?;
    let allowed: &[&str] = match which {
        2 => &["width", "top"],
        4 => &["v4", "v6"],
        5 => &["width"],
        _ => &[],
    };
    for key in ["width", "top", "v4", "v6"] {
        if table.has(key) && !allowed.contains(&key) {
            let message = format!("`{key}` says nothing about `{}`", to.value);
            findings.error(&table.place_of(key), message, "remove it");
        }
    }
    Some(match which {
        0 => Generalise::Year,
        1 => Generalise::Month,
        2 => Generalise::AgeBand {
            width: u16::try_from(narrow("width", 2..=100, 10)).ok()?,
            top: u16::try_from(narrow("top", 10..=130, 90)).ok()?,
        },
        3 => Generalise::OutwardPostcode,
        4 => Generalise::IpPrefix {
            v4: u8::try_from(narrow("v4", 1..=24, 24)).ok()?,
            v6: u8::try_from(narrow("v6", 1..=64, 48)).ok()?,
        },
        _ => {
            let width = table.integer("width", 2..=u64::from(u32::MAX));
            let width = table.require("width", width, "width = 10")?;
            Generalise::Bucket {
                width: u32::try_from(width).ok()?,
            }
        }
    })
}

/// `already = "keep"`; `None` where it is wrong.
fn already(table: &Table<'_>, action: Option<&Action>) -> Option<Already> {
    let Some(text) = table.text("already") else {
        return Some(Already::Reject);
    };
    let words = [("reject", Already::Reject), ("keep", Already::Keep)];
    let already = word(&text, "answer to pseudonyms", &words, table.findings())?;
    if let Some(Action::Pseudonym {
        scope: Scope::Record,
        ..
    }) = action
        && already == Already::Keep
    {
        table.findings().error(
            &text.place,
            "a token is random each time: nobody can ask by one",
            "remove `already`, or `scope`",
        );
        return None;
    }
    Some(already)
}

/// `accept = "frequency"`
fn accept(table: &Table<'_>) -> bool {
    let accepted = table.text("accept").and_then(|text| {
        word(
            &text,
            "risk to accept",
            &[("frequency", ())],
            table.findings(),
        )
    });
    accepted.is_some()
}

/// Notes options of another action, and marks all options as known.
fn misplaced(table: &Table<'_>, action: &Text<'_>) {
    let Some((_, own)) = OPTIONS.iter().find(|(name, _)| *name == action.value) else {
        for option in OPTIONS.iter().flat_map(|(_, options)| *options) {
            table.get(option);
        }
        return;
    };
    for (other, options) in OPTIONS {
        for option in options {
            table.get(option);
            if table.has(option) && !own.contains(option) {
                let message = format!(
                    "`{option}` belongs to action `{other}`, not to `{}`",
                    action.value
                );
                table.findings().error(
                    &table.place_of(option),
                    message,
                    "remove it, or change the action",
                );
            }
        }
    }
}

fn check_pseudonym(
    table: &Table<'_>,
    action: Option<&Action>,
    kinds: &ReadKinds<'_>,
    subject: bool,
    accept: bool,
) {
    let findings = table.findings();
    let pseudonym = match action {
        Some(Action::Pseudonym { kind, scope }) => Some((kinds.kinds.get(*kind), *scope)),
        Some(_) => None,
        None => return,
    };
    if subject && !pseudonym.is_some_and(|(k, s)| k.class == Class::Person && s == Scope::Domain) {
        findings.error(
            &table.place_of("subject"),
            "this place cannot name the subject of a record",
            "a subject is a pseudonym of a kind of class person, with scope domain",
        );
    }
    let Some((kind, scope)) = pseudonym else {
        return;
    };
    let countable = kind.class == Class::Vocabulary && scope == Scope::Domain;
    if countable && !accept {
        findings.error(
            &table.place_of("action"),
            format!(
                "pseudonyms of `{}` can be undone by counting: whoever knows how common each value is knows which is which (GDPR recital 26)",
                kind.name
            ),
            "write scope = \"record\", or accept = \"frequency\" if group-by needs it",
        );
    }
    if accept && !countable {
        findings.error(
            &table.place_of("accept"),
            "there is no such risk to accept here",
            "remove it: it is for kinds of class vocabulary with scope domain",
        );
    }
}
