//! The vault as a process of its own, over real sockets with real mutual TLS.

#[path = "support/vault.rs"]
mod support;

use std::time::{Duration, Instant};

use cryptonym::error::Code;
use cryptonym::limits;
use cryptonym::pseudonym::{DomainKey, KindId, Pseudonym};
use cryptonym::secret::{Plain, PlainBuf};
use cryptonym::vault_link::FirstSight;
use cryptonym::vault_link::client::CallError;
use cryptonym::wire::batch::{self, Entry, Envelope, associated_data};
use cryptonym::wire::control::{
    LeaseAnswer, LeaseRequest, RecordsAnswer, RevealAsk, RevealList, RevealResult, RevealView,
};
use cryptonym::wire::dsse;
use cryptonym::wire::path;
use cryptonym::wire::sealed::{self, KeyPair};
use cryptonym::wire::statement::{DECISION_TYPE, Decision, Verdict};
use cryptonym::wire::text::{Base64, Hex};
use support::{House, code_of, sights};

const IMPROVEMENT: usize = 0;
const RESEARCH: usize = 1;
const SMALL: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn path_07_records_are_durable_idempotent_and_sealed_at_rest() {
    let house = House::new();
    let vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let made = sights(&house, &lease, 0..1500);
    let pseudonyms: Vec<Pseudonym> = made.iter().map(|s| s.pseudonym).collect();
    assert!(!lease.is_durable(&pseudonyms[0]));
    lease.make_durable(made).await.unwrap();
    assert!(pseudonyms.iter().all(|p| lease.is_durable(p)));
    // Again: acknowledged again.
    lease
        .make_durable(sights(&house, &lease, 0..10))
        .await
        .unwrap();

    // Another process of the gateway learns all of them before it is ready.
    let second = house.link().await;
    let status = second.status();
    assert_eq!(status[0].known, 1500);
    assert!(status[0].known_bytes <= 1500 * 24 + 64 * 1024);
    let other = second.lease(RESEARCH).unwrap();
    assert!(!pseudonyms.iter().any(|p| other.is_durable(p)));

    vault.stop();
    house.assert_private_files();
    let mut words = vec!["improvement".to_owned(), "subscriber".to_owned()];
    words.extend((0..1500).map(support::identifier));
    let kind = house.kind("subscriber");
    for pseudonym in &pseudonyms[..50] {
        let mut text = String::new();
        lease.kind(kind).write(pseudonym, &mut text);
        words.push(text);
    }
    house.assert_store_hides(&words, &pseudonyms);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_07_a_false_name_and_a_copied_batch_are_refused() {
    let house = House::new();
    let _vault = house.start_vault();
    let gateway = house.client("gateway-1");
    let request = LeaseRequest {
        domain: "improvement".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    let lease = gateway.post::<LeaseAnswer>(path::LEASES, &request).await;
    let lease = lease.unwrap().message;
    let key = DomainKey::new(lease.domain.0, lease.epoch, lease.key.0.clone());
    let kind = house.config.kinds.get(house.kind("subscriber"));
    let right = key.kind(kind).derive(b"SUB-00000001");
    let seal = |pseudonym: Pseudonym, identifier: &'static [u8], number: u64| {
        let plaintext = batch::encode_entries(
            [Entry {
                kind: "subscriber",
                pseudonym,
                identifier: Plain::new(identifier),
                subject: None,
            }]
            .into_iter(),
        );
        let mut envelope = Envelope {
            domain: lease.domain.0,
            epoch: lease.epoch,
            boot: [1; 16],
            number,
            sealed: &[],
        };
        let associated = associated_data(&lease.vault.0, &lease.gateway, &envelope);
        let sealed =
            sealed::seal(&lease.records_key.0, batch::INFO, &associated, &plaintext).unwrap();
        envelope.sealed = &sealed;
        bytes::Bytes::from(envelope.encode())
    };
    let send = async |client: &cryptonym::vault_link::client::Client, bytes: bytes::Bytes| {
        client
            .post_bytes::<RecordsAnswer>(path::RECORDS, bytes)
            .await
            .map(|a| a.message)
    };

    let good = seal(right, b"SUB-00000001", 1);
    let first = send(&gateway, good.clone()).await.unwrap();
    assert_eq!((first.new, first.known), (1, 0));
    let again = send(&gateway, good.clone()).await.unwrap();
    assert_eq!((again.new, again.known), (0, 1));

    // Another name under the same pseudonym; a value that is not normal; another gateway's bytes.
    let false_name = seal(right, b"SUB-00000002", 2);
    assert_eq!(code_of(send(&gateway, false_name).await), "record-mismatch");
    let not_normal = seal(right, b" sub-00000001", 3);
    assert_eq!(code_of(send(&gateway, not_normal).await), "record-mismatch");
    let other = house.client("gateway-2");
    assert_eq!(code_of(send(&other, good.clone()).await), "record-mismatch");
    let mut bent = good.to_vec();
    bent[30] ^= 1;
    assert_eq!(
        code_of(send(&gateway, bent.into()).await),
        "record-mismatch"
    );
    assert_eq!(house.events("mismatch-alarm"), 4);
}

/// Scope `subject`: a pseudonym follows from its record's subject too, and the vault derives it so.
#[tokio::test(flavor = "multi_thread")]
async fn formats_07_a_false_subject_is_refused() {
    let house = House::new();
    let _vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let (of, kind) = (house.kind("subscriber"), house.kind("kit"));
    let subject = |name: &[u8]| lease.kind(of).derive(name);
    let sight = |named: Option<(KindId, Pseudonym)>| {
        let whose = subject(b"SUB-00000001");
        let key = lease.kind(kind);
        vec![FirstSight {
            kind,
            pseudonym: key.derive_within(lease.kind(of), &whose, b"KIT-0A1B2C3D"),
            identifier: PlainBuf::new(b"KIT-0A1B2C3D".to_vec()),
            subject: named,
        }]
    };
    let (right, wrong) = (subject(b"SUB-00000001"), subject(b"SUB-00000002"));
    for false_name in [None, Some((of, wrong)), Some((kind, right))] {
        let refused = lease.make_durable(sight(false_name)).await.unwrap_err();
        assert_eq!(refused.code, Code::VaultRefused, "{false_name:?}");
    }
    assert_eq!(house.events("mismatch-alarm"), 3);
    lease.make_durable(sight(Some((of, right)))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn path_07_another_identifier_under_a_known_pseudonym_is_a_conflict() {
    let house = House::new();
    let vault = house.start_vault();
    house.make_pseudonyms(IMPROVEMENT, 0..3).await;
    vault.stop();
    // As if the row had been made for another identifier: keyed pseudonyms cannot collide.
    house.sql("UPDATE record SET tag = zeroblob(16) WHERE id = 2");
    let _vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let again = lease.make_durable(sights(&house, &lease, 0..4)).await;
    assert_eq!(again.unwrap_err().code, Code::VaultConflict);
    assert_eq!(house.events("conflict-alarm"), 1);
    // The batch was refused whole, and nothing was overwritten.
    let second = house.link().await;
    assert_eq!(second.status()[IMPROVEMENT].known, 3);
    assert_eq!(
        house.count("SELECT count(*) FROM record WHERE tag = zeroblob(16)"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn path_16_the_acknowledgement_is_sent_after_the_sync() {
    let house = House::new();
    let trace = house.path("trace");
    let vault = house.start_vault_traced(&trace);
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    // Everything that belongs to the start is over.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = std::fs::read_to_string(&trace).unwrap().len();
    let made = sights(&house, &lease, 0..500);
    lease.make_durable(made).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let text = std::fs::read_to_string(&trace).unwrap();
    let calls = support::calls(&text[before..]);
    vault.stop();
    let synced = calls
        .iter()
        .position(|call| call.is_sync_of("-wal"))
        .expect("the write-ahead log was synced");
    // Window updates and pings, in their TLS records, are shorter than a head with a body.
    let answer = |call: &support::Call| call.is_socket_write() && call.result >= 60;
    let early = calls[..synced].iter().find(|call| answer(call));
    assert!(early.is_none(), "answered before the sync: {early:?}");
    assert!(calls[synced..].iter().any(answer), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn path_07_only_the_role_and_the_registered_certificate_may_call() {
    let house = House::new();
    let _vault = house.start_vault();
    let request = LeaseRequest {
        domain: "improvement".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    for person in ["i.okafor", "a.lindqvist", "u.novak"] {
        let refused = house
            .client(person)
            .post::<LeaseAnswer>(path::LEASES, &request)
            .await;
        assert_eq!(code_of(refused), "wrong-role");
    }
    let gateway = house.client("gateway-1");
    assert_eq!(
        code_of(gateway.get::<RevealList>(path::REVEALS).await),
        "wrong-role"
    );
    // A certificate of the right CA that the registry does not name.
    let stranger = house.client("x.stranger");
    assert_eq!(
        code_of(stranger.post::<LeaseAnswer>(path::LEASES, &request).await),
        "not-registered"
    );
    // The gateway's own CA opens no door here.
    assert!(matches!(
        house
            .client("provider-1")
            .post::<LeaseAnswer>(path::LEASES, &request)
            .await,
        Err(CallError::Unreachable(_))
    ));
    let unknown = LeaseRequest {
        domain: "nowhere".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    assert_eq!(
        code_of(gateway.post::<LeaseAnswer>(path::LEASES, &unknown).await),
        "unknown-domain"
    );
    // A second boot under one certificate, while the first's lease lives.
    gateway
        .post::<LeaseAnswer>(path::LEASES, &request)
        .await
        .unwrap();
    let boot = Hex([2; 16]);
    let second = LeaseRequest { boot, ..request };
    gateway
        .post::<LeaseAnswer>(path::LEASES, &second)
        .await
        .unwrap();
    assert_eq!(house.events("second-lease-alarm"), 1);
    assert_eq!(house.events("lease-refused"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_07_a_gateway_uses_the_domains_it_was_given_and_no_other() {
    let house = House::new();
    house.give_domains("gateway-2", "[\"research\"]");
    let _vault = house.start_vault();
    let (open, bound) = (house.client("gateway-1"), house.client("gateway-2"));
    let request = |domain: &str| LeaseRequest {
        domain: domain.into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    bound
        .post::<LeaseAnswer>(path::LEASES, &request("research"))
        .await
        .unwrap();
    let refused = bound
        .post::<LeaseAnswer>(path::LEASES, &request("improvement"))
        .await;
    assert_eq!(code_of(refused), "domain-not-allowed");
    // Who knows another domain's id gets no further.
    let lease = open
        .post::<LeaseAnswer>(path::LEASES, &request("improvement"))
        .await;
    let lease = lease.unwrap().message;
    let known = format!(
        "{}?domain={}&epoch={}",
        path::KNOWN,
        lease.domain,
        lease.epoch
    );
    open.stream(&known).await.unwrap();
    assert_eq!(code_of(bound.stream(&known).await), "domain-not-allowed");
    let batch = Envelope {
        domain: lease.domain.0,
        epoch: lease.epoch,
        boot: [1; 16],
        number: 1,
        sealed: &[0; 100],
    };
    let batch = bytes::Bytes::from(batch.encode());
    let refused = bound
        .post_bytes::<RecordsAnswer>(path::RECORDS, batch)
        .await;
    assert_eq!(code_of(refused), "domain-not-allowed");
    assert_eq!(
        house.codes_of("domain-alarm"),
        ["domain-not-allowed"; 3].map(str::to_owned)
    );
    let warned = house.vault_log();
    assert!(warned.contains("may lease every domain"), "{warned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_the_budget_of_a_day_holds_across_restarts() {
    let house = House::new();
    let vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(SMALL).unwrap();
    let too_many = lease.make_durable(sights(&house, &lease, 0..6)).await;
    assert_eq!(too_many.unwrap_err().code, Code::Budget);
    lease
        .make_durable(sights(&house, &lease, 0..5))
        .await
        .unwrap();
    vault.stop();
    let vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(SMALL).unwrap();
    // What is known passes, what is new does not; another domain has its own budget.
    lease
        .make_durable(sights(&house, &lease, 0..5))
        .await
        .unwrap();
    let more = lease.make_durable(sights(&house, &lease, 5..6)).await;
    assert_eq!(more.unwrap_err().code, Code::Budget);
    let other = link.lease(RESEARCH).unwrap();
    other
        .make_durable(sights(&house, &other, 0..6))
        .await
        .unwrap();
    assert_eq!(house.events("budget-alarm"), 1);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_while_the_vault_is_away_only_what_is_durable_passes() {
    let house = House::new();
    let vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let known = sights(&house, &lease, 0..3);
    let pseudonyms: Vec<_> = known.iter().map(|s| s.pseudonym).collect();
    lease.make_durable(known).await.unwrap();
    vault.stop();

    let start = Instant::now();
    let lease = link.lease(IMPROVEMENT).expect("the lease lives on");
    assert!(pseudonyms.iter().all(|p| lease.is_durable(p)));
    let new = lease.make_durable(sights(&house, &lease, 3..4)).await;
    assert_eq!(new.unwrap_err().code, Code::VaultUnreachable);
    assert!(start.elapsed() < limits::VAULT_TIME + Duration::from_secs(1));

    let vault = house.start_vault();
    house
        .until("records are durable again", async || {
            let lease = link.lease(IMPROVEMENT)?;
            let made = sights(&house, &lease, 3..4);
            lease.make_durable(made).await.ok()
        })
        .await;
    vault.stop();

    // Another store under the same address: nothing that was known counts any more.
    house.remove_store();
    let _vault = house.start_vault();
    let before = lease;
    house
        .until("the known set is dropped", async || {
            let lease = link.lease(IMPROVEMENT)?;
            let gone = !pseudonyms.iter().any(|p| lease.is_durable(p))
                && !pseudonyms.iter().any(|p| before.is_durable(p));
            gone.then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_after_a_restored_backup_what_it_lacks_is_published_again() {
    let house = House::new();
    let vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let pseudonyms: Vec<_> = sights(&house, &lease, 0..6)
        .iter()
        .map(|s| s.pseudonym)
        .collect();
    lease
        .make_durable(sights(&house, &lease, 0..3))
        .await
        .unwrap();
    vault.stop();
    house.back_up();
    let vault = house.start_vault();
    house
        .until("the rest is durable", async || {
            let lease = link.lease(IMPROVEMENT)?;
            let made = sights(&house, &lease, 3..6);
            lease.make_durable(made).await.ok()
        })
        .await;
    vault.stop();

    house.restore();
    let _vault = house.start_vault();
    house
        .until("only what the backup has counts", async || {
            let lease = link.lease(IMPROVEMENT)?;
            let durable: Vec<_> = pseudonyms.iter().map(|p| lease.is_durable(p)).collect();
            (durable == [true, true, true, false, false, false]).then_some(())
        })
        .await;
    assert_eq!(house.count("SELECT count(*) FROM record"), 3);
    let lease = link.lease(IMPROVEMENT).unwrap();
    lease
        .make_durable(sights(&house, &lease, 0..6))
        .await
        .unwrap();
    assert_eq!(house.count("SELECT count(*) FROM record"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_a_lost_connection_is_seen_by_who_was_busy() {
    let house = House::new();
    let vault = house.start_vault();
    let auditor = house.client("u.novak");
    let mut losses = auditor.losses();
    auditor.get_text(path::LOG_KEY).await.unwrap();
    assert!(!losses.has_changed().unwrap());
    vault.kill();
    // Nobody waits while it happens.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = tokio::time::timeout(Duration::from_secs(1), losses.changed()).await;
    seen.expect("the loss was missed").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_known_sets_that_nobody_reads_hold_up_their_own_gateway_alone() {
    let house = House::new();
    let _vault = house.start_vault();
    // More than one page.
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    for n in 0..5 {
        let made = sights(&house, &lease, n * 1000..(n + 1) * 1000);
        lease.make_durable(made).await.unwrap();
    }
    let request = LeaseRequest {
        domain: "improvement".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    };
    let gateway = house.client("gateway-2");
    let lease = gateway.post::<LeaseAnswer>(path::LEASES, &request).await;
    let lease = lease.unwrap().message;
    let known = format!(
        "{}?domain={}&epoch={}",
        path::KNOWN,
        lease.domain,
        lease.epoch
    );
    let mut slow = house.slow_connection("gateway-2").await;
    let mut held = Vec::new();
    for _ in 0..limits::KNOWN_STREAMS_EACH {
        let answer = slow.get(&known).await;
        assert_eq!(answer.status(), 200);
        held.push(answer); // its body is never read
    }
    assert_eq!(slow.get(&known).await.status(), 503);
    // Another gateway is served, and this one too when it lets go of a stream.
    let other = house.client("gateway-1");
    other.stream(&known).await.unwrap();
    held.pop();
    assert_eq!(slow.get(&known).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_what_was_acknowledged_survives_kill_9() {
    let house = House::new();
    let mut acknowledged: Vec<Pseudonym> = Vec::new();
    for round in 0..4u32 {
        let vault = house.start_vault();
        let link = house.link().await;
        let lease = link.lease(IMPROVEMENT).unwrap();
        assert!(
            acknowledged.iter().all(|p| lease.is_durable(p)),
            "round {round}: an acknowledged record is gone"
        );
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40u32 {
            let start = round * 10_000 + n * 50;
            let made = sights(&house, &lease, start..start + 50);
            let lease = link.lease(IMPROVEMENT).unwrap();
            tasks.spawn(async move {
                let pseudonyms: Vec<_> = made.iter().map(|s| s.pseudonym).collect();
                lease.make_durable(made).await.map(|()| pseudonyms)
            });
        }
        tokio::time::sleep(Duration::from_millis(u64::from(10 + round * 25))).await;
        vault.kill();
        drop(link);
        while let Some(done) = tasks.join_next().await {
            if let Ok(Ok(pseudonyms)) = done {
                acknowledged.extend(pseudonyms);
            }
        }
    }
    assert!(
        !acknowledged.is_empty(),
        "nothing was acknowledged in any round"
    );
    let _vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    assert!(acknowledged.iter().all(|p| lease.is_durable(p)));
}

#[tokio::test(flavor = "multi_thread")]
async fn path_09_two_people_reveal_by_the_command_line_and_the_log_shows_it() {
    let house = House::new();
    let vault = house.start_vault();
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..2).await;
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
        "ticket 4711",
        &texts[0],
        &texts[1],
    ]);
    assert_eq!(asked.code, 0, "{}", asked.err);
    let id = asked.out.trim();
    assert_eq!(
        house.run(&["reveal", "fetch", id, "--as", "i.okafor"]).code,
        1,
        "nobody has approved it"
    );
    let approved = house.run(&["reveal", "approve", id, "--as", "a.lindqvist", "--yes"]);
    assert_eq!(approved.code, 0, "{}", approved.err);
    // What the approver saw holds the request and no identifier.
    assert!(approved.out.contains(&texts[0]) && approved.out.contains("ticket 4711"));
    assert!(!approved.out.contains(&support::identifier(0)));

    let fetched = house.run(&["reveal", "fetch", id, "--as", "i.okafor"]);
    assert_eq!(fetched.code, 0, "{}", fetched.err);
    for (n, text) in (0..2).zip(&texts) {
        let line = fetched.out.lines().find(|l| l.contains(text.as_str()));
        assert!(line.unwrap().contains(&support::identifier(n)));
    }
    let again = house.run(&["reveal", "fetch", id, "--as", "i.okafor"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("spent"), "{}", again.err);

    let log = house.run(&["log", "show", "--as", "u.novak"]);
    for event in [
        "reveal-asked",
        "reveal-denied",
        "reveal-approved",
        "reveal-fetched",
    ] {
        assert!(log.out.contains(event), "{event} is not in the log");
    }
    assert!(!log.out.contains(&support::identifier(0)));
    vault.stop();
    house.assert_store_hides(
        &[
            support::identifier(0),
            texts[0].clone(),
            "ticket 4711".into(),
        ],
        &[],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn path_09_every_way_around_the_second_person_is_refused_and_logged() {
    let house = House::new();
    let _vault = house.start_vault();
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    let foreign = house.make_pseudonyms(RESEARCH, 0..1).await;
    let (investigator, other) = (house.client("i.okafor"), house.client("j.berg"));
    let approver = house.client("a.lindqvist");
    let pair = KeyPair::generate();
    let ask = |domain: &str, pseudonym: &str| RevealAsk {
        domain: domain.into(),
        pseudonyms: vec![pseudonym.into()],
        purpose: "share-results".into(),
        reason: "ticket".into(),
        hpke_key: Hex(pair.public()),
        expires_in: None,
        reads: None,
    };
    let make = async || {
        let view = investigator
            .post::<RevealView>(path::REVEALS, &ask("improvement", &texts[0]))
            .await;
        view.unwrap().message
    };
    let decision_path = |id: Hex<16>| format!("{}/{id}/decision", path::REVEALS);
    let fetch_path = |id: Hex<16>| format!("{}/{id}/fetch", path::REVEALS);
    let envelope = |approver: &str, statement: &Base64, key: &ed25519_dalek::SigningKey| {
        let decision = Decision {
            decision: Verdict::Approve,
            approver: approver.into(),
            statement: statement.clone(),
        };
        dsse::Envelope::sign(DECISION_TYPE, decision.to_bytes(), key)
    };
    let key = house.signing_key("a.lindqvist");
    let mut expected = Vec::new();
    let mut refused = |result: Result<(), CallError>, code: &'static str| {
        assert_eq!(code_of(result), code);
        expected.push(code);
    };
    let post = async |client: &cryptonym::vault_link::client::Client,
                      path: &str,
                      message: &dsse::Envelope| {
        client.post::<RevealView>(path, message).await.map(drop)
    };
    let fetch = async |client: &cryptonym::vault_link::client::Client, id: Hex<16>| {
        client
            .post::<RevealResult>(&fetch_path(id), &())
            .await
            .map(drop)
    };
    let asked = async |message: RevealAsk| {
        investigator
            .post::<RevealView>(path::REVEALS, &message)
            .await
            .map(drop)
    };

    // Asking.
    refused(asked(ask("improvement", &foreign[0])).await, "wrong-domain");
    refused(asked(ask("nowhere", &texts[0])).await, "unknown-domain");
    let mut typo = texts[0].clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'a' { 'b' } else { 'a' });
    refused(asked(ask("improvement", &typo)).await, "bad-pseudonym");
    let never_seen = house.pseudonym_text(IMPROVEMENT, 99).await;
    refused(
        asked(ask("improvement", &never_seen)).await,
        "unknown-pseudonym",
    );
    let mut many = ask("improvement", &texts[0]);
    many.pseudonyms = (0..101).map(|n| format!("{}{n}", texts[0])).collect();
    refused(asked(many).await, "too-many");

    // Deciding.
    let (one, two) = (make().await, make().await);
    let own = envelope("i.okafor", &one.statement, &key);
    refused(
        post(&investigator, &decision_path(one.request), &own).await,
        "self-approval",
    );
    let by_other = envelope("j.berg", &one.statement, &key);
    refused(
        post(&other, &decision_path(one.request), &by_other).await,
        "wrong-role",
    );
    let swapped = envelope("a.lindqvist", &two.statement, &key);
    refused(
        post(&approver, &decision_path(one.request), &swapped).await,
        "changed-request",
    );
    let mut bent = envelope("a.lindqvist", &one.statement, &key);
    bent.payload.0.push(b' ');
    refused(
        post(&approver, &decision_path(one.request), &bent).await,
        "bad-signature",
    );
    let wrong_key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let unsigned = envelope("a.lindqvist", &one.statement, &wrong_key);
    refused(
        post(&approver, &decision_path(one.request), &unsigned).await,
        "bad-signature",
    );
    refused(fetch(&investigator, one.request).await, "not-approved");
    let good = envelope("a.lindqvist", &one.statement, &key);
    post(&approver, &decision_path(one.request), &good)
        .await
        .unwrap();
    refused(
        post(&approver, &decision_path(one.request), &good).await,
        "already-decided",
    );
    // A decision on one request is none on another.
    refused(
        post(&approver, &decision_path(two.request), &good).await,
        "changed-request",
    );

    // Fetching.
    refused(fetch(&other, one.request).await, "other-requester");
    refused(fetch(&approver, one.request).await, "other-requester");
    refused(fetch(&investigator, Hex([7; 16])).await, "unknown-reveal");
    let fetch_one = fetch_path(one.request);
    let result = investigator.post::<RevealResult>(&fetch_one, &());
    let result = result.await.unwrap().message;
    let info = cryptonym::wire::control::REVEAL_INFO;
    let opened = pair.open(info, &result.statement.0, &result.sealed.0);
    let opened = String::from_utf8(opened.unwrap().to_vec()).unwrap();
    assert!(opened.contains(&support::identifier(0)));
    let stranger = KeyPair::generate().open(info, &result.statement.0, &result.sealed.0);
    assert!(stranger.is_err());
    refused(fetch(&investigator, one.request).await, "spent");

    // Expiry, before and after the decision.
    let three = make().await;
    let approve = envelope("a.lindqvist", &three.statement, &key);
    post(&approver, &decision_path(three.request), &approve)
        .await
        .unwrap();
    house.expire_reveals();
    refused(fetch(&investigator, three.request).await, "expired");
    let late = envelope("a.lindqvist", &two.statement, &key);
    refused(
        post(&approver, &decision_path(two.request), &late).await,
        "expired",
    );

    // Nobody sees another investigator's requests.
    let list = other.get::<RevealList>(path::REVEALS).await.unwrap();
    assert!(list.message.reveals.is_empty());

    let logged: Vec<String> = house.codes_of("reveal-denied");
    assert_eq!(logged, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_09_write_access_to_the_database_is_no_second_person() {
    let house = House::new();
    let _vault = house.start_vault();
    let texts = house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    let request = || {
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
            "ticket",
            &texts[0],
        ]);
        assert_eq!(asked.code, 0, "{}", asked.err);
        asked.out.trim().to_owned()
    };
    let fetch = |id: &str| house.run(&["reveal", "fetch", id, "--as", "i.okafor"]);
    let decide = |id: &str, verdict: &str| {
        let ran = house.run(&["reveal", verdict, id, "--as", "a.lindqvist", "--yes"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    let refused = |id: &str| {
        let ran = fetch(id);
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(!ran.out.contains(&support::identifier(0)));
    };

    // Marked as approved; then with the decision of another reveal.
    let (forged, good, no) = (request(), request(), request());
    house.sql(&format!(
        "UPDATE reveal SET state = 1, reads_left = 10, expires = expires + 99999 WHERE id = x'{forged}'"
    ));
    refused(&forged);
    decide(&good, "approve");
    house.sql(&format!(
        "UPDATE reveal SET decision = (SELECT decision FROM reveal WHERE id = x'{good}') WHERE id = x'{forged}'"
    ));
    refused(&forged);
    // Refused, then marked as approved.
    decide(&no, "refuse");
    house.sql(&format!(
        "UPDATE reveal SET state = 1, reads_left = 10 WHERE id = x'{no}'"
    ));
    refused(&no);
    // Read as often as was approved, then marked as unread.
    assert_eq!(fetch(&good).code, 0);
    house.sql(&format!(
        "UPDATE reveal SET reads_left = 10 WHERE id = x'{good}'"
    ));
    refused(&good);

    assert_eq!(
        house.codes_of("reveal-denied"),
        [
            "decision-unproven",
            "decision-unproven",
            "reveal-refused",
            "spent"
        ]
    );
    assert_eq!(house.events("decision-alarm"), 2);
    assert_eq!(house.events("reveal-fetched"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_10_the_log_is_verified_online_offline_and_against_what_is_remembered() {
    let house = House::new();
    let vault = house.start_vault();
    house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    let first = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    assert!(first.out.contains("not excluded"));
    vault.stop();

    let vault = house.start_vault();
    let second = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(second.code, 0, "{}{}", second.out, second.err);
    assert!(second.out.contains("continues the checkpoint"));
    let file = house.path("log.json");
    let exported = house.run(&["log", "export", "--as", "u.novak", &file]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    vault.stop();
    // Offline.
    let offline = house.run(&["log", "verify", "--export", &file]);
    assert_eq!(offline.code, 0, "{}{}", offline.out, offline.err);

    // An export that was changed.
    let text = std::fs::read_to_string(&file).unwrap();
    let bent = text.replacen("vault-started", "vault-stopped", 1);
    assert_ne!(text, bent);
    std::fs::write(&file, bent).unwrap();
    let answer = house.run(&["log", "verify", "--export", &file]);
    assert_eq!(answer.code, 1);
    assert!(answer.out.contains("DOES NOT HOLD"));

    // A store whose log was cut does not start.
    house.sql("DELETE FROM log_leaf WHERE sequence = (SELECT max(sequence) FROM log_leaf)");
    let error = house.vault_fails();
    assert!(error.contains("last checkpoint"), "{error}");

    // A new store under the same address is not what was remembered.
    house.remove_store();
    let _vault = house.start_vault();
    let other = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(other.code, 1);
    assert!(other.out.contains("another key"), "{}", other.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_10_an_altered_record_or_another_root_key_opens_nothing() {
    let house = House::new();
    let vault = house.start_vault();
    house.make_pseudonyms(IMPROVEMENT, 0..1).await;
    vault.stop();
    house.replace_root_key();
    let error = house.vault_fails();
    assert!(error.contains("root key is not the one"), "{error}");
}

/// Keeps the kinds of ids used above honest.
#[test]
fn identifiers_are_normal() {
    let house = House::new();
    let kind: KindId = house.kind("subscriber");
    let mut out = Vec::new();
    let identifier = support::identifier(7);
    let normaliser = house.config.kinds.get(kind).normaliser;
    assert!(
        normaliser
            .normalise(identifier.as_bytes(), &mut out)
            .is_ok()
    );
    assert_eq!(out, identifier.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn path_08_a_wrong_record_is_refused_to_its_sender_alone() {
    let house = House::new();
    let _vault = house.start_vault();
    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    // The first two are batches of their own; the others wait and then share one.
    for call in 0..40u32 {
        let mut made = sights(&house, &lease, 10 * call..10 * call + 10);
        let wrong = call % 16 == 7;
        if wrong {
            made[3].pseudonym.0[0] ^= 1;
        }
        let lease = lease.clone();
        calls.spawn(async move { (wrong, lease.make_durable(made).await.map_err(|f| f.code)) });
    }
    while let Some(done) = calls.join_next().await {
        let (wrong, result) = done.unwrap();
        let expected = if wrong {
            Err(Code::VaultRefused)
        } else {
            Ok(())
        };
        assert_eq!(result, expected);
    }
}
