//! `reveal request`: makes a key pair for the answer, asks, and keeps the private half.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Request, key_file};
use crate::cli::Exit;
use crate::cli::caller::failed;
use crate::vault_link::client::Client;
use crate::wire::control::{RevealAsk, RevealView};
use crate::wire::path;
use crate::wire::sealed::KeyPair;
use crate::wire::text::{Hex, KeyText};

pub async fn run(client: &Client, out: &Path, args: Request) -> Exit {
    let pair = KeyPair::generate();
    let ask = RevealAsk {
        domain: args.domain,
        pseudonyms: args.pseudonyms,
        purpose: args.purpose,
        reason: args.reason,
        hpke_key: Hex(pair.public()),
        expires_in: args.expires_in,
        reads: args.reads,
    };
    let view: RevealView = match client.post(path::REVEALS, &ask).await {
        Ok(answer) => answer.message,
        Err(error) => return failed(&error),
    };
    let file = key_file(out, view.request);
    if let Err(error) = keep(&file, &pair) {
        eprintln!("error: {}: {error}", file.display());
        return Exit::Failed;
    }
    if args.plain.json {
        println!("{{\"request\":\"{}\"}}", view.request);
    } else {
        println!("{}", view.request);
        eprintln!(
            "Asked. Another person approves it: cryptonym reveal approve {}",
            view.request
        );
    }
    Exit::Done
}

fn keep(file: &Path, pair: &KeyPair) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let text = Zeroizing::new(serde_json::to_vec(&KeyText(pair.secret().clone()))?);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(&text)?;
    file.sync_all()
}
