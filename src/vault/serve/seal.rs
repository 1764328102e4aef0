//! What a vault answers sealed or open: how it stands, shares, sealing.

use http::Request;
use hyper::body::Incoming;

use super::Server;
use super::answer::Answer;
use super::routes::{Operation, body};
use crate::vault::refusal::Refusal;
use crate::vault::seal::keeper::Given;
use crate::vault::state::Caller;
use crate::wire::control::parse;
use crate::wire::share::{KeptIn, VaultStatus};

pub async fn run(
    server: &Server,
    caller: &Caller,
    operation: Operation,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let keeper = &server.keeper;
    match operation {
        Operation::Shares => Ok(Answer::json(&keeper.shares()?)),
        Operation::ShareReset => Ok(Answer::json(&keeper.reset(caller).await?)),
        Operation::Seal => {
            // Apart from the request, as below.
            let (keeper, caller) = (keeper.clone(), caller.clone());
            let sealed = tokio::spawn(async move { keeper.seal(&caller).await });
            Ok(Answer::json(&sealed.await.map_err(|_| Refusal::Store)?))
        }
        Operation::ShareGive => {
            // The others have no body, and wait for nobody's.
            let permit = server.messages.acquire().await;
            let _permit = permit.map_err(|_| Refusal::Store)?;
            let share = parse(&body(request).await?)?;
            // Apart from the request: its caller may go away in the middle of it.
            let (keeper, caller) = (keeper.clone(), caller.clone());
            let given = tokio::spawn(async move { keeper.give(&caller, share).await });
            match given.await.map_err(|_| Refusal::Store)?? {
                Given::Status(status) => Ok(Answer::json(&status)),
                Given::Reshared(shares) => Ok(Answer::json(&shares)),
            }
        }
        _ => Ok(Answer::json(&keeper.status())),
    }
}

/// Why a sealed vault is not ready.
pub fn in_words(status: &VaultStatus) -> String {
    match (&status.shares, status.root) {
        (Some(shares), KeptIn::Shares) => format!(
            "sealed: {} of {} shares have come",
            shares.given.len(),
            shares.threshold
        ),
        _ => "sealed: restart the vault to open it with its key file".to_owned(),
    }
}
