//! Who may call what. The caller and the role are checked before the body is polled.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::answer::{Answer, Body, response};
use super::{Server, log_pages, seal};
use crate::limits;
use crate::tls::identity::Role;
use crate::vault::refusal::Refusal;
use crate::vault::reveal::{ask, decide, gate, show};
use crate::vault::state::{Caller, Vault};
use crate::vault::{known, leases, records};
use crate::wire::control::parse;
use crate::wire::path;
use crate::wire::text::Hex;

/// One operation of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Lease,
    Records,
    Known,
    RevealAsk,
    RevealList,
    RevealShow([u8; 16]),
    RevealDecide([u8; 16]),
    RevealFetch([u8; 16]),
    LogCheckpoint,
    LogEntries,
    LogKey,
    Status,
    Shares,
    ShareGive,
    ShareReset,
    Seal,
    LogInclusion,
    LogConsistency,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Records => "records",
            Self::Known => "known",
            Self::RevealAsk => "reveal-ask",
            Self::RevealList => "reveal-list",
            Self::RevealShow(_) => "reveal-show",
            Self::RevealDecide(_) => "reveal-decide",
            Self::RevealFetch(_) => "reveal-fetch",
            Self::LogCheckpoint => "log-checkpoint",
            Self::LogEntries => "log-entries",
            Self::LogKey => "log-key",
            Self::Status => "status",
            Self::Shares => "shares",
            Self::ShareGive => "share-give",
            Self::ShareReset => "share-reset",
            Self::Seal => "seal",
            Self::LogInclusion => "log-inclusion",
            Self::LogConsistency => "log-consistency",
        }
    }

    /// Whose operation it is. A decision and a fetch look at the person first, inside their
    /// transaction: an investigator who decides on their own request is told, and logged, as that.
    fn roles(self) -> &'static [Role] {
        match self {
            Self::Lease | Self::Records | Self::Known => &[Role::Gateway],
            Self::RevealAsk => &[Role::Investigator],
            Self::RevealList
            | Self::RevealShow(_)
            | Self::RevealDecide(_)
            | Self::RevealFetch(_) => &[Role::Investigator, Role::Approver],
            // Size, root and signature say nothing of what is in the log: a feed notes them beside
            // its output.
            Self::LogCheckpoint => &[Role::Auditor, Role::Gateway],
            Self::LogEntries | Self::LogKey | Self::LogInclusion | Self::LogConsistency => {
                &[Role::Auditor]
            }
            Self::Status => Role::ALL,
            Self::Shares | Self::ShareGive | Self::ShareReset | Self::Seal => &[Role::Custodian],
        }
    }

    /// Answered by a sealed vault too: it needs no key and no row.
    fn is_keepers(self) -> bool {
        matches!(
            self,
            Self::Status | Self::Shares | Self::ShareGive | Self::ShareReset | Self::Seal
        )
    }

    fn is_reveal(self) -> bool {
        self.name().starts_with("reveal-")
    }
}

/// Answers one request and writes its line into the process's log.
pub async fn answer(
    server: Server,
    caller: Option<Caller>,
    request: Request<Incoming>,
) -> Response<Body> {
    let start = Instant::now();
    let operation = operation(request.method(), request.uri().path());
    let name = operation.map_or("none", Operation::name);
    let (id, role) = match &caller {
        Some(caller) => (caller.id.clone(), caller.role.name()),
        None => ("-".to_owned(), "-"),
    };
    let vault = server.keeper.vault();
    let incarnation = match &vault {
        Some(vault) => vault.incarnation,
        None => server.keeper.incarnation,
    };
    let result = authorise(vault.as_ref(), caller, operation).await;
    let result = match (result, vault) {
        (Ok((caller, operation)), vault) if operation.is_keepers() => {
            // A change of state waits until nobody holds the vault; so must this request not.
            drop(vault);
            seal::run(&server, &caller, operation, request).await
        }
        (Ok((caller, operation)), Some(vault)) => {
            let closing = vault.closing.clone();
            tokio::select! {
                result = run(&server, vault, &caller, operation, request) => result,
                // Everything that it holds is dropped.
                () = closing.cancelled() => Err(Refusal::Sealed),
            }
        }
        (Ok(_), None) => Err(Refusal::Sealed),
        (Err(refusal), _) => Err(refusal),
    };
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    match &result {
        Ok(_) => tracing::info!(who = id, role, operation = name, micros, "answered"),
        Err(refusal) => {
            server.keeper.parts.metrics.refused.inc();
            let code = refusal.name();
            tracing::info!(who = id, role, operation = name, micros, code, "refused");
        }
    }
    response(&incarnation, result)
}

async fn authorise(
    vault: Option<&Arc<Vault>>,
    caller: Option<Caller>,
    operation: Result<Operation, Refusal>,
) -> Result<(Caller, Operation), Refusal> {
    let caller = caller.ok_or(Refusal::NotRegistered)?;
    let operation = operation?;
    if operation.roles().contains(&caller.role) {
        return Ok((caller, operation));
    }
    let event = match operation {
        Operation::Lease => "lease-refused",
        reveal if reveal.is_reveal() => "reveal-denied",
        keepers if keepers.is_keepers() => "seal-denied",
        _ => return Err(Refusal::WrongRole),
    };
    match vault {
        Some(vault) => Err(vault
            .refuse(Refusal::WrongRole, event, &caller, |_| ())
            .await),
        None => Err(Refusal::WrongRole),
    }
}

async fn run(
    server: &Server,
    vault: Arc<Vault>,
    caller: &Caller,
    operation: Operation,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let vault = &vault;
    let query = request.uri().query().unwrap_or("").to_owned();
    // Held until the answer is made: bounds the bodies, plaintexts and rows in memory.
    // A known set has no body and turns of its own.
    let _permit = match operation {
        Operation::Known => None,
        _ => Some(
            server
                .messages
                .acquire()
                .await
                .map_err(|_| Refusal::Store)?,
        ),
    };
    match operation {
        Operation::Lease => {
            let ask = parse(&body(request).await?)?;
            Ok(Answer::secret(&leases::grant(vault, caller, ask).await?))
        }
        Operation::Records => {
            let bytes = body(request).await?;
            Ok(Answer::json(&records::keep(vault, caller, bytes).await?))
        }
        Operation::Known => known_set(server, vault, caller, &query).await,
        Operation::RevealAsk => {
            let wanted = parse(&body(request).await?)?;
            Ok(Answer::json(&ask::ask(vault, caller, wanted).await?))
        }
        Operation::RevealList => Ok(Answer::json(&show::list(vault, caller).await?)),
        Operation::RevealShow(id) => Ok(Answer::json(&show::show(vault, caller, id).await?)),
        Operation::RevealDecide(id) => {
            let envelope = parse(&body(request).await?)?;
            let view = decide::decide(vault, caller, id, envelope).await?;
            Ok(Answer::json(&view))
        }
        Operation::RevealFetch(id) => Ok(Answer::json(&gate::fetch(vault, caller, id).await?)),
        Operation::LogCheckpoint => log_pages::checkpoint(vault).await,
        Operation::LogKey => Ok(log_pages::key(vault)),
        Operation::LogEntries => {
            let (start, end) = range(&query, "start", "end")?;
            log_pages::entries(vault, start, end).await
        }
        // The keeper's, which have been answered before.
        Operation::Status
        | Operation::Shares
        | Operation::ShareGive
        | Operation::ShareReset
        | Operation::Seal => Err(Refusal::NotFound),
        Operation::LogInclusion => {
            let (entry, size) = range(&query, "entry", "size")?;
            log_pages::inclusion(vault, entry, size).await
        }
        Operation::LogConsistency => {
            let (old, size) = range(&query, "old", "size")?;
            log_pages::consistency(vault, old, size).await
        }
    }
}

/// Starts the stream, once it is the caller's turn.
async fn known_set(
    server: &Server,
    vault: &Arc<Vault>,
    caller: &Caller,
    query: &str,
) -> Result<Answer, Refusal> {
    let domain = parameter(query, "domain").and_then(Hex::<16>::parse);
    let epoch = parameter(query, "epoch").and_then(|e| e.parse().ok());
    let (Some(domain), Some(epoch)) = (domain, epoch) else {
        return Err(Refusal::BadMessage);
    };
    let keys = vault.keyring.by_id(&domain.0, epoch);
    let keys = keys.ok_or(Refusal::UnknownEpoch)?;
    vault.may_use(caller, &keys.domain_name).await?;
    let turn = server.known.turn(caller).await?;
    let body = known::stream(Arc::clone(vault), keys, turn);
    Ok(Answer::Known(body))
}

/// The whole body, within its bounds of size and time.
pub(super) async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let limited = Limited::new(request.into_body(), limits::VAULT_MESSAGE);
    match timeout(limits::HEAD_TIME, limited.collect()).await {
        Err(_) => Err(Refusal::Slow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) => Err(Refusal::BadMessage),
    }
}

fn operation(method: &Method, path: &str) -> Result<Operation, Refusal> {
    let (get, post) = (method == Method::GET, method == Method::POST);
    let only = |right: bool, operation| right.then_some(operation).ok_or(Refusal::MethodNotAllowed);
    match path {
        path::LEASES => only(post, Operation::Lease),
        path::RECORDS => only(post, Operation::Records),
        path::KNOWN => only(get, Operation::Known),
        path::REVEALS if post => Ok(Operation::RevealAsk),
        path::REVEALS => only(get, Operation::RevealList),
        path::LOG_CHECKPOINT => only(get, Operation::LogCheckpoint),
        path::LOG_ENTRIES => only(get, Operation::LogEntries),
        path::LOG_KEY => only(get, Operation::LogKey),
        path::STATUS => only(get, Operation::Status),
        path::SHARES if post => Ok(Operation::ShareGive),
        path::SHARES => only(get, Operation::Shares),
        path::SHARES_RESET => only(post, Operation::ShareReset),
        path::SEAL => only(post, Operation::Seal),
        path::LOG_INCLUSION => only(get, Operation::LogInclusion),
        path::LOG_CONSISTENCY => only(get, Operation::LogConsistency),
        _ => {
            let rest = path
                .strip_prefix(path::REVEALS)
                .and_then(|r| r.strip_prefix('/'));
            let (id, action) = match rest.ok_or(Refusal::NotFound)?.split_once('/') {
                None => (rest.unwrap_or(""), None),
                Some((id, action)) => (id, Some(action)),
            };
            let id = Hex::<16>::parse(id).ok_or(Refusal::UnknownReveal)?.0;
            match action {
                None => only(get, Operation::RevealShow(id)),
                Some("decision") => only(post, Operation::RevealDecide(id)),
                Some("fetch") => only(post, Operation::RevealFetch(id)),
                Some(_) => Err(Refusal::NotFound),
            }
        }
    }
}

/// Two numbers that name a part of the log.
fn range(query: &str, from: &str, to: &str) -> Result<(u64, u64), Refusal> {
    let number = |name| parameter(query, name).and_then(|n| n.parse().ok());
    number(from).zip(number(to)).ok_or(Refusal::BadRange)
}

/// A query parameter; ours are hexadecimal or decimal and need no decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(n, value)| (n == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_name_one_operation() {
        let id = "0a".repeat(16);
        let show = format!("/v1/reveals/{id}");
        let fetch = format!("/v1/reveals/{id}/fetch");
        assert_eq!(
            operation(&Method::GET, &show),
            Ok(Operation::RevealShow([10; 16]))
        );
        assert_eq!(
            operation(&Method::POST, &fetch),
            Ok(Operation::RevealFetch([10; 16]))
        );
        // GET never changes anything.
        for path in ["/v1/leases", "/v1/records", &fetch] {
            assert_eq!(
                operation(&Method::GET, path),
                Err(Refusal::MethodNotAllowed)
            );
        }
        assert_eq!(
            operation(&Method::GET, "/v1/reveals/xyz"),
            Err(Refusal::UnknownReveal)
        );
        for path in ["/", "/v1", "/v1/leases/", "/v1/revealsx"] {
            assert_eq!(operation(&Method::GET, path), Err(Refusal::NotFound));
        }
    }
}
