//! Formats item 9: the spool. The vault is stopped or killed, the gateway is killed in the middle
//! of spooling; whatever the backend has received can be revealed afterwards. What bounds a spool
//! shows on `/readyz` and in metrics, and the disk tells nobody who somebody is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cryptonym::config::Config;
use cryptonym::local::client::{Answer, Client};
use cryptonym::local::generate::Subscriber;
use cryptonym::local::processes::{get, pause};
use cryptonym::local::random::SplitMix64;
use rustix::process::Signal;

mod support {
    pub mod installation;
    pub mod leak;
    pub mod numbered;
    pub mod reveal;
    pub mod sink;
    pub mod trace;
}
use support::installation::Installation;
use support::leak::LeakSearch;
use support::numbered::{Bodies, Load, PATH, all_revealed, routes, unix};
use support::reveal::reveal;
use support::sink::Sink;
use support::trace::Trace;

const SEED: u64 = 509;
const SENDERS: usize = 3;
/// By how much each sync of the traced gateway is delayed.
const HELD_BACK: Duration = Duration::from_millis(200);
/// Machines of tests are busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn formats_09_new_identifiers_pass_while_the_vault_is_away_and_are_in_it_afterwards() {
    support::leak::prove();
    let mut site = Site::start("true");
    assert_eq!(site.send(0), 200);
    assert!(
        site.files().is_empty(),
        "the vault is there: nothing is spooled"
    );

    // Silent, as a machine that hangs.
    site.signal_vault(Signal::STOP);
    for index in 1..20 {
        assert_eq!(site.send(index), 200, "body {index}");
    }
    assert!(site.metric("spool_records") >= 38.0);
    assert!(site.metric("spool_bytes") > 0.0);
    assert_eq!(site.metric("spool_max_bytes"), 64.0 * 1024.0 * 1024.0);
    site.families_are_documented();
    let (status, page) = site.readyz();
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("spool improvement: "), "{page}");
    // What lies on the disk says nothing; the search would find it.
    let needles = site.identifiers(0..20);
    let search = LeakSearch::new(needles.iter().map(String::as_str));
    let leaks = search.look(&site.spool());
    assert!(leaks.is_empty(), "identifiers in clear: {leaks:#?}");
    let canary = site.spool().join("improvement/canary");
    fs::write(&canary, format!("\0\u{1}{}\u{2}", needles[0])).unwrap();
    assert_eq!(
        search.look(&site.spool()).len(),
        1,
        "the spool is not searched"
    );
    fs::remove_file(canary).unwrap();
    site.signal_vault(Signal::CONT);
    site.wait_until_empty();
    assert_eq!(site.send(20), 200);

    // Gone, and back with another incarnation of its store.
    site.installation.kill_vault();
    for index in 21..40 {
        assert_eq!(site.send(index), 200, "body {index}");
    }
    // Known by now, although the vault has never heard of it.
    assert_eq!(site.send(30), 200);
    site.installation.start_vault();
    site.wait_until_empty();
    assert!(site.metric("spool_appended_total") >= 76.0);
    assert_eq!(
        site.metric("spool_appended_total"),
        site.metric("spool_replayed_total")
    );
    for name in ["spool_corrupt_total", "spool_torn_total", "spool_aside"] {
        assert_eq!(site.metric(name), 0.0, "{name}");
    }
    for line in ["new recovery records go to the spool", "the spool is empty"] {
        site.wait(line, |site| site.log().matches(line).count() >= 2);
        assert_eq!(site.log().matches(line).count(), 2, "{line}");
    }
    assert_eq!(site.reveal_all(40), 2 * 40);
    site.installation.stop();
}

#[test]
fn formats_09_without_a_spool_new_identifiers_are_refused() {
    let mut site = Site::start("false");
    assert_eq!(site.send(0), 200);
    site.installation.kill_vault();
    assert_eq!(site.send(1), 503);
    assert_eq!(site.send(0), 200, "what is known passes");
    assert!(site.files().is_empty());
    assert_eq!(site.metric("spool_records"), 0.0);
}

#[test]
fn formats_09_after_any_kill_while_spooling_every_pseudonym_of_the_backend_can_be_revealed() {
    let rounds = if std::env::var_os("CRYPTONYM_LONG").is_some() {
        200
    } else {
        6
    };
    let mut site = Site::start("true");
    let load = Load::start(&site.installation, SEED, SENDERS);
    let mut random = SplitMix64::new(SEED);
    let mut left = 0;
    for round in 0..rounds {
        load.wait_for_progress(10, PATIENCE, "while it spools");
        site.installation.kill_vault();
        let appended = site.metric("spool_appended_total");
        site.wait("something is spooled", |site| {
            site.metric("spool_appended_total") > appended + 20.0
        });
        // In the middle of whatever it does.
        pause(Duration::from_micros(random.below(400_000)));
        site.installation.kill_gateway();
        left += u64::from(!site.files().is_empty());
        // Either may be there first.
        if random.below(2) == 0 {
            site.installation.launch_gateway();
            site.installation.start_vault();
        } else {
            site.installation.start_vault();
            site.installation.launch_gateway();
        }
        if round % 3 == 2 {
            // A second kill, perhaps while what was left is being sent.
            pause(Duration::from_micros(random.below(600_000)));
            site.installation.kill_gateway();
            site.installation.launch_gateway();
        }
        site.installation.wait_for_gateway();
    }
    let sent = load.stop();
    assert_eq!(left, rounds, "a spool was left at each kill");
    site.wait_until_empty();
    assert_eq!(site.metric("spool_corrupt_total"), 0.0);
    assert_eq!(site.metric("spool_aside"), 0.0);
    let held = site.reveal_all(sent);
    println!("{rounds} kills, {sent} bodies sent, {held} pseudonyms revealed");
    assert!(held as u64 > 20 * rounds);
}

#[test]
fn formats_09_the_pseudonym_leaves_only_after_the_spool_is_synced() {
    let mut site = Site::prepare("true", &[]);
    let file = site.installation.folder().join("trace");
    site.installation.start_vault();
    site.installation.launch_gateway_under(&[
        // Detached, so that the gateway itself is the child that is stopped.
        "strace",
        "-D",
        "-f",
        "-ttt",
        "-T",
        "-yy",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        // When the call returns to the gateway; the trace's end is the kernel's.
        &format!("inject=fdatasync:delay_exit={}", HELD_BACK.as_micros()),
        "-o",
        file.to_str().unwrap(),
    ]);
    site.installation.wait_for_gateway();
    assert_eq!(site.send(0), 200);
    site.installation.kill_vault();
    // The first one finds out that the vault is away; the second is looked at.
    assert_eq!(site.send(1), 200);
    pause(Duration::from_millis(300));
    let began = unix();
    assert_eq!(site.send(2), 200);
    let forwarded = site.sink.arrivals().last().unwrap().began_unix;
    site.installation.start_vault();
    site.wait_until_empty();
    site.installation.stop();

    let trace = Trace::read(&file);
    let segment = |call: &&support::trace::Call| call.path.contains(".seg");
    let syncs: Vec<_> = trace.syncs().filter(segment).collect();
    let sync = syncs.iter().find(|call| call.start >= began);
    let sync = sync.expect("the spool's file is synced");
    println!(
        "sync from +{:.1} ms, told at +{:.1} ms, the backend had the first byte at +{:.1} ms",
        (sync.start - began) * 1e3,
        (sync.end + HELD_BACK.as_secs_f64() - began) * 1e3,
        (forwarded - began) * 1e3,
    );
    assert!(
        forwarded >= sync.end + HELD_BACK.as_secs_f64(),
        "the pseudonym left the gateway before its record was durable"
    );
}

#[test]
fn formats_09_a_stale_spool_takes_nothing_more_and_says_so() {
    let mut site = Site::start("{ max_staleness = \"3s\" }");
    assert_eq!(site.send(0), 200);
    site.installation.kill_vault();
    assert_eq!(site.send(1), 200);
    site.wait("/readyz says that it is stale", |site| {
        let (status, page) = site.readyz();
        status == 503 && page.starts_with("a spool is stale") && page.contains(", stale")
    });
    assert_eq!(site.metric("spool_stale"), 1.0);
    assert!(site.metric("spool_oldest_seconds") >= 3.0);
    assert_eq!(site.metric("spool_max_staleness_seconds"), 3.0);
    let answer = site.answer(2);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"));
    assert!(
        answer.text().contains("vault-unreachable"),
        "{}",
        answer.text()
    );
    assert_eq!(site.send(1), 200, "what is durable passes");
    site.installation.start_vault();
    site.wait_until_empty();
    site.wait("it is ready again", |site| site.readyz().0 == 200);
    assert_eq!(site.metric("spool_stale"), 0.0);
    assert_eq!(site.send(2), 200);
    site.reveal_all(3);
}

#[test]
fn formats_09_a_full_spool_takes_nothing_more_and_says_so() {
    let mut site = Site::start("{ max_bytes = \"64KiB\" }");
    assert_eq!(site.send(0), 200);
    site.signal_vault(Signal::STOP);
    let mut index = 0;
    let refused = loop {
        index += 1;
        assert!(index < 1000, "no bound");
        let answer = site.answer(index);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(index > 50, "full after {index} bodies");
    let bytes = site.metric("spool_bytes");
    assert!((50_000.0..=65_536.0).contains(&bytes), "{bytes}");
    site.wait("the refusal is counted", |site| {
        site.metric("spool_refused_total") >= 1.0
    });
    let (status, page) = site.readyz();
    assert_eq!(status, 200, "{page}");
    assert!(page.contains(", full"), "{page}");
    assert_eq!(site.send(1), 200, "what is durable passes");
    site.signal_vault(Signal::CONT);
    site.wait_until_empty();
    assert_eq!(site.send(index), 200);
    site.reveal_all(index + 1);
}

#[test]
fn formats_09_damage_and_refusals_are_kept_aside_and_told() {
    // The vault does not know one of the gateway's kinds.
    let card = "[kind.card]\nclass = \"object\"\nprefix = \"crd\"\nnormaliser = \"text\"\n";
    let rule = "  { at = \"$.card\", category = \"identity\", action = \"pseudonym\", kind = \"card\" },\n]";
    let mut site = Site::prepare("true", &[]);
    let text = fs::read_to_string(site.installation.config()).unwrap();
    site.installation.start_vault();
    let last = text.rfind("\n]").unwrap();
    let (front, _) = text.split_at(last);
    fs::write(
        site.installation.config(),
        format!("{front}\n{rule}\n{card}"),
    )
    .unwrap();
    site.installation.start_gateway();
    assert_eq!(site.send(0), 200);

    site.signal_vault(Signal::STOP);
    let person = site.person(1);
    let body = format!(
        "{{\"number\":1,\"subscriber_id\":\"{}\",\"card\":\"CARD-000077\"}}",
        person.subscriber_id
    );
    assert_eq!(site.post(body).status, 200);
    site.signal_vault(Signal::CONT);
    site.wait_until_empty();
    assert_eq!(site.metric("spool_aside"), 1.0);
    let page = site.readyz().1;
    assert!(page.contains(", 1 kept aside"), "{page}");
    let line = "the vault refuses spooled records";
    site.wait(line, |site| site.log().contains(line));
    let body = site.sink.arrivals().last().unwrap().bytes.clone();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let [subscriber, card] =
        ["subscriber_id", "card"].map(|m| body[m].as_str().unwrap().to_owned());
    let revealed = reveal(&site.installation, std::slice::from_ref(&subscriber));
    assert_eq!(
        revealed[&subscriber], person.subscriber_id,
        "another kind's fault"
    );

    // Now it does; and somebody changes a byte of what a killed gateway has left.
    site.installation.kill_vault();
    for index in 2..8 {
        assert_eq!(site.send(index), 200);
    }
    site.installation.kill_gateway();
    let files = site.files();
    let segment = files
        .iter()
        .find(|f| f.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("a segment was left");
    let mut bytes = fs::read(segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(segment, bytes).unwrap();
    site.installation.start_vault();
    site.installation.start_gateway();
    site.wait_until_empty();
    site.wait("what was refused is taken", |site| {
        site.metric("spool_aside") == 1.0
    });
    assert_eq!(site.metric("spool_corrupt_total"), 1.0);
    let line = "ALARM: the spool was changed";
    site.wait(line, |site| site.log().contains(line));
    let left: Vec<_> = site.files();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].extension().is_some_and(|end| end == "damaged"));
    let revealed = reveal(&site.installation, std::slice::from_ref(&card));
    assert_eq!(revealed[&card], "CARD-000077");
}

#[test]
fn formats_09_a_reload_switches_it_on_and_off_and_what_is_in_it_is_sent() {
    let mut site = Site::start("false");
    assert_eq!(site.send(0), 200);
    site.reload("spool = false", "spool = true");
    site.installation.kill_vault();
    assert_eq!(site.send(1), 200);
    site.reload("spool = true", "spool = false");
    assert_eq!(site.send(2), 503);
    assert_eq!(site.metric("spool_records"), 2.0);
    assert!(site.readyz().1.contains("spool improvement: "));
    site.installation.start_vault();
    site.wait_until_empty();
    assert_eq!(site.reveal_all(2), 4);
    assert!(
        !site.readyz().1.contains("spool"),
        "none, and nothing in it"
    );
}

#[test]
fn formats_09_keys_of_the_configuration() {
    let configuration = |gateway: &str, domain: &str| {
        let text = format!(
            "[gateway]\nlisten = [\"127.0.0.1:8443\"]\ntls = {{ certificate = \"a\", key = \"b\" }}\n\
             vault = {{ address = \"https://127.0.0.1:1\", certificate = \"a\", key = \"b\", ca = \"c\" }}\n{gateway}\n\
             [domain.improvement]\npurpose = \"develop-and-improve\"\n{domain}\n{}",
            routes("127.0.0.1:1")
        );
        let loaded = Config::parse(&text, Path::new("/nonexistent"), "config.toml");
        loaded
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<String>())
    };
    let good = configuration("spool_dir = \"spool\"", "spool = true").unwrap();
    let spool = good.domains[0].spool.unwrap();
    assert_eq!(spool.max_bytes, 64 * 1024 * 1024);
    assert_eq!(spool.max_staleness, Duration::from_secs(15 * 60));
    let folder = good.gateway.as_ref().unwrap().spool_dir.clone().unwrap();
    assert_eq!(folder, Path::new("/nonexistent/spool"));
    assert!(good.gateway_folders().write.contains(&folder));
    let own = "spool = { max_bytes = \"1MiB\", max_staleness = \"90s\" }";
    let spool = configuration("spool_dir = \"s\"", own).unwrap().domains[0].spool;
    let spool = spool.unwrap();
    assert_eq!(
        (spool.max_bytes, spool.max_staleness.as_secs()),
        (1 << 20, 90)
    );
    assert!(
        configuration("", "spool = false").unwrap().domains[0]
            .spool
            .is_none()
    );
    assert!(configuration("", "").unwrap().domains[0].spool.is_none());
    for (gateway, domain, fault) in [
        ("", "spool = true", "no folder for it"),
        ("spool_dir = \"s\"", "spool = \"yes\"", "this is a string"),
        (
            "spool_dir = \"s\"",
            "spool = { max_bytes = \"1KiB\" }",
            "too small",
        ),
        (
            "spool_dir = \"s\"",
            "spool = { max_staleness = \"0s\" }",
            "zero",
        ),
        (
            "spool_dir = \"s\"",
            "spool = { max_age = \"1s\" }",
            "max_age",
        ),
        ("spool_dir = \"\"", "spool = true", "no path"),
    ] {
        let errors = configuration(gateway, domain).unwrap_err();
        assert!(errors.contains(fault), "{domain}: {errors}");
        assert!(errors.contains("config.toml:"), "{errors}");
    }
}

/// An installation whose domain has a spool, a backend, and what was sent there.
struct Site {
    installation: Installation,
    sink: Sink,
    bodies: Bodies,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Site {
    fn start(spool: &str) -> Self {
        let mut site = Self::prepare(spool, &[]);
        site.installation.start_vault();
        site.installation.start_gateway();
        site
    }

    /// `spool`: what the domain says; `keys`: more of `[gateway]`.
    fn prepare(spool: &str, keys: &[&str]) -> Self {
        let sink = Sink::start();
        let installation = Installation::prepare(&routes(sink.address));
        let text = fs::read_to_string(installation.config()).unwrap();
        let keys = keys.join("\n");
        let text = text
            .replace(
                "[gateway]\n",
                &format!("[gateway]\nspool_dir = \"spool\"\n{keys}\n"),
            )
            .replace(
                "[domain.improvement]\n",
                &format!("[domain.improvement]\nspool = {spool}\n"),
            );
        fs::write(installation.config(), text).unwrap();
        Self {
            client: installation.client(),
            installation,
            sink,
            bodies: Bodies::new(SEED),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    fn person(&self, index: u64) -> Subscriber {
        self.bodies.person(index)
    }

    /// Sends body number `index`, of a person nobody else is.
    fn send(&mut self, index: u64) -> u16 {
        self.answer(index).status
    }

    fn answer(&mut self, index: u64) -> Answer {
        self.post(self.bodies.body(index))
    }

    fn post(&mut self, body: String) -> Answer {
        let send = self.client.send("POST", PATH, "application/json", body);
        self.runtime
            .block_on(send)
            .unwrap_or_else(|f| panic!("{f}"))
    }

    fn identifiers(&self, indices: std::ops::Range<u64>) -> Vec<String> {
        let people = indices.map(|index| self.person(index));
        people.flat_map(|p| [p.subscriber_id, p.email]).collect()
    }

    fn signal_vault(&self, signal: Signal) {
        self.installation.vault.as_ref().unwrap().signal(signal);
    }

    fn reload(&self, from: &str, to: &str) {
        let done = self.metric("reloads_total");
        let text = fs::read_to_string(self.installation.config()).unwrap();
        fs::write(self.installation.config(), text.replace(from, to)).unwrap();
        self.installation
            .gateway
            .as_ref()
            .unwrap()
            .signal(Signal::HUP);
        self.wait("it is served", |site| site.metric("reloads_total") > done);
    }

    fn readyz(&self) -> (u16, String) {
        get(self.installation.gateway_observe, "/readyz").unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.installation.log("gateway")).unwrap()
    }

    /// The sum of a metric's series, named without the prefix; 0 if there is none.
    fn metric(&self, name: &str) -> f64 {
        let page = self.installation.metrics("gateway");
        let start = format!("cryptonym_gateway_{name}");
        let lines = page.lines().filter_map(|line| line.strip_prefix(&start));
        let lines = lines.filter(|rest| rest.starts_with([' ', '{']));
        lines
            .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    fn families_are_documented(&self) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observe.md");
        let words = fs::read_to_string(file).unwrap();
        let page = self.installation.metrics("gateway");
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families = types.filter_map(|rest| rest.split(' ').next());
        let spools: Vec<_> = families.filter(|name| name.contains("_spool_")).collect();
        assert_eq!(spools.len(), 12, "{spools:?}");
        for family in spools {
            assert!(words.contains(&format!("`{family}`")), "{family}");
        }
    }

    fn spool(&self) -> PathBuf {
        self.installation.folder().join("spool")
    }

    /// Files of the spool, locks left out.
    fn files(&self) -> Vec<PathBuf> {
        let (mut folders, mut files) = (vec![self.spool()], Vec::new());
        while let Some(folder) = folders.pop() {
            // What is sent disappears while one looks.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("lock") => {}
                    false => files.push(path),
                }
            }
        }
        files
    }

    fn wait(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is(self) {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            pause(Duration::from_millis(20));
        }
    }

    /// The vault has acknowledged everything, and nothing but what is kept aside is on the disk.
    fn wait_until_empty(&self) {
        let kept = |f: &PathBuf| f.parent().is_some_and(|p| p.ends_with("aside"));
        self.wait("the spool is empty", |site| {
            site.metric("spool_records") == 0.0
                && site.metric("spool_bytes") == 0.0
                && site.files().iter().all(kept)
        });
    }

    /// Every pseudonym that the backend has received can be revealed, and stands for what was
    /// sent; gives how many there are.
    fn reveal_all(&self, sent: u64) -> usize {
        let mut held: HashMap<String, String> = HashMap::new();
        for arrival in self.sink.arrivals() {
            self.bodies.match_body(&arrival.bytes, sent, &mut held);
        }
        all_revealed(&self.installation, &held);
        held.len()
    }
}
