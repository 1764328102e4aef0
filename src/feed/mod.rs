//! The world of files: the policies of the gateway, over extracts and feeds.
//!
//! What enters: a checked configuration, files or standard input. What leaves: the same files with
//! answers in place, a manifest of what was made of what, and a list of records that were left out,
//! if somebody asked for that. What can never happen: a pseudonym is in an output before the record
//! behind it is durable; an output has its name before it is whole; a run that was killed and gone
//! on with makes other bytes than one that was not.
//!
//! ```text
//!  place ─▶ source ─▶ pump (the five steps) ─▶ sink ─▶ cohorts ─▶ manifest ─▶ names
//!  files    decode     rewrite, recover        encode   k          digests     renamed
//!                         │                      │
//!                         ▼                      ▼
//!                       rejects               journal (checkpoints, between records)
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{Config, matches_nothing};
use crate::format::csv::Dialect;
use crate::limits;
use crate::policy::{Action, Door, Policy};
use crate::pseudonym::Kinds;
use crate::rewrite::{Job, Keeper};
use crate::secret::Key32;
use crate::vault_link::{Lease, VaultLink};

pub mod cohorts;
pub mod counts;
mod cut;
mod digest;
mod finish;
mod fits;
mod journal;
mod lock;
pub mod manifest;
pub mod place;
pub mod progress;
mod pump;
mod rejects;
mod sink;
mod source;
pub mod stop;
pub mod verify;

use counts::Counts;
use finish::Names;
use journal::{Done, Identity, Journal, Left};
use lock::Lock;
use manifest::{Bytes, File, Log, Manifest, Named, RuleCount};
use place::{Item, Target, Written};
use progress::Progress;
use pump::{Beside, Pump, Work};
use rejects::Rejects;
use sink::Sink;
use stop::{Stop, Why};

/// What a command asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub inputs: Vec<PathBuf>,
    pub out: PathBuf,
    pub policy: String,
    pub domain: String,
    pub format: Option<Written>,
    pub rows: Dialect,
    pub rejects: Option<PathBuf>,
    pub force: bool,
    pub resume: bool,
    /// Decoded bytes between two checkpoints.
    pub every: u64,
    pub cohorts: Option<cohorts::Wanted>,
}

/// What has come of it.
pub struct Report {
    pub manifest: Manifest,
    pub target: Target,
    /// The run had finished before, and nothing was done.
    pub before: bool,
}

/// Rewrites everything.
///
/// # Errors
/// What keeps it from being whole; what was done for good can be gone on with, where there is a
/// file to write to.
pub async fn run(
    config: &Config,
    request: &Request,
    progress: &mut Progress,
) -> Result<Report, Stop> {
    let (items, target) =
        place::items(&request.inputs, &request.out, request.format, request.rows)?;
    let plan = Plan::new(config, request, &items)?;
    let names = Names::new(&target, request.rejects.as_deref());
    names.apart(&items)?;
    place::readable(&items)?;
    let _lock = target.path().map(Lock::take).transpose()?;
    let asked = plan.asked(config, request, &items);
    let left = match names.left(request, &items, &asked)? {
        finish::Found::Nothing => None,
        finish::Found::Left(left) => Some(left),
        finish::Found::Finished(manifest) => {
            let before = true;
            return Ok(Report {
                manifest,
                target,
                before,
            });
        }
    };
    if let Some(Left { finished: true, .. }) = &left {
        let manifest = names.manifest()?;
        names.give(&target)?;
        let before = false;
        return Ok(Report {
            manifest,
            target,
            before,
        });
    }
    let leased = plan.lease(config).await?;
    let run = Run {
        config,
        request,
        plan,
        items: &items,
        target: &target,
        names: &names,
        leased,
    };
    let manifest = match run.all(left, progress).await {
        Err(stop) if stop.why == Why::Input => {
            // It would stop there again.
            names.clear()?;
            return Err(stop);
        }
        other => other?,
    };
    let before = false;
    Ok(Report {
        manifest,
        target,
        before,
    })
}

/// The policy and the domain, found to go together.
struct Plan {
    policy: Arc<Policy>,
    domain: usize,
    derives: bool,
    quasi: Option<Arc<Policy>>,
}

impl Plan {
    fn new(config: &Config, request: &Request, items: &[Item]) -> Result<Self, Stop> {
        let mut policies = config.policies.iter();
        let policy = policies.find(|p| p.name == request.policy && !restores(p));
        let Some(policy) = policy else {
            let all = config.policies.iter().filter(|p| !restores(p));
            let known: Vec<_> = all.map(|p| p.name.as_str()).collect();
            let what = format!("the configuration has no policy `{}`", request.policy);
            return Err(Stop::configuration(
                what,
                format!("It has: {}.", known.join(", ")),
            ));
        };
        let domain = config.domains.iter().position(|d| d.name == request.domain);
        let Some(domain) = domain else {
            let known: Vec<_> = config.domains.iter().map(|d| d.name.as_str()).collect();
            let what = format!("the configuration has no domain `{}`", request.domain);
            return Err(Stop::configuration(
                what,
                format!("It has: {}.", known.join(", ")),
            ));
        };
        fits::flows(policy, &config.domains[domain])?;
        fits::shifts_alike(config, policy, domain)?;
        if !policy.reads_bodies() {
            let what = format!("policy `{}` says nothing of bodies", policy.name);
            return Err(Stop::configuration(
                what,
                "Name one with places such as $.email.",
            ));
        }
        for item in items {
            let body = policy
                .rules
                .iter()
                .filter(|rule| rule.at.door == Door::Body);
            let mut found = body.filter_map(|rule| {
                let (message, hint) = matches_nothing(&rule.at, item.format)?;
                Some((&rule.at, message, hint))
            });
            if let Some((at, message, hint)) = found.next() {
                let name = &policy.name;
                let what = format!("{}: policy `{name}` selects `{at}`: {message}", item.name);
                // A route's key is a feed's option.
                let hint = hint.replace("csv = { header = false }", "--no-header");
                return Err(Stop::configuration(what, format!("In short: {hint}.")));
            }
        }
        let quasi = request.cohorts.as_ref();
        let quasi = quasi
            .map(|wanted| cohorts::places(wanted, policy))
            .transpose()?;
        Ok(Self {
            derives: policy.rules.iter().any(|rule| needs_a_key(&rule.action)),
            policy: policy.clone(),
            domain,
            quasi: quasi.map(Arc::new),
        })
    }

    /// A digest of what decides the output, but for the domain's key and the inputs' bytes.
    fn asked(&self, config: &Config, request: &Request, items: &[Item]) -> String {
        let policy = policy_digest(&self.policy, &config.kinds);
        let domain = &config.domains[self.domain].name;
        let files: Vec<_> = items.iter().map(how).collect();
        let options = (request.rejects.is_some(), request.every, &request.cohorts);
        let all = (digest::hex(&config.digest), policy, domain, files, options);
        digest::of(format!("{all:?}").as_bytes())
    }

    /// The domain's keys, and who makes records durable.
    async fn lease(&self, config: &Config) -> Result<Option<(Arc<VaultLink>, Arc<Lease>)>, Stop> {
        if !self.derives {
            return Ok(None);
        }
        let own = config.feed.as_ref().map(|feed| &feed.vault);
        let address = own.or(config.gateway.as_ref().map(|gateway| &gateway.vault));
        let Some(address) = address else {
            let what = "the configuration does not say where the vault is";
            let next =
                "Write [feed] with vault = { address, certificate, key, ca }: docs/feeds.md.";
            return Err(Stop::configuration(what, next));
        };
        let link = VaultLink::start(config, address, &[self.domain]);
        let link = link.map_err(|error| {
            Stop::new(
                Why::Failed,
                error.to_string(),
                "Check [feed] or [gateway.vault].",
            )
        })?;
        let began = Instant::now();
        loop {
            if let Some(lease) = link.lease(self.domain) {
                return Ok(Some((link, lease)));
            }
            let vault = format!("https://{}:{}", address.host, address.port);
            if let Some((domain, why)) = link.refusal() {
                let what = format!("the vault refuses a lease of `{domain}`: {why}");
                let next = "The certificate must be registered with role gateway, for this domain.";
                return Err(Stop::new(Why::Vault, what, next));
            }
            if began.elapsed() > limits::FEED_LEASE {
                let what = format!("no lease from the vault at {vault}");
                return Err(Stop::new(
                    Why::Vault,
                    what,
                    "Does it run, and is the way to it open?",
                ));
            }
            tokio::time::sleep(limits::READY_TICK).await;
        }
    }
}

/// Made of another one, for the answers of a route.
fn restores(policy: &Policy) -> bool {
    let mut rules = policy.rules.iter();
    rules.any(|rule| matches!(rule.action, Action::Restore { .. }))
}

fn needs_a_key(action: &Action) -> bool {
    !matches!(
        action,
        Action::Keep
            | Action::Drop
            | Action::Reject
            | Action::Redact(_)
            | Action::Mask(_)
            | Action::Generalise(_)
    )
}

/// Of the rules as they were checked: what each says, in words that do not depend on where the
/// configuration says it.
fn policy_digest(policy: &Policy, kinds: &Kinds) -> String {
    let mut text = format!("{:?} {:?}\n", policy.unlisted, policy.record);
    for rule in &policy.rules {
        let action = (rule.action.name(), rule.action.describe(kinds));
        let categories = (rule.category, rule.special);
        let marks = (rule.subject, rule.accept_frequency, rule.already);
        text += &format!("{} {action:?} {categories:?} {marks:?}\n", rule.at);
    }
    digest::of(text.as_bytes())
}

/// An input, and how it is read and written.
fn how(item: &Item) -> String {
    let how = (item.format, item.decode, item.encode);
    format!("{} {} {how:?}", item.name, item.output_name())
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// One run.
struct Run<'a> {
    config: &'a Config,
    request: &'a Request,
    plan: Plan,
    items: &'a [Item],
    target: &'a Target,
    names: &'a Names,
    leased: Option<(Arc<VaultLink>, Arc<Lease>)>,
}

impl Run<'_> {
    fn identity(&self) -> Identity {
        let domain = &self.config.domains[self.plan.domain];
        let lease = self.leased.as_ref().map(|(_, lease)| lease);
        Identity {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: digest::hex(&self.config.digest),
            policy: policy_digest(&self.plan.policy, &self.config.kinds),
            domain: domain.name.clone(),
            domain_id: lease.map_or_else(String::new, |l| digest::hex(&l.domain_id())),
            epoch: lease.map_or(0, |l| l.epoch()),
            files: self.items.iter().map(how).collect(),
            cohorts: format!("{:?}", self.request.cohorts),
            every: self
                .request
                .every
                .next_multiple_of(limits::FEED_CHUNK as u64),
            rejects: self.request.rejects.is_some(),
        }
    }

    async fn all(&self, left: Option<Left>, progress: &mut Progress) -> Result<Manifest, Stop> {
        let identity = self.identity();
        let started = left.as_ref().map_or_else(now, |left| left.started.clone());
        if let Some(left) = &left {
            finish::same(&left.identity, &identity)?;
        }
        let mut journal = match (self.names.journal(), &left) {
            (None, _) => None,
            (Some(path), Some(left)) => Some(Journal::open(path, left)?),
            (Some(path), None) => {
                self.names.clear()?;
                Some(Journal::create(path, &started, &identity)?)
            }
        };
        let mut rejects = self.names.rejects(left.as_ref())?;
        let keeper = self.leased.as_ref();
        let work = Work {
            job: Job {
                policy: self.plan.policy.clone(),
                kinds: Arc::new(self.config.kinds.clone()),
                format: crate::config::Format::Json,
                keeper: keeper.map(|(_, lease)| lease.clone() as Arc<dyn Keeper>),
                limits: Arc::new(self.config.limits.clone()),
                own: None,
            },
            delimiter: self.request.rows.delimiter,
            every: identity.every,
            longest: self.config.limits.record,
        };
        let size = |item: &Item| match &item.input {
            place::Input::File(path) => std::fs::metadata(path).ok().map(|meta| meta.len()),
            place::Input::Stdin => None,
        };
        let resumed = left.is_some();
        let (mut done, mut checkpoint) = match left {
            Some(left) => (left.done, left.checkpoint),
            None => (Vec::new(), None),
        };
        for (item, done) in self.items.iter().zip(&done) {
            self.names.still_there(item, done.written)?;
        }
        let before = done.iter().map(|done| done.read).sum();
        progress.begin("rewriting", self.items.iter().map(size).sum(), before);
        for (at, item) in self.items.iter().enumerate().skip(done.len()) {
            let from = checkpoint.take();
            let part = self.names.part(item)?;
            let sink = pump::sink(item, part.as_deref(), from.as_ref())?;
            let beside = Beside {
                rejects: rejects.as_mut(),
                journal: journal.as_mut(),
                progress,
            };
            let pump = Pump::new(&work, (at, item), sink, from.as_ref(), beside)?;
            done.push(pump.run().await?);
        }
        if journal.is_some() {
            self.names.clear_thinned()?;
        }
        let cohorts = self.cohorts(&mut done, progress)?;
        let manifest = self
            .manifest(started, resumed, &done, cohorts, rejects)
            .await;
        let Some(mut journal) = journal else {
            return Ok(manifest);
        };
        self.names.prepare(&manifest)?;
        journal.finished()?;
        self.names.give(self.target)?;
        Ok(manifest)
    }

    /// Counts cohorts; `done` then says what the outputs are without the small ones.
    fn cohorts(
        &self,
        done: &mut [Done],
        progress: &mut Progress,
    ) -> Result<Option<cohorts::Finding>, Stop> {
        let asked = self.request.cohorts.as_ref().zip(self.plan.quasi.as_ref());
        let Some((wanted, quasi)) = asked else {
            return Ok(None);
        };
        let Some(out) = self.target.path() else {
            let what = "cohorts are counted in a second pass, over a file";
            return Err(Stop::configuration(what, "Name an output file: -o OUT."));
        };
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| {
            let what = format!("the system gives no random bytes: {error}");
            Stop::new(Why::Failed, what, "Try again.")
        })?;
        let parts: Result<Vec<_>, Stop> = self.items.iter().map(|i| self.names.part(i)).collect();
        let parts: Vec<PathBuf> = parts?.into_iter().flatten().collect();
        let count = cohorts::Count {
            wanted,
            items: self.items,
            parts: &parts,
            policy: quasi.clone(),
            key: Key32::new(key),
            record: self.config.limits.record,
            depth: self.config.limits.depth,
            delimiter: self.request.rows.delimiter,
            folder: cohorts::folder(out),
        };
        let (finding, thinned) = count.run(|at| self.names.thinned(&self.items[at]), progress)?;
        for (done, thinned) in done.iter_mut().zip(thinned) {
            (done.written, done.written_sha256) = (thinned.written, thinned.written_sha256);
        }
        Ok(Some(finding))
    }

    async fn manifest(
        &self,
        started: String,
        resumed: bool,
        done: &[Done],
        cohorts: Option<cohorts::Finding>,
        rejects: Option<Rejects>,
    ) -> Manifest {
        let identity = self.identity();
        let mut counts = Counts::default();
        done.iter().for_each(|done| counts.add(&done.counts));
        let log = match &self.leased {
            Some((link, _)) => link.log_checkpoint().await.ok().and_then(Log::new),
            None => None,
        };
        let bytes = |name: String, bytes: u64, sha256: &str| Bytes {
            name,
            bytes,
            sha256: sha256.to_owned(),
        };
        let file = |(item, done): (&Item, &Done)| File {
            input: bytes(item.name.clone(), done.read, &done.read_sha256),
            output: bytes(
                self.names.final_name(item),
                done.written,
                &done.written_sha256,
            ),
            records: done.counts.records,
            rejected: done.counts.rejected,
        };
        let leased = self.leased.is_some();
        let domain = leased.then(|| manifest::Domain {
            name: identity.domain.clone(),
            id: identity.domain_id.clone(),
            epoch: identity.epoch,
        });
        let rejects = rejects.zip(self.request.rejects.as_deref());
        Manifest {
            manifest: 1,
            cryptonym: identity.version.clone(),
            policy: Named {
                name: self.plan.policy.name.clone(),
                sha256: identity.policy.clone(),
            },
            configuration_sha256: identity.configuration.clone(),
            asked_sha256: self.plan.asked(self.config, self.request, self.items),
            domain,
            purpose: self.config.domains[self.plan.domain]
                .purpose
                .name()
                .to_owned(),
            log,
            started,
            ended: now(),
            resumed,
            files: self.items.iter().zip(done).map(file).collect(),
            rejects: rejects.map(|(rejects, path)| {
                let name = self.names.beside_manifest(path);
                bytes(name, rejects.0.bytes(), &rejects.0.digest())
            }),
            rules: rules(&self.plan.policy, &counts),
            counts,
            cohorts,
        }
    }
}

fn rules(policy: &Policy, counts: &Counts) -> Vec<RuleCount> {
    let count = |at: usize| counts.rules.get(at).copied().unwrap_or(0);
    let line = |(at, rule): (usize, &crate::policy::Rule)| RuleCount {
        at: rule.at.to_string(),
        action: rule.action.name().to_owned(),
        count: count(at),
    };
    let mut lines: Vec<_> = policy.rules.iter().enumerate().map(line).collect();
    let unlisted = count(policy.rules.len());
    if policy.unlisted == crate::policy::Unlisted::Drop || unlisted > 0 {
        lines.push(RuleCount {
            at: "unlisted".to_owned(),
            action: "drop".to_owned(),
            count: unlisted,
        });
    }
    lines
}

/// Opens the file of records that are left out, from where the run before has come.
fn open_rejects(path: &Path, left: Option<&Left>) -> Result<Rejects, Stop> {
    let checkpoint = left.and_then(|left| left.checkpoint.as_ref());
    let done = left.and_then(|left| left.done.last());
    let so_far = checkpoint.map(|c| (c.rejects, &c.rejects_sha256));
    let so_far = so_far.or(done.map(|d| (d.rejects, &d.rejects_sha256)));
    Ok(Rejects(match so_far {
        Some((bytes, digest)) => Sink::reopen(path, None, bytes, digest)?,
        None => Sink::create(path, None)?,
    }))
}
