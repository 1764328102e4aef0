//! Bodies with a number each, of a person nobody else is: sent by whoever never stops for a failure,
//! and held against what is revealed of them afterwards.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptonym::local::generate::{Generator, Subscriber};
use cryptonym::local::processes::pause;

use super::installation::{HOST, Installation};
use super::reveal::{BATCH, reveal};

/// Where [`Bodies::body`] is sent.
pub const PATH: &str = "/v1/results";

/// A route to `backend` (host and port) that keeps the number and replaces the person.
pub fn routes(backend: impl Display) -> String {
    format!(
        r#"
[backend.sink]
urls = ["http://{backend}"]
region = "GB"

[[route]]
name = "results"
host = "{HOST}"
path = "{PATH}"
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
"#
    )
}

/// Seconds since 1970, to compare with a trace of system calls.
pub fn unix() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// The same for the same seed.
pub struct Bodies(Generator);

impl Bodies {
    pub fn new(seed: u64) -> Self {
        Self(Generator::new(seed))
    }

    pub fn person(&self, index: u64) -> Subscriber {
        self.0.subscriber(index)
    }

    /// Body number `index`, and the number itself, kept, to tell which.
    pub fn body(&self, index: u64) -> String {
        let person = self.person(index);
        serde_json::json!({
            "number": index,
            "subscriber_id": person.subscriber_id,
            "email": person.email,
        })
        .to_string()
    }

    /// Adds every pseudonym in a body with the identifier that was sent in its place. `sent`: how
    /// many bodies were, or were tried.
    pub fn match_body(&self, bytes: &[u8], sent: u64, held: &mut HashMap<String, String>) {
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
        assert!(index < sent);
        let person = self.person(index);
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

/// Every pseudonym can be revealed, and stands for what was sent.
pub fn all_revealed(installation: &Installation, held: &HashMap<String, String>) {
    let mut pseudonyms: Vec<String> = held.keys().cloned().collect();
    pseudonyms.sort();
    for batch in pseudonyms.chunks(BATCH) {
        let revealed = reveal(installation, batch);
        for pseudonym in batch {
            let identifier = revealed.get(pseudonym);
            let wanted = held.get(pseudonym);
            assert_eq!(identifier, wanted, "{pseudonym} was forwarded and is lost");
        }
    }
}

/// Senders that never stop for a failure: one record a body, each with identifiers never seen.
pub struct Load {
    stopping: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    pub fn start(installation: &Installation, seed: u64, senders: usize) -> Self {
        let stopping = Arc::<AtomicBool>::default();
        let (next, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let sender = |_| {
            let mut client = installation.client();
            let (stopping, next, done) = (stopping.clone(), next.clone(), done.clone());
            std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().unwrap();
                let bodies = Bodies::new(seed);
                while !stopping.load(Ordering::Relaxed) {
                    let body = bodies.body(next.fetch_add(1, Ordering::Relaxed));
                    let send = client.send("POST", PATH, "application/json", body);
                    let patience = Duration::from_secs(10);
                    let answer =
                        runtime.block_on(async { tokio::time::timeout(patience, send).await });
                    if matches!(answer, Ok(Ok(answer)) if answer.status == 200) {
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        pause(Duration::from_millis(2));
                    }
                }
            })
        };
        let threads = (0..senders).map(sender).collect();
        Self {
            stopping,
            next,
            done,
            threads,
        }
    }

    /// So many more requests succeed.
    ///
    /// # Panics
    /// Not within `patience`; `when` says when that was.
    pub fn wait_for_progress(&self, more: u64, patience: Duration, when: impl Display) {
        let target = self.done.load(Ordering::Relaxed) + more;
        let began = Instant::now();
        while self.done.load(Ordering::Relaxed) < target {
            assert!(began.elapsed() < patience, "nothing gets through {when}");
            pause(Duration::from_millis(1));
        }
    }

    /// How many bodies were sent, or tried.
    pub fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.next.load(Ordering::Relaxed)
    }
}
