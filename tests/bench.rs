//! `cryptonym bench` from outside: what it prints, that its counts hold, and that it leaves
//! nothing behind. How fast anything is stands in no assertion here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cryptonym::bench::origin::Origin;
use cryptonym::local::processes::pause;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

mod support {
    pub mod installation;
}
use support::installation::{CA, CLIENT, HOST, Installation};

/// A run of `cryptonym bench` whose files lie in a folder of its own.
struct Bench {
    temporary: tempfile::TempDir,
    command: Command,
}

impl Bench {
    fn new(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
        command
            .arg("bench")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null());
        Self { temporary, command }
    }

    /// Runs it to its end; nothing may be left.
    fn run(mut self) -> Output {
        let output = self.command.output().unwrap();
        self.assert_nothing_left();
        output
    }

    /// As [`Bench::run`], for what must succeed without a word on standard error.
    fn expect(self) -> String {
        let output = self.run();
        let wrong = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8(output.stdout).unwrap();
        println!("{text}");
        assert_eq!(output.status.code(), Some(0), "{wrong}\n{text}");
        assert_eq!(wrong, "");
        text
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.expect()).unwrap()
    }

    fn spawn(&mut self) -> Child {
        let command = self.command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Processes that run out of its folder.
    fn running(&self) -> Vec<PathBuf> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .map(|entry| entry.path())
            .filter(|path| {
                fs::read_link(path.join("cwd"))
                    .is_ok_and(|cwd| cwd.starts_with(self.temporary.path()))
            })
            .collect()
    }

    fn folder_there(&self) -> bool {
        fs::read_dir(self.temporary.path())
            .unwrap()
            .next()
            .is_some()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.running(), Vec::<PathBuf>::new(), "left running");
        let files: Vec<_> = fs::read_dir(self.temporary.path())
            .unwrap()
            .flatten()
            .collect();
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

/// Options that make a run as short as it can be.
const SHORT: [&str; 4] = ["--seconds", "0.4", "--rounds", "2"];

fn short<'a>(more: &[&'a str]) -> Vec<&'a str> {
    more.iter().copied().chain(SHORT).collect()
}

fn rows<'a>(text: &'a str, through: &str) -> Vec<&'a str> {
    let head = format!("  {through} ");
    text.lines()
        .filter(|line| line.starts_with(&head))
        .collect()
}

fn cell<'a>(document: &'a Value, load: &str, format: &str, through: &str) -> &'a Value {
    let cells = document["cells"].as_array().unwrap();
    cells
        .iter()
        .find(|cell| cell["load"] == load && cell["format"] == format && cell["through"] == through)
        .unwrap_or_else(|| panic!("no cell {load} {format} {through} in {document:#}"))
}

fn count(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn speed_02_the_table_has_every_way_in_each_format_and_nothing_is_left() {
    let text = Bench::new(&short(&["--load", "single", "--load", "latency"])).expect();
    for title in [
        "single JSON",
        "single NDJSON",
        "latency JSON",
        "latency NDJSON",
    ] {
        assert!(text.contains(&format!("\n{title}: ")), "no {title}");
    }
    assert_eq!(rows(&text, "gateway").len(), 4);
    assert_eq!(rows(&text, "pass-through").len(), 2);
    for peer in ["nginx", "haproxy"] {
        let absent = text.contains(&format!("{peer}: not installed"));
        assert_eq!(
            rows(&text, peer).len(),
            if absent { 0 } else { 2 },
            "{peer}"
        );
    }
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100,
            "wider than 100 columns: {line}"
        );
        assert!(!line.contains('\x1b'), "no terminal, no colours: {line:?}");
    }
    // Requests, bytes, latencies, processor time, memory and values stand in a gateway's row.
    let figures: Vec<&str> = rows(&text, "gateway")[0].split_whitespace().collect();
    for at in [1, 2, 3, 6, 7, 8, 9] {
        assert!(figures[at].parse::<f64>().unwrap() > 0.0, "{figures:?}");
    }
}

#[test]
fn speed_02_the_document_says_what_was_measured_and_its_counts_agree() {
    for http in ["1.1", "2"] {
        let arguments = ["--json", "--no-peers", "--load", "batch", "--http", http];
        let document = Bench::new(&short(&arguments)).json();
        assert_eq!(
            (&document["schema"], &document["kind"]),
            (&1.into(), &"speed".into())
        );
        assert!(count(&document["machine"]["cores"]) > 0);
        assert!(document["command"].as_array().unwrap().len() > 5);
        assert_eq!(document["cells"].as_array().unwrap().len(), 3);
        for format in ["JSON", "NDJSON"] {
            let cell = cell(&document, "batch", format, "gateway");
            assert!(count(&cell["requests"]) > 0);
            assert_eq!(count(&cell["records"]), 100 * count(&cell["requests"]));
            assert_eq!(count(&cell["replaced"]), 4 * count(&cell["records"]));
            assert!(count(&cell["verified_records"]) >= 100);
            assert_eq!(cell["errors"], serde_json::json!({}));
            for name in [
                "requests_per_second",
                "megabytes_per_second",
                "p50_ms",
                "cpu_us_per_request",
                "cpu_ms_per_mib",
                "peak_mib",
                "replaced_per_second",
            ] {
                let figure = |part: &str| cell["figures"][name][part].as_f64().unwrap();
                let (low, value, high) = (figure("low"), figure("value"), figure("high"));
                assert!(
                    0.0 < low && low <= value && value <= high,
                    "{name}: {cell:#}"
                );
            }
        }
        let pass = cell(&document, "batch", "JSON", "pass-through");
        assert_eq!(pass["replaced"], Value::Null);
        assert!(count(&pass["verified_records"]) >= 100);
    }
}

#[test]
fn speed_02_a_change_beyond_the_noise_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    let arguments = ["--no-peers", "--load", "single"];
    let mut before = Bench::new(&short(&[&arguments[..], &["--json"]].concat())).json();
    // As if it had been a thousand times as fast, and had taken a thousand times the memory.
    for cell in before["cells"].as_array_mut().unwrap() {
        for name in ["requests_per_second", "peak_mib"] {
            for part in ["value", "low", "high"] {
                let figure = &mut cell["figures"][name][part];
                *figure = (figure.as_f64().unwrap() * 1000.0).into();
            }
        }
    }
    fs::write(&file, before.to_string()).unwrap();
    let compare = ["--compare", file.to_str().unwrap()];
    let text = Bench::new(&short(&[&arguments[..], &compare].concat())).expect();
    let (_, text) = text.split_once("now / then").expect("a second table");
    let marked = rows(text, "gateway");
    assert_eq!(marked.len(), 2);
    for row in marked {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((cells[1], cells[8]), ("0.00!", "0.00+"), "{row}");
    }

    let json = [&arguments[..], &compare, &["--json"]].concat();
    let document = Bench::new(&short(&json)).json();
    let changes = document["compared"].as_array().unwrap();
    let verdict = |figure: &str| {
        let change = changes.iter().find(|change| change["figure"] == figure);
        change.unwrap()["verdict"].clone()
    };
    assert_eq!(verdict("requests_per_second"), "worse");
    assert_eq!(verdict("peak_mib"), "better");

    fs::write(&file, "{}").unwrap();
    let output = Bench::new(&short(&compare)).run();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("before.json"));
}

const ROUTE: &str = r#"
[[route]]
name = "here"
path = "/here"
methods = ["POST"]
backend = "origin"
domain = "improvement"
request = "two"
client_certificate = true

[policy.two]
unlisted = "keep"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.email", category = "contact", action = "pseudonym", kind = "email" },
]
"#;

/// Somebody's own gateway, and what names it on the command line.
fn target(installation: &Installation) -> Vec<String> {
    let file = |name: &str| installation.cert(name).display().to_string();
    let url = format!(
        "https://{HOST}:{}/here",
        installation.gateway_address.port()
    );
    [
        ("--target", url),
        ("--ca", file(CA)),
        ("--certificate", file(CLIENT.0)),
        ("--key", file(CLIENT.1)),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

#[test]
fn speed_02_somebodys_own_gateway_is_measured_from_outside() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let origin = runtime.block_on(Origin::start()).unwrap();
    let backend = format!("[backend.origin]\nurls = [\"http://{}\"]\n", origin.address);
    let installation = Installation::start(&(backend + ROUTE));
    let owned = target(&installation);
    let target: Vec<&str> = owned.iter().map(String::as_str).collect();

    let text = Bench::new(&short(&[&target[..], &["--load", "single"]].concat())).expect();
    let row: Vec<&str> = rows(&text, "target")[0].split_whitespace().collect();
    assert!(row[1].parse::<f64>().unwrap() > 0.0);
    assert_eq!(
        row[6..],
        ["-"; 5],
        "processor time and memory are not ours to see"
    );

    let process = installation.gateway.as_ref().unwrap().id().to_string();
    let observe = installation.gateway_observe.to_string();
    let seen = [
        "--json",
        "--load",
        "single",
        "--pid",
        &process,
        "--observe",
        &observe,
    ];
    let document = Bench::new(&short(&[&target[..], &seen].concat())).json();
    let cell = cell(&document, "single", "JSON", "target");
    assert_eq!(count(&cell["replaced"]), 2 * count(&cell["records"]));
    for name in ["cpu_us_per_request", "peak_mib"] {
        assert!(cell["figures"][name]["value"].as_f64().unwrap() > 0.0);
    }

    // A body of one's own, and one that the gateway refuses.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.ndjson");
    let body = ["--json", "--body", file.to_str().unwrap()];
    let arguments = short(&[&target[..], &body].concat());
    fs::write(&file, "{\"subscriber_id\":\"SUB-00000001\"}\n").unwrap();
    origin.arm();
    let document = Bench::new(&arguments).json();
    assert!(count(&document["cells"][0]["requests"]) > 0);
    let sample = String::from_utf8(origin.seen().1[0].bytes.clone()).unwrap();
    assert!(sample.starts_with("{\"subscriber_id\":\"sub_"), "{sample}");
    fs::write(&file, "{\"subscriber_id\":}\n").unwrap();
    let output = Bench::new(&arguments).run();
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(count(&document["cells"][0]["errors"]["400 malformed-json"]) > 0);
    assert_eq!(document["cells"][0]["figures"], serde_json::json!({}));
}

#[test]
fn speed_02_first_sights_are_what_the_vault_holds() {
    for new in [1, 3] {
        let document = Bench::new(&[
            "first-sight",
            "--json",
            "--records",
            "700",
            "--new-per-record",
            &new.to_string(),
        ])
        .json();
        assert_eq!(document["kind"], "first-sight");
        assert_eq!(count(&document["records"]), 700);
        for name in ["new_identifiers", "first_sights", "vault_holds"] {
            assert_eq!(count(&document[name]), 700 * new, "{name}");
        }
        for world in ["gateway", "vault"] {
            let cpu = &document[world]["cpu_us_per_new_identifier"];
            assert!(cpu.as_f64().unwrap() > 0.0, "{world}");
        }
        assert!(count(&document["vault_commits"]) > 0);
        assert!(count(&document["verified_records"]) > 0);
    }
}

#[test]
fn speed_02_the_vault_alone_keeps_what_it_is_given() {
    let arguments = [
        "vault",
        "--records",
        "2500",
        "--batch",
        "500",
        "--leases",
        "2",
    ];
    let document = Bench::new(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(document["kind"], "vault");
    assert_eq!(count(&document["vault_holds"]), 2500);
    for name in [
        "records_per_second",
        "p50_ms",
        "vault_cpu_us_per_record",
        "lease_p50_ms",
    ] {
        assert!(document[name].as_f64().unwrap() > 0.0, "{name}");
    }
}

#[test]
fn speed_02_a_soak_prints_a_line_a_period_and_a_verdict() {
    let arguments = [
        "soak",
        "--calm",
        "--minutes",
        "0.05",
        "--period",
        "1",
        "--rate",
        "50",
    ];
    let text = Bench::new(&arguments).expect();
    let lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with("0:00:"));
    assert!(lines.count() >= 3, "{text}");
    assert!(text.contains(" requests, 0 errors"));
    for world in ["gateway", "vault"] {
        assert!(
            text.contains(&format!("{world}: memory did not grow: ")),
            "{text}"
        );
    }
}

/// Half a minute of it; whoever wants ten types `cryptonym bench soak`.
#[test]
fn proxy_15_a_soak_with_trouble_loses_nothing_and_leaves_nothing() {
    let minutes = if std::env::var_os("CRYPTONYM_LONG").is_some() {
        "10"
    } else {
        "0.5"
    };
    let mut arguments = vec!["soak", "--minutes", minutes, "--period", "2", "--json"];
    if minutes == "0.5" {
        arguments.extend(["--every", "4"]);
    }
    // What half a minute says of memory is nothing: the verdict is that of the parts below.
    let output = Bench::new(&arguments).run();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = &document["counts"];
    let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{document:#}"));
    for name in ["lost", "twice", "wrong"] {
        assert_eq!(count(&counts[name]), 0, "{name}: {document:#}");
    }
    for name in ["unrecorded", "connections_left", "unsettled"] {
        assert_eq!(count(&document[name]), 0, "{name}: {document:#}");
    }
    for name in ["reloads", "backend_restarts", "vault_restarts"] {
        assert!(count(&document[name]) > 0, "{name}: {document:#}");
    }
    for name in ["acknowledged", "aborted", "refused", "records"] {
        assert!(count(&counts[name]) > 0, "{name}: {document:#}");
    }
    assert!(
        document["errors"].as_object().unwrap().is_empty(),
        "{document:#}"
    );
}

/// Whether something came to be within a minute.
fn comes(mut what: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !what() {
        if began.elapsed() > Duration::from_secs(60) {
            return false;
        }
        pause(Duration::from_millis(10));
    }
    true
}

fn interrupt(child: &Child) {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
}

#[test]
fn speed_02_ctrl_c_leaves_no_process_and_no_file() {
    let installed = |name: &&str| Path::new("/usr/sbin").join(name).exists();
    let peers = ["nginx", "haproxy"]
        .iter()
        .filter(|name| installed(name))
        .count();
    // While it is being made; in the middle of the load, peers included; a soak that has begun.
    let cases: [(&[&str], usize); 4] = [
        (&["--load", "single", "--seconds", "600"], 0),
        (&["--load", "single", "--seconds", "600"], 2 + peers),
        (&["soak", "--minutes", "10"], 2),
        (&["soak", "--calm", "--minutes", "10"], 2),
    ];
    for (arguments, processes) in cases {
        let mut bench = Bench::new(arguments);
        let mut child = bench.spawn();
        assert!(comes(
            || bench.folder_there() && bench.running().len() >= processes
        ));
        if processes > 0 {
            pause(Duration::from_millis(700));
        }
        interrupt(&child);
        let mut ended = None;
        assert!(comes(|| {
            ended = child.try_wait().unwrap();
            ended.is_some()
        }));
        assert_eq!(ended.unwrap().code(), Some(4));
        bench.assert_nothing_left();
    }
}

#[test]
fn speed_02_it_says_plainly_why_it_cannot_measure() {
    let said = |arguments: &[&str], temporary: Option<&str>| {
        let mut bench = Bench::new(arguments);
        if let Some(folder) = temporary {
            bench.command.env("TMPDIR", folder);
        }
        let output = bench.run();
        let wrong = String::from_utf8(output.stderr).unwrap();
        assert!(!wrong.contains("panicked"), "{wrong}");
        (output.status.code(), wrong)
    };
    let (code, wrong) = said(&["--load", "single"], Some("/nonexistent/folder"));
    assert_eq!(code, Some(4));
    assert!(wrong.starts_with("bench: /nonexistent/folder"), "{wrong}");
    let (code, wrong) = said(&["--target", "http://localhost/"], None);
    assert_eq!(code, Some(4));
    assert!(wrong.contains("no https:// URL"), "{wrong}");
    let (code, wrong) = said(&["--target", "https://127.0.0.1:9/x"], None);
    assert_eq!(code, Some(4));
    assert!(wrong.contains("cannot be reached"), "{wrong}");
    assert_eq!(
        said(&["--pid", "1"], None).0,
        Some(2),
        "--pid is about a target"
    );
    assert_eq!(said(&["--seconds", "0"], None).0, Some(2));
}

#[test]
fn speed_02_growth_measures_what_is_known_and_what_is_long() {
    let arguments = [
        "growth",
        "--subjects",
        "3000,1000",
        "--mib",
        "1",
        "--rounds",
        "1",
    ];
    let document = Bench::new(&[&arguments[..], &["--json"]].concat()).json();
    let subjects = document["subjects"].as_array().unwrap();
    let held: Vec<u64> = subjects
        .iter()
        .map(|row| count(&row["vault_holds"]))
        .collect();
    assert_eq!(held, [1000, 3000]);
    for row in subjects
        .iter()
        .chain(document["lengths"].as_array().unwrap())
    {
        // One short round beside other work says little; that it is a ratio of two costs, it says.
        let ratio = row["to_pass_through"].as_f64().unwrap();
        assert!((0.2..50.0).contains(&ratio), "{row}");
    }
    let text = Bench::new(&[
        "growth",
        "--subjects",
        "1000",
        "--mib",
        "0",
        "--rounds",
        "1",
    ])
    .expect();
    assert!(
        text.contains("bytes/known") && !text.contains("peak MiB"),
        "{text}"
    );
}
