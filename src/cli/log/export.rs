//! `log export`: everything that `log verify` needs, in one file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Export;
use super::source::Source;
use crate::cli::Exit;
use crate::wire::control::LogExport;

pub async fn run(args: Export, config: &Path) -> Exit {
    match export(&args, config).await {
        Ok(entries) => {
            eprintln!("{}: {entries} entries", args.file.display());
            Exit::Done
        }
        Err(exit) => exit,
    }
}

async fn export(args: &Export, config: &Path) -> Result<usize, Exit> {
    let source = Source::vault(&args.caller, config).await?;
    let size = source.size()?;
    let mut entries = Vec::new();
    source
        .each(size, |_, entry| {
            entries.push(entry.clone());
            Ok(())
        })
        .await?;
    let export = LogExport {
        key: source.key().to_owned(),
        checkpoint: source.checkpoint().to_owned(),
        entries,
    };
    let text = serde_json::to_vec(&export).map_err(|_| Exit::Failed)?;
    // It names staff and pseudonyms: for its owner's eyes.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&args.file);
    let written = file.and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(export.entries.len()),
        Err(error) => {
            eprintln!("error: {}: {error}", args.file.display());
            Err(Exit::Failed)
        }
    }
}
