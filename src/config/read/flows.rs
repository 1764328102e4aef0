//! Which data may flow on a route: purposes and transfers of the data map.
//!
//! What enters: resolved routes and policies. What leaves: findings. What can never happen: a
//! category flows in clear for a purpose that does not list it, or identifiable data leaves the
//! United Kingdom, the EEA and the adequate countries as anything but pseudonyms.

use super::super::raw::Findings;
use super::super::{RequestBody, ResponseBody};
use super::route;
use super::{Names, policy};
use crate::policy::{Action, Category, Purpose, Rule, Unlisted, adequate};

/// Notes every rule that would let data through where it may not go.
pub(super) fn check(routes: &[route::Read<'_>], names: &Names<'_>, findings: &Findings) {
    for read in routes {
        let backend = names
            .backends
            .get(read.route.backend)
            .and_then(|b| b.part.as_ref());
        let abroad = backend
            .and_then(|b| b.region.as_deref())
            .filter(|r| !adequate(r));
        let policy = match read.route.request {
            RequestBody::Policy(at) => names.policies.get(at).and_then(|p| p.part.as_ref()),
            RequestBody::Opaque => {
                if let Some(region) = abroad {
                    findings.error(
                        &read.request,
                        format!("an unseen body may not go to region {region} (GDPR Art. 44)"),
                        "identifiable data leaves the UK, the EEA and adequate countries only as pseudonyms: write a policy",
                    );
                }
                None
            }
            RequestBody::None => None,
        };
        // What clients read serves the route's purpose too.
        if let ResponseBody::Policy(at) = read.route.response
            && let Some(policy) = names.policies.get(at).and_then(|p| p.part.as_ref())
            && let Some(purpose) = read.route.purpose
        {
            check_purpose(read, policy, purpose, findings);
        }
        let Some(policy) = policy else {
            continue;
        };
        if let Some(purpose) = read.route.purpose {
            check_purpose(read, policy, purpose, findings);
            check_special(read, policy, purpose, findings);
        }
        if let Some(region) = abroad {
            check_transfer(read, policy, region, findings);
        }
    }
}

fn check_purpose(
    read: &route::Read<'_>,
    policy: &policy::Read<'_>,
    purpose: Purpose,
    findings: &Findings,
) {
    let names: Vec<_> = purpose.lists().iter().map(|c| c.name()).collect();
    for (rule, place) in policy.policy.rules.iter().zip(&policy.places) {
        let Some(category) = rule.category else {
            continue;
        };
        if rule.action.lets_through() && !purpose.lists().contains(&category) {
            findings.error(
                place,
                format!(
                    "category `{}` may not flow in clear for purpose `{}` (route `{}`; GDPR Art. 5(1)(b))",
                    category.name(),
                    purpose.name(),
                    read.name.value
                ),
                format!("{} may; give this place an action other than keep, or the route another purpose", names.join(", ")),
            );
        }
    }
}

/// A special category in clear needs a condition that the purpose has.
fn check_special(
    read: &route::Read<'_>,
    policy: &policy::Read<'_>,
    purpose: Purpose,
    findings: &Findings,
) {
    if purpose.condition().is_some() {
        return;
    }
    for (rule, place) in policy.policy.rules.iter().zip(&policy.places) {
        let Some(special) = rule.special.filter(|_| rule.action.lets_through()) else {
            continue;
        };
        findings.error(
            place,
            format!(
                "special category `{}` has no condition for purpose `{}` (route `{}`; GDPR Art. 9(2))",
                special.name(),
                purpose.name(),
                read.name.value
            ),
            "give this place an action other than keep, or the route another purpose",
        );
    }
}

fn check_transfer(
    read: &route::Read<'_>,
    policy: &policy::Read<'_>,
    region: &str,
    findings: &Findings,
) {
    for (rule, place) in policy.policy.rules.iter().zip(&policy.places) {
        if identifiable(rule) {
            findings.error(
                place,
                format!("this may not go to region {region} (route `{}`; GDPR Art. 44)", read.name.value),
                "identifiable data leaves the UK, the EEA and adequate countries only as pseudonyms; drop, reject and redact are fine too",
            );
        }
    }
    if policy.policy.unlisted == Unlisted::Keep {
        findings.error(
            &read.backend,
            format!("policy `{}` keeps what it does not list, and may then not send it to region {region} (GDPR Art. 44)", policy.policy.name),
            "write unlisted = \"reject\" or \"drop\" in the policy",
        );
    }
}

/// Whether a rule lets something of an identifiable category through in clear or coarsened.
fn identifiable(rule: &Rule) -> bool {
    rule.category.is_some_and(Category::is_identifiable)
        && matches!(
            rule.action,
            Action::Keep | Action::Scrub(_) | Action::Mask(_) | Action::Generalise(_)
        )
}
