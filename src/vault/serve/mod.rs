//! The vault's sockets: HTTP/2 over mutual TLS 1.3, and a small address for metrics and health.
//!
//! What enters: connections. What leaves: answers to registered callers. What can never happen:
//! a request is looked at before its caller is known, or answered by a sealed vault (its status and
//! what opens it apart); a silent connection stays open; a shutdown
//! without a deadline.

mod answer;
mod connection;
mod log_pages;
mod routes;
mod seal;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::known::Streams;
use super::log::Event;
use super::seal::keeper::Keeper;
use super::state::StartError;
use crate::config::Config;
use crate::limits;
use crate::observe::{self, Door, Pages};
use crate::tls::server::{Versions, server_config};

/// A vault that listens.
pub struct Running {
    pub keeper: Arc<Keeper>,
    pub address: SocketAddr,
    /// Where metrics and health are, if anywhere.
    pub observe: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Opens the vault of a configuration, or leaves it sealed, and listens. On return the log of an
/// open one has its `vault-started`.
///
/// # Errors
/// Everything that keeps it from starting, in words for an operator.
pub async fn start(config: &Config) -> Result<Running, StartError> {
    let settings = config.vault.as_ref().ok_or(StartError::NoVault)?;
    let tls = server_config(&settings.tls, Versions::Tls13, &[b"h2"])?;
    // Blocks: nothing is served yet.
    let keeper = Keeper::start(config)?;
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    match keeper.vault() {
        Some(vault) => {
            tracing::warn!(
                "the root key is in a file: whoever has it and the store has everything; \
                 `cryptonym vault init` brings it into shares of custodians"
            );
            vault.warn_of_open_gateways();
            vault.log(|now| Event::new("vault-started", now)).await?;
            keeper.settle(&vault).await?;
        }
        None => {
            tracing::warn!("the vault is sealed: custodians open it with `cryptonym vault unseal`")
        }
    }
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(keep_forgetting(Arc::clone(&keeper), stop.clone()));
    let observe = match settings.observe {
        None => None,
        Some(at) => {
            let bound = observe::bind(at).await;
            let (listener, at) =
                bound.map_err(|error| StartError::Listen { address: at, error })?;
            tasks.spawn(observe::serve(
                listener,
                pages(&keeper),
                Door::Pages,
                stop.clone(),
            ));
            Some(at)
        }
    };
    let server = Server {
        keeper: Arc::clone(&keeper),
        acceptor: TlsAcceptor::from(tls),
        messages: Arc::new(Semaphore::new(limits::VAULT_IN_FLIGHT)),
        known: Arc::default(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(server.accept(listener));
    Ok(Running {
        keeper,
        address,
        observe,
        stop,
        tasks,
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
        self.keeper.end().await;
    }
}

/// Metrics and health.
fn pages(keeper: &Arc<Keeper>) -> Arc<Pages> {
    let watched = Arc::clone(keeper);
    Pages::new(keeper.parts.metrics.registry(), move || {
        let keeper = Arc::clone(&watched);
        // Ready: open, the sequencer runs its works and the store commits.
        async move {
            let Some(vault) = keeper.vault() else {
                return Err(seal::in_words(&keeper.status()));
            };
            let works = vault.sequencer.run(|_| Ok(()));
            match tokio::time::timeout(limits::VAULT_TIME, works).await {
                Ok(Ok(())) => Ok(String::new()),
                _ => Err("the store does not commit".to_owned()),
            }
        }
    })
}

/// Ends the retention of the log's months in time, while the vault is open.
async fn keep_forgetting(keeper: Arc<Keeper>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(limits::LOG_FORGET_TIME) => {}
            () = stop.cancelled() => return,
        }
        let Some(vault) = keeper.vault() else {
            continue;
        };
        if let Err(error) = vault.forget(keeper.parts.log_months).await {
            tracing::error!(%error, "the log could not forget");
        }
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Server {
    keeper: Arc<Keeper>,
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
