//! TLS of the gateway as a process, with peers that others have written: testssl.sh, sslyze,
//! nginx.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptonym::local::processes::pause;
use serde_json::Value;
use support::authority::{Authority, Pair, put};
use support::raw::{Raw, status};

/// A process, ended when dropped.
struct Running {
    child: Child,
    /// What it has written to standard error.
    log: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; `tests/run` installs what is needed"));
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        Self { child, log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn until_logged(&self, what: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(what) {
            assert!(Instant::now() < end, "no {what:?} in:\n{}", self.log());
            pause(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Gateway {
    running: Running,
    address: SocketAddr,
}

/// `cryptonym gateway` with this pair, in front of this backend.
/// `host`: what the backend sees as Host, if not its own address.
fn gateway(
    ca: &Authority,
    pair: &Pair,
    backend: &str,
    host: Option<&str>,
    roots: Option<&Path>,
) -> Gateway {
    let host = host.map_or(String::new(), |h| format!("host_upstream = {h:?}"));
    let link = ca.client("link", 1);
    let text = format!(
        r#"
        [gateway]
        listen = ["127.0.0.1:0"]
        [gateway.tls]
        certificate = {:?}
        key = {:?}
        [gateway.vault]
        address = "https://127.0.0.1:1"
        certificate = {:?}
        key = {:?}
        ca = {:?}
        [backend.there]
        {backend}
        region = "GB"
        [[route]]
        name = "any"
        path = "/any"
        backend = "there"
        opaque = true
        {host}
        "#,
        pair.certificate, pair.key, link.certificate, link.key, ca.file,
    );
    let file = ca.dir.join("config.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
    command.arg("--config").arg(&file).arg("gateway");
    if let Some(roots) = roots {
        command.env("SSL_CERT_FILE", roots);
    }
    let mut running = Running::start(command);
    let mut line = String::new();
    let mut out = BufReader::new(running.child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let Some(address) = line.trim().strip_prefix("listening https://") else {
        pause(Duration::from_millis(300));
        panic!("{line}{}", running.log());
    };
    Gateway {
        address: address.parse().unwrap(),
        running,
    }
}

const NOBODY: &str = "urls = [\"http://127.0.0.1:9\"]";

async fn get(gateway: &Gateway, ca: &Authority) -> (u16, String) {
    let mut raw = Raw::tls(gateway.address, ca.trusting(&[b"http/1.1"], None)).await;
    raw.send("GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let (head, body) = raw.answer().await;
    (status(&head), String::from_utf8(body).unwrap())
}

/// Runs a scanner to its end and gives what it wrote to standard output.
fn scan(mut command: Command) -> String {
    let mut running = Running::start({
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        command
    });
    let mut out = running.child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let end = Instant::now() + Duration::from_secs(300);
    while running.child.try_wait().unwrap().is_none() {
        assert!(
            Instant::now() < end,
            "a scanner has not ended: {}",
            running.log()
        );
        pause(Duration::from_millis(100));
    }
    reader.join().unwrap() + &running.log()
}

/// What testssl.sh may find fault with, and why that is as it should be.
const ALLOWED: &[(&str, &str)] = &[
    // About the machine that scans.
    (
        "engine_problem",
        "its openssl has no GOST, which nobody asks about",
    ),
    (
        "sessionresumption_ticket",
        "a second connection by openssl that a busy machine may miss; sslyze looks at resumption",
    ),
    // About the certificate: a test's own CA publishes nothing, and neither does `certs init`'s.
    (
        "cert_revocation",
        "a private CA without a responder: clients get its lists another way",
    ),
];

/// The checks that make the promise: each must be there, with this severity.
const TESTSSL: &[(&str, &[&str])] = &[
    ("SSLv2", &["OK"]),
    ("SSLv3", &["OK"]),
    ("TLS1", &["OK", "INFO"]),
    ("TLS1_1", &["OK", "INFO"]),
    ("TLS1_2", &["OK"]),
    ("TLS1_3", &["OK"]),
    ("cipherlist_NULL", &["OK"]),
    ("cipherlist_aNULL", &["OK"]),
    ("cipherlist_EXPORT", &["OK"]),
    ("cipherlist_LOW", &["OK"]),
    ("cipherlist_3DES_IDEA", &["OK", "INFO"]),
    // Obsolete: encryption without authentication in one (CBC).
    ("cipherlist_AVERAGE", &["OK", "INFO"]),
    ("cipherlist_STRONG", &["OK"]),
    ("PFS", &["OK"]),
    ("cert_signatureAlgorithm", &["OK"]),
    ("cert_keySize", &["OK"]),
    ("cert_trust", &["OK"]),
    ("cert_chain_of_trust", &["OK"]),
    ("cert_expirationStatus", &["OK"]),
    ("heartbleed", &["OK"]),
    ("CCS", &["OK"]),
    ("ticketbleed", &["OK"]),
    ("ROBOT", &["OK"]),
    ("secure_renego", &["OK"]),
    ("secure_client_renego", &["OK"]),
    ("CRIME_TLS", &["OK"]),
    ("BREACH", &["OK"]),
    ("POODLE_SSL", &["OK"]),
    ("fallback_SCSV", &["OK"]),
    ("SWEET32", &["OK"]),
    ("FREAK", &["OK"]),
    ("DROWN", &["OK"]),
    ("LOGJAM", &["OK"]),
    ("BEAST", &["OK"]),
    ("LUCKY13", &["OK"]),
    ("RC4", &["OK"]),
];

/// Of these, "INFO" alone does not say that it is absent.
const NOT_OFFERED: &[&str] = &[
    "SSLv2",
    "SSLv3",
    "TLS1",
    "TLS1_1",
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_EXPORT",
    "cipherlist_LOW",
    "cipherlist_3DES_IDEA",
    "cipherlist_AVERAGE",
];

#[test]
fn proxy_03_testssl_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let days = (-1, 200);
    let pair = ca.server_of(
        "server",
        &["localhost"],
        days,
        &rcgen::PKCS_ECDSA_P256_SHA256,
    );
    let gateway = gateway(&ca, &pair, NOBODY, None, None);
    let json = dir.path().join("found.json");
    let mut command = Command::new("testssl");
    command
        .args(["--quiet", "--color", "0", "--warnings", "off"])
        .args(["--nodns", "none", "--ip", "127.0.0.1"])
        .args(["-p", "-s", "-f", "-S", "-U", "--add-ca"])
        .arg(&ca.file)
        .arg("--jsonfile")
        .arg(&json)
        .arg(format!("localhost:{}", gateway.address.port()));
    let said = scan(command);
    let text = std::fs::read_to_string(&json).expect(&said);
    let found: Vec<Value> = serde_json::from_str(&text).expect(&said);
    let text_of = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let mut wrong = String::new();
    for (id, severities) in TESTSSL {
        let Some(f) = found.iter().find(|f| f["id"] == *id) else {
            wrong += &format!("{id} was not looked at\n");
            continue;
        };
        let (severity, finding) = (text_of(f, "severity"), text_of(f, "finding"));
        let absent = !NOT_OFFERED.contains(id) || finding.starts_with("not offered");
        if !severities.contains(&&*severity) || !absent {
            wrong += &format!("{id}: {severity}: {finding}\n");
        }
    }
    // Whatever else it names must be harmless, or stand on the list.
    for f in &found {
        let (id, severity) = (text_of(f, "id"), text_of(f, "severity"));
        let named = TESTSSL.iter().any(|(known, _)| id == *known);
        let allowed = ALLOWED.iter().any(|(known, _)| id == *known);
        if !matches!(&*severity, "OK" | "INFO") && !named && !allowed {
            wrong += &format!("{id}: {severity}: {}\n", text_of(f, "finding"));
        }
    }
    // TLS 1.2 suites by name: forward secrecy and authenticated encryption, all of them.
    let suites = found
        .iter()
        .find(|f| f["id"] == "PFS_ciphers")
        .expect(&said);
    let suites = text_of(suites, "finding");
    let good = |s: &str| {
        let secret = s.starts_with("TLS_") || s.starts_with("ECDHE-");
        secret && (s.contains("GCM") || s.contains("CHACHA20"))
    };
    if suites.split_whitespace().count() < 6 || !suites.split_whitespace().all(good) {
        wrong += &format!("suites: {suites}\n");
    }
    assert!(wrong.is_empty(), "{wrong}\n{said}");
}

#[test]
fn proxy_03_sslyze_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let pair = ca.server("server", &["localhost"]);
    let gateway = gateway(&ca, &pair, NOBODY, None, None);
    let json = dir.path().join("found.json");
    let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
    });
    let mut command = Command::new(python);
    command
        .args(["-m", "sslyze", "--mozilla_config", "disable"])
        .args([
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
        ])
        .args([
            "--certinfo",
            "--compression",
            "--early_data",
            "--openssl_ccs",
            "--fallback",
        ])
        .args([
            "--heartbleed",
            "--robot",
            "--reneg",
            "--resum",
            "--elliptic_curves",
            "--ems",
        ])
        .arg(format!("--certinfo_ca_file={}", ca.file.display()))
        .arg(format!("--json_out={}", json.display()))
        .arg(format!("localhost:{}", gateway.address.port()));
    let said = scan(command);
    let text = std::fs::read_to_string(&json).expect(&said);
    let found: Value = serde_json::from_str(&text).expect(&said);
    let server = &found["server_scan_results"][0];
    assert_eq!(server["scan_status"], "COMPLETED", "{said}");
    let result = |name: &str| {
        let one = &server["scan_result"][name];
        assert_eq!(one["status"], "COMPLETED", "{name}: {one} {said}");
        &one["result"]
    };
    let suites = |name: &str| -> Vec<String> {
        let accepted = result(name)["accepted_cipher_suites"].as_array().unwrap();
        let name = |s: &Value| s["cipher_suite"]["name"].as_str().unwrap().to_owned();
        accepted.iter().map(name).collect()
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(suites(&format!("{old}_cipher_suites")), [""; 0], "{old}");
    }
    for (version, begin) in [("tls_1_2", "TLS_ECDHE_"), ("tls_1_3", "TLS_")] {
        let suites = suites(&format!("{version}_cipher_suites"));
        assert_eq!(suites.len(), 3, "{suites:?}");
        for suite in suites {
            let sealed = suite.contains("_GCM_") || suite.contains("_CHACHA20_POLY1305_");
            assert!(suite.starts_with(begin) && sealed, "{suite}");
        }
    }
    for (name, key, expect) in [
        (
            "tls_compression",
            "supports_compression",
            Value::from(false),
        ),
        ("tls_1_3_early_data", "supports_early_data", false.into()),
        (
            "openssl_ccs_injection",
            "is_vulnerable_to_ccs_injection",
            false.into(),
        ),
        ("tls_fallback_scsv", "supports_fallback_scsv", true.into()),
        ("heartbleed", "is_vulnerable_to_heartbleed", false.into()),
        (
            "robot",
            "robot_result",
            "NOT_VULNERABLE_RSA_NOT_SUPPORTED".into(),
        ),
        (
            "session_renegotiation",
            "supports_secure_renegotiation",
            true.into(),
        ),
        (
            "session_renegotiation",
            "is_vulnerable_to_client_renegotiation_dos",
            false.into(),
        ),
        (
            "tls_extended_master_secret",
            "supports_ems_extension",
            true.into(),
        ),
    ] {
        assert_eq!(result(name)[key], expect, "{name} {key}");
    }
    // Without client certificates sessions may resume.
    assert!(result("session_resumption").is_object());
    let curves = result("elliptic_curves")["supported_curves"]
        .as_array()
        .unwrap();
    let mut curves: Vec<_> = curves.iter().map(|c| c["name"].as_str().unwrap()).collect();
    curves.sort_unstable();
    assert_eq!(curves, ["X25519", "secp256r1", "secp384r1"]);
    let deployment = &result("certificate_info")["certificate_deployments"][0];
    assert_eq!(deployment["received_chain_has_valid_order"], true);
    // Each of the public root stores refuses a private CA; the one that was handed over does not.
    let trusted = deployment["path_validation_results"].as_array().unwrap();
    let ours = trusted
        .iter()
        .find(|t| t["trust_store"]["path"].as_str() == ca.file.to_str());
    assert_eq!(
        ours.expect("our CA")["was_validation_successful"],
        true,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_03_a_refused_pair_is_named_in_the_log_and_the_next_good_one_taken() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let pair = ca.server("server", &["localhost"]);
    let gateway = gateway(&ca, &pair, NOBODY, None, None);
    let leaf = async || {
        let tcp = tokio::net::TcpStream::connect(gateway.address)
            .await
            .unwrap();
        let tls = tokio_rustls::TlsConnector::from(ca.trusting(&[], None));
        let stream = tls
            .connect("localhost".try_into().unwrap(), tcp)
            .await
            .unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let old = leaf().await;
    let secret = std::fs::read_to_string(&pair.key).unwrap();
    // The certificate alone: no key of any sort may stand beside it.
    let text = std::fs::read_to_string(&ca.server("next", &["localhost"]).certificate).unwrap();
    put(&pair.certificate, &text);
    gateway.running.until_logged("TLS files refused");
    let log = gateway.running.log();
    assert!(
        log.contains("server.key") && log.contains("does not belong to"),
        "{log}"
    );
    assert!(!log.contains(secret.lines().nth(1).unwrap()), "{log}");
    assert_eq!(leaf().await, old);
    // Nothing changes, so nothing more is said.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        gateway.running.log().matches("TLS files refused").count(),
        1
    );
    put(
        &pair.key,
        &std::fs::read_to_string(dir.path().join("next.key")).unwrap(),
    );
    gateway.running.until_logged("TLS files read again");
    assert_ne!(leaf().await, old);
}

/// nginx that wants a client certificate, and knows one name. One process: a master's workers
/// would outlive it.
struct Nginx {
    _running: Running,
    port: u16,
}

async fn nginx(ca: &Authority, name: &str) -> Nginx {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let folder = ca.dir.display();
    let pair = ca.server("nginx", &[name]);
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let text = format!(
        r#"daemon off; master_process off; {user} pid {folder}/nginx.pid; error_log stderr warn;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
            uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
            ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};
            server {{ listen 127.0.0.1:{port} ssl default_server; ssl_reject_handshake on; }}
            server {{
                listen 127.0.0.1:{port} ssl; server_name {name};
                ssl_client_certificate {ca}; ssl_verify_client optional;
                location / {{
                    return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_server_name $ssl_protocol";
                }}
            }}
        }}"#,
        certificate = pair.certificate.display(),
        key = pair.key.display(),
        ca = ca.file.display(),
    );
    let file = ca.dir.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&ca.dir).arg("-c").arg(&file);
    let running = Running::start(command);
    let end = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        assert!(Instant::now() < end, "{}", running.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Nginx {
        _running: running,
        port,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_03_a_backend_is_reached_with_sni_its_own_ca_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let pair = ca.server("server", &["localhost"]);
    let us = ca.client("us", 5);
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "stranger");
    let them = stranger.client("them", 6);
    let nginx = nginx(&ca, "warehouse.test").await;
    let urls = format!("urls = [\"https://127.0.0.1:{}\"]", nginx.port);
    let identity = |who: &Pair| format!("certificate = {:?}\nkey = {:?}", who.certificate, who.key);
    let named = "server_name = \"warehouse.test\"";
    let own = format!("ca = {:?}", ca.file);
    for (lines, expect) in [
        (
            vec![&*urls, &own, named, &identity(&us)],
            (200, "SUCCESS CN=us"),
        ),
        (vec![&urls, &own, named], (200, "NONE")),
        // nginx says 400 itself to a certificate that it cannot check.
        (vec![&urls, &own, named, &identity(&them)], (400, "")),
        // Its certificate has no address, and a handshake without its name is rejected.
        (vec![&urls, &own, &identity(&us)], (502, "")),
        (
            vec![&urls, &own, "server_name = \"other.test\"", &identity(&us)],
            (502, ""),
        ),
        (
            vec![&urls, &format!("ca = {:?}", stranger.file), named],
            (502, ""),
        ),
        // The machine's own roots do not know this CA.
        (vec![&urls, named, &identity(&us)], (502, "")),
    ] {
        let gateway = gateway(&ca, &pair, &lines.join("\n"), Some("warehouse.test"), None);
        let (status, body) = get(&gateway, &ca).await;
        assert_eq!(status, expect.0, "{lines:?} {body}");
        assert!(
            body.starts_with(expect.1) || status != 200,
            "{lines:?} {body}"
        );
        if status == 200 {
            assert!(body.contains("warehouse.test TLSv1.3"), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_03_without_a_ca_of_its_own_the_machines_roots_decide() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let pair = ca.server("server", &["localhost"]);
    let nginx = nginx(&ca, "localhost").await;
    let urls = format!("urls = [\"https://localhost:{}\"]", nginx.port);
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "stranger");
    for (roots, expect) in [(&ca.file, 200), (&stranger.file, 502)] {
        let gateway = gateway(&ca, &pair, &urls, None, Some(roots));
        let (status, body) = get(&gateway, &ca).await;
        assert_eq!(status, expect, "{body}");
    }
}
