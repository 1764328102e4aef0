//! Which certificate answers to which name (server name indication, RFC 6066, section 3).
//!
//! What enters: certificates with their names, and the hosts of the routes. What leaves: for a
//! name, the certificate, or that nobody here has that name. What can never happen: an exact name
//! loses against a wildcard, or two certificates of one sort claim the same name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::TlsError;
use super::{Facts, server};

/// Every certificate of one server, and who it is.
pub struct Certificates {
    /// The first is the default.
    keys: Vec<(Arc<CertifiedKey>, PathBuf)>,
    /// Name → certificates, those configured for it first. Several only where their keys differ
    /// in algorithm: the first that the client can check is taken.
    exact: HashMap<String, Vec<usize>>,
    /// The same for `*.name`, by `name`.
    wildcard: HashMap<String, Vec<usize>>,
    /// Names of routes: where no certificate has them the default answers.
    hosts: HashSet<String>,
    /// Whether a client that names nobody gets the default.
    nameless: bool,
}

/// Why a client does not get a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It asked for a name that neither certificate nor route has.
    UnknownName,
    /// It named nobody, and must.
    NoName,
}

impl Certificates {
    /// Starts with the default certificate. `hosts`: what routes answer to.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn new(
        certificate: &Path,
        key: &Path,
        hosts: impl IntoIterator<Item = String>,
        nameless: bool,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            keys: vec![(
                Arc::new(server::certified(certificate, key)?),
                certificate.to_owned(),
            )],
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            hosts: hosts.into_iter().collect(),
            nameless,
        })
    }

    /// One more, under these names (or its own, where there are none).
    ///
    /// # Errors
    /// A file that cannot be used, a name that the certificate does not have, or one that another
    /// certificate with the same sort of key has already.
    pub fn add(
        &mut self,
        names: &[String],
        certificate: &Path,
        key: &Path,
    ) -> Result<(), TlsError> {
        let certified = server::certified(certificate, key)?;
        let own = own_names(&certified, certificate)?;
        if own.is_empty() {
            return Err(TlsError::new(
                certificate,
                "names no host (subject alternative name DNS:…), so no client would take it",
            ));
        }
        if let Some(other) = names.iter().find(|name| !covers(&own, name)) {
            return Err(TlsError::new(
                certificate,
                format!(
                    "is not made for `{other}`; its names are {}",
                    own.join(", ")
                ),
            ));
        }
        let index = self.keys.len();
        self.keys
            .push((Arc::new(certified), certificate.to_owned()));
        for name in if names.is_empty() { &own } else { names } {
            self.claim(name, index)?;
        }
        Ok(())
    }

    /// The default's own names, behind all others.
    ///
    /// # Errors
    /// The default certificate cannot be read.
    pub fn finish(mut self) -> Result<Self, TlsError> {
        let (key, file) = &self.keys[0];
        for name in own_names(key, file)? {
            let (map, name) = self.place(&name);
            map.entry(name).or_default().push(0);
        }
        Ok(self)
    }

    /// Whether this client gets a certificate. `name`: in lower case, as rustls gives it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn admit(&self, name: Option<&str>) -> Result<(), Stranger> {
        match name {
            None if self.nameless => Ok(()),
            None => Err(Stranger::NoName),
            Some(name) if self.find(name).is_some() || self.hosts.contains(name) => Ok(()),
            Some(_) => Err(Stranger::UnknownName),
        }
    }

    /// Hosts of routes that no certificate is made for.
    pub fn uncovered(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        hosts.retain(|host| self.find(host).is_none());
        hosts.sort_unstable();
        hosts
    }

    /// End-entity certificates (DER) and their files.
    pub fn leaves(&self) -> impl Iterator<Item = (&[u8], &Path)> {
        self.keys
            .iter()
            .filter_map(|(key, file)| Some((key.cert.first()?.as_ref(), file.as_path())))
    }

    fn find(&self, name: &str) -> Option<&[usize]> {
        let exact = self.exact.get(name);
        exact
            .or_else(|| self.wildcard.get(name.split_once('.')?.1))
            .map(Vec::as_slice)
    }

    fn place(&mut self, name: &str) -> (&mut HashMap<String, Vec<usize>>, String) {
        match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest.to_owned()),
            None => (&mut self.exact, name.to_owned()),
        }
    }

    fn claim(&mut self, name: &str, index: usize) -> Result<(), TlsError> {
        let sort = |at: usize, keys: &[(Arc<CertifiedKey>, PathBuf)]| keys[at].0.key.algorithm();
        let (map, bare) = self.place(name);
        let mut holders = map.remove(&bare).unwrap_or_default();
        let rival = holders
            .iter()
            .find(|at| sort(**at, &self.keys) == sort(index, &self.keys));
        if let Some(rival) = rival {
            return Err(TlsError::new(
                &self.keys[index].1,
                format!(
                    "claims `{name}`, which {} has already; give one of them `names`",
                    self.keys[*rival].1.display()
                ),
            ));
        }
        holders.push(index);
        let (map, bare) = self.place(name);
        map.insert(bare, holders);
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        self.admit(name).ok()?;
        let fits = name.and_then(|name| self.find(name)).unwrap_or(&[0]);
        let can_check = |at: &&usize| {
            let key = &self.keys[**at].0.key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let at = fits.iter().find(can_check).or(fits.first())?;
        Some(self.keys[*at].0.clone())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificates({})", self.keys.len())
    }
}

/// The host names that stand in a certificate, in lower case.
fn own_names(key: &CertifiedKey, file: &Path) -> Result<Vec<String>, TlsError> {
    let leaf = key.cert.first().map_or(&[][..], |c| c.as_ref());
    let facts = Facts::of(leaf).map_err(|e| TlsError::new(file, e))?;
    let names = facts.names.iter().filter_map(|n| n.strip_prefix("DNS:"));
    Ok(names.map(str::to_ascii_lowercase).collect())
}

/// Whether a certificate with these names is good for `wanted` (RFC 9525, section 6.3).
fn covers(own: &[String], wanted: &str) -> bool {
    let under = wanted.split_once('.').map(|(_, rest)| rest);
    own.iter().any(|name| {
        name == wanted
            || (!wanted.starts_with("*.")
                && name.strip_prefix("*.").is_some_and(|n| Some(n) == under))
    })
}
