//! What each rule of each policy has done.
//!
//! What enters: policies, when a gateway starts. What leaves: one counter a rule, under the
//! policy's name, the rule's place as the policy writes it, and its action. What can never happen:
//! a name of a member that no rule lists.

use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::observe::count::counter;
use crate::policy::Policy;
use crate::rewrite::tally::RuleCounts;

/// All policies that have been asked for.
#[derive(Debug, Default)]
pub struct RuleTable(Mutex<Vec<One>>);

#[derive(Clone, Debug)]
struct One {
    policy: String,
    /// Place and action of each rule.
    rules: Vec<(String, &'static str)>,
    counts: Arc<RuleCounts>,
}

impl RuleTable {
    /// The counters of this policy: the same ones whenever it is asked for with the same rules.
    pub fn get(&self, policy: &Policy) -> Arc<RuleCounts> {
        let rules: Vec<_> = policy
            .rules
            .iter()
            .map(|rule| (rule.at.to_string(), rule.action.name()))
            .collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|one| one.policy == policy.name);
        if let Some(at) = known {
            if all[at].rules == rules {
                return all[at].counts.clone();
            }
            // Another policy under the old name: one page must not show a counter twice.
            all.remove(at);
        }
        let counts = Arc::new(RuleCounts::new(rules.len()));
        all.push(One {
            policy: policy.name.clone(),
            rules,
            counts: counts.clone(),
        });
        counts
    }
}

impl Collector for RuleTable {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.clone();
        let help = "Values replaced, by rule; with the action drop, stretches left out";
        let counts = MetricType::Counter;
        let mut family = to.encode_descriptor("rule_replaced", help, None, counts)?;
        for one in &all {
            let sums = one.counts.sums();
            let unlisted = ("unlisted".to_owned(), "drop");
            let rules = one.rules.iter().chain([&unlisted]);
            for ((place, action), sum) in rules.zip(sums) {
                // `keep` and `reject` replace nothing.
                if sum > 0 || !matches!(*action, "keep" | "reject") && place != "unlisted" {
                    let labels = [
                        ("policy", one.policy.as_str()),
                        ("rule", place),
                        ("action", action),
                    ];
                    counter(&mut family, &labels, sum)?;
                }
            }
        }
        Ok(())
    }
}
