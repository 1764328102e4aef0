//! The files that a configuration names: are they there, do they fit, when do they end?

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Gateway, Registry, Root, Route, Vault, VaultAddress, root_key};
use crate::gateway::{egress, tls_plan};
use crate::tls::files::{Exposure, certificates, exposure};
use crate::tls::{self, Facts, Peer, Role, TlsError, Versions, client_config, server_config};

/// Something about a file.
pub(super) struct FileFault {
    /// It would not start; else it is worth knowing.
    pub fatal: bool,
    pub text: String,
}

/// Certificates that end sooner than this are named.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Looks at every file. Reads keys, to see that they belong to their certificates.
pub(super) fn check(config: &Config) -> Vec<FileFault> {
    let mut faults = Faults(Vec::new());
    if let Some(gateway) = &config.gateway {
        of_gateway(gateway, &config.routes, &mut faults);
    }
    if let Some(feed) = &config.feed {
        of_link(&feed.vault, &mut faults);
    }
    if let Some(vault) = &config.vault {
        of_vault(vault, &mut faults);
    }
    for backend in &config.backends {
        let identity = backend.identity.as_ref().map(|(c, k)| (&**c, &**k));
        if backend.ca.is_some() || identity.is_some() {
            faults.tls(client_config(backend.ca.as_deref(), identity, false, &[]));
        }
        if let Some((certificate, key)) = identity {
            faults.pair(certificate, key);
        }
    }
    faults.0
}

fn of_gateway(gateway: &Gateway, routes: &[Route], faults: &mut Faults) {
    match tls_plan(gateway, routes).load() {
        Err(e) => faults.fatal(e.to_string()),
        Ok(serving) => {
            for host in serving.certificates.uncovered() {
                faults.warn(format!(
                    "no certificate of the gateway is made for `{host}`, which a route answers to"
                ));
            }
        }
    }
    faults.pair(&gateway.tls.certificate, &gateway.tls.key);
    for named in &gateway.certificates {
        faults.pair(&named.certificate, &named.key);
    }
    if let Some(egress) = &gateway.egress {
        faults.tls(egress::mint(egress));
        faults.pair(&egress.certificate, &egress.key);
    }
    if let Some(tls) = gateway.admin.as_ref().and_then(|admin| admin.tls.as_ref()) {
        faults.tls(server_config(tls, Versions::Tls13, &[]));
        faults.pair(&tls.certificate, &tls.key);
    }
    of_link(&gateway.vault, faults);
}

/// A gateway's, or a feed's, way to the vault.
fn of_link(link: &VaultAddress, faults: &mut Faults) {
    let identity = Some((&*link.certificate, &*link.key));
    if faults.tls(client_config(Some(&link.ca), identity, true, &[])) {
        faults.role(&link.certificate, Role::Gateway);
    }
    faults.pair(&link.certificate, &link.key);
}

fn of_vault(vault: &Vault, faults: &mut Faults) {
    faults.tls(server_config(&vault.tls, Versions::Tls13, &[]));
    faults.pair(&vault.tls.certificate, &vault.tls.key);
    if let Root::File(file) = &vault.root
        && let Err(e) = root_key::load(file)
    {
        faults.fatal(e.to_string());
    }
    match Registry::load(&vault.registry) {
        Ok(registry) if !registry.persons.iter().any(|p| p.role == Role::Gateway) => {
            faults.warn(format!(
                "{}: no gateway is registered: none can lease a key",
                vault.registry.display()
            ));
        }
        Ok(registry)
            if vault.root == Root::Shares
                && !registry.persons.iter().any(|p| p.role == Role::Custodian) =>
        {
            faults.warn(format!(
                "{}: no custodian is registered: nobody can open the vault",
                vault.registry.display()
            ));
        }
        Ok(_) => {}
        Err(found) => {
            for diagnostic in found {
                faults.fatal(diagnostic.to_string());
            }
        }
    }
    let home = vault.store.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(dir) = home.filter(|d| !d.is_dir()) {
        faults.fatal(format!(
            "{}: the store's directory is not there",
            dir.display()
        ));
    }
}

struct Faults(Vec<FileFault>);

impl Faults {
    fn fatal(&mut self, text: String) {
        self.push(true, text);
    }

    fn warn(&mut self, text: String) {
        self.push(false, text);
    }

    fn push(&mut self, fatal: bool, text: String) {
        if !self.0.iter().any(|f| f.text == text) {
            self.0.push(FileFault { fatal, text });
        }
    }

    /// Whether it worked.
    fn tls<T>(&mut self, result: Result<T, TlsError>) -> bool {
        result.map_err(|e| self.fatal(e.to_string())).is_ok()
    }

    /// Dates of the certificate, readers of the key.
    fn pair(&mut self, certificate: &Path, key: &Path) {
        if let Ok(Exposure::Group) = exposure(key) {
            self.warn(format!(
                "{}: its group can read this key; 0600 is safer",
                key.display()
            ));
        }
        let Some(facts) = first(certificate) else {
            return;
        };
        let file = certificate.display();
        let now = tls::now();
        let soon = i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX);
        let days = (facts.not_after - now) / (24 * 3600);
        if facts.not_after < now {
            self.fatal(format!("{file}: this certificate has ended"));
        } else if facts.not_before > now {
            self.fatal(format!("{file}: this certificate is not valid yet"));
        } else if facts.not_after - now < soon {
            self.warn(format!("{file}: this certificate ends in {days} days"));
        }
    }

    fn role(&mut self, certificate: &Path, wanted: Role) {
        let Ok(all) = certificates(certificate) else {
            return;
        };
        let text = match all.first().map(|der| Peer::from_certificate(der)) {
            Some(Ok(peer)) if peer.role == wanted => return,
            Some(Ok(peer)) => format!(
                "its role is `{}`, and the vault wants `{}`",
                peer.role.name(),
                wanted.name()
            ),
            Some(Err(e)) => e,
            None => return,
        };
        self.fatal(format!("{}: {text}", certificate.display()));
    }
}

fn first(certificate: &Path) -> Option<Facts> {
    Facts::of(certificates(certificate).ok()?.first()?).ok()
}
