//! `log export`: everything that `log verify` needs, in one file: a line with key and checkpoint,
//! then one entry a line.

use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

use super::Export;
use super::remembered::failed;
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

async fn export(args: &Export, config: &Path) -> Result<u64, Exit> {
    let source = Source::vault(&args.caller, config).await?;
    let size = source.size()?;
    let fail = |error: std::io::Error| failed(&args.file, &error);
    // It names staff and pseudonyms: for its owner's eyes.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&args.file)
        .map_err(fail)?;
    let mut out = BufWriter::new(file);
    let head = LogExport {
        key: source.key().to_owned(),
        checkpoint: source.checkpoint().to_owned(),
    };
    line(&mut out, &head).map_err(fail)?;
    source
        .each(size, |_, entry| line(&mut out, entry).map_err(fail))
        .await?;
    let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync_all().map_err(fail)?;
    Ok(size)
}

fn line(out: &mut impl std::io::Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
