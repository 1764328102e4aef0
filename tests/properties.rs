//! Properties of scanning and splicing that hold for every body, policy and way of cutting.
//!
//! `path_17_…`: generated bodies, an independent parser as oracle, and the fuzz bodies replayed
//! over `tests/corpus`. What the oracle accepts and we refuse is listed in `stricter`.

use std::sync::Arc;

use cryptonym::error::{Code, Fault};
use cryptonym::format::fuzz::{self, Seen, policy, rewrite, scanner};
use cryptonym::format::{Answer, Options, Shape};
use cryptonym::policy::{Action, Policy, RecordUnit, Redact, Unlisted};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;

mod support {
    pub mod corpus;
}
use support::corpus::replay;

fn redact() -> Action {
    Action::Redact(Redact::Constant("-".into()))
}

fn keep(record: RecordUnit) -> Arc<Policy> {
    policy(Unlisted::Keep, record, &[])
}

type Rewritten = Result<(Vec<u8>, Vec<Seen>), Fault>;

fn run(lines: bool, policy: &Arc<Policy>, body: &[u8], cuts: &[usize]) -> Rewritten {
    let mut scanner = scanner(lines, policy, Options::default());
    rewrite(&mut *scanner, body, cuts.iter().copied(), |_| {
        Answer::Text("\u{1F600}\"new\"")
    })
}

// --- bodies --------------------------------------------------------------------------------

/// White space between tokens.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(String::new()),
        2 => "[ \t]{1,3}",
        1 => "[ \t\r\n]{1,70}",
    ]
}

/// A quoted string: plain, with escapes, or a name that the policies list.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9 {}:,/\\[\\]]{0,12}",
        2 => "[ -!#-\\[\\]-~é€😀]{0,90}",
        1 => proptest::sample::select(vec![
            r"\n", r#"\""#, r"\\", r"\/", r"\u0041", r"\uD83D\ude00", r"\u00e9", r"\t", r"\\\\",
        ]).prop_map(String::from),
    ];
    prop_oneof![
        2 => proptest::sample::select(vec!["a", "b", "c", "e", "f", "", r"\u0061", r"a\u0062"])
            .prop_map(String::from),
        3 => vec(piece, 0..4).prop_map(|pieces| pieces.concat()),
    ]
    .prop_map(|inside| format!("\"{inside}\""))
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => text(),
        2 => "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?",
        1 => proptest::sample::select(vec!["true", "false", "null", "9007199254740993", "1.0e-7"])
            .prop_map(String::from),
    ]
}

/// JSON texts as strings, so that every spelling occurs.
fn json() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 60, 6, |inner| {
        let element = (blank(), inner.clone(), blank()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let member = (blank(), text(), blank(), blank(), inner, blank())
            .prop_map(|(a, k, b, c, v, d)| format!("{a}{k}{b}:{c}{v}{d}"));
        prop_oneof![
            (blank(), vec(element, 0..6)).prop_map(|(b, all)| format!("[{b}{}]", all.join(","))),
            (blank(), vec(member, 0..6)).prop_map(|(b, all)| format!("{{{b}{}}}", all.join(","))),
        ]
    })
}

/// A body that is nearly JSON: some bytes replaced, inserted or left out.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3u8,
        prop_oneof![
            3 => proptest::sample::select(b"{}[]:,\"\\ \n\tu0d18e-+.tfn\x00\x0c\x1a".to_vec()),
            1 => any::<u8>(),
        ],
    );
    (json(), vec(edit, 1..4)).prop_map(|(body, edits)| {
        let mut body = body.into_bytes();
        for (at, how, byte) in edits {
            let at = at.index(body.len() + 1);
            match how {
                0 if at < body.len() => body[at] = byte,
                1 if at < body.len() => drop(body.remove(at)),
                _ => body.insert(at, byte),
            }
        }
        body
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        vec(1..4usize, 0..400),
        vec(1..200usize, 0..40),
        (1..100usize).prop_map(|n| vec![n; 400]),
    ]
}

fn any_policy() -> impl Strategy<Value = Arc<Policy>> {
    proptest::sample::select(fuzz::policies())
}

// --- oracle --------------------------------------------------------------------------------

/// What an independent parser says. It reads to the end, and does not care for the values.
fn oracle(body: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(body).is_ok()
}

/// What we refuse and the oracle lets pass: half surrogate pairs (it does not decode strings it
/// only skips), U+0000 in names, depth.
fn stricter(code: Code) -> bool {
    matches!(code, Code::LoneSurrogate | Code::NulInName | Code::TooDeep)
}

/// Every scalar with its path, duplicates included, as raw spelling.
fn flatten(raw: &str, path: &str, all: &mut Vec<(String, String)>) {
    use serde::de::{MapAccess, Visitor};
    struct Members(Vec<(String, Box<RawValue>)>);
    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            struct Each;
            impl<'de> Visitor<'de> for Each {
                type Value = Members;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut all = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        all.push(entry);
                    }
                    Ok(Members(all))
                }
            }
            d.deserialize_map(Each)
        }
    }
    let raw = raw.trim_matches([' ', '\t', '\r', '\n']);
    match raw.as_bytes()[0] {
        b'{' => {
            let Members(members) = serde_json::from_str(raw).expect("an object");
            all.push((path.into(), "{".into()));
            for (name, value) in members {
                flatten(
                    value.get(),
                    &format!("{path}/m{}", name.replace('/', "|")),
                    all,
                );
            }
        }
        b'[' => {
            let elements: Vec<Box<RawValue>> = serde_json::from_str(raw).expect("an array");
            all.push((path.into(), "[".into()));
            for value in elements {
                flatten(value.get(), &format!("{path}/e"), all);
            }
        }
        _ => all.push((path.into(), raw.into())),
    }
}

fn flat(raw: &[u8]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    flatten(std::str::from_utf8(raw).expect("UTF-8"), "", &mut all);
    all
}

// --- properties ----------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn path_17_keep_gives_back_the_input(body in json(), cuts in cuts()) {
        for unit in [RecordUnit::Auto, RecordUnit::Document, RecordUnit::Unbounded] {
            let (out, seen) = run(false, &keep(unit), body.as_bytes(), &cuts).expect("valid");
            prop_assert_eq!(out, body.as_bytes());
            prop_assert!(seen.is_empty());
        }
    }

    #[test]
    fn path_17_any_cut_gives_the_same_bytes_or_the_same_fault(
        body in prop_oneof![json().prop_map(String::into_bytes), damaged()],
        cuts in cuts(),
        policy in any_policy(),
        lines in any::<bool>(),
    ) {
        let whole = run(lines, &policy, &body, &[]);
        prop_assert_eq!(&run(lines, &policy, &body, &cuts), &whole);
        prop_assert_eq!(&run(lines, &policy, &body, &vec![1; body.len()]), &whole);
    }

    #[test]
    fn path_05_acceptance_agrees_with_an_independent_parser(
        body in prop_oneof![1 => json().prop_map(String::into_bytes), 3 => damaged()],
    ) {
        match run(false, &keep(RecordUnit::Auto), &body, &[]) {
            Ok((out, _)) => {
                prop_assert_eq!(&out, &body);
                prop_assert!(oracle(&body), "we accept what the oracle refuses");
            }
            Err(fault) => {
                let agreed = !oracle(&body) || stricter(fault.code);
                prop_assert!(agreed, "we refuse what the oracle accepts: {}", fault);
            }
        }
    }

    #[test]
    fn path_05_lines_are_accepted_as_each_alone_is(
        lines in vec(prop_oneof![4 => json().prop_map(String::into_bytes), 1 => damaged(), 1 => Just(Vec::new())], 0..6),
        cuts in cuts(),
    ) {
        let no_feeds = |line: &Vec<u8>| line.iter().copied().filter(|b| *b != b'\n').collect::<Vec<_>>();
        let lines: Vec<Vec<u8>> = lines.iter().map(no_feeds).collect();
        let blank = |line: &[u8]| line.iter().all(|b| b" \t\r".contains(b));
        let unit = keep(RecordUnit::Document);
        let fine = lines.iter().all(|l| blank(l) || run(false, &unit, l, &[]).is_ok());
        let body = lines.join(&b'\n');
        let whole = run(true, &keep(RecordUnit::Auto), &body, &cuts);
        prop_assert_eq!(whole.is_ok(), fine);
        if let Ok((out, _)) = whole {
            prop_assert_eq!(out, body);
        }
    }

    /// Only selected places change, and all of them do: parsed by the oracle, before and after.
    #[test]
    fn path_17_a_diff_finds_only_selected_values_changed(body in json(), cuts in cuts()) {
        let policy = policy(Unlisted::Keep, RecordUnit::Document, &[("$..a", Action::Keep), ("$..b", redact()), ("$.*.c", redact())]);
        let (out, seen) = run(false, &policy, body.as_bytes(), &cuts).expect("valid");
        let after = flat(&out);
        let new = serde_json::to_string("\u{1F600}\"new\"").expect("a string");
        let mut expected = Vec::new();
        let mut replaced: Vec<String> = Vec::new();
        for (path, raw) in flat(body.as_bytes()) {
            if replaced.last().is_some_and(|p| path.starts_with(&format!("{p}/"))) {
                continue; // Inside a container that is one value.
            }
            let steps: Vec<&str> = path.split('/').skip(1).collect();
            let selected = match steps[..] {
                [.., "ma"] => false,
                [.., "mb"] => true,
                [_, "mc"] => true,
                _ => false,
            };
            if selected && raw != "null" && raw != "\"\"" {
                replaced.push(path.clone());
                expected.push((path, new.clone()));
            } else {
                // A sibling with the same path is a place of its own.
                replaced.push("\u{0}".into());
                expected.push((path, raw));
            }
        }
        prop_assert_eq!(after, expected);
        prop_assert!(seen.iter().all(|s| s.shape != Shape::Extent && matches!(s.rule.0, 1 | 2)));
    }

    /// Whatever is dropped, what remains is JSON, and nothing of a dropped place remains.
    #[test]
    fn path_17_drops_leave_valid_json(body in json(), cuts in cuts()) {
        let dropping = [("$..a", Action::Drop), ("$..e", Action::Drop), ("$.*[*].*", Action::Drop)];
        for unit in [RecordUnit::Auto, RecordUnit::Document, RecordUnit::Unbounded] {
            let policy = policy(Unlisted::Keep, unit, &dropping);
            let (out, _) = run(false, &policy, body.as_bytes(), &cuts).expect("valid");
            prop_assert!(oracle(&out), "{:?}", String::from_utf8_lossy(&out));
            let left = flat(&out);
            prop_assert!(left.iter().all(|(p, _)| !p.ends_with("/ma") && !p.contains("/ma/")), "{:?}", left);
        }
    }

    /// With `unlisted = "reject"` nothing passes that no rule lists.
    #[test]
    fn path_06_reject_lets_only_listed_places_through(body in json()) {
        let rules = [("$.a..*", Action::Keep), ("$.b", redact())];
        let policy = policy(Unlisted::Reject, RecordUnit::Document, &rules);
        let listed = flat(body.as_bytes()).iter().all(|(path, raw)| {
            let steps: Vec<&str> = path.split('/').skip(1).collect();
            match steps[..] {
                [] => raw == "{" || raw == "[",
                ["ma"] => raw == "{" || raw == "[",
                ["ma", ..] | ["mb", ..] => true,
                _ => false,
            }
        });
        match run(false, &policy, body.as_bytes(), &[]) {
            Ok(_) => prop_assert!(listed),
            Err(fault) => {
                prop_assert_eq!(fault.code, Code::UnlistedPlace);
                prop_assert!(!listed, "{}", fault);
            }
        }
    }

    /// Selectors: printing and reading again is the identity.
    #[test]
    fn path_06_selectors_survive_printing(text in "\\$(\\.\\.?([a-z_é][a-z0-9]{0,3}|\\*)|\\.?\\.?\\[('[^'\\\\]{0,4}'|\"[ -!#-\\[]{0,4}\"|\\*)\\]){0,5}") {
        fuzz::selector(text.as_bytes());
    }
}

// --- corpus --------------------------------------------------------------------------------

/// Seeds that would be silly as files.
fn made() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for byte in 0..=255u8 {
        all.extend([
            vec![byte],
            vec![b'"', byte, b'"'],
            vec![b'[', b'1', byte, b']'],
        ]);
    }
    for depth in [5, 6, 7, 127, 128, 129] {
        all.push([b"[".repeat(depth), b"]".repeat(depth)].concat());
        all.push([b"{\"a\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat());
    }
    for length in [0, 1, 22, 23, 24, 25, 62, 63, 64, 65, 87, 88, 89, 90, 91] {
        all.push(format!("\"{}\"", "x".repeat(length)).into_bytes());
        all.push(format!("{{\"e\":\"{}\"}}", "x".repeat(length)).into_bytes());
        all.push(format!("[1,{}2]", " ".repeat(length)).into_bytes());
        all.push(format!("{{\"a\":{{\"{}\":1}}}}", "k".repeat(length)).into_bytes());
        all.push(
            format!(
                "\"{}\\\"{}\"",
                "\\\\".repeat(length),
                "\\".repeat(2 * length)
            )
            .into_bytes(),
        );
    }
    all
}

#[test]
fn path_17_corpus_json() {
    replay("json", fuzz::json, 12);
    made().iter().for_each(|body| fuzz::json(body));
}

#[test]
fn path_17_corpus_ndjson() {
    replay("ndjson", fuzz::ndjson, 5);
    made().iter().for_each(|body| fuzz::ndjson(body));
}

#[test]
fn path_17_corpus_selectors() {
    replay("selectors", fuzz::selector, 8);
    made().iter().for_each(|text| fuzz::selector(text));
}
