//! A whole Cryptonym on loopback: certificates, configuration, a vault and a gateway as
//! processes. One call starts it; dropping it stops every process and removes every file.

// Each test uses a part of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cryptonym::local::client::Client;
use cryptonym::local::processes::{Ended, Process, free_address, get, run};

/// The name that the gateway's certificate carries and that routes go by.
pub const HOST: &str = "localhost";

/// How long a process may take to become ready: machines of tests are busy.
const READY: Duration = Duration::from_secs(60);

pub struct Installation {
    pub gateway_address: SocketAddr,
    pub gateway_observe: SocketAddr,
    pub vault_address: SocketAddr,
    pub vault_observe: SocketAddr,
    pub gateway: Option<Process>,
    pub vault: Option<Process>,
    folder: tempfile::TempDir,
}

impl Installation {
    /// Makes certificates, writes the configuration (worlds, kinds and domain below, then
    /// `rest`: backends, routes, policies, limits) and starts both processes.
    pub fn start(rest: &str) -> Self {
        let mut installation = Self::prepare(rest);
        installation.start_vault();
        installation.start_gateway();
        installation
    }

    /// As [`Installation::start`], without starting anything.
    pub fn prepare(rest: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cryptonym-test-")
            .tempdir()
            .unwrap();
        let free = || free_address().unwrap();
        let installation = Self {
            gateway_address: free(),
            gateway_observe: free(),
            vault_address: free(),
            vault_observe: free(),
            gateway: None,
            vault: None,
            folder,
        };
        let certs = installation.certs();
        installation.expect(&["certs", "init", "--out", certs.to_str().unwrap()]);
        std::fs::create_dir(installation.folder().join("logs")).unwrap();
        std::fs::create_dir(installation.folder().join("vault")).unwrap();
        let text = format!("{}\n{rest}", installation.worlds());
        std::fs::write(installation.config(), text).unwrap();
        installation
    }

    /// Everything of this installation lies below this folder, clear input excepted.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn certs(&self) -> PathBuf {
        self.folder().join("certs/out")
    }

    pub fn cert(&self, name: &str) -> PathBuf {
        self.certs().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.folder().join("vault/vault.sqlite")
    }

    pub fn log(&self, world: &str) -> PathBuf {
        self.folder().join(format!("logs/{world}.log"))
    }

    pub fn start_vault(&mut self) {
        self.start_vault_under(&[]);
    }

    /// Starts the vault under another program (`strace -f …`), which then is the child.
    pub fn start_vault_under(&mut self, wrapper: &[&str]) {
        let mut vault = self.world("vault", wrapper);
        vault
            .wait_for(self.vault_observe, "/readyz", READY)
            .unwrap_or_else(|failure| panic!("{failure}"));
        self.vault = Some(vault);
    }

    pub fn start_gateway(&mut self) {
        self.launch_gateway();
        self.wait_for_gateway();
    }

    /// Starts the gateway without waiting for it.
    pub fn launch_gateway(&mut self) {
        self.launch_gateway_under(&[]);
    }

    /// As [`Installation::start_vault_under`], without waiting for it.
    pub fn launch_gateway_under(&mut self, wrapper: &[&str]) {
        self.gateway = Some(self.world("gateway", wrapper));
    }

    /// Waits until the gateway has its leases.
    pub fn wait_for_gateway(&mut self) {
        let observe = self.gateway_observe;
        let gateway = self.gateway.as_mut().expect("it was launched");
        gateway
            .wait_for(observe, "/readyz", READY)
            .unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// `kill -9`; nothing happens to what is not running.
    pub fn kill_vault(&mut self) {
        if let Some(vault) = self.vault.take() {
            vault.kill();
        }
    }

    pub fn kill_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
        }
    }

    /// SIGTERM to both, and both must end with 0.
    pub fn stop(&mut self) {
        for process in [self.gateway.take(), self.vault.take()]
            .into_iter()
            .flatten()
        {
            let name = process.name.clone();
            let status = process.stop();
            assert_eq!(
                status.and_then(|status| status.code()),
                Some(0),
                "{name} ended with {status:?}"
            );
        }
    }

    /// Runs a command of the executable to its end, with this installation's configuration.
    pub fn cryptonym(&self, arguments: &[&str]) -> Ended {
        let mut command = executable();
        command.args(arguments).arg("--config").arg(self.config());
        command.current_dir(self.folder());
        run(command).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// As [`Installation::cryptonym`], for what must work: its standard output.
    pub fn expect(&self, arguments: &[&str]) -> String {
        let ended = self.cryptonym(arguments);
        assert!(
            ended.success,
            "{arguments:?}: {}{}",
            ended.stdout, ended.stderr
        );
        ended.stdout
    }

    /// A metrics page as it stands now.
    pub fn metrics(&self, world: &str) -> String {
        let address = match world {
            "vault" => self.vault_observe,
            _ => self.gateway_observe,
        };
        let (status, page) = get(address, "/metrics").unwrap();
        assert_eq!(status, 200, "{page}");
        page
    }

    /// An HTTPS client of the gateway with the client certificate of `certs init`.
    pub fn client(&self) -> Client {
        Client::new(
            self.gateway_address,
            HOST,
            &self.cert(CA),
            Some((&self.cert(CLIENT.0), &self.cert(CLIENT.1))),
        )
        .unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn world(&self, name: &str, wrapper: &[&str]) -> Process {
        let plain = executable();
        let mut command = match wrapper {
            [] => plain,
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(plain.get_program());
                command
            }
        };
        command.arg(name).arg("--config").arg(self.config());
        command.current_dir(self.folder());
        Process::start(name, command, &self.log(name)).unwrap()
    }

    fn worlds(&self) -> String {
        format!(
            r#"
[gateway]
listen = ["{gateway}"]
tls = {{ certificate = "certs/out/gateway.pem", key = "certs/out/gateway.key", client_ca = "certs/out/{CA}" }}
vault = {{ address = "https://127.0.0.1:{vault_port}", certificate = "certs/out/gateway-link.pem", key = "certs/out/gateway-link.key", ca = "certs/out/vault-ca.pem" }}
observe = "{gateway_observe}"

[vault]
listen = "{vault}"
tls = {{ certificate = "certs/out/vault.pem", key = "certs/out/vault.key", client_ca = "certs/out/vault-ca.pem" }}
store = "sqlite:vault/vault.sqlite"
root_key = "certs/out/vault-root.key"
registry = "certs/out/registry.toml"
observe = "{vault_observe}"

[domain.improvement]
mode = "keyed"
purpose = "develop-and-improve"

[kind.ethnicity]
class = "vocabulary"
prefix = "eth"
"#,
            gateway = self.gateway_address,
            gateway_observe = self.gateway_observe,
            vault = self.vault_address,
            vault_port = self.vault_address.port(),
            vault_observe = self.vault_observe,
        )
    }
}

impl Drop for Installation {
    /// A test that fails shows what the two processes had to say.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for world in ["vault", "gateway"] {
            let log = std::fs::read_to_string(self.log(world)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            eprintln!("--- the end of {world}'s log:\n{last}");
        }
    }
}

/// Files of `certs init`.
pub const CA: &str = "gateway-ca.pem";
pub const CLIENT: (&str, &str) = ("people/provider-1.pem", "people/provider-1.key");

/// The executable under test.
pub fn executable() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cryptonym"))
}
