//! The vault's sockets: HTTP/2 over mutual TLS 1.3, and a small address for metrics and health.
//!
//! What enters: connections. What leaves: answers to registered callers. What can never happen:
//! a request is looked at before its caller is known; a silent connection stays open; a shutdown
//! without a deadline.

mod answer;
mod connection;
mod log_pages;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backup;
use super::known::Streams;
use super::log::Event;
use super::state::{StartError, Vault};
use crate::config::Config;
use crate::limits;
use crate::observe::{self, Door, Pages};
use crate::tls::server::{Versions, server_config};

/// A vault that listens.
pub struct Running {
    pub vault: Arc<Vault>,
    pub address: SocketAddr,
    /// Where metrics and health are, if anywhere.
    pub observe: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
    sequencer: JoinHandle<()>,
}

/// Opens the vault of a configuration and listens. On return the log has its `vault-started`.
///
/// # Errors
/// Everything that keeps it from starting, in words for an operator.
pub async fn start(config: &Config) -> Result<Running, StartError> {
    let settings = config.vault.as_ref().ok_or(StartError::NoVault)?;
    let tls = server_config(&settings.tls, Versions::Tls13, &[b"h2"])?;
    // Blocks: nothing is served yet.
    let (vault, sequencer) = Vault::open(config)?;
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    vault.warn_of_open_gateways();
    vault.log(|now| Event::new("vault-started", now)).await?;
    backup::log_restored(&vault).await?;
    let months = settings.log_retention_months;
    vault.forget(months).await?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(keep_forgetting(Arc::clone(&vault), months, stop.clone()));
    let observe = match settings.observe {
        None => None,
        Some(at) => {
            let bound = observe::bind(at).await;
            let (listener, at) =
                bound.map_err(|error| StartError::Listen { address: at, error })?;
            tasks.spawn(observe::serve(
                listener,
                pages(&vault),
                Door::Pages,
                stop.clone(),
            ));
            Some(at)
        }
    };
    let server = Server {
        vault: Arc::clone(&vault),
        acceptor: TlsAcceptor::from(tls),
        messages: Arc::new(Semaphore::new(limits::VAULT_IN_FLIGHT)),
        known: Arc::default(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(server.accept(listener));
    Ok(Running {
        vault,
        address,
        observe,
        stop,
        tasks,
        sequencer,
    })
}

impl Running {
    /// Stops to accept, lets requests in flight end within [`limits::DRAIN_TIME`], and returns
    /// when everything accepted is on the disk.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(limits::DRAIN_TIME, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections were cut: they did not end in time");
            return; // the sequencer may still be held by one of them
        }
        let Self {
            vault, sequencer, ..
        } = self;
        drop(vault);
        let _ = tokio::task::spawn_blocking(move || sequencer.join()).await;
    }
}

/// Metrics and health.
fn pages(vault: &Arc<Vault>) -> Arc<Pages> {
    let watched = Arc::clone(vault);
    Pages::new(vault.metrics.registry(), move || {
        let vault = Arc::clone(&watched);
        // Ready: the sequencer runs its works and the store commits.
        async move {
            let works = vault.sequencer.run(|_| Ok(()));
            match tokio::time::timeout(limits::VAULT_TIME, works).await {
                Ok(Ok(())) => Ok(String::new()),
                _ => Err("the store does not commit".to_owned()),
            }
        }
    })
}

/// Ends the retention of the log's months in time, as long as the vault runs.
async fn keep_forgetting(vault: Arc<Vault>, months: u32, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(limits::LOG_FORGET_TIME) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = vault.forget(months).await {
            tracing::error!(%error, "the log could not forget");
        }
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Server {
    vault: Arc<Vault>,
    acceptor: TlsAcceptor,
    /// One permit for each message whose body is in memory.
    messages: Arc<Semaphore>,
    known: Arc<Streams>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(limits::VAULT_CONNECTIONS));
        loop {
            // Take the permit first: beyond the bound, connections wait in the backlog.
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit,
                () = self.stop.cancelled() => return,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = self.clone();
                    self.tasks.spawn(async move {
                        connection::serve(server, stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, mostly: pause instead of spinning.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(limits::VAULT_RETRY_FIRST).await;
                }
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen { address, error })
}
