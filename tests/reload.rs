//! Item 8: another configuration, the way out, and another process, while clients go on.

#[path = "support/installation.rs"]
mod installation;
mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cryptonym::local::processes::{Process, free_address, get, pause, run};
use installation::Installation;
use rustix::process::Signal;
use serde_json::Value;
use support::backend::{Backend, Mood};
use support::raw::{End, Raw, field, status};
use support::whole::{PATIENCE, Whole, any, gateway, route};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn ask(client: &mut Raw, path: &str) -> u16 {
    client.send(get_text(path)).await;
    status(&client.answer().await.0)
}

fn get_text(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// Reloads, and waits until that is done (or refused).
async fn reload(whole: &Whole, outcome: &str) {
    tokio::task::block_in_place(|| {
        let before = whole.metric(outcome);
        whole.process.signal(Signal::HUP);
        whole.until(outcome, before + 1.0);
    });
}

const DONE: &str = "reloads_total";
const REFUSED: &str = "reloads_refused_total";

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_a_reload_is_all_or_nothing_and_connections_stay() {
    let backend = Backend::answering(OK).await;
    let other = Backend::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
    let whole = Whole::start("", &any(backend.address));
    let mut kept = whole.client().await;
    assert_eq!(ask(&mut kept, "/any").await, 200);
    assert_eq!(ask(&mut kept, "/more").await, 404);

    let more = format!("{}{}", any(backend.address), route("/more"));
    whole.writes("", &more);
    reload(&whole, DONE).await;
    // On the connection that was there before.
    assert_eq!(ask(&mut kept, "/more").await, 200);
    assert_eq!(ask(&mut kept, "/any").await, 200);
    assert_eq!(backend.connections(), 1, "the pool is the same");

    // Each of these is wrong in one place, and would be another backend in every other.
    let elsewhere = any(other.address);
    let secure = elsewhere.replace("http://127.0.0.1", "https://localhost");
    let broken = [
        ("", format!("{elsewhere}[[route]]\nnam"), "config.toml:"),
        ("", format!("{elsewhere}{}", route("/any")), "stands twice"),
        ("workers = 7", elsewhere.clone(), "gateway.workers"),
        (
            "access_log = false",
            elsewhere.clone(),
            "gateway.access_log",
        ),
        (
            "[[gateway.certificate]]\ncertificate = \"certs/gateway.pem\"\nkey = \"certs/gateway-link.key\"",
            elsewhere.clone(),
            "gateway-link.key",
        ),
        (
            "",
            secure.replace(
                "[backend.there]",
                "[backend.there]\nca = \"certs/none.pem\"",
            ),
            "certs/none.pem",
        ),
        (
            "",
            secure.replace(
                "[backend.there]",
                "[backend.there]\nca = \"/srv/elsewhere/ca.pem\"",
            ),
            "/srv/elsewhere",
        ),
    ];
    for (keys, rest, named) in broken {
        whole.writes(keys, &rest);
        let before = whole.log().len();
        reload(&whole, REFUSED).await;
        let log = whole.log();
        let said = &log[before..];
        assert!(said.contains("configuration refused"), "{said}");
        assert!(said.contains(named), "{named} in\n{said}");
        assert_eq!(ask(&mut kept, "/more").await, 200, "{named}");
    }
    assert_eq!(other.connections(), 0);
    whole.writes("", &any(other.address));
    reload(&whole, DONE).await;
    assert_eq!(ask(&mut kept, "/any").await, 404);
    assert_eq!(ask(&mut kept, "/more").await, 404);
    assert_eq!((backend.connections(), other.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_requests_in_flight_finish_on_the_configuration_they_began_under() {
    let (mut slow, moods) = Backend::moody(Mood::Stall).await;
    let next = Backend::answering(OK).await;
    let whole = Whole::start("", &any(slow.address));
    let mut waits = whole.client().await;
    waits.send(get_text("/any")).await;
    slow.next().await;
    // Its route, its backend and its limits are gone.
    let other = any(next.address).replace("/any", "/other");
    whole.writes("", &format!("{other}\n[limits]\nresponse_time = \"1s\"\n"));
    reload(&whole, DONE).await;
    let mut new = whole.client().await;
    assert_eq!(ask(&mut new, "/other").await, 200);
    assert_eq!(ask(&mut new, "/any").await, 404);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    moods.set(Mood::Answer(201));
    assert_eq!(status(&waits.answer().await.0), 201);
    // And its connection goes on under the new one.
    assert_eq!(ask(&mut waits, "/other").await, 200);
    // The old backend's connections are closed once nobody uses it.
    tokio::task::block_in_place(|| {
        let began = Instant::now();
        while whole.metric("connections_open") > 3.0 {
            assert!(
                began.elapsed() < PATIENCE,
                "{}",
                whole.metric("connections_open")
            );
            pause(Duration::from_millis(50));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_a_changed_file_is_enough_where_that_is_wanted() {
    let backend = Backend::answering(OK).await;
    let keys = "reload = \"change\"";
    let whole = Whole::start(keys, &any(backend.address));
    let mut client = whole.client().await;
    assert_eq!(ask(&mut client, "/more").await, 404);
    let more = format!("{}{}", any(backend.address), route("/more"));
    whole.writes(keys, &more);
    tokio::task::block_in_place(|| whole.until(DONE, 1.0));
    assert_eq!(ask(&mut client, "/more").await, 200);
    // A file that is refused is tried once.
    whole.writes(keys, "nonsense");
    tokio::task::block_in_place(|| whole.until(REFUSED, 1.0));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((whole.metric(DONE), whole.metric(REFUSED)), (1.0, 1.0));
    assert_eq!(ask(&mut client, "/more").await, 200);
    // From here on only a signal counts.
    whole.writes("", &any(backend.address));
    tokio::task::block_in_place(|| whole.until(DONE, 2.0));
    whole.writes("", &more);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(whole.metric(DONE), 2.0);
    reload(&whole, DONE).await;
    assert_eq!(ask(&mut client, "/more").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_addresses_limits_and_client_certificates_change_too() {
    let backend = Backend::answering(OK).await;
    let whole = Whole::start("", &any(backend.address));
    let mut first = whole.client().await;
    assert_eq!(ask(&mut first, "/any").await, 200);
    let text = std::fs::read_to_string(whole.config()).unwrap();
    let put = |text: &str| std::fs::write(whole.config(), text).unwrap();

    let second = free_address().unwrap();
    let listen = format!("\"{}\"]", whole.address);
    put(&text.replace(&listen, &format!("\"{}\", \"{second}\"]", whole.address)));
    reload(&whole, DONE).await;
    let tls = whole.certificates.client(&[b"http/1.1"], false);
    let mut new = Raw::tls(second, tls.clone()).await;
    assert_eq!(ask(&mut new, "/any").await, 200);

    // An address that somebody has: nothing changes, and the first stays open.
    let taken = format!("\"{}\"]", backend.address);
    put(&text.replace(&listen, &taken));
    reload(&whole, REFUSED).await;
    assert_eq!(ask(&mut whole.client().await, "/any").await, 200);

    put(&text.replace(&listen, &format!("\"{second}\"]")));
    reload(&whole, DONE).await;
    assert!(TcpStream::connect(whole.address).is_err(), "still open");
    // Who had come in there stays.
    assert_eq!(ask(&mut first, "/any").await, 200);

    let text = text.replace(&listen, &format!("\"{second}\"]"));
    put(&format!("{text}\n[limits]\nconnections = 2\n"));
    reload(&whole, DONE).await;
    assert_eq!(ask(&mut first, "/any").await, 200);
    let third = TcpStream::connect(second).unwrap();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = std::io::Read::read(&mut &third, &mut [0; 1]);
    assert!(matches!(ended, Ok(0) | Err(_)), "a third one came in");
    put(&format!("{text}\n[limits]\nconnections = 50\n"));
    reload(&whole, DONE).await;
    assert_eq!(
        ask(&mut Raw::tls(second, tls.clone()).await, "/any").await,
        200
    );

    // Who has no certificate has to leave once one is asked for.
    put(&text.replace(
        "client_certificate = \"optional\"",
        "client_certificate = \"required\"",
    ));
    reload(&whole, DONE).await;
    for mut client in [first, new] {
        let (rest, end) = client.rest().await;
        assert!(rest.is_empty(), "{end:?}");
    }
    let known = whole.certificates.client(&[b"http/1.1"], true);
    assert_eq!(ask(&mut Raw::tls(second, known).await, "/any").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_what_protects_people_is_not_counted_anew() {
    let backend = Backend::answering(OK).await;
    let limited = |more: &str| {
        let rate = "rate = { requests = 2, per = \"1h\" }\n";
        format!("{}{rate}{more}", any(backend.address))
    };
    let whole = Whole::start("", &limited(""));
    let mut client = whole.client().await;
    assert_eq!(ask(&mut client, "/any").await, 200);
    assert_eq!(ask(&mut client, "/any").await, 200);
    assert_eq!(ask(&mut client, "/any").await, 429);
    whole.writes("", &limited(&route("/more")));
    reload(&whole, DONE).await;
    assert_eq!(ask(&mut client, "/any").await, 429);
    assert_eq!(ask(&mut client, "/more").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_an_operator_asks_for_a_reload_and_hears_why_not() {
    let backend = Backend::answering(OK).await;
    let admin = free_address().unwrap();
    let keys = format!("admin = {{ listen = \"{admin}\" }}");
    let whole = Whole::start(&keys, &any(backend.address));
    let ask_for = |method: &str, path: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method]);
        command.arg(format!("http://{admin}{path}"));
        let ended = run(command).unwrap();
        assert!(ended.success, "{}", ended.stderr);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let asked = |method: &'static str, path: &'static str| {
        tokio::task::block_in_place(|| ask_for(method, path))
    };
    let before = asked("GET", "/status");
    let more = format!("{}{}", any(backend.address), route("/more"));
    whole.writes(&keys, &more);
    let now = asked("POST", "/reload");
    assert_ne!(now["sha256"], before["configuration"]["sha256"]);
    let status = asked("GET", "/status");
    assert_eq!(status["configuration"], now);
    assert_eq!(status["routes"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&mut whole.client().await, "/more").await, 200);
    whole.writes(&keys, "[gateway.nonsense]\nx = 1\n");
    let refused = asked("POST", "/reload");
    let errors = refused["errors"].as_array().unwrap();
    assert!(
        errors
            .iter()
            .any(|e| e.as_str().unwrap().contains("nonsense")),
        "{refused}"
    );
    assert_eq!(asked("GET", "/status")["configuration"], now);
}

// --- the way out ------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_on_the_way_out_who_has_come_is_served() {
    let (mut backend, moods) = Backend::moody(Mood::Stall).await;
    let whole = Whole::start("", &any(backend.address));
    let mut in_flight = whole.client().await;
    let mut idle = whole.client().await;
    in_flight.send(get_text("/any")).await;
    backend.next().await;
    // Accepted, and in the middle of its handshake.
    let tcp = tokio::net::TcpStream::connect(whole.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    whole.process.signal(Signal::TERM);
    let began = Instant::now();
    while TcpStream::connect(whole.address).is_ok() {
        assert!(began.elapsed() < PATIENCE, "still listening");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    moods.set(Mood::Answer(200));
    // A request that was under way on a kept connection is answered, as the last one.
    idle.send(get_text("/any")).await;
    let (head, _) = idle.answer().await;
    assert_eq!(
        (status(&head), field(&head, "connection")),
        (200, Some("close"))
    );
    let (head, _) = in_flight.answer().await;
    assert_eq!(
        (status(&head), field(&head, "connection")),
        (200, Some("close"))
    );
    let tls = whole.certificates.client(&[b"http/1.1"], false);
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(tls);
    let mut late = Raw::new(connector.connect(name, tcp).await.unwrap());
    assert_eq!(ask(&mut late, "/any").await, 200);
    for client in [&mut idle, &mut in_flight, &mut late] {
        assert_eq!(client.rest().await.1, End::Clean);
    }
    let ended = tokio::task::block_in_place(|| whole.process.stop());
    assert_eq!(ended.and_then(|s| s.code()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_the_way_out_has_an_end_of_its_own() {
    let (mut backend, _moods) = Backend::moody(Mood::Stall).await;
    let rest = format!("{}\n[limits]\ndrain_time = \"2s\"\n", any(backend.address));
    let whole = Whole::start("", &rest);
    let mut client = whole.client().await;
    client.send(get_text("/any")).await;
    backend.next().await;
    let began = Instant::now();
    whole.process.signal(Signal::TERM);
    let (rest, end) = client.rest().await;
    assert!(rest.is_empty() && end != End::Clean, "{end:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let ended = tokio::task::block_in_place(|| whole.process.stop());
    assert_eq!(ended.and_then(|s| s.code()), Some(0));
}

// --- another process --------------------------------------------------------------------------

const PEOPLE: &str = r#"
[policy.people]
rules = [
  { at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.n", category = "test", action = "keep" },
]
[[route]]
name = "people"
path = "/people"
methods = ["POST"]
backend = "there"
domain = "improvement"
request = "people"
"#;

fn people(backend: SocketAddr) -> String {
    format!("[backend.there]\nurls = [\"http://{backend}\"]\nregion = \"GB\"\n{PEOPLE}")
}

/// An installation whose gateway hands over.
fn prepare(backend: SocketAddr) -> Installation {
    let installation = Installation::prepare(&people(backend));
    rewrite(&installation, |text| {
        text.replacen("[gateway]", "[gateway]\nhandover = \"handover/socket\"", 1)
    });
    std::fs::create_dir(installation.folder().join("handover")).unwrap();
    installation
}

fn rewrite(installation: &Installation, change: impl FnOnce(&str) -> String) {
    let text = std::fs::read_to_string(installation.config()).unwrap();
    std::fs::write(installation.config(), change(&text)).unwrap();
}

fn successor(installation: &Installation, config: &Path, log: &str) -> Process {
    let mut command = gateway(config, &["--take-over"]);
    command.current_dir(installation.folder());
    Process::start("successor", command, &installation.log(log)).unwrap()
}

/// Clients that go on asking until told to stop: every second one over a connection that it keeps,
/// the others over a new one each time.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(installation: &Installation, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let one = |number: usize| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let fresh = || installation.client();
            let mut all: Vec<_> = (0..if number.is_multiple_of(2) { 1 } else { 5000 })
                .map(|_| fresh())
                .collect();
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut turn = 0;
                while !stop.load(SeqCst) {
                    turn += 1;
                    if all.len() > 1 {
                        all.pop();
                    }
                    let client = all.last_mut().unwrap();
                    let body = format!("{{\"id\":\"lb-{number}-{}\",\"n\":1}}", turn % 7);
                    match client
                        .send("POST", "/people", "application/json", body)
                        .await
                    {
                        Ok(answer) if answer.status == 200 => drop(answered.fetch_add(1, SeqCst)),
                        Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text())),
                        Err(failure) => failures.push(failure.to_string()),
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(one).collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    async fn until(&self, more: usize) {
        let (began, from) = (Instant::now(), self.answered.load(SeqCst));
        while self.answered.load(SeqCst) < from + more {
            assert!(began.elapsed() < PATIENCE, "clients get no answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many were answered; none may have failed.
    async fn end(self) -> usize {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            let failures = client.await.unwrap();
            assert!(failures.is_empty(), "{failures:?}");
        }
        self.answered.load(SeqCst)
    }
}

fn started(installation: &mut Installation) {
    tokio::task::block_in_place(|| {
        installation.start_vault();
        installation.start_gateway();
    });
}

async fn pseudonym(installation: &Installation, backend: &mut Backend) -> String {
    while backend.seen.try_recv().is_ok() {}
    let mut client = installation.client();
    let body = r#"{"id":"lb-4711","n":1}"#;
    let sent = client
        .send("POST", "/people", "application/json", body)
        .await;
    assert_eq!(sent.unwrap().status, 200);
    let seen = String::from_utf8(backend.next().await.body.unwrap()).unwrap();
    let value: Value = serde_json::from_str(&seen).unwrap();
    value["id"].as_str().unwrap().to_owned()
}

fn alarms(installation: &Installation) -> f64 {
    let page = installation.metrics("vault");
    let line = page
        .lines()
        .find(|l| l.starts_with("cryptonym_vault_alarms_lease"));
    line.unwrap_or_else(|| panic!("{page}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_a_successor_takes_over_and_nobody_notices() {
    let mut backend = Backend::answering(OK).await;
    let mut installation = prepare(backend.address);
    started(&mut installation);
    let before = pseudonym(&installation, &mut backend).await;
    let load = Load::start(&installation, 4);
    load.until(20).await;
    // Another number of workers: what a reload cannot do.
    rewrite(&installation, |text| {
        text.replacen("[gateway]", "[gateway]\nworkers = 3", 1)
    });
    let mut next = successor(&installation, &installation.config(), "successor");
    let mut old = installation.gateway.take().unwrap();
    tokio::task::block_in_place(|| old.wait_for_end(PATIENCE)).unwrap();
    load.until(20).await;
    let answered = load.end().await;
    assert!(answered >= 40);
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
    let page = installation.metrics("gateway");
    assert!(page.contains("cryptonym_gateway_answers"), "{page}");
    assert!(next.is_running());
    assert_eq!(
        alarms(&installation),
        0.0,
        "a second lease that nobody handed over"
    );
    // And once more, from the successor.
    let third = successor(&installation, &installation.config(), "third");
    tokio::task::block_in_place(|| next.wait_for_end(PATIENCE)).unwrap();
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
    assert_eq!(alarms(&installation), 0.0);
    // One that nobody hands over to is still noticed.
    third.kill();
    tokio::task::block_in_place(|| installation.start_gateway());
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
    assert_eq!(alarms(&installation), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_a_successor_that_fails_changes_nothing() {
    let mut backend = Backend::answering(OK).await;
    let mut installation = prepare(backend.address);
    started(&mut installation);
    let load = Load::start(&installation, 2);
    load.until(5).await;
    let path = installation.folder().join("other.toml");
    let good = std::fs::read_to_string(installation.config()).unwrap();
    let wrong = [
        // Its address for metrics is taken by somebody else.
        good.replace(
            &format!("observe = \"{}\"", installation.gateway_observe),
            &format!("observe = \"{}\"", backend.address),
        ),
        // The vault does not know its domain: it never becomes ready, and is stopped.
        good.replace("improvement", "elsewhere"),
    ];
    for (number, text) in wrong.iter().enumerate() {
        assert_ne!(*text, good);
        std::fs::write(&path, text).unwrap();
        let next = successor(&installation, &path, &format!("wrong-{number}"));
        load.until(20).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| next.stop());
        load.until(20).await;
    }
    assert!(installation.gateway.as_mut().unwrap().is_running());
    assert!(load.end().await >= 80);
    // And the next good one is served as if nothing had been.
    let before = pseudonym(&installation, &mut backend).await;
    let mut next = successor(&installation, &installation.config(), "next");
    let mut old = installation.gateway.take().unwrap();
    tokio::task::block_in_place(|| old.wait_for_end(PATIENCE)).unwrap();
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
    assert!(next.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_another_policy_and_domain_while_it_runs() {
    let mut backend = Backend::answering(OK).await;
    let text = format!(
        "{}\n[domain.research]\nmode = \"keyed\"\npurpose = \"research\"\n",
        people(backend.address)
    );
    let mut installation = Installation::prepare(&text);
    started(&mut installation);
    let before = pseudonym(&installation, &mut backend).await;
    let calls = |call: &str| {
        let page = installation.metrics("gateway");
        let start =
            format!("cryptonym_gateway_vault_calls_total{{call=\"{call}\",result=\"ok\"}} ");
        let line = page.lines().find_map(|l| l.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{page}"))
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!((calls("lease"), calls("known")), (1, 1));
    // The same subscriber for research too, and a member that was refused until now.
    rewrite(&installation, |text| {
        let more = "{ at = \"$.n\", category = \"test\", action = \"keep\" },";
        let more = format!("{more}\n{}", more.replace("$.n", "$.m"));
        let route = "[[route]]\nname = \"research\"\npath = \"/research\"\nbackend = \"there\"\ndomain = \"research\"\nrequest = \"people\"\n";
        let kept = "{ at = \"$.n\", category = \"test\", action = \"keep\" },";
        format!("{}\n{route}", text.replace(kept, &more))
    });
    let mut client = installation.client();
    let body = r#"{"id":"lb-4711","n":1,"m":2}"#;
    let refused = client
        .send("POST", "/people", "application/json", body)
        .await;
    assert_eq!(refused.unwrap().status, 422);
    let gateway = installation.gateway.as_ref().unwrap();
    gateway.signal(Signal::HUP);
    let began = Instant::now();
    loop {
        let sent = client
            .send("POST", "/research", "application/json", body)
            .await;
        if sent.unwrap().status == 200 {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = backend.next().await;
    while backend.seen.try_recv().is_ok() {}
    let other = String::from_utf8(seen.body.unwrap()).unwrap();
    assert!(
        !other.contains(&before) && !other.contains("lb-4711"),
        "{other}"
    );
    // What was leased stays leased: nothing was loaded twice.
    assert_eq!((calls("lease"), calls("known")), (2, 2));
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
    assert_eq!(alarms(&installation), 0.0);
    // A domain that the vault does not know: its no is heard at once, and nothing changes.
    rewrite(&installation, |text| {
        let text = text.replace("[domain.research]", "[domain.elsewhere]");
        text.replace("domain = \"research\"", "domain = \"elsewhere\"")
    });
    let gateway = installation.gateway.as_ref().unwrap();
    gateway.signal(Signal::HUP);
    let began = Instant::now();
    let refused = loop {
        let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
        if let Some(line) = log
            .lines()
            .find(|line| line.contains("configuration refused"))
        {
            break line.to_owned();
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(refused.contains("no lease for elsewhere: "), "{refused}");
    assert!(!refused.contains(" within "), "{refused}");
    assert_eq!(pseudonym(&installation, &mut backend).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_08_a_socket_of_the_service_manager_is_used_and_never_bound() {
    let backend = Backend::answering(OK).await;
    // systemd's own program for this: it listens, and starts the gateway with the socket.
    let activated = |address: SocketAddr| {
        move |file: &Path| {
            let plain = gateway(file, &[]);
            let mut command = Command::new("systemd-socket-activate");
            command.arg(format!("--listen={address}"));
            command.arg(plain.get_program()).args(plain.get_args());
            command
        }
    };
    let certificates = support::certificates::Certificates::new();
    let (address, observe) = (free_address().unwrap(), free_address().unwrap());
    support::whole::write(&certificates, address, observe, "", &any(backend.address));
    let folder = certificates.dir.path();
    let start = |listen: SocketAddr, log: &str| {
        let command = activated(listen)(&folder.join("config.toml"));
        Process::start("gateway", command, &folder.join(log)).unwrap()
    };
    let mut process = start(address, "log");
    // The first connection waits in the socket's queue until the gateway is there.
    let tls = certificates.client(&[b"http/1.1"], false);
    tokio::task::block_in_place(|| process.wait_until(|| listens(address), PATIENCE)).unwrap();
    let mut client = Raw::tls(address, tls).await;
    assert_eq!(ask(&mut client, "/any").await, 200);
    let (status, _) = tokio::task::block_in_place(|| get(observe, "/readyz")).unwrap();
    assert_eq!(status, 200);
    tokio::task::block_in_place(|| process.stop());
    // One that the configuration does not name would be listened on by nobody.
    let stray = free_address().unwrap();
    let mut process = start(stray, "stray");
    tokio::task::block_in_place(|| process.wait_until(|| listens(stray), PATIENCE)).unwrap();
    let _ = TcpStream::connect(stray);
    tokio::task::block_in_place(|| process.wait_for_end(PATIENCE)).unwrap();
    let log = std::fs::read_to_string(folder.join("stray")).unwrap();
    assert!(
        log.contains(&stray.to_string()) && log.contains("inherited"),
        "{log}"
    );
}

/// Whether somebody listens there, without knocking: a knock would be the first connection.
fn listens(address: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!("0100007F:{:04X}", address.port());
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(port.as_str()) && words.nth(1) == Some("0A")
    })
}
