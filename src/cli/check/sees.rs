//! What the backend will see in a value's place.

use crate::config::{Config, RequestBody, Route};
use crate::policy::{
    Action, Already, Door, Generalise, Mask, Policy, Redact, Rule, Scope, Unlisted,
};
use crate::pseudonym::Kinds;

/// The formats that a route takes, in words.
pub(super) fn formats(route: &Route, policy: &Policy) -> &'static str {
    match route.format {
        Some(format) => super::text::format_name(format),
        None if policy.doors.has(Door::Form) && policy.reads_bodies() => {
            "json, ndjson, csv, tsv or form by Content-Type"
        }
        None if policy.doors.has(Door::Form) => "form by Content-Type",
        None if policy.reads_bodies() => "json, ndjson, csv or tsv by Content-Type",
        None => "no body: it has no rule for one",
    }
}

/// What becomes of the places around a route's body: place, action, what the backend sees.
pub(super) fn around_the_body(
    route: &Route,
    config: &Config,
) -> Vec<(String, &'static str, String)> {
    let RequestBody::Policy(at) = route.request else {
        return Vec::new();
    };
    let policy = &config.policies[at];
    let outside = policy.rules.iter().filter(|r| r.at.door != Door::Body);
    let mut rows: Vec<_> = outside
        .map(|rule| {
            let seen = example(rule, &config.kinds);
            (rule.at.to_string(), rule.action.name(), seen)
        })
        .collect();
    // Where nothing is said, what `unlisted` says; header fields pass by name only.
    let (action, seen) = match policy.unlisted {
        Unlisted::Reject => return rows,
        Unlisted::Drop => ("drop", "nothing"),
        Unlisted::Keep => ("keep", "the value as it is"),
    };
    for door in [Door::Query, Door::Cookie] {
        if policy.doors.any(door).is_none() {
            rows.push((format!("{}:*", door.name()), action, seen.to_owned()));
        }
    }
    rows
}

/// An example or a description; invented values.
pub(super) fn example(rule: &Rule, kinds: &Kinds) -> String {
    match &rule.action {
        Action::Keep => "the value as it is".to_owned(),
        Action::Drop => "nothing".to_owned(),
        Action::Reject => "nothing: refused (422)".to_owned(),
        Action::Redact(Redact::Null) => "null".to_owned(),
        Action::Redact(Redact::Constant(text)) => format!("{text:?}"),
        Action::Mask(mask) => masked(mask),
        Action::Pseudonym { kind, scope } => {
            let prefix = &kinds.get(*kind).prefix;
            match scope {
                Scope::Domain if rule.already == Already::Keep => {
                    format!("{prefix}_1_… (also one that came)")
                }
                Scope::Domain if rule.subject => format!("{prefix}_1_… (the subject)"),
                Scope::Domain => format!("{prefix}_1_…"),
                Scope::Record => format!("{prefix}_0_… (random)"),
            }
        }
        Action::Generalise(how) => generalised(how),
        Action::Scrub(_) => "the text, without what is found".to_owned(),
        Action::Restore { kind } => format!("what the client sent ({})", kinds.get(*kind).name),
    }
}

fn masked(mask: &Mask) -> String {
    let shown = |count: u8, letters: &str| {
        letters
            .chars()
            .cycle()
            .take(usize::from(count.min(6)))
            .collect::<String>()
    };
    let hidden: String = std::iter::repeat_n(mask.with, 4).collect();
    format!(
        "{}{hidden}{}",
        shown(mask.first, "ab"),
        shown(mask.last, "yz")
    )
}

fn generalised(how: &Generalise) -> String {
    match how {
        Generalise::Year => "1984".to_owned(),
        Generalise::Month => "1984-05".to_owned(),
        Generalise::AgeBand { width, top } => {
            let width = u32::from(*width);
            let low = 37 / width * width;
            format!("{low}-{} … {top}+", low + width - 1)
        }
        Generalise::OutwardPostcode => "LS1".to_owned(),
        Generalise::IpPrefix { v4, v6 } => format!("{}/{v4}, v6 /{v6}", network(*v4)),
        Generalise::Bucket { width } => {
            let width = u64::from(*width);
            format!("{}, {}, …", width, width * 2)
        }
    }
}

/// 198.51.100.7 (RFC 5737) cut to a prefix.
fn network(bits: u8) -> std::net::Ipv4Addr {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(bits.min(32)))
        .unwrap_or(0);
    std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(198, 51, 100, 7)) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_the_right_shape() {
        assert_eq!(network(24).to_string(), "198.51.100.0");
        assert_eq!(network(16).to_string(), "198.51.0.0");
        assert_eq!(
            generalised(&Generalise::AgeBand { width: 10, top: 90 }),
            "30-39 … 90+"
        );
        assert_eq!(
            masked(&Mask {
                first: 2,
                last: 1,
                with: '*'
            }),
            "ab****y"
        );
    }
}
