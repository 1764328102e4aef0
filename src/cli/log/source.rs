//! Where a log comes from: the vault, page by page, or an exported file.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::remembered;
use crate::cli::Exit;
use crate::cli::caller::{CallerArgs, failed};
use crate::limits;
use crate::vault::log::note::Verifier;
use crate::vault_link::client::{CallError, Client};
use crate::wire::control::{LogEntry, LogExport, LogKey, LogPage, parse};
use crate::wire::path;

/// A log whose entries are still to come.
pub struct Source {
    head: LogExport,
    from: From,
}

enum From {
    Vault(Arc<Client>),
    File(PathBuf),
}

impl Source {
    /// Asks the vault for key and checkpoint.
    pub async fn vault(caller: &CallerArgs, config: &Path) -> Result<Self, Exit> {
        let client = caller.connect(config)?;
        Self::of(Arc::new(client)).await.map_err(|e| failed(&e))
    }

    /// As [`Source::vault`], over a client that there is already.
    pub async fn of(client: Arc<Client>) -> Result<Self, CallError> {
        let key = client.get::<LogKey>(path::LOG_KEY).await?.message.key;
        let checkpoint = client.get_text(path::LOG_CHECKPOINT).await?;
        Ok(Self {
            head: LogExport { key, checkpoint },
            from: From::Vault(client),
        })
    }

    pub fn file(path: &Path) -> Result<Self, Exit> {
        let mut lines = Lines::open(path)?;
        let head = lines.next()?.and_then(|line| parse(line).ok());
        let head = head.ok_or_else(|| no_export(path))?;
        Ok(Self {
            head,
            from: From::File(path.to_owned()),
        })
    }

    pub fn key(&self) -> &str {
        &self.head.key
    }

    pub fn checkpoint(&self) -> &str {
        &self.head.checkpoint
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
        match &self.from {
            From::File(path) => {
                let mut lines = Lines::open(path)?;
                lines.next()?;
                let mut at = 0;
                while let Some(line) = lines.next()? {
                    let entry = parse(line).map_err(|_| no_export(path))?;
                    each(at, &entry)?;
                    at += 1;
                }
            }
            From::Vault(client) => {
                let mut pages = ask_ahead(Arc::clone(client), size);
                while let Some(page) = pages.recv().await {
                    let page = page.map_err(|e| failed(&e))?;
                    if page.entries.is_empty() {
                        eprintln!("error: the vault has fewer entries than its checkpoint says");
                        return Err(Exit::No);
                    }
                    for (at, entry) in (page.start..).zip(&page.entries) {
                        each(at, entry)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Pages of the log up to `size`, in order, a few of them ahead. Ends with the last one, behind an
/// error, or behind an empty page.
fn ask_ahead(client: Arc<Client>, size: u64) -> mpsc::Receiver<Result<LogPage, CallError>> {
    let (sender, receiver) = mpsc::channel(limits::LOG_AHEAD);
    tokio::spawn(async move {
        let mut at = 0;
        while at < size {
            let path = format!("{}?start={at}&end={size}", path::LOG_ENTRIES);
            let page = client.get::<LogPage>(&path).await.map(|a| a.message);
            let page = page.and_then(|page| match page.start == at {
                true => Ok(page),
                false => Err(CallError::Malformed),
            });
            let count = page.as_ref().map_or(0, |page| page.entries.len() as u64);
            if sender.send(page).await.is_err() || count == 0 {
                return;
            }
            at += count;
        }
    });
    receiver
}

/// An export's lines, one after the other, each within the bound of a message.
struct Lines {
    path: PathBuf,
    file: BufReader<std::fs::File>,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Exit> {
        let file = std::fs::File::open(path).map_err(|e| remembered::failed(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(256 * 1024, file),
            line: Vec::new(),
        })
    }

    fn next(&mut self) -> Result<Option<&[u8]>, Exit> {
        self.line.clear();
        let mut bounded = (&mut self.file).take(limits::VAULT_MESSAGE as u64);
        let read = bounded.read_until(b'\n', &mut self.line);
        let read = read.map_err(|e| remembered::failed(&self.path, &e))?;
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}

fn no_export(path: &Path) -> Exit {
    eprintln!("error: {}: no exported log", path.display());
    Exit::No
}
