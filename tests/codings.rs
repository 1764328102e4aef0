//! Content codings: compressed bodies, rewritten and compressed again, over real TLS, against
//! peers that misbehave, into a real ClickHouse, and in bounded memory.

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cryptonym::coding::{Coding, Decoder, Encoder};
use cryptonym::config::{Codings, Format, Limits};
use cryptonym::local::generate::Generator;
use cryptonym::local::processes::run;
use http::Request;
use support::backend::{Backend, serve};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::h2::{Sent, h2};
use support::raw::{End, field, status};
use tokio::io::AsyncWriteExt;

#[path = "support/clickhouse.rs"]
mod clickhouse;
#[path = "support/installation.rs"]
mod installation;
#[path = "support/leak.rs"]
mod leak;
#[path = "support/sink.rs"]
mod sink;
use clickhouse::ClickHouse;
use installation::{CA, HOST, Installation};
use leak::LeakSearch;
use sink::Sink;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LINE: &str = "{\"name\":\"SUB-1\",\"n\":1.0e-7}\n";
const REWRITTEN: &str = "{\"name\":\"X\",\"n\":1.0e-7}\n";

/// As a client names them, as the backend reads them, and what they are.
const STACKS: [(&str, &str, &[Coding]); 6] = [
    ("gzip", "gzip", &[Coding::Gzip]),
    ("X-Gzip", "gzip", &[Coding::Gzip]),
    ("deflate", "deflate", &[Coding::Deflate]),
    ("br", "br", &[Coding::Br]),
    ("identity, zstd", "zstd", &[Coding::Zstd]),
    ("gzip ,br", "gzip, br", &[Coding::Gzip, Coding::Br]),
];

fn gateway(backend: &Backend) -> Gateway {
    let limits = Limits {
        hold: 10_000,
        ..Limits::default()
    };
    let mut routes = Vec::new();
    for (name, taken, plain, stream) in [
        ("held", &Coding::ALL[..], false, false),
        ("streamed", &Coding::ALL, false, true),
        ("plain-held", &Coding::ALL, true, false),
        ("plain-streamed", &Coding::ALL, true, true),
        ("two", &[Coding::Gzip, Coding::Zstd], false, false),
        ("none", &[], false, false),
    ] {
        let mut route = rewriting(name, &format!("/{name}"));
        route.format = Some(Format::Ndjson);
        route.stream = stream;
        route.codings = Codings {
            taken: taken.to_vec(),
            plain,
        };
        routes.push(route);
    }
    routes.push(opaque("any", "/any"));
    Gateway::start(&Arc::new(Certificates::new()), backend, routes, limits)
}

async fn reporting() -> Backend {
    Backend::start(None, |raw, report| serve(raw, report, OK)).await
}

fn head(path: &str, coding: &str, framing: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: {coding}\r\n{framing}\r\n\r\n"
    )
}

fn length(body: &[u8]) -> String {
    format!("content-length: {}", body.len())
}

fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for part in body.chunks(piece) {
        all.extend(format!("{:x}\r\n", part.len()).bytes());
        all.extend(part);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}

fn code(codings: &[Coding], body: &[u8]) -> Vec<u8> {
    Encoder::whole(codings, body).unwrap()
}

fn undo(codings: &[Coding], mut coded: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(codings).unwrap();
    let mut out = Vec::new();
    loop {
        let before = out.len();
        decoder.push(&mut coded, &mut out, 100_000).unwrap();
        if out.len() - before < 100_000 {
            break;
        }
    }
    decoder.finish().unwrap();
    out
}

fn problem(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn formats_04_a_held_body_is_undone_rewritten_and_done_again() {
    let mut backend = reporting().await;
    let gateway = gateway(&backend);
    let body = LINE.repeat(300);
    let expected = REWRITTEN.repeat(300);
    for (sent, seen_as, codings) in STACKS {
        let coded = code(codings, body.as_bytes());
        for piece in [None, Some(7), Some(10_000)] {
            let mut client = gateway.h1().await;
            match piece {
                None => {
                    client.send(head("/held", sent, &length(&coded))).await;
                    client.send(&coded).await;
                }
                Some(piece) => {
                    let framing = "transfer-encoding: chunked";
                    client.send(head("/held", sent, framing)).await;
                    client.send(chunked(&coded, piece)).await;
                }
            }
            assert_eq!(status(&client.answer().await.0), 200, "{sent}");
            let seen = backend.next().await;
            assert_eq!(field(&seen.head, "content-encoding"), Some(seen_as));
            assert_eq!(
                field(&seen.head, "content-type"),
                Some("application/x-ndjson")
            );
            assert_eq!(field(&seen.head, "transfer-encoding"), None);
            let arrived = seen.body.unwrap();
            let exact = arrived.len().to_string();
            assert_eq!(field(&seen.head, "content-length"), Some(&*exact));
            assert_eq!(undo(codings, &arrived), expected.as_bytes(), "{sent}");
        }
        let mut h2 = h2(&gateway).await;
        let request = Request::post("https://localhost/plain-held")
            .header("content-encoding", sent)
            .body(Sent::whole(coded))
            .unwrap();
        assert_eq!(h2.send_request(request).await.unwrap().status(), 200);
        let seen = backend.next().await;
        assert_eq!(field(&seen.head, "content-encoding"), None);
        assert_eq!(seen.body.unwrap(), expected.as_bytes(), "{sent}");
    }
    // An opaque route is none of our business.
    let mut client = gateway.h1().await;
    client
        .send(head("/any", "x-own", "content-length: 1"))
        .await;
    client.send("x").await;
    assert_eq!(status(&client.answer().await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "content-encoding"), Some("x-own"));
    // A message without a body has no coding.
    let mut client = gateway.h1().await;
    client
        .send(head("/held", "gzip", "content-length: 0"))
        .await;
    assert_eq!(status(&client.answer().await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "content-encoding"), None);
}

#[tokio::test]
async fn formats_04_a_streamed_body_is_undone_rewritten_and_done_again() {
    let mut backend = reporting().await;
    let gateway = gateway(&backend);
    // Every line another, so that it does not compress to nothing.
    let line = |n: u32, name: &str| {
        format!(
            "{{\"name\":\"{name}\",\"n\":{}}}\n",
            n.wrapping_mul(2_654_435_761)
        )
    };
    let body: String = (0..50_000).map(|n| line(n, "SUB-1")).collect();
    let expected: String = (0..50_000).map(|n| line(n, "X")).collect();
    for (sent, seen_as, codings) in STACKS {
        let coded = code(codings, body.as_bytes());
        assert!(coded.len() > 100_000);
        for piece in [None, Some(100_000)] {
            let mut client = gateway.h1().await;
            match piece {
                None => {
                    client.send(head("/streamed", sent, &length(&coded))).await;
                    client.send(&coded).await;
                }
                Some(piece) => {
                    let framing = "transfer-encoding: chunked";
                    client.send(head("/streamed", sent, framing)).await;
                    client.send(chunked(&coded, piece)).await;
                }
            }
            assert_eq!(status(&client.answer().await.0), 200, "{sent}");
            let seen = backend.next().await;
            assert_eq!(field(&seen.head, "content-encoding"), Some(seen_as));
            assert_eq!(field(&seen.head, "transfer-encoding"), Some("chunked"));
            let arrived = seen.body.unwrap();
            assert!(undo(codings, &arrived) == expected.as_bytes(), "{sent}");
        }
        for path in ["/streamed", "/plain-streamed"] {
            let mut h2 = h2(&gateway).await;
            let request = Request::post(format!("https://localhost{path}"))
                .header("content-encoding", sent)
                .body(Sent::whole(coded.clone()))
                .unwrap();
            assert_eq!(h2.send_request(request).await.unwrap().status(), 200);
            let seen = backend.next().await;
            let arrived = seen.body.unwrap();
            let plain = if path == "/streamed" {
                undo(codings, &arrived)
            } else {
                assert_eq!(field(&seen.head, "content-encoding"), None);
                arrived
            };
            assert!(plain == expected.as_bytes(), "{sent}");
        }
    }
}

#[tokio::test]
async fn formats_04_what_is_not_named_is_refused_before_the_body() {
    let mut backend = reporting().await;
    let gateway = gateway(&backend);
    for (path, coding, takes) in [
        ("/none", "gzip", "identity"),
        ("/two", "br", "gzip, zstd"),
        ("/two", "deflate", "gzip, zstd"),
        ("/two", "compress", "gzip, zstd"),
        ("/two", "gzip, br", "gzip, zstd"),
        ("/two", "gzip, zstd, gzip", "gzip, zstd"),
        ("/two", "gzip;q=1", "gzip, zstd"),
        ("/two", "", "gzip, zstd"),
        ("/held", "SUB-00001", "gzip, deflate, br, zstd"),
    ] {
        let mut client = gateway.h1().await;
        // Nothing of the body is sent: the answer cannot wait for it.
        let framing = "content-length: 9\r\nexpect: 100-continue";
        client.send(head(path, coding, framing)).await;
        let (head, answer) = client.answer().await;
        assert_eq!(status(&head), 415, "{coding}");
        assert_eq!(field(&head, "accept-encoding"), Some(takes), "{coding}");
        assert_eq!(problem(&answer)["code"], "content-coding");
        assert!(!String::from_utf8(answer).unwrap().contains("SUB"));

        let mut h2 = h2(&gateway).await;
        let (_open, sent) = Sent::open();
        let request = Request::post(format!("https://localhost{path}"))
            .header("content-encoding", coding)
            .body(sent)
            .unwrap();
        let answer = h2.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 415);
        assert_eq!(answer.headers()["accept-encoding"], takes);
    }
    // Another 415 says nothing about codings.
    let mut client = gateway.h1().await;
    let request = "POST /held HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain; charset=utf-16\r\ncontent-length: 1\r\n\r\n";
    client.send(request).await;
    let (head, _) = client.answer().await;
    assert_eq!(status(&head), 415);
    assert_eq!(field(&head, "accept-encoding"), None);
    assert_eq!(backend.connections(), 0);
    assert!(backend.saw_nothing());
}

/// Ten mebibytes of gzip that are ten gibibytes of lines, made of one member said again and again.
fn bomb() -> Vec<u8> {
    let best = flate2::Compression::best();
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), best);
    writer.write_all(&b"{\"n\":1}\n".repeat(2 << 20)).unwrap();
    let member = writer.finish().unwrap();
    let bomb = member.repeat(640);
    assert!(bomb.len() < 24 << 20, "{}", bomb.len());
    bomb
}

#[tokio::test]
async fn formats_04_a_held_body_that_cannot_be_undone_leaves_nothing_at_the_backend() {
    let mut backend = reporting().await;
    let gateway = gateway(&backend);
    let body = LINE.repeat(100);
    for (sent, _, codings) in STACKS {
        let coded = code(codings, body.as_bytes());
        let cut = coded[..coded.len() - 1].to_vec();
        let followed = [&coded[..], b"SUB-00002"].concat();
        let wrong = code(codings, (body.clone() + "{\"bad\":\"SUB-9\"}\n").as_bytes());
        let unended = code(codings, (body.clone() + "{\"n\":").as_bytes());
        let large = code(codings, LINE.repeat(400).as_bytes());
        for (what, body, expected) in [
            ("cut", cut, (400, "truncated")),
            ("followed", followed, (400, "coding-broken")),
            ("not coded", LINE.into(), (400, "coding-broken")),
            ("refused", wrong, (422, "rejected-place")),
            ("unended", unended, (400, "truncated")),
            ("too large", large, (413, "body-too-large")),
        ] {
            let mut client = gateway.h1().await;
            client.send(head("/held", sent, &length(&body))).await;
            client.send(&body).await;
            let (head, answer) = client.answer().await;
            let problem = problem(&answer);
            let code = problem["code"].as_str().unwrap();
            // Text may look like the beginning of a stream that goes on.
            if what == "not coded" {
                assert!(["coding-broken", "coding-window", "truncated"].contains(&code));
                continue;
            }
            assert_eq!((status(&head), code), expected, "{sent}: {what}");
            assert!(problem.get("partial").is_none());
            assert!(!String::from_utf8(answer).unwrap().contains("SUB-"));
        }
    }
    // The faults are told where they stand in the decoded body.
    let mut client = gateway.h1().await;
    let coded = code(&[Coding::Zstd], body.as_bytes());
    let coded = [&coded[..], b"SUB-00002"].concat();
    client.send(head("/held", "zstd", &length(&coded))).await;
    client.send(&coded).await;
    let (_, answer) = client.answer().await;
    assert_eq!(problem(&answer)["offset"], body.len());
    assert_eq!(problem(&answer)["stage"], "decode");
    // A window of 16 MiB, in a stream that would need none.
    let mut client = gateway.h1().await;
    let coded = [0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, 0x11, 0, 0, b'{', b'}'];
    client.send(head("/held", "zstd", &length(&coded))).await;
    client.send(&coded).await;
    let (head, answer) = client.answer().await;
    assert_eq!(status(&head), 413);
    assert_eq!(problem(&answer)["code"], "coding-window");
    assert_eq!(backend.connections(), 0);
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn formats_04_a_streamed_body_that_cannot_be_undone_is_broken_off() {
    let mut backend = reporting().await;
    let gateway = gateway(&backend);
    let body: Vec<u8> = (0..60_000u32)
        .flat_map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for (sent, _, codings) in STACKS {
        let coded = code(codings, &body);
        let half = coded.len() / 2;
        let cut = coded[..half].to_vec();
        let followed = [&coded[..], &coded[1..half]].concat();
        for (what, body, expected) in [
            ("cut", cut, Some("truncated")),
            ("followed", followed, None),
        ] {
            for path in ["/streamed", "/plain-streamed"] {
                let mut client = gateway.h1().await;
                client
                    .send(head(path, sent, "transfer-encoding: chunked"))
                    .await;
                // The gateway stops reading at the fault: the rest may not be taken.
                let _ = client.stream.write_all(&chunked(&body, 50_000)).await;
                let (head, answer) = client.answer().await;
                let problem = problem(&answer);
                assert_eq!(status(&head), 400, "{sent}: {what}");
                assert_eq!(problem["partial"], true);
                if let Some(expected) = expected {
                    assert_eq!(problem["code"], expected, "{sent}: {what}");
                }
                // Not a last chunk, not a FIN.
                assert_eq!(backend.next().await.body, Err(End::Reset), "{sent}: {what}");
            }
        }
    }
    // A client that disappears.
    let coded = code(&[Coding::Gzip], &body);
    let mut client = gateway.h1().await;
    client
        .send(head("/streamed", "gzip", &length(&coded)))
        .await;
    client.send(&coded[..coded.len() / 2]).await;
    // Its beginning is at the backend before it goes.
    for _ in 0..1000 {
        if backend.connections() > STACKS.len() * 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(client);
    assert_eq!(backend.next().await.body, Err(End::Reset));
}

/// A feed that brings a record now and then: none waits for the next.
#[tokio::test]
async fn formats_04_a_record_of_a_slow_feed_does_not_wait_for_the_next() {
    for (sent, _, codings) in STACKS {
        let (report, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let backend = Backend::start(None, move |mut raw, _| {
            let report = report.clone();
            async move {
                raw.head().await.unwrap();
                let mut decoder = Decoder::new(codings).unwrap();
                loop {
                    let line = raw.raw_until(b"\r\n").await;
                    let size = std::str::from_utf8(&line).unwrap().trim();
                    let size = usize::from_str_radix(size, 16).unwrap();
                    let mut chunk = Vec::new();
                    while chunk.len() < size + 2 {
                        chunk.extend(raw.raw_until(b"\n").await);
                    }
                    if size == 0 {
                        break;
                    }
                    let mut out = Vec::new();
                    let mut coded = &chunk[..size];
                    decoder.push(&mut coded, &mut out, 1 << 20).unwrap();
                    let _ = report.send(out);
                }
                raw.send(OK).await;
            }
        })
        .await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        client
            .send(head("/streamed", sent, "transfer-encoding: chunked"))
            .await;
        let mut encoder = Encoder::new(codings).unwrap();
        // More than is held, so that it streams.
        let mut lines = LINE.repeat(1000);
        let mut arrived = String::new();
        for turn in 0..5 {
            let mut coded = Vec::new();
            encoder.push_now(lines.as_bytes(), &mut coded).unwrap();
            let mut part = chunked(&coded, coded.len());
            part.truncate(part.len() - b"0\r\n\r\n".len());
            client.send(part).await;
            let wanted = REWRITTEN.len() * (1000 + turn);
            while arrived.len() < wanted {
                let next = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await;
                let next = next.expect("a record waits").unwrap();
                arrived += std::str::from_utf8(&next).unwrap();
            }
            lines = LINE.to_owned();
        }
        assert_eq!(arrived, REWRITTEN.repeat(1004));
        let mut coded = Vec::new();
        encoder.finish(&mut coded).unwrap();
        client.send(chunked(&coded, coded.len())).await;
        assert_eq!(status(&client.answer().await.0), 200);
    }
}

/// The configuration's own words, and what `check` says of wrong ones.
#[test]
fn formats_04_codings_are_configured_with_a_place_for_each_fault() {
    let route = |keys: &str| {
        format!(
            "[backend.lake]\nurls = [\"http://127.0.0.1:1\"]\n[[route]]\nname = \"in\"\npath = \"/in\"\nbackend = \"lake\"\nformat = \"ndjson\"\n{keys}\n[policy.p]\nunlisted = \"reject\"\nrules = [{{ at = \"$.n\", category = \"usage\", action = \"keep\" }}]\n"
        )
    };
    for (keys, says, hint) in [
        (
            "request = \"p\"\ncodings = [\"gzip\", \"gzpi\"]",
            "`gzpi` is no content coding that is known",
            "gzip",
        ),
        (
            "request = \"p\"\ncodings = [\"br\", \"br\"]",
            "`br` stands here twice",
            "once",
        ),
        (
            "request = \"p\"\ncodings = [\"br\"]\nencode = \"idntity\"",
            "`idntity` is no way to code rewritten bodies",
            "identity",
        ),
        (
            "request = \"p\"\nencode = \"identity\"",
            "`encode` has no use",
            "codings",
        ),
        (
            "opaque = true\ncodings = [\"br\"]",
            "`codings` has no use",
            "opaque",
        ),
    ] {
        let installation = Installation::prepare(&route(keys));
        let ended = installation.cryptonym(&["check"]);
        let said = ended.stdout + &ended.stderr;
        let line = fs::read_to_string(installation.config()).unwrap();
        let line = line
            .lines()
            .position(|l| Some(l) == keys.lines().last())
            .unwrap()
            + 1;
        assert!(said.contains(says) && said.contains(hint), "{said}");
        assert!(
            said.contains(&format!("config.toml:{line}:")),
            "{line}: {said}"
        );
    }
    let good = "request = \"p\"\ncodings = [\"gzip\", \"zstd\"]\nencode = \"same\"";
    let installation = Installation::prepare(&route(good));
    installation.expect(&["check"]);
}

// --- processes

const MIB: u64 = 1024 * 1024;

const POLICY: &str = r#"
[policy.results]
unlisted = "keep"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.name", category = "identity", action = "pseudonym", kind = "name" },
  { at = "$.email", category = "contact", action = "pseudonym", kind = "email" },
  { at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" },
  { at = "$.date_of_birth", category = "identity", action = "generalise", to = "year" },
  { at = "$.postcode", category = "contact", action = "generalise", to = "outward-postcode" },
  { at = "$.phone", category = "contact", action = "pseudonym", kind = "phone" },
  { at = "$.kit_id", category = "test", action = "pseudonym", kind = "kit" },
  { at = "$.provider_id", category = "identity", action = "pseudonym", kind = "provider" },
  { at = "$.ip", category = "technical", action = "generalise", to = "ip-prefix", v4 = 24 },
]
"#;

fn route(name: &str, more: &str) -> String {
    format!(
        r#"
[[route]]
name = "{name}"
host = "{HOST}"
path = "/{name}"
methods = ["POST"]
query = [{{ name = "query", values = ["INSERT INTO results FORMAT JSONEachRow"] }}]
backend = "analytics"
domain = "improvement"
request = "results"
format = "ndjson"
stream = true
codings = ["gzip", "zstd", "br"]
{more}
"#
    )
}

fn configuration(address: std::net::SocketAddr) -> String {
    format!(
        "[backend.analytics]\nurls = [\"http://{address}\"]\nregion = \"GB\"\n{}{}{POLICY}",
        route("same", ""),
        route("plain", "encode = \"identity\""),
    )
}

/// The policy of tests/memory.rs.
fn lean(address: std::net::SocketAddr) -> String {
    let rules: Vec<&str> = POLICY
        .lines()
        .filter(|line| {
            ["subscriber_id", "email", "nhs_number"]
                .iter()
                .any(|name| line.contains(name))
        })
        .collect();
    format!(
        "[backend.analytics]\nurls = [\"http://{address}\"]\nregion = \"GB\"\n{}{}[policy.results]\nunlisted = \"keep\"\nrules = [\n{}\n]\n",
        route("same", ""),
        route("plain", "encode = \"identity\""),
        rules.join("\n"),
    )
}

/// A body, compressed by somebody else's program.
fn compressed(program: &[&str], file: &Path) -> PathBuf {
    let to = file.with_extension(program[0]);
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(file);
    command.stdout(fs::File::create(&to).unwrap());
    let status = command.stdin(Stdio::null()).status();
    assert!(status.expect("`tests/run` installs it").success());
    to
}

/// Sends a file; the status.
fn curl(
    installation: &Installation,
    version: &str,
    path: &str,
    coding: &str,
    file: &Path,
) -> String {
    let port = installation.gateway_address.port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", version])
        .args(["--cacert", installation.cert(CA).to_str().unwrap()])
        .args(["--header", "content-type: application/x-ndjson"])
        .args(["--header", &format!("content-encoding: {coding}")])
        .args(["--write-out", "%{http_code}", "--data-binary"])
        .arg(format!("@{}", file.display()))
        .arg(format!(
            "https://{HOST}:{port}{path}?query=INSERT%20INTO%20results%20FORMAT%20JSONEachRow"
        ))
        .output()
        .expect("curl is needed: `tests/run` installs it");
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{wrong}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn python(installation: &Installation, version: &str, path: &str, coding: &str, file: &Path) {
    let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
    });
    let mut command = Command::new(&python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/send_coded.py"
        ))
        .args([version, coding])
        .arg(format!(
            "https://{HOST}:{}{path}?query=INSERT%20INTO%20results%20FORMAT%20JSONEachRow",
            installation.gateway_address.port()
        ))
        .arg(installation.cert(CA))
        .arg(file);
    let ended = run(command).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn formats_04_compressed_records_go_into_clickhouse_and_leave_no_identifier() {
    leak::prove();
    const RECORDS: u64 = 3000;
    let generator = Generator::new(4);
    let folder = tempfile::tempdir().unwrap();
    let mut identifiers = Vec::new();
    let mut text = String::new();
    for index in 0..RECORDS {
        let record = generator.result_record(index);
        let person = &record.subscriber;
        text += &serde_json::to_string(&record).unwrap();
        text += "\n";
        identifiers.extend([&person.subscriber_id, &person.name, &person.email].map(Clone::clone));
        identifiers.extend([&person.nhs_number, &person.date_of_birth].map(Clone::clone));
        identifiers.extend([&person.phone, &record.kit_id, &record.provider_id].map(Clone::clone));
    }
    let plain = folder.path().join("records");
    fs::write(&plain, &text).unwrap();

    let backend_folder = tempfile::tempdir().unwrap();
    let analytics = ClickHouse::start(backend_folder.path());
    analytics.query(
        "CREATE TABLE results (subscriber_id String, name String, email String, nhs_number String,
            date_of_birth String, sex String, ethnicity String, postcode String, phone String,
            kit_id String, provider_id String, collected_at String, ip String)
            ENGINE = MergeTree ORDER BY subscriber_id",
    );
    let mut installation = Installation::start(&configuration(analytics.http));
    let gzip = compressed(&["gzip", "-6", "-c"], &plain);
    let zstd = compressed(&["zstd", "-q", "-9", "-c"], &plain);
    // This ClickHouse reads gzip itself; zstd it does not know, so it gets what is inside.
    let mut times = 0;
    for version in ["--http1.1", "--http2"] {
        assert_eq!(curl(&installation, version, "/same", "gzip", &gzip), "200");
        assert_eq!(curl(&installation, version, "/plain", "zstd", &zstd), "200");
        times += 2;
    }
    for version in ["1.1", "2"] {
        python(&installation, version, "/same", "gzip", &plain);
        python(&installation, version, "/plain", "deflate", &plain);
        times += 1;
    }
    assert_eq!(
        analytics.number("SELECT count() FROM results"),
        RECORDS * times
    );
    let distinct = "SELECT uniqExact(subscriber_id), uniqExact(email) FROM results";
    let ids: std::collections::HashSet<&String> = identifiers.iter().step_by(8).collect();
    let answer = analytics.query(distinct);
    assert_eq!(answer.split('\t').next(), Some(&*ids.len().to_string()));
    // A body that ends too early: blocks that are committed stay, its end never becomes a row.
    let cut = folder.path().join("cut");
    let bytes = fs::read(&gzip).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    assert!(curl(&installation, "--http1.1", "/same", "gzip", &cut).ends_with("400"));

    installation.stop();
    let search = LeakSearch::new(identifiers.iter().map(String::as_str));
    let dump = backend_folder.path().join("dump.tsv");
    // The search sees what stands in clear: a canary in each place.
    analytics.query("CREATE TABLE canary (kit_id String) ENGINE = MergeTree ORDER BY kit_id");
    analytics.insert(
        "canary",
        format!("{{\"kit_id\":\"{}\"}}", identifiers[0]).as_bytes(),
    );
    analytics.dump(&dump);
    assert!(
        search
            .look(&dump)
            .iter()
            .any(|leak| leak.needle == identifiers[0])
    );
    analytics.query("DROP TABLE canary");
    let canary = installation.folder().join("logs/canary.log");
    fs::write(&canary, format!("id={} done\n", identifiers[0])).unwrap();
    assert!(!search.look(installation.folder()).is_empty());
    fs::remove_file(canary).unwrap();
    analytics.dump(&dump);
    let rows = fs::read_to_string(&dump).unwrap().lines().count() as u64;
    assert!(rows > RECORDS * times, "the dump has only {rows} lines");
    for place in [backend_folder.path(), installation.folder()] {
        let leaks = search.look(place);
        assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
    }
}

/// A field of the gateway's `/proc/PID/status`, in bytes.
fn memory(installation: &Installation, field: &str) -> u64 {
    let id = installation.gateway.as_ref().expect("it runs").id();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// The issue's bar, the durable set apart.
const RESIDENT: u64 = 48 * MIB;
/// What one pseudonym known durable may take.
const KNOWN_ENTRY: u64 = 24;

#[test]
fn bar_memory_is_bounded_whatever_is_compressed() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let generator = Generator::new(201);
    const RECORDS: u64 = 20_000;
    let records: Vec<String> = (0..RECORDS)
        .map(|index| serde_json::to_string(&generator.result_record(index)).unwrap())
        .collect();
    let plain = folder.path().join("records");
    let mut file = std::io::BufWriter::new(fs::File::create(&plain).unwrap());
    let mut count = 0;
    let mut size = 0;
    for record in records.iter().cycle() {
        writeln!(file, "{record}").unwrap();
        count += 1;
        size += record.len() as u64;
        if size > 100 * MIB {
            break;
        }
    }
    file.flush().unwrap();
    drop(file);
    // As tests/memory.rs has it: at most ten identifiers of a record, pieces of a growing set.
    let known = RECORDS * 10 * KNOWN_ENTRY;
    // Windows of 8 MiB, filled; gzip as it usually comes.
    for (program, coding) in [
        (&["cat"][..], "identity"),
        (&["gzip", "-1", "-c"], "gzip"),
        (&["zstd", "-q", "-3", "-c"], "zstd"),
        (&["zstd", "-q", "-3", "--zstd=wlog=23", "-c"], "zstd"),
    ] {
        let file = compressed(program, &plain);
        for path in ["/same", "/plain"] {
            let installation = Installation::start(&lean(sink.address));
            assert_eq!(curl_quiet(&installation, path, coding, &file), "200");
            let peak = memory(&installation, "VmHWM");
            println!("{coding}{path}: peak {:.1} MiB", peak as f64 / MIB as f64);
            assert!(peak <= RESIDENT + known, "{coding}{path}: {peak}");
            let arrived = sink.take();
            assert!(arrived.len() == 1 && arrived[0].whole);
            let plain = match (path, coding) {
                ("/plain", _) | (_, "identity") => arrived[0].bytes.clone(),
                (_, "gzip") => undo(&[Coding::Gzip], &arrived[0].bytes),
                _ => undo(&[Coding::Zstd], &arrived[0].bytes),
            };
            let seen = memchr::memmem::find_iter(&plain, b"\"collected_at\":").count();
            assert_eq!(seen, count);
        }
    }
}

#[test]
fn formats_04_a_bomb_is_refused_in_constant_memory() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let installation = Installation::start(&configuration(sink.address));
    // What a body of this kind takes is there before.
    let lines: String = (0..500_000u32)
        .map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)))
        .collect();
    for (coding, codings) in [
        ("gzip", Coding::Gzip),
        ("zstd", Coding::Zstd),
        ("br", Coding::Br),
    ] {
        let file = folder.path().join("good");
        fs::write(&file, code(&[codings], lines.as_bytes())).unwrap();
        assert_eq!(curl_quiet(&installation, "/same", coding, &file), "200");
    }
    sink.take();
    let bombs = [
        ("gzip", bomb()),
        ("zstd", code(&[Coding::Zstd], &vec![b'\n'; 256 << 20])),
        ("br", code(&[Coding::Br], &vec![b'\n'; 256 << 20])),
        ("gzip, gzip", code(&[Coding::Gzip], &bomb())),
    ];
    for (coding, bomb) in bombs {
        let file = folder.path().join("bomb");
        fs::write(&file, &bomb).unwrap();
        let before = memory(&installation, "VmHWM");
        let said = curl(&installation, "--http1.1", "/same", coding, &file);
        assert!(
            said.ends_with("413") && said.contains("coding-ratio"),
            "{said}"
        );
        let grown = memory(&installation, "VmHWM").saturating_sub(before);
        println!(
            "{coding}: {} bytes sent, memory grew {} KiB",
            bomb.len(),
            grown / 1024
        );
        assert!(grown < 6 * MIB, "{coding}: {grown}");
    }
    // None of them ended well at the backend.
    assert!(sink.take().iter().all(|arrival| !arrival.whole));
}

/// As [`curl`], from a file that is not read into curl's own memory.
fn curl_quiet(installation: &Installation, path: &str, coding: &str, file: &Path) -> String {
    let port = installation.gateway_address.port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http1.1", "--request", "POST"])
        .arg("--cacert")
        .arg(installation.cert(CA))
        .args(["--header", "content-type: application/x-ndjson"])
        .args(["--header", &format!("content-encoding: {coding}")])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .arg("--upload-file")
        .arg(file)
        .arg(format!("https://{HOST}:{port}{path}"))
        .output()
        .unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{wrong}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
