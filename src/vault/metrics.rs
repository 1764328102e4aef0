//! Counters of the vault, without labels that name anybody.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::Arc;

use crate::observe::count::Times;

macro_rules! counters {
    ($( $field:ident = $help:literal; )*) => {
        /// What the vault counts since its start. A counter's name is that of its field.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $( pub $field: Counter, )*
            /// Connections of gateways and people now.
            pub connections_open: Gauge,
            commit_times: Arc<CommitTimes>,
        }

        impl Metrics {
            fn register(&self, registry: &mut Registry) {
                $( registry.register(stringify!($field), $help, self.$field.clone()); )*
            }
        }
    };
}

counters! {
    leases = "Leases granted";
    records_new = "Recovery records that were new";
    records_known = "Recovery records that were there already";
    commits = "Commits synced to disk";
    works = "Works in those commits";
    refused = "Requests refused";
    handshakes_failed = "TLS handshakes that failed";
    reveals_asked = "Reveals asked for";
    reveals_fetched = "Results of reveals answered";
    alarms_conflict = "Pseudonyms offered under another identifier";
    alarms_mismatch = "Batches with a record that does not derive";
    alarms_budget = "Days on which a gateway spent a domain's budget";
    alarms_decision = "Reveals marked as approved without an approver's signature";
    alarms_domain = "Uses of a domain that the registry does not give the gateway";
    alarms_lease = "Second leases of one gateway and domain";
}

/// How long commits took, their fsync included.
#[derive(Debug, Default)]
struct CommitTimes(Times);

impl Collector for CommitTimes {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Commits, from begin to synced";
        let times = MetricType::Histogram;
        let to = to.encode_descriptor("commit_seconds", help, None, times)?;
        Times::encode(std::iter::once(&self.0), to)
    }
}

impl Metrics {
    /// Counts an alarm by its event's name.
    pub fn alarm(&self, event: &str) {
        let counter = match event {
            "conflict-alarm" => &self.alarms_conflict,
            "mismatch-alarm" => &self.alarms_mismatch,
            "budget-alarm" => &self.alarms_budget,
            "decision-alarm" => &self.alarms_decision,
            "domain-alarm" => &self.alarms_domain,
            _ => &self.alarms_lease,
        };
        counter.inc();
    }

    /// Counts a commit of so many works.
    pub fn commit(&self, works: usize, time: Duration) {
        self.commits.inc();
        self.works.inc_by(works as u64);
        self.commit_times.0.add(time);
    }

    /// All of them, for a metrics page.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("cryptonym_vault");
        self.register(&mut registry);
        registry.register(
            "build",
            "The program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "connections_open",
            "Connections now",
            self.connections_open.clone(),
        );
        registry.register_collector(Box::new(self.commit_times.clone()));
        registry
    }
}
