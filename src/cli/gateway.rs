//! `cryptonym gateway`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::config::{Config, ListenWhen, Loaded};
use crate::gateway::metrics::Metrics;
use crate::gateway::{self, runtime};
use crate::harden;
use crate::limits;
use crate::observe;
use crate::observe::log::LogFormat;
use crate::vault_link::VaultLink;

mod watch;

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
(limits.drain_time); a second one ends at once.";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// How the log is written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

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
    // Before there is a second thread: what is taken away is taken from those to come.
    let folders = config.gateway_folders();
    let landlock = harden::files::only(&folders.read, &folders.write);
    for shortfall in shortfalls.into_iter().chain(landlock) {
        tracing::warn!(shortfall, "hardening");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match runtime::control() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let exit = runtime.block_on(serve(config));
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config) -> Exit {
    let Some(gateway) = &config.gateway else {
        eprintln!("{}: has no [gateway]", config.file.display());
        return Exit::Configuration;
    };
    // Before anything listens: a signal from here on is answered.
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return failed(&"signals cannot be caught");
    };
    let mut domains: Vec<usize> = config.routes.iter().filter_map(|r| r.domain).collect();
    domains.sort_unstable();
    domains.dedup();
    let link = if domains.is_empty() {
        None
    } else {
        match VaultLink::start(&config, &gateway.vault, &domains) {
            Ok(link) => Some(link),
            Err(error) => return failed(&error),
        }
    };
    let metrics = Arc::new(Metrics::new());
    let mut watch = match watch::start(&config, gateway, link.as_ref(), &metrics).await {
        Ok(watch) => watch,
        Err(error) => return failed(&error),
    };
    if let (ListenWhen::Ready, Some(link)) = (gateway.listen_when, &link) {
        tracing::info!("listening begins with the last domain's lease");
        tokio::select! {
            () = until_ready(link) => {}
            _ = terminate.recv() => return Exit::Done,
            _ = interrupt.recv() => return Exit::Done,
            () = watch.drain.cancelled() => return Exit::Done,
        }
    }
    let tracer = watch.tracer.take();
    let running = match gateway::start_traced(&config, link, metrics, tracer) {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    let _ = watch.state.addresses.set(running.addresses().to_vec());
    watch.state.serving.store(true, Relaxed);
    observe::manager::ready("serving");
    for address in running.addresses() {
        // Nobody may be reading: that is no reason not to serve.
        let _ = writeln!(io::stdout(), "listening https://{address}");
    }
    for address in running.egress_addresses() {
        let _ = writeln!(io::stdout(), "listening egress http://{address}");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = watch.drain.cancelled() => {}
    }
    watch.state.draining.store(true, Relaxed);
    tracing::info!("stopping: requests in flight may end");
    observe::manager::stopping();
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

fn failed(error: &dyn std::fmt::Display) -> Exit {
    eprintln!("{error}");
    Exit::Failed
}
