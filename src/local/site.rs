//! A Cryptonym of one's own on loopback: a private folder, certificates, a configuration, free
//! ports, and the two worlds as processes.
//!
//! What enters: a name for the folder, a configuration. What leaves: ready
//! processes and addresses. What can never happen: it outlives the command. Whoever holds a
//! [`Site`] beside its processes declares it last, so that they are gone before the folder is.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::processes::{Ended, Failure, Folder, Process, free_address, run};
use crate::limits;

/// The gateway's name in the certificate that `certs init` makes when nobody names another.
pub const HOST: &str = "ingest.example";

/// Where `certs init` puts its files.
const CERTS: &str = "certs/out";

/// Loopback addresses that were free a moment ago.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub gateway: SocketAddr,
    pub gateway_observe: SocketAddr,
    pub vault: SocketAddr,
    pub vault_observe: SocketAddr,
}

impl Addresses {
    /// Both worlds, as tables of a configuration beside what `certs init` makes. `keys`: lines
    /// of `[gateway]`.
    pub fn worlds(&self, keys: &str) -> String {
        let Self {
            gateway,
            gateway_observe,
            vault,
            vault_observe,
        } = self;
        format!(
            r#"
[gateway]
listen = ["{gateway}"]
observe = "{gateway_observe}"
{keys}

[gateway.tls]
certificate = "certs/out/gateway.pem"
key = "certs/out/gateway.key"

[gateway.vault]
address = "https://{vault}"
certificate = "certs/out/gateway-link.pem"
key = "certs/out/gateway-link.key"
ca = "certs/out/vault-ca.pem"

[vault]
listen = "{vault}"
observe = "{vault_observe}"
store = "sqlite:vault.sqlite"
root_key = "certs/out/vault-root.key"
registry = "certs/out/registry.toml"

[vault.tls]
certificate = "certs/out/vault.pem"
key = "certs/out/vault.key"
client_ca = "certs/out/vault-ca.pem"
"#
        )
    }
}

/// Everything but the processes.
pub struct Site {
    pub addresses: Addresses,
    executable: PathBuf,
    folder: Folder,
}

impl Site {
    /// A new folder, and addresses for what will live in it.
    ///
    /// # Errors
    /// No folder can be made, or no port is free.
    pub fn new(name: &str) -> Result<Self, Failure> {
        Ok(Self {
            addresses: Addresses {
                gateway: free_address()?,
                gateway_observe: free_address()?,
                vault: free_address()?,
                vault_observe: free_address()?,
            },
            executable: std::env::current_exe()?,
            folder: Folder::new(name)?,
        })
    }

    /// Makes certificates and keys, and writes the configuration.
    ///
    /// # Errors
    /// What could not be made, in words.
    pub fn furnish(&self, configuration: &str) -> Result<(), Failure> {
        let made = self.command(&["certs", "init"])?;
        if !made.success {
            return Err(Failure(format!("`certs init` failed: {}", made.stderr)));
        }
        Ok(fs::write(self.config(), configuration)?)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    /// A file of `certs init`.
    pub fn cert(&self, name: &str) -> PathBuf {
        self.folder().join(CERTS).join(name)
    }

    /// Runs a command of this executable in the folder, as a person there would.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        run(self.ours(arguments))
    }

    /// Starts the vault and waits until it is ready.
    ///
    /// # Errors
    /// It is not, with the end of its log.
    pub fn start_vault(&self) -> Result<Process, Failure> {
        self.start("vault", self.addresses.vault_observe)
    }

    /// Starts the gateway and waits until it has its lease.
    ///
    /// # Errors
    /// As [`Site::start_vault`].
    pub fn start_gateway(&self) -> Result<Process, Failure> {
        self.start("gateway", self.addresses.gateway_observe)
    }

    fn start(&self, world: &str, observe: SocketAddr) -> Result<Process, Failure> {
        let log = self.folder().join(format!("{world}.log"));
        let command = self.ours(&[world, "--config", "config.toml"]);
        let mut process = Process::start(world, command, &log)?;
        process.wait_for(observe, "/readyz", limits::LOCAL_START)?;
        Ok(process)
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(arguments).current_dir(self.folder());
        command
    }
}
