//! `reveal list` and `reveal show`. Neither prints an identifier: there is none to print.

use crate::cli::Exit;
use crate::cli::caller::failed;
use crate::vault_link::client::{CallError, Client};
use crate::wire::control::{RevealList, RevealView};
use crate::wire::path;
use crate::wire::statement::{Digest, Statement};
use crate::wire::text::Hex;

pub async fn list(client: &Client, json: bool) -> Exit {
    let list: RevealList = match client.get(path::REVEALS).await {
        Ok(answer) => answer.message,
        Err(error) => return failed(&error),
    };
    if json {
        println!("{}", serde_json::to_string(&list).unwrap_or_default());
        return Exit::Done;
    }
    println!(
        "{:32}  {:8}  {:>5}  {:12}  PURPOSE",
        "ID", "STATE", "COUNT", "REQUESTER"
    );
    for view in &list.reveals {
        if let Ok(statement) = Statement::parse(&view.statement.0) {
            println!(
                "{}  {:8}  {:>5}  {:12}  {}",
                view.request,
                view.state.name(),
                statement.pseudonyms.count,
                statement.requester,
                statement.purpose
            );
        }
    }
    Exit::Done
}

pub async fn one(client: &Client, id: Hex<16>, json: bool) -> Exit {
    let view = match get(client, id).await {
        Ok(view) => view,
        Err(error) => return failed(&error),
    };
    if json {
        println!("{}", serde_json::to_string(&view).unwrap_or_default());
        return Exit::Done;
    }
    match print(&view) {
        Ok(_) => Exit::Done,
        Err(exit) => exit,
    }
}

pub async fn get(client: &Client, id: Hex<16>) -> Result<RevealView, CallError> {
    let answer = client.get(&format!("{}/{id}", path::REVEALS)).await?;
    Ok(answer.message)
}

/// Prints a reveal with the very bytes of its statement, after checking that the pseudonyms
/// shown are those that the statement's digest stands for.
pub fn print(view: &RevealView) -> Result<Statement, Exit> {
    let statement = Statement::parse(&view.statement.0).map_err(|_| {
        eprintln!("error: the vault's statement was not understood");
        Exit::Vault
    })?;
    if statement.request != view.request || Digest::of(&view.pseudonyms) != statement.pseudonyms {
        eprintln!("error: the pseudonyms shown are not those of the statement");
        return Err(Exit::No);
    }
    println!("reveal     {}", view.request);
    println!("state      {}", view.state.name());
    if let Some(by) = &view.decided_by {
        println!("decided    by {by}");
    }
    println!("requester  {}", statement.requester);
    println!("domain     {}", statement.domain);
    println!("purpose    {}", statement.purpose);
    println!("reason     {}", statement.reason);
    println!("expires    {}", statement.expires);
    println!("reads      {} left of {}", view.reads_left, statement.reads);
    println!("pseudonyms");
    for pseudonym in &view.pseudonyms {
        println!("  {pseudonym}");
    }
    println!("statement  (the bytes that a decision signs)");
    println!("{}", String::from_utf8_lossy(&view.statement.0));
    Ok(statement)
}
