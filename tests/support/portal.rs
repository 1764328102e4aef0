//! A web server of another make (`portal.py`), which writes down what it saw.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::authority::Pair;

pub struct Portal {
    pub port: u16,
    log: PathBuf,
    child: Child,
}

impl Portal {
    /// On loopback. `log`: a file of its own.
    pub fn start(log: &Path, pair: Option<&Pair>) -> Self {
        Self::start_under(&[], "127.0.0.1", 0, log, pair)
    }

    /// Under another program (`nsenter …`), at this address.
    pub fn start_under(
        wrapper: &[&str],
        address: &str,
        port: u16,
        log: &Path,
        pair: Option<&Pair>,
    ) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/portal.py");
        let words = wrapper.iter().copied().chain(["python3"]);
        let words: Vec<&str> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(script);
        command.args([address, &port.to_string()]).arg(log);
        if let Some(pair) = pair {
            command.args([&pair.certificate, &pair.key]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        Self {
            port: line.trim().parse().expect("it says its port"),
            log: log.to_owned(),
            child,
        }
    }

    /// What it has seen since the last time it was asked.
    pub fn seen(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// The only one of them.
    pub fn saw_one(&self) -> Value {
        let mut all = self.seen();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
