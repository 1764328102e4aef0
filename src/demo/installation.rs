//! The demonstration's own Cryptonym: a site on loopback with its two processes, and a backend
//! in this one.
//!
//! What enters: the executable. What leaves: addresses and commands. What can never happen: it
//! outlives the command. Dropping it stops the processes first, then removes the folder.

use std::net::SocketAddr;
use std::path::Path;

use super::backend::Backend;
use crate::local::client::Client;
use crate::local::processes::{Ended, Failure, Process};
use crate::local::site::{Addresses, HOST, Site};

/// A running system. Fields are dropped from top to bottom.
pub struct Installation {
    pub gateway: Process,
    pub vault: Process,
    pub backend: Backend,
    pub addresses: Addresses,
    site: Site,
}

impl Installation {
    /// Makes everything, and waits until the gateway has its lease.
    ///
    /// # Errors
    /// What could not be made or started, in words.
    pub async fn start() -> Result<Self, Failure> {
        let site = Site::new("cryptonym-demo")?;
        let backend = Backend::start(&site.folder().join("analytics.sqlite")).await?;
        site.furnish(&configuration(&site.addresses, backend.address))?;
        let vault = site.start_vault()?;
        let gateway = site.start_gateway()?;
        Ok(Self {
            gateway,
            vault,
            backend,
            addresses: site.addresses,
            site,
        })
    }

    pub fn folder(&self) -> &Path {
        self.site.folder()
    }

    /// Runs a command of this executable in the folder, as a person there would.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        self.site.command(arguments)
    }

    /// A client of the gateway with the certificate of a provider.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn client(&self) -> Result<Client, Failure> {
        let file = |name: &str| self.site.cert(name);
        Client::new(
            self.addresses.gateway,
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

/// The working example at the top level, and the routes of providers and laboratories.
const EXAMPLE: &str = include_str!("../../config.toml");
const ROUTES: &str = include_str!("routes.toml");

fn configuration(addresses: &Addresses, backend: SocketAddr) -> String {
    [
        ("127.0.0.1:8443", addresses.gateway),
        ("127.0.0.1:9464", addresses.gateway_observe),
        ("127.0.0.1:8200", addresses.vault),
        ("127.0.0.1:9465", addresses.vault_observe),
        ("127.0.0.1:8123", backend),
    ]
    .iter()
    .fold([EXAMPLE, ROUTES].concat(), |text, (written, free)| {
        text.replace(written, &free.to_string())
    })
}

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
        };
        let text = configuration(&addresses, address(5));
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
