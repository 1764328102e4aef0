//! Item 14: the executable under load that other people's tools make: slowhttptest, h2load, wrk.
//!
//! Times are only ever compared within a run: what an ordinary request takes while thousands are
//! slow, with what it took just before.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cryptonym::local::processes::{Ended, Process, free_address, pause, run};
use rustix::process::Signal;
use support::whole::{PATIENCE, Whole, any, gateway, route};

/// Slow connections that are open while ordinary requests are measured; a few more are made, since
/// one or the other may be lost on the way.
const SLOW: usize = 2000;
const MADE: usize = SLOW + 20;

/// One after the other: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

fn tool(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

fn url(whole: &Whole, path: &str) -> String {
    format!("https://localhost:{}{path}", whole.address.port())
}

/// What no load may leave behind: an error of the tool's own count.
fn wrk_failures(ended: &Ended) -> Vec<String> {
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
    let bad = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
    ended
        .stdout
        .lines()
        .filter(bad)
        .map(str::to_owned)
        .collect()
}

/// Requests that a tool's report counts.
fn wrk_requests(ended: &Ended) -> u64 {
    let line = ended.stdout.lines().find(|l| l.contains(" requests in "));
    let word = line.and_then(|l| l.split_whitespace().next());
    word.and_then(|w| w.parse().ok())
        .unwrap_or_else(|| panic!("{}", ended.stdout))
}

/// Microseconds that 99 of 100 ordinary requests take at most, at a modest rate.
fn p99(whole: &Whole) -> u64 {
    let log = whole.folder().join("h2load.log");
    let _ = std::fs::remove_file(&log);
    let file = format!("--log-file={}", log.display());
    let address = url(whole, "/any");
    let arguments = ["--h1", "--rps=50", "-c", "4", "-D", "4", &file, &address];
    let ended = run(tool("h2load", &arguments)).unwrap();
    assert!(ended.success, "{}{}", ended.stdout, ended.stderr);
    let text = std::fs::read_to_string(&log).unwrap();
    let mut times: Vec<u64> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('\t').skip(1);
        assert_eq!(words.next(), Some("200"), "{line}");
        times.push(words.next().unwrap().parse().unwrap());
    }
    assert!(times.len() > 400, "only {} answers", times.len());
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// `slowhttptest` in one of its ways, until it is told to stop.
fn slow(whole: &Whole, way: &[&str], path: &str) -> Process {
    let connections = MADE.to_string();
    let address = url(whole, path);
    let mut command = tool("slowhttptest", way);
    command.args(["-c", &connections, "-r", "400", "-l", "120", "-u", &address]);
    Process::start("slowhttptest", command, &whole.folder().join("slow.log")).unwrap()
}

fn clients(whole: &Whole) -> f64 {
    whole.metric("connections")
}

fn until(what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        pause(Duration::from_millis(50));
    }
}

/// A real backend that has room for as many.
struct Nginx {
    address: SocketAddr,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, at) = (free_address().unwrap(), folder.path().display());
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        // `/slow` is read to its end before it is answered.
        let text = format!(
            "daemon off; master_process off; worker_rlimit_nofile 16384; {user}\n\
             pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             keepalive_requests 1000000; client_body_timeout 10m; send_timeout 10m;\n\
             server {{ listen {address} backlog=4096; root {at};\n\
             location /any {{ return 200 ok; }}\n\
             location /slow {{ proxy_pass http://{address}/any; }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        std::fs::write(folder.path().join("large"), "x".repeat(1 << 20)).unwrap();
        let configuration = folder.path().join("nginx.conf");
        let mut command = tool("nginx", &["-e", "stderr", "-c"]);
        command.arg(configuration);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        let log = folder.path().join("log");
        let mut process = Process::start("nginx", command, &log).unwrap();
        process.wait_for(address, "/any", PATIENCE).unwrap();
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }
}

/// The least memory that is seen while ordinary work goes on: freed pages are given back by whoever
/// goes on working.
fn settled(whole: &Whole) -> usize {
    let one = |_| {
        p99(whole);
        whole.memory()
    };
    (0..4).map(one).min().unwrap_or_default()
}

/// With slow connections of this way open, ordinary requests go on, and what they took comes back.
fn goes_on(way: &[&str], path: &str) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let server = Nginx::start();
    // Slow ones may stay: what is asked is what they do to others meanwhile.
    let rest = format!(
        "{}{}{}slow = true\n[limits]\n\
         head_time = \"10m\"\nbody_idle_time = \"10m\"\nbody_rate = 0\nidle_time = \"10m\"\n",
        any(server.address),
        route("/large"),
        route("/slow"),
    );
    let whole = Whole::start("access_log = false", &rest);
    // Whatever is made at the first use is made, and the memory that a crowd has needed is known.
    let mut ratios = Vec::new();
    let (mut start, mut first) = (0, 0);
    for round in 0..3 {
        let quiet = p99(&whole);
        if round == 0 {
            start = whole.memory();
            println!(
                "{way:?}: {} KiB own, {start} KiB in all",
                whole.own_memory()
            );
        }
        let crowd = slow(&whole, way, path);
        until("slow connections", || clients(&whole) >= SLOW as f64);
        let loud = p99(&whole);
        assert!(clients(&whole) >= SLOW as f64, "they went away");
        let _ = crowd.stop();
        until("they leave", || clients(&whole) <= 1.0);
        println!(
            "{way:?}: {} KiB own, {} KiB in all",
            whole.own_memory(),
            whole.memory()
        );
        println!("{way:?}: p99 {quiet} µs quiet, {loud} µs beside {SLOW} slow ones");
        ratios.push(loud as f64 / quiet as f64);
        if round == 0 {
            first = settled(&whole);
        }
    }
    // The best round: whatever else this machine does can only make one worse.
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[0] < 5.0, "{ratios:?}");
    let after = settled(&whole);
    println!("{way:?}: {start} KiB before, {first} KiB after one crowd, {after} KiB after three");
    // The allocator keeps something of what a crowd has needed (docs/performance.md); a second and
    // third crowd add little to that.
    assert!(
        after as f64 <= first as f64 * 1.5,
        "{first}, then {after} KiB"
    );
    assert!(after <= start * 2, "{start}, then {after} KiB");
}

#[test]
fn proxy_14_slow_heads() {
    goes_on(&["-H", "-i", "10"], "/any");
}

#[test]
fn proxy_14_slow_bodies() {
    goes_on(&["-B", "-i", "10", "-s", "8192"], "/slow");
}

#[test]
fn proxy_14_slow_readers() {
    goes_on(
        &["-X", "-n", "10", "-w", "512", "-y", "1024", "-z", "32"],
        "/large",
    );
}

#[test]
fn proxy_14_ten_reloads_and_no_request_fails() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Nginx::start();
    let first = any(backend.address);
    let second = format!("{first}{}", route("/more"));
    let whole = Whole::start("access_log = false", &first);
    let address = url(&whole, "/any");
    let wrk = tool("wrk", &["-t1", "-c16", "-d12s", &address]);
    let h2load = tool("h2load", &["-c", "4", "-m", "8", "-D", "12", &address]);
    let wrk = std::thread::spawn(move || run(wrk).unwrap());
    let h2load = std::thread::spawn(move || run(h2load).unwrap());
    pause(Duration::from_secs(1));
    for turn in 1..=10 {
        let next = if turn % 2 == 1 { &second } else { &first };
        whole.writes("access_log = false", next);
        whole.process.signal(Signal::HUP);
        whole.until("reloads_total", f64::from(turn));
        pause(Duration::from_millis(800));
    }
    assert!(
        !wrk.is_finished() && !h2load.is_finished(),
        "reloads took too long"
    );
    let (wrk, h2load) = (wrk.join().unwrap(), h2load.join().unwrap());
    assert_eq!(wrk_failures(&wrk), Vec::<String>::new());
    assert!(wrk_requests(&wrk) > 1000, "{}", wrk.stdout);
    let line = h2load.stdout.lines().find(|l| l.starts_with("requests:"));
    let line = line.unwrap_or_else(|| panic!("{}{}", h2load.stdout, h2load.stderr));
    assert!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{line}");
    println!(
        "10 reloads: {} requests by wrk; h2load {line}",
        wrk_requests(&wrk)
    );
}

#[test]
fn proxy_14_a_hand_over_refuses_no_connection() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let backend = Nginx::start();
    let keys = "access_log = false\nhandover = \"handover\"";
    let mut whole = Whole::start(keys, &any(backend.address));
    let address = url(&whole, "/any");
    let kept = tool("wrk", &["-t1", "-c16", "-d8s", &address]);
    let fresh = tool(
        "wrk",
        &["-t1", "-c8", "-d8s", "-H", "Connection: close", &address],
    );
    let clients = [kept, fresh].map(|wrk| std::thread::spawn(move || run(wrk).unwrap()));
    pause(Duration::from_secs(2));
    let command = gateway(&whole.config(), &["--take-over"]);
    let log = whole.folder().join("successor");
    let mut next = Process::start("successor", command, &log).unwrap();
    let ended = whole.process.wait_for_end(PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(0));
    assert!(clients.iter().all(|c| !c.is_finished()), "it took too long");
    for client in clients {
        let ended = client.join().unwrap();
        assert_eq!(
            wrk_failures(&ended),
            Vec::<String>::new(),
            "{}",
            ended.stdout
        );
        println!("hand-over: {} requests", wrk_requests(&ended));
    }
    assert!(next.is_running());
}
