//! Fuzz bodies as plain functions: any bytes in, a panic only for a defect of ours.
//!
//! What enters: arbitrary bytes. What leaves: nothing, or what a whole rewrite gave. What can
//! never happen (each is asserted): the way a body is cut changes its output or its fault; a
//! policy that keeps everything changes a byte; a rewritten body is not valid itself; a selector
//! does not survive being printed.

use std::sync::Arc;

use super::csv::Dialect;
use super::{
    Answer, Csv, EventStream, Form, Found, Json, Ndjson, Options, Scanner, Shape, Tsv, splice,
};
use crate::error::Fault;
use crate::policy::{
    Action, Already, Policy, RecordUnit, Redact, Rule, RuleId, Selector, Unlisted,
};

/// A value that a rule asked for, as a resolver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub rule: RuleId,
    pub shape: Shape,
    pub value: Vec<u8>,
    pub record: u64,
}

/// Rewrites a body that arrives in pieces of the lengths that `cuts` gives (at least one byte
/// each; the rest in one piece when it ends), as a gateway does: a window of what was not
/// released, answers for the slots that are whole, splice. `answer` says what a value becomes.
///
/// # Errors
/// The scanner's fault.
pub fn rewrite(
    scanner: &mut dyn Scanner,
    body: &[u8],
    mut cuts: impl Iterator<Item = usize>,
    answer: impl Fn(&Seen) -> Answer<'static>,
) -> Result<(Vec<u8>, Vec<Seen>), Fault> {
    let (mut out, mut all) = (Vec::new(), Vec::new());
    let (mut found, mut scratch) = (Found::default(), Vec::new());
    let (mut from, mut to) = (0, 0);
    loop {
        to = cuts
            .next()
            .map_or(body.len(), |n| (to + n.max(1)).min(body.len()));
        let window = &body[from..to];
        let last = to == body.len();
        scanner.scan(window, last, &mut found)?;
        let ready = found.ready();
        let slots = &found.slots[..ready];
        let mut answers = Vec::with_capacity(ready);
        for slot in slots {
            if slot.shape == Shape::Extent {
                answers.push(Answer::Nothing);
                continue;
            }
            let raw = &window[slot.start..slot.end];
            let seen = Seen {
                rule: slot.rule,
                shape: slot.shape,
                value: scanner.value(raw, slot.shape, &mut scratch).to_vec(),
                record: slot.record,
            };
            answers.push(answer(&seen));
            all.push(seen);
        }
        splice(scanner, &window[..found.released], slots, answers, &mut out);
        from += found.released;
        found.advance(ready);
        if last {
            assert!(found.slots.is_empty(), "a slot behind the end");
            assert_eq!(from, body.len(), "bytes behind the end");
            return Ok((out, all));
        }
    }
}

/// The scanner of either format.
pub fn scanner(lines: bool, policy: &Arc<Policy>, options: Options) -> Box<dyn Scanner> {
    if lines {
        Box::new(Ndjson::new(Arc::clone(policy), options))
    } else {
        Box::new(Json::new(Arc::clone(policy), options))
    }
}

/// A policy from selectors and actions; the other fields of its rules play no part in scanning.
///
/// # Panics
/// If a selector does not parse or the rules do not compile.
pub fn policy(unlisted: Unlisted, record: RecordUnit, rules: &[(&str, Action)]) -> Arc<Policy> {
    let rules = rules
        .iter()
        .map(|(at, action)| Rule {
            at: Selector::parse(at).expect("a selector"),
            action: action.clone(),
            category: None,
            special: None,
            subject: false,
            accept_frequency: false,
            already: Already::Reject,
        })
        .collect();
    Arc::new(Policy::compile("fuzz", unlisted, record, rules).expect("a policy"))
}

/// Policies that between them use every verdict.
pub fn policies() -> Vec<Arc<Policy>> {
    let redact = || Action::Redact(Redact::Constant("-".into()));
    let mut all = Vec::new();
    for record in [
        RecordUnit::Auto,
        RecordUnit::Document,
        RecordUnit::Unbounded,
    ] {
        for unlisted in [Unlisted::Keep, Unlisted::Drop, Unlisted::Reject] {
            all.push(policy(unlisted, record, &[]));
            all.push(policy(
                unlisted,
                record,
                &[
                    ("$.a.b", Action::Drop),
                    ("$.c[*]", Action::Drop),
                    ("$..e", redact()),
                    ("$..f", Action::Keep),
                    ("$.a", Action::Keep),
                    ("$['']", Action::Reject),
                    ("$.*.*", redact()),
                    ("$.c..*", Action::Keep),
                ],
            ));
        }
        all.push(policy(
            Unlisted::Reject,
            record,
            &[("$..a", redact()), ("$", Action::Keep)],
        ));
        all.push(policy(
            Unlisted::Drop,
            record,
            &[("$..a", Action::Drop), ("$", Action::Keep)],
        ));
        all.push(policy(Unlisted::Keep, record, &[("$", Action::Drop)]));
        all.push(policy(Unlisted::Keep, record, &[("$", redact())]));
    }
    all
}

/// Small bounds, so that small inputs reach them.
const TIGHT: Options = Options {
    record: 90,
    depth: 6,
    value: 24,
};

/// A body of JSON under every policy, cut in several ways.
pub fn json(body: &[u8]) {
    body_of(false, body);
}

/// A body of NDJSON under every policy, cut in several ways.
pub fn ndjson(body: &[u8]) {
    body_of(true, body);
}

/// An event stream under every policy, cut in several ways.
pub fn events(body: &[u8]) {
    let answer = |_: &Seen| Answer::Text("new \"text\"\n\r");
    for options in [Options::default(), TIGHT] {
        for policy in policies() {
            every_cut(body, &policy, answer, |first, policy| {
                let options = if first { options } else { Options::default() };
                Box::new(EventStream::new(policy, options))
            });
        }
    }
}

/// A form under policies that use every verdict, cut in several ways.
pub fn form(body: &[u8]) {
    let constant = |_: &Seen| Answer::Text("new \"text\" & more");
    for options in [Options::default(), TIGHT] {
        for policy in form_policies() {
            let run = |cut: usize| {
                let mut scanner = Form::new(Arc::clone(&policy), options);
                rewrite(&mut scanner, body, std::iter::repeat(cut), constant)
            };
            let whole = run(usize::MAX - body.len());
            for cut in [1, 2, 3, 7, 64].into_iter().filter(|c| *c < body.len()) {
                assert_eq!(run(cut), whole, "cut into {cut} under {:?}", policy.rules);
            }
            let Ok((out, _)) = whole else { continue };
            if policy.rules.is_empty() && policy.unlisted == Unlisted::Keep {
                assert_eq!(out, body);
            }
            let keep = self::policy(Unlisted::Keep, RecordUnit::Document, &[]);
            let mut again = Form::new(keep, Options::default());
            let checked = rewrite(&mut again, &out, std::iter::empty(), constant);
            assert!(checked.is_ok(), "{checked:?} under {:?}", policy.rules);
        }
    }
}

fn form_policies() -> Vec<Arc<Policy>> {
    let redact = || Action::Redact(Redact::Constant("-".into()));
    let mut all = Vec::new();
    for record in [RecordUnit::Auto, RecordUnit::Unbounded] {
        for unlisted in [Unlisted::Keep, Unlisted::Drop, Unlisted::Reject] {
            all.push(policy(unlisted, record, &[]));
            let rules = [
                ("form:a", redact()),
                ("form:['']", redact()),
                ("form:b", Action::Drop),
                ("form:c", Action::Keep),
                ("form:d", Action::Reject),
            ];
            all.push(policy(unlisted, record, &rules));
        }
        all.push(policy(Unlisted::Reject, record, &[("form:*", redact())]));
        all.push(policy(
            Unlisted::Reject,
            record,
            &[("form:*", Action::Drop)],
        ));
    }
    all
}

/// Policies for rows, that between them use every verdict.
pub fn row_policies() -> Vec<Arc<Policy>> {
    let redact = || Action::Redact(Redact::Constant("-".into()));
    let (unit, keep) = (RecordUnit::Auto, Unlisted::Keep);
    let mut all = Vec::new();
    for unlisted in [Unlisted::Keep, Unlisted::Drop, Unlisted::Reject] {
        all.push(policy(unlisted, unit, &[]));
        let rules = [
            ("$.a", redact()),
            ("$.b", Action::Drop),
            ("$['c d']", Action::Keep),
            ("$.e", Action::Reject),
            ("$[0]", redact()),
            ("$[1]", Action::Drop),
            ("$[2]", Action::Keep),
            ("$[5]", Action::Reject),
        ];
        all.push(policy(unlisted, unit, &rules));
    }
    all.push(policy(keep, unit, &[("$.*", redact())]));
    all.push(policy(
        keep,
        unit,
        &[
            ("$.a", redact()),
            ("$[0]", redact()),
            ("$[*]", Action::Drop),
        ],
    ));
    all.push(policy(
        Unlisted::Reject,
        unit,
        &[("$..a", redact()), ("$", Action::Keep)],
    ));
    all.push(policy(keep, unit, &[("$", Action::Drop)]));
    all.push(policy(keep, unit, &[("$", redact())]));
    all
}

/// A body of CSV in two dialects under every policy for rows, cut in several ways.
pub fn csv(body: &[u8]) {
    for (delimiter, header) in [(b',', true), (b';', false)] {
        rows(body, |policy, options, first| {
            let header = header && first;
            Box::new(Csv::new(policy, options, Dialect { delimiter, header }))
        });
    }
}

/// A body of TSV, with a header and without, under every policy for rows, cut in several ways.
pub fn tsv(body: &[u8]) {
    for header in [true, false] {
        rows(body, |policy, options, first| {
            Box::new(Tsv::new(policy, options, header && first))
        });
    }
}

/// `scanner`: for the first rewrite, or for reading its output again, when a kept name may stand
/// alone and be empty.
fn rows(body: &[u8], scanner: impl Fn(Arc<Policy>, Options, bool) -> Box<dyn Scanner>) {
    let answer = |seen: &Seen| match seen.value.len() % 4 {
        0 => Answer::Text("new, \"text\"\t\\;\n"),
        1 => Answer::Word(b"sub_1_x"),
        2 => Answer::Null,
        _ => Answer::Keep,
    };
    for options in [Options::default(), TIGHT] {
        for policy in row_policies() {
            every_cut(body, &policy, answer, |first, policy| match first {
                true => scanner(policy, options, true),
                false => scanner(policy, Options::default(), false),
            });
        }
    }
}

/// The text of a selector.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Selector::parse(text) {
        Err(error) => assert!(error.offset <= text.len() && text.is_char_boundary(error.offset)),
        Ok(selector) => {
            let printed = selector.to_string();
            assert_eq!(
                Selector::parse(&printed).as_ref(),
                Ok(&selector),
                "{printed}"
            );
            // One selector can only fail for its number of states.
            let _ = crate::policy::Automaton::compile(std::iter::once(&selector));
        }
    }
}

fn body_of(lines: bool, body: &[u8]) {
    for options in [Options::default(), TIGHT] {
        for policy in policies() {
            let answer = |_: &Seen| Answer::Text("new \"text\"");
            every_cut(body, &policy, answer, |first, policy| match first {
                true => scanner(lines, &policy, options),
                false => scanner(lines, &policy, Options::default()),
            });
        }
    }
}

/// `scanner`: for the body (`true`), and for its output under a policy that keeps everything.
fn every_cut(
    body: &[u8],
    policy: &Arc<Policy>,
    answer: impl Fn(&Seen) -> Answer<'static>,
    scanner: impl Fn(bool, Arc<Policy>) -> Box<dyn Scanner>,
) {
    let run = |cut: usize| {
        let mut scanner = scanner(true, Arc::clone(policy));
        rewrite(&mut *scanner, body, std::iter::repeat(cut), &answer)
    };
    let whole = run(usize::MAX - body.len());
    for cut in [1, 2, 3, 7, 64, 65, 100, 1000]
        .into_iter()
        .filter(|cut| *cut < body.len())
    {
        assert_eq!(run(cut), whole, "cut into {cut} under {:?}", policy.rules);
    }
    let Ok((out, _)) = whole else { return };
    if policy.rules.is_empty() && policy.unlisted == Unlisted::Keep {
        assert_eq!(out, body);
    }
    let keep = self::policy(Unlisted::Keep, RecordUnit::Document, &[]);
    let mut again = scanner(false, keep);
    let checked = rewrite(&mut *again, &out, std::iter::empty(), &answer);
    let rules = &policy.rules;
    assert!(
        checked.is_ok(),
        "{checked:?} from the output under {rules:?}"
    );
}
