//! Item 16: `kill -9` of vault, gateway or both at random moments under load. Whatever the
//! backend has received can be revealed afterwards, and is what was sent; and the vault answers
//! only after its sync, shown from a trace of its system calls.

use std::collections::HashMap;
use std::time::Duration;

use cryptonym::local::processes::pause;
use cryptonym::local::random::SplitMix64;

mod support {
    pub mod installation;
    pub mod numbered;
    pub mod reveal;
    pub mod sink;
    pub mod trace;
}
use support::installation::Installation;
use support::numbered::{Bodies, Load, PATH, all_revealed, routes, unix};
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
    let mut installation = Installation::start(&routes(sink.address));
    let load = Load::start(&installation, SEED, SENDERS);
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
        // The system works again: requests succeed that began after the restart.
        let more = SENDERS as u64 + 1;
        let when = format!("after the kill of round {round}");
        load.wait_for_progress(more, Duration::from_secs(30), when);
    }
    let sent = load.stop();
    assert!(kills.iter().all(|&times| times > 0), "{kills:?}");

    // What the backend holds, whole bodies and torn ones alike.
    let originals = Bodies::new(SEED);
    let mut held: HashMap<String, String> = HashMap::new();
    let (mut bodies, mut torn) = (0, 0);
    for arrival in sink.arrivals() {
        bodies += 1;
        torn += u64::from(!arrival.whole);
        originals.match_body(&arrival.bytes, sent, &mut held);
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

    all_revealed(&installation, &held);
}

#[test]
fn path_16_the_vault_answers_only_after_its_sync() {
    let sink = Sink::start();
    let mut installation = Installation::prepare(&routes(sink.address));
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
        let body = Bodies::new(SEED).body(index);
        let answer = runtime
            .block_on(client.send("POST", PATH, "application/json", body))
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
