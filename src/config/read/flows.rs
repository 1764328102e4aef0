//! Which data may flow on a route: purposes and transfers of the data map.
//!
//! What enters: resolved routes and policies. What leaves: findings. What can never happen: a
//! category flows in clear for a purpose that does not list it, or identifiable data leaves the
//! United Kingdom, the EEA and the adequate countries as anything but pseudonyms.

use super::super::raw::Findings;
use super::super::{RequestBody, ResponseBody};
use super::route;
use super::{Names, policy};
use crate::policy::{Action, Category, Purpose, Rule, Unlisted};

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
                        format!("an unseen body may not go to region {region}"),
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
        }
        if let Some(region) = abroad {
            check_transfer(read, policy, region, findings);
        }
    }
}

/// The categories that the data map lists for a purpose.
fn allowed(purpose: Purpose) -> &'static [Category] {
    use Category as C;
    match purpose {
        Purpose::DevelopAndImprove | Purpose::Research => &[C::Test],
        Purpose::Analytics => &[C::Technical, C::Usage],
        Purpose::ShareResults => &[C::Identity, C::Contact, C::Test],
        Purpose::AdministerAndProtect => &[C::Identity, C::Contact, C::Technical, C::Profile],
        Purpose::Recommend => &[
            C::Identity,
            C::Contact,
            C::Technical,
            C::Usage,
            C::Profile,
            C::Marketing,
        ],
    }
}

fn check_purpose(
    read: &route::Read<'_>,
    policy: &policy::Read<'_>,
    purpose: Purpose,
    findings: &Findings,
) {
    let names: Vec<_> = allowed(purpose).iter().map(|c| c.name()).collect();
    for (rule, place) in policy.policy.rules.iter().zip(&policy.places) {
        let Some(category) = rule.category else {
            continue;
        };
        if rule.action == Action::Keep && !allowed(purpose).contains(&category) {
            findings.error(
                place,
                format!(
                    "category `{}` may not flow in clear for purpose `{}` (route `{}`)",
                    category.name(),
                    purpose.name(),
                    read.name.value
                ),
                format!("{} may; give this place an action other than keep, or the route another purpose", names.join(", ")),
            );
        }
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
                format!("this may not go to region {region} (route `{}`)", read.name.value),
                "identifiable data leaves the UK, the EEA and adequate countries only as pseudonyms; drop, reject and redact are fine too",
            );
        }
    }
    if policy.policy.unlisted == Unlisted::Keep {
        findings.error(
            &read.backend,
            format!("policy `{}` keeps what it does not list, and may then not send it to region {region}", policy.policy.name),
            "write unlisted = \"reject\" or \"drop\" in the policy",
        );
    }
}

/// Whether a rule lets something of an identifiable category through in clear or coarsened.
fn identifiable(rule: &Rule) -> bool {
    use Category as C;
    let category = matches!(
        rule.category,
        Some(C::Identity | C::Contact | C::Financial | C::Transaction | C::Technical | C::Profile)
    );
    category
        && matches!(
            rule.action,
            Action::Keep | Action::Mask(_) | Action::Generalise(_)
        )
}

/// The United Kingdom, the EEA, and the countries that UK adequacy regulations name whole.
fn adequate(region: &str) -> bool {
    const REGIONS: [&str; 43] = [
        "GB", "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IS",
        "IE", "IT", "LV", "LI", "LT", "LU", "MT", "NL", "NO", "PL", "PT", "RO", "SK", "SI", "ES",
        "SE", "AD", "AR", "CH", "FO", "GG", "GI", "IL", "IM", "JE", "KR", "NZ", "UY",
    ];
    REGIONS.contains(&region)
}
