//! Item 15: a hundred thousand generated records through the gateway into a real ClickHouse, by
//! four clients. Joins on pseudonyms equal joins on originals; no identifier is left anywhere.
//! And item 3's promise about failing bodies, on the same server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptonym::local::generate::{ANALYTES, Generator};
use cryptonym::local::processes::pause;

mod support {
    pub mod clickhouse;
    pub mod influx;
    pub mod installation;
    pub mod leak;
}
use support::clickhouse::{ClickHouse, PERSON};
use support::influx::Influx;
use support::installation::{CA, CLIENT, HOST, Installation};
use support::leak::{self, LeakSearch};

const RECORDS: u64 = 100_000;
const ORDERS: u64 = 10_000;
/// Laboratory lines of the first 10 000 kits.
const LINES: u64 = 10_000 * ANALYTES as u64;

const TABLES: &[&str] = &[
    "CREATE TABLE results (subscriber_id String, name String, email String, nhs_number String,
        date_of_birth String, sex String, ethnicity String, postcode String, phone String,
        kit_id String, provider_id String, collected_at String, ip String)
        ENGINE = MergeTree ORDER BY subscriber_id",
    "CREATE TABLE orders (order_id String, provider_id String, subscriber_id String, email String,
        test String, ordered_at String) ENGINE = MergeTree ORDER BY order_id",
    "CREATE TABLE laboratory (kit_id String, laboratory String, analyte String, value Float64,
        unit String, analysed_at String) ENGINE = MergeTree ORDER BY kit_id",
];

/// Questions whose answers hold no identifier: the same on both sides, or pseudonymising broke
/// what the data is for.
const QUESTIONS: &[&str] = &[
    "SELECT count(), uniqExact(subscriber_id), uniqExact(email), uniqExact(nhs_number),
        uniqExact(name), uniqExact(phone), uniqExact(kit_id), uniqExact(provider_id) FROM results",
    // How many subjects have how many tests.
    "SELECT tests, count() FROM (SELECT count() AS tests FROM results GROUP BY subscriber_id)
        GROUP BY tests ORDER BY tests",
    // Group-by over a vocabulary: the sizes and people of the groups, whatever they are called.
    "SELECT tests, people FROM (SELECT count() AS tests, uniqExact(subscriber_id) AS people
        FROM results GROUP BY ethnicity) ORDER BY tests, people",
    // Two identifiers of one person always stand together.
    "SELECT count() FROM (SELECT subscriber_id, email, nhs_number FROM results
        GROUP BY subscriber_id, email, nhs_number)",
    // Join by subscriber, from another table.
    "SELECT test, count(), uniqExact(subscriber_id) FROM orders
        ALL INNER JOIN (SELECT subscriber_id, kit_id FROM results) USING subscriber_id
        GROUP BY test ORDER BY test",
    // The same by mailbox.
    "SELECT test, count() FROM orders ALL INNER JOIN (SELECT email, kit_id FROM results)
        USING email GROUP BY test ORDER BY test",
    // Join by provider: each side has its own route and policy.
    "SELECT count() FROM orders ALL INNER JOIN (SELECT provider_id, kit_id FROM results)
        USING provider_id",
    // Join by kit with what the laboratory sent.
    "SELECT analyte, count(), round(avg(value), 6) FROM results
        ALL INNER JOIN (SELECT kit_id, analyte, value FROM laboratory) USING kit_id
        GROUP BY analyte ORDER BY analyte",
    // Three tables, two kinds of identifier.
    "SELECT test, analyte, count(), round(sum(value), 4) FROM
        (SELECT test, kit_id FROM orders
            ALL INNER JOIN (SELECT subscriber_id, kit_id FROM results) USING subscriber_id)
        ALL INNER JOIN (SELECT kit_id, analyte, value FROM laboratory) USING kit_id
        GROUP BY test, analyte ORDER BY test, analyte",
];

#[test]
fn path_15_records_through_the_gateway_into_clickhouse_keep_their_joins_and_leave_no_identifier() {
    leak::prove();
    let input = Input::write();
    let backend_folder = tempfile::tempdir().unwrap();
    let originals_folder = tempfile::tempdir().unwrap();
    let analytics = ClickHouse::start(backend_folder.path());
    let originals = ClickHouse::start(originals_folder.path());
    for table in TABLES {
        analytics.query(table);
        originals.query(table);
    }
    for (table, file) in input.all() {
        originals.insert(table, &fs::read(file).unwrap());
    }

    let mut installation = Installation::start(&configuration(&analytics));
    let [one, two, three, four] = &input.results;
    curl(&installation, "--http1.1", "results", one);
    curl(&installation, "--http2", "results", two);
    httpx(&installation, "1.1", "results", &[three]);
    httpx(&installation, "2", "results", &[four]);
    httpx(&installation, "2", "orders", &[&input.orders]);
    curl(&installation, "--http2", "laboratory", &input.laboratory);

    assert_eq!(analytics.number("SELECT count() FROM results"), RECORDS);
    for question in QUESTIONS {
        let (here, there) = (analytics.query(question), originals.query(question));
        assert!(!here.trim().is_empty(), "no answer: {question}");
        assert_eq!(here, there, "{question}");
    }
    // The comparison means something: the columns themselves differ throughout.
    let clear = "SELECT count() FROM results WHERE subscriber_id LIKE 'SUB-%' OR email LIKE '%@%'
        OR length(nhs_number) = 10 OR kit_id LIKE 'KIT-%'";
    assert_eq!(originals.number(clear), RECORDS);
    assert_eq!(analytics.number(clear), 0);
    drop(originals);

    // What the outside may read of the two processes, then an orderly end, then every file.
    let pages = installation.folder().join("pages");
    fs::create_dir(&pages).unwrap();
    for world in ["vault", "gateway"] {
        fs::write(pages.join(world), installation.metrics(world)).unwrap();
    }
    fs::copy(installation.store(), pages.join("running.sqlite")).unwrap();
    let wal = installation.store().with_extension("sqlite-wal");
    fs::copy(&wal, pages.join("running.sqlite-wal")).unwrap();
    installation.stop();

    let search = LeakSearch::new(input.identifiers.iter().map(String::as_str));
    assert!(search.len() > 200_000, "only {} needles", search.len());
    let dump = backend_folder.path().join("dump.tsv");
    plant_canaries(&search, &input, &analytics, &installation, &dump);
    analytics.dump(&dump);
    let rows = fs::read_to_string(&dump).unwrap().lines().count() as u64;
    assert!(
        rows > RECORDS + ORDERS + LINES,
        "the dump has only {rows} lines"
    );
    for place in [backend_folder.path(), installation.folder()] {
        let leaks = search.look(place);
        assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
    }
}

/// A clear identifier in each sort of place must be found there, or finding none means nothing.
fn plant_canaries(
    search: &LeakSearch,
    input: &Input,
    analytics: &ClickHouse,
    installation: &Installation,
    dump: &Path,
) {
    let canary = &input.identifiers[0];
    let found = |place: &Path, what: &str| {
        let leaks = search.look(place);
        assert!(
            leaks.iter().any(|leak| leak.needle == *canary),
            "{what} is not searched"
        );
    };

    // The column store: compressed on disk, so through its own dump.
    analytics.query("CREATE TABLE canary (kit_id String) ENGINE = MergeTree ORDER BY kit_id");
    analytics.insert("canary", format!("{{\"kit_id\":\"{canary}\"}}").as_bytes());
    analytics.dump(dump);
    found(dump, "ClickHouse's dump");
    analytics.query("DROP TABLE canary");
    fs::remove_file(dump).unwrap();

    // Logs, pages and configuration: text files of these very folders.
    for (folder, name) in [
        (analytics.folder.join("logs"), "canary.log"),
        (installation.folder().join("logs"), "canary.log"),
        (installation.folder().join("pages"), "canary"),
        (installation.certs(), "canary.toml"),
    ] {
        let file = folder.join(name);
        fs::write(
            &file,
            format!("2026-11-22T00:00:00Z INFO id={canary} done\n"),
        )
        .unwrap();
        found(&folder, name);
        fs::remove_file(file).unwrap();
    }

    // The vault's database, and its write-ahead log before it is folded in: on a copy.
    let copy = tempfile::tempdir().unwrap();
    let (file, wal) = (
        copy.path().join("copy.sqlite"),
        copy.path().join("copy.sqlite-wal"),
    );
    fs::copy(installation.store(), &file).unwrap();
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database
        .execute_batch("CREATE TABLE canary (it TEXT)")
        .unwrap();
    database
        .execute("INSERT INTO canary VALUES (?1)", [canary])
        .unwrap();
    found(&wal, "the write-ahead log");
    drop(database);
    assert!(!wal.exists(), "closing folds the log in");
    found(&file, "the vault's database");
}

#[test]
fn path_03_a_failing_body_of_the_held_kind_leaves_no_row_in_clickhouse() {
    let folder = tempfile::tempdir().unwrap();
    let analytics = ClickHouse::start(folder.path());
    analytics.query(TABLES[0]);
    let installation = Installation::start(&configuration(&analytics));
    let path = insert_path("results");
    let good: Vec<String> = records(0..20_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = installation.client();
    let mut send = |lines: &[String]| {
        let body = lines.join("\n") + "\n";
        runtime.block_on(client.send("POST", &path, "application/x-ndjson", body))
    };
    let rows = || analytics.number("SELECT count() FROM results");

    // Held: 300 records are below 256 KiB. The last one is wrong, each in another way.
    let no_number = good[0].replace("\"nhs_number\":\"999", "\"nhs_number\":\"998");
    let unlisted = good[0].replace("\"sex\"", "\"religion\"");
    let torn = good[0][..good[0].len() - 9].to_owned();
    for (bad, status) in [(&no_number, 422), (&unlisted, 422), (&torn, 400)] {
        let mut lines = good[..300].to_vec();
        lines.push(bad.clone());
        assert!(lines.join("\n").len() < 256 * 1024);
        let answer = send(&lines).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(problem["code"].is_string(), "{problem}");
        assert_eq!(rows(), 0, "a held body that fails leaves nothing");
    }

    // Streamed: the server commits whole blocks of 1000 rows as they arrive. The tail that it
    // has not committed when the connection is reset never becomes rows: not the block that
    // the wrong record stands in, and none behind it.
    for bad_at in [2_345, 9_999, 19_999] {
        analytics.query("TRUNCATE TABLE results");
        let mut lines = good.clone();
        lines[bad_at].clone_from(&no_number);
        if let Ok(answer) = send(&lines) {
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer.status, 422, "{problem}");
            assert_eq!(problem["partial"], true, "{problem}");
        }
        // The server may still be writing a block that was complete: wait until it has ended.
        while analytics.number("SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'")
            > 0
        {
            pause(std::time::Duration::from_millis(20));
        }
        let rows = rows();
        assert!(
            rows <= bad_at as u64,
            "{rows} rows, but record {bad_at} is wrong"
        );
        assert_eq!(rows % 1000, 0, "{rows} rows: a torn block was committed");
    }

    // The same bodies without the wrong record arrive whole.
    analytics.query("TRUNCATE TABLE results");
    assert_eq!(send(&good[..300]).unwrap().status, 200);
    assert_eq!(rows(), 300);
    assert_eq!(send(&good).unwrap().status, 200);
    assert_eq!(rows(), 20_300);
}

/// What is sent, as files outside every place that is searched, and every identifier in it.
struct Input {
    _folder: tempfile::TempDir,
    results: [PathBuf; 4],
    orders: PathBuf,
    laboratory: PathBuf,
    identifiers: Vec<String>,
}

impl Input {
    fn write() -> Self {
        let generator = Generator::new(20_261_122);
        let folder = tempfile::tempdir().unwrap();
        let mut identifiers = Vec::new();
        let results = std::array::from_fn(|part| {
            let path = folder.path().join(format!("results-{part}.ndjson"));
            let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
            let quarter = RECORDS / 4;
            for index in (part as u64 * quarter)..((part as u64 + 1) * quarter) {
                let record = generator.result_record(index);
                let person = &record.subscriber;
                writeln!(file, "{}", serde_json::to_string(&record).unwrap()).unwrap();
                for text in [
                    &person.subscriber_id,
                    &person.name,
                    &person.email,
                    &person.nhs_number,
                    &person.date_of_birth,
                    &person.postcode,
                    &person.phone,
                    &record.kit_id,
                    &record.provider_id,
                    &record.ip,
                ] {
                    identifiers.push(text.clone());
                }
            }
            path
        });
        let orders = folder.path().join("orders.ndjson");
        let mut text = String::new();
        for index in 0..ORDERS {
            let order = generator.provider_order(index);
            text += &serde_json::to_string(&order).unwrap();
            text += "\n";
            identifiers.extend([order.subscriber_id, order.email, order.name, order.phone]);
            identifiers.extend([order.provider_name, order.address.street]);
        }
        fs::write(&orders, text).unwrap();
        let laboratory = folder.path().join("laboratory.ndjson");
        let mut text = String::new();
        for index in 0..LINES {
            text += &serde_json::to_string(&generator.lab_result(index)).unwrap();
            text += "\n";
        }
        fs::write(&laboratory, text).unwrap();
        Self {
            _folder: folder,
            results,
            orders,
            laboratory,
            identifiers,
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let results = self.results.iter().map(|file| ("results", file));
        results.chain([("orders", &self.orders), ("laboratory", &self.laboratory)])
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<String> {
    let generator = Generator::new(3);
    range
        .map(|index| serde_json::to_string(&generator.result_record(index)).unwrap())
        .collect()
}

/// ClickHouse looks at the query alone; the path is the route's.
fn insert_path(table: &str) -> String {
    format!("/insert/{table}?query=INSERT%20INTO%20{table}%20FORMAT%20JSONEachRow")
}

fn curl(installation: &Installation, version: &str, table: &str, file: &Path) {
    let port = installation.gateway_address.port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", version])
        .args(["--cacert", installation.cert(CA).to_str().unwrap()])
        .args(["--cert", installation.cert(CLIENT.0).to_str().unwrap()])
        .args(["--key", installation.cert(CLIENT.1).to_str().unwrap()])
        .args(["--write-out", "%{http_version}", "--data-binary"])
        .arg(format!("@{}", file.display()))
        .arg(format!("https://{HOST}:{port}{}", insert_path(table)))
        .output()
        .expect("curl is needed: `tests/run` installs it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{wrong}");
    assert_eq!(said.trim(), version.trim_start_matches("--http"), "{wrong}");
}

fn httpx(installation: &Installation, version: &str, table: &str, files: &[&PathBuf]) {
    let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
    });
    let output = Command::new(&python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/send.py"
        ))
        .arg(version)
        .arg(installation.gateway_address.port().to_string())
        .arg(HOST)
        .args([
            installation.cert(CA),
            installation.cert(CLIENT.0),
            installation.cert(CLIENT.1),
        ])
        .arg(insert_path(table))
        .args(files)
        .output()
        .unwrap_or_else(|_| panic!("{python} is needed: `tests/run` makes it"));
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn configuration(analytics: &ClickHouse) -> String {
    let route = |table: &str| {
        format!(
            r#"
[[route]]
name = "{table}"
host = "{HOST}"
path = "/insert/{table}"
methods = ["POST"]
query = [{{ name = "query", values = ["INSERT INTO {table} FORMAT JSONEachRow"] }}]
backend = "analytics"
domain = "improvement"
request = "{table}"
response = "pass"
format = "ndjson"
stream = true
"#
        )
    };
    let routes: String = ["results", "orders", "laboratory"].map(route).concat();
    format!(
        r#"
[backend.analytics]
urls = ["http://{}"]
region = "GB"
{routes}
[policy.results]
unlisted = "reject"
rules = [
{PERSON}  {{ at = "$.collected_at", category = "test", special = "health", action = "keep" }},
  {{ at = "$.ip", category = "technical", action = "generalise", to = "ip-prefix", v4 = 24 }},
  {{ at = "$.results[*]..*", category = "test", special = "health", action = "keep" }},
]

[policy.orders]
unlisted = "drop"
rules = [
  {{ at = "$.order_id", category = "test", action = "keep" }},
  {{ at = "$.provider_id", category = "identity", action = "pseudonym", kind = "provider" }},
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "$.test", category = "test", special = "health", action = "keep" }},
  {{ at = "$.ordered_at", category = "test", action = "keep" }},
]

[policy.laboratory]
unlisted = "reject"
rules = [
  {{ at = "$.kit_id", category = "test", action = "pseudonym", kind = "kit" }},
  {{ at = "$.laboratory", category = "test", action = "keep" }},
  {{ at = "$.analyte", category = "test", special = "health", action = "keep" }},
  {{ at = "$.value", category = "test", special = "health", action = "keep" }},
  {{ at = "$.unit", category = "test", action = "keep" }},
  {{ at = "$.analysed_at", category = "test", action = "keep" }},
]
"#,
        analytics.http
    )
}

/// Line protocol has no rules of ours: nothing of it passes a policy, whatever it calls itself.
/// An opaque route carries it, and says so in `check`.
#[test]
fn formats_12_line_protocol_passes_opaque_routes_only() {
    let folder = tempfile::tempdir().unwrap();
    let influx = Influx::start(folder.path());
    // The same path twice: by a policy, and on another gateway unseen.
    let gateway = |request: &str| {
        Installation::start(&format!(
            "[backend.metrics]\nurls = [\"http://{}\"]\nregion = \"GB\"\n\
             [[route]]\nname = \"writes\"\nhost = \"{HOST}\"\npath = \"/write\"\nmethods = [\"POST\"]\nquery = [{{ name = \"db\" }}]\n\
             backend = \"metrics\"\n{request}\n\
             [[route]]\nname = \"questions\"\nhost = \"{HOST}\"\npath = \"/query\"\nmethods = [\"GET\", \"POST\"]\n\
             query = [{{ name = \"q\" }}, {{ name = \"db\" }}]\nbackend = \"metrics\"\nopaque = true\n\
             [policy.results]\nrules = [\n{PERSON}]\n",
            influx.http
        ))
    };
    let mut ruled = gateway("domain = \"improvement\"\nrequest = \"results\"");
    let mut unseen = gateway("opaque = true");
    let shown = unseen.expect(&["check"]);
    assert!(shown.contains("opaque: bodies pass unseen"), "{shown}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = ruled.client();
    let mut send = |path: &str, media: &str, body: &'static str| {
        let answer = runtime.block_on(client.send("POST", path, media, body));
        answer.unwrap_or_else(|failure| panic!("{failure}"))
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        send("/query?q=CREATE%20DATABASE%20lab", form, "").status,
        200
    );
    let line = "wbc,subscriber_id=SUB-00000001 value=5.4";
    for media in [
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "text/plain",
        form,
    ] {
        let answer = send("/write?db=lab", media, line);
        assert_eq!(answer.status, 415, "{media}: {}", answer.text());
    }
    for (media, code) in [
        ("application/json", "malformed-json"),
        ("application/x-ndjson", "malformed-json"),
        ("text/csv", ""),
    ] {
        let answer = send("/write?db=lab", media, line);
        assert!(
            (400..=422).contains(&answer.status),
            "{media}: {}",
            answer.text()
        );
        assert!(answer.text().contains(code), "{media}: {}", answer.text());
    }
    let count = "/query?db=lab&q=SELECT%20count(value)%20FROM%20wbc";
    let rows = || influx.get(count).unwrap();
    assert!(!rows().contains("wbc"), "{}", rows());

    // What stands for machines alone may go by a route of its own, unseen.
    let mut client = unseen.client();
    let machine = "wbc,analyser=A1 value=5.4";
    let answer = runtime.block_on(client.send("POST", "/write?db=lab", "text/plain", machine));
    assert_eq!(answer.unwrap().status, 204);
    assert!(rows().contains("\"wbc\""), "{}", rows());
    ruled.stop();
    unseen.stop();
}
