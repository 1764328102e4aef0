//! Why the vault says no: stable codes, each with its status and what to do next.

use super::store::StoreError;
use crate::wire::control::Problem;

macro_rules! refusals {
    ($( $variant:ident = $name:literal, $status:literal, $title:literal, $next:literal; )*) => {
        /// Stable codes of problem documents and of the log. They never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $( $variant, )* }

        impl Refusal {
            /// Every code, for documentation and tests.
            pub const ALL: &'static [Refusal] = &[ $( Refusal::$variant, )* ];
            pub fn name(self) -> &'static str { match self { $( Refusal::$variant => $name, )* } }
            pub fn status(self) -> u16 { match self { $( Refusal::$variant => $status, )* } }
            pub fn title(self) -> &'static str { match self { $( Refusal::$variant => $title, )* } }
            pub fn next(self) -> &'static str { match self { $( Refusal::$variant => $next, )* } }
        }
    };
}

refusals! {
    NotRegistered = "not-registered", 403, "The certificate belongs to nobody in the registry.", "Have the custodian register it, with its role and fingerprint.";
    WrongRole = "wrong-role", 403, "The caller's role may not do this.", "Ask somebody whose role it is.";
    NotFound = "not-found", 404, "There is no such path.", "See docs/vault.md for the interface.";
    MethodNotAllowed = "method-not-allowed", 405, "The path does not take this method.", "See docs/vault.md for the interface.";
    BadMessage = "bad-message", 400, "The message is not of the expected form.", "Use a client of the same version.";
    TooLarge = "too-large", 413, "The message is larger than the vault reads.", "Send smaller batches.";
    Slow = "slow", 408, "The message did not arrive in time.", "Send it again.";
    Busy = "busy", 503, "Too many known sets are being read at once.", "Try again in a moment.";
    UnknownDomain = "unknown-domain", 404, "The vault's configuration has no such domain.", "Check the name against `cryptonym check`.";
    OtherDomain = "domain-not-allowed", 403, "The registry does not give this gateway this domain.", "Have the custodian add it to the gateway's `domains`; the vault has raised an alarm.";
    UnknownEpoch = "unknown-epoch", 409, "The vault has no such epoch of this domain.", "Lease the domain again.";
    RecordMismatch = "record-mismatch", 422, "A record's pseudonym does not follow from its identifier.", "Tell the operator at once; the vault has raised an alarm.";
    RecordConflict = "record-conflict", 409, "A pseudonym is known under another identifier.", "Tell the operator at once; the vault has raised an alarm.";
    Budget = "budget", 503, "The day's budget of new identifiers of this gateway and domain is spent.", "Try again tomorrow (UTC), or have the budget raised.";
    BadPseudonym = "bad-pseudonym", 422, "A text is no pseudonym, or it has a typing error.", "Copy it again; its last character is a check character.";
    UnknownPseudonym = "unknown-pseudonym", 404, "A pseudonym has no record in this domain.", "Check the domain; tokens and erased records cannot be revealed.";
    WrongDomain = "wrong-domain", 422, "A pseudonym belongs to another domain.", "Ask in the domain it comes from.";
    TooMany = "too-many", 422, "A reveal names between 1 and 100 distinct pseudonyms.", "A reveal is about people, not about tables: ask for fewer.";
    BadPurpose = "bad-purpose", 422, "A reveal needs a purpose: a short name such as share-results.", "Name the purpose.";
    BadReason = "bad-reason", 422, "A reveal needs a reason of at most 1000 characters.", "Say why, for the second person and for the log.";
    BadExpiry = "bad-expiry", 422, "A reveal lives between one minute and one day, and is read between 1 and 10 times.", "Ask for less.";
    UnknownReveal = "unknown-reveal", 404, "There is no such reveal for this caller.", "Check its id with `cryptonym reveal list`.";
    OtherRequester = "other-requester", 403, "The reveal was asked for by somebody else.", "Only the requester can fetch its result.";
    NotApproved = "not-approved", 409, "The reveal has not been approved.", "Have an approver decide.";
    SelfApproval = "self-approval", 403, "Nobody decides on their own request.", "Ask another person.";
    ChangedRequest = "changed-request", 409, "What was signed is not the request that the vault holds.", "Read the request again, and sign that.";
    BadSignature = "bad-signature", 403, "The decision is not signed by the caller's enrolled key.", "Sign with the key that the registry names.";
    Unproven = "decision-unproven", 409, "The reveal stands as approved, and no registered approver's signature shows it.", "Tell the operator at once; the vault has raised an alarm.";
    Expired = "expired", 410, "The reveal has expired.", "Ask again.";
    AlreadyDecided = "already-decided", 409, "The reveal has been decided; a decision is used once.", "Ask again if another decision is wanted.";
    RevealRefused = "reveal-refused", 403, "The approver has refused the reveal.", "Talk to the approver.";
    Spent = "spent", 410, "The reveal has been read as often as was approved.", "Ask again.";
    BadRange = "bad-range", 400, "start and end name no part of the log.", "Ask for 0 <= start < end <= the checkpoint's size.";
    Sealed = "sealed", 503, "The vault is sealed: its keys are not in its memory.", "Custodians open it with `cryptonym vault unseal`; `cryptonym vault status` says how many shares are missing.";
    NotSealed = "not-sealed", 409, "The vault is open.", "There is nothing to do; `cryptonym vault status` says how it stands.";
    InKeyFile = "key-file", 409, "The vault's root key is in a file, not in shares.", "Restart the vault to open it; `cryptonym vault init` brings the root into shares.";
    OtherVault = "other-vault", 422, "The share belongs to another vault.", "Give the share of this vault; the others that have come are kept.";
    OtherSharing = "other-sharing", 422, "The share is of an earlier sharing, or of one that was never this vault's.", "Give the share of the last resharing; the others that have come are kept.";
    OtherRound = "other-round", 409, "The round for which the share was sealed is over.", "Run the command again; it asks for the present one.";
    OtherPurpose = "other-purpose", 409, "Shares have come for something else.", "Name the same custodians and threshold as the others, or begin anew after `cryptonym vault reset`.";
    BadShare = "share-damaged", 422, "The share is damaged, or is not the one of its number.", "Take it from its custodian's own copy; the others that have come are kept.";
    BadSharing = "bad-sharing", 422, "The root cannot be shared like that.", "Between 2 and 16 custodians with different keys, and a threshold of at least 2.";
    Store = "store", 503, "The vault cannot write its store.", "Tell the operator; nothing was answered, because nothing could be logged.";
}

impl Refusal {
    pub fn problem(self) -> Problem {
        Problem {
            kind: format!("urn:cryptonym:vault:{}", self.name()),
            title: self.title().to_owned(),
            status: self.status(),
            detail: self.next().to_owned(),
            code: self.name().to_owned(),
            side: if self.status() < 500 {
                "client"
            } else {
                "vault"
            }
            .to_owned(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::Store
    }
}

impl From<crate::wire::Malformed> for Refusal {
    fn from(_: crate::wire::Malformed) -> Self {
        Self::BadMessage
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
