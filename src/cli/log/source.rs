//! Where a log comes from: the vault, page by page, or an exported file.

use std::path::Path;

use crate::cli::Exit;
use crate::cli::caller::{CallerArgs, failed};
use crate::vault::log::note::Verifier;
use crate::vault_link::client::{CallError, Client};
use crate::wire::control::{LogEntry, LogExport, LogKey, LogPage, parse};
use crate::wire::path;

/// A log with its entries still to come, or all here.
pub enum Source {
    Vault {
        client: Box<Client>,
        key: String,
        checkpoint: String,
    },
    File(LogExport),
}

impl Source {
    /// Asks the vault for key and checkpoint.
    pub async fn vault(caller: &CallerArgs, config: &Path) -> Result<Self, Exit> {
        let client = caller.connect(config)?;
        let start = async {
            let key = client.get::<LogKey>(path::LOG_KEY).await?.message.key;
            let checkpoint = client.get_text(path::LOG_CHECKPOINT).await?;
            Ok::<_, CallError>((key, checkpoint))
        };
        let (key, checkpoint) = start.await.map_err(|e| failed(&e))?;
        Ok(Self::Vault {
            client: Box::new(client),
            key,
            checkpoint,
        })
    }

    pub fn file(path: &Path) -> Result<Self, Exit> {
        let bytes = std::fs::read(path).map_err(|error| {
            eprintln!("error: {}: {error}", path.display());
            Exit::Failed
        })?;
        parse(&bytes).map(Self::File).map_err(|_| {
            eprintln!("error: {}: no exported log", path.display());
            Exit::No
        })
    }

    pub fn key(&self) -> &str {
        match self {
            Self::Vault { key, .. } => key,
            Self::File(export) => &export.key,
        }
    }

    pub fn checkpoint(&self) -> &str {
        match self {
            Self::Vault { checkpoint, .. } => checkpoint,
            Self::File(export) => &export.checkpoint,
        }
    }

    /// The size that the checkpoint speaks of, if the source's own key has signed it.
    pub fn size(&self) -> Result<u64, Exit> {
        let opened = Verifier::parse(self.key()).and_then(|v| v.open(self.checkpoint()));
        opened.map(|checkpoint| checkpoint.size).map_err(|error| {
            eprintln!("error: {error}");
            Exit::No
        })
    }

    /// Calls `each` for the entries below `size`, in order, until it says stop.
    pub async fn each(
        &self,
        size: u64,
        mut each: impl FnMut(u64, &LogEntry) -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        match self {
            Self::File(export) => {
                for (at, entry) in (0..).zip(&export.entries) {
                    each(at, entry)?;
                }
            }
            Self::Vault { client, .. } => {
                let mut at = 0;
                while at < size {
                    let path = format!("{}?start={at}&end={size}", path::LOG_ENTRIES);
                    let page = client.get::<LogPage>(&path).await;
                    let page = page.map_err(|e| failed(&e))?.message;
                    if page.start != at || page.entries.is_empty() {
                        eprintln!("error: the vault has fewer entries than its checkpoint says");
                        return Err(Exit::No);
                    }
                    for entry in &page.entries {
                        each(at, entry)?;
                        at += 1;
                    }
                }
            }
        }
        Ok(())
    }
}
