//! What rules ask of each other: values that depend on a record's subject, and dates beside shifted
//! ones.
//!
//! What enters: the rules of a policy as read; then routes with their policies. What leaves:
//! findings. What can never happen: a value waits for a subject that no rule of its record can
//! name, or a date that is known to be one passes beside a shifted one.

use super::super::raw::{Findings, Place, Table};
use super::{Names, route};
use crate::policy::{Action, Door, Generalise, RecordUnit, Rule, Step, Unlisted};
use crate::pseudonym::KindId;

/// A rule with what only its line says.
pub(super) struct Line<'a> {
    /// Where its action stands.
    pub action: Place<'a>,
    /// Where `subject` stands, else the whole line.
    pub subject: Place<'a>,
    /// What `date` says about the place, if anything.
    pub date: Option<bool>,
}

impl<'a> Line<'a> {
    pub(super) fn read(table: &Table<'a>) -> Self {
        Self {
            action: table.place_of("action"),
            subject: table.place_of("subject"),
            date: table.boolean("date"),
        }
    }
}

/// Notes what is wrong between the rules of one policy. `here`: where `unlisted` stands.
pub(super) fn check(
    rules: &[Rule],
    lines: &[Line<'_>],
    (record, unlisted, here): (Option<RecordUnit>, Option<Unlisted>, &Place<'_>),
    findings: &Findings,
) {
    let both = || rules.iter().zip(lines);
    one_kind(both(), findings);
    for (rule, line) in both().filter(|(rule, _)| rule.action.wants_subject()) {
        if record == Some(RecordUnit::Unbounded) && whole(rule.at.door) != Whole::Head {
            findings.error(
                &line.action,
                "this depends on the record's subject, and here a record leaves before it is whole",
                "write record = \"auto\" or \"document\" in the policy",
            );
        } else if !both().any(|(r, _)| r.subject && whole(r.at.door) == whole(rule.at.door)) {
            let elsewhere = both().find(|(r, _)| r.subject);
            findings.error(
                &line.action,
                "this depends on the record's subject, and no rule says where that stands",
                match elsewhere {
                    None => "write subject = true in the rule of the subject's identifier".to_owned(),
                    Some((other, line)) => format!(
                        "`{}` (line {}) is of another part of the message, which is a record of its own: write subject = true in a rule of the same part",
                        other.at,
                        line.subject.line()
                    ),
                },
            );
        }
    }
    let days = |rule: &Rule| match rule.action {
        Action::DateShift { days } => Some(days),
        _ => None,
    };
    let mut shifting = both().filter_map(|(rule, line)| Some((days(rule)?, line)));
    let Some((first, line_of_first)) = shifting.next() else {
        return;
    };
    for (_, line) in shifting.filter(|(days, _)| *days != first) {
        findings.error(
            &line.action,
            "two rules shift dates by different numbers of days: the time between them would be lost",
            format!("write days = {first}, as in line {}", line_of_first.action.line()),
        );
    }
    if unlisted == Some(Unlisted::Keep) {
        findings.error(
            here,
            "what no rule names passes, dates too, beside dates that are shifted: one true date gives all away",
            "write unlisted = \"reject\" or \"drop\"",
        );
    }
    for (rule, line) in both() {
        beside(rule, line, line_of_first, findings);
    }
}

/// A true date beside shifted ones.
fn beside(rule: &Rule, line: &Line<'_>, shifted: &Line<'_>, findings: &Findings) {
    let tells = matches!(
        rule.action,
        Action::Keep | Action::Mask(_) | Action::Generalise(Generalise::Month)
    );
    if matches!(rule.action, Action::DateShift { .. }) && line.date == Some(false) {
        findings.error(
            &line.action,
            "this rule shifts dates, and says that there is none",
            "remove `date`",
        );
    } else if tells && line.date.unwrap_or_else(|| named_as_date(rule)) {
        findings.error(
            &line.action,
            format!(
                "`{}` shows a true date beside shifted ones (line {}): it gives all of the subject's away",
                rule.at,
                shifted.action.line()
            ),
            "write action = \"date-shift\", or generalise to year; if no date stands there, date = false",
        );
    }
}

/// The parts of a message that are records of their own.
#[derive(PartialEq, Eq)]
enum Whole {
    Body,
    Form,
    Head,
}

fn whole(door: Door) -> Whole {
    match door {
        Door::Body => Whole::Body,
        Door::Form => Whole::Form,
        Door::Query | Door::Path | Door::Cookie | Door::Header | Door::Trailer => Whole::Head,
    }
}

/// One subject under two kinds would be two subjects.
fn one_kind<'r, 'a: 'r>(
    rules: impl Iterator<Item = (&'r Rule, &'r Line<'a>)>,
    findings: &Findings,
) {
    let mut first: Option<(KindId, usize)> = None;
    for (rule, line) in rules.filter(|(rule, _)| rule.subject) {
        let Action::Pseudonym { kind, .. } = rule.action else {
            continue;
        };
        match first {
            None => first = Some((kind, line.subject.line())),
            Some((known, at)) if known != kind => findings.error(
                &line.subject,
                "a second kind names the subject",
                format!("line {at} names it by another kind; a policy's subjects are of one kind"),
            ),
            Some(_) => {}
        }
    }
}

/// Whether the place's own name says that a date or a time is there: one of the words that it is
/// made of, as in `collected_at`, `dateOfBirth`, `DOB`.
fn named_as_date(rule: &Rule) -> bool {
    const WORDS: [&str; 21] = [
        "date",
        "dates",
        "datetime",
        "day",
        "month",
        "time",
        "times",
        "timestamp",
        "timestamps",
        "ts",
        "dob",
        "dod",
        "birth",
        "birthday",
        "birthdate",
        "born",
        "died",
        "death",
        "when",
        "since",
        "until",
    ];
    // Only at the end, and not alone.
    const LAST: [&str; 2] = ["at", "on"];
    let Some(Step::Child(name) | Step::Descendant(name)) = rule.at.steps.last() else {
        return false;
    };
    let words = words(name);
    let last = words.len() > 1 && words.last().is_some_and(|w| LAST.contains(&w.as_str()));
    last || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// The words of a name, in lower case: apart by what is no letter, or by a capital behind a small
/// letter.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for char in name.chars() {
        if !char.is_alphabetic() || (small && char.is_uppercase()) {
            words.push(String::new());
        }
        if char.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(char.to_lowercase());
        }
        small = char.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Notes routes of one domain that shift dates by different numbers of days.
pub(super) fn check_domains(routes: &[route::Read<'_>], names: &Names<'_>, findings: &Findings) {
    let mut known: Vec<(usize, u16, &str)> = Vec::new();
    for (read, at) in routes
        .iter()
        .flat_map(|r| r.route.rewrites().map(move |at| (r, at)))
    {
        let policy = names.policies.get(at).and_then(|p| p.part.as_ref());
        let days = policy.and_then(|read| read.policy.shifts());
        let (Some(domain), Some(days)) = (read.route.domain, days) else {
            continue;
        };
        match known.iter().find(|(of, ..)| *of == domain) {
            None => known.push((domain, days, read.name.value)),
            Some((_, first, _)) if *first == days => {}
            Some((_, first, other)) => findings.error(
                &read.request,
                format!(
                    "dates are shifted by up to {days} days here and {first} on route `{other}`, in one domain: the time between them would be lost"
                ),
                "write the same `days` in both policies",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Already, Selector};

    #[test]
    fn formats_07_names_that_say_date_are_known() {
        let says = |at: &str| {
            named_as_date(&Rule {
                at: Selector::parse(at).unwrap(),
                action: Action::Keep,
                category: None,
                special: None,
                subject: false,
                accept_frequency: false,
                already: Already::Reject,
            })
        };
        for at in [
            "$.collected_at",
            "$.collectedAt",
            "$.date",
            "$.dateOfBirth",
            "$.DOB",
            "$..visit_date",
            "$['Sample Date']",
            "$.a['created-on']",
            "query:since",
            "$.time2",
            "$.results[*].timestamp",
        ] {
            assert!(says(at), "{at}");
        }
        for at in [
            "$.at",
            "$.on",
            "$.candidate",
            "$.update",
            "$.format",
            "$.value",
            "$.results[*]..*",
            "$.*",
            "$.mandate",
            "$.sometimes",
            "$[0]",
        ] {
            assert!(!says(at), "{at}");
        }
    }
}
