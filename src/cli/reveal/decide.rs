//! `reveal approve` and `reveal refuse`: shows the very bytes, asks, signs them.

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use super::{Decide, show};
use crate::cli::Exit;
use crate::cli::caller::failed;
use crate::config::signing_key;
use crate::vault_link::client::Client;
use crate::wire::control::RevealView;
use crate::wire::dsse::Envelope;
use crate::wire::path;
use crate::wire::statement::{DECISION_TYPE, Decision, Verdict};

pub async fn run(client: &Client, out: &Path, args: Decide, approve: bool) -> Exit {
    let Some(approver) = args.plain.caller.who.clone() else {
        eprintln!("error: who decides? Say --as ID: the id stands in what is signed");
        return Exit::Failed;
    };
    let file = args.signing_key.clone();
    let file = file.unwrap_or_else(|| out.join("people").join(format!("{approver}.signing.key")));
    let key = match signing_key::load(&file) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failed;
        }
    };
    let view = match show::get(client, args.id).await {
        Ok(view) => view,
        Err(error) => return failed(&error),
    };
    if let Err(exit) = show::print(&view) {
        return exit;
    }
    let (verdict, word) = match approve {
        true => (Verdict::Approve, "approve"),
        false => (Verdict::Refuse, "refuse"),
    };
    if !args.yes && !confirmed(word) {
        eprintln!("Nothing was signed.");
        return Exit::No;
    }
    let decision = Decision {
        decision: verdict,
        approver,
        statement: view.statement,
    };
    let envelope = Envelope::sign(DECISION_TYPE, decision.to_bytes(), &key);
    let path = format!("{}/{}/decision", path::REVEALS, args.id);
    match client.post::<RevealView>(&path, &envelope).await {
        Ok(answer) => {
            eprintln!("{}: {}", args.id, answer.message.state.name());
            Exit::Done
        }
        Err(error) => failed(&error),
    }
}

fn confirmed(word: &str) -> bool {
    eprint!("Type '{word}' to sign these bytes: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == word
}
