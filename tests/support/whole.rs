//! A gateway as a process of its own, without a vault: for what only a process can show.

// Each test uses a part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cryptonym::local::processes::{Process, free_address, get, pause};

use super::certificates::Certificates;
use super::raw::Raw;

/// Machines of tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Whole {
    pub process: Process,
    pub address: SocketAddr,
    pub observe: SocketAddr,
    pub certificates: Certificates,
}

/// One backend and one opaque route to it.
pub fn any(backend: SocketAddr) -> String {
    format!(
        "[backend.there]\nregion = \"GB\"\nurls = [\"http://{backend}\"]\n{}",
        route("/any")
    )
}

/// An opaque route to the backend `there`.
pub fn route(path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = path.chars().map(plain).collect();
    let name = name.trim_matches('-');
    format!("[[route]]\nname = \"{name}\"\npath = \"{path}\"\nbackend = \"there\"\nopaque = true\n")
}

impl Whole {
    /// `keys`: more of `[gateway]`; `rest`: backends and routes.
    pub fn start(keys: &str, rest: &str) -> Self {
        Self::start_as(keys, rest, |file| gateway(file, &[]))
    }

    /// As [`Self::start`], by this command, which is given the configuration's file.
    pub fn start_as(keys: &str, rest: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let certificates = Certificates::new();
        let (address, observe) = (free_address().unwrap(), free_address().unwrap());
        write(&certificates, address, observe, keys, rest);
        let folder = certificates.dir.path();
        let command = command(&folder.join("config.toml"));
        let mut process = Process::start("gateway", command, &folder.join("log")).unwrap();
        process
            .wait_for(observe, "/readyz", PATIENCE)
            .unwrap_or_else(|failure| panic!("{failure}"));
        Self {
            process,
            address,
            observe,
            certificates,
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.certificates.dir.path().to_owned()
    }

    pub fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    /// Writes another configuration; nobody is told.
    pub fn writes(&self, keys: &str, rest: &str) {
        write(&self.certificates, self.address, self.observe, keys, rest);
    }

    pub async fn client(&self) -> Raw {
        let tls = self.certificates.client(&[b"http/1.1"], false);
        Raw::tls(self.address, tls).await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap()
    }

    /// The sum of a metric's series, named without the prefix.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, page) = get(self.observe, "/metrics").unwrap();
        assert_eq!(status, 200, "{page}");
        let start = format!("cryptonym_gateway_{name}");
        let of_it = |line: &&str| {
            line.strip_prefix(start.as_str())
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let values = page.lines().filter(of_it);
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until a metric has reached this; blocks.
    pub fn until(&self, name: &str, least: f64) {
        let began = Instant::now();
        while self.metric(name) < least {
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "{name} is {}\n{}", self.metric(name), self.log());
            pause(Duration::from_millis(20));
        }
    }

    /// Resident, in KiB.
    pub fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// Resident and its own, in KiB: not the executable's pages, of which more are resident when
    /// more of it has been needed.
    pub fn own_memory(&self) -> usize {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> usize {
        let file = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// `cryptonym gateway` with this file.
pub fn gateway(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
    command.arg("gateway").args(arguments);
    command.arg("--config").arg(file);
    command
}

pub fn write(
    certificates: &Certificates,
    address: SocketAddr,
    observe: SocketAddr,
    keys: &str,
    rest: &str,
) {
    // Keys of the test's own come first, so that they may be tables of `[gateway]` or not.
    let text = format!(
        r#"
[gateway]
listen = ["{address}"]
observe = "{observe}"
tls = {{ certificate = "certs/gateway.pem", key = "certs/gateway.key", client_ca = "certs/gateway-ca.pem", client_certificate = "optional" }}
vault = {{ address = "https://127.0.0.1:1", certificate = "certs/gateway-link.pem", key = "certs/gateway-link.key", ca = "certs/vault-ca.pem" }}
{keys}
{rest}
"#
    );
    // As an editor does it: never half a file.
    let folder = certificates.dir.path();
    std::fs::write(folder.join("config.new"), text).unwrap();
    std::fs::rename(folder.join("config.new"), folder.join("config.toml")).unwrap();
}
