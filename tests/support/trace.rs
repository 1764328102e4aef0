//! Reads what `strace -f -ttt -T -yy -o FILE` has written: which call, on what, from when to when.
//!
//! A call that another thread interrupts stands on two lines (`<unfinished ...>`, `<... resumed>`);
//! both become one [`Call`].

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cryptonym::local::processes::pause;

#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// What the first argument's descriptor is: a file's path, or `TCP:[…]`.
    pub path: String,
    /// Seconds since 1970.
    pub start: f64,
    pub end: f64,
    /// The result, where it is a number of bytes.
    pub bytes: i64,
}

/// Calls in the order in which they began.
pub struct Trace(Vec<Call>);

impl Trace {
    pub fn read(file: &Path) -> Self {
        let text = ended(file);
        let mut open: HashMap<(String, String), (f64, String)> = HashMap::new();
        let mut calls = Vec::new();
        for line in text.lines() {
            let Some((thread, line)) = line.split_once(' ') else {
                continue;
            };
            let Some((time, rest)) = line.trim_start().split_once(' ') else {
                continue;
            };
            let Ok(time) = time.parse::<f64>() else {
                continue;
            };
            let rest = rest.trim_start();
            if let Some(rest) = rest.strip_prefix("<... ") {
                let name = rest.split(' ').next().unwrap_or_default();
                if let Some((start, path)) = open.remove(&(thread.to_owned(), name.to_owned())) {
                    calls.extend(call(name, path, start, rest));
                }
                continue;
            }
            let Some((name, arguments)) = rest.split_once('(') else {
                continue;
            };
            let path = descriptor(arguments);
            if rest.ends_with("<unfinished ...>") {
                open.insert((thread.to_owned(), name.to_owned()), (time, path));
            } else {
                calls.extend(call(name, path, time, rest));
            }
        }
        assert!(!calls.is_empty(), "no call was understood:\n{text}");
        calls.sort_by(|a, b| a.start.total_cmp(&b.start));
        Self(calls)
    }

    /// Reads from connections to this port.
    pub fn socket_reads(&self, port: u16) -> impl Iterator<Item = &Call> {
        self.on_socket(port, &["read", "readv", "recvfrom", "recvmsg"])
    }

    /// Writes to connections to this port.
    pub fn socket_writes(&self, port: u16) -> impl Iterator<Item = &Call> {
        self.on_socket(port, &["write", "writev", "sendto", "sendmsg"])
    }

    /// Syncs of files.
    pub fn syncs(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(|call| call.name.ends_with("sync"))
    }

    fn on_socket(&self, port: u16, names: &'static [&str]) -> impl Iterator<Item = &Call> {
        // A server's own end stands first: TCP:[127.0.0.1:8200->127.0.0.1:41234].
        let own = format!(":{port}->");
        self.0.iter().filter(move |call| {
            names.contains(&call.name.as_str())
                && call.path.starts_with("TCP:")
                && call.path.contains(&own)
        })
    }
}

/// The whole trace: strace writes its last line when the process has ended.
fn ended(file: &Path) -> String {
    for _ in 0..500 {
        let text = fs::read_to_string(file).expect("strace has written its file");
        if text
            .lines()
            .next_back()
            .is_some_and(|line| line.contains("+++ exited with"))
        {
            return text;
        }
        pause(std::time::Duration::from_millis(20));
    }
    panic!("strace has not ended");
}

/// `7<TCP:[127.0.0.1:8200->127.0.0.1:41234]>, …` → `TCP:[…]`
fn descriptor(arguments: &str) -> String {
    let Some((_, rest)) = arguments.split_once('<') else {
        return String::new();
    };
    // `->` stands inside a socket's name, so the first `>` that is not part of one ends it.
    let end = rest
        .char_indices()
        .find(|&(at, c)| c == '>' && !rest[..at].ends_with('-'))
        .map_or(rest.len(), |(at, _)| at);
    rest[..end].to_owned()
}

/// `… = 123 <0.000045>`, with what strace adds behind the number.
fn call(name: &str, path: String, start: f64, line: &str) -> Option<Call> {
    let (_, result) = line.rsplit_once(" = ")?;
    let bytes = result.split(' ').next()?.parse().ok()?;
    let took: f64 = result.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok()?;
    Some(Call {
        name: name.to_owned(),
        path,
        start,
        end: start + took,
        bytes,
    })
}
