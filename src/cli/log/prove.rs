//! `log prove`: one entry's place in the log, from two proofs instead of all entries.

use std::path::Path;

use super::Prove;
use super::remembered::Remembered;
use super::source::Source;
use crate::cli::Exit;
use crate::cli::caller::failed;
use crate::limits;
use crate::vault::log::note::Verifier;
use crate::vault::log::{event, merkle, proof};
use crate::vault_link::client::{CallError, Client};
use crate::wire::control::{LogPage, LogProof};
use crate::wire::path;

pub async fn run(args: Prove, config: &Path) -> Exit {
    match prove(&args, config).await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn prove(args: &Prove, config: &Path) -> Result<(), Exit> {
    let client = std::sync::Arc::new(args.caller.connect(config)?);
    let source = Source::of(std::sync::Arc::clone(&client)).await;
    let source = source.map_err(|e| failed(&e))?;
    let file = args
        .remember
        .clone()
        .unwrap_or_else(|| args.caller.out(config).join("log-checkpoint"));
    let remembered = Remembered::read(&file)?;
    let told = args.log_key.as_deref();
    let key = Remembered::trusted_key(told, remembered.as_ref(), source.key())?;
    let verifier = Verifier::parse(&key.key).map_err(no)?;
    let now = verifier.open(source.checkpoint()).map_err(no)?;
    if args.entry >= now.size {
        return Err(no(format!("the log has {} entries", now.size)));
    }
    let old = remembered.map(|r| verifier.open(&r.checkpoint)).transpose();
    let old = old.map_err(no)?;

    let (at, size) = (args.entry, now.size);
    let query = format!("{}?start={at}&end={}", path::LOG_ENTRIES, at + 1);
    let page = client.get::<LogPage>(&query).await;
    let page = page.map_err(|e| failed(&e))?.message;
    let entry = page
        .entries
        .first()
        .ok_or_else(|| no("the vault has no such entry"))?;
    let details = event::details(entry);
    let details = details.map_err(|_| no("the details are not those that were logged"))?;
    let query = format!("{}?entry={at}&size={size}", path::LOG_INCLUSION);
    let path = hashes(&client, &query).await.map_err(|e| failed(&e))?;
    let leaf = merkle::leaf(&entry.commitment.0);
    if !proof::includes(&leaf, at, size, &now.root, &path) {
        return Err(no("the entry is not in the tree that the checkpoint signs"));
    }
    println!("log         {}", now.origin);
    println!(
        "entry       {at} of {size}: in the tree, by {} hashes",
        path.len()
    );
    match &old {
        None => println!("remembered  nothing: run `cryptonym log verify`, which reads everything"),
        Some(old) => {
            let held = if old.size > size {
                false
            } else {
                let path = consistency(&client, old.size, size).await;
                let path = path.map_err(|e| failed(&e))?;
                proof::continues((old.size, &old.root), (size, &now.root), &path)
            };
            if !held {
                return Err(no("the log does not continue the remembered checkpoint"));
            }
            println!(
                "remembered  continues the checkpoint of {} entries",
                old.size
            );
        }
    }
    println!("{}", details.unwrap_or("forgotten"));
    Ok(())
}

/// The proof that the first `old` entries are still the beginning of the first `size`.
pub async fn consistency(
    client: &Client,
    old: u64,
    size: u64,
) -> Result<Vec<merkle::Hash>, CallError> {
    let query = format!("{}?old={old}&size={size}", path::LOG_CONSISTENCY);
    hashes(client, &query).await
}

async fn hashes(client: &Client, query: &str) -> Result<Vec<merkle::Hash>, CallError> {
    let proof = client.get::<LogProof>(query).await?.message;
    if proof.hashes.len() > limits::PROOF_HASHES {
        return Err(CallError::Malformed);
    }
    Ok(proof.hashes.into_iter().map(|hash| hash.0).collect())
}

fn no(why: impl std::fmt::Display) -> Exit {
    println!("DOES NOT HOLD: {why}");
    Exit::No
}
