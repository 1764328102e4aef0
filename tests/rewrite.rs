//! The five steps joined, against keepers that answer late, refuse, or count.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use cryptonym::config::{Format, Limits};
use cryptonym::error::{Code, Fault, Stage};
use cryptonym::format::Places;
use cryptonym::format::csv::Dialect;
use cryptonym::format::fuzz::policy;
use cryptonym::format::places::Writing;
use cryptonym::limits;
use cryptonym::policy::{Action, RecordUnit, Redact, RuleId, Scope, Unlisted};
use cryptonym::pseudonym::{Class, DomainKey, Kind, KindId, Kinds, Normaliser, text};
use cryptonym::rewrite::head::Head;
use cryptonym::rewrite::own::OwnIdentifiers;
use cryptonym::rewrite::{Job, Rewriter, Summary};
use cryptonym::secret::Key32;

#[path = "support/keeper.rs"]
mod keeper;
use keeper::{Behaviour, TestKeeper};

const SUBSCRIBER: KindId = KindId(0);
const EMAIL: KindId = KindId(1);

#[test]
fn path_08_nothing_leaves_before_its_record_is_durable() {
    let keeper = keeper(Behaviour::Late);
    let mut rewriter = Rewriter::new(job(&keeper, Format::Ndjson, scope(Scope::Domain)));
    let mut out = Vec::new();
    run(async {
        let push = rewriter.push(b"{\"id\":\"SUB-1\"}\n", &mut out);
        let late = tokio::time::timeout(Duration::from_millis(20), push).await;
        assert!(late.is_err(), "it did not wait for the keeper");
    });
    assert!(out.is_empty(), "something left before it was durable");
    // A step that was dropped halfway cannot be followed by another.
    let next = run(rewriter.push(b"{\"id\":\"SUB-2\"}\n", &mut out));
    assert_eq!(next.unwrap_err().code, Code::Internal);
    assert!(out.is_empty());
}

#[test]
fn path_08_a_refusal_lets_nothing_of_its_segment_leave() {
    for code in [
        Code::VaultUnreachable,
        Code::VaultRefused,
        Code::VaultConflict,
        Code::Budget,
    ] {
        let keeper = keeper(Behaviour::Refuse(code));
        let mut out = Vec::new();
        let fault = rewrite(&keeper, b"{\"id\":\"SUB-1\",\"x\":1}\n", &mut out).unwrap_err();
        assert_eq!(fault.code, code);
        assert!(out.is_empty());
    }
}

#[test]
fn path_08_what_is_known_durable_needs_no_round_trip_and_doubles_are_asked_once() {
    let keeper = keeper(Behaviour::Keep);
    let body = b"{\"id\":\"SUB-1\"}\n{\"id\":\"SUB-1\"}\n{\"id\":\"sub-1\"}\n{\"id\":\"SUB-2\"}\n";
    let mut out = Vec::new();
    let summary = rewrite(&keeper, body, &mut out).unwrap();
    assert_eq!((summary.records, summary.replaced), (4, 4));
    assert_eq!(summary.first_sights, 2);
    assert_eq!(keeper.calls.load(SeqCst), 1);
    let summary = rewrite(&keeper, body, &mut Vec::new()).unwrap();
    assert_eq!(summary.first_sights, 0);
    assert_eq!(keeper.calls.load(SeqCst), 1);
    let lines: Vec<&[u8]> = out.split(|&byte| byte == b'\n').collect();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0], lines[2], "one subject, one pseudonym");
    assert_ne!(lines[0], lines[3]);
}

/// Pseudonyms are longer than what they stand for: a head may grow to a bound, and is refused
/// before anything of it has become durable.
#[test]
fn formats_03_a_head_that_grows_too_long_leaves_nothing_behind() {
    for (most, code) in [(33, None), (32, Some(Code::HeadTooLarge))] {
        let keeper = keeper(Behaviour::Keep);
        let action = scope(Scope::Domain);
        let job = Job {
            policy: policy(Unlisted::Reject, RecordUnit::Auto, &[("header:x", action)]),
            ..job(&keeper, Format::Json, scope(Scope::Domain))
        };
        let mut head = Head::default();
        let places = Places::new(Writing::Field, vec![(0, 5, RuleId(0))]);
        head.look(Box::new(places), b"SUB-1".to_vec()).unwrap();
        let answered = head.answer(job, None, most);
        assert_eq!(answered.as_ref().err().map(|fault| fault.code), code);
        if let Ok(answered) = answered {
            let (texts, ..) = run(answered.durable()).unwrap();
            assert!(texts[0].len() == most && texts[0].starts_with(b"sub_"));
        }
        let asked = usize::from(code.is_none());
        assert_eq!(keeper.calls.load(SeqCst), asked, "{most}");
    }
}

#[test]
fn path_06_a_value_that_comes_again_has_the_same_answer_and_another_kind_another() {
    let keeper = keeper(Behaviour::Keep);
    // Escaped, in another case, as a number and under another kind: all in one segment, and cut.
    let mut body = Vec::new();
    for n in 0..2000u32 {
        let line = match n % 5 {
            0 => format!("{{\"id\":\"SUB-{}\"}}\n", n % 7),
            1 => format!("{{\"id\":\"S\\u0055B-{}\"}}\n", n % 7),
            2 => format!("{{\"id\":\"sub-{}\"}}\n", n % 7),
            3 => format!("{{\"id\":{}}}\n", 12_345 + n % 7),
            _ => format!("{{\"id\":\"{}\"}}\n", 12_345 + n % 7),
        };
        body.extend_from_slice(line.as_bytes());
    }
    let mut whole = Vec::new();
    let summary = rewrite(&keeper, &body, &mut whole).unwrap();
    assert_eq!((summary.records, summary.replaced), (2000, 2000));
    assert_eq!(summary.first_sights, 14);
    // A record at a time nothing comes again.
    let mut single = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        rewrite(&keeper, line, &mut single).unwrap();
    }
    assert!(
        whole == single,
        "an answer depends on what stood beside the value"
    );
}

#[test]
fn path_06_every_value_that_has_no_normal_form_is_refused_with_its_place() {
    let keeper = keeper(Behaviour::Keep);
    for (value, code) in [
        ("\"not normal\"", Code::NotNormal),
        ("\"N/A\"", Code::Sentinel),
        (
            "\"sub_1_6kqvkd7shmr52khmpxwy6hsqy8q\"",
            Code::AlreadyPseudonym,
        ),
        ("[\"SUB-1\"]", Code::NotNormal),
        ("true", Code::NotNormal),
    ] {
        let body = format!("{{\"n\":1,\"id\":{value}}}\n");
        let mut out = Vec::new();
        let fault = rewrite(&keeper, body.as_bytes(), &mut out).unwrap_err();
        assert_eq!(fault.code, code, "{value}");
        assert_eq!(fault.place.as_deref(), Some("$.id"));
        assert_eq!(fault.offset, Some(12), "{value}");
        assert_eq!(fault.stage, Stage::Resolve);
        assert!(out.is_empty());
    }
    // These stay what they are.
    let body = b"{\"id\":null}\n{\"id\":\"\"}\n";
    let mut out = Vec::new();
    rewrite(&keeper, body, &mut out).unwrap();
    assert_eq!(out, body);
}

#[test]
fn path_05_numbers_and_strings_of_one_spelling_derive_alike() {
    let keeper = keeper(Behaviour::Keep);
    let mut out = Vec::new();
    rewrite(
        &keeper,
        b"{\"id\":9000001}\n{\"id\":\"9000001\"}\n",
        &mut out,
    )
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert!(lines[0].starts_with("{\"id\":\"sub_1_"), "{text}");
}

#[test]
fn path_06_tokens_are_alike_within_a_record_and_nowhere_else() {
    let keeper = keeper(Behaviour::Keep);
    let rules = policy(
        Unlisted::Keep,
        RecordUnit::Auto,
        &[("$..id", scope(Scope::Record))],
    );
    let body = b"{\"id\":\"SUB-1\",\"again\":{\"id\":\"SUB-1\"}}\n{\"id\":\"SUB-1\"}\n";
    let mut job = job(&keeper, Format::Ndjson, Action::Keep);
    job.policy = rules;
    let mut out = Vec::new();
    let summary = run_job(job, body, 7, &mut out).unwrap();
    assert_eq!(summary.first_sights, 0, "a token has no record");
    let text = String::from_utf8(out).unwrap();
    let tokens: Vec<&str> = text
        .split('"')
        .filter(|part| part.starts_with("sub_0_"))
        .collect();
    assert_eq!(tokens.len(), 3);
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[0], tokens[2]);
    assert!(text::parse(tokens[0].as_bytes()).is_some());
}

#[test]
fn path_11_only_what_this_request_sent_comes_back_and_as_it_was_sent() {
    let keeper = keeper(Behaviour::Keep);
    let own = Arc::new(OwnIdentifiers::new(limits::RESTORE));
    let mut request = job(&keeper, Format::Ndjson, scope(Scope::Domain));
    request.own = Some(own.clone());
    let mut sent = Vec::new();
    run_job(
        request,
        b"{\"id\":\"sub-1\"}\n{\"id\":\"SUB-1\"}\n",
        64,
        &mut sent,
    )
    .unwrap();
    let sent = String::from_utf8(sent).unwrap();
    let mine = sent.split('"').nth(3).unwrap();
    // Of another request, under the same keys.
    let mut other = Vec::new();
    rewrite(&keeper, b"{\"id\":\"SUB-2\"}\n", &mut other).unwrap();
    let other = String::from_utf8(other).unwrap();
    let theirs = other.split('"').nth(3).unwrap();

    let mut response = job(&keeper, Format::Json, Action::Keep);
    response.keeper = None;
    response.own = Some(own);
    response.policy = policy(
        Unlisted::Keep,
        RecordUnit::Auto,
        &[
            ("$.id", Action::Restore { kind: SUBSCRIBER }),
            ("$.list[*]", Action::Restore { kind: SUBSCRIBER }),
            ("$.mail", Action::Restore { kind: EMAIL }),
        ],
    );
    let answer = format!(
        r#"{{"id":"{mine}","list":["{theirs}","x {mine}"],"mail":"{mine}","else":"{mine}"}}"#
    );
    let mut out = Vec::new();
    run_job(response, answer.as_bytes(), 5, &mut out).unwrap();
    // The first spelling, a whole value, at a listed place, of the same kind; nothing else.
    let expected = answer.replacen(mine, "sub-1", 1);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn formats_01_an_identifier_is_the_same_in_json_and_in_rows_and_comes_back_in_rows() {
    let keeper = keeper(Behaviour::Keep);
    let csv = Format::Csv(Dialect::default());
    let tsv = Format::Tsv { header: true };
    let own = Arc::new(OwnIdentifiers::new(limits::RESTORE));
    let sent = |format, body: &str| {
        let mut request = job(&keeper, format, scope(Scope::Domain));
        request.own = Some(own.clone());
        let mut out = Vec::new();
        let summary = run_job(request, body.as_bytes(), 3, &mut out).unwrap();
        (summary.records, String::from_utf8(out).unwrap())
    };
    let (_, json) = sent(Format::Ndjson, "{\"id\":\"SUB-1\"}\n");
    let mine = json.split('"').nth(3).unwrap();
    let rows = sent(csv, "n,id\r\n1,SUB-1\r\n\r\n2,\"sub-1\"\r\n");
    assert_eq!(
        rows,
        (2, format!("n,id\r\n1,{mine}\r\n\r\n2,\"{mine}\"\r\n"))
    );
    assert_eq!(
        sent(tsv, "id\nSUB-1\n\\N\n"),
        (2, format!("id\n{mine}\n\\N\n"))
    );

    let restore = [("$.id", Action::Restore { kind: SUBSCRIBER })];
    for (format, answer, expected) in [
        (
            csv,
            format!("id,n\n{mine},{mine}\n"),
            format!("id,n\nSUB-1,{mine}\n"),
        ),
        (
            csv,
            format!("id\n\"{mine}\"\nx {mine}\n"),
            format!("id\n\"SUB-1\"\nx {mine}\n"),
        ),
        (
            tsv,
            format!("id\tn\n{mine}\t{mine}\n"),
            format!("id\tn\nSUB-1\t{mine}\n"),
        ),
    ] {
        let mut response = job(&keeper, format, Action::Keep);
        response.keeper = None;
        response.own = Some(own.clone());
        response.policy = policy(Unlisted::Keep, RecordUnit::Auto, &restore);
        let mut out = Vec::new();
        run_job(response, answer.as_bytes(), 5, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn path_17_how_a_body_is_cut_changes_nothing() {
    let keeper = keeper(Behaviour::Keep);
    let body: String = (0..300)
        .map(|n| {
            format!(
                "{{\"n\": {n}.50, \"id\" :\"SUB-{}\",\"e\":\"\\u00e9\"}}\r\n",
                n % 40
            )
        })
        .collect();
    let mut whole = Vec::new();
    let summary = run_job(
        job(&keeper, Format::Ndjson, scope(Scope::Domain)),
        body.as_bytes(),
        body.len(),
        &mut whole,
    )
    .unwrap();
    assert_eq!((summary.records, summary.replaced), (300, 300));
    for cut in [1, 2, 3, 17, 64, 1000, 4096] {
        let mut out = Vec::new();
        run_job(
            job(&keeper, Format::Ndjson, scope(Scope::Domain)),
            body.as_bytes(),
            cut,
            &mut out,
        )
        .unwrap();
        assert!(out == whole, "cut into {cut}");
    }
}

#[test]
fn path_03_values_beyond_the_bound_are_refused() {
    let keeper = keeper(Behaviour::Keep);
    let mut job = job(&keeper, Format::Json, Action::Keep);
    job.policy = policy(
        Unlisted::Keep,
        RecordUnit::Document,
        &[("$[*]", Action::Redact(Redact::Constant("-".into())))],
    );
    let body = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    let mut out = Vec::new();
    run_job(
        job.clone(),
        body(limits::SLOTS).as_bytes(),
        1 << 20,
        &mut out,
    )
    .unwrap();
    let fault = run_job(
        job,
        body(limits::SLOTS + 1).as_bytes(),
        1 << 20,
        &mut Vec::new(),
    );
    assert_eq!(fault.unwrap_err().code, Code::TooManyValues);
}

// --- the keeper under the rewriter's feet ---------------------------------------------------

fn keeper(behaviour: Behaviour) -> Arc<TestKeeper> {
    let domain = DomainKey::new([1; 16], 1, Key32::new([7; 32]));
    TestKeeper::of(&domain, &kinds(), behaviour)
}

fn kinds() -> Kinds {
    let kind = |name: &str, prefix: &str, normaliser| Kind {
        name: name.into(),
        class: Class::Person,
        prefix: prefix.into(),
        normaliser,
    };
    Kinds::new(vec![
        kind("subscriber", "sub", Normaliser::Subscriber),
        kind("email", "eml", Normaliser::Email),
    ])
}

fn scope(scope: Scope) -> Action {
    Action::Pseudonym {
        kind: SUBSCRIBER,
        scope,
    }
}

fn job(keeper: &Arc<TestKeeper>, format: Format, action: Action) -> Job {
    Job {
        policy: policy(Unlisted::Keep, RecordUnit::Auto, &[("$.id", action)]),
        kinds: Arc::new(kinds()),
        format,
        keeper: Some(keeper.clone()),
        limits: Arc::new(Limits::default()),
        own: None,
    }
}

fn rewrite(keeper: &Arc<TestKeeper>, body: &[u8], out: &mut Vec<u8>) -> Result<Summary, Fault> {
    let job = job(keeper, Format::Ndjson, scope(Scope::Domain));
    run_job(job, body, body.len(), out)
}

fn run_job(job: Job, body: &[u8], cut: usize, out: &mut Vec<u8>) -> Result<Summary, Fault> {
    run(async {
        let mut rewriter = Rewriter::new(job);
        for chunk in body.chunks(cut) {
            rewriter.push(chunk, out).await?;
        }
        rewriter.finish(out).await
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}
