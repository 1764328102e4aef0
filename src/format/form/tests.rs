use std::sync::Arc;

use proptest::prelude::*;

use super::super::fuzz::{Seen, policy, rewrite};
use super::*;
use crate::policy::{Redact, Unlisted};

fn x() -> Action {
    Action::Redact(Redact::Constant("x y&é".into()))
}

fn run(scanner: &mut dyn Scanner, body: &str, cut: usize) -> Result<String, Fault> {
    let answer = |_: &Seen| Answer::Text("x y&é");
    let (out, _) = rewrite(scanner, body.as_bytes(), std::iter::repeat(cut), answer)?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn form(policy: &Arc<Policy>, body: &str) -> Result<String, Fault> {
    run(
        &mut Form::new(policy.clone(), Options::default()),
        body,
        usize::MAX,
    )
}

fn rules(unlisted: Unlisted) -> Arc<Policy> {
    let rules = [
        ("form:id", x()),
        ("form:['']", x()),
        ("form:a b", x()),
        ("form:né[]", x()),
        ("form:gone", Action::Drop),
        ("form:bad", Action::Reject),
        ("form:n", Action::Keep),
        ("$.n", x()),
        ("query:n", x()),
    ];
    let rules =
        rules.map(|(at, action)| (if at == "form:a b" { "form:['a b']" } else { at }, action));
    policy(unlisted, RecordUnit::Auto, &rules)
}

#[test]
fn formats_02_names_are_matched_however_they_are_written() {
    let policy = rules(Unlisted::Reject);
    const X: &str = "x%20y%26%C3%A9";
    for (body, becomes) in [
        ("id=SUB-1", format!("id={X}")),
        ("n=1&id=SUB-1&n=%4a+b", format!("n=1&id={X}&n=%4a+b")),
        ("%69%64=SUB-1", format!("%69%64={X}")),
        ("id=a&id=b&id=c=d", format!("id={X}&id={X}&id={X}")),
        ("=SUB-1", format!("={X}")),
        ("a+b=1&a%20b=2&a b=3", format!("a+b={X}&a%20b={X}&a b={X}")),
        (
            "n%C3%A9%5b%5D=1&né[]=2",
            format!("n%C3%A9%5b%5D={X}&né[]={X}"),
        ),
        // What holds nothing stays what it is.
        ("id=&id&n", "id=&id&n".to_owned()),
        ("", String::new()),
        ("&&n=1&", "&&n=1&".to_owned()),
    ] {
        assert_eq!(form(&policy, body).as_deref(), Ok(&*becomes), "{body}");
    }
}

/// `?SUB-1`: a value without a name to some readers, and a name without a value to others.
#[test]
fn formats_02_a_pair_without_equals_is_not_taken_for_a_name_that_any_rule_covers() {
    let any = policy(Unlisted::Reject, RecordUnit::Auto, &[("form:*", x())]);
    for body in ["SUB-1", "a=1&SUB-1"] {
        let fault = form(&any, body).expect_err(body);
        assert_eq!(fault.code, Code::RejectedPlace, "{body}");
        assert_eq!(fault.place.as_deref(), Some("form:*"));
    }
    assert_eq!(form(&any, "a=").as_deref(), Ok("a="));
    let named = policy(Unlisted::Reject, RecordUnit::Auto, &[("form:id", x())]);
    assert_eq!(form(&named, "id").as_deref(), Ok("id"));
}

#[test]
fn formats_02_a_dropped_pair_takes_its_separator_along() {
    let policy = rules(Unlisted::Drop);
    for (body, becomes) in [
        ("gone=1", ""),
        ("gone=1&n=1", "n=1"),
        ("n=1&gone=1", "n=1"),
        ("n=1&gone=1&n=2", "n=1&n=2"),
        ("gone=1&gone&n=1&gone=3", "n=1"),
        ("gone&other=1&%67one=2", ""),
        ("n=1&gone=1&", "n=1&"),
    ] {
        assert_eq!(form(&policy, body).as_deref(), Ok(becomes), "{body}");
    }
}

#[test]
fn formats_02_what_readers_differ_about_is_refused() {
    let policy = rules(Unlisted::Keep);
    for (body, code, offset) in [
        ("n=1;id=2", Code::MalformedForm, 3),
        ("n=%", Code::MalformedForm, 3),
        ("n=%4", Code::MalformedForm, 4),
        ("n=%4&id=1", Code::MalformedForm, 4),
        ("n=%zz", Code::MalformedForm, 3),
        ("n=a%00", Code::MalformedForm, 5),
        ("i%00d=1", Code::MalformedForm, 3),
        ("n=1\r\n", Code::MalformedForm, 3),
        ("n=1\0", Code::MalformedForm, 3),
        ("x=1&n=%E9", Code::NotUtf8, 4),
        ("x=1&%E9=1", Code::NotUtf8, 4),
        ("x=1&bad=1", Code::RejectedPlace, 4),
        ("x=1&bad", Code::RejectedPlace, 4),
    ] {
        let fault = form(&policy, body).expect_err(body);
        assert_eq!((fault.code, fault.offset), (code, Some(offset)), "{body}");
    }
    let fault = form(&rules(Unlisted::Reject), "n=1&name=Ann").expect_err("unlisted");
    assert_eq!(fault.code, Code::UnlistedPlace);
    assert_eq!(
        fault.place.as_deref(),
        Some("form:*"),
        "no name of the message"
    );
    let fault = form(&policy, "bad=1").expect_err("rejected");
    assert_eq!(fault.place.as_deref(), Some("form:bad"));
}

#[test]
fn formats_02_a_query_follows_rules_then_the_routes_list_then_the_wildcard() {
    let rules = [
        ("query:id", x()),
        ("query:*", Action::Drop),
        ("form:page", x()),
    ];
    let policy = policy(Unlisted::Reject, RecordUnit::Auto, &rules);
    let listed: Arc<[Listed]> = Arc::new([
        Listed {
            name: "page".into(),
            values: ["1 a".into()].into(),
        },
        Listed {
            name: "sort".into(),
            values: [].into(),
        },
    ]);
    let run = |query: &str| {
        let mut scanner = Form::query(policy.clone(), listed.clone(), Options::default());
        run(&mut scanner, query, usize::MAX)
    };
    let becomes = "p%61ge=1+a&sort=%E9&id=x%20y%26%C3%A9";
    let query = "p%61ge=1+a&other=1&sort=%E9&id=SUB-1";
    assert_eq!(run(query).as_deref(), Ok(becomes));
    for (query, place) in [
        ("page=2", "query:page"),
        ("page=1+a;id=2", "query:*"),
        ("id=%4", "query:*"),
    ] {
        let fault = run(query).expect_err(query);
        assert_eq!(fault.code, Code::QueryNotAllowed, "{query}");
        assert_eq!(fault.place.as_deref(), Some(place), "{query}");
    }
}

#[test]
fn formats_02_a_form_is_one_record_within_its_bound() {
    let options = Options {
        record: 8,
        ..Options::default()
    };
    let keep = policy(Unlisted::Keep, RecordUnit::Auto, &[]);
    let scan = |policy: &Arc<Policy>, body: &str| {
        run(&mut Form::new(policy.clone(), options), body, usize::MAX)
    };
    assert!(scan(&keep, "a=1&b=22").is_ok());
    let fault = scan(&keep, "a=1&b=222").expect_err("too large");
    assert_eq!((fault.code, fault.offset), (Code::RecordTooLarge, Some(8)));
    // What leaves as it is scanned is bounded pair by pair.
    let flows = policy(Unlisted::Keep, RecordUnit::Unbounded, &[]);
    assert!(scan(&flows, "a=1&b=222&c=3").is_ok());
    assert!(scan(&flows, "a=1&b=2222222&c=3").is_err());
    let mut scanner = Form::new(flows, Options::default());
    let mut found = Found::default();
    scanner.scan(b"a=1&b", false, &mut found).expect("good");
    assert_eq!(found.released, 3, "the separator waits");
}

fn pieces() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("id"),
        Just("n"),
        Just("gone"),
        Just(""),
        Just("i%64"),
        Just("other"),
        Just("a+b"),
        Just("%67one"),
        Just("caf%C3%A9"),
    ];
    let value = prop_oneof![
        Just("".to_owned()),
        Just("=".to_owned()),
        Just("=SUB-1".to_owned()),
        "=[a-z%+=]{0,6}",
        Just("=%41+%2B".to_owned()),
    ];
    proptest::collection::vec((name, value), 0..8).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}{v}")).collect();
        pairs.join("&")
    })
}

proptest! {
    #[test]
    fn formats_13_any_chunking_gives_the_same_form(body in pieces(), cut in 1usize..9) {
        for unlisted in [Unlisted::Keep, Unlisted::Drop, Unlisted::Reject] {
            for unit in [RecordUnit::Auto, RecordUnit::Unbounded] {
                let rules = [("form:id", x()), ("form:gone", Action::Drop), ("form:['a b']", Action::Keep)];
                let policy = policy(unlisted, unit, &rules);
                let at_once = run(&mut Form::new(policy.clone(), Options::default()), &body, usize::MAX);
                let in_pieces = run(&mut Form::new(policy, Options::default()), &body, cut);
                prop_assert_eq!(at_once, in_pieces);
            }
        }
    }

    #[test]
    fn formats_13_keeping_gives_back_the_form(body in "[a-z=&%+é0-9]{0,40}") {
        let keep = policy(Unlisted::Keep, RecordUnit::Auto, &[]);
        if let Ok(out) = form(&keep, &body) {
            prop_assert_eq!(out, body);
        }
    }

    /// Read again by another reader of forms: only the values that rules select have changed.
    #[test]
    fn formats_13_only_selected_values_change(body in pieces()) {
        let rules = [("form:id", x()), ("form:gone", Action::Drop)];
        let policy = policy(Unlisted::Keep, RecordUnit::Auto, &rules);
        let Ok(out) = form(&policy, &body) else { return Ok(()) };
        let read = |text: &str| -> Vec<(String, String)> {
            let decode = |part: &str| {
                let mut out = Vec::new();
                percent::decode(part.as_bytes(), true, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            };
            let pairs = text.split('&').filter(|p| !p.is_empty());
            pairs
                .map(|p| p.split_once('=').unwrap_or((p, "")))
                .map(|(n, v)| (decode(n), decode(v)))
                .collect()
        };
        let expected: Vec<_> = read(&body)
            .into_iter()
            .filter(|(n, _)| n != "gone")
            .map(|(n, v)| if n == "id" && !v.is_empty() { (n, "x y&é".to_owned()) } else { (n, v) })
            .collect();
        prop_assert_eq!(read(&out), expected);
    }
}
