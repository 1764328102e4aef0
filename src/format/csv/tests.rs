//! Rows, one case at a time, and generated ones against an independent reader.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Csv, Dialect, Tsv};
use crate::error::Code;
use crate::format::fuzz::{Seen, policy, rewrite, row_policies};
use crate::format::{Answer, Options, Scanner};
use crate::policy::{Action, Policy, RecordUnit, Redact, Unlisted};

fn redact() -> Action {
    Action::Redact(Redact::Constant("-".into()))
}

fn rules(unlisted: Unlisted, rules: &[(&str, Action)]) -> Arc<Policy> {
    policy(unlisted, RecordUnit::Auto, rules)
}

fn csv(delimiter: u8, header: bool, policy: &Arc<Policy>) -> Box<dyn Scanner> {
    let dialect = Dialect { delimiter, header };
    Box::new(Csv::new(Arc::clone(policy), Options::default(), dialect))
}

fn tsv(header: bool, policy: &Arc<Policy>) -> Box<dyn Scanner> {
    Box::new(Tsv::new(Arc::clone(policy), Options::default(), header))
}

/// What becomes of a body when every replaced value becomes `answer`, or its fault: code,
/// offset and place.
fn becomes(
    scanner: impl Fn() -> Box<dyn Scanner>,
    body: &str,
    answer: Answer<'static>,
) -> Result<String, (Code, u64, String)> {
    let run = |cut: usize| {
        let cuts = std::iter::repeat(cut);
        rewrite(&mut *scanner(), body.as_bytes(), cuts, |_| answer)
    };
    let whole = run(body.len().max(1));
    for cut in 1..body.len() {
        assert_eq!(run(cut), whole, "cut into {cut}");
    }
    match whole {
        Ok((out, _)) => Ok(String::from_utf8(out).expect("UTF-8")),
        Err(fault) => Err((
            fault.code,
            fault.offset.expect("an offset"),
            fault.place.expect("a place").into(),
        )),
    }
}

const X: Answer<'static> = Answer::Text("X");

fn name_and_drop() -> Arc<Policy> {
    rules(
        Unlisted::Reject,
        &[
            ("$.name", redact()),
            ("$['e mail']", redact()),
            ("$.gone", Action::Drop),
            ("$.n", Action::Keep),
            ("$.bad", Action::Reject),
        ],
    )
}

#[test]
fn formats_01_columns_are_found_by_the_header() {
    let by_name = |body| becomes(|| csv(b',', true, &name_and_drop()), body, X);
    for (body, expected) in [
        ("", ""),
        ("n,name", "n,name"),
        ("n,name\n1,ada\n", "n,name\n1,X\n"),
        ("n,name\n1,ada", "n,name\n1,X"),
        ("n,name\r\n1,ada\r\n2,\r\n", "n,name\r\n1,X\r\n2,\r\n"),
        ("n,name\r1,ada\r", "n,name\r1,X\r"),
        ("\u{FEFF}name,n\nada,1\n", "\u{FEFF}name,n\nX,1\n"),
        ("\u{FEFF}\"name\",n\nada,1\n", "\u{FEFF}\"name\",n\nX,1\n"),
        // Quoted fields stay quoted; what stands in them is no row and no field.
        (
            "name,n\n\"a\"\"d,\na\",\"1,\r\n2\"\n",
            "name,n\n\"X\",\"1,\r\n2\"\n",
        ),
        ("name,n\n\"\",\"\"\n,\n", "name,n\n\"\",\"\"\n,\n"),
        // Names may be quoted, double, with quotes in them.
        ("\"name\",name\na,b\n", "\"name\",name\nX,X\n"),
        (
            "e mail,\"e mail\"\na,\"b\"\n",
            "e mail,\"e mail\"\nX,\"X\"\n",
        ),
        // Ragged and blank rows.
        ("n,name\n1\n\n2,b\n", "n,name\n1\n\n2,X\n"),
        ("name,n\n\n\na,1,\n", "name,n\n\n\nX,1,\n"),
        // A dropped column goes with one separator, wherever it stands.
        ("gone,n\nx,1\n,2\n", "n\n1\n2\n"),
        ("n,gone\n1,x\n2\n3,\n", "n\n1\n2\n3\n"),
        (
            "n,gone,name\n1,x,a\n\"1\",\"x,\",\"a\"\n",
            "n,name\n1,X\n\"1\",\"X\"\n",
        ),
        ("gone,gone,n,gone,gone\r\na,b,1,c,d\r\n", "n\r\n1\r\n"),
        ("\u{FEFF}gone,n\nx,1\n", "\u{FEFF}n\n1\n"),
        ("gone,n\nx\n", "n\n\n"),
        // Nothing stays: no rows either.
        ("gone,\"gone\"\nx,y\n\nz\n", ""),
    ] {
        assert_eq!(by_name(body).as_deref(), Ok(expected), "{body:?}");
    }
}

#[test]
fn formats_01_columns_are_found_by_number() {
    let policy = rules(
        Unlisted::Drop,
        &[
            ("$[0]", redact()),
            ("$[2]", Action::Keep),
            ("$[4]", Action::Reject),
        ],
    );
    let by_number = |body| becomes(|| csv(b';', false, &policy), body, X);
    for (body, expected) in [
        ("ada;x;1;y\n", "X;1\n"),
        ("ada\nbob;x;\"1\"\n", "X\nX;\"1\"\n"),
        ("\u{FEFF}ada;x;1;;\n", "\u{FEFF}X;1;\n"),
        (";x;,\n\n", ";,\n\n"),
    ] {
        assert_eq!(by_number(body).as_deref(), Ok(expected), "{body:?}");
    }
    let refused = Err((Code::RejectedPlace, 6, "$[4]".into()));
    assert_eq!(by_number("1;2;;;z\n").map_err(|e| (e.0, e.1, e.2)), refused);
    let strict = rules(Unlisted::Reject, &[("$[0]", Action::Keep)]);
    let refused = Err((Code::UnlistedPlace, 2, "$[*]".into()));
    assert_eq!(becomes(|| csv(b',', false, &strict), "1,x,2\n", X), refused);
    assert_eq!(
        becomes(|| csv(b',', false, &strict), "1,,\n", X),
        Ok("1,,\n".into())
    );
    // Names mean nothing without a header, and numbers nothing with one.
    let both = rules(Unlisted::Keep, &[("$.a", redact()), ("$[1]", redact())]);
    let (named, numbered) = (|| csv(b',', true, &both), || csv(b',', false, &both));
    assert_eq!(becomes(named, "a,b\n1,2\n", X), Ok("a,b\nX,2\n".into()));
    assert_eq!(becomes(numbered, "a,b\n1,2\n", X), Ok("a,X\n1,X\n".into()));
}

#[test]
fn formats_01_what_is_refused_says_where() {
    use Code::{MalformedCsv, NulInRow, RejectedPlace, UnclosedQuote, UnlistedPlace};
    let by_name = |body| becomes(|| csv(b',', true, &name_and_drop()), body, X);
    for (body, code, offset, place) in [
        ("n,name\n1,a\"b\n", MalformedCsv, 10, "$.name"),
        ("n\n \"1\"\n", MalformedCsv, 3, "$.n"),
        ("n,name\n\"1\"x,a\n", MalformedCsv, 10, "$.n"),
        ("n,name\n\"1\" ,a\n", MalformedCsv, 10, "$.n"),
        ("n,name\n1,\"a\n", UnclosedQuote, 9, "$.name"),
        ("n,\"name\n1,a\n", UnclosedQuote, 2, "$"),
        ("n,name\n1,a\0\n", NulInRow, 10, "$.name"),
        ("n,name\n\"1\"\0,a\n", NulInRow, 10, "$.n"),
        ("n,name\n1,\"\0\"\n", NulInRow, 10, "$.name"),
        ("n\0\n", NulInRow, 1, "$"),
        // A carriage return that one reader takes for a row's end and another for data.
        ("n\n1\r2\n", MalformedCsv, 3, "$.n"),
        ("n\r\n1\r2\r\n", MalformedCsv, 4, "$.n"),
        ("n\r\n1\r", MalformedCsv, 4, "$.n"),
        ("n\r1\n", MalformedCsv, 3, "$.n"),
        ("n\r1\r\n", MalformedCsv, 4, "$.n"),
        ("\nn\n1\n", MalformedCsv, 0, "$"),
        ("\r\nn\n1\n", MalformedCsv, 0, "$"),
        ("n,secret\n", UnlistedPlace, 2, "$.*"),
        ("n,Name\n", UnlistedPlace, 2, "$.*"),
        ("n, name\n", UnlistedPlace, 2, "$.*"),
        ("n,\"bad\"\n1,\n", RejectedPlace, 2, "$.bad"),
        ("n,name\n1,a,ada\n", UnlistedPlace, 11, "$.*"),
    ] {
        let refused = Err((code, offset, place.to_owned()));
        assert_eq!(by_name(body), refused, "{body:?}");
    }
    // There is no field in which an answer for a row could stand.
    for (whole, code) in [
        (rules(Unlisted::Keep, &[("$", redact())]), RejectedPlace),
        (
            rules(Unlisted::Keep, &[("$", Action::Reject)]),
            RejectedPlace,
        ),
        (rules(Unlisted::Reject, &[]), UnlistedPlace),
    ] {
        let refused = Err((code, 0, "$".to_owned()));
        assert_eq!(becomes(|| csv(b',', true, &whole), "a\n1\n", X), refused);
    }
    let gone = rules(Unlisted::Keep, &[("$", Action::Drop)]);
    assert_eq!(
        becomes(|| csv(b',', true, &gone), "a,b\n1\n\n2", X),
        Ok("".into())
    );
}

#[test]
fn formats_01_answers_are_quoted_only_where_they_must_be() {
    let all = rules(Unlisted::Keep, &[("$.a", redact())]);
    let answered = |body, answer| becomes(|| csv(b';', true, &all), body, answer).expect("fine");
    for (answer, bare, quoted) in [
        (Answer::Text("x y,z='"), "x y,z='", "\"x y,z='\""),
        (Answer::Text("x;y"), "\"x;y\"", "\"x;y\""),
        (Answer::Text("x\"y"), "\"x\"\"y\"", "\"x\"\"y\""),
        (Answer::Text("x\ny"), "\"x\ny\"", "\"x\ny\""),
        (Answer::Text("x\ry"), "\"x\ry\"", "\"x\ry\""),
        (Answer::Text("x\0y"), "\"x\u{FFFD}y\"", "\"x\u{FFFD}y\""),
        (Answer::Text(""), "", "\"\""),
        (Answer::Word(b"sub_1_a"), "sub_1_a", "\"sub_1_a\""),
        (Answer::Null, "", ""),
        (Answer::Keep, "o", "\"o\"\"o\""),
    ] {
        let expected = format!("b;a\n1;{bare}\n2;{quoted}\n");
        assert_eq!(answered("b;a\n1;o\n2;\"o\"\"o\"\n", answer), expected);
    }
}

#[test]
fn formats_01_tsv_has_escapes_and_no_quotes() {
    let policy = name_and_drop();
    let by_name = |body, answer| becomes(|| tsv(true, &policy), body, answer);
    for (body, expected) in [
        ("n\tname\n1\tada\n", "n\tname\n1\tX\n"),
        ("n\tname\r\n1\tada\r\n", "n\tname\r\n1\tX\r\n"),
        ("n\tname\n\\N\t\\N\n\t\n", "n\tname\n\\N\t\\N\n\t\n"),
        (
            "n\tname\n\\\\\\t\\'\ta\\\\b\\n\n",
            "n\tname\n\\\\\\t\\'\tX\n",
        ),
        ("n\tname\n\"1\ta\"b\n", "n\tname\n\"1\tX\n"),
        ("gone\tn\nx\t1\n", "n\n1\n"),
        ("e mail\tgone\na\\tb\tc\\\\\n", "e mail\nX\n"),
    ] {
        assert_eq!(by_name(body, X).as_deref(), Ok(expected), "{body:?}");
    }
    use Code::{MalformedTsv, NulInRow, UnlistedPlace};
    for (body, code, offset, place) in [
        ("n\n1\\\t2\n", MalformedTsv, 3, "$.n"),
        ("n\n1\\\n2\n", MalformedTsv, 3, "$.n"),
        ("n\n1\\", MalformedTsv, 3, "$.n"),
        ("n\n1\\x41\n", MalformedTsv, 3, "$.n"),
        ("n\n1\\N\n", MalformedTsv, 3, "$.n"),
        ("n\n\\Nx\n", MalformedTsv, 4, "$.n"),
        ("n\n\\.\n", MalformedTsv, 2, "$.n"),
        ("n\n1\r2\n", MalformedTsv, 3, "$.n"),
        ("n\r1\r", MalformedTsv, 1, "$"),
        ("n\n1\0\n", NulInRow, 3, "$.n"),
        ("n\\\\\n", UnlistedPlace, 0, "$.*"),
    ] {
        let refused = Err((code, offset, place.to_owned()));
        assert_eq!(by_name(body, X), refused, "{body:?}");
    }
    for (answer, expected) in [
        (
            Answer::Text("a\tb\nc\rd\\e\"\0"),
            "a\\tb\\nc\\rd\\\\e\"\u{FFFD}",
        ),
        (Answer::Text("\\N"), "\\\\N"),
        (Answer::Null, "\\N"),
        (Answer::Word(b"sub_1_a"), "sub_1_a"),
    ] {
        let expected = format!("name\n{expected}\n");
        assert_eq!(by_name("name\nx\n", answer), Ok(expected));
    }
}

#[test]
fn formats_01_values_are_what_the_fields_mean() {
    let all = rules(Unlisted::Keep, &[("$.*", redact())]);
    let values = |mut scanner: Box<dyn Scanner>, body: &str| {
        let (_, seen) = rewrite(&mut *scanner, body.as_bytes(), std::iter::empty(), |_| X)
            .expect("well formed");
        let text = |s: Seen| (s.record, String::from_utf8(s.value).expect("UTF-8"));
        seen.into_iter().map(text).collect::<Vec<_>>()
    };
    let own = |all: &[(u64, &str)]| -> Vec<(u64, String)> {
        all.iter().map(|(n, s)| (*n, (*s).to_owned())).collect()
    };
    let body = "a,b\n x ,\"y\"\"z\"\"\"\n\n\"1\r\n2\",\"\"\n,é\n";
    let expected = own(&[(0, " x "), (0, "y\"z\""), (1, "1\r\n2"), (2, "é")]);
    assert_eq!(values(csv(b',', true, &all), body), expected);
    let body = "a\tb\n\\\\N\tx\\t\\n\\r\\b\\f\\v\\'\\\\\n\\N\t\"\n";
    let expected = own(&[(0, "\\N"), (0, "x\t\n\r\u{8}\u{c}\u{b}'\\"), (1, "\"")]);
    assert_eq!(values(tsv(true, &all), body), expected);
}

#[test]
fn formats_01_bounds_hold_for_rows_and_values() {
    let options = Options {
        record: 40,
        value: 20,
        ..Options::default()
    };
    let policy = rules(Unlisted::Keep, &[("$.a", redact())]);
    let run = |body: &str| {
        let dialect = Dialect::default();
        let scanner =
            || -> Box<dyn Scanner> { Box::new(Csv::new(Arc::clone(&policy), options, dialect)) };
        becomes(scanner, body, X).map_err(|(code, at, _)| (code, at))
    };
    let of = |n| "x".repeat(n);
    assert_eq!(run(&format!("a\n{}\n", of(20))), Ok("a\nX\n".into()));
    assert_eq!(
        run(&format!("a\n{}\n", of(21))),
        Err((Code::ValueTooLarge, 22))
    );
    assert_eq!(
        run(&format!("a\n{}", of(50))),
        Err((Code::ValueTooLarge, 22))
    );
    let whole = format!("b\n{}\r\n", of(40));
    assert_eq!(run(&whole), Ok(whole.clone()));
    assert_eq!(
        run(&format!("b\n{}\n", of(41))),
        Err((Code::RecordTooLarge, 42))
    );
    assert_eq!(
        run(&format!("b\n\"{}", of(50))),
        Err((Code::RecordTooLarge, 42))
    );
    assert_eq!(run(&of(41)), Err((Code::RecordTooLarge, 40)));
    let many = ",".repeat(crate::limits::COLUMNS);
    let mut scanner = csv(b',', true, &policy);
    let refused = rewrite(&mut *scanner, many.as_bytes(), std::iter::empty(), |_| X);
    assert_eq!(refused.map_err(|f| f.code), Err(Code::TooManyColumns));
}

// --- generated rows ------------------------------------------------------------------------

/// Fields as people write them; `{}` stands for the delimiter.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z0-9 @.'é=+-]{0,14}",
        2 => "\"([a-z ,;|\t\r\né]|\"\"){0,30}\"",
        1 => proptest::sample::select(vec!["a", "b", "c d", "e", "\"a\"", ""]).prop_map(String::from),
        1 => "[a-z]{60,140}",
    ]
}

fn table() -> impl Strategy<Value = String> {
    let row = vec(field(), 1..7);
    let end = proptest::sample::select(vec!["\n", "\r\n", "\r"]);
    let parts = (any::<bool>(), vec(row, 0..9), end, any::<bool>());
    (
        parts,
        proptest::sample::select(Dialect::DELIMITERS.to_vec()),
    )
        .prop_map(|((mark, rows, end, last), delimiter)| {
            let delimiter = char::from(delimiter).to_string();
            let lines: Vec<String> = rows.iter().map(|r| r.join(&delimiter)).collect();
            let mark = if mark { "\u{FEFF}" } else { "" };
            let last = if last { end } else { "" };
            format!("{mark}{}{last}", lines.join(end))
        })
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3u8,
        prop_oneof![
            3 => proptest::sample::select(b"\",;\t|\n\r\0\\N".to_vec()),
            1 => any::<u8>(),
        ],
    );
    (table(), vec(edit, 0..4)).prop_map(|(body, edits)| {
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

/// What an independent reader finds: the fields of each row that is not blank.
fn oracle(body: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(body);
    let rows = reader.byte_records().map(|row| row.expect("it reads"));
    rows.map(|row| row.iter().map(<[u8]>::to_vec).collect())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn formats_13_any_cut_of_rows_gives_the_same_bytes_or_the_same_fault(
        body in damaged(),
        cuts in cuts(),
        policy in proptest::sample::select(row_policies()),
        delimiter in proptest::sample::select(Dialect::DELIMITERS.to_vec()),
        header in any::<bool>(),
    ) {
        let run = |escapes: bool, cuts: &[usize]| {
            let mut scanner = if escapes { tsv(header, &policy) } else { csv(delimiter, header, &policy) };
            rewrite(&mut *scanner, &body, cuts.iter().copied(), |_| Answer::Text("\u{1F600}\",;\t|\\new"))
        };
        for escapes in [false, true] {
            let whole = run(escapes, &[]);
            prop_assert_eq!(&run(escapes, &cuts), &whole);
            prop_assert_eq!(&run(escapes, &vec![1; body.len()]), &whole);
        }
    }

    #[test]
    fn formats_13_keep_gives_rows_back(body in table(), cuts in cuts(), header in any::<bool>()) {
        let keep = rules(Unlisted::Keep, &[]);
        let mut scanner = csv(b',', header, &keep);
        if let Ok((out, seen)) = rewrite(&mut *scanner, body.as_bytes(), cuts.into_iter(), |_| X) {
            prop_assert_eq!(out, body.as_bytes());
            prop_assert!(seen.is_empty());
        }
    }

    /// What we take, an independent reader reads the same: rows, fields and values.
    #[test]
    fn formats_13_rows_are_read_as_an_independent_reader_reads_them(
        body in damaged(),
        delimiter in proptest::sample::select(Dialect::DELIMITERS.to_vec()),
    ) {
        let all = rules(Unlisted::Keep, &[("$[*]", redact())]);
        let run = rewrite(&mut *csv(delimiter, false, &all), &body, std::iter::empty(), |_| X);
        if let Ok((_, seen)) = run {
            let ours: Vec<(u64, Vec<u8>)> = seen.into_iter().map(|s| (s.record, s.value)).collect();
            let theirs = oracle(&body, delimiter).into_iter().enumerate();
            let theirs: Vec<(u64, Vec<u8>)> = theirs
                .flat_map(|(n, row)| row.into_iter().map(move |field| (n as u64, field)))
                .filter(|(_, field)| !field.is_empty())
                .collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    /// The independent reader finds only the selected column changed, and dropped ones gone.
    #[test]
    fn formats_13_a_diff_of_rows_finds_only_selected_fields_changed(body in damaged(), cuts in cuts()) {
        let policy = rules(Unlisted::Keep, &[("$[1]", redact()), ("$[2]", Action::Drop), ("$[4]", Action::Drop)]);
        let run = rewrite(&mut *csv(b',', false, &policy), &body, cuts.into_iter(), |_| Answer::Text("new, \"one\""));
        if let Ok((out, _)) = run {
            let before = oracle(&body, b',').into_iter().map(|row| {
                let kept = row.into_iter().enumerate().filter(|(n, _)| *n != 2 && *n != 4);
                let changed = kept.map(|(n, field)| match n {
                    1 if !field.is_empty() => b"new, \"one\"".to_vec(),
                    _ => field,
                });
                changed.collect::<Vec<_>>()
            });
            prop_assert_eq!(oracle(&out, b','), before.collect::<Vec<_>>());
        }
    }
}
