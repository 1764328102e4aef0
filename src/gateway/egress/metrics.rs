//! What the egress proxy counts.
//!
//! What enters: what became of each CONNECT, and bytes of tunnels. What leaves: counters whose
//! labels are constants and configured host names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of hosts that the configuration does not name.
pub const OTHER: &str = "other";

/// What became of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// TLS ends here.
    Opened,
    /// It was a tunnel, and has ended.
    Tunnelled,
    /// A tunnel in which nothing moved any more, or that ended with the gateway.
    Cut,
    /// The client is in no network of `clients`.
    Client,
    /// On no list.
    Host,
    /// Inside.
    Address,
    /// No CONNECT, or one that cannot be trusted.
    Request,
    /// Its head did not arrive in `head_time`.
    Slow,
    Unreachable,
    Full,
    Gone,
}

impl Outcome {
    const ALL: [Self; 11] = [
        Self::Opened,
        Self::Tunnelled,
        Self::Cut,
        Self::Client,
        Self::Host,
        Self::Address,
        Self::Request,
        Self::Slow,
        Self::Unreachable,
        Self::Full,
        Self::Gone,
    ];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Tunnelled => "tunnelled",
            Self::Cut => "tunnel-cut",
            Self::Client => "refused-client",
            Self::Host => "refused-host",
            Self::Address => "refused-address",
            Self::Request => "refused-request",
            Self::Slow => "slow",
            Self::Unreachable => "unreachable",
            Self::Full => "full",
            Self::Gone => "gone",
        }
    }

    /// In the access log; `None`: all went well.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Opened | Self::Tunnelled => None,
            other => Some(other.name()),
        }
    }

    pub fn is_whole(self) -> bool {
        !matches!(self, Self::Cut | Self::Gone | Self::Slow)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectLabel {
    host: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    /// `out`: to the host; `in`: from it.
    direction: &'static str,
}

/// The egress proxy's families.
#[derive(Default)]
pub struct EgressMetrics {
    connects: Family<ConnectLabel, Counter>,
    bytes: Family<DirectionLabel, Counter>,
    pub tunnels: Gauge,
}

impl EgressMetrics {
    /// All there from the start: a rate over a counter that appears late misses its first.
    pub fn knows<'a>(&self, hosts: impl Iterator<Item = &'a str>) {
        for host in hosts.chain([OTHER]) {
            for outcome in Outcome::ALL {
                drop(self.connects.get_or_create(&label(host, outcome)));
            }
        }
    }

    pub fn connected(&self, host: &str, outcome: Outcome) {
        self.connects.get_or_create(&label(host, outcome)).inc();
    }

    pub fn moved(&self, out: u64, back: u64) {
        for (direction, bytes) in [("out", out), ("in", back)] {
            let label = DirectionLabel { direction };
            self.bytes.get_or_create(&label).inc_by(bytes);
        }
    }

    pub fn register(&self, r: &mut Registry) {
        r.register(
            "egress_connects",
            "CONNECTs, by host as configured and what became of them",
            self.connects.clone(),
        );
        r.register("egress_tunnels_open", "Tunnels now", self.tunnels.clone());
        r.register(
            "egress_tunnel_bytes",
            "What has passed unseen in tunnels",
            self.bytes.clone(),
        );
    }
}

fn label(host: &str, outcome: Outcome) -> ConnectLabel {
    ConnectLabel {
        host: host.to_owned(),
        outcome: outcome.name(),
    }
}
