//! Items 10 and 11: files through `cryptonym feed`, beside a real vault: formats, compressions,
//! trees, records left out, kills and resumption, manifests, small cohorts.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::coding::{Coding, Decoder, Encoder};
use cryptonym::local::generate::Generator;
use cryptonym::local::processes::{Ended, pause};
use cryptonym::local::random::SplitMix64;
use serde_json::Value;

mod support {
    pub mod installation;
    pub mod leak;
}
use support::installation::{Installation, executable};
use support::leak::LeakSearch;

const SEED: u64 = 10;

const POLICIES: &str = r#"
[policy.people]
unlisted = "reject"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.email", category = "contact", action = "pseudonym", kind = "email" },
  { at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" },
  { at = "$.kit_id", category = "test", action = "pseudonym", kind = "kit" },
  { at = "$.name", category = "identity", action = "drop" },
  { at = "$.date_of_birth", category = "identity", action = "generalise", to = "year" },
  { at = "$.postcode", category = "contact", action = "generalise", to = "outward-postcode" },
  { at = "$.sex", category = "test", action = "keep" },
  { at = "$.note", category = "test", action = "keep" },
]

[policy.careless]
unlisted = "reject"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber" },
  { at = "$.email", category = "contact", action = "keep" },
]

[policy.numbered]
unlisted = "drop"
rules = [
  { at = "$[0]", category = "identity", action = "pseudonym", kind = "subscriber" },
  { at = "$[2]", category = "test", action = "keep" },
]
"#;

/// Dates by another number of days than a route of the same domain.
const SHIFTS: &str = r#"
[backend.results]
urls = ["http://127.0.0.1:1"]
region = "GB"

[[route]]
name = "visits"
host = "localhost"
path = "/visits"
backend = "results"
domain = "improvement"
request = "visits"

[policy.visits]
unlisted = "drop"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.seen", category = "test", action = "date-shift", days = 30 },
]

[policy.later]
unlisted = "drop"
rules = [
  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.seen", category = "test", action = "date-shift", days = 60 },
]
"#;

const COLUMNS: [&str; 9] = [
    "subscriber_id",
    "email",
    "nhs_number",
    "kit_id",
    "name",
    "date_of_birth",
    "postcode",
    "sex",
    "note",
];

struct House {
    installation: Installation,
}

impl House {
    fn new() -> Self {
        let mut installation = Installation::prepare(&format!("{POLICIES}{SHIFTS}"));
        // No gateway runs here, and none is configured: a feed's machine.
        let config = std::fs::read_to_string(installation.config()).unwrap();
        let (start, end) = (
            config.find("[gateway]").unwrap(),
            config.find("[vault]").unwrap(),
        );
        let vault = installation.vault_address.port();
        let feed = format!(
            "[feed]\nvault = {{ address = \"https://127.0.0.1:{vault}\", certificate = \
             \"certs/out/gateway-link.pem\", key = \"certs/out/gateway-link.key\", ca = \
             \"certs/out/vault-ca.pem\" }}\n"
        );
        let config = format!("{}{feed}{}", &config[..start], &config[end..]);
        std::fs::write(installation.config(), config).unwrap();
        installation.start_vault();
        std::fs::create_dir(installation.folder().join("out")).unwrap();
        Self { installation }
    }

    /// A file that is no output of ours.
    fn input(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.installation.folder().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn out(&self, name: &str) -> PathBuf {
        self.installation.folder().join("out").join(name)
    }

    fn arguments(&self, policy: &str, input: &Path, out: &Path, more: &[&str]) -> Vec<String> {
        let words = ["feed", "--policy", policy, "--domain", "improvement"];
        let paths = [input.to_str().unwrap(), "-o", out.to_str().unwrap()];
        let all = words.iter().chain(&paths).chain(more);
        all.map(|word| (*word).to_owned()).collect()
    }

    fn feed(&self, policy: &str, input: &Path, out: &Path, more: &[&str]) -> Ended {
        let arguments = self.arguments(policy, input, out, more);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.installation.cryptonym(&arguments)
    }

    /// For what must work: the manifest.
    fn done(&self, policy: &str, input: &Path, out: &Path, more: &[&str]) -> Value {
        let more: Vec<_> = more.iter().chain(&["--json"]).copied().collect();
        let ended = self.feed(policy, input, out, &more);
        assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// For what must be refused: the exit code and what was said.
    fn refused(&self, policy: &str, input: &Path, out: &Path, more: &[&str]) -> (i32, String) {
        let mut command = executable();
        command
            .args(self.arguments(policy, input, out, more))
            .arg("--config")
            .arg(self.installation.config());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }
}

/// Fields of record `n`, in the order of [`COLUMNS`].
fn person(n: u64) -> [String; 9] {
    let record = Generator::new(SEED).result_record(n);
    let person = record.subscriber;
    [
        person.subscriber_id,
        person.email,
        person.nhs_number,
        record.kit_id,
        person.name,
        person.date_of_birth,
        person.postcode,
        person.sex.to_owned(),
        format!("seen \"twice\", row {n}"),
    ]
}

fn csv(records: std::ops::Range<u64>) -> String {
    let mut out = COLUMNS.join(",") + "\n";
    for n in records {
        let fields = person(n).map(|field| match field.contains(['"', ',']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field,
        });
        out += &(fields.join(",") + "\n");
    }
    out
}

fn ndjson_line(n: u64) -> String {
    let members: Vec<_> = COLUMNS
        .iter()
        .zip(person(n))
        .map(|(name, value)| format!("{}: {}", Value::from(*name), Value::from(value)))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn ndjson(records: std::ops::Range<u64>) -> String {
    records.map(|n| ndjson_line(n) + "\n").collect()
}

fn decoded(path: &Path, coding: Coding) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let (mut decoder, mut out) = (Decoder::new(&[coding]).unwrap(), Vec::new());
    decoder.push(&mut &bytes[..], &mut out, 1 << 30).unwrap();
    decoder.finish().unwrap();
    out
}

fn read(path: &Path) -> String {
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

/// Rows as maps, whatever the format.
fn rows_of_csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn rows_of_ndjson(text: &str) -> Vec<BTreeMap<String, String>> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn formats_10_a_tree_of_every_format_and_compression_is_rewritten_alike() {
    let house = House::new();
    let (rows, lines) = (csv(0..300), ndjson(0..300));
    let coded = |coding, text: &str| Encoder::whole(&[coding], text.as_bytes()).unwrap();
    house.input("plain.csv", rows.as_bytes());
    house.input("deep/er/a.csv.gz", &coded(Coding::Gzip, &rows));
    house.input("deep/b.csv.zst", &coded(Coding::Zstd, &rows));
    house.input("lines.ndjson", lines.as_bytes());
    house.input("lines.jsonl.gz", &coded(Coding::Gzip, &lines));
    let array = format!("[\n{}\n]\n", lines.trim_end().replace('\n', ",\n"));
    house.input("array.json", array.as_bytes());
    // What the test's own data looks like as TSV: no tab, no backslash in it.
    let tabs: Vec<_> = (0..300).map(|n| person(n).join("\t")).collect();
    let tabs = format!("{}\n{}\n", COLUMNS.join("\t"), tabs.join("\n"));
    house.input("tabs.tsv", tabs.as_bytes());

    let (folder, out) = (house.installation.folder().join("in"), house.out("tree"));
    let manifest = house.done("people", &folder, &out, &[]);
    assert_eq!(manifest["counts"]["records"], 7 * 300);
    assert_eq!(manifest["files"].as_array().unwrap().len(), 7);

    let plain = rows_of_csv(&read(&out.join("plain.csv")));
    assert_eq!(plain.len(), 300);
    for (n, row) in plain.iter().enumerate() {
        let was = person(n as u64);
        assert!(row["subscriber_id"].starts_with("sub_1_") && row["email"].starts_with("eml_1_"));
        assert_eq!(row["date_of_birth"], was[5][..4]);
        assert_eq!((&row["sex"], &row["note"]), (&was[7], &was[8]));
        assert!(!row.contains_key("name"));
    }
    let all = [
        rows_of_csv(
            &String::from_utf8(decoded(&out.join("deep/er/a.csv.gz"), Coding::Gzip)).unwrap(),
        ),
        rows_of_csv(
            &String::from_utf8(decoded(&out.join("deep/b.csv.zst"), Coding::Zstd)).unwrap(),
        ),
        rows_of_ndjson(&read(&out.join("lines.ndjson"))),
        rows_of_ndjson(
            &String::from_utf8(decoded(&out.join("lines.jsonl.gz"), Coding::Gzip)).unwrap(),
        ),
        serde_json::from_str(&read(&out.join("array.json"))).unwrap(),
    ];
    assert!(all.iter().all(|rows| *rows == plain));
    let tabs = read(&out.join("tabs.tsv"));
    let second = tabs.lines().nth(1).unwrap().split('\t').next().unwrap();
    assert_eq!(second, plain[0]["subscriber_id"]);

    // One file, another compression; and a run that is the same gives the same bytes.
    let input = house.input("one.csv.gz", &coded(Coding::Gzip, &rows));
    house.done("people", &input, &house.out("one.csv.zst"), &[]);
    let again = decoded(&house.out("one.csv.zst"), Coding::Zstd);
    assert!(again == std::fs::read(out.join("plain.csv")).unwrap());
    // A new version of a tree replaces the old one whole.
    std::fs::remove_file(folder.join("tabs.tsv")).unwrap();
    house.done("people", &folder, &out, &["--force"]);
    assert!(!out.join("tabs.tsv").exists() && out.join("plain.csv").exists());
    let left = std::fs::read_dir(house.out("")).unwrap();
    let left: Vec<_> = left
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !left.iter().any(|name| name.contains("cryptonym")),
        "{left:?}"
    );
}

#[test]
fn formats_10_standard_input_goes_to_standard_output() {
    let house = House::new();
    let text = csv(0..50)
        .replace(',', ";")
        .replace("\"seen \"\"twice\"\"; row", "\"row");
    let mut command = executable();
    let (dash, more) = (Path::new("-"), ["--format", "csv", "--delimiter", ";"]);
    command
        .args(house.arguments("people", dash, dash, &more))
        .arg("--config")
        .arg(house.installation.config());
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(out.lines().count(), 51);
    assert!(
        out.lines().nth(1).unwrap().starts_with("sub_1_"),
        "the data, and nothing else"
    );
    assert!(said.contains("records       50"), "{said}");
    assert!(!said.contains('\u{1b}'), "no progress where nobody looks");

    let nameless = ["--format", "csv", "--resume"];
    let (code, said) = house.refused("people", dash, dash, &nameless);
    assert_eq!(code, 4);
    assert!(said.contains("cannot be gone on with"), "{said}");
}

#[test]
fn formats_10_what_does_not_go_together_is_refused_before_anything_is_read() {
    let house = House::new();
    let input = house.input("a.csv", csv(0..3).as_bytes());
    let out = house.out("a.csv");
    let cases: [(&str, &[&str], i32, &str); 6] = [
        ("later", &[], 3, "the time between them would be lost"),
        (
            "careless",
            &[],
            3,
            "$.email: category `contact` may not flow in clear",
        ),
        ("nobody", &[], 3, "It has: people, careless, numbered"),
        ("numbered", &[], 3, "columns go by their names"),
        (
            "people",
            &["--k", "5", "--quasi", "age"],
            3,
            "lets no such place out",
        ),
        (
            "people",
            &["--k", "5", "--quasi", "name"],
            3,
            "lets no such place out",
        ),
    ];
    for (policy, more, code, said) in cases {
        let (ended, text) = house.refused(policy, &input, &out, more);
        assert!(
            ended == code && text.contains(said),
            "{policy}: {ended} {text}"
        );
    }
    let (code, said) = house.refused("people", &input, &house.out("a.json"), &[]);
    assert!(code == 4 && said.contains("does not convert"), "{said}");
    let odd = house.input("a.xlsx", b"PK");
    let (code, said) = house.refused("people", &odd, &house.out("b.xlsx"), &[]);
    assert!(code == 4 && said.contains("--format"), "{said}");
    assert_eq!(std::fs::read_dir(house.out("")).unwrap().count(), 0);
    // Columns by number.
    let bare = house.input(
        "bare.csv",
        b"SUB-00000001,secret,7\nSUB-00000002,secret,8\n",
    );
    let rows = house.out("bare.csv");
    house.done("numbered", &bare, &rows, &["--no-header"]);
    let text = read(&rows);
    assert!(text.starts_with("sub_1_") && text.contains(",7\n") && !text.contains("secret"));
}

#[test]
fn formats_10_a_fault_leaves_nothing_and_an_output_is_not_replaced_unasked() {
    let house = House::new();
    let mut text = ndjson(0..1000);
    text += &ndjson_line(5000).replace("nhs_number\": \"", "nhs_number\": \"123canary");
    let input = house.input("a.ndjson", text.as_bytes());
    let out = house.out("a.ndjson");
    let (code, said) = house.refused("people", &input, &out, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("not-normal") && said.contains("$.nhs_number"),
        "{said}"
    );
    assert!(
        said.contains("(byte ") && !said.contains("canary"),
        "{said}"
    );
    assert!(!out.exists() && !house.out("a.ndjson.manifest.json").exists());

    let good = house.input("b.ndjson", ndjson(0..10).as_bytes());
    // What was begun is gone: the corrected file is no other run.
    house.done("people", &good, &out, &[]);
    let long = house.input("k.ndjson", ndjson(0..6000).as_bytes());
    let killed = house.out("k.ndjson");
    killed_behind_a_checkpoint(&house, &long, &killed, &["--checkpoint", "64KiB"]);
    let (code, said) = house.refused("people", &long, &killed, &[]);
    assert!(
        code == 4 && said.contains("--resume") && said.contains("--force"),
        "{said}"
    );
    house.done("people", &good, &out, &["--force"]);
    let before = read(&out);
    let (code, said) = house.refused("people", &good, &out, &[]);
    assert!(code == 4 && said.contains("is there already"), "{said}");
    assert_eq!(read(&out), before);
    // What has finished is not done again.
    let ended = house.feed("people", &good, &out, &["--resume"]);
    assert!(
        ended.success && ended.stdout.contains("finished before"),
        "{}",
        ended.stdout
    );
}

/// What is asked for decides: a finished run is no answer to another question, nor one of other
/// bytes.
#[test]
fn formats_10_a_run_goes_on_only_as_it_was_asked_for() {
    let house = House::new();
    let input = house.input("a.ndjson", ndjson(0..50).as_bytes());
    let out = house.out("a.ndjson");
    house.done("people", &input, &out, &[]);
    let cohorts = [
        "--resume", "--k", "2", "--quasi", "sex", "--small", "suppress",
    ];
    let (code, said) = house.refused("people", &input, &out, &cohorts);
    assert!(
        code == 4 && said.contains("asked for another thing"),
        "{said}"
    );
    let rejects = house.out("a.rejects");
    let with = ["--resume", "--rejects", rejects.to_str().unwrap()];
    let (_, said) = house.refused("people", &input, &out, &with);
    assert!(said.contains("asked for another thing"), "{said}");
    std::fs::write(&input, ndjson(0..51)).unwrap();
    let (code, said) = house.refused("people", &input, &out, &["--resume"]);
    assert!(code == 1 && said.contains("is another than when"), "{said}");

    let long = house.input("k.ndjson", ndjson(0..6000).as_bytes());
    let killed = house.out("k.ndjson");
    let asked = ["--checkpoint", "64KiB", "--k", "2", "--quasi", "sex"];
    killed_behind_a_checkpoint(&house, &long, &killed, &asked);
    let (_, said) = house.refused(
        "people",
        &long,
        &killed,
        &["--checkpoint", "64KiB", "--resume"],
    );
    assert!(said.contains("--k, --quasi or --small"), "{said}");
}

#[test]
fn formats_10_nothing_is_written_over_that_no_feed_has_made() {
    let house = House::new();
    let text = ndjson(0..5);
    let input = house.input("a.ndjson", text.as_bytes());
    let (_, said) = house.refused("people", &input, &input, &["--force"]);
    assert!(said.contains("not written over"), "{said}");
    let out = house.out("b.ndjson");
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    for rejects in [
        name(&input),
        name(&out),
        format!("{}.manifest.json", name(&out)),
    ] {
        let (_, said) = house.refused("people", &input, &out, &["--force", "--rejects", &rejects]);
        assert!(said.contains("Name another file"), "{said}");
    }
    assert_eq!(read(&input), text);
    assert!(!out.exists());

    // A folder, by the name that people write; again; and with a file of somebody else's in it.
    let folder = input.parent().unwrap().join("tree");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.ndjson"), &text).unwrap();
    let released = house.out("released");
    std::fs::create_dir(&released).unwrap();
    let slash = PathBuf::from(format!("{}/", name(&released)));
    house.done("people", &folder, &slash, &[]);
    house.done("people", &folder, &slash, &["--force"]);
    std::fs::write(released.join("precious.txt"), "mine").unwrap();
    let (_, said) = house.refused("people", &folder, &released, &["--force"]);
    assert!(said.contains("precious.txt is not from a feed"), "{said}");
    assert_eq!(read(&released.join("precious.txt")), "mine");

    // A link in the way of what is written is not followed.
    let victim = house.out("victim");
    std::fs::write(&victim, "mine").unwrap();
    let linked = house.out("rejects");
    std::os::unix::fs::symlink(&victim, &linked).unwrap();
    let ended = house.feed(
        "people",
        &input,
        Path::new("-"),
        &["--force", "--rejects", &name(&linked)],
    );
    assert!(
        !ended.success && read(&victim) == "mine",
        "{}",
        ended.stderr
    );

    // A name that is wrong leaves nothing behind.
    let missing = input.parent().unwrap().join("none.ndjson");
    let out = house.out("c.ndjson");
    house.refused("people", &missing, &out, &[]);
    house.done("people", &input, &out, &[]);
}

/// What the rejects say: record, code, place.
fn rejects(path: &Path) -> Vec<(u64, String, String)> {
    let lines = read(path);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
            (
                line["record"].as_u64().unwrap(),
                text("code"),
                text("place"),
            )
        })
        .collect()
}

#[test]
fn formats_10_bad_lines_are_left_out_and_all_others_are_there() {
    let house = House::new();
    let bad: HashMap<u64, (String, &str)> = HashMap::from([
        (
            0,
            ("{\"subscriber_id\": tru".to_owned(), "malformed-ndjson"),
        ),
        (
            17,
            (
                ndjson_line(17).replace("{", "{\"canary-name\": 1, "),
                "unlisted-place",
            ),
        ),
        (18, ("}{ canary".to_owned(), "malformed-json")),
        (
            1900,
            (
                ndjson_line(1900).replace("email\": \"", "email\": \"@canary@"),
                "not-normal",
            ),
        ),
        (
            2500,
            (
                format!("{{\"note\": \"{}\"}}", "canary".repeat(300_000)),
                "record-too-large",
            ),
        ),
        (
            3999,
            ("{\"subscriber_id\": \"canary".to_owned(), "truncated"),
        ),
    ]);
    let line = |n: u64| {
        bad.get(&n)
            .map_or_else(|| ndjson_line(n), |(line, _)| line.clone())
    };
    let all: Vec<_> = (0..4000).map(line).collect();
    let input = house.input("a.ndjson", all.join("\n").as_bytes());
    let good: String = (0..4000)
        .filter(|n| !bad.contains_key(n))
        .map(|n| ndjson_line(n) + "\n")
        .collect();
    let filtered = house.input("good.ndjson", good.as_bytes());

    let (out, left_out) = (house.out("a.ndjson"), house.out("left-out.ndjson"));
    let with = ["--rejects", left_out.to_str().unwrap()];
    let manifest = house.done("people", &input, &out, &with);
    let expected = house.done("people", &filtered, &house.out("good.ndjson"), &[]);
    assert!(read(&out) == read(&house.out("good.ndjson")));
    assert_eq!(manifest["counts"]["records"], 4000 - 6);
    assert_eq!(manifest["counts"]["rejected"], 6);
    for name in ["replaced", "rules"] {
        assert_eq!(manifest["counts"][name], expected["counts"][name], "{name}");
    }
    let found = rejects(&left_out);
    let mut wanted: Vec<_> = bad.iter().map(|(n, (_, code))| (n + 1, *code)).collect();
    wanted.sort_unstable();
    let codes: Vec<_> = found
        .iter()
        .map(|(n, code, _)| (*n, code.as_str()))
        .collect();
    // A last line that is cut is either.
    let codes: Vec<_> = codes
        .into_iter()
        .map(|(n, c)| (n, if n == 4000 { "truncated" } else { c }))
        .collect();
    assert_eq!(codes, wanted);
    assert!(found.iter().any(|(_, _, place)| place == "$.email"));
    assert!(!read(&left_out).contains("canary"));
    // Offsets are those of the records.
    let text = read(&input);
    for line in read(&left_out).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let at = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap();
        let start: usize = all[..at("record") - 1].iter().map(|l| l.len() + 1).sum();
        assert_eq!(at("offset"), start);
        assert!(at("fault") >= start && at("fault") <= text.len());
    }
}

#[test]
fn formats_10_bad_rows_are_left_out_and_a_broken_quote_does_not_open_what_is_in_it() {
    let house = House::new();
    let mut rows: Vec<String> = csv(0..3000).lines().map(str::to_owned).collect();
    let good = rows.clone();
    // Rows count from 1 behind the header, as the file's lines do from 0.
    rows[10] = rows[10].replacen("SUB-", "SUB canary-", 1);
    rows[20] = rows[20].replacen(',', ",x\"canary\"y", 1);
    rows[2000] += ",canary,more";
    // The quoted note goes over lines that look like rows of another file, and breaks off.
    rows[2500] = rows[2500].replace("\"seen", "\"seen\nM,canary\nF,canary\nx");
    let broken = rows[2500].replacen("\"\"twice\"\"", "\"twice\"", 1);
    rows[2500] = broken;
    let input = house.input("a.csv", (rows.join("\n") + "\n").as_bytes());
    let (out, left_out) = (house.out("a.csv"), house.out("left-out.ndjson"));
    let manifest = house.done(
        "people",
        &input,
        &out,
        &["--rejects", left_out.to_str().unwrap()],
    );
    let found = rejects(&left_out);
    assert!(!read(&left_out).contains("canary"));
    let codes: Vec<_> = found
        .iter()
        .map(|(n, code, _)| (*n, code.as_str()))
        .collect();
    assert_eq!(
        codes[..4],
        [
            (10, "not-normal"),
            (20, "malformed-csv"),
            (2000, "unlisted-place"),
            (2500, "malformed-csv")
        ]
    );
    let without: Vec<_> = good
        .iter()
        .enumerate()
        .filter(|(n, _)| ![10, 20, 2000, 2500].contains(n))
        .map(|(_, row)| row.as_str())
        .collect();
    let clean = house.input("clean.csv", (without.join("\n") + "\n").as_bytes());
    house.done("people", &clean, &house.out("clean.csv"), &[]);
    assert!(
        read(&out) == read(&house.out("clean.csv")),
        "the others are there, and only they"
    );
    assert_eq!(manifest["counts"]["records"], 2996);

    // A document cannot be cut, and a header cannot be missed.
    let document = house.input("a.json", b"[{\"note\": \"a\"}, {\"canary\": 1}]");
    let more = ["--rejects", left_out.to_str().unwrap(), "--force"];
    let (code, said) = house.refused("people", &document, &house.out("a.json"), &more);
    assert!(
        code == 1 && said.contains("NDJSON") && !said.contains("canary"),
        "{said}"
    );
    let header = house.input("h.csv", b"subscriber_id,canary\nSUB-00000001,1\n");
    let (code, said) = house.refused("people", &header, &house.out("h.csv"), &more);
    assert!(code == 1 && said.contains("header row"), "{said}");
}

/// Runs and kills until `kills` have hit; then lets it end. Gives the manifest and how many of the
/// kills found a run that was in the middle of it.
fn run_with_kills(
    house: &House,
    (input, out): (&Path, &Path),
    more: &[&str],
    kills: u32,
    (random, longest): (&mut SplitMix64, Duration),
) -> (Value, u32) {
    let more: Vec<_> = more
        .iter()
        .chain(&["--resume", "--json"])
        .copied()
        .collect();
    let mut hit = 0;
    for _ in 0..kills {
        let mut command = executable();
        command
            .args(house.arguments("people", input, out, &more))
            .arg("--config")
            .arg(house.installation.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let wait = random.below(u64::try_from(longest.as_micros()).unwrap());
        let end = Instant::now() + Duration::from_micros(wait);
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            pause(Duration::from_micros(200));
        }
        let _ = child.kill();
        let status = child.wait().unwrap();
        let journal = PathBuf::from(format!("{}.cryptonym-journal", out.display()));
        hit += u32::from(status.code().is_none() && journal.exists());
    }
    let ended = house.feed("people", input, out, &more);
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
    (serde_json::from_str(&ended.stdout).unwrap(), hit)
}

#[test]
fn formats_10_killed_anywhere_and_resumed_the_output_is_the_same() {
    let house = House::new();
    let mut lines: Vec<_> = (0..9000).map(ndjson_line).collect();
    for n in [3, 2500, 2501, 7000] {
        lines[n] = format!("{{\"oops-{n}");
    }
    let lines = lines.join("\n") + "\n";
    let rows = csv(0..9000);
    house.input("tree/a.csv", rows.as_bytes());
    house.input(
        "tree/b.ndjson.gz",
        &Encoder::whole(&[Coding::Gzip], lines.as_bytes()).unwrap(),
    );
    house.input("tree/c.json", format!("[{}]", ndjson_line(1)).as_bytes());
    let inputs = house.installation.folder().join("in");
    let lines = house.input("lines.ndjson", lines.as_bytes());
    let cases: [(&str, PathBuf, &str); 3] = [
        ("csv", inputs.join("tree/a.csv"), "x.csv"),
        ("zstd", lines, "x.ndjson.zst"),
        ("tree", inputs.join("tree"), "tree"),
    ];
    let rounds = if std::env::var_os("CRYPTONYM_LONG").is_some() {
        100
    } else {
        8
    };
    let mut random = SplitMix64::new(SEED);
    let mut hits = 0;
    for (what, input, name) in cases {
        let whole = house.out(&format!("whole-{name}"));
        let left_out = house.out(&format!("{what}-left-out.ndjson"));
        let more = [
            "--checkpoint",
            "64KiB",
            "--rejects",
            left_out.to_str().unwrap(),
        ];
        let start = Instant::now();
        let expected = house.done("people", &input, &whole, &more);
        let longest = start.elapsed();
        let wanted_rejects = read(&left_out);
        for round in 0..rounds {
            let out = house.out(&format!("{round}-{name}"));
            std::fs::remove_file(&left_out).unwrap();
            let kills = 1 + random.below(4) as u32;
            let timing = (&mut random, longest);
            let (manifest, hit) = run_with_kills(&house, (&input, &out), &more, kills, timing);
            hits += hit;
            for (at, file) in expected["files"].as_array().unwrap().iter().enumerate() {
                let ours = &manifest["files"][at];
                assert_eq!(
                    ours["output"]["sha256"], file["output"]["sha256"],
                    "{what} {round}"
                );
                assert_eq!(ours["input"]["sha256"], file["input"]["sha256"]);
                assert_eq!(ours["records"], file["records"]);
            }
            for name in ["records", "rejected", "replaced", "rules"] {
                assert_eq!(
                    manifest["counts"][name], expected["counts"][name],
                    "{what} {name}"
                );
            }
            assert_eq!(read(&left_out), wanted_rejects, "{what} {round}");
            let manifest = format!("{}.manifest.json", out.display());
            house.installation.expect(&["feed", "verify", &manifest]);
        }
    }
    println!("{hits} kills left a journal");
    assert!(hits > 0, "no kill hit a run");
}

/// Kills a run once it has two checkpoints. Gives what it said.
fn killed_behind_a_checkpoint(house: &House, input: &Path, out: &Path, more: &[&str]) -> String {
    let journal = PathBuf::from(format!("{}.cryptonym-journal", out.display()));
    let mut command = executable();
    command
        .args(house.arguments("people", input, out, more))
        .arg("--config")
        .arg(house.installation.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let checkpoints = || {
        let text = std::fs::read_to_string(&journal);
        text.is_ok_and(|text| text.matches("\"checkpoint\"").count() > 1)
    };
    while !checkpoints() && Instant::now() < end && child.try_wait().unwrap().is_none() {
        pause(Duration::from_micros(100));
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    assert!(checkpoints(), "it ended before it could be killed");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn formats_10_what_has_changed_is_not_gone_on_with() {
    let house = House::new();
    let input = house.input("a.csv", csv(0..6000).as_bytes());
    let out = house.out("a.csv");
    let more = ["--checkpoint", "64KiB"];
    let journal = house.out("a.csv.cryptonym-journal");
    killed_behind_a_checkpoint(&house, &input, &out, &more);
    let kept = read(&journal);
    let resume = ["--checkpoint", "64KiB", "--resume"];
    // Another input.
    let mut bytes = std::fs::read(&input).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&input, &bytes).unwrap();
    let (code, said) = house.refused("people", &input, &out, &resume);
    assert!(code == 1 && said.contains("has changed since"), "{said}");
    bytes[200] ^= 1;
    std::fs::write(&input, &bytes).unwrap();
    // Other options.
    let (code, said) = house.refused("people", &input, &out, &["--resume"]);
    assert!(code == 1 && said.contains("--checkpoint"), "{said}");
    // An output that somebody wrote to.
    let part = house.out("a.csv.cryptonym-part");
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    let (code, said) = house.refused("people", &input, &out, &resume);
    assert!(
        code == 4 && said.contains("not what its journal says"),
        "{said}"
    );
    bytes[100] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    assert_eq!(read(&journal), kept);
    // The vault is gone; and is there again.
    let mut house = house;
    house.installation.kill_vault();
    let (code, said) = house.refused("people", &input, &out, &resume);
    assert!(code == 5 && said.contains("no lease"), "{code} {said}");
    house.installation.start_vault();
    let manifest = house.done("people", &input, &out, &resume);
    assert_eq!(manifest["resumed"], true);
    assert_eq!(manifest["counts"]["records"], 6000);
}

#[test]
fn formats_10_the_manifest_says_what_was_made_of_what() {
    let house = House::new();
    let input = house.input("a.csv", csv(0..100).as_bytes());
    let out = house.out("a.csv");
    let printed = house.done("people", &input, &out, &[]);
    let path = house.out("a.csv.manifest.json");
    let manifest: Value = serde_json::from_str(&read(&path)).unwrap();
    assert_eq!(printed, manifest);
    let sum = |path: &Path| {
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    let file = &manifest["files"][0];
    assert_eq!(file["input"]["sha256"], sum(&input));
    assert_eq!(file["output"]["sha256"], sum(&out));
    assert_eq!(
        file["output"]["bytes"],
        std::fs::metadata(&out).unwrap().len()
    );
    assert_eq!(
        manifest["configuration_sha256"],
        sum(&house.installation.config())
    );
    assert_eq!(manifest["policy"]["name"], "people");
    assert_eq!(manifest["domain"]["name"], "improvement");
    assert_eq!(manifest["domain"]["epoch"], 1);
    assert_eq!(manifest["purpose"], "develop-and-improve");
    // As far as the vault's log has come: the lease is in it.
    let log = &manifest["log"];
    assert!(log["size"].as_u64().unwrap() >= 1);
    let checkpoint = log["checkpoint"].as_str().unwrap();
    assert!(checkpoint.contains(log["root"].as_str().unwrap()));
    let rule = |at: &str| {
        let rules = manifest["rules"].as_array().unwrap();
        rules.iter().find(|rule| rule["at"] == at).unwrap()["count"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        (rule("$.email"), rule("$.name"), rule("$.date_of_birth")),
        (100, 100, 100)
    );
    let first_sights = manifest["counts"]["first_sights"].as_u64().unwrap();
    let distinct: std::collections::HashSet<_> = (0..100)
        .flat_map(|n| (0..4).map(move |column| (column, person(n)[column].clone())))
        .collect();
    assert_eq!(first_sights, distinct.len() as u64);

    let verify = |more: &[&str]| {
        let words = ["feed", "verify", path.to_str().unwrap()];
        let all: Vec<_> = words.iter().chain(more).copied().collect();
        house.installation.cryptonym(&all)
    };
    assert!(verify(&[]).stdout.contains("holds"));
    std::fs::rename(&input, house.out("moved.csv")).unwrap();
    assert!(verify(&[]).stdout.contains("not here, not checked"));
    let elsewhere = verify(&["--inputs", house.out("").to_str().unwrap()]);
    // There is a file of this name, and it is the output.
    assert!(
        !elsewhere.success && elsewhere.stderr.contains("1 of 2"),
        "{}",
        elsewhere.stderr
    );
    let whole = std::fs::read(&out).unwrap();
    for (bytes, said) in [
        (whole[..whole.len() - 1].to_vec(), "cut"),
        ([&whole[..], b"\n"].concat(), "longer"),
        (
            whole
                .iter()
                .map(|b| if *b == b'F' { b'M' } else { *b })
                .collect(),
            "changed",
        ),
    ] {
        std::fs::write(&out, bytes).unwrap();
        let ended = verify(&[]);
        assert!(
            !ended.success && ended.stdout.contains(said),
            "{}",
            ended.stdout
        );
        assert!(ended.stderr.contains("make them again"), "{}", ended.stderr);
    }
    std::fs::remove_file(&out).unwrap();
    assert!(verify(&[]).stdout.contains("not there"));
}

/// Sizes of cohorts of (sex, year, outward postcode).
fn cohorts(rows: &[BTreeMap<String, String>]) -> HashMap<[String; 3], u64> {
    let mut sizes = HashMap::new();
    for row in rows {
        *sizes.entry(quasi(row)).or_default() += 1;
    }
    sizes
}

fn quasi(row: &BTreeMap<String, String>) -> [String; 3] {
    ["sex", "date_of_birth", "postcode"].map(|name| row[name].clone())
}

#[test]
fn formats_11_small_cohorts_are_reported_suppressed_or_generalised() {
    let house = House::new();
    // Few years and places, so that some cohorts are large.
    let coarse = |n: u64| {
        let mut fields = person(n);
        fields[5] = format!("19{}0-01-01", 6 + n % 3);
        fields[6] = ["CF17 2EJ", "M1 1AE", "SW1A 1AA"][(n * n % 7 % 3) as usize].to_owned();
        if n.is_multiple_of(97) {
            fields[5] = format!("19{:02}-03-04", n % 50);
        }
        fields.map(|field| match field.contains(['"', ',']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field,
        })
    };
    let rows: Vec<_> = (0..2000).map(|n| coarse(n).join(",")).collect();
    let text = format!("{}\n{}\n", COLUMNS.join(","), rows.join("\n"));
    let input = house.input("a.csv", text.as_bytes());
    let plain = house.out("plain.csv");
    let more = ["--k", "5", "--quasi", "sex,date_of_birth,$.postcode"];
    let (code, said) = house.refused("people", &input, &plain, &more);
    assert!(code == 1 && said.contains("fewer than 5"), "{said}");
    let manifest: Value =
        serde_json::from_str(&read(&house.out("plain.csv.manifest.json"))).unwrap();
    let all = rows_of_csv(&read(&plain));
    let sizes = cohorts(&all);
    let small = |row: &BTreeMap<String, String>| sizes[&quasi(row)] < 5;
    let below = all.iter().filter(|row| small(row)).count();
    let found = &manifest["cohorts"];
    assert!(below > 5 && below < 500, "{below}");
    assert_eq!(found["records"], 2000);
    assert_eq!(found["cohorts"], sizes.len());
    assert_eq!(found["smallest"], *sizes.values().min().unwrap());
    assert_eq!(
        found["below"],
        sizes.values().filter(|size| **size < 5).count()
    );
    assert_eq!(found["records_below"], below);

    let suppressed = house.out("suppressed.csv.gz");
    let with: Vec<_> = more
        .iter()
        .chain(&["--small", "suppress"])
        .copied()
        .collect();
    let manifest = house.done("people", &input, &suppressed, &with);
    let kept = String::from_utf8(decoded(&suppressed, Coding::Gzip)).unwrap();
    let lines = read(&plain);
    let wanted: Vec<_> = all
        .iter()
        .zip(lines.lines().skip(1))
        .filter(|(row, _)| !small(row))
        .collect();
    let wanted: String = wanted.iter().map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(kept, format!("{}\n{wanted}", lines.lines().next().unwrap()));
    assert_eq!(manifest["cohorts"]["suppressed"], below);
    assert!(manifest["cohorts"]["smallest_now"].as_u64().unwrap() >= 5);
    let path = format!("{}.manifest.json", suppressed.display());
    house.installation.expect(&["feed", "verify", &path]);

    let hidden = house.out("hidden.csv");
    let with: Vec<_> = more
        .iter()
        .chain(&["--small", "generalise"])
        .copied()
        .collect();
    house.done("people", &input, &hidden, &with);
    let now = rows_of_csv(&read(&hidden));
    for (row, before) in now.iter().zip(&all) {
        assert_eq!(row["subscriber_id"], before["subscriber_id"]);
        let wanted = if small(before) {
            [const { String::new() }; 3]
        } else {
            quasi(before)
        };
        assert_eq!(quasi(row), wanted);
    }
    assert!(cohorts(&now).values().all(|size| *size >= 5));

    // The same records as lines, over two files: one release is counted as one.
    let lines = |range: std::ops::Range<u64>| -> String {
        let rows = &all[range.start as usize..range.end as usize];
        rows.iter()
            .map(|row| {
                let quasi =
                    ["sex", "date_of_birth", "postcode"].map(|name| (name, row[name].clone()));
                let quasi: BTreeMap<_, _> = quasi.into_iter().collect();
                let mut row = serde_json::to_value(quasi).unwrap();
                row["postcode"] = Value::from(format!("{} 1AA", row["postcode"].as_str().unwrap()));
                row["date_of_birth"] =
                    Value::from(format!("{}-01-01", row["date_of_birth"].as_str().unwrap()));
                format!("{row}\n")
            })
            .collect()
    };
    house.input("two/1.ndjson", lines(0..900).as_bytes());
    house.input("two/2.ndjson", lines(900..2000).as_bytes());
    let with: Vec<_> = more
        .iter()
        .chain(&["--small", "suppress"])
        .copied()
        .collect();
    let two = house.out("two");
    let folder = house.installation.folder().join("in/two");
    let manifest = house.done("people", &folder, &two, &with);
    for name in [
        "cohorts",
        "smallest",
        "below",
        "records_below",
        "suppressed",
    ] {
        let wanted = if name == "suppressed" {
            &found["records_below"]
        } else {
            &found[name]
        };
        assert_eq!(&manifest["cohorts"][name], wanted, "{name}");
    }
    let kept =
        read(&two.join("1.ndjson")).lines().count() + read(&two.join("2.ndjson")).lines().count();
    assert_eq!(kept, 2000 - below);
}

#[test]
fn formats_10_no_identifier_is_left_anywhere() {
    let house = House::new();
    let mut rows: Vec<String> = csv(0..4000).lines().map(str::to_owned).collect();
    for n in [7, 300, 3000] {
        rows[n] = rows[n].replacen("SUB-", "SUB bad-", 1);
    }
    // Outside the folder that is searched.
    let elsewhere = tempfile::tempdir().unwrap();
    let input = elsewhere.path().join("people.csv");
    std::fs::write(&input, rows.join("\n") + "\n").unwrap();
    let left_out = house.out("left-out.ndjson");
    let more = [
        "--rejects",
        left_out.to_str().unwrap(),
        "--checkpoint",
        "64KiB",
        "--k",
        "5",
        "--quasi",
        "sex,date_of_birth,postcode",
    ];
    // A fault leaves nothing; a kill leaves parts and a journal, which are searched too.
    let out = house.out("a.csv");
    let (code, mut said) = house.refused("people", &input, &out, &more[2..4]);
    assert!(code == 1 && said.contains("not-normal"), "{said}");
    assert_eq!(std::fs::read_dir(house.out("")).unwrap().count(), 0);
    said += &killed_behind_a_checkpoint(&house, &input, &out, &more);
    let people: Vec<_> = (0..4000).map(person).collect();
    let needles = people
        .iter()
        .flat_map(|p| [&p[0], &p[1], &p[2], &p[4], &p[6]]);
    let search = LeakSearch::new(needles.map(String::as_str));
    let look = |said: &str| {
        std::fs::write(house.installation.folder().join("said.txt"), said).unwrap();
        search.look(house.installation.folder())
    };
    assert!(
        house.out("a.csv.cryptonym-part").exists() && house.out("a.csv.cryptonym-journal").exists()
    );
    let found = look(&said);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
    let (_, more_said) = house.refused("people", &input, &out, &[&more[..], &["--force"]].concat());
    assert!(out.exists() && left_out.exists(), "{more_said}");
    let found = look(&(said + &more_said));
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
    // And it would have been found.
    let canary = house.installation.folder().join("canary.txt");
    std::fs::write(&canary, format!("x {} y", people[1234][1])).unwrap();
    assert_eq!(search.look(house.installation.folder()).len(), 1);
}
