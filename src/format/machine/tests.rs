//! Fixed answers: what passes, what is refused, where, and what a drop leaves behind.

use std::sync::Arc;

use crate::error::{Code, Fault};
use crate::format::fuzz::{Seen, policy, rewrite, scanner};
use crate::format::{Answer, Options, Shape};
use crate::policy::{Action, Policy, RecordUnit, Redact, Unlisted};

fn redact() -> Action {
    Action::Redact(Redact::Constant("-".into()))
}

fn keep() -> Arc<Policy> {
    policy(Unlisted::Keep, RecordUnit::Auto, &[])
}

/// Rewrites in one piece and byte by byte; both must agree.
fn run(
    lines: bool,
    policy: &Arc<Policy>,
    options: Options,
    body: &[u8],
) -> Result<(String, Vec<Seen>), Fault> {
    let run = |cut| {
        let mut scanner = scanner(lines, policy, options);
        rewrite(&mut *scanner, body, std::iter::repeat(cut), |_| {
            Answer::Text("new")
        })
    };
    let whole = run(body.len().max(1));
    for cut in [1, 5, 64] {
        assert_eq!(run(cut), whole, "cut into {cut}");
    }
    whole.map(|(out, seen)| (String::from_utf8(out).expect("UTF-8"), seen))
}

fn json(policy: &Arc<Policy>, body: &str) -> String {
    run(false, policy, Options::default(), body.as_bytes())
        .expect(body)
        .0
}

fn ndjson(policy: &Arc<Policy>, body: &str) -> String {
    run(true, policy, Options::default(), body.as_bytes())
        .expect(body)
        .0
}

#[track_caller]
fn refused(lines: bool, policy: &Arc<Policy>, body: &[u8], code: Code, offset: u64, place: &str) {
    // Once alone, once behind something long enough for the token walk.
    let fault = run(lines, policy, Options::default(), body).expect_err("a fault");
    let text = String::from_utf8_lossy(body);
    assert_eq!(
        (fault.code, fault.offset, fault.place.as_deref()),
        (code, Some(offset), Some(place)),
        "{text}"
    );
    let keeps = policy.rules.is_empty() && policy.unlisted == Unlisted::Keep;
    if !keeps || matches!(code, Code::ByteOrderMark | Code::Truncated) {
        return;
    }
    let (front, back): (Vec<u8>, &[u8]) = if lines {
        (
            b"{\"a\":[1,\"2\",true,null,{}]}\n".repeat(70),
            b"\n[]\n[]\n[]",
        )
    } else {
        (
            [b"[".to_vec(), b"{\"a\":[1,\"2\",true,null,{}]},".repeat(70)].concat(),
            b",[],[],[],[]]",
        )
    };
    let long = [&front, body, back].concat();
    let later = run(lines, policy, Options::default(), &long).expect_err("a fault");
    assert_eq!(
        (later.code, later.offset),
        (code, Some(offset + front.len() as u64)),
        "{text}"
    );
}

#[test]
fn well_formed_bodies_pass_byte_for_byte() {
    for body in [
        "1",
        " -0 ",
        "\"\"",
        "null",
        "true ",
        "[]",
        "{}",
        " [ ] ",
        "{ }\r\n",
        "9007199254740993",
        "1.0e-7",
        "-1E+10",
        "[1.50,0.1e5,-0.0]",
        r#"{"a":{"b":[1,"x",null,true,false,{"":""}]},"a":2}"#,
        "{\n  \"a\" : [ 1 , 2 ],\n\t\"b\" : \"\\u00e9\\ud83d\\ude00 é 😀 \\\\\\\" \\/\"\n}\n",
        r#"["\u0000","a\u0000b","\\u0000"]"#,
        r#"[[],{},[[]],[{}],{"a":{}}]"#,
    ] {
        assert_eq!(json(&keep(), body), body);
        let document = policy(Unlisted::Keep, RecordUnit::Document, &[]);
        assert_eq!(json(&document, body), body);
        let unbounded = policy(Unlisted::Keep, RecordUnit::Unbounded, &[]);
        assert_eq!(json(&unbounded, body), body);
    }
    for body in [
        "",
        "\n",
        "  \n\t\r\n\n",
        "1",
        "1\n",
        "{}\r\n[]\r\n",
        "\n{\"a\":1}\n\n[2]",
        " 1 \n \"x\" ",
    ] {
        assert_eq!(ndjson(&keep(), body), body);
    }
}

#[test]
fn malformed_json_is_refused_where_it_goes_wrong() {
    use Code::MalformedJson as M;
    for (body, offset, place) in [
        ("{} {}", 3, "$"),
        ("1 2", 2, "$"),
        ("nulll", 4, "$"),
        ("[1,]", 3, "$"),
        ("[,1]", 1, "$"),
        ("{\"a\" 1}", 5, "$.*"),
        ("{\"a\":}", 5, "$.*"),
        ("{\"a\":1,}", 7, "$"),
        ("{a:1}", 1, "$"),
        ("{\"a\":1 \"b\":2}", 7, "$.*"),
        ("[1 2]", 3, "$"),
        ("[1}", 2, "$"),
        ("{\"a\":1]", 6, "$.*"),
        ("]", 0, "$"),
        ("01", 1, "$"),
        ("1.", 2, "?"),
        ("-a", 1, "$"),
        (".5", 0, "$"),
        ("+1", 0, "$"),
        ("1e+x", 3, "$"),
        ("tru\u{1}", 3, "$"),
        ("True", 0, "$"),
        ("NaN", 0, "$"),
        ("'a'", 0, "$"),
        ("\"a\u{1}b\"", 2, "$"),
        ("\"a\nb\"", 2, "$"),
        ("\"\\x\"", 2, "$"),
        ("\"\\u12g4\"", 5, "$"),
        ("[1]\u{0}", 3, "$"),
        ("\u{c}1", 0, "$"),
        ("[1,\u{1a}2]", 3, "$"),
        ("1\u{a0}", 1, "$"),
        ("{\"a\":[{\"b\":x}]}", 11, "$.*[*].*"),
        ("[\"a\"\"b\"]", 4, "$"),
        ("[\"a\"b]", 4, "$"),
        ("[1\"a\"]", 2, "$"),
        ("\\\"", 0, "$"),
        ("/**/1", 0, "$"),
        ("{\"a\":1,\"b\"}", 10, "$.*"),
        // A number's front is not the whole token.
        ("{\"a\":1u0,\"b\":2}", 6, "$.*"),
        ("[1u0,2]", 2, "$"),
        ("[1\"a\",2]", 2, "$"),
    ] {
        if place == "?" {
            refused(
                false,
                &keep(),
                body.as_bytes(),
                Code::Truncated,
                offset,
                "$",
            );
        } else {
            refused(false, &keep(), body.as_bytes(), M, offset, place);
        }
    }
}

#[test]
fn truncation_is_told_from_other_damage() {
    for body in [
        "",
        " ",
        "[",
        "{",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "\"",
        "\"\\",
        "\"\\u1",
        "\"\\ud83d",
        "tru",
        "-",
        "1e",
        "1e+",
        "[1",
        "[1,",
        "[[]",
    ] {
        let fault = run(false, &keep(), Options::default(), body.as_bytes()).expect_err(body);
        assert_eq!(
            (fault.code, fault.offset),
            (Code::Truncated, Some(body.len() as u64)),
            "{body}"
        );
    }
    refused(true, &keep(), b"{\"a\":1", Code::Truncated, 6, "$.*");
}

#[test]
fn what_two_readers_read_differently_is_refused() {
    use Code::{ByteOrderMark, LoneSurrogate, MalformedJson, NotUtf8, NulInName};
    for (body, code, offset) in [
        (&b"\xEF\xBB\xBF{}"[..], ByteOrderMark, 0),
        (b"\xFF\xFE{\0}\0", NotUtf8, 0),
        (b"\xFE\xFF\0{\0}", NotUtf8, 0),
        (b"{\0}\0", MalformedJson, 1),
        (b"\0{\0}", MalformedJson, 0),
        (b"\"caf\xE9\"", NotUtf8, 4),
        (b"\"\xC0\xAF\"", NotUtf8, 1),
        (b"\"\xED\xA0\x80\"", NotUtf8, 1),
        (b"\"ab\xE2\x82", NotUtf8, 3),
        (b"[1,x,\xFF]", MalformedJson, 3),
        (br#""\ud800""#, LoneSurrogate, 1),
        (br#"["\udc00"]"#, LoneSurrogate, 2),
        (br#"["a\ud800\u0041"]"#, LoneSurrogate, 3),
        (br#"["a\ud800\ud800"]"#, LoneSurrogate, 3),
        (br#"["a\ud83d\n"]"#, LoneSurrogate, 3),
        (br#"{"a\udfff":1}"#, LoneSurrogate, 3),
        (br#"{"a\u0000":1}"#, NulInName, 3),
    ] {
        refused(false, &keep(), body, code, offset, "$");
    }
}

#[test]
fn lines_hold_exactly_one_text() {
    use Code::{ByteOrderMark, MalformedJson, MalformedNdjson, Truncated};
    for (body, code, offset, place) in [
        (&b"{} {}\n"[..], MalformedNdjson, 3, "$"),
        (b"{}{}\n", MalformedNdjson, 2, "$"),
        (b"{}\n1 2\n", MalformedNdjson, 5, "$"),
        (b"{\n\"a\":1}\n", MalformedNdjson, 1, "$"),
        (b"[1,\n2]\n", MalformedNdjson, 3, "$[*]"),
        (b"tru\ne", MalformedNdjson, 3, "$"),
        (b"\"a\nb\"", MalformedNdjson, 2, "$"),
        (b"1\n,\n2", MalformedJson, 2, "$"),
        (b"1\n[", Truncated, 3, "$[*]"),
        (b"1\n\xEF\xBB\xBF2", MalformedJson, 2, "$"),
        (b"\xEF\xBB\xBF2", ByteOrderMark, 0, "$"),
    ] {
        refused(true, &keep(), body, code, offset, place);
    }
}

#[test]
fn slots_carry_rule_shape_value_and_record() {
    let policy = policy(
        Unlisted::Reject,
        RecordUnit::Auto,
        &[
            ("$.sub", redact()),
            ("$.n", redact()),
            ("$..x", redact()),
            ("$.r[*].k", Action::Keep),
        ],
    );
    let body = r#"[{"\u0073ub":"a\"b","n":9007199254740993,"r":[{"k":[1]},{"x":{"y":["z",0]}}]},
        {"sub":"","sub":null,"sub":"s","n":true,"r":[],"x":-1.0e-7,"r":{}} ]"#;
    let (out, seen) = run(false, &policy, Options::default(), body.as_bytes()).expect("passes");
    let expected = r#"[{"\u0073ub":"new","n":"new","r":[{"k":[1]},{"x":"new"}]},
        {"sub":"","sub":null,"sub":"new","n":"new","r":[],"x":"new","r":{}} ]"#;
    assert_eq!(out, expected);
    let seen: Vec<_> = seen
        .iter()
        .map(|s| {
            (
                s.rule.0,
                s.shape,
                std::str::from_utf8(&s.value).expect("UTF-8"),
                s.record,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0, Shape::Escaped, "a\"b", 0),
            (1, Shape::Number, "9007199254740993", 0),
            (2, Shape::Container, "{\"y\":[\"z\",0]}", 0),
            (0, Shape::Text, "s", 1),
            (1, Shape::Boolean, "true", 1),
            (2, Shape::Number, "-1.0e-7", 1),
        ]
    );
}

#[test]
fn unlisted_places_are_refused_dropped_or_kept() {
    let rules = [("$.a.b", redact()), ("$.k", Action::Keep)];
    let reject = policy(Unlisted::Reject, RecordUnit::Auto, &rules);
    for (body, offset, place) in [
        ("{\"z\":1}", 5, "$.*"),
        ("{\"z\":{}}", 5, "$.*"),
        ("{\"a\":1}", 5, "$.a"),
        ("{\"a\":{\"z\":null}}", 10, "$.a.*"),
        ("{\"a\":[]}", 0, ""),
        ("{\"a\":[1]}", 6, "$.a[*]"),
        ("{\"k\":{\"z\":[1]},\"z\":tru}", 19, "$.*"),
        ("[{\"z\":1}]", 6, "$.*"),
        ("7", 0, "$"),
    ] {
        if place.is_empty() {
            assert_eq!(json(&reject, body), body);
        } else {
            refused(
                false,
                &reject,
                body.as_bytes(),
                Code::UnlistedPlace,
                offset,
                place,
            );
        }
    }
    let drop = policy(Unlisted::Drop, RecordUnit::Auto, &rules);
    assert_eq!(
        json(
            &drop,
            r#"{"z":1,"a":{"y":{},"b":2,"c":[]},"k":[{}],"z":{"a":1}}"#
        ),
        r#"{"a":{"b":"new"},"k":[{}]}"#
    );
    let kept = policy(Unlisted::Keep, RecordUnit::Auto, &rules);
    assert_eq!(
        json(&kept, r#"{"z":1,"a":{"b":2}}"#),
        r#"{"z":1,"a":{"b":"new"}}"#
    );
    assert_eq!(
        json(
            &policy(Unlisted::Drop, RecordUnit::Auto, &[]),
            "[1, {} ,[]]"
        ),
        "[]"
    );
    refused(
        false,
        &policy(Unlisted::Drop, RecordUnit::Auto, &[]),
        b" 1",
        Code::UnlistedPlace,
        1,
        "$",
    );
}

#[test]
fn below_a_kept_container_deeper_rules_still_count() {
    let rules = [
        ("$.a.p", redact()),
        ("$.a", Action::Keep),
        ("$..no", Action::Reject),
    ];
    let p = policy(Unlisted::Reject, RecordUnit::Auto, &rules);
    assert_eq!(
        json(&p, r#"{"a":{"x":{"p":1},"p":2}}"#),
        r#"{"a":{"x":{"p":1},"p":"new"}}"#
    );
    refused(
        false,
        &p,
        br#"{"a":{"x":{"no":1}}}"#,
        Code::RejectedPlace,
        16,
        "$.a.*.no",
    );
    let p = policy(
        Unlisted::Reject,
        RecordUnit::Auto,
        &[("$['a b']['']", Action::Reject), ("$..*", Action::Keep)],
    );
    refused(
        false,
        &p,
        br#"{"a b":{"":{}}}"#,
        Code::RejectedPlace,
        11,
        "$['a b']['']",
    );
}

#[test]
fn restore_looks_into_containers_and_at_strings_only() {
    let restore = Action::Restore {
        kind: crate::pseudonym::KindId(0),
    };
    let p = policy(Unlisted::Keep, RecordUnit::Auto, &[("$..*", restore)]);
    assert_eq!(
        json(&p, r#"{"a":[1,"x",{"b":"y"}],"c":null}"#),
        r#"{"a":[1,"new",{"b":"new"}],"c":null}"#
    );
}

#[test]
fn drops_leave_no_comma_behind() {
    let p = policy(
        Unlisted::Keep,
        RecordUnit::Auto,
        &[
            ("$..x", Action::Drop),
            ("$.e.*", Action::Drop),
            ("$.r", redact()),
        ],
    );
    for (body, expected) in [
        (r#"{"x":1}"#, "{}"),
        (r#"{ "x" : 1 }"#, "{ }"),
        (r#"{"x":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"x":1 , "a":2}"#, r#"{"a":2}"#),
        (r#"{"a":2,"x":1}"#, r#"{"a":2}"#),
        (r#"{"a":2 , "x":[1,{"x":2}] }"#, r#"{"a":2  }"#),
        (r#"{"a":1,"x":2,"b":3}"#, r#"{"a":1,"b":3}"#),
        (r#"{"x":1,"x":2,"b":3,"x":{},"x":4}"#, r#"{"b":3}"#),
        (r#"{"x":1,"x":2,"x":3}"#, "{}"),
        (r#"{"x":1,"r":"v","x":2}"#, r#"{"r":"new"}"#),
        (r#"{"e":[1,2,3]}"#, r#"{"e":[]}"#),
        (
            r#"{"e":[[1],{"x":2}],"b":[{"x":1},{"x":1,"y":2}]}"#,
            r#"{"e":[],"b":[{},{"y":2}]}"#,
        ),
        (
            "{\n  \"a\": 1,\n  \"x\": 2,\n  \"b\": 3\n}",
            "{\n  \"a\": 1,\n  \"b\": 3\n}",
        ),
        ("{\n  \"x\": 1,\n  \"b\": 3\n}", "{\n  \"b\": 3\n}"),
    ] {
        assert_eq!(json(&p, body), expected, "{body}");
    }
    for unit in [RecordUnit::Document, RecordUnit::Unbounded] {
        let p = policy(Unlisted::Keep, unit, &[("$[*].x", Action::Drop)]);
        assert_eq!(
            json(&p, r#"[{"x":1,"a":[]},{"a":2,"x":{"b":[1,2,3]}}]"#),
            r#"[{"a":[]},{"a":2}]"#
        );
    }
}

#[test]
fn dropped_records_leave_nothing() {
    let p = policy(Unlisted::Drop, RecordUnit::Auto, &[("$.a", redact())]);
    assert_eq!(
        json(&p, r#"[1,{"a":1}, 2 ,{"a":2},3]"#),
        r#"[{"a":"new"} ,{"a":"new"}]"#
    );
    assert_eq!(
        ndjson(&p, " 1\n{\"a\":1}\r\n2 \r\n\n3"),
        "{\"a\":\"new\"}\r\n\n"
    );
    let p = policy(Unlisted::Keep, RecordUnit::Document, &[("$", Action::Drop)]);
    refused(false, &p, b"{}", Code::RejectedPlace, 0, "$");
    assert_eq!(ndjson(&p, "{}\n[1]"), "");
}

#[test]
fn bounds_are_named_at_the_first_byte_too_many() {
    let options = Options {
        record: 20,
        depth: 2,
        value: 16,
    };
    let redacted = policy(Unlisted::Keep, RecordUnit::Auto, &[("$.a", redact())]);
    let case = |lines, p: &Arc<Policy>, body: &str| {
        run(lines, p, options, body.as_bytes())
            .map_err(|f| (f.code, f.offset))
            .map(|_| ())
    };
    let record = |at| Err((Code::RecordTooLarge, Some(at)));
    let deep = "[".repeat(40);
    assert_eq!(
        run(false, &keep(), options, deep.as_bytes())
            .map_err(|f| f.code)
            .map(|_| ()),
        Err(Code::TooDeep)
    );
    assert_eq!(
        case(false, &keep(), "[[[]]]"),
        Err((Code::TooDeep, Some(2)))
    );
    assert_eq!(case(false, &keep(), "[[],[]]"), Ok(()));
    assert_eq!(case(false, &keep(), "\"123456789012345678\""), Ok(()));
    assert_eq!(case(false, &keep(), "\"1234567890123456789\""), record(20));
    assert_eq!(
        case(false, &keep(), "\"12345678901234567\\ud800\""),
        record(20)
    );
    assert_eq!(case(false, &keep(), " 12345678901234567890"), Ok(()));
    assert_eq!(case(false, &keep(), "[12345678901234567890,1]"), Ok(()));
    assert_eq!(
        case(false, &keep(), "[123456789012345678901,1]"),
        record(21)
    );
    assert_eq!(
        case(false, &keep(), &format!("[1,{}2]", " ".repeat(30))),
        record(22)
    );
    assert_eq!(case(true, &keep(), "12345678901234567890\n1\n"), Ok(()));
    assert_eq!(case(true, &keep(), "1\n123456789012345678  \n"), Ok(()));
    assert_eq!(
        case(true, &keep(), "1\n123456789012345678   \n"),
        record(22)
    );
    assert_eq!(case(false, &redacted, "[{\"a\":\"123456789012\"}]"), Ok(()));
    let value = Err((Code::ValueTooLarge, Some(22)));
    assert_eq!(
        case(false, &redacted, "[{\"a\":\"123456789012345\"}]"),
        record(21)
    );
    let wide = Options {
        record: 30,
        ..options
    };
    let got = run(false, &redacted, wide, b"[{\"a\":\"123456789012345\"}]");
    assert_eq!(got.map_err(|f| (f.code, f.offset)).map(|_| ()), value);
    let unbounded = policy(Unlisted::Keep, RecordUnit::Unbounded, &[("$.a", redact())]);
    assert_eq!(
        case(
            false,
            &unbounded,
            &format!("{{\"b\":\"{}\"}}", "x".repeat(99))
        ),
        Ok(())
    );
    assert_eq!(
        case(
            false,
            &unbounded,
            &format!("{{\"b\":1,\"{}\":1}}", "x".repeat(99))
        ),
        record(26)
    );
}

/// The bytes a scanner keeps back are bounded, and each byte is looked at once however it comes.
#[test]
fn long_values_in_small_pieces_are_not_held_or_rescanned() {
    use crate::format::{Found, Json, Scanner};
    let p = policy(
        Unlisted::Drop,
        RecordUnit::Unbounded,
        &[("$.keep", Action::Keep)],
    );
    let long = "x".repeat(300_000);
    let body = format!(r#"{{"keep":["{long}",1],"gone":["{long}",2]}}"#).into_bytes();
    let mut scanner = Json::new(p, Options::default());
    let (mut found, mut from, mut most) = (Found::default(), 0, 0);
    for to in (0..=body.len()).step_by(7).chain([body.len()]) {
        scanner
            .scan(&body[from..to], to == body.len(), &mut found)
            .expect("passes");
        let ready = found.ready();
        from += found.released;
        found.advance(ready);
        most = most.max(to - from);
    }
    assert!(most < 40, "held {most} bytes");
}
