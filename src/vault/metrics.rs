//! Counters of the vault, without labels that name anybody.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($( $field:ident = $name:literal, $help:literal; )*) => {
        /// What the vault counts since its start.
        #[derive(Debug, Default)]
        pub struct Metrics { $( pub $field: AtomicU64, )* }

        impl Metrics {
            /// The text exposition format of Prometheus.
            pub fn render(&self) -> String {
                let mut out = String::new();
                $( line(&mut out, $name, $help, self.$field.load(Relaxed)); )*
                out
            }
        }
    };
}

counters! {
    leases = "cryptonym_vault_leases_total", "Leases granted.";
    records_new = "cryptonym_vault_records_new_total", "Recovery records that were new.";
    records_known = "cryptonym_vault_records_known_total", "Recovery records that were there already.";
    commits = "cryptonym_vault_commits_total", "Commits synced to disk.";
    works = "cryptonym_vault_works_total", "Works in those commits.";
    refused = "cryptonym_vault_refused_total", "Requests refused.";
    reveals_asked = "cryptonym_vault_reveals_asked_total", "Reveals asked for.";
    reveals_fetched = "cryptonym_vault_reveals_fetched_total", "Results of reveals answered.";
    alarms_conflict = "cryptonym_vault_alarms_conflict_total", "Pseudonyms offered under another identifier.";
    alarms_mismatch = "cryptonym_vault_alarms_mismatch_total", "Batches with a record that does not derive.";
    alarms_budget = "cryptonym_vault_alarms_budget_total", "Days on which a gateway spent a domain's budget.";
    alarms_decision = "cryptonym_vault_alarms_decision_total", "Reveals marked as approved without an approver's signature.";
    alarms_domain = "cryptonym_vault_alarms_domain_total", "Uses of a domain that the registry does not give the gateway.";
    alarms_lease = "cryptonym_vault_alarms_lease_total", "Second leases of one gateway and domain.";
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
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a commit of so many works.
    pub fn commit(&self, works: usize) {
        self.commits.fetch_add(1, Relaxed);
        self.works.fetch_add(works as u64, Relaxed);
    }
}

fn line(out: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(
        out,
        "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
    );
}
