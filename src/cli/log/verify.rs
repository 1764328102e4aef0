//! `log verify`: says what holds, and what cannot be said.

use std::path::{Path, PathBuf};

use super::Verify;
use super::source::Source;
use crate::cli::Exit;
use crate::vault::log::note::Verifier;
use crate::vault::log::verify::{Broken, Verification};

pub async fn run(args: Verify, config: &Path) -> Exit {
    match verify(&args, config).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn verify(args: &Verify, config: &Path) -> Result<(), Exit> {
    let source = match &args.export {
        Some(file) => Source::file(file)?,
        None => Source::vault(&args.caller, config).await?,
    };
    let file = args
        .remember
        .clone()
        .unwrap_or_else(|| args.caller.out(config).join("log-checkpoint"));
    let remembered = Remembered::read(&file)?;
    let key = trusted_key(args, &source, remembered.as_ref())?;
    let verifier = Verifier::parse(&key).map_err(|e| no(&Broken::from(e)))?;
    let old = remembered.as_ref().map(|r| r.checkpoint.as_str());
    let mut verification =
        Verification::start(verifier, source.checkpoint(), old).map_err(|e| no(&e))?;
    let size = verification.checkpoint().size;
    source
        .each(size, |_, entry| {
            verification.push(entry).map_err(|e| no(&e))
        })
        .await?;
    let verified = verification.finish().map_err(|e| no(&e))?;

    println!("log         {}", verified.checkpoint.origin);
    println!("entries     {}", verified.checkpoint.size);
    println!("tree        holds: the leaves give the signed root");
    println!(
        "details     {} match their leaf, {} forgotten",
        verified.details, verified.forgotten
    );
    match verified.remembered {
        Some(size) => println!("remembered  continues the checkpoint of {size} entries"),
        None => println!(
            "remembered  nothing: that the end was cut off, or all of it rewritten, is not excluded"
        ),
    }
    Remembered {
        key,
        checkpoint: source.checkpoint().to_owned(),
    }
    .write(&file)
}

/// The key to verify with: the one that was told or remembered, before the source's own word.
fn trusted_key(
    args: &Verify,
    source: &Source,
    remembered: Option<&Remembered>,
) -> Result<String, Exit> {
    let told = args.log_key.as_deref().map(str::trim);
    let known = told.or(remembered.map(|r| r.key.as_str()));
    match known {
        Some(known) if known != source.key() => {
            println!("key         DOES NOT HOLD: the log is signed with another key than before");
            Err(Exit::No)
        }
        Some(known) => Ok(known.to_owned()),
        None => {
            println!("key         taken on the log's own word: {}", source.key());
            Ok(source.key().to_owned())
        }
    }
}

fn no(broken: &Broken) -> Exit {
    println!("DOES NOT HOLD: {broken}");
    Exit::No
}

/// What a verifier keeps: the key, an empty line, the checkpoint.
struct Remembered {
    key: String,
    checkpoint: String,
}

impl Remembered {
    fn read(file: &Path) -> Result<Option<Self>, Exit> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(file, &error)),
        };
        match text.split_once("\n\n") {
            Some((key, checkpoint)) => Ok(Some(Self {
                key: key.to_owned(),
                checkpoint: checkpoint.to_owned(),
            })),
            None => Err(failed(file, &"this is no remembered checkpoint")),
        }
    }

    /// Whole or not at all: a half-written file would forget what was known.
    fn write(&self, file: &Path) -> Result<(), Exit> {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let text = format!("{}\n\n{}", self.key, self.checkpoint);
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, file))
            .map_err(|error| failed(file, &error))
    }
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Exit {
    eprintln!("error: {}: {error}", file.display());
    Exit::Failed
}
