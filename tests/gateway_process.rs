//! The gateway as a process: its command line, signals, log, metrics.

#[path = "support/installation.rs"]
mod installation;
mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::backend::Backend;
use support::certificates::Certificates;
use support::raw::{Raw, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Process {
    child: Child,
    address: SocketAddr,
    observe: SocketAddr,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start(certificates: &Certificates, backend: &Backend) -> Process {
    start_with(certificates, backend, "")
}

/// `keys` are more of `[gateway]`.
fn start_with(certificates: &Certificates, backend: &Backend, keys: &str) -> Process {
    let observe = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!(
        r#"
        [gateway]
        listen = ["127.0.0.1:0"]
        observe = "{observe}"
        {keys}
        [gateway.tls]
        certificate = "certs/gateway.pem"
        key = "certs/gateway.key"
        client_ca = "certs/gateway-ca.pem"
        client_certificate = "optional"
        [gateway.vault]
        address = "https://127.0.0.1:1"
        certificate = "certs/gateway-link.pem"
        key = "certs/gateway-link.key"
        ca = "certs/vault-ca.pem"
        [backend.there]
        urls = ["http://127.0.0.1:{}"]
        region = "GB"
        [[route]]
        name = "pages"
        path = "/pages/{{page}}"
        captures = ["page"]
        query = [{{ name = "q" }}]
        backend = "there"
        opaque = true
        "#,
        backend.address.port()
    );
    let dir = certificates.dir.path();
    std::fs::write(dir.join("config.toml"), text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cryptonym"))
        .arg("gateway")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let Some(address) = line.trim().strip_prefix("listening https://") else {
        let mut why = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut why)
            .unwrap();
        panic!("{line}{why}");
    };
    Process {
        address: address.parse().unwrap(),
        child,
        observe,
    }
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Exit code and log, once it has ended.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.observe).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn path_12_log_metrics_and_health_say_nothing_of_a_message() {
    let backend = Backend::answering(OK).await;
    let certificates = Arc::new(Certificates::new());
    let process = start(&certificates, &backend);
    let mut client = Raw::tls(process.address, certificates.client(&[b"http/1.1"], true)).await;
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
            let tls = certificates.client(&[b"http/1.1"], true);
            client = Raw::tls(process.address, tls).await;
        }
    }
    assert!(process.get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(process.get("/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = process.get("/metrics").await;
    let answered = r#"cryptonym_gateway_answers_total{route="pages",class="2xx"} 1"#;
    assert!(metrics.contains(answered), "{metrics}");
    assert!(
        metrics.contains(r#"code="query-not-allowed",side="client""#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"route="-",code="no-route""#),
        "{metrics}"
    );
    process.signal(Signal::TERM);
    let (code, log) = process.end();
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .filter(|line: &serde_json::Value| line.get("access").is_some())
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    // Each worker writes its own lines: their order is not the requests'.
    let good = lines.iter().find(|line| line["status"] == 200).unwrap();
    assert_eq!(
        (&good["route"], &good["client"]),
        (&"pages".into(), &"provider-1".into())
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
    let certificates = Arc::new(Certificates::new());
    for signals in [&[Signal::INT][..], &[Signal::TERM, Signal::TERM][..]] {
        let backend = slow().await;
        let process = start(&certificates, &backend);
        let mut client =
            Raw::tls(process.address, certificates.client(&[b"http/1.1"], false)).await;
        client
            .send("GET /pages/1 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        for signal in signals {
            process.signal(*signal);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if signals.len() == 1 {
            let (head, body) = client.answer().await;
            assert_eq!((status(&head), &body[..]), (200, &b"ok"[..]));
        }
        let ended = tokio::task::spawn_blocking(|| process.end());
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
    let certificates = Arc::new(Certificates::new());
    for (keys, expected) in [("access_log = true", 2), ("access_log = false", 0)] {
        let process = start_with(&certificates, &backend, keys);
        let mut client = Raw::tls(process.address, certificates.client(&[b"http/1.1"], true)).await;
        for _ in 0..2 {
            client
                .send("GET /pages/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            let head = client.head().await.unwrap();
            assert_eq!(status(&head), 200);
            client.body(&head).await.unwrap();
        }
        process.signal(Signal::TERM);
        let (code, log) = process.end();
        assert_eq!(code, Some(0));
        let is_access = |line: &&str| line.contains("\"access\"");
        assert_eq!(log.lines().filter(is_access).count(), expected, "{log}");
        assert!(log.lines().any(|line| !is_access(&line)), "{log}");
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
