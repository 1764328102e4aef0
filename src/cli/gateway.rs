//! `cryptonym gateway`.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::Exit;
use crate::config::changes::{Changes, Stamp};
use crate::config::folders::Folders;
use crate::config::{Config, ListenWhen, Loaded};
use crate::gateway::metrics::Metrics;
use crate::gateway::{self, Inherited, runtime};
use crate::harden;
use crate::limits;
use crate::observe;
use crate::observe::log::LogFormat;
use crate::vault_link::{Boot, Current, VaultLink, spool};

mod handover;
mod reload;
mod watch;

use self::handover::{Giver, Taken};
use self::reload::Reloader;

const HELP: &str = "\
Examples:
  cryptonym gateway                              serve as config.toml in this directory says
  cryptonym --config /etc/cryptonym.toml gateway --log-format pretty

Prints one line per address to standard output once it listens:
  listening https://127.0.0.1:8443
and for the egress proxy
  listening egress http://127.0.0.1:3128
Log and access log go to standard error. Metrics, /healthz and /readyz are on the address
that `gateway.observe` names; status, draining and the log's level on that of `gateway.admin`
(docs/observe.md). The first SIGTERM or SIGINT stops accepting and lets requests in flight end
(limits.drain_time); a second one ends at once. SIGHUP reads the configuration again: it is
served whole, or refused and the one before stays.

To replace a running gateway (another version, another number of workers) without refusing a
connection, set gateway.handover and start the new one beside it:
  cryptonym gateway --take-over";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// How the log is written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

    /// Take the listening sockets of the gateway that runs, if one does (gateway.handover), and
    /// let it go once this one serves
    #[arg(long)]
    take_over: bool,

    /// What is logged: error, warn, info, debug, or per module; CRYPTONYM_LOG comes before it
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
}

pub fn run(args: Args, config: &Path) -> Exit {
    // Before any key is read, and before the first lease.
    let shortfalls = harden::process();
    let color = io::stderr().is_terminal();
    let Loaded { config, warnings } = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in errors {
                eprintln!("{}\n", error.rendered(color));
            }
            return Exit::Configuration;
        }
    };
    observe::log::start(args.log_format, &args.log);
    observe::panics::hide_payloads();
    // Before files that are not there can not be reached any more.
    let spool_dir = config.gateway.as_ref().and_then(|g| g.spool_dir.clone());
    if let Some(Err(error)) = spool_dir.as_deref().map(spool::prepare) {
        return failed(&error);
    }
    // Before there is a second thread: what is taken away is taken from those to come.
    let folders = config.gateway_folders();
    let landlock = harden::files::only(&folders.read, &folders.write);
    let readable = landlock.is_none().then_some(folders);
    for shortfall in shortfalls.into_iter().chain(landlock) {
        tracing::warn!(shortfall, "hardening");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (taken, inherited) = match given(&config, args.take_over) {
        Ok(given) => given,
        Err(error) => return failed(&error),
    };
    let runtime = match runtime::control() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let exit = runtime.block_on(serve(Arc::new(config), readable, taken, inherited));
    runtime.shutdown_background();
    exit
}

/// Sockets from the gateway before, else from a service manager (sd_listen_fds(3)).
fn given(config: &Config, take_over: bool) -> Result<(Option<Taken>, Inherited), String> {
    let handover = config.gateway.as_ref().and_then(|g| g.handover.as_ref());
    let folder = handover.and_then(|path| path.parent());
    if let Some(folder) = folder.filter(|f| !f.as_os_str().is_empty() && !f.is_dir()) {
        return Err(format!(
            "gateway.handover: {} is not there; make it, the gateway's own (mode 0700)",
            folder.display()
        ));
    }
    let taken = match (take_over, handover) {
        (false, _) => None,
        (true, Some(path)) => handover::take(path)?,
        (true, None) => {
            let what = "--take-over needs gateway.handover, the path where sockets are handed over";
            return Err(what.to_owned());
        }
    };
    let mut sockets = Vec::new();
    let taken = match taken {
        Some(mut taken) => {
            sockets.append(&mut taken.sockets);
            Some(taken)
        }
        None => {
            let mut manager = listenfd::ListenFd::from_env();
            for at in 0..manager.len() {
                let socket = manager.take_tcp_listener(at);
                sockets.extend(socket.map_err(|e| format!("socket {at} of LISTEN_FDS: {e}"))?);
            }
            None
        }
    };
    let inherited = Inherited::new(sockets).map_err(|e| format!("an inherited socket: {e}"))?;
    Ok((taken, inherited))
}

async fn serve(
    config: Arc<Config>,
    readable: Option<Folders>,
    taken: Option<Taken>,
    mut inherited: Inherited,
) -> Exit {
    let Some(gateway) = &config.gateway else {
        eprintln!("{}: has no [gateway]", config.file.display());
        return Exit::Configuration;
    };
    // Before anything listens: a signal from here on is answered.
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return failed(&"signals cannot be caught");
    };
    let boot = match Boot::new(taken.as_ref().map(|taken| taken.boot)) {
        Ok(boot) => boot,
        Err(error) => return failed(&error),
    };
    let boot = match gateway.spool_dir.clone() {
        None => boot,
        Some(folder) => match boot.spooling(folder) {
            Ok(boot) => boot,
            Err(error) => return failed(&error),
        },
    };
    let domains = reload::domains(&config);
    let link = Current::default();
    if !domains.is_empty() {
        match VaultLink::start_as(&boot, &config, &gateway.vault, &domains, None) {
            Ok(started) => link.store(Some(started)),
            Err(error) => return failed(&error),
        }
    }
    // Before it answers anywhere: as long as it is not ready, the one before serves.
    if taken.is_some() {
        tokio::select! {
            () = until_served(&link) => {}
            _ = terminate.recv() => return Exit::Done,
            _ = interrupt.recv() => return Exit::Done,
        }
    }
    let metrics = Arc::new(Metrics::new());
    let started = watch::start(&config, gateway, (&boot, &link), &metrics, &mut inherited);
    let mut watch = match started.await {
        Ok(watch) => watch,
        Err(error) => return failed(&error),
    };
    if gateway.listen_when == ListenWhen::Ready {
        tracing::info!("listening begins with the last domain's lease");
        tokio::select! {
            () = until_served(&link) => {}
            _ = terminate.recv() => return Exit::Done,
            _ = interrupt.recv() => return Exit::Done,
            () = watch.drain.cancelled() => return Exit::Done,
        }
    }
    let parts = gateway::Parts {
        link: link.load_full(),
        metrics,
        tracer: watch.tracer.take(),
        inherited: &mut inherited,
    };
    let running = match gateway::start_with(&config, parts) {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    if let Some(address) = inherited.left().first() {
        if taken.is_none() {
            let what = "was inherited, but neither gateway.listen nor observe nor admin names it";
            return failed(&format!("{address} {what}"));
        }
        tracing::info!(%address, "not listened on any more");
    }
    drop(inherited);
    let control = running.control().clone();
    let _ = watch.state.control.set(control.clone());
    watch.state.serving.store(true, Relaxed);
    observe::manager::ready("serving");
    for address in running.addresses() {
        // Nobody may be reading: that is no reason not to serve.
        let _ = writeln!(io::stdout(), "listening https://{address}");
    }
    for address in control.egress_addresses() {
        let _ = writeln!(io::stdout(), "listening egress http://{address}");
    }
    if let Some(taken) = taken
        && let Ok(Err(error)) = tokio::task::spawn_blocking(|| taken.serving()).await
    {
        tracing::warn!(%error, "the gateway before did not say that it goes");
    }
    let giver = match gateway.handover.as_deref().map(Giver::at).transpose() {
        Ok(giver) => giver,
        Err(error) => return failed(&format!("gateway.handover: {error}")),
    };
    let id = boot.id();
    let (own, held) = (std::mem::take(&mut watch.sockets), control.clone());
    let sockets = move || {
        let listeners = held.listeners();
        let all = (own.iter().map(AsFd::as_fd)).chain(listeners.iter().map(|l| l.as_fd()));
        all.filter_map(|socket| socket.try_clone_to_owned().ok())
            .collect()
    };
    // What other proxies take for "open the log anew" and "upgrade" would end this process.
    let (Ok(mut first), Ok(mut second)) = (
        signal(SignalKind::user_defined1()),
        signal(SignalKind::user_defined2()),
    ) else {
        return failed(&"signals cannot be caught");
    };
    let mut taken_over = pin!(async {
        match &giver {
            Some(giver) => giver.taken(id, sockets).await,
            None => std::future::pending().await,
        }
    });
    let reloader = Arc::new(Reloader {
        control,
        boot,
        link,
        state: watch.state.clone(),
        config: Mutex::new(config.clone()),
        readable,
    });
    let mut changes = Changes::since(Stamp::all(config.files()));
    let mut look = tokio::time::interval(limits::CONFIG_FILES_TICK);
    let process = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            () = watch.drain.cancelled() => break None,
            process = &mut taken_over => break Some(process),
            _ = first.recv() => tracing::warn!("SIGUSR1 means nothing here"),
            _ = second.recv() => {
                tracing::warn!("SIGUSR2 means nothing here: start the next one with --take-over");
            }
            _ = hangup.recv() => reloader.start("SIGHUP", None),
            Some(asked) = watch.reloads.recv() => reloader.start("POST /reload", Some(asked)),
            _ = look.tick() => {
                if reloader.sees(&mut changes) {
                    reloader.start("changed files", None);
                }
            }
        }
    };
    watch.state.draining.store(true, Relaxed);
    tracing::info!("stopping: requests in flight may end");
    match process {
        Some(process) => {
            watch.leave_addresses();
            observe::manager::handed_over(process);
        }
        None => observe::manager::stopping(),
    }
    if let Some(giver) = &giver {
        giver.leave(process.is_some());
    }
    tokio::select! {
        () = running.drain() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => return Exit::Done,
    }
    watch.finish().await;
    Exit::Done
}

async fn until_ready(link: &VaultLink) {
    while !link.ready() {
        tokio::time::sleep(limits::READY_TICK).await;
    }
}

async fn until_served(link: &Current) {
    if let Some(link) = link.load_full() {
        until_ready(&link).await;
    }
}

fn failed(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("{error}");
    Exit::Failed
}
