//! Item 16: `kill -9` of vault, gateway or both at random moments under load. Whatever the
//! backend has received can be revealed afterwards, and is what was sent; and the vault answers
//! only after its sync, shown from a trace of its system calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptonym::local::generate::Generator;
use cryptonym::local::processes::pause;
use cryptonym::local::random::SplitMix64;

mod support {
    pub mod installation;
    pub mod reveal;
    pub mod sink;
    pub mod trace;
}
use support::installation::{HOST, Installation};
use support::reveal::{BATCH, reveal};
use support::sink::Sink;
use support::trace::Trace;

const SEED: u64 = 16;
const SENDERS: usize = 4;
/// By how much each sync of the traced vault is delayed.
const HELD_BACK: Duration = Duration::from_millis(200);

#[test]
fn path_16_after_any_kill_every_pseudonym_of_the_backend_can_be_revealed() {
    let rounds = if std::env::var_os("CRYPTONYM_LONG").is_some() {
        1000
    } else {
        50
    };
    let sink = Sink::start();
    let mut installation = Installation::start(&configuration(&sink));
    let load = Load::start(&installation);
    let mut random = SplitMix64::new(SEED);
    let mut kills = [0; 3];
    for round in 0..rounds {
        // Load runs for a random while, then something dies in the middle of it.
        pause(Duration::from_micros(random.below(150_000)));
        let which = random.below(3) as usize;
        kills[which] += 1;
        if which != 1 {
            installation.kill_vault();
        }
        if which == 2 {
            // Not at the very same moment: what happens between the two matters as well.
            pause(Duration::from_micros(random.below(5_000)));
        }
        if which != 0 {
            installation.kill_gateway();
        }
        if installation.gateway.is_none() {
            installation.launch_gateway();
        }
        if installation.vault.is_none() {
            installation.start_vault();
        }
        installation.wait_for_gateway();
        load.wait_for_progress(round);
    }
    let sent = load.stop();
    assert!(kills.iter().all(|&times| times > 0), "{kills:?}");

    // What the backend holds, whole bodies and torn ones alike.
    let originals = Originals::of(sent);
    let mut held: HashMap<String, String> = HashMap::new();
    let (mut bodies, mut torn) = (0, 0);
    for arrival in sink.arrivals() {
        bodies += 1;
        torn += u64::from(!arrival.whole);
        originals.match_body(&arrival.bytes, &mut held);
    }
    println!(
        "{rounds} rounds, kills {kills:?} (vault, gateway, both), {sent} bodies sent, {bodies} \
         arrived, {torn} of them torn, {} pseudonyms",
        held.len()
    );
    assert!(bodies > rounds, "hardly anything arrived: {bodies} bodies");
    assert!(
        held.len() as u64 > 2 * rounds,
        "only {} pseudonyms",
        held.len()
    );

    let mut pseudonyms: Vec<String> = held.keys().cloned().collect();
    pseudonyms.sort();
    for batch in pseudonyms.chunks(BATCH) {
        let revealed = reveal(&installation, batch);
        for pseudonym in batch {
            let identifier = revealed.get(pseudonym);
            assert_eq!(
                identifier,
                held.get(pseudonym),
                "{pseudonym} was forwarded and is lost"
            );
        }
    }
}

#[test]
fn path_16_the_vault_answers_only_after_its_sync() {
    let sink = Sink::start();
    let mut installation = Installation::prepare(&configuration(&sink));
    let file = installation.folder().join("trace");
    // Each sync is held back before it returns to the vault: an answer that does not wait for
    // it would come earlier.
    installation.start_vault_under(&[
        // Detached, so that the vault itself is the child that is stopped.
        "strace",
        "-D",
        "-f",
        "-ttt",
        "-T",
        "-yy",
        "-e",
        "trace=read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,fsync,fdatasync",
        "-e",
        &format!(
            "inject=fsync,fdatasync:delay_exit={}",
            HELD_BACK.as_micros()
        ),
        "-o",
        file.to_str().unwrap(),
    ]);
    installation.start_gateway();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut client = installation.client();
    // The first request opens connections; the second is the one that is looked at.
    let (mut began, mut ended) = (0.0, 0.0);
    for index in 0..2 {
        pause(Duration::from_millis(500));
        began = unix();
        let body = body_of(&Generator::new(SEED), index);
        let answer = runtime
            .block_on(client.send("POST", "/v1/results", "application/json", body))
            .unwrap();
        ended = unix();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let forwarded = sink.arrivals().last().unwrap().began_unix;
    installation.stop();

    let trace = Trace::read(&file);
    let port = installation.vault_address.port();
    let arrived = trace
        .socket_reads(port)
        .find(|call| call.start >= began && call.bytes > 0)
        .expect("the batch arrives");
    let sync = trace
        .syncs()
        .filter(|call| call.start >= arrived.start && call.end <= ended)
        .find(|call| call.path.contains("vault.sqlite"))
        .expect("a sync of the database or its log returns in between");
    let answer = trace
        .socket_writes(port)
        .filter(|call| call.start <= ended)
        .last()
        .expect("the answer leaves");
    println!(
        "batch arrived at +{:.1} ms, {} of {} returned at +{:.1} ms, answer left at +{:.1} ms, \
         the backend had the first byte at +{:.1} ms",
        (arrived.start - began) * 1e3,
        sync.name,
        sync.path,
        (sync.end - began) * 1e3,
        (answer.start - began) * 1e3,
        (forwarded - began) * 1e3,
    );
    // The trace's end of the sync is the kernel's; the vault was told of it HELD_BACK later.
    let told = sync.end + HELD_BACK.as_secs_f64();
    assert!(
        answer.start >= told,
        "the answer left before the sync had returned"
    );
    assert!(
        forwarded >= told,
        "the pseudonym left the gateway before its record was durable"
    );
}

/// Senders that never stop for a failure: one record a body, each with identifiers never seen.
struct Load {
    stopping: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(installation: &Installation) -> Self {
        let stopping = Arc::<AtomicBool>::default();
        let next = Arc::<AtomicU64>::default();
        let done = Arc::<AtomicU64>::default();
        let threads = (0..SENDERS)
            .map(|_| {
                let mut client = installation.client();
                let (stopping, next, done) = (stopping.clone(), next.clone(), done.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    let generator = Generator::new(SEED);
                    while !stopping.load(Ordering::Relaxed) {
                        let body = body_of(&generator, next.fetch_add(1, Ordering::Relaxed));
                        let send = client.send("POST", "/v1/results", "application/json", body);
                        let answer = runtime.block_on(async {
                            tokio::time::timeout(Duration::from_secs(10), send).await
                        });
                        if matches!(answer, Ok(Ok(answer)) if answer.status == 200) {
                            done.fetch_add(1, Ordering::Relaxed);
                        } else {
                            pause(Duration::from_millis(2));
                        }
                    }
                })
            })
            .collect();
        Self {
            stopping,
            next,
            done,
            threads,
        }
    }

    /// The system works again: requests succeed that began after the restart.
    fn wait_for_progress(&self, round: u64) {
        let target = self.done.load(Ordering::Relaxed) + SENDERS as u64 + 1;
        let began = Instant::now();
        while self.done.load(Ordering::Relaxed) < target {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "nothing gets through after the kill of round {round}"
            );
            pause(Duration::from_millis(1));
        }
    }

    /// How many bodies were sent, or tried.
    fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.next.load(Ordering::Relaxed)
    }
}

/// Body number `index`: a person nobody else is, and the number itself, kept, to tell which.
fn body_of(generator: &Generator, index: u64) -> String {
    let person = generator.subscriber(index);
    serde_json::json!({
        "number": index,
        "subscriber_id": person.subscriber_id,
        "email": person.email,
    })
    .to_string()
}

struct Originals {
    generator: Generator,
    sent: u64,
}

impl Originals {
    fn of(sent: u64) -> Self {
        Self {
            generator: Generator::new(SEED),
            sent,
        }
    }

    /// Adds every pseudonym in a body with the identifier that was sent in its place.
    fn match_body(&self, bytes: &[u8], held: &mut HashMap<String, String>) {
        let text = std::str::from_utf8(bytes).expect("bodies are ASCII");
        assert!(
            !text.contains("SUB-") && !text.contains("@example.org"),
            "clear: {text}"
        );
        if text.is_empty() {
            return; // torn before its first byte: nothing left the gateway
        }
        // Held bodies leave in one write, so even a torn one carries its number or nothing.
        let body: serde_json::Value = serde_json::from_str(text)
            .unwrap_or_else(|_| panic!("a held body arrived in part: {text}"));
        let index = body["number"].as_u64().unwrap();
        assert!(index < self.sent);
        let person = self.generator.subscriber(index);
        for (member, identifier) in [
            ("subscriber_id", person.subscriber_id),
            ("email", person.email),
        ] {
            let pseudonym = body[member].as_str().unwrap().to_owned();
            if let Some(other) = held.insert(pseudonym, identifier.clone()) {
                assert_eq!(other, identifier, "one pseudonym for two identifiers");
            }
        }
    }
}

fn unix() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

fn configuration(sink: &Sink) -> String {
    format!(
        r#"
[backend.sink]
urls = ["http://{}"]
region = "GB"

[[route]]
name = "results"
host = "{HOST}"
path = "/v1/results"
methods = ["POST"]
backend = "sink"
domain = "improvement"
request = "results"
response = "pass"
format = "json"

[policy.results]
unlisted = "reject"
rules = [
  {{ at = "$.number", category = "test", action = "keep" }},
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }},
]
"#,
        sink.address
    )
}
