//! Another configuration for the gateway that runs.
//!
//! ```text
//! SIGHUP, POST /reload, files ─▶ read, check ─▶ leases ─▶ gateway::adopt ─▶ served
//!                                      │           │            │
//!                                      └───────────┴────────────┴──▶ refused: all stays
//! ```
//!
//! What enters: the wish. What leaves: what is served now, or every reason why not; both are
//! logged and counted. What can never happen: a configuration is served in part, or two reloads
//! at once.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::watch::State;
use crate::config::changes::{Changes, Stamp};
use crate::config::folders::Folders;
use crate::config::{Config, Gateway, Loaded};
use crate::gateway::{self, Control};
use crate::limits;
use crate::observe::admin::AskedReload;
use crate::observe::manager;
use crate::vault_link::{Boot, Current, VaultLink};

/// What a reload needs of the gateway that runs.
pub struct Reloader {
    pub control: Arc<Control>,
    pub boot: Boot,
    pub link: Current,
    pub state: Arc<State>,
    /// What is served now. Held while a reload goes on.
    pub config: Mutex<Arc<Config>>,
    /// What can be read since the process has given up the rest; `None`: everything.
    pub readable: Option<Folders>,
}

impl Reloader {
    /// Reloads, after those that have been asked for before; whoever asked hears what came of it.
    pub fn start(self: &Arc<Self>, why: &'static str, asked: Option<AskedReload>) {
        let me = self.clone();
        tokio::spawn(async move {
            let result = me.reload(why).await;
            if let Some(asked) = asked {
                let _ = asked.send(result.map(|()| me.state.configuration()));
            }
        });
    }

    /// One look at the files, where that is wanted.
    pub fn sees(&self, changes: &mut Changes) -> bool {
        // Held: a reload goes on, and the next look is soon.
        let Ok(config) = self.config.try_lock() else {
            return false;
        };
        let wanted = config.gateway.as_ref().is_some_and(|g| g.reload_on_change);
        wanted && changes.is_due(Stamp::all(config.files()))
    }

    /// Reads the file again. `why`: what asked for it.
    ///
    /// # Errors
    /// All that is wrong with it.
    async fn reload(&self, why: &'static str) -> Result<(), Vec<String>> {
        let mut config = self.config.lock().await;
        tracing::info!(why, "reading the configuration again");
        manager::reloading();
        let result = self.next(&config).await;
        match &result {
            Ok(next) => {
                self.state.shows(next);
                self.state.reloads.done.inc();
                *config = next.clone();
                let configuration = self.state.configuration();
                tracing::info!(%configuration, "another configuration is served from now on");
            }
            Err(errors) => {
                self.state.reloads.refused.inc();
                for error in errors {
                    tracing::error!(error, "configuration refused: the one before stays");
                }
            }
        }
        manager::ready("serving");
        result.map(drop)
    }

    async fn next(&self, now: &Config) -> Result<Arc<Config>, Vec<String>> {
        let file = now.file.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let loaded = loaded.map_err(|_| vec!["it could not be read".to_owned()])?;
        let Loaded { config, warnings } =
            loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(config);
        let gateway = self.may_become(now, &config)?;
        let link = self.link(&config, gateway).await.map_err(|e| vec![e])?;
        gateway::adopt(&self.control, &config, link.clone())
            .await
            .map_err(|e| vec![e.to_string()])?;
        self.link.store(link);
        self.boot.bound_spools(&config, &domains(&config));
        Ok(config)
    }

    /// What only a new process can do.
    fn may_become<'a>(&self, now: &Config, next: &'a Config) -> Result<&'a Gateway, Vec<String>> {
        let (Some(old), Some(new)) = (&now.gateway, &next.gateway) else {
            return Err(vec!["it has no [gateway]".to_owned()]);
        };
        let mut errors: Vec<String> = for_a_start(old, new)
            .iter()
            .map(|key| {
                format!("gateway.{key} cannot change while it runs: start it anew, with --take-over where gateway.handover is set")
            })
            .collect();
        if let Some(readable) = &self.readable {
            let wanted = next.gateway_folders();
            let new = wanted.read.iter().filter(|f| !readable.reads(f));
            errors.extend(new.map(|folder| {
                format!("{}: no file there was in use when the process started, and it has given up opening others (Landlock): start it anew", folder.display())
            }));
        }
        if errors.is_empty() {
            Ok(new)
        } else {
            Err(errors)
        }
    }

    /// The link that this configuration needs, with every lease that requests of today have.
    async fn link(
        &self,
        config: &Config,
        gateway: &Gateway,
    ) -> Result<Option<Arc<VaultLink>>, String> {
        let domains = domains(config);
        if domains.is_empty() {
            return Ok(None);
        }
        let before = self.link.load_full();
        let link = VaultLink::start_as(
            &self.boot,
            config,
            &gateway.vault,
            &domains,
            before.as_deref(),
        );
        let link = link.map_err(|e| e.to_string())?;
        // Where the vault cannot be reached now, the new one is no worse off than the old.
        if before.is_none_or(|before| before.ready()) {
            let ready = timeout(limits::RELOAD_WAIT, super::until_ready(&link));
            let ready = tokio::select! {
                ready = ready => ready,
                (domain, why) = refusal(&link) => {
                    return Err(format!("no lease for {domain}: {why}"));
                }
            };
            if ready.is_err() {
                return Err(format!(
                    "no lease for {} within {} s: does the vault know these domains?",
                    link.waiting().join(", "),
                    limits::RELOAD_WAIT.as_secs()
                ));
            }
        }
        Ok(Some(link))
    }
}

/// Waits until the vault has said that a domain is not ours.
async fn refusal(link: &VaultLink) -> (String, Arc<String>) {
    loop {
        if let Some(refusal) = link.refusal() {
            return refusal;
        }
        tokio::time::sleep(limits::READY_TICK).await;
    }
}

/// The domains that routes use, each once.
pub fn domains(config: &Config) -> Vec<usize> {
    let mut domains: Vec<usize> = config.routes.iter().filter_map(|r| r.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    domains
}

/// Keys of `[gateway]` that are looked at when a process starts, and differ.
fn for_a_start(old: &Gateway, new: &Gateway) -> Vec<&'static str> {
    let differs = [
        ("workers", old.workers != new.workers),
        ("access_log", old.access_log != new.access_log),
        ("observe", old.observe != new.observe),
        ("admin", old.admin != new.admin),
        ("traces", old.traces != new.traces),
        ("handover", old.handover != new.handover),
        ("spool_dir", old.spool_dir != new.spool_dir),
    ];
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| key).collect()
}
