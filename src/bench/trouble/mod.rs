//! `cryptonym bench soak`: everything that happens to a gateway in a year, in ten minutes.
//!
//! ```text
//! clients (HTTP/1.1 and 2) ─▶ gateway ─▶ backend          every E s   another configuration
//!   one record, arrays, lines,    │                        every 2 E   the backend is away
//!   feeds, opaque, broken off     └─▶ vault                every 3 E   the vault is away
//! ```
//!
//! What enters: minutes, a rate. What leaves: a line a period, and at the end: bytes that were
//! wrong, records that were lost, connections that stayed open, memory that grew. What can never
//! happen: one of these ends as a success. Refusals while somebody is away are counted, not held
//! against the gateway; outside of that each is an error.

mod client;
mod ledger;
mod origin;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::client::{Client, Ended, Shared};
use self::ledger::{Counts, Ledger};
use self::origin::Origin;
use super::histogram::Histogram;
use super::meter::Meter;
use super::place::{DOMAIN, counter};
use super::report::{Document, Head};
use super::soak::{Memory, Period, heading, print};
use super::table;
use crate::config::Config;
use crate::limits;
use crate::local::processes::{Failure, Process};
use crate::local::site::Site;
use crate::vault_link::VaultLink;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub minutes: f64,
    pub rate: f64,
    /// Seconds between two lines.
    pub period: f64,
    /// Seconds between two reloads; the backend goes away half as often, the vault a third.
    pub every: f64,
    pub clients: usize,
    pub seed: u64,
    pub json: bool,
}

#[derive(Serialize)]
struct Body {
    rate: f64,
    periods: Vec<Period>,
    counts: Counts,
    /// Refusals while backend or vault were away.
    away: BTreeMap<String, u64>,
    /// Refusals at other times: none is right.
    errors: BTreeMap<String, u64>,
    reloads: u64,
    backend_restarts: u64,
    vault_restarts: u64,
    /// Pseudonyms at the backend whose recovery record the vault does not have.
    unrecorded: u64,
    /// At the end, when clients and backend had gone.
    connections_left: u64,
    first_wrong: Option<String>,
    unsettled: usize,
    gateway: Memory,
    vault: Memory,
}

impl Body {
    fn well(&self) -> bool {
        self.counts.well()
            && self.counts.acknowledged > 0
            && self.errors.is_empty()
            && self.unrecorded + self.connections_left == 0
            && self.unsettled == 0
            && !self.gateway.grew
            && !self.vault.grew
    }
}

/// `Ok(false)`: something was lost, wrong, refused without a reason, left open, or grew.
///
/// # Errors
/// Something could not be started, or did not come back.
pub async fn run(options: Options) -> Result<bool, Failure> {
    let head = Head::new("soak");
    let site = Site::new("cryptonym-soak")?;
    let ledger = Arc::new(Ledger::default());
    let mut origin = Origin::start(ledger.clone()).await?;
    site.furnish(&configuration(&site, &origin, 0))?;
    let vault = site.start_vault()?;
    let gateway = site.start_gateway()?;
    let mut run = Run {
        options,
        began: Instant::now(),
        shared: Shared::new(&site, ledger.clone(), options.seed)?,
        gateway_meter: Meter::new(gateway.id()),
        gateway,
        vault: Some(vault),
        site,
        away_until: None,
        reloads: 0,
        backend_restarts: 0,
        vault_restarts: 0,
        away: BTreeMap::new(),
        errors: BTreeMap::new(),
    };
    let periods = run.drive(&mut origin).await?;
    let connections_left = run.left_open(&mut origin).await?;
    let Run {
        gateway,
        vault,
        site,
        ..
    } = run;
    gateway.stop();
    let unrecorded = unrecorded(&site, &ledger).await?;
    vault.map(Process::stop);
    let (first_wrong, unsettled) = ledger.faults();
    let body = Body {
        rate: options.rate,
        counts: ledger.counts(),
        away: run.away,
        errors: run.errors,
        reloads: run.reloads,
        backend_restarts: run.backend_restarts,
        vault_restarts: run.vault_restarts,
        unrecorded,
        connections_left,
        first_wrong,
        unsettled,
        gateway: Memory::of(&periods, |period| period.gateway_mib),
        // A vault that was started anew begins anew: its last life is compared with itself.
        vault: Memory::of(&periods, |period| period.vault_mib),
        periods,
    };
    let well = body.well();
    Document { head, body }.put(options.json, |document| conclude(&document.body))?;
    Ok(well)
}

struct Run {
    options: Options,
    began: Instant,
    shared: Arc<Shared>,
    gateway: Process,
    gateway_meter: Meter,
    vault: Option<Process>,
    site: Site,
    /// Somebody is away, or has just come back.
    away_until: Option<Instant>,
    reloads: u64,
    backend_restarts: u64,
    vault_restarts: u64,
    away: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

impl Run {
    async fn drive(&mut self, origin: &mut Origin) -> Result<Vec<Period>, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut clients = JoinSet::new();
        for number in 0..self.options.clients {
            let client = Client::new(&self.shared, number % 2 == 1);
            let pause = Duration::from_secs_f64(self.options.clients as f64 / self.options.rate);
            clients.spawn(turns(client, pause, stop.clone(), ended.clone()));
        }
        drop(ended);
        if !self.options.json {
            heading();
        }
        let seconds = Duration::from_secs_f64;
        let end = self.began + seconds(self.options.minutes * 60.0);
        let mut line = tokio::time::interval(seconds(self.options.period));
        let mut trouble = tokio::time::interval(seconds(self.options.every));
        line.tick().await;
        trouble.tick().await;
        let (mut periods, mut now, mut turn) = (Vec::new(), Tally::default(), 0_u64);
        loop {
            tokio::select! {
                ended = ends.recv() => match ended {
                    Some(ended) => self.note(ended, &mut now),
                    None => break,
                },
                _ = line.tick() => periods.push(self.period(&mut now)),
                _ = trouble.tick(), if Instant::now() < end => {
                    turn += 1;
                    self.reload(origin, turn)?;
                    if turn.is_multiple_of(2) {
                        self.backend_goes(origin, &mut ends, &mut now).await?;
                    }
                    if turn.is_multiple_of(3) {
                        self.vault_goes(&mut ends, &mut now).await?;
                    }
                }
                () = tokio::time::sleep_until(end.into()), if !stop.load(Relaxed) => {
                    stop.store(true, Relaxed);
                }
            }
        }
        while clients.join_next().await.is_some() {}
        if now.latencies.total() > 0 || periods.is_empty() {
            periods.push(self.period(&mut now));
        }
        Ok(periods)
    }

    fn note(&mut self, ended: Ended, tally: &mut Tally) {
        let Some(why) = ended.why else {
            tally.latencies.record(ended.took);
            return;
        };
        // Whoever asked while somebody was away may hear of it later.
        let forgiven = self.away_until.is_some_and(|until| ended.began < until);
        let counts = if forgiven {
            &mut self.away
        } else {
            &mut self.errors
        };
        *counts.entry(why.clone()).or_default() += 1;
        if !forgiven {
            *tally.errors.entry(why).or_default() += 1;
        }
    }

    fn period(&mut self, tally: &mut Tally) -> Period {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let vault = self.vault.as_ref().map(|vault| Meter::new(vault.id()));
        let Tally { latencies, errors } = std::mem::take(tally);
        let period = Period {
            seconds: self.began.elapsed().as_secs_f64(),
            requests: latencies.total(),
            p50_ms: latencies.percentile(0.5),
            p99_ms: latencies.percentile(0.99),
            p999_ms: latencies.percentile(0.999),
            errors,
            gateway_mib: self.gateway_meter.resident().map(mebibytes),
            vault_mib: vault.and_then(|meter| meter.resident()).map(mebibytes),
        };
        if !self.options.json {
            print(&period);
        }
        period
    }

    fn reload(&mut self, origin: &Origin, turn: u64) -> Result<(), Failure> {
        let new = self.site.folder().join("config.new");
        std::fs::write(&new, configuration(&self.site, origin, turn))?;
        std::fs::rename(new, self.site.config())?;
        self.gateway.signal(Signal::HUP);
        self.reloads += 1;
        Ok(())
    }

    /// From now on refusals have a reason, until a while after [`limits::SOAK_AWAY`].
    fn goes_away(&mut self) {
        self.away_until = Some(Instant::now() + limits::SOAK_AWAY + limits::SOAK_GRACE);
    }

    async fn backend_goes(
        &mut self,
        origin: &mut Origin,
        ends: &mut mpsc::UnboundedReceiver<Ended>,
        now: &mut Tally,
    ) -> Result<(), Failure> {
        self.goes_away();
        origin.stop();
        self.waits(limits::SOAK_AWAY, ends, now).await;
        origin.start_again().await?;
        self.backend_restarts += 1;
        Ok(())
    }

    async fn vault_goes(
        &mut self,
        ends: &mut mpsc::UnboundedReceiver<Ended>,
        now: &mut Tally,
    ) -> Result<(), Failure> {
        self.goes_away();
        if let Some(vault) = self.vault.take() {
            let stopped = tokio::task::spawn_blocking(move || vault.stop()).await;
            stopped.map_err(|e| Failure(e.to_string()))?;
        }
        self.waits(limits::SOAK_AWAY, ends, now).await;
        self.vault = Some(self.site.start_vault()?);
        self.vault_restarts += 1;
        self.goes_away();
        Ok(())
    }

    /// Goes on noting meanwhile.
    async fn waits(
        &mut self,
        time: Duration,
        ends: &mut mpsc::UnboundedReceiver<Ended>,
        now: &mut Tally,
    ) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, ends.recv()).await {
            self.note(ended, now);
        }
    }

    /// Reloads that the gateway says it has refused are errors; connections that are open once
    /// clients and backend have gone.
    async fn left_open(&mut self, origin: &mut Origin) -> Result<u64, Failure> {
        let page = self.site.addresses.gateway_observe;
        let refused = counter(page, "cryptonym_gateway_reloads_refused_total", "")?;
        if refused > 0 {
            self.errors.insert("reload refused".to_owned(), refused);
        }
        origin.stop();
        let began = Instant::now();
        loop {
            let left = counter(page, "cryptonym_gateway_connections_open", "")?;
            if left == 0 || began.elapsed() > limits::SOAK_CLOSE {
                return Ok(left);
            }
            tokio::time::sleep(limits::READY_TICK).await;
        }
    }
}

#[derive(Default)]
struct Tally {
    latencies: Histogram,
    errors: BTreeMap<String, u64>,
}

async fn turns(
    mut client: Client,
    pause: Duration,
    stop: Arc<AtomicBool>,
    ended: mpsc::UnboundedSender<Ended>,
) {
    let mut due = tokio::time::interval(pause);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Relaxed) {
        due.tick().await;
        if ended.send(client.turn().await).is_err() {
            return;
        }
    }
}

/// How many pseudonyms that have reached the backend the vault knows nothing of: asked of the
/// vault itself, as a gateway that starts would.
async fn unrecorded(site: &Site, ledger: &Ledger) -> Result<u64, Failure> {
    let config = Config::load(&site.config())
        .map_err(|_| Failure("the configuration cannot be read again".to_owned()))?
        .config;
    let missing = || Failure("the configuration has no gateway".to_owned());
    let gateway = config.gateway.as_ref().ok_or_else(missing)?;
    let domain = config.domains.iter().position(|d| d.name == DOMAIN);
    let domain = domain.ok_or_else(missing)?;
    let link = VaultLink::start(&config, &gateway.vault, &[domain])
        .map_err(|error| Failure(error.to_string()))?;
    let began = Instant::now();
    let lease = loop {
        if let Some(lease) = link.lease(domain) {
            break lease;
        }
        if began.elapsed() > limits::LOCAL_START {
            return Err(Failure("the vault does not lease at the end".to_owned()));
        }
        tokio::time::sleep(limits::READY_TICK).await;
    };
    let pseudonyms = ledger.pseudonyms();
    let missing = pseudonyms.iter().filter(|p| !lease.is_durable(p));
    Ok(missing.count() as u64)
}

fn configuration(site: &Site, origin: &Origin, turn: u64) -> String {
    // What changes from turn to turn: limits, and a route that comes and goes.
    let hold = 256 + turn % 3 * 256;
    let mut text = site.addresses.worlds("access_log = false");
    text += &format!(
        r#"
[domain.{DOMAIN}]
purpose = "develop-and-improve"
budget_per_day = 1_000_000_000

[kind.ethnicity]
class = "vocabulary"
prefix = "eth"
normaliser = "text"

[limits]
hold = "{hold} KiB"

[backend.origin]
urls = ["http://{origin}"]

[policy.soak]
unlisted = "keep"
rules = [
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }},
  {{ at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" }},
  {{ at = "$.ethnicity", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", accept = "frequency" }},
]

[[route]]
name = "soak"
path = "/soak"
methods = ["POST"]
query = [{{ name = "n" }}]
backend = "origin"
domain = "{DOMAIN}"
request = "soak"
stream = true

[[route]]
name = "pass"
path = "/pass"
methods = ["POST"]
query = [{{ name = "n" }}]
backend = "origin"
opaque = true
"#,
        origin = origin.address,
    );
    if turn % 2 == 1 {
        text +=
            "\n[[route]]\nname = \"more\"\npath = \"/more\"\nbackend = \"origin\"\nopaque = true\n";
    }
    text
}

fn conclude(body: &Body) {
    let Counts {
        requests,
        acknowledged,
        refused,
        aborted,
        records,
        bytes,
        pseudonyms,
        lost,
        twice,
        wrong,
    } = body.counts;
    table::put(&format!(
        "\n{requests} requests: {acknowledged} acknowledged, {aborted} broken off by clients, {refused} refused\n\
         {records} records, {} MiB, every byte compared; {pseudonyms} pseudonyms\n\
         {} reloads, {} restarts of the backend, {} of the vault",
        bytes >> 20,
        body.reloads,
        body.backend_restarts,
        body.vault_restarts,
    ));
    for (why, count) in &body.away {
        table::put(&format!(
            "  {count} refused while one of them was away: {why}"
        ));
    }
    for (why, count) in &body.errors {
        table::put(&format!("  {count} ERRORS: {why}"));
    }
    if let Some(first) = &body.first_wrong {
        table::put(&format!("  first wrong body: {first}"));
    }
    table::put(&format!(
        "\nlost {lost} · sent twice {twice} · wrong bodies {wrong} · pseudonyms without a recovery record {} · connections left open {} · requests without an end {}",
        body.unrecorded, body.connections_left, body.unsettled
    ));
    body.gateway.says("gateway");
    body.vault.says("vault");
}
