//! Free text: what identifies somebody in it becomes the pseudonym that it has elsewhere.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use cryptonym::config::{Config, Diagnostic, Format, Limits, Loaded};
use cryptonym::error::{Code, Fault};
use cryptonym::format::csv::Dialect;
use cryptonym::pseudonym::DomainKey;
use cryptonym::pseudonym::scrub::fuzz;
use cryptonym::rewrite::{Job, Rewriter, Summary};
use cryptonym::secret::Key32;

#[path = "support/installation.rs"]
mod installation;
#[path = "support/keeper.rs"]
mod keeper;
#[path = "support/leak.rs"]
mod leak;
#[path = "support/reveal.rs"]
mod reveal;
mod support;
use installation::{HOST, Installation};
use keeper::{Behaviour, TestKeeper};
use leak::LeakSearch;
use support::backend::Backend;

const DOCUMENT: &str = include_str!("../docs/policies.md");

const RULES: &str = r#"
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.email", category = "contact", action = "pseudonym", kind = "email" },
  { at = "$.name", category = "identity", action = "redact" },
  { at = "$.note", category = "test", special = "health", action = "scrub", country = "44" },
  { at = "$.notes[*]", category = "test", special = "health", action = "scrub" },
  { at = "form:email", category = "contact", action = "pseudonym", kind = "email" },
  { at = "form:note", category = "test", special = "health", action = "scrub", country = "44" },
"#;

/// Some world must be configured; nothing of it is started.
const WORLD: &str = r#"
[vault]
listen = "127.0.0.1:8200"
tls = { certificate = "v.pem", key = "v.key", client_ca = "ca.pem" }
store = "sqlite:vault.sqlite"
root_key = "root.key"
registry = "registry.toml"
"#;

fn parse(rules: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let text = format!(
        "[domain.study]\nmode = \"keyed\"\npurpose = \"research\"\n[policy.p]\nrules = [{rules}]\n{WORLD}"
    );
    Config::parse(&text, Path::new("/etc/cryptonym"), "c.toml")
}

/// The published test key of docs/policies.md.
fn keeper(config: &Config, behaviour: Behaviour) -> Arc<TestKeeper> {
    let domain = DomainKey::new(
        std::array::from_fn(|at| at as u8),
        1,
        Key32::new(std::array::from_fn(|at| 0x20 + at as u8)),
    );
    TestKeeper::of(&domain, &config.kinds, behaviour)
}

fn config() -> Config {
    let loaded = parse(RULES).unwrap_or_else(|found| panic!("{found:#?}"));
    loaded.config
}

fn rewrite(
    keeper: &Arc<TestKeeper>,
    config: &Config,
    format: Format,
    body: &[u8],
    cut: usize,
) -> Result<(String, Summary), Fault> {
    let job = Job {
        policy: config.policies[0].clone(),
        kinds: Arc::new(config.kinds.clone()),
        format,
        keeper: Some(keeper.clone()),
        limits: Arc::new(Limits::default()),
        own: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut rewriter = Rewriter::new(job);
        let mut out = Vec::new();
        for chunk in body.chunks(cut) {
            rewriter.push(chunk, &mut out).await?;
        }
        let summary = rewriter.finish(&mut out).await?;
        Ok((String::from_utf8(out).unwrap(), summary))
    })
}

/// `{"subscriber_id":…,"name":…,"note":…}`, the note as written.
fn record(note: &str) -> String {
    format!(r#"{{"subscriber_id":"SUB-00000001","name":"Ann Lee","note":{note}}}"#)
}

fn note_of(record: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(record).unwrap();
    value["note"].to_string()
}

#[test]
fn formats_07_every_row_of_the_documented_table_holds() {
    let config = config();
    let keeper = keeper(&config, Behaviour::Keep);
    let table = DOCUMENT
        .split("| note | the backend sees |\n|---|---|\n")
        .nth(1)
        .unwrap();
    let rows: Vec<_> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 6);
    for row in rows {
        let cells: Vec<&str> = row
            .trim_matches(['|', ' '])
            .split(" | ")
            .map(|c| c.trim_matches('`'))
            .collect();
        let body = record(cells[0]);
        let (out, _) = rewrite(&keeper, &config, Format::Json, body.as_bytes(), 1).unwrap();
        assert_eq!(note_of(&out), cells[1]);
    }
}

/// The same answer whichever way the text comes in, wherever the body is cut, and wherever in the
/// record the identifiers stand.
#[test]
fn formats_07_texts_are_scrubbed_alike_in_every_format() {
    let config = config();
    let keeper = keeper(&config, Behaviour::Keep);
    let note = "Ann.Lee@example.org (sub-00000001), \u{e9}9990000018; Lee, Ann";
    let made = "eml_1_3 (X), \u{e9}nhs; [removed]";
    let subscriber = "sub_1_3dhv5stjbytcfcq6d7nse5afv54";
    let nhs = "nhs_1_5rt3f8bj05x11r5vf7e4mx9nemp";
    let json = |first: bool| {
        let note = format!("\"note\":\"{note}\"");
        let rest = "\"subscriber_id\":\"SUB-00000001\",\"email\":\"ann.lee@example.org\",\"name\":\"Ann Lee\"";
        if first {
            format!("{{{note},{rest}}}")
        } else {
            format!("{{{rest},{note}}}")
        }
    };
    let (out, summary) =
        rewrite(&keeper, &config, Format::Json, json(true).as_bytes(), 1000).unwrap();
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let email = value["email"].as_str().unwrap();
    let expected = made
        .replace("eml_1_3", email)
        .replace("X", subscriber)
        .replace("nhs", nhs);
    assert_eq!(value["note"], expected);
    assert_eq!((summary.replaced, summary.first_sights), (4, 3));
    assert_eq!(keeper.calls.load(SeqCst), 1);

    let rows =
        "email,note,name,subscriber_id\nann.lee@example.org,\"{note}\",Ann Lee,SUB-00000001\n";
    let rows = rows.replace("{note}", note);
    let csv = Format::Csv(Dialect::default());
    for cut in [1, 2, 3, 7, 64, 1000] {
        for first in [true, false] {
            let (out, _) =
                rewrite(&keeper, &config, Format::Json, json(first).as_bytes(), cut).unwrap();
            assert_eq!(
                note_of(&out),
                serde_json::Value::from(expected.clone()).to_string()
            );
            let lines = format!("{}\n{}\n", json(first), json(!first));
            let (out, _) =
                rewrite(&keeper, &config, Format::Ndjson, lines.as_bytes(), cut).unwrap();
            for line in out.lines() {
                assert_eq!(
                    note_of(line),
                    serde_json::Value::from(expected.clone()).to_string()
                );
            }
        }
        let (out, _) = rewrite(&keeper, &config, csv, rows.as_bytes(), cut).unwrap();
        assert_eq!(
            out,
            format!("email,note,name,subscriber_id\n{email},\"{expected}\",,{subscriber}\n")
        );
        let form = "email=ann.lee%40example.org&note=Ann.Lee%40example.org+%26+9990000018";
        let (out, _) = rewrite(&keeper, &config, Format::Form, form.as_bytes(), cut).unwrap();
        assert_eq!(out, format!("email={email}&note={email}%20%26%20{nhs}"));
    }
}

#[test]
fn formats_07_records_know_their_own_identifiers_only() {
    let config = config();
    let keeper = keeper(&config, Behaviour::Keep);
    let lines = "{\"name\":\"Ann Lee\",\"note\":\"Ann Lee, Bob Ray\"}\n{\"note\":\"Ann Lee, Bob Ray\",\"name\":\"Bob Ray\"}\n";
    let (out, summary) = rewrite(&keeper, &config, Format::Ndjson, lines.as_bytes(), 9).unwrap();
    assert_eq!(
        out,
        "{\"name\":null,\"note\":\"[removed], Bob Ray\"}\n{\"note\":\"Ann Lee, [removed]\",\"name\":null}\n"
    );
    assert_eq!((summary.replaced, summary.first_sights), (4, 0));
    // A text without a hit stays byte for byte, escapes and all; a number is a text.
    for note in [r#""\u0041nn\/5.4 mmol""#, "54", "true", "null", "\"\""] {
        let body = format!("{{\"note\":{note}}}");
        let (out, summary) = rewrite(&keeper, &config, Format::Json, body.as_bytes(), 5).unwrap();
        assert_eq!((out, summary.replaced), (body, 0));
    }
    let (out, _) = rewrite(&keeper, &config, Format::Json, b"{\"note\":9990000018}", 5).unwrap();
    assert_eq!(out, "{\"note\":\"nhs_1_5rt3f8bj05x11r5vf7e4mx9nemp\"}");
    // What stands inside an array or object is no text of this rule.
    let fault = rewrite(
        &keeper,
        &config,
        Format::Json,
        b"{\"note\":[\"a@example.org\"]}",
        5,
    );
    assert_eq!(fault.unwrap_err().code, Code::UnlistedPlace);
    let (out, _) = rewrite(
        &keeper,
        &config,
        Format::Json,
        b"{\"notes\":[\"ring 07700 900123\"]}",
        5,
    )
    .unwrap();
    assert_eq!(
        out, "{\"notes\":[\"ring [phone]\"]}",
        "its rule names no country"
    );
}

#[test]
fn formats_13_corpus_free_text() {
    support::corpus::replay("scrub", fuzz::scrub, 8);
    for byte in 0..=255u8 {
        for around in ["", "1", "a@b.c", "+44", "GB82"] {
            let mut data = format!("Ann Lee\n{around}").into_bytes();
            data.push(byte);
            data.extend_from_slice(around.as_bytes());
            fuzz::scrub(&data);
        }
    }
}

#[test]
fn formats_07_a_text_leaves_when_what_is_found_in_it_is_durable() {
    let config = config();
    let body = record("\"a@example.org\"");
    for code in [Code::VaultUnreachable, Code::Budget] {
        let keeper = keeper(&config, Behaviour::Refuse(code));
        let fault = rewrite(&keeper, &config, Format::Json, body.as_bytes(), 9).unwrap_err();
        assert_eq!(fault.code, code);
    }
}

#[test]
fn formats_07_what_a_scrub_rule_cannot_mean_is_told() {
    let rule = |more: &str| {
        format!("\n  {{ at = \"$.note\", category = \"test\", action = \"scrub\"{more} }},\n")
    };
    for (more, message) in [
        (
            ", find = [\"e-mail\"]",
            "`e-mail` is nothing that can be found",
        ),
        (", find = []", "nothing is looked for"),
        (", country = \"+44\"", "no country's calling code"),
        (
            ", kinds = { email = \"phone\" }",
            "needs a kind with the normaliser `email`",
        ),
        (", kinds = { mail = \"email\" }", "mail"),
        (", to = \"year\"", "`to` belongs to action `generalise`"),
    ] {
        let found = parse(&rule(more))
            .err()
            .unwrap_or_else(|| panic!("{more} passes"));
        assert!(
            found.iter().any(|f| f.message.contains(message)),
            "{more}: {found:#?}"
        );
        assert!(found.iter().all(|f| f.line == 6), "{more}: {found:#?}");
    }
    let text = format!(
        "[policy.p]\nrecord = \"unbounded\"\nrules = [{}]\n[policy.q]\nrecord = \"unbounded\"\nrules = [{}]\n{WORLD}",
        rule(""),
        rule(", find = [\"email\"]")
    );
    let found = Config::parse(&text, Path::new("/etc"), "c.toml")
        .err()
        .unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains("held whole"), "{found:#?}");
}

const NEEDLES: [&str; 6] = [
    "SUB-70917725",
    "amelia.scrub@example.org",
    "+447700900765",
    "07700 900765",
    "9990001200",
    "Amelia Scrubworth",
];

#[tokio::test(flavor = "multi_thread")]
async fn formats_07_what_a_text_names_can_be_revealed_and_is_nowhere_in_clear() {
    leak::prove();
    let mut backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut installation = Installation::start(&format!(
        "[backend.lake]\nurls = [\"http://127.0.0.1:{}\"]\nregion = \"GB\"\n\
         [[route]]\nname = \"notes\"\nhost = \"{HOST}\"\npath = \"/notes\"\nbackend = \"lake\"\n\
         domain = \"improvement\"\nrequest = \"notes\"\n[policy.notes]\nrules = [{RULES}]\n",
        backend.address.port()
    ));
    let shown = installation.expect(&["check"]);
    assert!(shown.contains("free text"), "{shown}");
    let body = format!(
        "{{\"subscriber_id\":\"{}\",\"name\":\"{}\",\"note\":\"Ms Scrubworth (sub 70917725), {}, rang from {}; NHS 999 000 1200\"}}",
        NEEDLES[0], NEEDLES[5], NEEDLES[1], NEEDLES[3]
    );
    let mut client = installation.client();
    let answer = client
        .send("POST", "/notes", "application/json", body)
        .await;
    let answer = answer.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = String::from_utf8(backend.next().await.body.unwrap()).unwrap();
    let words: Vec<String> = seen
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.contains("_1_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(words.len(), 5, "{seen}");
    let folder = installation.folder().to_owned();
    std::fs::write(folder.join("seen.json"), &seen).unwrap();
    // Two hits are the subject's.
    let revealed = tokio::task::block_in_place(|| reveal::reveal(&installation, &words));
    let mut values: Vec<&str> = revealed.values().map(String::as_str).collect();
    values.sort_unstable();
    assert_eq!(values, [NEEDLES[2], NEEDLES[4], NEEDLES[0], NEEDLES[1]]);

    let search = LeakSearch::new(NEEDLES);
    let canary = folder.join("canary.log");
    std::fs::write(&canary, format!("note from {}\n", NEEDLES[3])).unwrap();
    assert_eq!(search.look(&folder).len(), 1, "nothing is searched");
    std::fs::remove_file(&canary).unwrap();
    let leaks = search.look(&folder);
    assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
    tokio::task::block_in_place(|| installation.stop());
}
