//! What the gateway holds in memory does not grow with what passes through it. Bounds are of the
//! gateway's own process: `VmRSS` when idle, `VmHWM` (the peak) after an upload.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptonym::local::generate::Generator;

mod support {
    pub mod installation;
    pub mod sink;
}
use support::installation::{CA, CLIENT, HOST, Installation};
use support::sink::Sink;

const MIB: u64 = 1024 * 1024;
/// The gateway with a lease and nothing to do: 15.5 MiB are measured. Some 13 MiB of it are the
/// executable's own pages, which grow with what it can do.
const IDLE: u64 = 20 * MIB;
/// While a body of any size streams through, the durable set apart.
const STREAMING: u64 = 32 * MIB;
/// What one pseudonym known durable may take.
const KNOWN_ENTRY: u64 = 24;
/// Records that are generated; a longer body repeats them.
const RECORDS: u64 = 20_000;
/// Identifiers of a record that become recoverable pseudonyms, at most.
const IDENTIFIERS: u64 = 10;

#[test]
fn bar_memory_is_bounded_whatever_passes() {
    let sink = Sink::start();
    let installation = Installation::start(&configuration(&sink));
    let idle = memory(&installation, "VmRSS");
    println!("idle: {:.1} MiB", mib(idle));
    assert!(idle <= IDLE, "idle: {:.1} MiB", mib(idle));

    let folder = tempfile::tempdir().unwrap();
    let mut bodies = vec![(Shape::Lines, 200)];
    if std::env::var_os("CRYPTONYM_LONG").is_some() {
        bodies = vec![
            (Shape::Lines, 2048),
            (Shape::Array, 2048),
            (Shape::Object, 2048),
        ];
    }
    for (shape, size) in bodies {
        let (file, records) = shape.write(folder.path(), size * MIB);
        let said = send(&installation, shape, &file);
        std::fs::remove_file(file).unwrap();
        let peak = memory(&installation, "VmHWM");
        println!(
            "{shape:?} of {size} MiB, {records} records: peak {:.1} MiB",
            mib(peak)
        );
        let known = RECORDS * IDENTIFIERS * KNOWN_ENTRY;
        assert!(peak <= STREAMING + known, "{shape:?}: {:.1} MiB", mib(peak));
        assert_eq!(said, "200");
        let arrived = sink.take();
        assert_eq!(arrived.len(), 1);
        assert!(arrived[0].whole);
        // Counted by a member that no policy changes: everything went through.
        let seen = memchr::memmem::find_iter(&arrived[0].bytes, b"\"collected_at\":").count();
        assert_eq!(seen as u64, records);
    }
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// NDJSON.
    Lines,
    /// One JSON array.
    Array,
    /// One JSON object, whose bytes leave as they are scanned (`record = "unbounded"`).
    Object,
}

impl Shape {
    /// Writes a body of about `size` bytes; how many records it holds.
    fn write(self, folder: &Path, size: u64) -> (PathBuf, u64) {
        let generator = Generator::new(200);
        let records: Vec<String> = (0..RECORDS)
            .map(|index| serde_json::to_string(&generator.result_record(index)).unwrap())
            .collect();
        let (open, between, close) = match self {
            Shape::Lines => ("", "\n", "\n"),
            Shape::Array => ("[", ",", "]"),
            Shape::Object => ("{\"records\":[", ",", "]}"),
        };
        let path = folder.join("body");
        let mut file = BufWriter::new(File::create(&path).unwrap());
        file.write_all(open.as_bytes()).unwrap();
        let (mut written, mut count) = (0, 0);
        for record in records.iter().cycle() {
            if written >= size {
                break;
            }
            if count > 0 {
                file.write_all(between.as_bytes()).unwrap();
            }
            file.write_all(record.as_bytes()).unwrap();
            written += record.len() as u64 + 1;
            count += 1;
        }
        file.write_all(close.as_bytes()).unwrap();
        file.flush().unwrap();
        (path, count)
    }

    fn path(self) -> &'static str {
        match self {
            Shape::Lines => "/lines",
            Shape::Array => "/array",
            Shape::Object => "/object",
        }
    }
}

fn send(installation: &Installation, shape: Shape, file: &Path) -> String {
    let port = installation.gateway_address.port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http1.1", "--request", "POST"])
        .arg("--cacert")
        .arg(installation.cert(CA))
        .arg("--cert")
        .arg(installation.cert(CLIENT.0))
        .arg("--key")
        .arg(installation.cert(CLIENT.1))
        .args(["--header", "content-type: application/json"])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
        .arg("--upload-file")
        .arg(file)
        .arg(format!("https://{HOST}:{port}{}", shape.path()))
        .output()
        .expect("curl is needed: `tests/run` installs it");
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{wrong}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A field of the gateway's `/proc/PID/status`, in bytes.
fn memory(installation: &Installation, field: &str) -> u64 {
    let id = installation.gateway.as_ref().expect("it runs").id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

fn configuration(sink: &Sink) -> String {
    let rules = |front: &str| {
        format!(
            r#"
  {{ at = "{front}.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber" }},
  {{ at = "{front}.email", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "{front}.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" }},
  {{ at = "{front}.ethnicity", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", accept = "frequency" }},
"#
        )
    };
    let route = |name: &str, policy: &str, format: &str| {
        format!(
            r#"
[[route]]
name = "{name}"
path = "/{name}"
methods = ["POST"]
backend = "sink"
domain = "improvement"
request = "{policy}"
response = "pass"
format = "{format}"
stream = true
"#
        )
    };
    format!(
        r#"
[backend.sink]
urls = ["http://{address}"]
region = "GB"
{lines}{array}{object}
[policy.records]
unlisted = "keep"
rules = [{records}]

[policy.document]
unlisted = "keep"
record = "unbounded"
rules = [{document}]
"#,
        address = sink.address,
        lines = route("lines", "records", "ndjson"),
        array = route("array", "records", "json"),
        object = route("object", "document", "json"),
        records = rules("$"),
        document = rules("$.records[*]"),
    )
}
