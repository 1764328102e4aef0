//! Item 3: how many instructions the hot rooms take, counted by valgrind's callgrind and compared
//! with `benches/instructions.json`, so that a slow-down is seen when it is made.
//!
//! Time says little on a busy machine; the number of instructions is the same on every one. The
//! test executable runs itself under callgrind. There it does each work of `support/works` twice:
//! once uncounted (lazy parts are made, buffers have grown), once inside [`counted_work`].
//! Callgrind starts to count at that function and writes the sum when it returns; all threads
//! count. The allocator is the gateway's.
//!
//! What is counted are the portable paths: valgrind hides SHA-NI, AVX-512 and VAES from CPUID and
//! shows AVX2, AES-NI and PCLMULQDQ. So SHA-256 is the software of `sha2`, the scanner that of
//! AVX2, and AES-GCM that of AES-NI. An instruction is not a nanosecond: these figures say that
//! something changed, the benches say what it is worth.
//!
//! New figures: `CRYPTONYM_BLESS=1 tests/run --topic instructions`.

#![cfg(feature = "worlds")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

mod support;

#[path = "../benches/support/records.rs"]
mod records;
#[path = "../benches/support/rewriting.rs"]
mod rewriting;
#[path = "../benches/support/scanning.rs"]
mod scanning;
#[path = "../benches/support/vault.rs"]
mod vault;

#[path = "support/counts.rs"]
mod counts;
#[path = "support/works.rs"]
mod works;
#[path = "support/works_worlds.rs"]
mod works_worlds;

use cryptonym::tls::issue::{Options, init};

use counts::{BLESS, Counts, Facts, Measured};
use works::Entry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two counts of the same work differ by no more: hash seeds and ephemeral keys are random.
const AGREE_PERCENT: f64 = 0.2;

/// Where the counted process writes what it did.
const LIST: &str = "CRYPTONYM_COUNT_LIST";
/// The one entry to count, and how often it is done instead of once.
const ONLY: &str = "CRYPTONYM_COUNT_ONLY";
const TIMES: &str = "CRYPTONYM_COUNT_TIMES";

/// `rep movsb` and `rep stosb` count as an instruction a byte, which would make a copy look dear:
/// the C library copies with vectors instead.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824:\
                        glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// The work that is counted double, to see that it is told.
const SAMPLE: &str = "derive, with its text";

fn entries() -> impl Iterator<Item = &'static Entry> {
    works::PURE.iter().chain(works_worlds::WORLDS)
}

/// Callgrind counts from here on, until it returns. It returns by itself: after a jump into the
/// work, callgrind would not see the end.
#[inline(never)]
fn counted_work(work: &mut dyn FnMut()) -> usize {
    work();
    std::hint::black_box(1)
}

/// Every work asserts what it has done. Under callgrind, this is the process that is counted.
#[test]
fn speed_03_every_work_does_what_is_counted() {
    let only = std::env::var(ONLY).ok();
    let times = std::env::var(TIMES).map_or(1, |t| t.parse().expect("a number"));
    let mut list = format!("processor\t{}\n", processor());
    for (name, per, prepare) in entries() {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut work = prepare();
        let (warm, mut units) = (work(), 0);
        counted_work(&mut || {
            for _ in 0..times {
                units = work();
            }
        });
        assert!(units > 0, "{name} did nothing");
        assert_eq!(units, warm, "{name} does not do the same again");
        writeln!(list, "{name}\t{per}\t{units}").expect("a string");
    }
    if let Some(file) = std::env::var_os(LIST) {
        std::fs::write(file, list).expect("the list can be written");
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "counts are those of the release profile")]
fn speed_03_instructions_are_those_that_are_written_down() {
    let (facts, measured) = first();
    let mut file = Counts::load();
    if std::env::var_os("CRYPTONYM_BLESS").is_some_and(|value| value == "1") {
        file.bless(facts.clone(), measured);
        return file.save();
    }
    let elsewhere = file.elsewhere(facts);
    let mut text = String::new();
    if !elsewhere.is_empty() {
        writeln!(
            text,
            "benches/instructions.json was counted elsewhere ({}): the tolerance here is {} %, so \
             only large changes are seen. To see small ones, bless before the change: {BLESS}",
            elsewhere.join("; "),
            file.tolerance_percent_elsewhere
        )
        .expect("a string");
        // Past the test harness, which would show it only for a failure.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    let lines = file.compare(facts, measured);
    assert!(
        lines.is_empty(),
        "instructions are not those of benches/instructions.json:\n  {}\n{text}If this is what \
         the change is worth (or if they became fewer), write the new figures down and commit \
         them with the change:\n  {BLESS}",
        lines.join("\n  ")
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "counts are those of the release profile")]
fn speed_03_two_counts_agree() {
    let again = count(None, 1).1;
    let mut apart = Vec::new();
    for (name, (_, one)) in &first().1 {
        let other = again[name].1;
        let percent = (other / one - 1.0).abs() * 100.0;
        // An entry that is noisier says so by a tolerance of its own, of which this is a fifth.
        let own = Counts::load()
            .counts
            .get(name)
            .and_then(|c| c.tolerance_percent);
        let most = own.map_or(AGREE_PERCENT, |own| own / 5.0);
        if percent > most {
            apart.push(format!(
                "{name}: {one:.2} and {other:.2}, {percent:.2} % apart"
            ));
        }
    }
    assert!(
        apart.is_empty(),
        "two counts differ:\n  {}",
        apart.join("\n  ")
    );
}

/// The whole way, with a work that is done twice.
#[test]
#[cfg_attr(debug_assertions, ignore = "counts are those of the release profile")]
fn speed_03_work_that_doubles_is_refused() {
    let (facts, measured) = first();
    let mut file = Counts::load();
    file.bless(facts.clone(), measured);
    assert_eq!(file.compare(facts, measured), Vec::<String>::new());
    let mut doubled = measured.clone();
    doubled.extend(count(Some(SAMPLE), 2).1);
    let lines = file.compare(facts, &doubled);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(SAMPLE) && lines[0].contains("MORE"),
        "{lines:?}"
    );
    let more = doubled[SAMPLE].1 / measured[SAMPLE].1;
    assert!((1.99..2.01).contains(&more), "{more}");
}

#[test]
fn speed_03_the_comparison_tells_more_fewer_new_and_gone() {
    let mut file = Counts::load();
    let facts = file.facts.clone();
    file.tolerance_percent = 3.0;
    let all = |figures: &[(&str, f64)]| -> Measured {
        let figure = |(name, count): &(&str, f64)| ((*name).into(), ("byte".into(), *count));
        figures.iter().map(figure).collect()
    };
    file.bless(facts.clone(), &all(&[("a", 100.0), ("b", 100.0)]));
    file.counts
        .get_mut("b")
        .expect("it is there")
        .tolerance_percent = Some(10.0);
    let told = |a, b| file.compare(&facts, &all(&[("a", a), ("b", b)]));
    assert!(told(102.9, 109.9).is_empty());
    assert!(told(97.1, 90.1).is_empty());
    assert!(told(103.1, 100.0)[0].contains("a: MORE: 103.1 a byte instead of 100 (+3.1 %"));
    assert!(told(96.9, 100.0)[0].contains("a: fewer"));
    assert!(told(100.0, 110.1)[0].contains("tolerance 10 %"));
    assert_eq!(told(f64::NAN, 100.0).len(), 1);
    assert_eq!(told(200.0, 200.0).len(), 2);
    let gone = file.compare(&facts, &all(&[("a", 100.0), ("c", 1.0)]));
    assert_eq!(gone, ["c: new, 1 a byte", "b: is not counted any more"]);
    // Another compiler: only what is large is told.
    let mut other = facts.clone();
    other.rustc = "rustc 9.99.0".into();
    let far = 1.0 + file.tolerance_percent_elsewhere / 100.0;
    let told = |a| file.compare(&other, &all(&[("a", a), ("b", 100.0)])).len();
    assert_eq!((told(99.0 * far), told(101.0 * far)), (0, 1));
    assert_eq!(file.elsewhere(&facts), Vec::<String>::new());
    assert!(file.elsewhere(&other)[0].contains("is rustc 9.99.0"));
    // Blessing keeps the tolerances.
    file.bless(other, &all(&[("b", 200.0)]));
    assert_eq!(file.tolerance("b", false), 10.0);
    assert_eq!(file.counts.len(), 1);
}

/// What is counted once for all tests.
fn first() -> &'static (Facts, Measured) {
    static FIRST: OnceLock<(Facts, Measured)> = OnceLock::new();
    FIRST.get_or_init(|| count(None, 1))
}

/// Runs this executable under callgrind.
fn count(only: Option<&str>, times: usize) -> (Facts, Measured) {
    let folder = tempfile::tempdir().expect("a folder");
    let (sums, list) = (folder.path().join("sums"), folder.path().join("list"));
    let certificates = folder.path().join("certs");
    init(&Options::new(&certificates)).expect("certificates");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--combine-dumps=yes"])
        .args([
            "--zero-before=*::counted_work",
            "--dump-after=*::counted_work",
        ])
        .arg(format!("--callgrind-out-file={}", sums.display()))
        .arg(std::env::current_exe().expect("this executable"))
        .args(["speed_03_every_work_does_what_is_counted", "--exact"])
        .args(["--test-threads=1", "--nocapture"])
        .env(LIST, &list)
        .env(works_worlds::CERTIFICATES, certificates)
        .env_remove(ONLY)
        .env(TIMES, times.to_string())
        .env("GLIBC_TUNABLES", TUNABLES);
    if let Some(only) = only {
        command.env(ONLY, only);
    }
    let ran = match command.output() {
        Ok(ran) => ran,
        Err(error) => panic!("valgrind does not start ({error}): apt-get install valgrind"),
    };
    assert!(
        ran.status.success(),
        "under valgrind:\n{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    let list = std::fs::read_to_string(list).expect("the counted process wrote its list");
    let mut lines = list.lines();
    let processor = lines
        .next()
        .and_then(|line| line.strip_prefix("processor\t"));
    let facts = facts(processor.expect("the first line"));
    let sums = sums_of(&sums);
    let works: Vec<&str> = lines.collect();
    assert_eq!(works.len(), sums.len(), "one sum a work");
    let measured: BTreeMap<_, _> = works
        .into_iter()
        .zip(sums)
        .map(|(work, sum)| {
            let mut parts = work.split('\t');
            let mut next = || parts.next().expect("three fields").to_owned();
            let (name, per, units) = (next(), next(), next());
            let units: f64 = units.parse().expect("a number");
            (name, (per, sum as f64 / units))
        })
        .collect();
    (facts, measured)
}

/// Callgrind's sums, one each time that [`counted_work`] returned. The last part is what came
/// behind the last one.
fn sums_of(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).expect("callgrind wrote its sums");
    let mut sums = Vec::new();
    let mut ours = false;
    for line in text.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            ours = trigger.starts_with("--dump-after=");
        } else if let Some(sum) = line.strip_prefix("totals: ").filter(|_| ours) {
            sums.push(sum.trim().parse().expect("one event is counted"));
        }
    }
    sums
}

fn facts(processor: &str) -> Facts {
    let says = |program: &str| {
        let ran = Command::new(program).arg("--version").output();
        let ran = ran.unwrap_or_else(|error| panic!("{program}: {error}"));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    Facts {
        rustc: says(&rustc),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        profile: if cfg!(debug_assertions) {
            "dev"
        } else {
            "release"
        }
        .into(),
        valgrind: says("valgrind"),
        processor: processor.into(),
    }
}

/// Of the instructions that our code and the libraries' choose by, those that are there.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        [
            ("sse4.2", has!("sse4.2")),
            ("avx2", has!("avx2")),
            ("bmi2", has!("bmi2")),
            ("adx", has!("adx")),
            ("aes", has!("aes")),
            ("pclmulqdq", has!("pclmulqdq")),
            ("sha", has!("sha")),
            ("vaes", has!("vaes")),
            ("avx512f", has!("avx512f")),
        ]
        .iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        "unknown".into()
    }
}
