//! Item 11: traces, metrics, the access log, the admin address, against real processes. What is
//! watched never says who somebody is.

#[path = "support/collector.rs"]
mod collector;
#[path = "support/installation.rs"]
mod installation;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use collector::Collector;
use cryptonym::config::Config;
use cryptonym::local::processes::{free_address, get};
use cryptonym::tls::client_config;
use installation::{CA, CLIENT, Installation};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::backend::Backend;
use support::raw::{Raw, field, status};
use tokio::io::AsyncWriteExt;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Three routes to one backend, and nothing else.
fn rest(backend: SocketAddr) -> String {
    format!(
        r#"
[backend.store]
urls = ["http://{backend}"]

[policy.people]
rules = [
  {{ at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "$.note", category = "test", action = "drop" }},
  {{ at = "$.name", category = "identity", action = "redact", value = "X" }},
  {{ at = "$.n", category = "test", action = "keep" }},
]

[[route]]
name = "people"
path = "/people"
methods = ["POST"]
backend = "store"
domain = "improvement"
request = "people"
stream = true

[[route]]
name = "pages"
path = "/pages/{{page}}"
captures = ["page"]
query = [{{ name = "q" }}]
backend = "store"
opaque = true

[[route]]
name = "stated"
path = "/stated"
backend = "store"
opaque = true
request_headers = ["tracestate"]
"#
    )
}

/// An installation whose `[gateway]` has these keys too; `more` stands at the end of the file.
fn prepare(backend: SocketAddr, keys: &str, more: &str) -> Installation {
    let installation = Installation::prepare(&format!("{}\n{more}", rest(backend)));
    let text = std::fs::read_to_string(installation.config()).unwrap();
    let text = text.replacen("[gateway]", &format!("[gateway]\n{keys}"), 1);
    std::fs::write(installation.config(), text).unwrap();
    installation
}

async fn start(installation: &mut Installation) {
    tokio::task::block_in_place(|| {
        installation.start_vault();
        installation.start_gateway();
    });
}

async fn client(installation: &Installation) -> Raw {
    let certificate = (installation.cert(CLIENT.0), installation.cert(CLIENT.1));
    let identity = (certificate.0.as_path(), certificate.1.as_path());
    let ca = installation.cert(CA);
    let tls = client_config(Some(&ca), Some(identity), false, &[b"http/1.1"]).unwrap();
    Raw::tls(installation.gateway_address, tls).await
}

fn post(path: &str, fields: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends, and gives the status.
async fn ask(client: &mut Raw, request: String) -> u16 {
    client.send(request).await;
    status(&client.answer().await.0)
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let mut all = span["attributes"].as_array().unwrap().iter();
    let found = all.find(|a| a["key"] == key)?;
    let value = found["value"].as_object().unwrap();
    value.values().next()
}

fn log_lines(installation: &Installation) -> Vec<Value> {
    let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
    let json = log.lines().filter(|line| line.starts_with('{'));
    json.map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Waits until so many access lines are there.
async fn access_lines(installation: &Installation, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut lines = log_lines(installation);
        lines.retain(|line| line.get("access").is_some());
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{} lines", lines.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The sum of the series of this name whose labels hold this text.
fn sum(page: &str, name: &str, label: &str) -> f64 {
    let lines = page.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    });
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_a_trace_goes_from_the_client_to_backend_and_collector() {
    let mut backend = Backend::answering(OK).await;
    let collector = Collector::start(&[]).await;
    let traces = format!(
        "traces = {{ endpoint = \"http://{}/v1/traces\", sample = 0 }}",
        collector.address
    );
    let mut installation = prepare(backend.address, &traces, "");
    start(&mut installation).await;
    let mut client = client(&installation).await;

    // A client's trace goes on: the client's span is the request's parent, the gateway's way to
    // the backend is the backend's.
    let secret = "SUB-00004711";
    let body = format!(r#"{{"id":"{secret}","email":"a.b@example.org","n":1}}"#);
    let fields = format!("traceparent: {PARENT}\r\ntracestate: vendor={secret}\r\n");
    assert_eq!(ask(&mut client, post("/people", &fields, &body)).await, 200);
    let seen = backend.next().await;
    let passed = field(&seen.head, "traceparent").unwrap().to_owned();
    let parts: Vec<&str> = passed.split('-').collect();
    assert_eq!(parts[..2], ["00", "4bf92f3577b34da6a3ce929d0e0e4736"]);
    assert_eq!(parts[3], "01");
    assert!(field(&seen.head, "tracestate").is_none());
    let request = collector.wait("request", 1).await.remove(0);
    let upstream = collector.wait("upstream", 1).await.remove(0);
    let rewrite = collector.wait("rewrite", 1).await.remove(0);
    let vault = collector.wait("vault", 1).await.remove(0);
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(upstream["spanId"], parts[2]);
    assert_eq!(upstream["parentSpanId"], request["spanId"]);
    assert_eq!(rewrite["parentSpanId"], request["spanId"]);
    assert_eq!(vault["parentSpanId"], rewrite["spanId"]);
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    let (from, to) = (
        time(&request, "startTimeUnixNano"),
        time(&request, "endTimeUnixNano"),
    );
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    assert!(from < to && u128::from(to) < now && now - u128::from(from) < 60_000_000_000);
    for span in [&upstream, &rewrite, &vault] {
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(from <= time(span, "startTimeUnixNano") && time(span, "endTimeUnixNano") <= to);
        assert_eq!(span["status"], serde_json::json!({}));
    }
    assert_eq!(attribute(&request, "cryptonym.route").unwrap(), "people");
    assert_eq!(attribute(&request, "http.request.method").unwrap(), "POST");
    assert_eq!(
        attribute(&request, "http.response.status_code").unwrap(),
        "200"
    );
    assert_eq!(attribute(&request, "cryptonym.replaced").unwrap(), "2");
    assert_eq!(attribute(&request, "cryptonym.first_sights").unwrap(), "2");
    assert_eq!(attribute(&upstream, "cryptonym.backend").unwrap(), "store");
    // The request's id is that of its line in the access log.
    let id = attribute(&request, "cryptonym.request").unwrap().clone();
    assert_eq!(access_lines(&installation, 1).await[0]["access"], id);

    // What is no traceparent begins a trace of ours, which the dice (0) leave untold.
    let word: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    for wrong in [
        format!("00-{secret}-{secret}-01"),
        format!("00-{word}00000000-00f067aa0ba902b7-01"),
        "00-00000000000000000000009990000018-00f067aa0ba902b7-01".to_owned(),
        format!("{PARENT}, {PARENT}"),
        PARENT.to_uppercase(),
    ] {
        let fields = format!("traceparent: {wrong}\r\ntracestate: vendor={secret}\r\n");
        assert_eq!(ask(&mut client, post("/stated", &fields, "x")).await, 200);
        let head = backend.next().await.head;
        let passed = field(&head, "traceparent").unwrap();
        assert!(
            passed.starts_with("00-") && passed.ends_with("-00"),
            "{passed}"
        );
        assert_eq!(passed.len(), 55);
        assert!(
            !passed.contains("4bf92f35") && !passed.contains(&word),
            "{passed}"
        );
        assert!(!passed.contains("9990000018"), "{passed}");
        assert!(field(&head, "tracestate").is_none(), "{head}");
    }
    // A route that lists `tracestate` passes it on with the trace that it belongs to.
    let fields = format!("traceparent: {PARENT}\r\ntracestate: vendor=1\r\n");
    assert_eq!(ask(&mut client, post("/stated", &fields, "x")).await, 200);
    assert_eq!(
        field(&backend.next().await.head, "tracestate"),
        Some("vendor=1")
    );

    // Refusals are told by code; nothing of the message is.
    let fields = format!("traceparent: {PARENT}\r\n");
    for (path, body, code) in [
        (
            "/people",
            format!(r#"{{"id":"{secret}","{secret}":1}}"#),
            "unlisted-place",
        ),
        (&*format!("/{secret}?q={secret}"), String::new(), "no-route"),
        (
            &*format!("/pages/{secret}?{secret}=1"),
            String::new(),
            "query-not-allowed",
        ),
    ] {
        assert_ne!(ask(&mut client, post(path, &fields, &body)).await, 200);
        let count = collector.spans().len();
        let spans = collector.wait("request", 3).await;
        assert!(count <= collector.spans().len());
        let deadline = Instant::now() + Duration::from_secs(20);
        let told = |spans: &[Value]| {
            spans
                .iter()
                .any(|span| attribute(span, "cryptonym.code").is_some_and(|c| c == code))
        };
        let mut spans = spans;
        while !told(&spans) {
            assert!(Instant::now() < deadline, "{code}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            spans = collector.spans();
        }
    }
    installation.stop();
    let keys: BTreeSet<String> = collector
        .spans()
        .iter()
        .flat_map(|span| span["attributes"].as_array().unwrap().clone())
        .map(|a| a["key"].as_str().unwrap().to_owned())
        .collect();
    let known = BTreeSet::from(
        [
            "cryptonym.backend",
            "cryptonym.code",
            "cryptonym.first_sights",
            "cryptonym.protocol",
            "cryptonym.records",
            "cryptonym.replaced",
            "cryptonym.request",
            "cryptonym.route",
            "cryptonym.whole",
            "http.request.method",
            "http.response.status_code",
        ]
        .map(str::to_owned),
    );
    assert_eq!(keys, known);
    let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
    for text in collector.messages().iter().chain([&log]) {
        for hidden in [secret, &secret.to_lowercase(), &word, "a.b@example.org"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_a_collector_that_is_not_there_costs_no_request_and_is_asked_again() {
    let mut backend = Backend::answering(OK).await;
    // Not now, then a plain no, then yes.
    let collector = Collector::start(&[503, 400]).await;
    let traces = format!(
        "traces = {{ endpoint = \"http://{}\", sample = 1, from_clients = \"restart\" }}",
        collector.address
    );
    // Without a path: the protocol's own.
    let mut installation = prepare(backend.address, &traces, "");
    start(&mut installation).await;
    let mut client = client(&installation).await;
    let fields = format!("traceparent: {PARENT}\r\n");
    let began = Instant::now();
    assert_eq!(ask(&mut client, post("/stated", &fields, "x")).await, 200);
    assert!(began.elapsed() < Duration::from_secs(2));
    let head = backend.next().await.head;
    let passed = field(&head, "traceparent").unwrap();
    assert!(
        passed.ends_with("-01") && !passed.contains("4bf92f35"),
        "{passed}"
    );
    // 503, and the same message again, which gets a 400: dropped and counted.
    let count = |name: &str| sum(&installation.metrics("gateway"), name, "");
    let deadline = Instant::now() + Duration::from_secs(30);
    while count("cryptonym_gateway_traces_refused_total") < 1.0 {
        assert!(Instant::now() < deadline, "{:?}", collector.messages());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let messages = collector.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], messages[1]);
    assert_eq!(ask(&mut client, post("/stated", "", "x")).await, 200);
    let last = collector.wait("request", 3).await.pop().unwrap();
    assert!(last.get("parentSpanId").is_none(), "{last}");
    while count("cryptonym_gateway_traces_exported_total") < 1.0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // At the end of the process what waits is sent.
    assert_eq!(ask(&mut client, post("/stated", "", "x")).await, 200);
    installation.stop();
    collector.wait("request", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_the_access_log_has_the_layout_that_is_documented() {
    let backend = Backend::answering(OK).await;
    let mut installation = prepare(backend.address, "", "");
    start(&mut installation).await;
    let mut client = client(&installation).await;
    let body = r#"{"id":"SUB-1","n":1}"#;
    assert_eq!(ask(&mut client, post("/people", "", body)).await, 200);
    assert_eq!(ask(&mut client, post("/nowhere", "", "")).await, 404);
    access_lines(&installation, 2).await;
    let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("\"access\"")).collect();

    // Field by field, in this order, whatever happened. A change of this list is a change of the
    // interface.
    let golden = [
        ("time", "string"),
        ("access", "string"),
        ("route", "string"),
        ("method", "string"),
        ("protocol", "string"),
        ("client", "string"),
        ("code", "string"),
        ("status", "number"),
        ("in", "number"),
        ("out", "number"),
        ("us", "number"),
        ("records", "number"),
        ("replaced", "number"),
        ("first_sights", "number"),
        ("whole", "boolean"),
    ];
    for line in &lines {
        let read: Value = serde_json::from_str(line).unwrap();
        assert_eq!(read.as_object().unwrap().len(), golden.len(), "{line}");
        let mut at = 0;
        for (name, kind) in golden {
            let found = line[at..].find(&format!("\"{name}\":"));
            at += found.unwrap_or_else(|| panic!("{name} is not where it was: {line}"));
            let is = match &read[name] {
                Value::String(_) => "string",
                Value::Number(n) if n.is_u64() => "number",
                Value::Bool(_) => "boolean",
                _ => "other",
            };
            assert_eq!(is, kind, "{name} in {line}");
        }
        let time = read["time"].as_str().unwrap();
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"));
    }
    let read: Vec<Value> = lines
        .iter()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let good = read.iter().find(|line| line["route"] == "people").unwrap();
    for (name, value) in [
        ("method", Value::from("POST")),
        ("protocol", "http/1.1".into()),
        ("client", "provider-1".into()),
        ("code", "-".into()),
        ("status", 200.into()),
        ("in", body.len().into()),
        ("out", 2.into()),
        ("records", 1.into()),
        ("replaced", 1.into()),
        ("first_sights", 1.into()),
        ("whole", true.into()),
    ] {
        assert_eq!(good[name], value, "{name}");
    }
    let refused = read.iter().find(|line| line["route"] == "-").unwrap();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&404.into(), &"no-route".into())
    );

    // The page says the same.
    let page = std::fs::read_to_string(docs().join("observe.md")).unwrap();
    let section = page.split("## The access log").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|l| l.strip_prefix("| `"));
    let rows: Vec<(&str, &str)> = rows
        .filter_map(|row| {
            let (name, rest) = row.split_once("` | ")?;
            Some((name, rest.split(" |").next()?))
        })
        .collect();
    assert_eq!(rows, golden);
}

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_metrics_count_what_was_sent_and_grow_with_no_message() {
    let mut backend = Backend::answering(OK).await;
    let mut installation = prepare(backend.address, "", "");
    start(&mut installation).await;
    let mut client = client(&installation).await;
    let mut sent = 0;
    for n in 0..20 {
        let body = format!(
            r#"{{"id":"SUB-{}","email":"x{n}@example.org","name":"N","note":"y","n":1}}"#,
            n % 4
        );
        sent += body.len();
        assert_eq!(ask(&mut client, post("/people", "", &body)).await, 200);
        backend.next().await;
    }
    let refused = r#"{"id":"SUB-1","who":"SUB-2"}"#;
    assert_eq!(ask(&mut client, post("/people", "", refused)).await, 422);
    let page = installation.metrics("gateway");
    let gateway = |name: &str, label: &str| sum(&page, &format!("cryptonym_gateway_{name}"), label);
    for (name, label, expected) in [
        ("answers_total", r#"{route="people",class="2xx"}"#, 20.0),
        ("answers_total", r#"{route="people",class="4xx"}"#, 1.0),
        ("seconds_count", r#"route="people""#, 21.0),
        ("seconds_bucket", r#"{le="+Inf",route="people"}"#, 21.0),
        (
            "request_bytes_total",
            r#"route="people""#,
            (sent + refused.len()) as f64,
        ),
        ("response_bytes_total", r#"route="people""#, -1.0),
        ("replaced_total", r#"route="people""#, 60.0),
        (
            "rule_replaced_total",
            r#"{policy="people",rule="$.id",action="pseudonym"}"#,
            20.0,
        ),
        ("rule_replaced_total", r#"rule="$.email""#, 20.0),
        (
            "rule_replaced_total",
            r#"{policy="people",rule="$.name",action="redact"}"#,
            20.0,
        ),
        (
            "rule_replaced_total",
            r#"{policy="people",rule="$.note",action="drop"}"#,
            20.0,
        ),
        ("rule_replaced_total", r#"rule="$.n","#, 0.0),
        ("first_sights_total", r#"route="people""#, 24.0),
        (
            "faults_total",
            r#"code="unlisted-place",side="client",stage="scan""#,
            1.0,
        ),
        ("vault_calls_total", r#"{call="records",result="ok"}"#, -1.0),
        ("vault_calls_total", r#"result="unreachable""#, 0.0),
        ("vault_calls_total", r#"{call="lease",result="ok"}"#, 1.0),
        ("vault_records_total", "", 24.0),
        ("vault_seconds_count", r#"call="known""#, 1.0),
        ("vault_sent_bytes_total", r#"call="records""#, -1.0),
        ("durable_entries", r#"{domain="improvement"}"#, 24.0),
        ("durable_bytes", r#"domain="improvement""#, -1.0),
        ("lease_epoch", r#"domain="improvement""#, 1.0),
        ("lease_seconds", r#"domain="improvement""#, -1.0),
        ("connections_open", r#"{side="client"}"#, 1.0),
        ("connections_open", r#"{side="backend"}"#, 1.0),
        ("connections", "", 1.0),
        ("build_info", env!("CARGO_PKG_VERSION"), 1.0),
    ] {
        let is = gateway(name, label);
        let good = if expected < 0.0 {
            is > 0.0
        } else {
            is == expected
        };
        assert!(good, "{name}{label}: {is}, not {expected}\n{page}");
    }
    let vault = installation.metrics("vault");
    assert_eq!(sum(&vault, "cryptonym_vault_records_new_total", ""), 24.0);
    assert!(sum(&vault, "cryptonym_vault_commit_seconds_count", "") > 0.0);
    assert_eq!(sum(&vault, "cryptonym_vault_connections_open", ""), 1.0);

    // A thousand strange requests make no new series.
    let series = |page: &str| page.lines().filter(|l| !l.starts_with('#')).count();
    let strange = |n: usize| {
        format!("GET /s{n}/SUB-{n}?a{n}=b HTTP/1.1\r\nhost: localhost\r\nx-{n}: {n}\r\n\r\n")
    };
    assert_eq!(ask(&mut client, strange(0)).await, 404);
    let before = series(&installation.metrics("gateway"));
    for n in 1..1000 {
        assert_eq!(ask(&mut client, strange(n)).await, 404);
    }
    let page = installation.metrics("gateway");
    assert_eq!(series(&page), before);
    assert!(
        !page.contains("SUB-") && !page.contains("example.org"),
        "{page}"
    );
    assert_eq!(page.trim_end().lines().last(), Some("# EOF"));

    // Nothing is open when nobody is there.
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(20);
    while sum(
        &installation.metrics("gateway"),
        "cryptonym_gateway_connections_open",
        "",
    ) > 0.0
    {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_who_is_turned_away_is_counted_by_reason() {
    let backend = Backend::answering(OK).await;
    let mut installation = prepare(backend.address, "", "[limits]\nhandshake_time = \"1s\"\n");
    start(&mut installation).await;
    let connect = || tokio::net::TcpStream::connect(installation.gateway_address);
    drop(connect().await.unwrap());
    let mut plain = connect().await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let silent = connect().await.unwrap();
    // A client that knows another CA.
    let other = installation.cert("vault-ca.pem");
    let tls = client_config(Some(&other), None, false, &[b"http/1.1"]).unwrap();
    assert!(
        Raw::tls_as(installation.gateway_address, tls, "localhost")
            .await
            .is_err()
    );
    // A certificate of another CA.
    let ca = installation.cert(CA);
    let foreign = (
        installation.cert("gateway-link.pem"),
        installation.cert("gateway-link.key"),
    );
    let foreign = (foreign.0.as_path(), foreign.1.as_path());
    let tls = client_config(Some(&ca), Some(foreign), false, &[b"http/1.1"]).unwrap();
    if let Ok(mut raw) = Raw::tls_as(installation.gateway_address, tls, "localhost").await {
        // In TLS 1.3 the client has finished before its certificate is looked at.
        let _ = raw.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let _ = tokio::io::AsyncReadExt::read(&mut raw.stream, &mut [0; 16]).await;
    }
    let wanted = ["gone", "protocol", "time", "distrust", "bad-certificate"];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = installation.metrics("gateway");
        let of = |reason: &str| {
            let label = format!("{{reason=\"{reason}\"}}");
            sum(&page, "cryptonym_gateway_turned_away_total", &label)
        };
        if wanted.iter().all(|reason| of(reason) >= 1.0) {
            let all = sum(&page, "cryptonym_gateway_turned_away_total", "");
            assert_eq!(all, wanted.len() as f64, "{page}");
            break;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(silent);
}

/// A request to the admin address: status, and the body as JSON.
async fn admin(address: SocketAddr, request: &str) -> (u16, Value) {
    let mut raw = Raw::new(tokio::net::TcpStream::connect(address).await.unwrap());
    raw.send(request).await;
    let (head, body) = raw.answer().await;
    (
        status(&head),
        serde_json::from_slice(&body).unwrap_or_default(),
    )
}

fn to_admin(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:9466\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_the_admin_address_tells_the_status_sets_the_level_and_drains() {
    let mut backend = Backend::answering(OK).await;
    let address = free_address().unwrap();
    let keys = format!("admin = {{ listen = \"{address}\" }}\nworkers = 2");
    let mut installation = prepare(backend.address, &keys, "[limits]\nidle_time = \"1s\"\n");
    start(&mut installation).await;
    let mut client = client(&installation).await;
    let body = r#"{"id":"SUB-00000815","n":1}"#;
    assert_eq!(ask(&mut client, post("/people", "", body)).await, 200);
    backend.next().await;

    let (code, told) = admin(address, &to_admin("GET", "/status", "")).await;
    assert_eq!(code, 200);
    let digest = Sha256::digest(std::fs::read(installation.config()).unwrap());
    let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(told["configuration"]["sha256"], digest);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["process"], installation.gateway.as_ref().unwrap().id());
    assert_eq!(
        (&told["state"], &told["ready"]),
        (&"serving".into(), &true.into())
    );
    assert_eq!(told["listen"][0], installation.gateway_address.to_string());
    assert_eq!(
        (&told["workers"], &told["log_level"]),
        (&2.into(), &"info".into())
    );
    assert_eq!(told["connections"]["client"], 1);
    assert_eq!(told["requests"], 1);
    let names: Vec<&Value> = told["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["people", "pages", "stated"]);
    assert_eq!(told["routes"][0]["request"], "people");
    assert_eq!(told["routes"][1]["request"], "opaque");
    let backend = &told["backends"][0];
    assert_eq!(backend["up"], serde_json::json!([true]));
    assert_eq!(
        (&backend["waiting"], &backend["circuit_open"]),
        (&0.into(), &false.into())
    );
    let domain = &told["domains"][0];
    assert_eq!(
        (&domain["domain"], &domain["leased"]),
        (&"improvement".into(), &true.into())
    );
    assert_eq!(domain["durable_entries"], 1);
    assert!(domain["seconds_left"].as_u64().unwrap() > 60 && domain["epoch"] == 1);
    assert!(told["uptime_seconds"].as_u64().unwrap() < 600);
    assert!(!told.to_string().contains("SUB-"), "{told}");
    // Metrics and health are there too; the metrics address leads nothing.
    assert_eq!(get(address, "/readyz").unwrap().0, 200);
    assert!(
        get(address, "/metrics")
            .unwrap()
            .1
            .contains("cryptonym_gateway_answers_total")
    );
    assert_eq!(get(installation.gateway_observe, "/status").unwrap().0, 404);

    // A web page leads nothing.
    for fields in [
        "host: 127.0.0.1:9466\r\norigin: https://attacker.example",
        "host: attacker.example",
    ] {
        let request = format!("POST /drain HTTP/1.1\r\n{fields}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(admin(address, &request).await.0, 403);
    }
    assert_eq!(admin(address, &to_admin("GET", "/drain", "")).await.0, 405);
    assert_eq!(
        admin(address, &to_admin("DELETE", "/status", "")).await.0,
        405
    );

    // The level: what is not a level changes nothing; one that is holds, and goes again.
    for wrong in [
        "",
        "{}",
        r#"{"level":"h2::proto=debug"}"#,
        r#"{"level":"trace"}"#,
        r#"{"level":"debug","seconds":100000}"#,
        r#"{"level":"debug","forever":true}"#,
    ] {
        assert_eq!(
            admin(address, &to_admin("PUT", "/log-level", wrong))
                .await
                .0,
            400,
            "{wrong}"
        );
    }
    let debug_lines = || {
        let lines = log_lines(&installation).into_iter();
        lines.filter(|line| line["level"] == "DEBUG").count()
    };
    let level =
        async || admin(address, &to_admin("GET", "/log-level", "")).await.1["level"].clone();
    assert_eq!((level().await, debug_lines()), ("info".into(), 0));
    let set = to_admin("PUT", "/log-level", r#"{"level":"debug","seconds":4}"#);
    let (code, told) = admin(address, &set).await;
    assert_eq!((code, &told["before"]), (200, &"info".into()));
    assert_eq!(level().await, "debug");
    // An idle connection is closed after a second, and at this level that is told.
    let idle = self::client(&installation).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while debug_lines() == 0 {
        assert!(Instant::now() < deadline, "no line of this level");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(idle);
    while level().await != "info" {
        assert!(Instant::now() < deadline, "the level stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Draining: nobody new comes in, what is in flight ends well, then the process ends.
    let mut client = self::client(&installation).await;
    client
        .send("POST /people HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n{\"id\":")
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (code, told) = admin(address, &to_admin("POST", "/drain", "")).await;
    assert_eq!((code, &told["draining"]), (202, &true.into()));
    while std::net::TcpStream::connect(installation.gateway_address).is_ok() {
        assert!(Instant::now() < deadline + Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, told) = admin(address, &to_admin("GET", "/status", "")).await;
    assert_eq!(
        (&told["state"], &told["ready"]),
        (&"draining".into(), &false.into())
    );
    client.send(&body[6..]).await;
    assert_eq!(status(&client.answer().await.0), 200);
    drop(client);
    let mut gateway = installation.gateway.take().unwrap();
    let ended = gateway
        .wait_until(|| false, Duration::from_secs(20))
        .unwrap_err();
    assert!(ended.0.contains("exit status: 0"), "{ended}");
}

/// The vault CA's list of revoked certificates, as openssl writes it.
fn revocations(installation: &Installation, revoked: Option<&str>) {
    let (cert, key) = (
        installation.cert("vault-ca.pem"),
        installation.cert("vault-ca.key"),
    );
    let folder = installation.cert("crl");
    let _ = std::fs::create_dir(&folder);
    let at = folder.display();
    std::fs::write(
        folder.join("cnf"),
        format!(
            "[ca]\ndefault_ca = d\n[d]\ndatabase = {at}/index\ncrlnumber = {at}/number\n\
             default_md = sha256\ndefault_crl_days = 7\ncrl_extensions = e\n\
             [e]\nauthorityKeyIdentifier = keyid\n"
        ),
    )
    .unwrap();
    if !folder.join("number").exists() {
        std::fs::write(folder.join("number"), "01\n").unwrap();
        std::fs::write(folder.join("index"), "").unwrap();
    }
    let ca = |more: &[&std::ffi::OsStr]| {
        let mut command = std::process::Command::new("openssl");
        command
            .args(["ca", "-batch", "-config"])
            .arg(folder.join("cnf"));
        command
            .arg("-cert")
            .arg(&cert)
            .arg("-keyfile")
            .arg(&key)
            .args(more);
        let ended = command.output().unwrap();
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    };
    if let Some(name) = revoked {
        let file = installation.cert(&format!("{name}.pem"));
        ca(&["-revoke".as_ref(), file.as_os_str()]);
    }
    let next = folder.join("next");
    ca(&["-gencrl".as_ref(), "-out".as_ref(), next.as_os_str()]);
    std::fs::rename(next, folder.join("crl.pem")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_with_tls_the_admin_address_wants_a_custodian() {
    let backend = Backend::answering(OK).await;
    let address = free_address().unwrap();
    let keys = format!(
        "admin = {{ listen = \"{address}\", tls = {{ certificate = \"certs/out/gateway.pem\", key = \"certs/out/gateway.key\", client_ca = \"certs/out/vault-ca.pem\", client_crl = \"certs/out/crl/crl.pem\" }} }}"
    );
    let mut installation = prepare(backend.address, &keys, "");
    revocations(&installation, None);
    start(&mut installation).await;
    let ca = installation.cert(CA);
    let status_as = async |identity: Option<&str>| {
        let files = identity.map(|name| {
            let file = |kind| installation.cert(&format!("{name}.{kind}"));
            (file("pem"), file("key"))
        });
        let files = files.as_ref().map(|(c, k)| (c.as_path(), k.as_path()));
        let tls = client_config(Some(&ca), files, true, &[b"http/1.1"]).unwrap();
        let mut raw = Raw::tls_as(address, tls, "localhost").await.ok()?;
        let request = "GET /status HTTP/1.1\r\nhost: gateway\r\n\r\n";
        raw.stream.write_all(request.as_bytes()).await.ok()?;
        raw.stream.flush().await.ok()?;
        let mut first = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut raw.stream, &mut first)
            .await
            .ok()?;
        Some(String::from_utf8_lossy(&first).into_owned())
    };
    assert_eq!(
        status_as(Some("people/c.mwangi")).await.as_deref(),
        Some("HTTP/1.1 200")
    );
    for nobody in [
        None,
        Some("people/o.haddad"),
        Some("people/i.okafor"),
        Some("gateway-link"),
        Some("people/provider-1"),
    ] {
        assert_eq!(status_as(nobody).await, None, "{nobody:?}");
    }
    // Nor in clear.
    assert!(get(address, "/status").is_err());
    // Who has been revoked is let in no more, soon after the list is there.
    revocations(&installation, Some("people/c.mwangi"));
    let end = Instant::now() + Duration::from_secs(20);
    while status_as(Some("people/c.mwangi")).await.is_some() {
        assert!(Instant::now() < end, "the list is not read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // `check` warns of the other way, and of trace ids.
    let risks = tokio::task::block_in_place(|| installation.expect(&["check"]));
    assert!(
        !risks.contains("can drain") && !risks.contains("trace id"),
        "{risks}"
    );
    let text = std::fs::read_to_string(installation.config()).unwrap();
    let open = format!(
        "admin = {{ listen = \"{address}\" }}\ntraces = {{ endpoint = \"http://127.0.0.1\" }}"
    );
    std::fs::write(installation.config(), text.replacen(&keys, &open, 1)).unwrap();
    let risks = tokio::task::block_in_place(|| installation.expect(&["check"]));
    assert!(
        risks.contains("can drain") && risks.contains("trace id"),
        "{risks}"
    );
}

#[test]
fn proxy_11_an_admin_address_for_everybody_is_refused() {
    let found = |keys: &str| {
        let text = format!(
            "[gateway]\nlisten = [\"127.0.0.1:8443\"]\nobserve = \"127.0.0.1:9464\"\n{keys}\n\
             tls = {{ certificate = \"c\", key = \"k\" }}\n\
             vault = {{ address = \"https://v:1\", certificate = \"c\", key = \"k\", ca = \"a\" }}\n\
             [backend.b]\nurls = [\"http://127.0.0.1:1\"]\nregion = \"GB\"\n\
             [[route]]\nname = \"r\"\npath = \"/\"\nbackend = \"b\"\n"
        );
        match Config::parse(&text, Path::new("/nowhere"), "config.toml") {
            Ok(loaded) => Ok(loaded.warnings.len()),
            Err(errors) => Err(errors
                .iter()
                .map(|e| format!("{}:{} {}", e.line, e.column, e.message))
                .collect::<Vec<_>>()
                .join("; ")),
        }
    };
    assert_eq!(found(""), Ok(0));
    assert_eq!(found("admin = { listen = \"127.0.0.1:9466\" }"), Ok(0));
    assert_eq!(found("admin = { listen = \"[::1]:9466\" }"), Ok(0));
    let tls = "tls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }";
    assert_eq!(
        found(&format!("admin = {{ listen = \"0.0.0.0:9466\", {tls} }}")),
        Ok(0)
    );
    assert_eq!(
        found("traces = { endpoint = \"http://127.0.0.1:4318/v1/traces\" }"),
        Ok(0)
    );
    assert_eq!(
        found("traces = { endpoint = \"http://otel.example:4318\" }"),
        Ok(1)
    );
    for (keys, place, word) in [
        ("admin = { listen = \"0.0.0.0:9466\" }", "4:20", "drain"),
        ("admin = { listen = \"192.0.2.1:9466\" }", "4:20", "drain"),
        ("admin = { listen = \"127.0.0.1:9464\" }", "4:20", "another"),
        ("admin = { listen = \"127.0.0.1:8443\" }", "4:20", "another"),
        (
            "admin = { listen = \"0.0.0.0:9466\", tls = { certificate = \"c\", key = \"k\" } }",
            "4:",
            "client_ca",
        ),
        ("admin = { }", "4:9", "listen"),
        (
            "admin = { listen = \"127.0.0.1:1\", who = \"x\" }",
            "4:",
            "unknown key",
        ),
        (
            "traces = { endpoint = \"https://c:4318\" }",
            "4:23",
            "collector",
        ),
        (
            "traces = { endpoint = \"http://c\", sample = 1.5 }",
            "4:",
            "sample",
        ),
        (
            "traces = { endpoint = \"http://c\", sample = \"x\" }",
            "4:",
            "string",
        ),
        (
            "traces = { endpoint = \"http://c\", from_clients = \"trust\" }",
            "4:",
            "traceparent",
        ),
        ("traces = { sample = 0.1 }", "4:10", "endpoint"),
    ] {
        let errors = found(keys).expect_err(keys);
        assert!(
            errors.contains(place) && errors.contains(word),
            "{keys}: {errors}"
        );
    }
}

/// What `sha256sum` says of the files, one after the other.
#[test]
fn proxy_11_the_configuration_s_hash_is_that_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let main = "include = [\"b.toml\", \"a.toml\"]\n[vault]\nlisten = \"127.0.0.1:1\"\nstore = \"sqlite:s\"\n\
                root_key = \"k\"\nregistry = \"r\"\n\
                tls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }\n";
    let kind = |name: &str| {
        format!("[kind.{name}]\nclass = \"vocabulary\"\nprefix = \"{name}\"\n# comment\n")
    };
    let file = folder.path().join("config.toml");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("config.toml", main);
    write("a.toml", &kind("aaa"));
    write("b.toml", &kind("bbb"));
    let digest = || match Config::load(&file) {
        Ok(loaded) => loaded.config.digest,
        Err(errors) => panic!("{errors:?}"),
    };
    let expected = Sha256::digest(format!("{main}{}{}", kind("bbb"), kind("aaa")));
    assert_eq!(digest()[..], expected[..]);
    // A comment in an included file is another configuration.
    write("a.toml", &kind("aaa").replace("comment", "another"));
    assert_ne!(digest()[..], expected[..]);
}

/// Every series that the dashboard asks for is on a page.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_the_dashboard_asks_for_what_there_is() {
    let backend = Backend::answering(OK).await;
    let traces = "traces = { endpoint = \"http://127.0.0.1:1/v1/traces\" }";
    let mut installation = prepare(backend.address, traces, "");
    start(&mut installation).await;
    let mut client = client(&installation).await;
    assert_eq!(ask(&mut client, post("/nowhere", "", "")).await, 404);
    let pages = installation.metrics("gateway") + &installation.metrics("vault");
    let there: BTreeSet<&str> = pages
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let text = std::fs::read_to_string(docs().join("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut asked = BTreeSet::new();
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        panels += usize::from(!targets.is_empty());
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names: Vec<String> = words
                .filter(|word| word.starts_with("cryptonym_"))
                .map(str::to_owned)
                .collect();
            assert!(!names.is_empty(), "{expression}");
            asked.extend(names);
        }
    }
    assert!(panels >= 12, "{panels}");
    for name in &asked {
        assert!(there.contains(name.as_str()), "{name} is on no page");
    }
    // The page of words names every family that a page of numbers has.
    let words = std::fs::read_to_string(docs().join("observe.md")).unwrap();
    for line in pages.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let family = line.split(' ').next().unwrap();
        assert!(
            words.contains(&format!("`{family}")),
            "{family} is not in docs/observe.md"
        );
    }
}

/// A gateway whose standard error is a pipe that nobody reads goes on serving, and says later what
/// it had to leave out.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_11_a_log_that_nobody_reads_stops_nothing() {
    use std::io::Read;
    use support::certificates::Certificates;
    use support::whole;
    let backend = Backend::answering(OK).await;
    let certificates = Certificates::new();
    let (address, observe) = (free_address().unwrap(), free_address().unwrap());
    let rest = whole::any(backend.address);
    whole::write(&certificates, address, observe, "workers = 2", &rest);
    let file = certificates.dir.path().join("config.toml");
    let mut gateway = whole::gateway(&file, &[])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = gateway.stderr.take().unwrap();
    let patience = Duration::from_secs(20);
    let began = Instant::now();
    while !get(observe, "/readyz").is_ok_and(|(status, _)| status == 200) {
        assert!(began.elapsed() < patience, "it does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A pipe takes 64 KiB, a line of the access log 200 bytes.
    let dropped = || {
        let page = get(observe, "/metrics").unwrap().1;
        let name = "cryptonym_gateway_log_lines_dropped_total ";
        let line = page.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.parse::<u64>().unwrap()
    };
    let mut asked = 0;
    while dropped() == 0 {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let tls = certificates.client(&[b"http/1.1"], false);
            all.spawn(async move {
                // A new connection each time: whichever worker stood still would be found.
                let mut client = Raw::tls(address, tls).await;
                for _ in 0..500 {
                    let request = "GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned();
                    assert_eq!(ask(&mut client, request).await, 404);
                }
            });
        }
        let answered = tokio::time::timeout(patience, all.join_all()).await;
        assert!(answered.is_ok(), "no answer after {asked} requests");
        asked += 2000;
        assert!(asked < 40_000, "nothing is bounded");
    }
    assert_eq!(get(observe, "/healthz").unwrap().0, 200);
    // Somebody reads again.
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        log.read_to_string(&mut all).unwrap();
        all
    });
    let mut client = Raw::tls(address, certificates.client(&[b"http/1.1"], false)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let last = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned();
    assert_eq!(ask(&mut client, last).await, 200);
    let lost = dropped();
    // The end comes at once after, and nothing of it is missing.
    let id = rustix::process::Pid::from_raw(i32::try_from(gateway.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(gateway.wait().unwrap().code(), Some(0));
    let log = reader.join().unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let told: u64 = lines.iter().filter_map(|l| l["lines"].as_u64()).sum();
    let refused = lines.iter().filter(|l| l["status"] == 404).count() as u64;
    assert_eq!(told, lost);
    assert_eq!(refused + told, asked, "each line is there or counted");
    assert_eq!(lines.iter().filter(|l| l["route"] == "any").count(), 1);
}
