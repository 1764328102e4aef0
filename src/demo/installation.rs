//! The demonstration's own Cryptonym: a temporary folder, certificates, configuration, a vault
//! and a gateway as processes, a backend in this one.
//!
//! What enters: the executable. What leaves: addresses and commands. What can never happen: it
//! outlives the command. Dropping it stops the processes first, then removes the folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::backend::Backend;
use super::client::Client;
use super::processes::{Ended, Failure, Folder, Process, free_address, run};
use crate::limits;

/// The gateway's name in its certificate and in the example configuration.
pub const HOST: &str = "ingest.example";

/// Where `certs init` puts its files, and the example configuration looks for them.
const CERTS: &str = "certs/out";

/// A running system. Fields are dropped from top to bottom.
pub struct Installation {
    pub gateway: Process,
    pub vault: Process,
    pub backend: Backend,
    pub gateway_address: SocketAddr,
    pub gateway_observe: SocketAddr,
    pub vault_address: SocketAddr,
    executable: PathBuf,
    folder: Folder,
}

impl Installation {
    /// Makes everything, and waits until the gateway has its lease.
    ///
    /// # Errors
    /// What could not be made or started, in words.
    pub async fn start() -> Result<Self, Failure> {
        let executable = std::env::current_exe()?;
        let folder = Folder::new("cryptonym-demo")?;
        let backend = Backend::start(&folder.path().join("analytics.sqlite")).await?;
        let addresses = Addresses::free(backend.address)?;

        let command = |arguments: &[&str]| {
            let mut command = Command::new(&executable);
            command.args(arguments).current_dir(folder.path());
            command
        };
        let made = run(command(&["certs", "init"]))?;
        if !made.success {
            return Err(Failure(format!("`certs init` failed: {}", made.stderr)));
        }
        fs::write(folder.path().join("config.toml"), addresses.configuration())?;

        let world = |name: &str| {
            let log = folder.path().join(format!("{name}.log"));
            let arguments = [name, "--config", "config.toml"];
            Process::start(name, command(&arguments), &log)
        };
        let mut vault = world("vault")?;
        vault.wait_for(addresses.vault_observe, "/readyz", limits::DEMO_START)?;
        let mut gateway = world("gateway")?;
        gateway.wait_for(addresses.gateway_observe, "/readyz", limits::DEMO_START)?;
        Ok(Self {
            gateway,
            vault,
            backend,
            gateway_address: addresses.gateway,
            gateway_observe: addresses.gateway_observe,
            vault_address: addresses.vault,
            executable,
            folder,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of this executable in the folder, as a person there would.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        let mut command = Command::new(&self.executable);
        command.args(arguments).current_dir(self.folder.path());
        run(command)
    }

    /// A client of the gateway with the certificate of a provider.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn client(&self) -> Result<Client, Failure> {
        let file = |name: &str| self.folder.path().join(CERTS).join(name);
        Client::new(
            self.gateway_address,
            HOST,
            &file("gateway-ca.pem"),
            Some((
                &file("people/provider-1.pem"),
                &file("people/provider-1.key"),
            )),
        )
    }

    /// Ends both processes politely; the folder goes with the value.
    pub fn stop(self) {
        let Self { gateway, vault, .. } = self;
        gateway.stop();
        vault.stop();
    }
}

/// Loopback addresses that were free a moment ago.
struct Addresses {
    gateway: SocketAddr,
    gateway_observe: SocketAddr,
    vault: SocketAddr,
    vault_observe: SocketAddr,
    backend: SocketAddr,
}

impl Addresses {
    fn free(backend: SocketAddr) -> Result<Self, Failure> {
        Ok(Self {
            gateway: free_address()?,
            gateway_observe: free_address()?,
            vault: free_address()?,
            vault_observe: free_address()?,
            backend,
        })
    }

    fn configuration(&self) -> String {
        [
            ("127.0.0.1:8443", self.gateway),
            ("127.0.0.1:9464", self.gateway_observe),
            ("127.0.0.1:8200", self.vault),
            ("127.0.0.1:9465", self.vault_observe),
            ("127.0.0.1:8123", self.backend),
        ]
        .iter()
        .fold([EXAMPLE, ROUTES].concat(), |text, (written, free)| {
            text.replace(written, &free.to_string())
        })
    }
}

/// The working example at the top level, and the routes of providers and laboratories.
const EXAMPLE: &str = include_str!("../../config.toml");
const ROUTES: &str = include_str!("routes.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_configuration_is_replaced() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            gateway: address(1),
            gateway_observe: address(2),
            vault: address(3),
            vault_observe: address(4),
            backend: address(5),
        };
        let text = addresses.configuration();
        for port in 1..=5 {
            assert!(
                text.contains(&format!("127.0.0.1:{port}\"")),
                "{port}:\n{text}"
            );
        }
        for port in ["8443", "9464", "8200", "9465", "8123"] {
            assert!(!text.contains(&format!(":{port}")), "{port}:\n{text}");
        }
    }
}
