//! Item 12, its part about rows: `CSVWithNames` and `TabSeparated` through the gateway into a real
//! ClickHouse. Joins on pseudonyms equal joins on originals; no identifier is left anywhere.

use std::fs;

use cryptonym::local::generate::Generator;

use crate::support::clickhouse::{ClickHouse, PERSON};
use crate::support::installation::{HOST, Installation};
use crate::support::leak::{self, LeakSearch};

const RECORDS: u64 = 4000;
const ORDERS: u64 = 1000;

const TABLES: &[&str] = &[
    "CREATE TABLE results (subscriber_id String, name String, email String, nhs_number String,
        date_of_birth String, ethnicity String, postcode String, phone String, kit_id String,
        provider_id String, note String) ENGINE = MergeTree ORDER BY subscriber_id",
    "CREATE TABLE orders (order_id String, provider_id String, subscriber_id String, email String,
        test String, ordered_at String) ENGINE = MergeTree ORDER BY order_id",
];

/// Without `sex`, which the policy leaves out.
const RESULTS: &str = "INSERT INTO results (subscriber_id, name, email, nhs_number, date_of_birth, ethnicity, postcode, phone, kit_id, provider_id, note) FORMAT CSVWithNames";
/// Without the name, the telephone and the street.
const LISTED: &str = "INSERT INTO orders (order_id, provider_id, subscriber_id, email, test, ordered_at) FORMAT TabSeparated";

const QUESTIONS: &[&str] = &[
    "SELECT count(), uniqExact(subscriber_id), uniqExact(email), uniqExact(nhs_number),
        uniqExact(name), uniqExact(phone), uniqExact(kit_id), uniqExact(provider_id) FROM results",
    "SELECT tests, count() FROM (SELECT count() AS tests FROM results GROUP BY subscriber_id)
        GROUP BY tests ORDER BY tests",
    // From CSV to TSV: by subscriber, by mailbox, by provider.
    "SELECT test, count(), uniqExact(subscriber_id) FROM orders
        ALL INNER JOIN (SELECT subscriber_id, kit_id FROM results) USING subscriber_id
        GROUP BY test ORDER BY test",
    "SELECT test, count() FROM orders ALL INNER JOIN (SELECT email, kit_id FROM results)
        USING email GROUP BY test ORDER BY test",
    "SELECT count() FROM orders ALL INNER JOIN (SELECT provider_id, kit_id FROM results)
        USING provider_id",
    // What passes is what was sent: quotes, commas, line ends, tabs, backslashes.
    "SELECT note, count() FROM results GROUP BY note ORDER BY note",
    "SELECT test, min(ordered_at), max(ordered_at) FROM orders GROUP BY test ORDER BY test",
];

const NOTES: [&str; 5] = ["", "plain", "a, \"b\"", "two\nlines", "tab\tand \\ é"];

#[test]
fn formats_12_rows_through_the_gateway_into_clickhouse_keep_their_joins_and_leave_no_identifier() {
    leak::prove();
    let input = Input::make();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let analytics = ClickHouse::start(here.path());
    let originals = ClickHouse::start(there.path());
    for table in TABLES {
        analytics.query(table);
        originals.query(table);
    }
    originals.insert("results", input.results_json.as_bytes());
    originals.insert("orders", input.orders_json.as_bytes());

    let mut installation = Installation::start(&configuration(&analytics));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = installation.client();
    let mut send = |table: &str, query: &str, media: &str, body: &str| {
        let path = format!("/insert/{table}?query={}", query.replace(' ', "%20"));
        runtime
            .block_on(client.send("POST", &path, media, body.to_owned()))
            .unwrap()
    };
    for body in &input.results {
        let answer = send("results", RESULTS, "text/csv", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let answer = send("orders", LISTED, "text/tab-separated-values", &input.orders);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A row that is wrong leaves nothing of a held body.
    let bad = "no,header,at,all\n1,2,3,4\n";
    assert_eq!(send("results", RESULTS, "text/csv", bad).status, 422);

    assert_eq!(analytics.number("SELECT count() FROM results"), RECORDS);
    assert_eq!(analytics.number("SELECT count() FROM orders"), ORDERS);
    for question in QUESTIONS {
        let (ours, theirs) = (analytics.query(question), originals.query(question));
        assert!(!ours.trim().is_empty(), "no answer: {question}");
        assert_eq!(ours, theirs, "{question}");
    }
    // The comparison means something: the columns themselves differ throughout.
    let clear = "SELECT count() FROM results WHERE subscriber_id LIKE 'SUB-%' OR email LIKE '%@%'
        OR length(nhs_number) = 10 OR kit_id LIKE 'KIT-%' OR length(date_of_birth) > 4";
    assert_eq!(originals.number(clear), RECORDS);
    assert_eq!(analytics.number(clear), 0);
    drop(originals);
    installation.stop();

    let search = LeakSearch::new(input.identifiers.iter().map(String::as_str));
    assert!(search.len() > 10_000, "only {} needles", search.len());
    let dump = here.path().join("dump.tsv");
    // Finding nothing means something only where a clear identifier would have been found.
    let canary = &input.identifiers[0];
    analytics.query("CREATE TABLE canary (kit_id String) ENGINE = MergeTree ORDER BY kit_id");
    analytics.insert("canary", format!("{{\"kit_id\":\"{canary}\"}}").as_bytes());
    analytics.dump(&dump);
    let planted = installation.folder().join("logs/canary.log");
    fs::write(&planted, format!("INFO id={canary} done\n")).unwrap();
    for place in [dump.as_path(), &planted] {
        let folder = place.parent().unwrap();
        let found = search.look(folder);
        assert!(
            found.iter().any(|leak| leak.needle == *canary),
            "{place:?} is not searched"
        );
    }
    fs::remove_file(planted).unwrap();
    analytics.query("DROP TABLE canary");
    analytics.dump(&dump);
    let rows = fs::read_to_string(&dump).unwrap().lines().count() as u64;
    assert!(rows > RECORDS + ORDERS, "the dump has only {rows} lines");
    for place in [here.path(), installation.folder()] {
        let leaks = search.look(place);
        assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
    }
}

/// What is sent, in memory only, and every identifier in it.
struct Input {
    /// Bare with LF, and all quoted with CR LF.
    results: [String; 2],
    results_json: String,
    orders: String,
    orders_json: String,
    identifiers: Vec<String>,
}

impl Input {
    fn make() -> Self {
        let generator = Generator::new(20_261_123);
        let mut identifiers = Vec::new();
        let header = "subscriber_id,name,email,nhs_number,date_of_birth,sex,ethnicity,postcode,phone,kit_id,provider_id,note";
        let mut results = [
            format!("{header}\n"),
            format!("\"{}\"\r\n", header.replace(',', "\",\"")),
        ];
        let mut results_json = String::new();
        for index in 0..RECORDS {
            let record = generator.result_record(index);
            let person = &record.subscriber;
            let note = NOTES[index as usize % NOTES.len()];
            let fields = [
                &*person.subscriber_id,
                &person.name,
                &person.email,
                &person.nhs_number,
                &person.date_of_birth,
                person.sex,
                person.ethnicity,
                &person.postcode,
                &person.phone,
                &record.kit_id,
                &record.provider_id,
                note,
            ];
            let half = usize::from(index >= RECORDS / 2);
            let quoted = fields.map(|field| {
                if half == 1 || field.contains([',', '"', '\n']) {
                    format!("\"{}\"", field.replace('"', "\"\""))
                } else {
                    field.to_owned()
                }
            });
            results[half] += &quoted.join(",");
            results[half] += ["\n", "\r\n"][half];
            let mut json = serde_json::to_value(&record).unwrap();
            json["note"] = note.into();
            results_json += &format!("{json}\n");
            let identifying = [0, 1, 2, 3, 4, 7, 8, 9, 10];
            identifiers.extend(identifying.map(|at| fields[at].to_owned()));
        }
        let (mut orders, mut orders_json) = (String::new(), String::new());
        for index in 0..ORDERS {
            let order = generator.provider_order(index);
            orders_json += &format!("{}\n", serde_json::to_string(&order).unwrap());
            let fields = [
                &*order.order_id,
                &order.name,
                &order.provider_id,
                &order.subscriber_id,
                &order.email,
                order.test,
                &order.ordered_at,
                &order.phone,
                &order.address.street,
            ];
            let escaped = fields.map(|f| f.replace('\\', "\\\\").replace('\'', "\\'"));
            orders += &(escaped.join("\t") + "\n");
            identifiers.extend([1, 2, 3, 4, 7, 8].map(|at| fields[at].to_owned()));
        }
        Self {
            results,
            results_json,
            orders,
            orders_json,
            identifiers,
        }
    }
}

fn configuration(analytics: &ClickHouse) -> String {
    let route = |table: &str, query: &str, rows: &str| {
        format!(
            r#"
[[route]]
name = "{table}"
host = "{HOST}"
path = "/insert/{table}"
methods = ["POST"]
query = [{{ name = "query", values = ["{query}"] }}]
backend = "analytics"
domain = "improvement"
request = "{table}"
response = "pass"
stream = true
{rows}
"#
        )
    };
    let routes = [
        route("results", RESULTS, "format = \"csv\""),
        route(
            "orders",
            LISTED,
            "format = \"tsv\"\ntsv = { header = false }",
        ),
    ]
    .concat();
    format!(
        r#"
[backend.analytics]
urls = ["http://{}"]
region = "GB"
{routes}
[policy.results]
unlisted = "reject"
rules = [
{PERSON}  {{ at = "$.note", category = "test", special = "health", action = "keep" }},
]

[policy.orders]
unlisted = "drop"
rules = [
  {{ at = "$[0]", category = "test", action = "keep" }},
  {{ at = "$[2]", category = "identity", action = "pseudonym", kind = "provider" }},
  {{ at = "$[3]", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$[4]", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "$[5]", category = "test", special = "health", action = "keep" }},
  {{ at = "$[6]", category = "test", action = "keep" }},
]
"#,
        analytics.http
    )
}
