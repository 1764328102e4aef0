//! `cryptonym top`: what gateway and vault are doing, at a terminal or as one table.
//!
//! What enters: two metrics pages, a moment apart, again and again. What leaves: rates, latencies
//! and totals. What can never happen: a terminal left without echo or in the alternate screen,
//! however the command ends (a kill that no process survives excepted).

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Exit, caller};
use crate::limits;
use crate::local::processes::{get, pause};

mod figures;
mod page;
mod screen;
mod text;

use figures::Figures;
use page::Page;

const HELP: &str = "\
Examples:
  cryptonym top                       live; the addresses are those of config.toml
  cryptonym top --once                one table, of the next second
  cryptonym top --json                the same for machines
  cryptonym top --gateway http://127.0.0.1:9464 --vault http://127.0.0.1:9465

Keys: q quit, space pause, s sort by the next column, r turn the order round.
It reads the metrics pages (`observe` of [gateway] and [vault]); docs/observe.md says what each
figure is.";

/// Show what gateway and vault are doing: routes, rates, latency, refusals, vault, durable set
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The gateway's metrics (or admin) address [default: the configuration's]
    #[arg(long, value_name = "http://HOST:PORT")]
    gateway: Option<String>,

    /// The vault's metrics address [default: the configuration's]
    #[arg(long, value_name = "http://HOST:PORT")]
    vault: Option<String>,

    /// Print one table and end
    #[arg(long)]
    once: bool,

    /// Print one JSON object and end
    #[arg(long)]
    json: bool,

    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: Option<u64>,
}

/// Where the two are.
#[derive(Clone)]
pub struct Sources {
    gateway: Option<SocketAddr>,
    vault: Option<SocketAddr>,
    interval: Duration,
}

/// Both pages as they stood at one moment; an error stands for a page that could not be read.
pub struct Look {
    at: Instant,
    gateway: Option<Result<Page, String>>,
    vault: Option<Result<Page, String>>,
}

pub fn run(args: Args, config: &Path) -> Exit {
    let sources = match sources(&args, config) {
        Ok(sources) => sources,
        Err(exit) => return exit,
    };
    if args.once || args.json {
        return once(&sources, args.json);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        eprintln!("error: this is no terminal; say --once or --json");
        return Exit::Failed;
    }
    match screen::run(sources) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// Two looks, one table.
fn once(sources: &Sources, json: bool) -> Exit {
    let before = sources.look();
    pause(sources.interval);
    let figures = Figures::between(&before, &sources.look());
    let mut out = io::stdout().lock();
    let written = if json {
        serde_json::to_writer_pretty(&mut out, &figures)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        out.write_all(text::table(&figures).as_bytes())
    };
    match written {
        Err(_) => Exit::Failed,
        Ok(()) if figures.is_complete() => Exit::Done,
        Ok(()) => Exit::No,
    }
}

fn sources(args: &Args, config: &Path) -> Result<Sources, Exit> {
    let interval = args
        .interval
        .map_or(limits::TOP_INTERVAL, Duration::from_secs);
    let mut sources = Sources {
        gateway: args.gateway.as_deref().map(resolve).transpose()?,
        vault: args.vault.as_deref().map(resolve).transpose()?,
        interval,
    };
    if sources.gateway.is_none() && sources.vault.is_none() {
        let config = caller::load(config)?;
        let gateway = config.gateway.as_ref();
        let admin = gateway.and_then(|g| g.admin.as_ref());
        let plain = admin.filter(|admin| admin.tls.is_none()).map(|a| a.listen);
        sources.gateway = gateway.and_then(|g| g.observe).or(plain);
        sources.vault = config.vault.and_then(|vault| vault.observe);
        if sources.gateway.is_none() && sources.vault.is_none() {
            eprintln!(
                "error: the configuration has no `observe` address; write one, or say --gateway http://HOST:PORT"
            );
            return Err(Exit::Configuration);
        }
    }
    Ok(sources)
}

fn resolve(url: &str) -> Result<SocketAddr, Exit> {
    let rest = url.strip_prefix("http://").map(|r| r.trim_end_matches('/'));
    let found = rest.and_then(|rest| rest.to_socket_addrs().ok()?.next());
    found.ok_or_else(|| {
        eprintln!("error: {url}: expected http://HOST:PORT of a metrics page");
        Exit::Failed
    })
}

impl Sources {
    /// Reads both pages.
    pub fn look(&self) -> Look {
        let page = |address: Option<SocketAddr>| {
            address.map(|address| match get(address, "/metrics") {
                Ok((200, text)) => Ok(Page::read(&text)),
                Ok((status, _)) => Err(format!("{address} answers {status}")),
                Err(error) => Err(format!("{address}: {error}")),
            })
        };
        Look {
            at: Instant::now(),
            gateway: page(self.gateway),
            vault: page(self.vault),
        }
    }
}
