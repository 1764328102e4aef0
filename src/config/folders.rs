//! Which directories a process needs: those of the files that its configuration names.
//!
//! What enters: a checked configuration. What leaves: directories. What can never happen: a
//! directory of the other world's part.

use std::path::{Path, PathBuf};

use super::{Config, Gateway, Root, ServerTls, Vault};

/// Of one process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folders {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
}

impl Config {
    /// For the gateway: everything that it reads, now and when files change.
    pub fn gateway_folders(&self) -> Folders {
        let mut folders = self.own();
        if let Some(gateway) = &self.gateway {
            let Gateway {
                tls,
                vault,
                certificates,
                egress,
                handover,
                spool_dir,
                ..
            } = gateway;
            folders.tls(tls);
            if let Some(egress) = egress {
                folders.of(&egress.certificate);
                folders.of(&egress.key);
            }
            for more in certificates {
                folders.of(&more.certificate);
                folders.of(&more.key);
            }
            for file in [&vault.certificate, &vault.key, &vault.ca] {
                folders.of(file);
            }
            // A socket is made there, under another name first.
            folders
                .write
                .extend(handover.iter().map(|file| folder(file)));
            folders.write.extend(spool_dir.clone());
        }
        for backend in &self.backends {
            let identity = backend
                .identity
                .iter()
                .flat_map(|(one, other)| [one, other]);
            backend
                .ca
                .iter()
                .chain(identity)
                .for_each(|file| folders.of(file));
        }
        folders
    }

    /// For the vault: it writes beside its database only.
    pub fn vault_folders(&self) -> Folders {
        let mut folders = self.own();
        if let Some(Vault {
            tls,
            store,
            root,
            registry,
            ..
        }) = &self.vault
        {
            folders.tls(tls);
            if let Root::File(key) = root {
                folders.of(key);
            }
            folders.of(registry);
            folders.write.push(folder(store));
        }
        folders
    }

    fn own(&self) -> Folders {
        Folders {
            read: vec![folder(&self.file)],
            write: Vec::new(),
        }
    }
}

impl Folders {
    /// Whether what is in this directory can be read.
    pub fn reads(&self, folder: &Path) -> bool {
        self.read.iter().any(|known| folder.starts_with(known))
    }

    fn of(&mut self, file: &Path) {
        let folder = folder(file);
        if !self.read.contains(&folder) {
            self.read.push(folder);
        }
    }

    fn tls(&mut self, tls: &ServerTls) {
        let optional = tls.client_ca.iter().chain(&tls.client_crl);
        for file in [&tls.certificate, &tls.key].into_iter().chain(optional) {
            self.of(file);
        }
    }
}

/// The directory, since files are replaced by others of the same name.
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
