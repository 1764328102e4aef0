//! The measurements' own link to the vault: the real client, under the gateway's certificate.
//!
//! What enters: a site whose gateway does not run. What leaves: a live link. What can never
//! happen: two leases of one gateway at a time, which the vault takes for a copied key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::place::DOMAIN;
use crate::config::Config;
use crate::limits;
use crate::local::processes::Failure;
use crate::local::site::Site;
use crate::vault_link::{Lease, VaultLink};

/// A link with a lease and the known set loaded.
pub struct Link {
    pub config: Config,
    link: Arc<VaultLink>,
    domain: usize,
    /// From the first packet to the live lease.
    pub took: Duration,
}

impl Link {
    /// # Errors
    /// The configuration or the vault refuses, or takes too long.
    pub async fn open(site: &Site) -> Result<Self, Failure> {
        let config = Config::load(&site.config()).map_err(|found| {
            let first = found.first().map(ToString::to_string);
            Failure(first.unwrap_or_default())
        })?;
        let config = config.config;
        let gateway = config.gateway.as_ref();
        let named = config
            .domains
            .iter()
            .position(|domain| domain.name == DOMAIN);
        let (Some(gateway), Some(domain)) = (gateway, named) else {
            return Err(Failure(format!("the configuration has no domain {DOMAIN}")));
        };
        let began = Instant::now();
        let link = VaultLink::start(&config, &gateway.vault, &[domain])
            .map_err(|error| Failure(error.to_string()))?;
        while !link.ready() {
            if began.elapsed() > limits::LOCAL_START {
                return Err(Failure("the vault gives no lease".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self {
            took: began.elapsed(),
            config,
            link,
            domain,
        })
    }

    /// # Errors
    /// It has run out.
    pub fn lease(&self) -> Result<Arc<Lease>, Failure> {
        self.link
            .lease(self.domain)
            .ok_or_else(|| Failure("the lease has run out".to_owned()))
    }

    /// Identifiers that the vault gave as durable, and those made durable since.
    pub fn known(&self) -> u64 {
        self.link
            .status()
            .iter()
            .map(|lease| lease.known as u64)
            .sum()
    }
}

/// What the vault holds, as it tells a gateway that starts.
///
/// # Errors
/// As [`Link::open`].
pub async fn held(site: &Site) -> Result<u64, Failure> {
    Ok(Link::open(site).await?.known())
}
