//! Holds the import law of `ARCHITECTURE.md` by reading the paths of every file in `src/`.
//!
//! The law is the table below: for each room, whom it may know. Unit tests (`#[cfg(test)]`) are
//! not the house itself and are not read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

mod support {
    pub mod paths;
}
use support::paths::{Used, test_modules, used_paths};

/// Longest file. Longer ones are split by duty.
const LINES: usize = 600;

const GROUND: &[&str] = &["error", "limits", "secret"];
const PURE: &[&str] = &["coding", "format", "policy", "pseudonym"];

/// Room → the rooms that it may know, beside itself.
const LAW: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &[]),
    ("secret", &[]),
    // What a process that holds keys asks of the kernel.
    ("harden", &["limits"]),
    ("pseudonym", &["error", "limits", "secret"]),
    ("policy", &["error", "limits", "secret", "pseudonym"]),
    ("format", &["error", "limits", "secret", "policy"]),
    // Content codings: bytes in, bytes out.
    ("coding", &["error", "limits"]),
    (
        "config",
        &[
            "error",
            "limits",
            "secret",
            "policy",
            "pseudonym",
            "format",
            "coding",
        ],
    ),
    ("wire", &["error", "limits", "secret", "pseudonym"]),
    ("tls", &["error", "limits", "secret", "config"]),
    (
        "observe",
        &["error", "limits", "secret", "config", "policy"],
    ),
    (
        "vault_link",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "config",
            "wire",
            "tls",
            "observe",
        ],
    ),
    (
        "rewrite",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "policy",
            "format",
            "config",
            "observe",
            "vault_link",
        ],
    ),
    (
        "gateway",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "policy",
            "format",
            "coding",
            "config",
            "observe",
            "tls",
            "vault_link",
            "rewrite",
        ],
    ),
    (
        "vault",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "config",
            "observe",
            "tls",
            "wire",
        ],
    ),
    (
        "feed",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "policy",
            "format",
            "coding",
            "config",
            "observe",
            "vault_link",
            "rewrite",
        ],
    ),
    // It drives the commands as processes, as a person would.
    ("local", &["error", "limits", "secret", "tls"]),
    ("demo", &["error", "limits", "secret", "tls", "local"]),
    // It speaks to the vault as a gateway does, and to the gateway as a client does.
    (
        "bench",
        &[
            "error",
            "limits",
            "secret",
            "pseudonym",
            "config",
            "tls",
            "vault_link",
            "local",
        ],
    ),
];

/// Exceptions: single items of a room that another may name although it may not know the room.
const ITEMS: &[(&str, &[&str])] = &[
    // The registry of persons is configuration; its roles and ids are words of certificates.
    ("config", &["tls::identity"]),
    // The vault's log names purposes and categories; it knows no rules.
    (
        "vault",
        &[
            "policy::Purpose",
            "policy::Category",
            "policy::Special",
            "policy::category",
        ],
    ),
];

/// Items that a room may not name although it knows the room they stand in.
const HIDDEN: &[(&str, &[&str])] = &[
    (
        "vault",
        &[
            "config::Route",
            "config::Backend",
            "config::BackendUrl",
            "config::Gateway",
        ],
    ),
    (
        "vault_link",
        &["config::Route", "config::Backend", "config::Vault"],
    ),
    (
        "rewrite",
        &[
            "config::Route",
            "config::Backend",
            "config::Vault",
            "config::Gateway",
        ],
    ),
    ("gateway", &["config::Vault"]),
];

/// What pure rooms may not reach for: runtimes, sockets, clocks, disks, processes, randomness.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "socket2",
    "getrandom",
    "rand",
    "rusqlite",
    "rustls",
    "rustix",
    "tracing",
    "std::time",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::os",
];

#[test]
fn path_14_every_room_knows_only_those_below_it() {
    report(&breaches(&source(), law_of_file));
}

#[test]
fn path_14_pure_rooms_reach_for_no_clock_disk_socket_or_randomness() {
    report(&breaches(&source(), purity_of_file));
}

#[test]
fn path_14_files_are_short_and_say_what_they_are() {
    report(&breaches(&source(), shape_of_file));
}

#[test]
fn path_14_every_room_stands_in_the_law() {
    let unknown: Vec<_> = rooms(&source())
        .into_iter()
        .filter(|room| !["main", "lib", "cli"].contains(&room.as_str()))
        .filter(|room| !LAW.iter().any(|(name, _)| name == room))
        .collect();
    assert!(
        unknown.is_empty(),
        "rooms without a line in the law: {unknown:?}"
    );
}

#[test]
fn path_14_the_law_itself_has_no_circle() {
    // In the table's order every room knows only rooms that stand before it.
    for (at, (room, known)) in LAW.iter().enumerate() {
        for other in *known {
            let below = LAW[..at].iter().any(|(name, _)| name == other);
            assert!(
                below,
                "{room} knows {other}, which does not stand before it"
            );
        }
    }
}

#[test]
fn path_14_planted_breaches_are_found() {
    let plant = |path: &str, text: &str| File {
        path: path.into(),
        text: text.to_owned(),
    };
    let head = "//! Planted.\n";
    let law = |path: &str, text: &str| law_of_file(&plant(path, &format!("{head}{text}")));

    for (path, text) in [
        ("gateway/a.rs", "use crate::vault::Store;"),
        (
            "gateway/a.rs",
            "use crate::{\n  config::Limits,\n  wire::{Batch},\n};",
        ),
        ("gateway/a/b.rs", "use super::super::super::vault;"),
        (
            "gateway/mod.rs",
            "mod inner { fn f() { super::super::vault::open() } }",
        ),
        (
            "gateway/a.rs",
            "fn f() -> crate :: vault :: Store { todo!() }",
        ),
        ("vault/a.rs", "use crate::policy::Rule;"),
        ("vault/a.rs", "use crate::policy::{Purpose, Policy};"),
        ("vault/a.rs", "use crate::config::{Route, Vault};"),
        ("secret.rs", "use crate::error::Fault;"),
        ("pseudonym/a.rs", "pub use crate::policy::Generalise as G;"),
        ("demo/a.rs", "use crate::gateway;"),
        ("bench/a.rs", "use crate::demo::show;"),
        ("local/a.rs", "use crate::bench::origin;"),
        (
            "format/a.rs",
            "pub(in crate::format) use crate::rewrite::Job;",
        ),
        ("vault/a.rs", "use crate::*;"),
    ] {
        assert_eq!(law(path, text).len(), 1, "not found in {path}: {text}");
    }
    for (path, text) in [
        (
            "gateway/a.rs",
            "// use crate::vault::Store;\nuse crate::vault_link::Lease;",
        ),
        (
            "gateway/a.rs",
            "const A: &str = \"use crate::vault::Store;\";",
        ),
        (
            "gateway/a.rs",
            "const A: &str = r#\"\"crate::vault::Store\"#;",
        ),
        (
            "gateway/a.rs",
            "#[cfg(test)]\nmod tests { use crate::vault::Store; }",
        ),
        (
            "gateway/a.rs",
            "struct A { #[cfg(test)] a: crate::vault::B }",
        ),
        (
            "gateway/a.rs",
            "fn f<'a>(_: &'a str) -> char { '\"' } use super::b;",
        ),
        ("vault/a.rs", "use crate::policy::{Category, Purpose};"),
        ("cli/a.rs", "use crate::vault::serve;"),
    ] {
        assert!(
            law(path, text).is_empty(),
            "wrongly found in {path}: {text}"
        );
    }

    let pure = |text: &str| purity_of_file(&plant("format/a.rs", &format!("{head}{text}")));
    assert_eq!(pure("use std::{fs, time::Instant};").len(), 2);
    assert_eq!(
        pure("fn f() { let _ = std::time::SystemTime::now(); }").len(),
        1
    );
    assert_eq!(pure("use std::net::{IpAddr, TcpStream};").len(), 1);
    assert!(pure("use std::net::{IpAddr, Ipv6Addr};\nuse std::fmt;").is_empty());

    let shape = |text: String| shape_of_file(&plant("format/a.rs", &text));
    assert_eq!(shape("use std::fmt;\n".to_owned()).len(), 1);
    assert_eq!(shape(format!("{head}{}", "\n".repeat(LINES))).len(), 1);
    assert!(shape(head.to_owned()).is_empty());

    let breach = &law("gateway/a.rs", "\nuse crate::vault::Store;")[0];
    assert!(
        breach.to_string().starts_with("src/gateway/a.rs:3: "),
        "{breach}"
    );
}

struct File {
    /// Relative to `src/`.
    path: PathBuf,
    text: String,
}

struct Breach {
    path: PathBuf,
    line: usize,
    rule: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "src/{}:{}: {}",
            self.path.display(),
            self.line,
            self.rule
        )
    }
}

fn law_of_file(file: &File) -> Vec<Breach> {
    let module = module_of(&file.path);
    let Some(room) = module.first() else {
        return Vec::new();
    };
    let Some((_, may)) = LAW.iter().find(|(name, _)| name == room) else {
        return Vec::new(); // main, lib and cli know everybody
    };
    let named = |table: &[(&str, &[&str])], path: &str| {
        let items = table.iter().find(|(name, _)| name == room);
        items.is_some_and(|(_, items)| items.iter().any(|item| within(path, item)))
    };
    used_paths(&file.text, &module)
        .into_iter()
        .filter_map(|Used { path, line, inside }| {
            let other = path.split("::").next().unwrap_or_default();
            if !inside || other == room || other.is_empty() {
                return None;
            }
            let allowed = may.contains(&other) && !named(HIDDEN, &path) || named(ITEMS, &path);
            (!allowed).then(|| Breach {
                path: file.path.clone(),
                line,
                rule: format!("`{room}` must not know `crate::{path}`"),
            })
        })
        .collect()
}

fn purity_of_file(file: &File) -> Vec<Breach> {
    let module = module_of(&file.path);
    let pure = |room: &String| PURE.contains(&room.as_str()) || GROUND.contains(&room.as_str());
    if !module.first().is_some_and(pure) {
        return Vec::new();
    }
    used_paths(&file.text, &module)
        .into_iter()
        .filter(|used| !used.inside)
        // Ground may speak of lengths of time; nobody pure may ask for the time.
        .filter(|used| used.path != "std::time::Duration")
        .filter(|used| IMPURE.iter().any(|item| within(&used.path, item)))
        .map(|used| Breach {
            path: file.path.clone(),
            line: used.line,
            rule: format!("`{}` is pure and must not use `{}`", module[0], used.path),
        })
        .collect()
}

fn shape_of_file(file: &File) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut breach = |line, rule| {
        found.push(Breach {
            path: file.path.clone(),
            line,
            rule,
        });
    };
    if !file.text.starts_with("//!") {
        breach(1, "a file begins with a `//!` header".to_owned());
    }
    let lines = file.text.lines().count();
    if lines > LINES {
        breach(
            LINES,
            format!("{lines} lines: split it by duty (at most {LINES})"),
        );
    }
    found
}

/// Whether `path` is `item` or something in it.
fn within(path: &str, item: &str) -> bool {
    path.strip_prefix(item)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `gateway/serve.rs` → `["gateway", "serve"]`, `gateway/mod.rs` → `["gateway"]`, `lib.rs` → `[]`.
fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

fn rooms(files: &[File]) -> Vec<String> {
    let mut rooms: Vec<String> = files
        .iter()
        .filter_map(|file| module_of(&file.path).into_iter().next())
        .collect();
    rooms.sort();
    rooms.dedup();
    rooms
}

fn breaches(files: &[File], rule: impl Fn(&File) -> Vec<Breach>) -> Vec<Breach> {
    files.iter().flat_map(rule).collect()
}

fn report(breaches: &[Breach]) {
    let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(
        lines.is_empty(),
        "the house's law is broken:\n{}",
        lines.join("\n")
    );
}

/// Every file of `src/` but those that are only compiled for tests.
fn source() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read(&root, &root, &mut files);
    assert!(
        files.len() > 30,
        "only {} files found: is the path right?",
        files.len()
    );
    let tests: Vec<Vec<String>> = files
        .iter()
        .flat_map(|file| test_modules(&file.text, &module_of(&file.path)))
        .collect();
    files.retain(|file| !tests.contains(&module_of(&file.path)));
    files
}

fn read(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).expect("src can be read");
    for entry in entries {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(File {
                text: fs::read_to_string(&path).expect("a source file is UTF-8"),
                path: path.strip_prefix(root).expect("it was found there").into(),
            });
        }
    }
}
