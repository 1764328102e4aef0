//! What a CA may sign, by its own certificate.
//!
//! What enters: a CA's certificate and the hosts that it is there for. What leaves: when it ends,
//! or why it is not used. What can never happen: a CA is used whose key, stolen, would be good for
//! any other host.
//!
//! A permitted name is permitted with everything below it (RFC 5280, section 4.2.1.10), so each
//! must be one of the hosts itself. Names of a sort that no constraint speaks of are free: addresses
//! must be excluded, or the key would be good for every server that is reached by one.

use std::path::Path;

use x509_parser::extensions::{GeneralName, NameConstraints};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::{TlsError, now};

pub(super) const ENDED: &str = "is a CA certificate that has ended: make a new one (docs/transparent.md), and have clients trust it";

/// When it ends, in seconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn check(file: &Path, der: &[u8], hosts: &[&str]) -> Result<i64, TlsError> {
    let refuse = |what: String| {
        let next = "docs/transparent.md shows how to make one";
        Err(TlsError::new(file, format!("{what}; {next}")))
    };
    let Ok((_, ca)) = X509Certificate::from_der(der) else {
        return refuse("is no X.509 certificate".to_owned());
    };
    let Ok(Some(basic)) = ca.basic_constraints() else {
        return refuse("is no CA certificate: it does not say CA:TRUE".to_owned());
    };
    if !basic.value.ca || !basic.critical {
        return refuse("is no CA certificate: it does not say CA:TRUE, critical".to_owned());
    }
    if basic.value.path_len_constraint != Some(0) {
        return refuse("may make other CAs: it does not say pathlen:0".to_owned());
    }
    if !matches!(ca.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign()) {
        return refuse("may not sign certificates: it does not say keyCertSign".to_owned());
    }
    let names = match ca.name_constraints() {
        Ok(Some(names)) if names.critical => names.value,
        Ok(Some(_)) => {
            return refuse("has name constraints that are not critical".to_owned());
        }
        _ => {
            return refuse(
                "has no name constraints: whoever has its key could be any server on earth"
                    .to_owned(),
            );
        }
    };
    if let Some(what) = wrong_names(names, hosts) {
        return refuse(what);
    }
    let now = now();
    if ca.validity().not_before.timestamp() > now {
        let what = "is not valid yet: look at this machine's clock, or wait";
        return Err(TlsError::new(file, what));
    }
    let ends = ca.validity().not_after.timestamp();
    if ends <= now {
        return Err(TlsError::new(file, ENDED));
    }
    Ok(ends)
}

fn wrong_names(names: &NameConstraints<'_>, hosts: &[&str]) -> Option<String> {
    let mut permitted = Vec::new();
    for subtree in names.permitted_subtrees.iter().flatten() {
        let GeneralName::DNSName(name) = subtree.base else {
            return Some("permits names that are no DNS names".to_owned());
        };
        if !hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) {
            return Some(format!(
                "permits `{name}` and everything below it, which `hosts` of the egress proxy does not list"
            ));
        }
        permitted.push(name.to_ascii_lowercase());
    }
    if permitted.is_empty() {
        return Some("permits no DNS names at all, or all of them".to_owned());
    }
    let covered = |host: &str| {
        let below = |name: &String| {
            let front = host.strip_suffix(name.as_str());
            front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        permitted.iter().any(below)
    };
    if let Some(host) = hosts.iter().find(|host| !covered(host)) {
        return Some(format!("does not permit `{host}`, which `hosts` lists"));
    }
    let excluded = |length: usize| {
        names.excluded_subtrees.iter().flatten().any(|subtree| {
            matches!(subtree.base, GeneralName::IPAddress(bytes)
                if bytes.len() == length && bytes.iter().all(|b| *b == 0))
        })
    };
    // An address and a mask, of each family.
    if !excluded(8) || !excluded(32) {
        return Some("does not exclude addresses (0.0.0.0/0 and ::/0)".to_owned());
    }
    None
}
