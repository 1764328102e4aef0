//! Gateways that nobody has named: behind a name that leads elsewhere, in the way of redirected
//! connections, as the proxy for the way out. docs/transparent.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod support {
    pub mod authority;
    pub mod installation;
    pub mod portal;
}

#[path = "ways/egress.rs"]
mod egress;
#[path = "ways/name.rs"]
mod name;
#[path = "ways/network.rs"]
mod network;
#[path = "ways/refusals.rs"]
mod refusals;

/// An identifier of nobody, and what must arrive in its place.
const CLEAR: &str = "SUB-33806421";

/// One record, as every client here sends it.
const RECORD: &str = r#"{"id": "SUB-33806421", "value": 7}"#;

/// Rules for it.
const POLICY: &str = r#"
[policy.record]
rules = [
  { at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber" },
  { at = "$.value", category = "test", action = "keep" },
]
"#;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transparent.md")).unwrap()
}

/// The fenced blocks of docs/transparent.md in this language that have `with` in them.
fn blocks(language: &str, with: &str) -> Vec<String> {
    let page = page();
    let parts = page.split("\n```").collect::<Vec<_>>();
    // Opening and closing fences take turns.
    let inside = parts.iter().skip(1).step_by(2);
    let its = inside.filter_map(|part| part.strip_prefix(&format!("{language}\n")));
    its.filter(|text| text.contains(with))
        .map(str::to_owned)
        .collect()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// Standard output and error of a command that must work.
fn expect(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// curl, with nothing of this machine's own settings.
fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--max-time", "20"]);
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

/// One record by curl; prints `status version connect` behind the body.
fn post(url: &str, ca: &Path) -> Command {
    let mut command = curl();
    command.arg("--cacert").arg(ca);
    command.args(["-H", "content-type: application/json", "-d", RECORD]);
    command.args(["-w", "\n%{http_code} %{http_version} %{http_connect}", url]);
    command
}

/// What curl has printed last.
fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// Whether a body has arrived as it should.
fn is_pseudonymised(seen: &serde_json::Value) {
    let body = seen["body"].as_str().unwrap();
    assert!(
        body.starts_with(r#"{"id": "sub_1_"#) && body.ends_with(r#"", "value": 7}"#),
        "{body}"
    );
    assert!(!seen.to_string().contains(CLEAR), "{seen}");
}

fn field<'a>(seen: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let all = seen["headers"].as_array().unwrap().iter();
    let its = all.filter(|pair| pair[0] == name);
    its.map(|pair| pair[1].as_str().unwrap()).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::Builder::new()
        .prefix("cryptonym-test-")
        .tempdir()
        .unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
