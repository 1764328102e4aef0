//! Whether a policy and a domain go together.
//!
//! What enters: both, as the configuration has them. What leaves: yes, or what is wrong and what to
//! do. What can never happen: a file lets through what a route of the same domain may not.

use super::stop::Stop;
use crate::config::{Config, Domain};
use crate::policy::{MayNotFlow, Policy};

/// Dates of one subject are moved by the same days in files and on routes.
pub fn shifts_alike(config: &Config, policy: &Policy, domain: usize) -> Result<(), Stop> {
    let Some(days) = policy.shifts() else {
        return Ok(());
    };
    let routes = config.routes.iter().filter(|r| r.domain == Some(domain));
    let mut others = routes.flat_map(|route| {
        let used = route.rewrites().map(|at| &config.policies[at]);
        used.filter_map(move |used| Some((route, used.shifts()?)))
    });
    let Some((route, other)) = others.find(|(_, other)| *other != days) else {
        return Ok(());
    };
    let what = format!(
        "policy `{}` shifts dates by up to {days} days, route `{}` of the same domain by {other}: the time between them would be lost",
        policy.name, route.name
    );
    let hint = "Write the same `days` in both policies.".to_owned();
    Err(Stop::configuration(what, hint))
}

/// Everything that may not flow for the domain's purpose, as a route would have it.
pub fn flows(policy: &Policy, domain: &Domain) -> Result<(), Stop> {
    let purpose = domain.purpose;
    let mut wrong = Vec::new();
    for rule in &policy.rules {
        wrong.extend(rule.may_not_flow(purpose).map(|found| match found {
            MayNotFlow::Category(category) => format!(
                "{}: category `{}` may not flow in clear (GDPR Art. 5(1)(b))",
                rule.at,
                category.name()
            ),
            MayNotFlow::Special(special) => format!(
                "{}: special category `{}` has no condition (GDPR Art. 9(2))",
                rule.at,
                special.name()
            ),
        }));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = purpose.lists().iter().map(|c| c.name()).collect();
    let (policy, domain, purpose) = (&policy.name, &domain.name, purpose.name());
    let what = format!(
        "policy `{policy}` does not fit purpose `{purpose}` of domain `{domain}`\n  {}",
        wrong.join("\n  ")
    );
    let next = format!(
        "For this purpose {} may flow in clear. Give these places an action that lets nothing through \
         (keep and scrub do), or name another policy or domain.",
        names.join(", ")
    );
    Err(Stop::configuration(what, next))
}
