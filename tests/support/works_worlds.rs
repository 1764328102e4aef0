//! Fixed pieces of work of the rooms that seal, keep and serve.

use std::hint::black_box;

use cryptonym::gateway::head;
use cryptonym::gateway::metrics::Metrics;
use cryptonym::gateway::routes::Routes;
use cryptonym::limits;
use cryptonym::observe::access::{AccessLog, Line};
use cryptonym::pseudonym::Pseudonym;
use cryptonym::secret::{Key32, Plain};
use cryptonym::wire::batch::{self, Entries, INFO};
use cryptonym::wire::sealed::{self, KeyPair};
use http::Method;

use super::support::gateway::opaque;
use super::vault::Opened;
use super::works::{Entry, Work};

pub const WORLDS: &[Entry] = &[
    ("batch: encode", "record", encode),
    ("batch: decode", "record", decode),
    ("batch: seal", "record", seal),
    ("batch: open", "record", open),
    ("batch: seal one", "batch", seal_one),
    ("access log", "line", access),
    ("head: check", "request", check_head),
    ("routes: find", "request", find_route),
    // Last: what its threads leave to the allocator is somebody's work later, at random.
    ("vault: keep new records", "record", || keep(true)),
    ("vault: keep known records", "record", || keep(false)),
];

/// A folder that `certs init` filled. Under valgrind, the first key of a process takes seconds:
/// aws-lc looks at the clock until that seems random enough.
pub const CERTIFICATES: &str = "CRYPTONYM_COUNT_CERTIFICATES";

const RECORDS: usize = limits::BATCH;
const REQUESTS: usize = 1000;

fn plaintext(records: usize) -> Vec<u8> {
    let identifiers: Vec<String> = (0..records).map(|n| format!("SUB-{n:08}")).collect();
    encoded(&identifiers)
}

fn encoded(identifiers: &[String]) -> Vec<u8> {
    let entries = identifiers.iter().map(|identifier| batch::Entry {
        kind: "subscriber",
        pseudonym: Pseudonym([7; 16]),
        identifier: Plain::new(identifier.as_bytes()),
        subject: None,
    });
    std::mem::take(&mut *batch::encode_entries(entries))
}

fn encode() -> Work {
    let identifiers: Vec<String> = (0..RECORDS).map(|n| format!("SUB-{n:08}")).collect();
    Box::new(move || {
        assert!(encoded(black_box(&identifiers)).len() > 31 * RECORDS);
        RECORDS
    })
}

fn decode() -> Work {
    let plaintext = plaintext(RECORDS);
    Box::new(move || {
        let entries = Entries::decode(black_box(&plaintext)).expect("it was encoded");
        assert_eq!(entries.len(), RECORDS);
        RECORDS
    })
}

/// Always the same key, so that only the encapsulation's own randomness differs.
fn pair() -> KeyPair {
    KeyPair::from_secret(Key32::new([9; 32])).expect("any 32 bytes are a key")
}

fn seal() -> Work {
    let (plaintext, public) = (plaintext(RECORDS), pair().public());
    Box::new(move || {
        let sealed = sealed::seal(&public, INFO, b"", black_box(&plaintext)).expect("a good key");
        assert_eq!(sealed.len(), plaintext.len() + sealed::OVERHEAD);
        RECORDS
    })
}

fn open() -> Work {
    let (plaintext, pair) = (plaintext(RECORDS), pair());
    let sealed = sealed::seal(&pair.public(), INFO, b"", &plaintext).expect("a good key");
    Box::new(move || {
        let opened = pair.open(INFO, b"", black_box(&sealed)).expect("its key");
        assert_eq!(opened.len(), plaintext.len());
        RECORDS
    })
}

/// Nearly all of it is the encapsulation.
fn seal_one() -> Work {
    let (plaintext, public) = (plaintext(1), pair().public());
    Box::new(move || {
        for _ in 0..4 {
            let sealed = sealed::seal(&public, INFO, b"", black_box(&plaintext));
            assert!(sealed.is_ok());
        }
        4
    })
}

/// All threads of the vault: open, derive again and compare, seal rows, commit. The second batch
/// is as the first, or has new records.
fn keep(new: bool) -> Work {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let certificates = std::env::var_os(CERTIFICATES).map(Into::into);
    let opened = runtime.block_on(Opened::new(certificates));
    let count = 250;
    let mut batches: Vec<_> = (0..3)
        .map(|n| if new { n * count } else { 0 })
        .map(|from| opened.batch(from..from + count))
        .rev()
        .collect();
    let mut first = true;
    Box::new(move || {
        let batch = batches.pop().expect("no more than three rounds");
        let answer = runtime.block_on(opened.keep(batch));
        let fresh = if new || first { count as u32 } else { 0 };
        first = false;
        assert_eq!(answer.new, fresh);
        count as usize
    })
}

fn access() -> Work {
    const LINES: usize = 50;
    Box::new(|| {
        let log = AccessLog::new(true);
        let line = Line {
            request: (0xdead_beef, 1),
            route: Some("results"),
            method: "POST",
            protocol: "h2",
            status: 200,
            client: Some("provider-1"),
            bytes_in: 610,
            bytes_out: 123,
            micros: 456,
            records: 1,
            replaced: 4,
            first_sights: 0,
            code: None,
            whole: true,
        };
        for _ in 0..LINES {
            log.write(black_box(&line));
        }
        // Not written: standard error belongs to the test.
        std::mem::forget(log);
        LINES
    })
}

/// Many heads of the same form: their maps are hashed with seeds of their own.
fn check_head() -> Work {
    let head = |n: usize| {
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/results/batch?page={n:03}"))
            .header("host", "results.example.org:8443")
            .header("content-type", "application/json")
            .header("content-length", "610")
            .header("accept", "*/*")
            .header("user-agent", "bench/1")
            .body(());
        request.expect("a request").into_parts().0
    };
    let heads: Vec<_> = (0..REQUESTS).map(head).collect();
    Box::new(move || {
        for parts in &heads {
            let head = head::check(black_box(parts), Some("results.example.org"));
            assert!(head.is_ok());
        }
        heads.len()
    })
}

fn find_route() -> Work {
    const NAMES: [&str; 5] = ["orders", "results", "laboratory", "kits", "people"];
    let metrics = Metrics::new();
    let mut routes = Vec::new();
    for name in NAMES {
        routes.push(opaque(name, &format!("/v1/{name}/batch")));
        routes.push(opaque(name, &format!("/v1/{name}/{{id}}/history")));
    }
    let routes = Routes::new(&routes, |name| metrics.route(name), None).expect("good patterns");
    // All of them: their order in the table is random, and the first is found soonest.
    let paths: Vec<String> = NAMES
        .iter()
        .flat_map(|name| {
            [
                format!("/v1/{name}/batch"),
                format!("/v1/{name}/a1/history"),
            ]
        })
        .collect();
    Box::new(move || {
        for path in paths.iter().cycle().take(REQUESTS) {
            let found = routes.find("results.example.org", black_box(path), &Method::POST);
            assert!(found.is_ok());
        }
        REQUESTS
    })
}
