//! The vault's log, with a vault as a process of its own: proofs, witnesses, forgetting, and
//! everything that somebody with the database, or with the log's key too, could do to it.

mod support {
    pub mod forger;
    #[path = "vault.rs"]
    pub mod house;
}

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptonym::local::random::SplitMix64;
use cryptonym::vault::log::merkle::{self, Hash, Tree};
use cryptonym::vault::log::note::Verifier;
use cryptonym::vault::log::proof::{continues, includes};
use cryptonym::vault::store::StoreError;
use cryptonym::vault::store::sqlite::Sqlite;
use cryptonym::vault_link::client::Client;
use cryptonym::wire::control::{
    LeaseAnswer, LeaseRequest, LogKey, LogPage, LogProof, RevealAsk, RevealResult, RevealView,
};
use cryptonym::wire::dsse;
use cryptonym::wire::path;
use cryptonym::wire::sealed::KeyPair;
use cryptonym::wire::statement::{DECISION_TYPE, Decision, Verdict};
use cryptonym::wire::text::Hex;
use support::forger::Forger;
use support::house::{self, House, Ran, code_of};
use time::macros::datetime;

const IMPROVEMENT: usize = 0;

fn long() -> bool {
    std::env::var_os("CRYPTONYM_LONG").is_some()
}

/// Makes entries of the log: each of these requests is refused, and logged.
async fn entries(house: &House, count: usize) -> Vec<String> {
    let investigator = house.client("i.okafor");
    let mut codes = Vec::new();
    for _ in 0..count {
        codes.push(refused(&investigator).await);
    }
    codes
}

async fn refused(investigator: &Client) -> String {
    let ask = RevealAsk {
        domain: "nowhere".into(),
        pseudonyms: vec!["sub_x".into()],
        purpose: "share-results".into(),
        reason: "ticket".into(),
        hpke_key: Hex(KeyPair::generate().public()),
        expires_in: None,
        reads: None,
    };
    code_of(investigator.post::<RevealView>(path::REVEALS, &ask).await)
}

fn forger(house: &House) -> Forger {
    Forger::new(
        &house.path("state/vault.sqlite"),
        &house.path("certs/out/vault-root.key"),
    )
}

fn verify(house: &House, more: &[&str]) -> Ran {
    let mut arguments = vec!["log", "verify", "--as", "u.novak"];
    arguments.extend(more);
    house.run(&arguments)
}

fn witness(house: &House, name: &str) -> Ran {
    let (key, state) = (
        house.path(&format!("{name}.key")),
        house.path(&format!("{name}.state")),
    );
    let out = house.path(&format!("{name}.note"));
    house.run(&[
        "log",
        "witness",
        "--as",
        "u.novak",
        "--name",
        name,
        "--signing-key",
        &key,
        "--state",
        &state,
        "--out",
        &out,
    ])
}

/// The public key that a witness says it has.
fn key_of(witness: &Ran) -> String {
    let line = witness.err.lines().find_map(|l| l.strip_prefix("witness "));
    line.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_proofs_over_the_api_hold_for_every_size_and_entry() {
    let house = House::new();
    let _vault = house.start_vault();
    let codes = entries(&house, 300).await;
    assert!(codes.iter().all(|code| code == "unknown-domain"));
    let auditor = house.client("u.novak");
    let key = auditor.get::<LogKey>(path::LOG_KEY).await.unwrap().message;
    let note = auditor.get_text(path::LOG_CHECKPOINT).await.unwrap();
    let now = Verifier::parse(&key.key).unwrap().open(&note).unwrap();
    assert!(now.size > 300);
    let query = format!("{}?start=0&end={}", path::LOG_ENTRIES, now.size);
    let page = auditor.get::<LogPage>(&query).await.unwrap().message;
    assert_eq!(page.entries.len() as u64, now.size);
    let leaves: Vec<Hash> = page
        .entries
        .iter()
        .map(|e| merkle::leaf(&e.commitment.0))
        .collect();
    let proof = async |query: String| {
        let proof = auditor.get::<LogProof>(&query).await.unwrap().message;
        proof.hashes.into_iter().map(|h| h.0).collect::<Vec<Hash>>()
    };
    let (inclusion, consistency) = (path::LOG_INCLUSION, path::LOG_CONSISTENCY);
    let mut tree = Tree::default();
    for old in 0..=now.size {
        let path = proof(format!("{consistency}?old={old}&size={}", now.size)).await;
        assert!(
            continues((old, &tree.root()), (now.size, &now.root), &path),
            "{old}"
        );
        // It proves this old tree and no other.
        assert!(old == 0 || !continues((old, &[9; 32]), (now.size, &now.root), &path));
        if old == now.size {
            break;
        }
        let path = proof(format!("{inclusion}?entry={old}&size={}", now.size)).await;
        let leaf = &leaves[old as usize];
        assert!(includes(leaf, old, now.size, &now.root, &path), "{old}");
        assert!(!includes(&[9; 32], old, now.size, &now.root, &path));
        tree.push(*leaf);
    }
    assert_eq!(tree.root(), now.root);

    for wrong in [
        format!("{inclusion}?entry=5&size=5"),
        format!("{inclusion}?entry=0&size=1000000"),
        format!("{inclusion}?entry=-1&size=5"),
        format!("{inclusion}?size=5"),
        format!("{consistency}?old=6&size=5"),
        format!("{consistency}?old=0&size={}", u64::MAX),
        format!("{consistency}?old=1"),
    ] {
        let answer = auditor.get::<LogProof>(&wrong).await;
        assert_eq!(code_of(answer), "bad-range", "{wrong}");
    }
    for person in ["i.okafor", "a.lindqvist", "gateway-1"] {
        for query in [
            format!("{inclusion}?entry=0&size=1"),
            format!("{consistency}?old=0&size=1"),
        ] {
            let answer = house.client(person).get::<LogProof>(&query).await;
            assert_eq!(code_of(answer), "wrong-role", "{person}");
        }
    }

    // And by the command line.
    let first = house.run(&["log", "prove", "7", "--as", "u.novak"]);
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    assert!(first.out.contains("remembered  nothing"), "{}", first.out);
    assert_eq!(verify(&house, &[]).code, 0);
    entries(&house, 3).await;
    let second = house.run(&["log", "prove", "7", "--as", "u.novak"]);
    assert_eq!(second.code, 0, "{}{}", second.out, second.err);
    assert!(
        second.out.contains("continues the checkpoint"),
        "{}",
        second.out
    );
    assert!(second.out.contains("\"event\""), "{}", second.out);
    let beyond = house.run(&["log", "prove", "1000", "--as", "u.novak"]);
    assert_eq!(beyond.code, 1);
}

/// A store that was changed without the log's key is not continued by the vault itself.
#[tokio::test(flavor = "multi_thread")]
async fn vault_05_a_store_that_contradicts_its_signature_does_not_start() {
    let house = House::new();
    let vault = house.start_vault();
    entries(&house, 20).await;
    vault.stop();
    house.back_up();
    for (what, statements) in [
        ("cut", vec!["DELETE FROM log_leaf WHERE sequence >= 15"]),
        ("a gap", vec!["DELETE FROM log_leaf WHERE sequence = 9"]),
        (
            "exchanged",
            vec![
                "UPDATE log_leaf SET sequence = -1 WHERE sequence = 3",
                "UPDATE log_leaf SET sequence = 3 WHERE sequence = 4",
                "UPDATE log_leaf SET sequence = 4 WHERE sequence = -1",
            ],
        ),
        (
            "rewritten",
            vec!["UPDATE log_leaf SET commitment = zeroblob(32) WHERE sequence = 5"],
        ),
        ("no checkpoint", vec!["DELETE FROM log_checkpoint"]),
        (
            "an older checkpoint",
            vec!["DELETE FROM log_checkpoint WHERE size > 10"],
        ),
    ] {
        for statement in statements {
            house.sql(statement);
        }
        let error = house.vault_fails();
        assert!(error.contains("the store is damaged"), "{what}: {error}");
        house.restore();
    }
    house.start_vault().stop();
}

/// Somebody has the database and the log's key, and makes the store agree with itself: the vault
/// starts. What the auditor remembers and what a witness has cosigned tell all the same.
#[tokio::test(flavor = "multi_thread")]
async fn vault_05_every_other_history_is_seen_against_a_known_checkpoint() {
    let house = House::new();
    let vault = house.start_vault();
    entries(&house, 30).await;
    assert_eq!(verify(&house, &[]).code, 0);
    let seen = witness(&house, "w.example");
    assert_eq!(seen.code, 0, "{}", seen.err);
    let witness_key = key_of(&seen);
    vault.stop();
    let files = [
        "certs/out/log-checkpoint",
        "w.example.state",
        "w.example.note",
    ];
    let kept = files.map(|file| std::fs::read(house.path(file)).unwrap());
    let size = forger(&house).size();
    house.back_up();

    type Deed = fn(&Forger, u64);
    let deeds: [(&str, Deed, &str); 7] = [
        ("truncation", |f, size| f.cut(size - 10), "it was cut"),
        (
            "truncation, and it has grown again",
            |f, size| f.another_history(size - 5, 30),
            "another history",
        ),
        ("reordering", |f, _| f.exchange(4, 5), "rewritten"),
        (
            "rewriting",
            |f, size| f.another_history(6, size - 6),
            "rewritten",
        ),
        (
            "rollback to an older checkpoint",
            |f, size| f.put_back(size - 10),
            "put back to an older state",
        ),
        (
            "rollback, and it has gone on",
            |f, size| {
                f.put_back(size - 3);
                f.append(10, time::OffsetDateTime::now_utc(), "lease-granted");
            },
            "another history",
        ),
        (
            "a fork",
            |f, size| f.another_history(size - 1, 1),
            "rewritten",
        ),
    ];
    for (what, deed, says) in deeds {
        house.restore();
        for (file, bytes) in files.iter().zip(&kept) {
            std::fs::write(house.path(file), bytes).unwrap();
        }
        deed(&forger(&house), size);
        let vault = house.start_vault();

        // Who knows nothing from before is told what cannot be said.
        let fresh = house.path("fresh");
        let blind = verify(&house, &["--remember", &fresh]);
        assert_eq!(blind.code, 0, "{what}: {}", blind.out);
        assert!(blind.out.contains("not excluded"), "{what}: {}", blind.out);
        std::fs::remove_file(&fresh).unwrap();

        let remembered = verify(&house, &[]);
        assert_eq!(remembered.code, 1, "{what}: {}", remembered.out);
        assert!(remembered.out.contains(says), "{what}: {}", remembered.out);

        let note = house.path("w.example.note");
        let arguments = [
            "--remember",
            &fresh,
            "--witnessed",
            &note,
            "--witness-key",
            &witness_key,
        ];
        let witnessed = verify(&house, &arguments);
        assert_eq!(witnessed.code, 1, "{what}: {}", witnessed.out);
        assert!(witnessed.out.contains(says), "{what}: {}", witnessed.out);
        assert!(
            !std::path::Path::new(&fresh).exists(),
            "nothing new is remembered"
        );

        let proved = house.run(&["log", "prove", "0", "--as", "u.novak"]);
        assert_eq!(proved.code, 1, "{what}: {}", proved.out);

        let again = witness(&house, "w.example");
        assert_eq!(again.code, 1, "{what}: {}", again.err);
        assert!(again.err.contains("NOT COSIGNED"), "{what}: {}", again.err);
        assert!(again.out.is_empty());
        for (file, bytes) in files.iter().zip(&kept) {
            assert_eq!(
                &std::fs::read(house.path(file)).unwrap(),
                bytes,
                "{what}: {file}"
            );
        }
        vault.stop();
    }

    // The same log, as it was: everybody is content.
    house.restore();
    let vault = house.start_vault();
    assert_eq!(verify(&house, &[]).code, 0);
    let again = witness(&house, "w.example");
    assert_eq!(again.code, 0, "{}", again.err);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_a_witness_cosigns_what_continues_and_verify_takes_its_word() {
    let house = House::new();
    let _vault = house.start_vault();
    let first = witness(&house, "w.example");
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("own word"), "{}", first.err);
    let mode = |file: &str| {
        let found = std::fs::metadata(house.path(file)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("w.example.key"), 0o600);
    assert_eq!(
        std::fs::read_to_string(house.path("w.example.note")).unwrap(),
        first.out
    );
    // Text, empty line, the log's line, the witness's line.
    let lines: Vec<&str> = first.out.lines().collect();
    assert_eq!(lines.len(), 6, "{}", first.out);
    assert!(
        lines[4].starts_with("\u{2014} cryptonym.vault/"),
        "{}",
        first.out
    );
    assert!(lines[5].starts_with("\u{2014} w.example "), "{}", first.out);

    // Nothing new: it is cosigned again. More entries: the proof is asked for.
    assert_eq!(witness(&house, "w.example").code, 0);
    entries(&house, 9).await;
    let second = witness(&house, "w.example");
    assert_eq!(second.code, 0, "{}", second.err);
    assert!(!second.err.contains("own word"), "{}", second.err);
    assert_ne!(second.out.lines().nth(1), Some(lines[1]));
    entries(&house, 2).await;

    let (key, note) = (key_of(&second), house.path("w.example.note"));
    assert_eq!(key, key_of(&first));
    let fresh = house.path("fresh");
    let known = |key: &str, note: &str| {
        let arguments = [
            "--remember",
            &fresh,
            "--witnessed",
            note,
            "--witness-key",
            key,
        ];
        let ran = verify(&house, &arguments);
        let _ = std::fs::remove_file(&fresh);
        ran
    };
    let good = known(&key, &note);
    assert_eq!(good.code, 0, "{}{}", good.out, good.err);
    assert!(
        good.out.contains("that w.example saw at 20"),
        "{}",
        good.out
    );
    assert!(!good.out.contains("not excluded"), "{}", good.out);
    let machine = verify(
        &house,
        &[
            "--json",
            "--remember",
            &fresh,
            "--witnessed",
            &note,
            "--witness-key",
            &key,
        ],
    );
    let said: serde_json::Value = serde_json::from_str(&machine.out).unwrap();
    assert_eq!(said["holds"], true);
    assert_eq!(said["truncation_excluded"], true);
    assert_eq!(said["witnessed"][0]["witness"], "w.example");
    std::fs::remove_file(&fresh).unwrap();

    // Another witness's key; a note that nobody has cosigned, or that was bent.
    let other = witness(&house, "v.example");
    assert_eq!(other.code, 0, "{}", other.err);
    let wrong = known(&key_of(&other), &note);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.out.contains("not signed by this witness"),
        "{}",
        wrong.out
    );
    let bent = house.path("bent.note");
    let cut = second.out.rsplit_once('\u{2014}').unwrap().0;
    std::fs::write(&bent, cut).unwrap();
    assert_eq!(known(&key, &bent).code, 1);
    let size = second.out.lines().nth(1).unwrap();
    let larger = second.out.replacen(&format!("\n{size}\n"), "\n1\n", 1);
    std::fs::write(&bent, larger).unwrap();
    let wrong = known(&key, &bent);
    assert!(
        wrong.out.contains("signature does not hold"),
        "{}",
        wrong.out
    );

    // One at a time over one state.
    let (signing, state) = (house.path("w.example.key"), house.path("w.example.state"));
    let held = std::fs::File::create(format!("{state}.lock")).unwrap();
    held.lock().unwrap();
    let busy = witness(&house, "w.example");
    assert_eq!(busy.code, 4);
    assert!(busy.err.contains("another witness"), "{}", busy.err);
    drop(held);
    // A key that others can read is not used.
    std::fs::set_permissions(&signing, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(witness(&house, "w.example").code, 4);
}

/// The signature is checked by OpenSSL, over bytes that are put together here.
#[tokio::test(flavor = "multi_thread")]
async fn vault_05_openssl_verifies_a_cosignature() {
    let house = House::new();
    let _vault = house.start_vault();
    let seen = witness(&house, "w.example");
    assert_eq!(seen.code, 0, "{}", seen.err);
    let (text, signatures) = seen.out.split_once("\n\n").unwrap();
    let line = signatures.lines().last().unwrap();
    let encoded = line.rsplit(' ').next().unwrap();
    let bytes: cryptonym::wire::text::Base64 =
        serde_json::from_value(serde_json::Value::String(encoded.to_owned())).unwrap();
    let bytes = bytes.0;
    assert_eq!(bytes.len(), 4 + 8 + 64);
    let time = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
    let message = format!("cosignature/v1\ntime {time}\n{text}\n");
    std::fs::write(house.path("message"), message).unwrap();
    std::fs::write(house.path("signature"), &bytes[12..]).unwrap();
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        ran.status.success()
    };
    let (key, public) = (house.path("w.example.key"), house.path("public.pem"));
    assert!(openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]));
    let check = |message: &str| {
        let (signature, message) = (house.path("signature"), house.path(message));
        openssl(&[
            "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &public, "-sigfile", &signature,
            "-in", &message,
        ])
    };
    assert!(check("message"));
    std::fs::write(
        house.path("other"),
        format!("cosignature/v1\ntime {time}\n{text}"),
    )
    .unwrap();
    assert!(!check("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_a_month_is_forgotten_and_the_tree_still_holds() {
    let house = House::new();
    house.start_vault().stop();
    // As if it had been running for years.
    let (old, recent) = (
        datetime!(2020-02-10 12:00 UTC),
        time::OffsetDateTime::now_utc(),
    );
    forger(&house).append(5, old, "reveal-refused");
    forger(&house).append(3, recent, "reveal-approved");
    let before = forger(&house).size();
    let wrapped = house.blob("SELECT wrapped FROM log_period WHERE period = 202002");
    assert!(house.store_holds(&wrapped), "the key is there before");

    let vault = house.start_vault();
    let log = house.run(&["log", "show", "--as", "u.novak"]);
    assert_eq!(log.code, 0, "{}", log.err);
    assert_eq!(log.out.matches("  forgotten").count(), 5, "{}", log.out);
    assert!(!log.out.contains("reveal-refused"), "{}", log.out);
    assert_eq!(log.out.matches("reveal-approved").count(), 3);
    assert!(
        log.out.contains("the details of 2020-02 are gone"),
        "{}",
        log.out
    );
    let held = verify(&house, &[]);
    assert_eq!(held.code, 0, "{}", held.out);
    assert!(held.out.contains("5 forgotten"), "{}", held.out);
    assert_eq!(house.events("log-forgotten"), 1);
    vault.stop();
    assert!(!house.store_holds(&wrapped), "the key is still in a file");
    assert_eq!(
        house.count("SELECT count(*) FROM log_leaf WHERE period = 202002"),
        5
    );
    // Once is enough; and the vault goes on with what it has.
    house.start_vault().stop();
    let vault = house.start_vault();
    assert_eq!(house.events("log-forgotten"), 1);
    assert_eq!(verify(&house, &[]).code, 0);
    assert!(forger(&house).size() >= before + 3);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_the_retention_is_the_configurations() {
    let house = House::new();
    house.start_vault().stop();
    let file = house.path("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let with = |line: &str| {
        std::fs::write(
            &file,
            text.replacen("[vault]\n", &format!("[vault]\n{line}\n"), 1),
        )
        .unwrap();
    };
    for wrong in ["0", "601", "\"1\"", "-1"] {
        with(&format!("log_retention_months = {wrong}"));
        let error = house.vault_fails();
        assert!(error.contains("config.toml:3:"), "{wrong}: {error}");
    }
    // Five years ago: too old by default, and not for who keeps ten.
    let now = time::OffsetDateTime::now_utc();
    let old = now - time::Duration::days(5 * 365);
    forger(&house).append(2, old, "lease-granted");
    with("log_retention_months = 120");
    house.start_vault().stop();
    assert_eq!(
        house.count("SELECT count(*) FROM log_period WHERE wrapped IS NULL"),
        0
    );
    with("");
    house.start_vault().stop();
    assert_eq!(
        house.count("SELECT count(*) FROM log_period WHERE wrapped IS NULL"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_if_the_log_cannot_be_written_nothing_is_answered() {
    let house = House::new();
    let vault = house.start_vault();
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    let asked = house.run(&[
        "reveal",
        "request",
        "--as",
        "i.okafor",
        "--domain",
        "improvement",
        "--purpose",
        "share-results",
        "--reason",
        "ticket 9",
        &texts[0],
    ]);
    assert_eq!(asked.code, 0, "{}", asked.err);
    let id = asked.out.trim();
    let approved = house.run(&["reveal", "approve", id, "--as", "a.lindqvist", "--yes"]);
    assert_eq!(approved.code, 0, "{}", approved.err);
    vault.stop();

    // No file of this vault can grow beyond that: its write-ahead log soon does.
    let vault = house.start_vault_with_files_up_to(512);
    let investigator = house.client("i.okafor");
    let (mut logged, mut full) = (0, 0);
    while full < 5 {
        match refused(&investigator).await.as_str() {
            "unknown-domain" => (logged, full) = (logged + 1, 0),
            "store" => full += 1,
            other => panic!("{other}"),
        }
        assert!(logged < 5000, "the disk does not get full");
    }
    assert!(logged > 0);
    let fetched = house.run(&["reveal", "fetch", id, "--as", "i.okafor"]);
    assert_eq!(fetched.code, 5, "{}", fetched.out);
    assert!(fetched.err.contains("refused (store)"), "{}", fetched.err);
    assert!(
        !fetched.out.contains(&house::identifier(0)),
        "{}",
        fetched.out
    );
    let lease = LeaseRequest {
        domain: "improvement".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    let lease = house
        .client("gateway-1")
        .post::<LeaseAnswer>(path::LEASES, &lease)
        .await;
    assert_eq!(code_of(lease), "store");
    // What is there can be read.
    assert_eq!(verify(&house, &[]).code, 0);
    vault.kill();

    // With room again: nothing of what was refused has left a trace, the read was not spent.
    let vault = house.start_vault();
    assert_eq!(house.events("reveal-fetched"), 0);
    assert_eq!(house.events("reveal-denied"), logged);
    let fetched = house.run(&["reveal", "fetch", id, "--as", "i.okafor"]);
    assert_eq!(fetched.code, 0, "{}", fetched.err);
    assert!(fetched.out.contains(&house::identifier(0)));
    assert_eq!(house.events("reveal-fetched"), 1);
    assert_eq!(verify(&house, &[]).code, 0);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_05_a_second_vault_on_the_same_store_does_not_start() {
    let house = House::new();
    let vault = house.start_vault();
    entries(&house, 3).await;
    // Another address, so that only the store can keep it from starting.
    let text = std::fs::read_to_string(house.path("config.toml")).unwrap();
    let listen = text.lines().find(|l| l.starts_with("listen")).unwrap();
    let second = |store: &str| {
        let other = text
            .replacen(listen, "listen = \"127.0.0.1:0\"", 1)
            .replacen("sqlite:state/vault.sqlite", store, 1);
        let file = house.path("second.toml");
        std::fs::write(&file, other).unwrap();
        let ran = Command::new(env!("CARGO_BIN_EXE_cryptonym"))
            .args(["vault", "--config", &file])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(4));
        String::from_utf8(ran.stderr).unwrap()
    };
    let error = second("sqlite:state/vault.sqlite");
    assert!(
        error.contains("another process has the store open"),
        "{error}"
    );
    // By another name of the folder, and of the file.
    std::os::unix::fs::symlink(house.path("state"), house.path("alias")).unwrap();
    let error = second("sqlite:alias/vault.sqlite");
    assert!(
        error.contains("another process has the store open"),
        "{error}"
    );
    std::os::unix::fs::symlink("vault.sqlite", house.path("state/other.sqlite")).unwrap();
    let error = second("sqlite:state/other.sqlite");
    assert!(
        error.contains("another process has the store open"),
        "{error}"
    );
    let opened = Sqlite::open(house.path("state/other.sqlite").as_ref());
    assert!(matches!(opened, Err(StoreError::InUse)));

    // The first goes on as if nothing had been.
    entries(&house, 3).await;
    assert_eq!(verify(&house, &[]).code, 0);
    vault.stop();
}

/// A long log through the vault and from an export. The times are printed; with `--long` it is a
/// million entries.
#[tokio::test(flavor = "multi_thread")]
async fn vault_05_a_long_log_is_verified_and_proved() {
    let house = House::new();
    house.start_vault().stop();
    let count = if long() { 1_000_000 } else { 20_000 };
    forger(&house).append(count, time::OffsetDateTime::now_utc(), "reveal-approved");
    let began = Instant::now();
    let vault = house.start_vault();
    println!(
        "start with {count} entries: {:.2} s",
        began.elapsed().as_secs_f64()
    );
    let timed = |what: &str, ran: &dyn Fn() -> Ran| {
        let began = Instant::now();
        let ran = ran();
        println!(
            "{what}, {count} entries: {:.2} s",
            began.elapsed().as_secs_f64()
        );
        assert_eq!(ran.code, 0, "{what}: {}{}", ran.out, ran.err);
        ran
    };
    let online = timed("log verify (vault)", &|| verify(&house, &[]));
    assert!(
        online
            .out
            .contains(&format!("details     {} match", forger(&house).size()))
    );
    let file = house.path("log.ndjson");
    timed("log export", &|| {
        house.run(&["log", "export", "--as", "u.novak", &file])
    });
    let offline = timed("log verify (export)", &|| {
        house.run(&["log", "verify", "--export", &file])
    });
    assert!(
        offline.out.contains("continues the checkpoint"),
        "{}",
        offline.out
    );
    timed("log prove, first", &|| {
        house.run(&["log", "prove", "777", "--as", "u.novak"])
    });
    timed("log prove, again", &|| {
        house.run(&["log", "prove", "19999", "--as", "u.novak"])
    });
    timed("log witness", &|| witness(&house, "w.example"));
    vault.stop();

    // One entry less, in the middle of the file.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(lines.len() / 2);
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let short = house.run(&["log", "verify", "--export", &file]);
    assert_eq!(short.code, 1, "{}", short.out);
}

/// One reveal from asking to fetching, and what of it was acknowledged.
async fn one_reveal(
    (investigator, approver): (&Client, &Client),
    key: &ed25519_dalek::SigningKey,
    pseudonym: &str,
    acknowledged: &Mutex<Vec<(&'static str, String)>>,
) -> Option<()> {
    let note = |event, id: Hex<16>| {
        let mut acknowledged = acknowledged.lock().unwrap();
        acknowledged.push((event, id.to_string()));
    };
    let ask = RevealAsk {
        domain: "improvement".into(),
        pseudonyms: vec![pseudonym.into()],
        purpose: "share-results".into(),
        reason: "ticket".into(),
        hpke_key: Hex(KeyPair::generate().public()),
        expires_in: None,
        reads: None,
    };
    let asked = investigator.post::<RevealView>(path::REVEALS, &ask).await;
    let asked = asked.ok()?.message;
    note("reveal-asked", asked.request);
    let decision = Decision {
        decision: Verdict::Approve,
        approver: "a.lindqvist".into(),
        statement: asked.statement,
    };
    let envelope = dsse::Envelope::sign(DECISION_TYPE, decision.to_bytes(), key);
    let place = format!("{}/{}", path::REVEALS, asked.request);
    let decision = format!("{place}/decision");
    let decided = approver.post::<RevealView>(&decision, &envelope).await;
    decided.ok()?;
    note("reveal-approved", asked.request);
    let fetch = format!("{place}/fetch");
    let fetched = investigator.post::<RevealResult>(&fetch, &()).await;
    fetched.ok()?;
    note("reveal-fetched", asked.request);
    Some(())
}

/// `kill -9` while records and reveals are written: what was acknowledged is in the store and in
/// the log, the two agree about every reveal, and the log is the one that it was.
#[tokio::test(flavor = "multi_thread")]
async fn vault_08_after_any_kill_log_and_store_agree() {
    let rounds: u32 = if long() { 1000 } else { 50 };
    let house = House::new();
    let vault = house.start_vault();
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    vault.stop();
    let key = house.signing_key("a.lindqvist");
    let mut random = SplitMix64::new(8);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut durable = Vec::new();
    for round in 0..rounds {
        let vault = house.start_vault();
        let held = verify(&house, &[]);
        assert_eq!(held.code, 0, "round {round}: {}", held.out);
        let link = house.link().await;
        let lease = link.lease(IMPROVEMENT).unwrap();
        let missing = durable.iter().filter(|p| !lease.is_durable(p)).count();
        assert_eq!(missing, 0, "round {round}: acknowledged records are gone");
        let mut works = tokio::task::JoinSet::new();
        for n in 0..4 {
            let start = 1000 * (round + 1) + 100 * n;
            let made = house::sights(&house, &lease, start..start + 20);
            let lease = lease.clone();
            works.spawn(async move {
                let pseudonyms: Vec<_> = made.iter().map(|s| s.pseudonym).collect();
                lease.make_durable(made).await.ok().map(|()| pseudonyms)
            });
        }
        for _ in 0..3 {
            let (investigator, approver) = (house.client("i.okafor"), house.client("a.lindqvist"));
            let (key, text) = (key.clone(), texts[0].clone());
            let acknowledged = Arc::clone(&acknowledged);
            works.spawn(async move {
                let people = (&investigator, &approver);
                while one_reveal(people, &key, &text, &acknowledged)
                    .await
                    .is_some()
                {}
                None
            });
        }
        tokio::time::sleep(Duration::from_micros(random.below(120_000))).await;
        vault.kill();
        drop(link);
        // What waits for a vault that is gone need not be waited for.
        let end = Instant::now() + Duration::from_millis(200);
        while let Ok(Some(done)) = tokio::time::timeout_at(end.into(), works.join_next()).await {
            durable.extend(done.ok().flatten().unwrap_or_default());
        }
        works.shutdown().await;
    }

    let vault = house.start_vault();
    assert_eq!(verify(&house, &[]).code, 0);
    let mut logged: HashMap<(String, String), u32> = HashMap::new();
    let events = ["reveal-asked", "reveal-approved", "reveal-fetched"];
    for event in events {
        for entry in house.log_lines(event) {
            let id = entry["request"].as_str().unwrap().to_owned();
            *logged.entry((event.to_owned(), id)).or_default() += 1;
        }
    }
    let times = |event: &str, id: &str| {
        let key = (event.to_owned(), id.to_owned());
        logged.get(&key).copied().unwrap_or(0)
    };
    let acknowledged: Vec<_> = acknowledged.lock().unwrap().clone();
    println!(
        "{rounds} kills: {} records and {} steps of reveals acknowledged",
        durable.len(),
        acknowledged.len()
    );
    assert!(
        !durable.is_empty(),
        "no record was acknowledged in any round"
    );
    for event in events {
        let steps = acknowledged.iter().filter(|(e, _)| *e == event).count();
        assert!(steps > 0, "no {event} in any round");
    }
    for (event, id) in &acknowledged {
        assert_eq!(times(event, id), 1, "{event} {id}");
    }
    // Every reveal of the store, acknowledged or not, is as its entries say.
    let reveals = house.reveals();
    for (id, approved, reads_left) in &reveals {
        assert_eq!(times("reveal-asked", id), 1, "{id}");
        assert_eq!(times("reveal-approved", id), u32::from(*approved), "{id}");
        assert_eq!(times("reveal-fetched", id), 1 - reads_left, "{id}");
    }
    let asked = logged
        .keys()
        .filter(|(event, _)| event == "reveal-asked")
        .count();
    assert_eq!(asked, reveals.len(), "an entry without its reveal");
    vault.stop();
}

fn backup(house: &House, name: &str) -> Ran {
    let (file, public) = (house.path(name), house.path("backup.key.pub"));
    house.run(&["vault", "backup", "--for", &public, &file])
}

fn restore(house: &House, name: &str, key: &str) -> Ran {
    let (file, key) = (house.path(name), house.path(key));
    house.run(&["vault", "restore", "--key", &key, &file])
}

fn new_key(house: &House, name: &str) {
    let made = house.run(&["vault", "backup-key", &house.path(name)]);
    assert_eq!(made.code, 0, "{}", made.err);
}

fn store_files(house: &House) -> Vec<String> {
    let files = std::fs::read_dir(house.path("state")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn move_store_away(house: &House) {
    std::fs::rename(house.path("state"), house.path("damaged")).unwrap();
}

/// The whole way: taken from a vault at work, restored in an empty place, and a real gateway's
/// link publishes what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn vault_06_a_backup_of_a_vault_at_work_is_restored_and_its_gateway_fills_it() {
    let house = House::new();
    let vault = house.start_vault();
    new_key(&house, "backup.key");
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let sights = |numbers| house::sights(&house, &lease, numbers);
    let pseudonyms: Vec<_> = sights(0..6).iter().map(|s| s.pseudonym).collect();
    lease.make_durable(sights(0..3)).await.unwrap();

    // Records are written while it copies.
    let busy = tokio::spawn({
        let made: Vec<_> = (0..40)
            .map(|n| sights(1000 + 10 * n..1010 + 10 * n))
            .collect();
        let lease = lease.clone();
        async move {
            for made in made {
                lease.make_durable(made).await.unwrap();
            }
        }
    });
    for n in 0..3 {
        let taken = backup(&house, &format!("at-work-{n}"));
        assert_eq!(taken.code, 0, "{}", taken.err);
    }
    busy.await.unwrap();
    let taken = backup(&house, "backup");
    assert_eq!(taken.code, 0, "{}", taken.err);
    assert!(taken.out.contains("records     403"), "{}", taken.out);
    let names = store_files(&house);
    assert!(
        names.iter().all(|name| !name.contains("backup")),
        "{names:?}"
    );

    lease.make_durable(sights(3..6)).await.unwrap();
    entries(&house, 20).await;
    assert_eq!(verify(&house, &[]).code, 0);
    vault.stop();

    // What lies in the store's place stays there.
    let refused = restore(&house, "backup", "backup.key");
    assert_eq!(refused.code, 4);
    assert!(
        refused.err.contains("nothing is overwritten"),
        "{}",
        refused.err
    );
    assert_eq!(house.count("SELECT count(*) FROM record"), 406);

    move_store_away(&house);
    let restored = restore(&house, "backup", "backup.key");
    assert_eq!(restored.code, 0, "{}", restored.err);
    house.assert_private_files();
    let vault = house.start_vault();
    house
        .until("only what the backup has counts", async || {
            let lease = link.lease(IMPROVEMENT)?;
            let durable: Vec<_> = pseudonyms.iter().map(|p| lease.is_durable(p)).collect();
            (durable == [true, true, true, false, false, false]).then_some(())
        })
        .await;
    assert_eq!(house.count("SELECT count(*) FROM record"), 403);
    let lease = link.lease(IMPROVEMENT).unwrap();
    let again = house::sights(&house, &lease, 0..6);
    lease.make_durable(again).await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM record"), 406);

    // The log says so itself; and who remembers the time behind the backup is told.
    assert_eq!(house.events("store-restored"), 1);
    let remembered = verify(&house, &[]);
    assert_eq!(remembered.code, 1, "{}", remembered.out);
    let fresh = house.path("fresh");
    assert_eq!(verify(&house, &["--remember", &fresh]).code, 0);
    vault.stop();
    let vault = house.start_vault();
    assert_eq!(house.events("store-restored"), 1, "it is said once");
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_06_a_backup_hides_everything_and_opens_for_its_key_alone() {
    let house = House::new();
    let vault = house.start_vault();
    new_key(&house, "backup.key");
    new_key(&house, "other.key");
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..50).await;
    assert_eq!(backup(&house, "backup").code, 0);
    // A backup is never written over another; a key file neither.
    let before = std::fs::read(house.path("backup")).unwrap();
    let again = backup(&house, "backup");
    assert_eq!(again.code, 4, "{}", again.err);
    assert_eq!(std::fs::read(house.path("backup")).unwrap(), before);
    let key = house.run(&["vault", "backup-key", &house.path("backup.key")]);
    assert_eq!(key.code, 4);
    let mode = std::fs::metadata(house.path("backup"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o077, 0);
    let private = house.path("backup.key");
    let wrong_half = house.run(&["vault", "backup", "--for", &private, &house.path("b2")]);
    assert_eq!(wrong_half.code, 4);
    assert!(
        wrong_half.err.contains("private half"),
        "{}",
        wrong_half.err
    );

    // Not even that it is a database; the store's files, for comparison, say so.
    let holds = |word: &[u8]| memchr::memmem::find(&before, word).is_some();
    assert!(house.store_holds(b"log_leaf"));
    for word in [
        "log_leaf",
        "SQLite format",
        "improvement",
        "gateway-1",
        &texts[0],
    ] {
        assert!(!holds(word.as_bytes()), "{word}");
    }
    assert!(!holds(house::identifier(0).as_bytes()));

    // A vault is at work: nothing is put under its feet, not even if its files are gone.
    std::fs::rename(house.path("state/vault.sqlite"), house.path("moved")).unwrap();
    let busy = restore(&house, "backup", "backup.key");
    assert_eq!(busy.code, 4);
    assert!(busy.err.contains("another process"), "{}", busy.err);
    std::fs::rename(house.path("moved"), house.path("state/vault.sqlite")).unwrap();
    vault.stop();

    move_store_away(&house);
    let wrong = restore(&house, "backup", "other.key");
    assert_eq!(wrong.code, 1, "{}", wrong.err);
    assert!(wrong.err.contains("sealed to another key"), "{}", wrong.err);
    for at in [3, 30, 300, before.len() / 2, before.len() - 1] {
        let mut bent = before.clone();
        bent[at] ^= 1;
        std::fs::write(house.path("bent"), bent).unwrap();
        assert_eq!(restore(&house, "bent", "backup.key").code, 1, "byte {at}");
    }
    for length in [0, 10, before.len() / 2, before.len() - 1] {
        std::fs::write(house.path("cut"), &before[..length]).unwrap();
        assert_eq!(
            restore(&house, "cut", "backup.key").code,
            1,
            "length {length}"
        );
    }
    assert_eq!(
        store_files(&house),
        ["vault.lock"],
        "nothing is left behind"
    );
    assert_eq!(restore(&house, "backup", "backup.key").code, 0);
    let vault = house.start_vault();
    assert_eq!(house.count("SELECT count(*) FROM record"), 50);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_06_a_store_that_is_not_whole_gives_no_backup() {
    let house = House::new();
    new_key(&house, "backup.key");
    let none = backup(&house, "backup");
    assert_eq!(none.code, 4);
    assert!(none.err.contains("no store"), "{}", none.err);
    house.start_vault().stop();
    house.sql("UPDATE log_leaf SET commitment = zeroblob(32) WHERE sequence = 0");
    let taken = backup(&house, "backup");
    assert_eq!(taken.code, 1, "{}", taken.out);
    assert!(taken.err.contains("not whole"), "{}", taken.err);
    assert!(!std::path::Path::new(&house.path("backup")).exists());
    assert!(!std::path::Path::new(&house.path("backup.part")).exists());
    let names = store_files(&house);
    let foreign = names
        .iter()
        .find(|n| n.contains("backup") || n.contains("verify"));
    assert_eq!(foreign, None, "{names:?}");
}
