//! `reveal fetch`: the only command that prints identifiers, to the one who was allowed to ask.

use std::path::Path;

use zeroize::Zeroizing;

use super::key_file;
use crate::cli::Exit;
use crate::cli::caller::failed;
use crate::secret::Key32;
use crate::vault_link::client::Client;
use crate::wire::control::{REVEAL_INFO, RevealResult, RevealedRow, parse};
use crate::wire::path;
use crate::wire::sealed::KeyPair;
use crate::wire::statement::Statement;
use crate::wire::text::{Hex, KeyText};

pub async fn run(client: &Client, out: &Path, id: Hex<16>, json: bool) -> Exit {
    let file = key_file(out, id);
    // Before a read is spent: without the key its answer could not be opened.
    let pair = match read_key(&file).and_then(|key| KeyPair::from_secret(key).ok()) {
        Some(pair) => pair,
        None => {
            eprintln!(
                "error: {}: the key of this request is not here; only who asked has it",
                file.display()
            );
            return Exit::Failed;
        }
    };
    let path = format!("{}/{id}/fetch", path::REVEALS);
    let result: RevealResult = match client.post(&path, &()).await {
        Ok(answer) => answer.message,
        Err(error) => return failed(&error),
    };
    let rows = pair
        .open(REVEAL_INFO, &result.statement.0, &result.sealed.0)
        .and_then(|plaintext| parse::<Vec<RevealedRow>>(&plaintext));
    let (rows, statement) = match (rows, Statement::parse(&result.statement.0)) {
        (Ok(rows), Ok(statement)) if statement.request == id => (rows, statement),
        _ => {
            eprintln!("error: the answer does not belong to this request");
            return Exit::Vault;
        }
    };
    if json {
        let text = Zeroizing::new(serde_json::to_string(&rows).unwrap_or_default());
        println!("{}", &*text);
        return Exit::Done;
    }
    eprintln!("domain {}, purpose {}", statement.domain, statement.purpose);
    println!("{:40}  {:14}  IDENTIFIER", "PSEUDONYM", "KIND");
    for row in &rows {
        println!(
            "{:40}  {:14}  {}",
            row.pseudonym,
            row.kind.as_deref().unwrap_or("-"),
            row.identifier.as_deref().unwrap_or("(erased)")
        );
    }
    Exit::Done
}

fn read_key(file: &Path) -> Option<Key32> {
    let bytes = Zeroizing::new(std::fs::read(file).ok()?);
    parse::<KeyText>(&bytes).ok().map(|key| key.0)
}
