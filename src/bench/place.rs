//! What is measured when no target is named: a vault, a gateway and an origin on loopback, and
//! nginx and HAProxy beside them where they are installed.
//!
//! What enters: which of these. What leaves: ways through, each with its process. What can never
//! happen: a process or a file that stays. Fields are dropped from top to bottom.

use std::net::SocketAddr;

use super::meter::Meter;
use super::origin::Origin;
use super::peers::{self, Peer};
use super::target::{Target, Trust};
use super::verify::Expect;
use crate::local::processes::{Failure, Process, get};
use crate::local::site::{Addresses, HOST, Site};

/// What the load's policy replaces: member, kind's prefix.
pub const FOUR: &[(&str, &str)] = &[
    ("subscriber_id", "sub"),
    ("email", "eml"),
    ("nhs_number", "nhs"),
    ("ethnicity", "eth"),
];

/// What a first sight replaces, the first one alone or more of them.
pub const NEW: [(&str, &str); 3] = [
    ("subscriber_id", "sub"),
    ("email", "eml"),
    ("nhs_number", "nhs"),
];

/// One way from the load generator to the origin.
pub struct Way {
    pub name: &'static str,
    pub target: Target,
    /// Whose processor time and memory are counted.
    pub meter: Option<Meter>,
    pub expect: Option<Expect>,
    /// The gateway's metrics page, and the part of it that counts what was replaced.
    pub counted: Option<(SocketAddr, &'static str)>,
    /// Whether it makes a difference to it in which format the records are.
    pub reads: bool,
}

/// The installation. `gateway` is `None` until it is started.
pub struct Place {
    peers: Vec<Peer>,
    pub gateway: Option<Process>,
    pub vault: Process,
    pub origin: Origin,
    pub site: Site,
    http2: bool,
}

impl Place {
    /// Makes everything; starts the vault and the origin.
    ///
    /// # Errors
    /// What could not be made or started, in words.
    pub async fn start(http2: bool) -> Result<Self, Failure> {
        let site = Site::new("cryptonym-bench")?;
        let origin = Origin::start().await?;
        site.furnish(&configuration(&site.addresses, origin.address))?;
        Ok(Self {
            peers: Vec::new(),
            gateway: None,
            vault: site.start_vault()?,
            origin,
            site,
            http2,
        })
    }

    /// # Errors
    /// The gateway does not become ready.
    pub fn start_gateway(&mut self) -> Result<(), Failure> {
        self.gateway = Some(self.site.start_gateway()?);
        Ok(())
    }

    /// Starts the peers that are installed; gives what there is to say about them.
    ///
    /// # Errors
    /// One is installed and does not start.
    pub fn start_peers(&mut self) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
        let mut said = Vec::new();
        for kind in peers::KINDS {
            let peer = Peer::start(kind, &self.site, self.origin.address, self.http2)?;
            said.push((kind.name, peer.as_ref().map(|peer| peer.version.clone())));
            self.peers.extend(peer);
        }
        Ok(said)
    }

    /// What it costs the gateway, and what it costs the vault.
    pub fn meters(&self) -> (Option<Meter>, Meter) {
        let gateway = self
            .gateway
            .as_ref()
            .map(|gateway| Meter::new(gateway.id()));
        (gateway, Meter::new(self.vault.id()))
    }

    /// Every way through that was started.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn ways(&self) -> Result<Vec<Way>, Failure> {
        let observe = self.site.addresses.gateway_observe;
        let (gateway, _) = self.meters();
        let ours = |name, path, expect, counted, reads| {
            Ok::<_, Failure>(Way {
                name,
                target: self.target(self.site.addresses.gateway, path)?,
                meter: gateway,
                expect: Some(expect),
                counted,
                reads,
            })
        };
        let mut ways = vec![
            ours(
                GATEWAY,
                "/bench",
                Expect::Replaced(FOUR),
                Some((observe, r#"route="bench""#)),
                true,
            )?,
            ours("pass-through", "/pass", Expect::Same, None, false)?,
        ];
        for peer in &self.peers {
            ways.push(Way {
                name: peer.name,
                target: self.target(peer.address, "/bench")?,
                meter: Some(Meter::new(peer.id())),
                expect: Some(Expect::Same),
                counted: None,
                reads: false,
            });
        }
        Ok(ways)
    }

    /// A path of the server at `address`, which has the gateway's certificate.
    ///
    /// # Errors
    /// As [`Place::ways`].
    pub fn target(&self, address: SocketAddr, path: &str) -> Result<Target, Failure> {
        let ca = self.site.cert("gateway-ca.pem");
        let trust = Trust {
            ca: Some(&ca),
            identity: None,
        };
        Target::new(address, HOST, path, trust, self.http2)
    }

    /// Ends everything politely.
    pub fn stop(self) {
        let Self {
            peers,
            gateway,
            vault,
            ..
        } = self;
        drop(peers);
        gateway.map(Process::stop);
        vault.stop();
    }
}

/// The row that everything is about.
pub const GATEWAY: &str = "gateway";

/// A counter on a metrics page; `label` is a part of its line (`route="x"`), or nothing.
///
/// # Errors
/// The page cannot be read, or has no such counter.
pub fn counter(page: SocketAddr, name: &str, label: &str) -> Result<u64, Failure> {
    let (_, text) = get(page, "/metrics")?;
    let lines: Vec<u64> = text
        .lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    if lines.is_empty() {
        return Err(Failure(format!("{page} has no counter {name}")));
    }
    Ok(lines.iter().sum())
}

fn configuration(addresses: &Addresses, origin: SocketAddr) -> String {
    let mut text = addresses.worlds("");
    text += &format!(
        r#"
[domain.{DOMAIN}]
purpose = "develop-and-improve"
budget_per_day = 1_000_000_000

[backend.origin]
urls = ["http://{origin}"]

[kind.ethnicity]
class = "vocabulary"
prefix = "eth"
normaliser = "text"

[[route]]
name = "pass"
path = "/pass"
methods = ["POST"]
backend = "origin"
opaque = true

[policy.bench]
unlisted = "keep"
rules = [
  {SUBSCRIBER},
  {EMAIL},
  {NHS},
  {{ at = "$.ethnicity", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", accept = "frequency" }},
]
"#
    );
    text += &route("bench", "/bench", "bench");
    for new in 1..=NEW.len() {
        let rules = [SUBSCRIBER, EMAIL, NHS][..new].join(",\n  ");
        text += &format!("\n[policy.new-{new}]\nunlisted = \"keep\"\nrules = [\n  {rules},\n]\n");
        text += &route(&format!("new-{new}"), &new_path(new), &format!("new-{new}"));
    }
    text
}

/// The domain of all routes, as the registry of `certs init` grants it.
pub const DOMAIN: &str = "improvement";

/// The path of a route on which so many identifiers of a record are replaced.
pub fn new_path(identifiers: usize) -> String {
    format!("/new/{identifiers}")
}

const SUBSCRIBER: &str = r#"{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }"#;
const EMAIL: &str =
    r#"{ at = "$.email", category = "contact", action = "pseudonym", kind = "email" }"#;
const NHS: &str =
    r#"{ at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" }"#;
fn route(name: &str, path: &str, policy: &str) -> String {
    format!(
        r#"
[[route]]
name = "{name}"
path = "{path}"
methods = ["POST"]
backend = "origin"
domain = "{DOMAIN}"
request = "{policy}"
stream = true
"#
    )
}
