//! `[policy.NAME]`: rules, and the places of a response where identifiers come back.

use super::super::raw::{Place, Table, Text};
use super::kind::ReadKinds;
use super::{Named, doors, plain_name, rule, word};
use crate::policy::{
    Action, Already, Door, Policy, PolicyError, RecordUnit, Rule, Scope, Unlisted,
};

/// A policy as read: itself, and what is made of it for responses.
pub(super) struct Read<'a> {
    pub policy: Policy,
    /// Where each rule stands.
    pub places: Vec<Place<'a>>,
    /// Where its `at` stands.
    pub marks: Vec<Place<'a>>,
    /// `restore-own`: only `Restore` rules, `unlisted = keep`. `None`: nothing to restore.
    pub restore: Option<Policy>,
}

/// Every policy of every file, in order.
pub(super) fn all<'a>(
    root: &Table<'a>,
    parts: &[Table<'a>],
    kinds: &ReadKinds<'a>,
    complete: bool,
) -> Vec<Named<'a, Read<'a>>> {
    let findings = root.findings();
    let tables: Vec<_> = std::iter::once(root)
        .chain(parts)
        .flat_map(|t| t.named("policy"))
        .collect();
    let mut all: Vec<Named<'a, Read<'a>>> = Vec::new();
    for (name, table) in tables {
        if let Some(first) = all.iter().find(|p| p.name.value == name.value) {
            let place = &first.name.place;
            let hint = format!(
                "the first stands in {}, line {}",
                place.source.name,
                place.line()
            );
            findings.error(
                &name.place,
                format!("policy `{}` stands twice", name.value),
                hint,
            );
            continue;
        }
        let good = plain_name(&name, "policy", findings);
        let part = read(&name, table, kinds, complete).filter(|_| good);
        all.push(Named { name, part });
    }
    all
}

fn read<'a>(
    name: &Text<'a>,
    table: Table<'a>,
    kinds: &ReadKinds<'a>,
    complete: bool,
) -> Option<Read<'a>> {
    let findings = table.findings();
    let unlisted = match table.text("unlisted") {
        Some(text) => word(
            &text,
            "answer to unlisted places",
            &[
                ("reject", Unlisted::Reject),
                ("drop", Unlisted::Drop),
                ("keep", Unlisted::Keep),
            ],
            findings,
        ),
        None => Some(Unlisted::Reject),
    };
    let record = match table.text("record") {
        Some(text) => word(
            &text,
            "record",
            &[
                ("auto", RecordUnit::Auto),
                ("document", RecordUnit::Document),
                ("unbounded", RecordUnit::Unbounded),
            ],
            findings,
        ),
        None => Some(RecordUnit::Auto),
    };
    let tables = table.tables("rules", "a rule");
    if table.lists_nothing("rules") {
        findings.error(
            &table.place_of("rules"),
            format!("policy `{}` has no rules", name.value),
            "write rules = [{ at = \"$.…\", category = \"…\", action = \"…\" }]",
        );
    }
    let count = tables.len();
    let places: Vec<_> = tables.iter().map(|t| t.place.clone()).collect();
    let marks: Vec<_> = tables.iter().map(|t| t.place_of("at")).collect();
    let marks_of_rules = marks.clone();
    let rules: Vec<Rule> = tables
        .into_iter()
        .filter_map(|t| rule::read(t, kinds, complete))
        .collect();
    let restore_rules = read_restore(&table, kinds, complete);
    let own_restore = table.has("restore");
    let restore_place = table.place_of("restore");
    let whole = rules.len() == count && count > 0;
    if whole {
        one_subject(&rules, &places, &table);
        for (rule, place) in rules.iter().zip(&places) {
            if let (Action::Scrub(scrub), Some(record)) = (&rule.action, record) {
                rule::scrub::check_record(scrub, record, place, findings);
            }
        }
    }
    let at = name.place.clone();
    table.finish();
    let (restore_rules, restore_marks) = restore_rules?;
    if !whole {
        return None;
    }
    if own_restore {
        idle_restores(&restore_rules, &restore_marks, &rules, findings);
    }
    let restore_rules = if own_restore {
        restore_rules
    } else {
        own_places(&rules)
    };
    let policy = compile(name.value, unlisted?, record?, rules, &marks, &at, findings)?;
    let restore = match restore_rules {
        rules if rules.is_empty() => None,
        rules => {
            let marks = if own_restore { &restore_marks } else { &marks };
            let named = format!("{} (restore)", name.value);
            // The policy's own places may shadow one another here, since all do the same.
            let rules = if own_restore {
                rules
            } else {
                without_shadowed(rules, &named)
            };
            let at = if own_restore { &restore_place } else { &at };
            Some(compile(
                &named,
                Unlisted::Keep,
                record?,
                rules,
                marks,
                at,
                findings,
            )?)
        }
    };
    Some(Read {
        policy,
        places,
        marks: marks_of_rules,
        restore,
    })
}

type Restore<'a> = (Vec<Rule>, Vec<Place<'a>>);

/// `restore = [{ at = "$..subscriber_id", kind = "subscriber" }]`
fn read_restore<'a>(
    table: &Table<'a>,
    kinds: &ReadKinds<'_>,
    complete: bool,
) -> Option<Restore<'a>> {
    let findings = table.findings();
    let tables = table.tables("restore", "a restore place");
    let count = tables.len();
    let marks = tables.iter().map(|t| t.place_of("at")).collect();
    let rules: Vec<Rule> = tables
        .into_iter()
        .filter_map(|place| {
            let at = place.require("at", place.text("at"), "at = \"$..subscriber_id\"");
            let at = at.and_then(|t| doors::body_only(&t, rule::selector(&t, findings)?, findings));
            let kind = place.require("kind", place.text("kind"), "kind = \"subscriber\"");
            let kind = kind.and_then(|t| rule::kind(&t, kinds, complete, findings));
            place.finish();
            Some(restoring(at?, kind?))
        })
        .collect();
    (rules.len() == count).then_some((rules, marks))
}

/// A place that waits for a kind which no rule makes.
fn idle_restores(
    restore: &[Rule],
    marks: &[Place<'_>],
    rules: &[Rule],
    findings: &super::Findings,
) {
    let made = |wanted| rules.iter().any(|rule| rule.action.makes(wanted));
    for (rule, mark) in restore.iter().zip(marks) {
        if let Action::Restore { kind } = rule.action
            && !made(kind)
        {
            findings.warn(
                mark,
                "nothing will ever come back here: no rule makes pseudonyms of this kind",
                "remove it, or correct the kind",
            );
        }
    }
}

/// The places of the request at which this policy makes pseudonyms.
fn own_places(rules: &[Rule]) -> Vec<Rule> {
    rules
        .iter()
        .filter(|rule| rule.at.door == Door::Body)
        .filter_map(|rule| match rule.action {
            Action::Pseudonym {
                kind,
                scope: Scope::Domain,
            } => Some(restoring(rule.at.clone(), kind)),
            _ => None,
        })
        .collect()
}

fn restoring(at: crate::policy::Selector, kind: crate::pseudonym::KindId) -> Rule {
    Rule {
        at,
        action: Action::Restore { kind },
        category: None,
        special: None,
        subject: false,
        accept_frequency: false,
        already: Already::Reject,
    }
}

/// Leaves out derived restore rules that an earlier one covers.
fn without_shadowed(mut rules: Vec<Rule>, name: &str) -> Vec<Rule> {
    while let Err(errors) = Policy::compile(name, Unlisted::Keep, RecordUnit::Auto, rules.clone()) {
        let shadowed = errors.iter().filter_map(|e| match e {
            PolicyError::Shadowed { rule, .. } => Some(*rule),
            _ => None,
        });
        match shadowed.max() {
            Some(at) if at < rules.len() => drop(rules.remove(at)),
            _ => break,
        }
    }
    rules
}

fn compile(
    name: &str,
    unlisted: Unlisted,
    record: RecordUnit,
    rules: Vec<Rule>,
    marks: &[Place<'_>],
    at: &Place<'_>,
    findings: &super::Findings,
) -> Option<Policy> {
    let errors = match Policy::compile(name, unlisted, record, rules) {
        Ok(policy) => return Some(policy),
        Err(errors) => errors,
    };
    for error in errors {
        match error {
            PolicyError::Shadowed { rule, by } => {
                let place = marks.get(rule).unwrap_or(at);
                let line = marks.get(by).map_or(0, Place::line);
                findings.error(
                    place,
                    "this rule can never match",
                    format!("the first match wins, and earlier rules match every such place: see line {line}; put the narrower rule first"),
                );
            }
            other => findings.error(
                at,
                format!("policy `{name}` cannot be compiled: {other}"),
                "split the policy",
            ),
        }
    }
    None
}

fn one_subject(rules: &[Rule], places: &[Place<'_>], table: &Table<'_>) {
    let mut subjects = rules.iter().zip(places).filter(|(r, _)| r.subject);
    if let (Some((_, first)), Some((_, second))) = (subjects.next(), subjects.next()) {
        let hint = format!(
            "line {} names it already; a record has one subject",
            first.line()
        );
        table
            .findings()
            .error(second, "a second place names the subject", hint);
    }
}
