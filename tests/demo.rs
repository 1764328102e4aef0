//! Item 13: `cryptonym demo` from outside, as somebody who has just built it sees it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn demo(arguments: &[&str], temporary: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
    command
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null());
    command
}

/// Processes that still run out of this folder.
fn running_in(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|path| {
            fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder.path()))
        })
        .collect()
}

fn assert_nothing_left(temporary: &tempfile::TempDir) {
    assert_eq!(running_in(temporary), Vec::<PathBuf>::new(), "left running");
    let files: Vec<_> = fs::read_dir(temporary.path()).unwrap().flatten().collect();
    assert!(files.is_empty(), "left behind: {files:?}");
}

#[test]
fn path_13_the_demo_shows_everything_holds_what_it_claims_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(&["--once", "--records", "300", "--seed", "13"], &temporary)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{wrong}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
        assert!(
            !line.contains('\x1b'),
            "colours without a terminal: {line:?}"
        );
        assert!(!line.starts_with("NOT "), "{line}");
    }
    for shown in [
        "what was sent, and what the backend holds",
        "A group-by and a join still work",
        "A provider works under the identifiers",
        "\"code\": \"unlisted-place\"",
        "two people, one purpose",
        "the log's tree and signatures hold",
    ] {
        assert!(text.contains(shown), "not shown: {shown}");
    }
    assert!(text.lines().filter(|line| line.starts_with("ok  ")).count() >= 9);
    assert_nothing_left(&temporary);
}

#[test]
fn path_13_the_demo_runs_until_it_is_asked_to_end_and_its_commands_work() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&["--records", "50"], &temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut commands, mut trying) = (String::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("Running until Ctrl-C") {
            break;
        }
        if trying && line.starts_with("  ") && !line.contains("less ") {
            commands += &format!("{line}\n");
        }
        trying |= line.ends_with("Try it");
    }
    assert!(
        !running_in(&temporary).is_empty(),
        "the gateway and the vault run on"
    );

    // The commands as printed, pasted into a shell.
    let pasted = Command::new("bash")
        .args([
            "-e",
            "-c",
            &commands.replace("curl ", "curl --silent --show-error --fail-with-body "),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&pasted.stdout);
    let wrong = String::from_utf8_lossy(&pasted.stderr);
    assert!(pasted.status.success(), "{commands}\n{text}{wrong}");
    assert!(text.contains("\"columns\""), "{text}");

    let began = Instant::now();
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_nothing_left(&temporary);
}

#[test]
fn path_13_the_demo_says_plainly_why_it_cannot_start() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(&["--once"], &temporary)
        .env("TMPDIR", "/nonexistent/folder")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let wrong = String::from_utf8(output.stderr).unwrap();
    assert!(wrong.starts_with("demo: "), "{wrong}");
    assert!(wrong.contains("/nonexistent/folder"), "{wrong}");
    assert!(!wrong.contains("panicked"), "{wrong}");
}
