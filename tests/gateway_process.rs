//! The gateway as a process: its command line, signals, log, metrics.

#[path = "support/installation.rs"]
mod installation;
mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use cryptonym::local::processes::get;
use rustix::process::Signal;
use support::backend::Backend;
use support::raw::{Raw, status};
use support::whole::{PATIENCE, Whole, any, route};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn start(backend: &Backend, keys: &str) -> Whole {
    let pages = route("/pages/{page}").replace(
        "opaque = true",
        "opaque = true\ncaptures = [\"page\"]\nquery = [{ name = \"q\" }]",
    );
    Whole::start(keys, &format!("{}{pages}", any(backend.address)))
}

/// Exit code and log, once it has ended by itself.
fn end(mut whole: Whole) -> (Option<i32>, String) {
    let status = whole.process.wait_for_end(PATIENCE).unwrap();
    (status.code(), whole.log())
}

async fn known(whole: &Whole) -> Raw {
    let tls = whole.certificates.client(&[b"http/1.1"], true);
    Raw::tls(whole.address, tls).await
}

/// The lines of a log that are not for people.
fn json(log: &str) -> impl Iterator<Item = &str> {
    log.lines()
        .filter(|line| !line.starts_with("listening https://"))
}

fn page(whole: &Whole, path: &str) -> String {
    let (status, text) = tokio::task::block_in_place(|| get(whole.observe, path)).unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn path_12_log_metrics_and_health_say_nothing_of_a_message() {
    let backend = Backend::answering(OK).await;
    let whole = start(&backend, "");
    let mut client = known(&whole).await;
    let secret = "SUB4711";
    for target in [
        format!("/pages/{secret}?q={secret}"),
        format!("/{secret}"),
        format!("/pages/x?{secret}=1"),
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {secret}\r\n{secret}: x\r\ncontent-length: 7\r\n\r\n{secret}"
        );
        client.send(request).await;
        let head = client.head().await.unwrap();
        client.body(&head).await.unwrap();
        // A refusal leaves the body unread and the connection closed.
        if status(&head) != 200 {
            client = known(&whole).await;
        }
    }
    page(&whole, "/healthz");
    page(&whole, "/readyz");
    let metrics = page(&whole, "/metrics");
    let answered = r#"cryptonym_gateway_answers_total{route="pages--page",class="2xx"} 1"#;
    assert!(metrics.contains(answered), "{metrics}");
    assert!(
        metrics.contains(r#"code="query-not-allowed",side="client""#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"route="-",code="no-route""#),
        "{metrics}"
    );
    whole.process.signal(Signal::TERM);
    let (code, log) = end(whole);
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> = json(&log)
        .map(|line| serde_json::from_str(line).expect(line))
        .filter(|line: &serde_json::Value| line.get("access").is_some())
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    // Each worker writes its own lines: their order is not the requests'.
    let good = lines.iter().find(|line| line["status"] == 200).unwrap();
    assert_eq!(
        (&good["route"], &good["client"]),
        (&"pages--page".into(), &"provider-1".into())
    );
    assert_eq!((&good["in"], &good["out"]), (&7.into(), &2.into()));
    for text in [&log, &metrics] {
        assert!(!text.contains(secret), "{text}");
    }
    for line in lines {
        // Nor where the client is.
        assert!(!line.to_string().contains("127.0.0.1"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn path_01_the_first_signal_drains_and_the_second_ends() {
    let slow = || {
        Backend::start(None, |mut raw, _| async move {
            raw.head().await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            raw.send(OK).await;
            raw.rest().await;
        })
    };
    for signals in [&[Signal::INT][..], &[Signal::TERM, Signal::TERM][..]] {
        let backend = slow().await;
        let whole = start(&backend, "");
        let mut client = whole.client().await;
        client
            .send("GET /pages/1 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        for signal in signals {
            whole.process.signal(*signal);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if signals.len() == 1 {
            let (head, body) = client.answer().await;
            assert_eq!((status(&head), &body[..]), (200, &b"ok"[..]));
        }
        let ended = tokio::task::spawn_blocking(|| end(whole));
        assert_eq!(ended.await.unwrap().0, Some(0));
        let took = started.elapsed();
        assert_eq!(
            took < Duration::from_millis(1200),
            signals.len() == 2,
            "{took:?}"
        );
    }
}

#[test]
fn path_01_help_teaches_and_a_bad_configuration_is_exit_3() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
        command.args(args).output().unwrap()
    };
    let help = String::from_utf8(run(&["gateway", "--help"]).stdout).unwrap();
    for word in ["Examples", "listening https://", "SIGTERM", "--config"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let missing = run(&["--config", "/nonexistent.toml", "gateway"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(
        String::from_utf8(missing.stderr)
            .unwrap()
            .contains("/nonexistent.toml")
    );
}

/// What stands behind a balancer that only looks whether a port is open.
#[tokio::test(flavor = "multi_thread")]
async fn speed_01_without_an_access_log_other_lines_stay() {
    let backend = Backend::answering(OK).await;
    for (keys, expected) in [("access_log = true", 2), ("access_log = false", 0)] {
        let whole = start(&backend, keys);
        let mut client = known(&whole).await;
        for _ in 0..2 {
            client
                .send("GET /pages/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            let head = client.head().await.unwrap();
            assert_eq!(status(&head), 200);
            client.body(&head).await.unwrap();
        }
        whole.process.signal(Signal::TERM);
        let (code, log) = end(whole);
        assert_eq!(code, Some(0));
        let is_access = |line: &&str| line.contains("\"access\"");
        assert_eq!(log.lines().filter(is_access).count(), expected, "{log}");
        assert!(json(&log).any(|line| !is_access(&line)), "{log}");
    }
}

#[test]
fn speed_01_a_gateway_can_wait_for_its_lease_before_it_listens() {
    let mut whole = installation::Installation::prepare(
        r#"
[backend.nobody]
urls = ["http://127.0.0.1:1"]
[policy.p]
rules = [{ at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber" }]
[[route]]
name = "in"
path = "/"
methods = ["POST"]
backend = "nobody"
domain = "improvement"
request = "p"
"#,
    );
    let text = std::fs::read_to_string(whole.config()).unwrap();
    let text = text.replacen("[gateway]", "[gateway]\nlisten_when = \"ready\"", 1);
    std::fs::write(whole.config(), text).unwrap();

    let open = |address: SocketAddr| std::net::TcpStream::connect(address).is_ok();
    whole.launch_gateway();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !open(whole.gateway_observe) {
        assert!(Instant::now() < deadline, "no health page");
        std::thread::yield_now();
    }
    assert!(!open(whole.gateway_address), "it listens without a lease");
    whole.start_vault();
    whole.wait_for_gateway();
    assert!(open(whole.gateway_address));
}
