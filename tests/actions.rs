//! Item 7: what depends on a record's subject, and what is sealed. Answers against keepers of a
//! test, configurations that are refused, and a real gateway with a real vault.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use cryptonym::config::{Config, Diagnostic, Format, Limits};
use cryptonym::error::{Code, Fault};
use cryptonym::format::csv::Dialect;
use cryptonym::format::places::{Places, Writing};
use cryptonym::policy::{
    Action, Already, Policy, RecordUnit, Rule, RuleId, Scope, Selector, Unlisted,
};
use cryptonym::pseudonym::seal::{SealKey, halves};
use cryptonym::pseudonym::shift::{Offset, fuzz_date, shift};
use cryptonym::pseudonym::{Class, DomainKey, Kind, KindId, Kinds, Normaliser};
use cryptonym::rewrite::head::Head;
use cryptonym::rewrite::own::OwnIdentifiers;
use cryptonym::rewrite::{Job, Keeper, Rewriter};
use cryptonym::secret::Key32;
use proptest::prelude::*;

mod support {
    pub mod corpus;
    pub mod installation;
    pub mod keeper;
    pub mod leak;
    pub mod reveal;
    pub mod sink;
}
use support::installation::{HOST, Installation};
use support::keeper::{Behaviour, TestKeeper};
use support::leak::{self, LeakSearch};

const SUBSCRIBER: KindId = KindId(0);
const ETHNICITY: KindId = KindId(1);
const DAYS: u16 = 183;

// --- the keeper under the rewriter's feet ---------------------------------------------------

fn keeper() -> Arc<TestKeeper> {
    let domain = DomainKey::new([1; 16], 1, Key32::new([7; 32]));
    TestKeeper::of(&domain, &kinds(), Behaviour::Keep)
}

/// What must come out, computed apart from the rewriter.
trait Expects {
    fn date(&self, subject: &str, date: &str) -> String;
    fn within(&self, subject: &str, value: &str) -> String;
    fn plain(&self, kind: KindId, normal: &str) -> String;
}

impl Expects for TestKeeper {
    fn date(&self, subject: &str, date: &str) -> String {
        let mut out = String::new();
        let offset = Offset::of(&self.kind(SUBSCRIBER).draw(subject.as_bytes()), DAYS);
        shift(offset, date, &mut out).unwrap();
        out
    }

    fn within(&self, subject: &str, value: &str) -> String {
        let subject = self.kind(SUBSCRIBER).derive(subject.as_bytes());
        let made =
            self.kind(ETHNICITY)
                .derive_within(self.kind(SUBSCRIBER), &subject, value.as_bytes());
        let mut out = String::new();
        self.kind(ETHNICITY).write(&made, &mut out);
        out
    }

    fn plain(&self, kind: KindId, normal: &str) -> String {
        let mut out = String::new();
        let key = self.kind(kind);
        key.write(&key.derive(normal.as_bytes()), &mut out);
        out
    }
}

fn kinds() -> Kinds {
    let kind = |name: &str, class, prefix: &str, normaliser| Kind {
        name: name.into(),
        class,
        prefix: prefix.into(),
        normaliser,
    };
    Kinds::new(vec![
        kind("subscriber", Class::Person, "sub", Normaliser::Subscriber),
        kind("ethnicity", Class::Vocabulary, "eth", Normaliser::Text),
        kind("sealed", Class::Object, "sea", Normaliser::Text),
    ])
}

fn rule(at: &str, action: Action) -> Rule {
    Rule {
        at: Selector::parse(at).unwrap(),
        action,
        category: None,
        special: None,
        subject: false,
        accept_frequency: false,
        already: Already::Reject,
    }
}

fn subject(at: &str) -> Rule {
    let action = Action::Pseudonym {
        kind: SUBSCRIBER,
        scope: Scope::Domain,
    };
    Rule {
        subject: true,
        ..rule(at, action)
    }
}

fn within(at: &str) -> Rule {
    let action = Action::Pseudonym {
        kind: ETHNICITY,
        scope: Scope::Subject,
    };
    rule(at, action)
}

fn shifted(at: &str) -> Rule {
    rule(at, Action::DateShift { days: DAYS })
}

fn policy(rules: Vec<Rule>) -> Arc<Policy> {
    Arc::new(Policy::compile("p", Unlisted::Keep, RecordUnit::Auto, rules).unwrap())
}

/// At every door of a body, and of a head.
fn everywhere() -> Arc<Policy> {
    let mut rules = Vec::new();
    for door in ["$.", "form:", "cookie:", "header:"] {
        rules.push(subject(&format!("{door}id")));
        rules.push(within(&format!("{door}eth")));
        rules.push(shifted(&format!("{door}born")));
        rules.push(shifted(&format!("{door}seen")));
    }
    policy(rules)
}

fn job(keeper: &Arc<TestKeeper>, policy: &Arc<Policy>, format: Format) -> Job {
    Job {
        policy: policy.clone(),
        kinds: Arc::new(kinds()),
        format,
        keeper: Some(keeper.clone()),
        limits: Arc::new(Limits::default()),
        own: None,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.enable_all().build().unwrap().block_on(future)
}

fn rewrite(job: Job, body: &[u8], cuts: &[usize]) -> Result<String, Fault> {
    let (mut out, mut rest) = (Vec::new(), body);
    run(async {
        let mut rewriter = Rewriter::new(job);
        for cut in cuts {
            let (chunk, behind) = rest.split_at((*cut).min(rest.len()));
            rewriter.push(chunk, &mut out).await?;
            rest = behind;
        }
        rewriter.push(rest, &mut out).await?;
        rewriter.finish(&mut out).await
    })?;
    Ok(String::from_utf8(out).unwrap())
}

fn ndjson(keeper: &Arc<TestKeeper>, rules: Vec<Rule>, body: &str) -> Result<String, Fault> {
    let job = job(keeper, &policy(rules), Format::Ndjson);
    rewrite(job, body.as_bytes(), &[])
}

// --- subjects of records --------------------------------------------------------------------

/// A record: its members in some order.
type Members = Vec<(&'static str, String)>;

fn member() -> impl Strategy<Value = Members> {
    let seen = "20(0[0-9]|2[0-6])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T07:30:00Z|)";
    let born = "19[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])";
    let eth = "(White|Mixed|Asian|Not stated)";
    ((1..4u8), seen, born, eth, any::<bool>()).prop_flat_map(|(id, seen, born, eth, empty)| {
        Just(vec![
            ("id", format!("SUB-{id}")),
            ("n", "1.50".to_owned()),
            ("seen", seen),
            ("born", if empty { String::new() } else { born }),
            ("eth", eth),
        ])
        .prop_shuffle()
    })
}

/// The same records in one format; columns of rows stand in the first record's order.
fn body(format: Format, records: &[Members]) -> String {
    let names: Vec<_> = records[0].iter().map(|(name, _)| *name).collect();
    let row = |record: &Members, delimiter: &str| {
        let field = |name: &&str| {
            let found = record.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        names.iter().map(field).collect::<Vec<_>>().join(delimiter)
    };
    let rows = |delimiter: &str| {
        let head = names.join(delimiter);
        let rows = records.iter().map(|record| row(record, delimiter));
        let all: Vec<_> = std::iter::once(head).chain(rows).collect();
        all.join("\n") + "\n"
    };
    let object = |record: &Members| {
        let members = record
            .iter()
            .map(|(name, value)| format!("\"{name}\":\"{value}\""));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let objects: Vec<_> = records.iter().map(object).collect();
    match format {
        Format::Json => format!("[{}]", objects.join(", ")),
        Format::Ndjson => objects.join("\n"),
        Format::EventStream => {
            let events = objects.iter().map(|o| format!("data: {o}\n\n"));
            events.collect()
        }
        Format::Csv(_) => rows(","),
        Format::Tsv { .. } => rows("\t"),
        Format::Form => {
            let pairs = records[0].iter();
            let pairs: Vec<_> = pairs
                .map(|(n, v)| format!("{n}={}", v.replace(' ', "+")))
                .collect();
            pairs.join("&")
        }
    }
}

/// The records as they must come out.
fn expected(keeper: &TestKeeper, records: &[Members]) -> Vec<Members> {
    let one = |record: &Members| {
        let id = &record.iter().find(|(name, _)| *name == "id").unwrap().1;
        let answer = |(name, value): &(&'static str, String)| {
            let answer = match *name {
                "id" => keeper.plain(SUBSCRIBER, value),
                "eth" => keeper.within(id, value),
                "born" | "seen" if !value.is_empty() => keeper.date(id, value),
                _ => value.clone(),
            };
            (*name, answer)
        };
        record.iter().map(answer).collect()
    };
    records.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn formats_07_a_subject_before_or_behind_its_values_is_the_same_in_every_format_however_cut(
        records in proptest::collection::vec(member(), 1..9),
        cuts in proptest::collection::vec(1..90usize, 0..60),
    ) {
        let (keeper, policy) = (keeper(), everywhere());
        for format in [
            Format::Json,
            Format::Ndjson,
            Format::Csv(Dialect::default()),
            Format::Tsv { header: true },
            Format::EventStream,
            Format::Form,
        ] {
            let records = match format {
                Format::Form => &records[..1],
                _ => &records[..],
            };
            let wanted = body(format, &expected(&keeper, records));
            let came = body(format, records);
            for cuts in [&[][..], &cuts] {
                let out = rewrite(job(&keeper, &policy, format), came.as_bytes(), cuts).unwrap();
                // A form writes escapes where it must; what was a colon is one again.
                let out = out.replace("%3A", ":");
                prop_assert_eq!(&out, &wanted);
            }
        }
    }

    #[test]
    fn formats_07_the_first_fault_does_not_depend_on_the_way_of_cutting(
        records in proptest::collection::vec((member(), 0..5u8), 1..6),
        cuts in proptest::collection::vec(1..60usize, 0..60),
    ) {
        let (keeper, policy) = (keeper(), everywhere());
        let damaged = |(mut record, how): (Members, u8)| {
            for (name, value) in &mut record {
                match (how, *name) {
                    (1, "id") => value.clear(),
                    (2, "id") => *value = "no id".to_owned(),
                    (3, "seen") => *value = "2026-02-30".to_owned(),
                    _ => {}
                }
            }
            record
        };
        let records: Vec<Members> = records.into_iter().map(damaged).collect();
        let came = body(Format::Ndjson, &records);
        let whole = rewrite(job(&keeper, &policy, Format::Ndjson), came.as_bytes(), &[]);
        let cut = rewrite(job(&keeper, &policy, Format::Ndjson), came.as_bytes(), &cuts);
        prop_assert_eq!(whole, cut);
    }
}

#[test]
fn formats_07_a_record_that_names_no_subject_or_two_is_refused_where_a_value_asks() {
    let keeper = keeper();
    let mine = keeper.plain(SUBSCRIBER, "SUB-1");
    let kept = Rule {
        already: Already::Keep,
        ..subject("$..id")
    };
    let rules = || vec![kept.clone(), shifted("$.seen"), within("$.eth")];
    for (line, code, place) in [
        (r#"{"seen":"2026-10-04"}"#, Code::NoSubject, "$.seen"),
        (r#"{"id":null,"eth":"White"}"#, Code::NoSubject, "$.eth"),
        (r#"{"eth":"White","id":""}"#, Code::NoSubject, "$.eth"),
        (
            r#"{"id":"SUB-1","a":{"id":"SUB-2"},"seen":"2026-10-04"}"#,
            Code::TwoSubjects,
            "$.seen",
        ),
        (
            r#"{"seen":"2026-10-04","id":"SUB-1","id":"SUB-2"}"#,
            Code::TwoSubjects,
            "$.seen",
        ),
        (
            &format!(r#"{{"seen":"2026-10-04","id":"SUB-2","a":{{"id":"{mine}"}}}}"#),
            Code::TwoSubjects,
            "$.seen",
        ),
        // Whoever holds pseudonyms could try values against them.
        (
            &format!(r#"{{"seen":"2026-10-04","id":"{mine}"}}"#),
            Code::NoSubject,
            "$.seen",
        ),
        (
            &format!(r#"{{"id":"{mine}","eth":"White"}}"#),
            Code::NoSubject,
            "$.eth",
        ),
        (
            r#"{"seen":"2026-10-04","id":"not normal"}"#,
            Code::NotNormal,
            "$..id",
        ),
        (
            r#"{"id":"SUB-1","seen":"2026-02-30"}"#,
            Code::NotADate,
            "$.seen",
        ),
        (r#"{"id":"SUB-1","seen":20261}"#, Code::NotADate, "$.seen"),
        (r#"{"id":"SUB-1","eth":" x"}"#, Code::NotNormal, "$.eth"),
    ] {
        // A good record before it, so that an offset means something.
        let body = format!("{{\"id\":\"SUB-9\",\"eth\":\"White\"}}\n{line}\n");
        let fault = ndjson(&keeper, rules(), &body).expect_err(line);
        assert_eq!(
            (fault.code, fault.place.as_deref()),
            (code, Some(place)),
            "{line}"
        );
        assert!(fault.offset > Some(30), "{line}");
    }
    // The same subject in two spellings, and as its own pseudonym, is one.
    for line in [
        r#"{"id":"SUB-1","a":{"id":"sub-1"},"seen":"2026-10-04"}"#.to_owned(),
        format!(r#"{{"id":"{mine}","seen":"2026-10-04","a":{{"id":"SUB-1"}}}}"#),
        // Nothing asks.
        r#"{"id":"SUB-1","a":{"id":"SUB-2"}}"#.to_owned(),
        format!(r#"{{"id":"{mine}","seen":null}}"#),
    ] {
        let out = ndjson(&keeper, rules(), &line).expect(&line);
        let asks = line.contains("2026-10-04");
        assert_eq!(
            out.contains(&keeper.date("SUB-1", "2026-10-04")),
            asks,
            "{out}"
        );
    }
}

#[test]
fn formats_07_another_subject_another_pseudonym_and_each_has_its_record() {
    let keeper = keeper();
    let body = "{\"id\":\"SUB-1\",\"eth\":\"White\"}\n{\"eth\":\"White\",\"id\":\"SUB-2\"}\n\
                {\"id\":\"SUB-1\",\"eth\":\"White\"}\n{\"id\":\"SUB-1\",\"eth\":\"Mixed\"}\n";
    let rules = || vec![subject("$.id"), within("$.eth")];
    let out = ndjson(&keeper, rules(), body).unwrap();
    let made: Vec<String> = out
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["eth"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(made[0], made[2]);
    let different: HashSet<_> = made.iter().collect();
    assert_eq!(different.len(), 3);
    assert!(made.iter().all(|text| text.starts_with("eth_1_")));
    assert!(!made.contains(&keeper.plain(ETHNICITY, "White")));

    // What the vault is told is enough to derive each again, and no more is told for the others.
    let sights = std::mem::take(&mut *keeper.sights.lock().unwrap());
    assert_eq!(sights.len(), 5);
    for sight in &sights {
        let key = keeper.kind(sight.kind);
        let again = match sight.subject {
            None => key.derive(sight.identifier.expose()),
            Some((of, subject)) => {
                key.derive_within(keeper.kind(of), &subject, sight.identifier.expose())
            }
        };
        assert_eq!(again, sight.pseudonym);
        assert_eq!(sight.subject.is_some(), sight.kind == ETHNICITY);
    }
    // Known durable the second time.
    assert_eq!(ndjson(&keeper, rules(), body).unwrap(), out);
    assert!(keeper.sights.lock().unwrap().is_empty());

    // One that was made passes where the rule says so, whoever the subject is.
    let passes = Rule {
        already: Already::Keep,
        ..within("$.eth")
    };
    let line = format!("{{\"eth\":\"{}\"}}\n", made[0]);
    let kept = ndjson(&keeper, vec![subject("$.id"), passes], &line);
    assert_eq!(kept.unwrap(), line);
    let refused = ndjson(
        &keeper,
        rules(),
        &format!("{{\"id\":\"SUB-1\",\"eth\":\"{}\"}}", made[0]),
    );
    assert_eq!(refused.unwrap_err().code, Code::AlreadyPseudonym);
}

#[test]
fn formats_07_what_was_replaced_within_a_subject_comes_back_to_who_sent_it() {
    let keeper = keeper();
    let own = Arc::new(OwnIdentifiers::new(10));
    let mut request = job(
        &keeper,
        &policy(vec![subject("$.id"), within("$.eth")]),
        Format::Json,
    );
    request.own = Some(own.clone());
    let sent = rewrite(request, br#"{"eth":"White","id":"SUB-1"}"#, &[]).unwrap();
    let restore = Action::Restore { kind: ETHNICITY };
    let mut response = job(&keeper, &policy(vec![rule("$.eth", restore)]), Format::Json);
    response.own = Some(own);
    let back = rewrite(response, sent.as_bytes(), &[]).unwrap();
    assert!(back.contains(r#""eth":"White""#), "{back}");
}

#[test]
fn formats_07_all_places_of_a_head_are_one_record() {
    let (keeper, policy) = (keeper(), everywhere());
    let id = |at: &str| {
        let at = policy.rules.iter().position(|r| r.at.to_string() == at);
        RuleId(u16::try_from(at.unwrap()).unwrap())
    };
    let looked = |texts: &[(&str, &str)]| {
        let mut head = Head::default();
        for (at, text) in texts {
            let places = Places::new(Writing::Field, vec![(0, text.len(), id(at))]);
            head.look(Box::new(places), text.as_bytes().to_vec())
                .unwrap();
        }
        let answered = head.answer(job(&keeper, &policy, Format::Json), None, 4096)?;
        let (texts, ..) = run(answered.durable())?;
        Ok::<_, Fault>(
            texts
                .into_iter()
                .map(|t| String::from_utf8(t).unwrap())
                .collect::<Vec<_>>(),
        )
    };
    let out = looked(&[
        ("header:seen", "2026-10-04"),
        ("cookie:eth", "White"),
        ("header:id", "SUB-1"),
        ("cookie:born", "19840517"),
    ]);
    assert_eq!(
        out.unwrap(),
        [
            keeper.date("SUB-1", "2026-10-04"),
            keeper.within("SUB-1", "White"),
            keeper.plain(SUBSCRIBER, "SUB-1"),
            keeper.date("SUB-1", "19840517"),
        ]
    );
    let two = looked(&[
        ("header:id", "SUB-1"),
        ("cookie:id", "SUB-2"),
        ("cookie:eth", "x"),
    ]);
    assert_eq!(two.unwrap_err().code, Code::TwoSubjects);
    let none = looked(&[("cookie:eth", "White")]);
    assert_eq!(none.unwrap_err().code, Code::NoSubject);
}

#[test]
fn formats_07_every_seed_of_a_date_is_survived() {
    support::corpus::replay("dates", fuzz_date, 8);
}

// --- sealed values --------------------------------------------------------------------------

const SEALED: KindId = KindId(2);

fn sealing(at: &str) -> Rule {
    rule(at, Action::Seal { kind: SEALED })
}

/// Opens a sealed text with what the vault was told.
fn open(keeper: &TestKeeper, place: &str, text: &str) -> String {
    let (head, sealed) = halves(text).unwrap();
    let key = cryptonym::pseudonym::text::parse(head.as_bytes()).unwrap();
    let sights = keeper.sights.lock().unwrap();
    let mut sights = sights.iter().filter(|sight| sight.kind == SEALED);
    let sight = sights.find(|sight| sight.pseudonym == key.pseudonym);
    let key = SealKey::of_identifier(sight.unwrap().identifier.expose()).unwrap();
    let value = key.open("sealed", place, sealed).unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

#[test]
fn formats_07_what_is_sealed_opens_with_the_key_of_its_record_alone() {
    let keeper = keeper();
    let rules = || {
        vec![
            sealing("$.note"),
            sealing("$.plan"),
            rule("$.n", Action::Keep),
        ]
    };
    let body = "{\"note\":\"a \\u00e9\\\"b\",\"plan\":[1,{\"x\":2}],\"n\":1}\n\
                {\"note\":12.50,\"plan\":true}\n{\"note\":null,\"plan\":\"\"}\n";
    let out = ndjson(&keeper, rules(), body).unwrap();
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |line: usize, name: &str| lines[line][name].as_str().unwrap();
    for (line, name, value) in [
        (0, "note", "a é\"b"),
        (0, "plan", "[1,{\"x\":2}]"),
        (1, "note", "12.50"),
        (1, "plan", "true"),
    ] {
        assert_eq!(open(&keeper, &format!("$.{name}"), text(line, name)), value);
    }
    assert_eq!(out.lines().nth(2), Some("{\"note\":null,\"plan\":\"\"}"));
    // One key a record, and another one for the next; none where nothing was sealed.
    let head = |line, name| halves(text(line, name)).unwrap().0;
    assert_eq!(head(0, "note"), head(0, "plan"));
    assert_ne!(head(0, "note"), head(1, "note"));
    assert_eq!(keeper.sights.lock().unwrap().len(), 2);
    // Lengths are alike, but for powers of two.
    assert_eq!(text(0, "note").len(), text(1, "plan").len());

    // A sealed value that comes again, and a pseudonym, are refused, unless the rule lets them pass.
    let again = format!("{{\"note\":\"{}\"}}\n", text(0, "note"));
    let refused = ndjson(&keeper, rules(), &again).unwrap_err();
    assert_eq!(
        (refused.code, refused.place.as_deref()),
        (Code::AlreadyPseudonym, Some("$.note"))
    );
    let keeping = Rule {
        already: Already::Keep,
        ..sealing("$.note")
    };
    assert_eq!(
        ndjson(&keeper, vec![keeping.clone()], &again).unwrap(),
        again
    );
    for near in [
        head(0, "note").to_owned(),
        keeper.plain(SUBSCRIBER, "SUB-1"),
    ] {
        let body = format!("{{\"note\":\"{near}\"}}\n");
        let refused = ndjson(&keeper, vec![keeping.clone()], &body).unwrap_err();
        assert_eq!(refused.code, Code::AlreadyPseudonym, "{near}");
    }
    // In rows and in a form it is a word that needs no quotes.
    for (format, body) in [
        (Format::Csv(Dialect::default()), "n,note\n1,\"a,b\"\n"),
        (Format::Tsv { header: true }, "n\tnote\n1\ta,b\n"),
        (Format::Form, "n=1&note=a%2Cb"),
    ] {
        let policy = policy(vec![sealing("$.note"), sealing("form:note")]);
        let out = rewrite(job(&keeper, &policy, format), body.as_bytes(), &[3, 4]).unwrap();
        let text = out.trim_end().rsplit([',', '\t', '=']).next().unwrap();
        let place = if format == Format::Form {
            "form:note"
        } else {
            "$.note"
        };
        assert_eq!(open(&keeper, place, text.trim_matches('"')), "a,b");
    }
}

// --- a real gateway and a real vault --------------------------------------------------------

fn installation(sink: &support::sink::Sink) -> Installation {
    Installation::start(&format!(
        r#"
[backend.lake]
urls = ["http://{}"]
region = "GB"
[kind.sealed]
class = "object"
prefix = "sea"
normaliser = "text"
[[route]]
name = "in"
host = "{HOST}"
path = "/v1"
methods = ["POST"]
backend = "lake"
domain = "improvement"
request = "p"
[policy.p]
rules = [
  {{ at = "$.seen", category = "test", action = "date-shift", days = 90 }},
  {{ at = "$.eth", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", scope = "subject" }},
  {{ at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.note", category = "test", special = "health", action = "seal", kind = "sealed" }},
]
"#,
        sink.address
    ))
}

fn post(installation: &Installation, body: &str) -> (u16, String) {
    let mut client = installation.client();
    run(async {
        let media = "application/x-ndjson";
        let answer = client.send("POST", "/v1", media, body.to_owned()).await;
        let answer = answer.unwrap_or_else(|failure| panic!("{failure}"));
        (answer.status, answer.text())
    })
}

#[test]
fn formats_07_through_a_real_gateway_and_back_through_a_real_vault() {
    let sink = support::sink::Sink::start();
    let mut installation = installation(&sink);
    let body = "{\"seen\":\"2026-10-04\",\"eth\":\"Mixed canary-1\",\"note\":\"canary-2 at night\",\"id\":\"SUB-00000001\"}\n\
                {\"id\":\"SUB-00000001\",\"seen\":\"2026-10-14T07:30:00Z\",\"eth\":\"Mixed canary-1\"}\n\
                {\"id\":\"SUB-00000002\",\"seen\":\"2026-10-04\",\"eth\":\"Mixed canary-1\",\"note\":\"x\"}\n";
    assert_eq!(post(&installation, body).0, 200);
    let arrived = sink.take().remove(0).bytes;
    let rows: Vec<serde_json::Value> = String::from_utf8(arrived.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |row: usize, name: &str| rows[row][name].as_str().unwrap().to_owned();

    // Ten days apart before, ten days apart now; never where they were.
    let day = |text: &str| {
        let form = time::macros::format_description!("[year]-[month]-[day]");
        time::Date::parse(&text[..10], form)
            .unwrap()
            .to_julian_day()
    };
    assert_eq!(day(&text(1, "seen")) - day(&text(0, "seen")), 10);
    assert!(text(1, "seen").ends_with("T07:30:00Z"));
    for row in [0, 2] {
        let moved = (day(&text(row, "seen")) - day("2026-10-04")).abs();
        assert!((1..=90).contains(&moved), "{moved}");
    }
    assert_eq!(text(0, "eth"), text(1, "eth"));
    assert_ne!(text(0, "eth"), text(2, "eth"));

    // The vault gives back what the two people ask for.
    let (note, other) = (text(0, "note"), text(2, "note"));
    let key = |note: &str| halves(note).unwrap().0.to_owned();
    let asked = [text(0, "eth"), text(2, "eth"), text(0, "id"), key(&note)];
    let revealed = support::reveal::reveal(&installation, &asked);
    assert_eq!(revealed[&asked[0]], "Mixed canary-1");
    assert_eq!(revealed[&asked[1]], "Mixed canary-1");
    assert_eq!(revealed[&asked[2]], "SUB-00000001");
    let keys = serde_json::json!([{
        "pseudonym": asked[3], "kind": "sealed", "identifier": revealed[&asked[3]],
    }]);
    let file = installation.folder().join("keys.json");
    std::fs::write(&file, keys.to_string()).unwrap();
    let open = |at: &str, sealed: &str| {
        let keys = file.to_str().unwrap();
        installation.cryptonym(&["reveal", "open", "--at", at, "--keys", keys, sealed])
    };
    assert_eq!(open("$['note']", &note).stdout, "canary-2 at night\n");
    for (at, sealed, why) in [
        ("$.other", &note, "does not open"),
        ("$.note", &other, "its key is not among those given"),
        ("note", &note, "--at"),
    ] {
        let ended = open(at, sealed);
        assert!(
            !ended.success && ended.stderr.contains(why),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains(&revealed[&asked[3]]));
    }

    // The same again is known durable, but for the keys, which are always new.
    assert_eq!(post(&installation, body).0, 200);
    let again = String::from_utf8(sink.take().remove(0).bytes).unwrap();
    assert!(again.contains(&text(0, "eth")) && again.contains(&text(2, "seen")));
    assert!(!again.contains(&key(&note)));
    let page = installation.metrics("vault");
    let kept = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{page}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    // Two subjects, two of scope subject, two and two keys.
    assert_eq!(kept("cryptonym_vault_records_new_total"), "8");
    let gateway = installation.metrics("gateway");
    for action in ["date-shift", "seal"] {
        let line = gateway
            .lines()
            .find(|l| l.contains(&format!("action=\"{action}\"")));
        let wanted = if action == "seal" { " 4" } else { " 6" };
        assert!(line.is_some_and(|l| l.ends_with(wanted)), "{line:?}");
    }

    // A record that names nobody leaves nothing.
    let (status, problem) = post(&installation, "{\"seen\":\"2026-10-04\"}\n");
    assert_eq!(status, 422);
    assert!(
        problem.contains("no-subject") && problem.contains("$.seen"),
        "{problem}"
    );
    assert!(sink.take().is_empty());

    // Neither process has written a value or a key anywhere.
    installation.stop();
    std::fs::remove_file(&file).unwrap();
    let search = LeakSearch::new(["canary-1", "canary-2", revealed[&asked[3]].as_str()]);
    leak::prove();
    let leaks = search.look(installation.folder());
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn formats_07_check_says_what_the_backend_sees() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, GOOD).unwrap();
    let check = |more: &[&str]| {
        let mut command = support::installation::executable();
        command.args(["check", "--no-files", "--color", "never", "--config"]);
        let out = command.arg(&file).args(more).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    };
    // Lines are broken where they are long.
    let page = check(&[]).split_whitespace().collect::<Vec<_>>().join(" ");
    for seen in [
        "eth_1_… (another for each subject)",
        "a date up to 183 days away, by the subject",
        "sea_1_….… (sealed)",
        "sealed under a key for each record",
        "whoever knows one true date",
    ] {
        assert!(page.contains(seen), "{seen}: {page}");
    }
    assert!(!page.contains("undone by counting"), "{page}");
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"])).unwrap();
    let rules = json["policies"][0]["rules"].as_array().unwrap();
    assert_eq!(rules[2]["action"], "date-shift");
    assert_eq!(rules[3]["backend_sees"], "sea_1_….… (sealed)");
    let record = check(&["--explain"]);
    for said in [
        "dates moved by up to 183 days",
        "values sealed (AES-256-GCM)",
        "another for each subject",
    ] {
        assert!(record.contains(said), "{said}: {record}");
    }
}

// --- what `check` says ----------------------------------------------------------------------

const GOOD: &str = r#"[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "g.pem", key = "g.key", client_ca = "ca.pem" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[domain.study]
mode = "keyed"
purpose = "research"
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[kind.ethnicity]
class = "vocabulary"
prefix = "eth"
[kind.sealed]
class = "object"
prefix = "sea"
normaliser = "text"
[[route]]
name = "in"
path = "/v1"
backend = "lake"
domain = "study"
request = "p"
[[route]]
name = "other"
path = "/v2"
backend = "lake"
domain = "study"
request = "q"
[policy.p]
unlisted = "reject"
rules = [
  { at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.eth", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", scope = "subject" },
  { at = "$.seen", category = "test", action = "date-shift" },
  { at = "$.note", category = "test", action = "seal", kind = "sealed" },
  { at = "$.update", category = "test", action = "keep" },
  { at = "$.born", category = "identity", action = "generalise", to = "year" },
]
[policy.q]
rules = [
  { at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.day", category = "identity", action = "date-shift", days = 183 },
]
"#;

fn parse(text: &str) -> Result<cryptonym::config::Loaded, Vec<Diagnostic>> {
    Config::parse(text, Path::new("/etc/cryptonym"), "c.toml")
}

#[test]
fn formats_07_the_three_actions_are_read() {
    let loaded = parse(GOOD).unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(loaded.warnings, []);
    let policy = &loaded.config.policies[0];
    let kind = |name| loaded.config.kinds.find(name).unwrap();
    let actions: Vec<_> = policy.rules.iter().map(|r| r.action.clone()).collect();
    assert_eq!(
        actions[1..4],
        [
            Action::Pseudonym {
                kind: kind("ethnicity"),
                scope: Scope::Subject
            },
            Action::DateShift { days: 183 },
            Action::Seal {
                kind: kind("sealed")
            },
        ]
    );
    assert!(policy.wants_subject);
    // A name that says date and is none; several places of one kind.
    for (from, to) in [
        (
            "\"$.update\", category = \"test\"",
            "\"$.update_time\", category = \"test\", date = false",
        ),
        (
            "\"$.born\", category = \"identity\", action = \"generalise\", to = \"year\"",
            "\"$.subscriber\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\", subject = true",
        ),
    ] {
        assert!(GOOD.contains(from));
        let loaded = parse(&GOOD.replace(from, to)).unwrap_or_else(|found| panic!("{found:#?}"));
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn formats_07_what_cannot_be_kept_is_refused_with_line_column_and_hint() {
    let shifted = "{ at = \"$.seen\", category = \"test\", action = \"date-shift\" }";
    for (from, to, line, column, message, hint) in [
        (
            ", subject = true },\n  { at = \"$.eth\"",
            " },\n  { at = \"$.eth\"",
            34,
            74,
            "no rule says where that stands",
            "subject = true",
        ),
        (
            "at = \"$.id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\", subject = true },\n  { at = \"$.eth\"",
            "at = \"query:id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\", subject = true },\n  { at = \"$.eth\"",
            34,
            74,
            "no rule says where that stands",
            "`query:id` (line 33)",
        ),
        (
            "[policy.p]\nunlisted = \"reject\"",
            "[policy.p]\nrecord = \"unbounded\"",
            34,
            74,
            "leaves before it is whole",
            "record = \"auto\"",
        ),
        (
            "unlisted = \"reject\"",
            "unlisted = \"keep\"",
            31,
            12,
            "one true date gives all away",
            "reject",
        ),
        (
            "$.update",
            "$.updated_at",
            37,
            54,
            "`$.updated_at` shows a true date",
            "date = false",
        ),
        (
            "action = \"keep\" }",
            "action = \"keep\", date = true }",
            37,
            50,
            "shows a true date beside shifted ones (line 35)",
            "generalise to year",
        ),
        (
            "to = \"year\"",
            "to = \"month\"",
            38,
            52,
            "`$.born` shows a true date",
            "generalise to year",
        ),
        (
            shifted,
            "{ at = \"$.seen\", category = \"test\", action = \"date-shift\", date = false }",
            35,
            48,
            "says that there is none",
            "remove `date`",
        ),
        (
            shifted,
            "{ at = \"$.seen\", category = \"test\", action = \"date-shift\", days = 3 }",
            35,
            69,
            "",
            "7",
        ),
        (
            "{ at = \"$.update\", category = \"test\", action = \"keep\" }",
            "{ at = \"$.update\", category = \"test\", action = \"date-shift\", days = 30 }",
            37,
            50,
            "different numbers of days",
            "days = 183, as in line 35",
        ),
        (
            "days = 183",
            "days = 30",
            29,
            11,
            "up to 30 days here and 183 on route `in`",
            "same `days`",
        ),
        (
            "kind = \"sealed\"",
            "kind = \"subscriber\"",
            36,
            63,
            "keys cannot be kept under kind `subscriber`",
            "[kind.sealed]",
        ),
        (
            ", kind = \"sealed\"",
            "",
            36,
            3,
            "has no `kind`",
            "kind = \"sealed\"",
        ),
        (
            "action = \"keep\" }",
            "action = \"keep\", days = 9 }",
            37,
            65,
            "`days` belongs to action `date-shift`",
            "remove it",
        ),
        (
            "{ at = \"$.update\", category = \"test\", action = \"keep\" }",
            "{ at = \"$.mail\", category = \"contact\", action = \"pseudonym\", kind = \"email\", subject = true }",
            37,
            90,
            "a second kind names the subject",
            "line 33",
        ),
        (
            "scope = \"subject\"",
            "scope = \"subject\", accept = \"frequency\"",
            34,
            135,
            "no such risk",
            "remove it",
        ),
        (
            "region = \"GB\"",
            "region = \"US\"",
            43,
            3,
            "may not go to region US",
            "pseudonyms",
        ),
        (
            "domain = \"study\"\nrequest = \"q\"",
            "purpose = \"research\"\nrequest = \"q\"",
            29,
            11,
            "no `domain`",
            "domain =",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let found = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
        let hit = found.iter().any(|d| {
            d.message.contains(message)
                && d.hint.as_deref().is_some_and(|h| h.contains(hint))
                && (d.line, d.column) == (line, column)
        });
        assert!(hit, "{to}: {line}:{column} {message}: {found:#?}");
    }
}
