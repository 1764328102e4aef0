//! What a reveal's people can read of it. Never an identifier.

use std::sync::Arc;

use time::OffsetDateTime;

use super::held::Open;
use crate::limits;
use crate::tls::identity::Role;
use crate::vault::refusal::Refusal;
use crate::vault::state::{Caller, Vault};
use crate::wire::control::{RevealList, RevealView};

/// Reveals, newest first: an investigator's own, an approver's all.
pub async fn list(vault: &Arc<Vault>, caller: &Caller) -> Result<RevealList, Refusal> {
    let caller = caller.clone();
    let reveals = vault
        .read(move |vault, reader| {
            let now = OffsetDateTime::now_utc();
            let mut reveals = Vec::new();
            for row in reader.reveals(limits::REVEALS_LISTED)? {
                let open = Open::read(vault, row)?;
                if may_see(&caller, &open) {
                    reveals.push(open.view(vault, now)?);
                }
            }
            Ok(reveals)
        })
        .await?;
    Ok(RevealList { reveals })
}

/// One reveal. One that the caller may not see is as if it were not there.
pub async fn show(
    vault: &Arc<Vault>,
    caller: &Caller,
    id: [u8; 16],
) -> Result<RevealView, Refusal> {
    let caller = caller.clone();
    let found = vault
        .read(move |vault, reader| {
            let Some(row) = reader.reveal(&id)? else {
                return Ok(None);
            };
            let open = Open::read(vault, row)?;
            if !may_see(&caller, &open) {
                return Ok(None);
            }
            open.view(vault, OffsetDateTime::now_utc()).map(Some)
        })
        .await?;
    found.ok_or(Refusal::UnknownReveal)
}

fn may_see(caller: &Caller, open: &Open) -> bool {
    match caller.role {
        Role::Approver => true,
        Role::Investigator => open.statement.requester == caller.id,
        _ => false,
    }
}
