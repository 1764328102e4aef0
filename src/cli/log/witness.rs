//! `log witness`: cosigns the log's checkpoint, on a machine of somebody else's.
//!
//! What enters: the vault's checkpoint and its proof. What leaves: the note with one signature
//! more. What can never happen: a cosignature of a log that does not continue the last one that
//! this witness has cosigned, or one given out before that is remembered on the disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use time::OffsetDateTime;

use super::prove::consistency;
use super::remembered::{self, Remembered, failed};
use super::source::Source;
use super::{Witness, remembered::TrustedKey};
use crate::cli::Exit;
use crate::cli::caller;
use crate::config::signing_key;
use crate::vault::keys::random_key;
use crate::vault::log::cosign::Cosigner;
use crate::vault::log::merkle::Tree;
use crate::vault::log::note::{Checkpoint, Verifier};
use crate::vault::log::proof;
use crate::vault_link::client::{CallError, Client};

pub async fn run(args: Witness, config: &Path) -> Exit {
    match witness(&args, config).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn witness(args: &Witness, config: &Path) -> Result<(), Exit> {
    let client = Arc::new(args.caller.connect(config)?);
    // Two witnesses over one file could cosign two histories.
    let _alone = lock(&args.state)?;
    let cosigner = cosigner(args)?;
    eprintln!("witness     {}", cosigner.witness());
    loop {
        let looked = look(args, &client, &cosigner).await;
        let Some(seconds) = args.every else {
            return looked.map_err(Stop::exit);
        };
        match looked {
            // It comes back, or it does not: nothing was cosigned. (A sealed vault is one of them.)
            Ok(())
            | Err(Stop::Call(
                CallError::Unreachable(_) | CallError::Refused { status: 500.., .. },
            )) => {}
            Err(stop) => return Err(stop.exit()),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Why a look ended without a cosignature.
enum Stop {
    Call(CallError),
    Said(Exit),
}

impl Stop {
    fn exit(self) -> Exit {
        match self {
            Self::Call(error) => caller::failed(&error),
            Self::Said(exit) => exit,
        }
    }
}

impl From<Exit> for Stop {
    fn from(exit: Exit) -> Self {
        Self::Said(exit)
    }
}

async fn look(args: &Witness, client: &Arc<Client>, cosigner: &Cosigner) -> Result<(), Stop> {
    let source = Source::of(Arc::clone(client)).await.map_err(Stop::Call)?;
    let remembered = Remembered::read(&args.state)?;
    let told = args.log_key.as_deref();
    let TrustedKey { key, known_before } =
        Remembered::trusted_key(told, remembered.as_ref(), source.key())?;
    if !known_before {
        eprintln!("key         taken on the log's own word: {key}");
    }
    let verifier = Verifier::parse(&key).map_err(refuse)?;
    let note = source.checkpoint();
    let new = verifier.open(note).map_err(refuse)?;
    let old = match &remembered {
        Some(remembered) => verifier.open(&remembered.checkpoint).map_err(refuse)?,
        None => nothing(&new.origin),
    };
    if let Err(why) = check(client, &old, &new).await? {
        // Two notes of one key that do not fit are the proof of a fork: both are shown.
        eprint!("{note}");
        if let Some(remembered) = &remembered {
            eprint!("{}", remembered.checkpoint);
        }
        return Err(refuse(why).into());
    }
    let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
    let cosigned = cosigner.cosign(note, now).map_err(refuse)?;
    Remembered {
        key,
        checkpoint: note.to_owned(),
    }
    .write(&args.state)?;
    if let Some(out) = &args.out {
        remembered::write(out, &cosigned)?;
    }
    print!("{cosigned}");
    let _ = std::io::stdout().flush();
    Ok(())
}

/// Whether the log has gone on from where it was; the inner error says how it has not.
async fn check(
    client: &Client,
    old: &Checkpoint,
    new: &Checkpoint,
) -> Result<Result<(), String>, Stop> {
    if new.size < old.size {
        let (new, old) = (new.size, old.size);
        return Ok(Err(format!(
            "the log has {new} entries, and had {old}: it was cut, or put back to an older state"
        )));
    }
    let path = match new.size == old.size || old.size == 0 {
        true => Vec::new(),
        false => match consistency(client, old.size, new.size).await {
            Ok(path) => path,
            Err(error) => return Err(Stop::Call(error)),
        },
    };
    let held = proof::continues((old.size, &old.root), (new.size, &new.root), &path);
    Ok(match held {
        true => Ok(()),
        false => Err(format!(
            "the log of {} entries does not continue the one of {} that was cosigned: it was \
             rewritten, or this is another history",
            new.size, old.size
        )),
    })
}

fn refuse(why: impl std::fmt::Display) -> Exit {
    eprintln!(
        "NOT COSIGNED: {why}\nTell the auditor, and keep the state file: it is the evidence."
    );
    Exit::No
}

/// Where every log begins.
fn nothing(origin: &str) -> Checkpoint {
    Checkpoint {
        origin: origin.to_owned(),
        size: 0,
        root: Tree::default().root(),
    }
}

fn cosigner(args: &Witness) -> Result<Cosigner, Exit> {
    let file = &args.signing_key;
    if !file.exists() {
        let key = SigningKey::from_bytes(random_key().expose());
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .and_then(|mut out| {
                out.write_all(signing_key::to_pem(&key).as_bytes())?;
                out.sync_all()
            })
            .map_err(|error| failed(file, &error))?;
    }
    let key = signing_key::load(file).map_err(|error| {
        eprintln!("error: the signing key file {error}");
        Exit::Failed
    })?;
    Cosigner::new(&args.name, key).map_err(|_| {
        eprintln!("error: --name is a name without blanks and plus signs, such as w.example");
        Exit::Failed
    })
}

fn lock(state: &Path) -> Result<File, Exit> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::create(&path).map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            eprintln!(
                "error: {}: another witness is at work here",
                state.display()
            );
            Err(Exit::Failed)
        }
        Err(TryLockError::Error(error)) => Err(failed(&path, &error)),
    }
}
