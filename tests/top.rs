//! Item 12: `cryptonym top`, against a real gateway and vault, as JSON, as a table, and on a
//! terminal.

#[path = "support/installation.rs"]
mod installation;
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cryptonym::tls::client_config;
use installation::{CA, CLIENT, Installation, executable};
use rustix::process::Signal;
use serde_json::Value;
use support::backend::Backend;
use support::raw::{Raw, status};
use terminal::Terminal;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn rest(backend: SocketAddr) -> String {
    format!(
        r#"
[backend.store]
urls = ["http://{backend}"]

[policy.people]
rules = [
  {{ at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber" }},
]

[[route]]
name = "people"
path = "/people"
methods = ["POST"]
backend = "store"
domain = "improvement"
request = "people"

[[route]]
name = "pages"
path = "/pages"
backend = "store"
opaque = true
"#
    )
}

/// Requests that were answered, by what their answer was.
#[derive(Default)]
struct Sent {
    stop: AtomicBool,
    good: AtomicU64,
    refused: AtomicU64,
}

/// Sends one after the other until told to stop: three good ones of 20 bytes, then a bad one.
async fn traffic(installation: &Installation, sent: Arc<Sent>) {
    let certificate = (installation.cert(CLIENT.0), installation.cert(CLIENT.1));
    let identity = (certificate.0.as_path(), certificate.1.as_path());
    let ca = installation.cert(CA);
    let tls = client_config(Some(&ca), Some(identity), false, &[b"http/1.1"]).unwrap();
    let mut client = Raw::tls(installation.gateway_address, tls).await;
    for n in 0u64.. {
        if sent.stop.load(SeqCst) {
            return;
        }
        let body = match n % 4 {
            3 => r#"{"id":"no normal form"}"#.to_owned(),
            _ => format!(r#"{{"id":"SUB-{:07}"}}"#, n % 100 + 1),
        };
        let request = format!(
            "POST /people HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(request).await;
        let counter = match status(&client.answer().await.0) {
            200 => &sent.good,
            422 => &sent.refused,
            other => panic!("{other}"),
        };
        counter.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn start(rest: &str) -> Installation {
    tokio::task::block_in_place(|| Installation::start(rest))
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_12_once_as_json_tells_what_was_sent() {
    let backend = Backend::answering(OK).await;
    let installation = Arc::new(start(&rest(backend.address)));
    let sent = Arc::new(Sent::default());
    let sending = tokio::spawn({
        let (installation, sent) = (installation.clone(), sent.clone());
        async move { traffic(&installation, sent).await }
    });
    while sent.good.load(SeqCst) < 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let counts = || [&sent.good, &sent.refused].map(|count| count.load(SeqCst));
    let (before, began) = (counts(), Instant::now());
    let asked = installation.clone();
    let ran = tokio::task::spawn_blocking(move || asked.cryptonym(&["top", "--once", "--json"]));
    let ran = ran.await.unwrap();
    let (after, took) = (counts(), began.elapsed().as_secs_f64());
    assert!(ran.success, "{}{}", ran.stdout, ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).expect(&ran.stdout);

    // Totals lie between what had been sent before and what after.
    let within = |value: &Value, low: u64, high: u64, what: &str| {
        let value = value.as_u64().unwrap();
        assert!(
            (low..=high + 1).contains(&value),
            "{what}: {value}, not {low} to {high}"
        );
    };
    let gateway = &told["gateway"];
    let all = |counts: [u64; 2]| counts[0] + counts[1];
    within(
        &gateway["requests"]["total"],
        all(before),
        all(after),
        "requests",
    );
    let route = gateway["routes"].as_array().unwrap().iter();
    let route = route.clone().find(|r| r["name"] == "people").unwrap();
    within(
        &route["requests"]["total"],
        all(before),
        all(after),
        "requests of the route",
    );
    within(
        &route["answers_4xx"]["total"],
        before[1],
        after[1],
        "refused",
    );
    within(&route["replaced"]["total"], before[0], after[0], "replaced");
    let bytes = |c: [u64; 2]| 20 * c[0] + 23 * c[1];
    within(
        &route["bytes_in"]["total"],
        bytes(before),
        bytes(after) + 23,
        "bytes",
    );
    assert_eq!(route["answers_5xx"]["total"], 0);
    let refusals = gateway["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0]["name"], "not-normal");
    within(&refusals[0]["total"], before[1], after[1], "refusals");
    // The rate is that of about a second within what was sent while the command ran.
    let seconds = told["seconds"].as_f64().unwrap();
    assert!((1.0..took + 0.1).contains(&seconds), "{seconds} of {took}");
    let rate = gateway["requests"]["per_second"].as_f64().unwrap();
    let most = (all(after) - all(before)) as f64 / seconds;
    assert!(
        rate > 0.2 * most * seconds / took && rate <= most + 1.0,
        "{rate} of {most}"
    );
    let latency = |which: &str| route["latency"][which].as_f64().unwrap();
    assert!(latency("p50_ms") > 0.0 && latency("p50_ms") <= latency("p99_ms"));
    assert_eq!(gateway["connections_client"], 1);
    assert_eq!(gateway["connections_backend"], 1);
    let backends = gateway["backends"].as_array().unwrap();
    assert_eq!(backends.len(), 1, "{backends:?}");
    assert_eq!(
        (&backends[0]["up"], &backends[0]["connections"]),
        (&1.into(), &1.into())
    );
    assert_eq!(backends[0]["circuit_open"], false);
    let domain = &gateway["domains"][0];
    assert_eq!(
        (&domain["name"], &domain["durable_entries"]),
        (&"improvement".into(), &75.into())
    );
    let calls = gateway["vault_calls"].as_array().unwrap();
    let records = calls.iter().find(|call| call["name"] == "records").unwrap();
    assert!(records["ok"]["total"].as_u64().unwrap() >= 1);
    assert_eq!(told["vault"]["records_new"]["total"], 75);
    assert_eq!(told["vault"]["connections"], 1);
    assert!(told["vault"]["commits"]["total"].as_u64().unwrap() >= 1);

    // As a table, with addresses instead of a configuration.
    let gateway = format!("http://{}", installation.gateway_observe);
    let vault = format!("http://{}", installation.vault_observe);
    let table = tokio::task::spawn_blocking(move || {
        let mut command = executable();
        command.args(["top", "--once", "--gateway", &gateway, "--vault", &vault]);
        command.output().unwrap()
    });
    let table = String::from_utf8(table.await.unwrap().stdout).unwrap();
    for word in [
        "ROUTE",
        "people",
        "not-normal",
        "BACKENDS",
        "1 of 1 up",
        "durable 75",
        "VAULT",
        "records new",
    ] {
        assert!(table.contains(word), "{word}: {table}");
    }
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    assert!(!table.contains('\u{1b}'), "{table}");
    sent.stop.store(true, SeqCst);
    sending.await.unwrap();

    // Who is not there is said, in the exit code too.
    let nobody = cryptonym::local::processes::free_address().unwrap();
    let output = executable()
        .args(["top", "--json", "--gateway", &format!("http://{nobody}")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        told["gateway"]["error"]
            .as_str()
            .unwrap()
            .contains(&nobody.to_string())
    );
    assert_eq!(told["vault"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_12_the_screen_draws_takes_keys_follows_the_size_and_gives_the_terminal_back() {
    let backend = Backend::answering(OK).await;
    let installation = Arc::new(start(&rest(backend.address)));
    let sent = Arc::new(Sent::default());
    let sending = tokio::spawn({
        let (installation, sent) = (installation.clone(), sent.clone());
        async move { traffic(&installation, sent).await }
    });
    let config = installation.config();
    let watching = tokio::task::spawn_blocking(move || {
        let open = || {
            let executable = env!("CARGO_BIN_EXE_cryptonym");
            Terminal::start(
                80,
                24,
                &[executable, "--config", config.to_str().unwrap(), "top"],
            )
        };
        let mut terminal = open();
        let before = terminal.modes();
        let screen = terminal.until("a drawn screen", |screen| {
            [
                "cryptonym top",
                "ROUTE",
                "people",
                "refusals",
                "durable",
                "commits",
                "q quit",
            ]
            .iter()
            .all(|word| screen.contains(word))
        });
        assert_eq!(screen.lines().count(), 24, "{screen}");
        assert_ne!(terminal.modes(), before, "keys are read one by one");
        // Figures come by themselves.
        terminal.until("a rate and a refusal", |screen| {
            let row = screen.lines().find(|line| line.starts_with("people"));
            let rate = row.and_then(|row| row.split_whitespace().nth(1)?.parse::<f64>().ok());
            rate.is_some_and(|rate| rate > 1.0) && screen.contains("not-normal")
        });
        // Keys: another column, turned round, paused and not.
        terminal.until("the usual order", |s| s.contains("vREQ/S"));
        terminal.press("s");
        terminal.until("another column", |s| {
            s.contains("vP50 ms") && s.contains("sort (P50 ms")
        });
        terminal.press("r");
        terminal.until("turned round", |s| s.contains("^P50 ms"));
        terminal.press(" ");
        terminal.until("paused", |s| s.contains("PAUSED"));
        terminal.press(" ");
        terminal.until("not paused", |s| !s.contains("PAUSED"));
        // The keys' line is the last one, whatever the size.
        for (columns, rows) in [(120, 40), (60, 16), (80, 24)] {
            terminal.resize(columns, rows);
            terminal.until("the new size", |screen| {
                let last = screen.lines().last().unwrap_or_default();
                screen.lines().count() == usize::from(rows) && last.contains("q quit")
            });
        }
        // A size for nothing harms nothing.
        terminal.resize(10, 3);
        terminal.resize(80, 24);
        terminal.until("the old size", |screen| screen.contains("people"));
        terminal.press("q");
        assert_eq!(terminal.wait(), Some(0));
        assert_eq!(terminal.modes(), before, "the terminal is as it was");
        assert!(terminal.left_the_alternate_screen());
        assert!(terminal.cursor_is_shown());

        // The same when it is asked to end, and by Ctrl-C.
        for signal in [Some(Signal::TERM), Some(Signal::HUP), None] {
            let mut terminal = open();
            terminal.until("a drawn screen", |s| s.contains("people"));
            match signal {
                Some(signal) => terminal.signal(signal),
                None => terminal.press("\u{3}"),
            }
            assert_eq!(terminal.wait(), Some(0), "{signal:?}");
            assert_eq!(terminal.modes(), before, "{signal:?}");
            assert!(terminal.left_the_alternate_screen() && terminal.cursor_is_shown());
        }
    });
    let watched = watching.await;
    sent.stop.store(true, SeqCst);
    sending.await.unwrap();
    watched.unwrap();
}

/// Without a terminal it says what to do.
#[test]
fn proxy_12_without_a_terminal_there_is_once() {
    let output = executable()
        .args(["top", "--gateway", "http://127.0.0.1:1"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--once"), "{said}");
    let output = executable()
        .args(["top", "--once", "--gateway", "https://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
}
