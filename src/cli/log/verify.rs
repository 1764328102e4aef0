//! `log verify`: says what holds, and what cannot be said.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use time::OffsetDateTime;

use super::Verify;
use super::remembered::{Remembered, failed};
use super::source::Source;
use crate::cli::Exit;
use crate::limits;
use crate::vault::log::cosign::Witness;
use crate::vault::log::event::rfc3339;
use crate::vault::log::note::{NoteError, Verifier};
use crate::vault::log::verify::{Broken, Verification, Verified};

pub async fn run(args: Verify, config: &Path) -> Exit {
    match verify(&args, config).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn verify(args: &Verify, config: &Path) -> Result<(), Exit> {
    let no = |broken: &Broken| {
        if args.json {
            println!("{}", json!({ "holds": false, "why": broken.to_string() }));
        } else {
            println!("DOES NOT HOLD: {broken}");
        }
        Exit::No
    };
    let source = match &args.export {
        Some(file) => Source::file(file)?,
        None => Source::vault(&args.caller, config).await?,
    };
    let file = args
        .remember
        .clone()
        .unwrap_or_else(|| args.caller.out(config).join("log-checkpoint"));
    let remembered = Remembered::read(&file)?;
    let told = args.log_key.as_deref();
    let key = Remembered::trusted_key(told, remembered.as_ref(), source.key())?;
    let verifier = Verifier::parse(&key.key).map_err(|e| no(&e.into()))?;
    let witnessed = Witnessed::read_all(args, no)?;

    let remembered = remembered.map(|r| r.checkpoint);
    let mut known: Vec<&str> = witnessed.iter().map(|w| w.note.as_str()).collect();
    known.extend(remembered.as_deref());
    let mut verification =
        Verification::start(verifier, source.checkpoint(), &known).map_err(|e| no(&e))?;
    let size = verification.checkpoint().size;
    source
        .each(size, |_, entry| {
            verification.push(entry).map_err(|e| no(&e))
        })
        .await?;
    let verified = verification.finish().map_err(|e| no(&e))?;

    let remembered = verified.continues.get(witnessed.len()).copied();
    if args.json {
        let witnessed: Vec<_> = witnessed
            .iter()
            .zip(&verified.continues)
            .map(|(w, size)| json!({ "witness": w.name, "seen": w.seen, "entries": size }))
            .collect();
        println!(
            "{}",
            json!({
                "holds": true,
                "log": verified.checkpoint.origin,
                "entries": verified.checkpoint.size,
                "details": verified.details,
                "forgotten": verified.forgotten,
                "remembered": remembered,
                "witnessed": witnessed,
                "truncation_excluded": !verified.continues.is_empty(),
            })
        );
    } else {
        if !key.known_before {
            println!("key         taken on the log's own word: {}", key.key);
        }
        print(&verified, &witnessed, remembered);
    }
    Remembered {
        key: key.key,
        checkpoint: source.checkpoint().to_owned(),
    }
    .write(&file)
}

fn print(verified: &Verified, witnessed: &[Witnessed], remembered: Option<u64>) {
    println!("log         {}", verified.checkpoint.origin);
    println!("entries     {}", verified.checkpoint.size);
    println!("tree        holds: the leaves give the signed root");
    println!(
        "details     {} match their leaf, {} forgotten",
        verified.details, verified.forgotten
    );
    for (witnessed, size) in witnessed.iter().zip(&verified.continues) {
        println!(
            "witnessed   continues the checkpoint of {size} entries that {} saw at {}",
            witnessed.name, witnessed.seen
        );
    }
    match remembered {
        Some(size) => println!("remembered  continues the checkpoint of {size} entries"),
        None if witnessed.is_empty() => println!(
            "remembered  nothing: that the end was cut off, or all of it rewritten, is not excluded"
        ),
        None => {
            println!("remembered  nothing; what was cut after the witnessed checkpoint is not seen")
        }
    }
}

/// A cosigned note, with who has cosigned it and when.
struct Witnessed {
    note: String,
    name: String,
    seen: String,
}

impl Witnessed {
    fn read_all(args: &Verify, no: impl Fn(&Broken) -> Exit) -> Result<Vec<Self>, Exit> {
        let mut keys = Vec::new();
        for text in &args.witness_key {
            keys.push(Witness::parse(text).map_err(|e| no(&e.into()))?);
        }
        let read = |file: &PathBuf| Self::read(file, &keys, &no);
        args.witnessed.iter().map(read).collect()
    }

    fn read(file: &Path, keys: &[Witness], no: impl Fn(&Broken) -> Exit) -> Result<Self, Exit> {
        let mut note = String::new();
        std::fs::File::open(file)
            .and_then(|open| {
                let mut bounded = open.take(limits::NOTE_BYTES as u64);
                bounded.read_to_string(&mut note)
            })
            .map_err(|error| failed(file, &error))?;
        let mut why = NoteError::NotWitnessed;
        for key in keys {
            match key.seen(&note) {
                Ok(seconds) => {
                    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                    let at = OffsetDateTime::from_unix_timestamp(seconds);
                    return Ok(Self {
                        note,
                        name: key.name.clone(),
                        seen: at.map_or_else(|_| "no time".to_owned(), rfc3339),
                    });
                }
                Err(NoteError::NotWitnessed) => {}
                Err(error) => why = error,
            }
        }
        Err(no(&why.into()))
    }
}
