//! A server's TLS that can be changed while it runs.
//!
//! What enters: which files, once; later only the wish to look again. What leaves: what serves
//! now, whole. What can never happen: a handshake sees half of a change, or a bad file takes the
//! place of a good one: everything is read, matched and dated first, then swapped in one step; an
//! older list of revoked certificates takes the place of a newer one.
//!
//! A certificate that has changed leaves open sessions and their tickets alone. When the client
//! CA or the list of revoked certificates changes, [`super::trust`] makes new ticket keys, so that
//! no older session is resumed; whoever serves connections asks [`Serving::trust`] about those
//! that are open.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::files::TlsError;
use super::server::{self, Versions};
use super::sni::Certificates;
use super::trust::Trust;
use super::{Facts, not_after, now};
use crate::config::changes::{Changes, Stamp};
use crate::config::{Gateway, NamedCertificate, ServerTls};

/// What a server is to serve: paths and names, no contents.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tls: ServerTls,
    pub certificates: Vec<NamedCertificate>,
    /// Hosts that routes answer to.
    pub hosts: Vec<String>,
    pub sni_required: bool,
    pub versions: Versions,
    /// Application protocols, most wanted first.
    pub alpn: Vec<Vec<u8>>,
}

/// What serves now. A handshake takes one and keeps it.
#[derive(Debug)]
pub struct Serving {
    pub config: Arc<ServerConfig>,
    pub certificates: Arc<Certificates>,
    pub trust: Arc<Trust>,
}

/// What a reload has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Certificates and keys; whom to let in is as before.
    Certificates,
    /// Whom to let in as well: older sessions are not resumed.
    Trust,
}

/// A server's TLS, and how to load it again.
#[derive(Debug)]
pub struct Reloadable {
    /// Locked while loading: one reload at a time.
    plan: Mutex<Plan>,
    current: ArcSwap<Serving>,
    /// The files just before they were read for the first time.
    born: Vec<Stamp>,
}

impl Plan {
    /// A gateway's. `hosts`: what its routes answer to.
    pub fn of_gateway(gateway: &Gateway, hosts: Vec<String>, alpn: &[&[u8]]) -> Self {
        Self {
            tls: gateway.tls.clone(),
            certificates: gateway.certificates.clone(),
            hosts,
            sni_required: gateway.sni_required,
            versions: Versions::Tls12And13,
            alpn: alpn.iter().map(|p| p.to_vec()).collect(),
        }
    }

    /// Reads every file and puts them together.
    ///
    /// # Errors
    /// File, what is wrong with it, what to do.
    pub fn load(&self) -> Result<Serving, TlsError> {
        let certificates = self.read()?;
        self.serving(certificates, Arc::new(Trust::load(&self.tls)?))
    }

    /// Every file that this plan names.
    pub fn files(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = vec![&self.tls.certificate, &self.tls.key];
        all.extend(self.tls.client_ca.as_deref());
        all.extend(self.tls.client_crl.as_deref());
        for named in &self.certificates {
            all.extend([named.certificate.as_path(), named.key.as_path()]);
        }
        all
    }

    /// Every certificate with its key.
    fn read(&self) -> Result<Arc<Certificates>, TlsError> {
        let (certificate, key) = (&self.tls.certificate, &self.tls.key);
        let hosts = self.hosts.iter().cloned();
        let mut all = Certificates::new(certificate, key, hosts, !self.sni_required)?;
        for named in &self.certificates {
            all.add(&named.names, &named.certificate, &named.key)?;
        }
        Ok(Arc::new(all.finish()?))
    }

    fn serving(
        &self,
        certificates: Arc<Certificates>,
        trust: Arc<Trust>,
    ) -> Result<Serving, TlsError> {
        let alpn: Vec<&[u8]> = self.alpn.iter().map(Vec::as_slice).collect();
        let resolver = certificates.clone();
        let file = &self.tls.certificate;
        let config = server::build(file, self.versions, &alpn, &trust, resolver)?;
        Ok(Serving {
            config,
            certificates,
            trust,
        })
    }
}

impl Serving {
    /// Whether every certificate is one that clients take today.
    ///
    /// # Errors
    /// The first that has ended or has not begun.
    pub fn dated(&self) -> Result<(), TlsError> {
        let now = now();
        for (leaf, file) in self.certificates.leaves() {
            let facts = Facts::of(leaf).map_err(|e| TlsError::new(file, e))?;
            if facts.not_after < now {
                return Err(TlsError::new(
                    file,
                    "is a certificate that has ended: put a new one there, with its key",
                ));
            }
            if facts.not_before > now {
                return Err(TlsError::new(
                    file,
                    "is a certificate that is not valid yet: look at this machine's clock, or wait",
                ));
            }
        }
        Ok(())
    }

    /// The files of its certificates, and when each ends (seconds since 1970-01-01T00:00:00Z).
    pub fn ends(&self) -> impl Iterator<Item = (&Path, i64)> {
        let leaves = self.certificates.leaves();
        leaves.filter_map(|(leaf, file)| Some((file, not_after(leaf).ok()?)))
    }
}

impl Reloadable {
    /// # Errors
    /// As [`Plan::load`]. A certificate that has ended is no error here: there is no older one to
    /// go on with.
    pub fn new(plan: Plan) -> Result<Self, TlsError> {
        let born = plan.files().into_iter().map(Stamp::of).collect();
        let serving = plan.load()?;
        Ok(Self {
            plan: Mutex::new(plan),
            current: ArcSwap::from_pointee(serving),
            born,
        })
    }

    /// What a handshake that begins now is served with.
    pub fn current(&self) -> Arc<Serving> {
        self.current.load_full()
    }

    /// Reads the same files again. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Plan::load`], or a certificate that has ended or not begun. What served before goes on.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        self.load(&self.plan())
    }

    /// Takes another plan, as after a change of the configuration. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Self::reload`]; the older plan stays.
    pub fn adopt(&self, new: Plan) -> Result<Reloaded, TlsError> {
        let mut plan = self.plan();
        let reloaded = self.load(&new)?;
        *plan = new;
        Ok(reloaded)
    }

    /// How the files look from outside, without reading them.
    pub fn stamps(&self) -> Vec<Stamp> {
        Stamp::all(self.plan().files())
    }

    /// Files that change after this was made are noticed.
    pub fn changes(&self) -> Changes {
        Changes::since(self.born.clone())
    }

    fn load(&self, plan: &Plan) -> Result<Reloaded, TlsError> {
        let before = self.current.load_full();
        let certificates = plan.read()?;
        let mut trust = Trust::load(&plan.tls)?;
        if trust.is_older_than(&before.trust) {
            let file = plan
                .tls
                .client_crl
                .as_ref()
                .unwrap_or(&plan.tls.certificate);
            return Err(TlsError::new(
                file,
                "holds an older list than the one in use (CRL number, thisUpdate): put the CA's newest list there",
            ));
        }
        let same = trust.is_as(&before.trust);
        let trust = if same {
            before.trust.clone()
        } else {
            trust.generation = before.trust.generation + 1;
            Arc::new(trust)
        };
        let serving = plan.serving(certificates, trust)?;
        serving.dated()?;
        self.current.store(Arc::new(serving));
        Ok(if same {
            Reloaded::Certificates
        } else {
            Reloaded::Trust
        })
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        // The plan is replaced in one step: a panic elsewhere leaves a whole one.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Made;
    use super::*;
    use crate::config::ClientCertificate;

    #[test]
    fn a_change_counts_when_a_second_look_finds_it_the_same_and_once_only() {
        let dir = tempfile::tempdir().unwrap();
        let made = Made::new(dir.path());
        let plan = Plan {
            tls: made.server(ClientCertificate::Optional),
            certificates: vec![],
            hosts: vec!["a.example".to_owned()],
            sni_required: false,
            versions: Versions::Tls12And13,
            alpn: vec![],
        };
        let touch = |text: &str| std::fs::write(&plan.tls.certificate, text).unwrap();
        let good = std::fs::read_to_string(&plan.tls.certificate).unwrap();
        let tls = Reloadable::new(plan.clone()).unwrap();
        assert_eq!(tls.current().certificates.uncovered(), ["a.example"]);
        let mut watch = tls.changes();
        assert!(!watch.is_due(tls.stamps()) && !watch.is_due(tls.stamps()));
        touch("half");
        assert!(!watch.is_due(tls.stamps()));
        touch("halves");
        assert!(!watch.is_due(tls.stamps()) && watch.is_due(tls.stamps()));
        let before = tls.current();
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&before, &tls.current()));
        // Refused once is enough.
        assert!(!watch.is_due(tls.stamps()) && !watch.is_due(tls.stamps()));
        std::fs::remove_file(&plan.tls.certificate).unwrap();
        assert!(!watch.is_due(tls.stamps()) && watch.is_due(tls.stamps()));
        touch(&good);
        assert!(!watch.is_due(tls.stamps()) && watch.is_due(tls.stamps()));
        assert_eq!(tls.reload().unwrap(), Reloaded::Certificates);
        assert_eq!(tls.current().trust.generation, 0);
        // Another plan: clients are not asked for certificates any more.
        let mut open = plan;
        open.tls.client_certificate = ClientCertificate::None;
        assert_eq!(tls.adopt(open).unwrap(), Reloaded::Trust);
        assert_eq!(tls.current().trust.generation, 1);
    }
}
