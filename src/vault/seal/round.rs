//! A round of giving: shares that have come, until they are enough or forgotten.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::sharing::{Sharing, combine, plausible};
use crate::limits;
use crate::secret::Key32;
use crate::vault::log::Event;
use crate::vault::refusal::Refusal;
use crate::wire::sealed::KeyPair;
use crate::wire::share::{GivenShare, Purpose, SharesStatus};
use crate::wire::text::Hex;

/// What has come, and for what.
pub struct Round {
    vault: [u8; 16],
    pub sharing: Sharing,
    /// Made for this round alone.
    key: KeyPair,
    given: Zeroizing<Vec<Vec<u8>>>,
    givers: Vec<String>,
    purpose: Option<Purpose>,
    /// When its first share came.
    since: Option<Instant>,
    time: Duration,
    /// Another number for every round, for the timer that ends it.
    pub number: u64,
    /// What could not be logged, because the log's key is under the root.
    pub unlogged: Vec<Event>,
}

/// Enough shares.
pub struct Complete {
    pub root: Key32,
    pub purpose: Purpose,
    pub givers: Vec<String>,
}

impl Round {
    pub fn new(vault: [u8; 16], sharing: Sharing, time: Duration) -> Self {
        Self {
            vault,
            sharing,
            key: KeyPair::generate(),
            given: Zeroizing::default(),
            givers: Vec::new(),
            purpose: None,
            since: None,
            time,
            number: 0,
            unlogged: Vec::new(),
        }
    }

    /// Forgets what has come.
    pub fn forget(&mut self) {
        // The old ones wipe themselves.
        self.key = KeyPair::generate();
        self.given = Zeroizing::default();
        self.givers.clear();
        self.purpose = None;
        self.since = None;
        self.number += 1;
    }

    /// How long shares are kept.
    pub fn time(&self) -> Duration {
        self.time
    }

    pub fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Takes one share; with the last one of a round the root, and the round is forgotten.
    ///
    /// # Errors
    /// It is not a share of this round. The others stay.
    pub fn take(&mut self, who: &str, share: &GivenShare) -> Result<Option<Complete>, Refusal> {
        if self.since.is_some_and(|since| since.elapsed() >= self.time) {
            self.forget();
        }
        if share.vault.0 != self.vault {
            return Err(Refusal::OtherVault);
        }
        if share.sharing != self.sharing.id {
            return Err(Refusal::OtherSharing);
        }
        if share.round.0 != self.key.public() {
            return Err(Refusal::OtherRound);
        }
        if self.purpose.as_ref().is_some_and(|p| *p != share.purpose) {
            return Err(Refusal::OtherPurpose);
        }
        if let Purpose::Reshare(new) = &share.purpose {
            plausible(new.threshold, &new.custodians).map_err(|_| Refusal::BadSharing)?;
        }
        let opened = share.open(&self.key).map_err(|_| Refusal::BadShare)?;
        if !self.sharing.knows(&self.vault, &opened) {
            return Err(Refusal::BadShare);
        }
        if !self.given.iter().any(|known| known[0] == share.number) {
            // Copied into its own place; `opened` wipes itself.
            self.given.push(opened.to_vec());
            self.givers.push(who.to_owned());
        }
        self.since.get_or_insert_with(Instant::now);
        self.purpose.get_or_insert_with(|| share.purpose.clone());
        if self.given.len() < usize::from(self.sharing.threshold) {
            return Ok(None);
        }
        let root = combine(&self.given);
        let givers = std::mem::take(&mut self.givers);
        self.forget();
        Ok(Some(Complete {
            root: root.map_err(|_| Refusal::BadShare)?,
            purpose: share.purpose.clone(),
            givers,
        }))
    }

    pub fn status(&self) -> SharesStatus {
        let left = self
            .since
            .map(|since| self.time.saturating_sub(since.elapsed()));
        SharesStatus {
            sharing: self.sharing.id,
            threshold: self.sharing.threshold,
            shares: self.sharing.count(),
            given: self.given.iter().map(|share| share[0]).collect(),
            purpose: self.purpose.clone(),
            forgotten_in: left.map(|left| left.as_secs()),
            round: Hex(self.key.public()),
        }
    }

    /// Keeps an event for when there is a log again.
    pub fn note(&mut self, fill: impl FnOnce(OffsetDateTime) -> Event) {
        if self.unlogged.len() == limits::SEALED_EVENTS {
            self.unlogged.remove(0);
        }
        self.unlogged.push(fill(OffsetDateTime::now_utc()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::keys::random_key;
    use crate::wire::share::Reshare;

    const VAULT: [u8; 16] = [9; 16];

    struct Rite {
        keys: Vec<KeyPair>,
        root: Key32,
        round: Round,
    }

    fn rite(time: Duration) -> Rite {
        let keys: Vec<_> = (0..3).map(|_| KeyPair::generate()).collect();
        let public: Vec<_> = keys.iter().map(|k| Hex(k.public())).collect();
        let root = random_key();
        let sharing = Sharing::make(&root, VAULT, 2, &public).unwrap();
        Rite {
            keys,
            root,
            round: Round::new(VAULT, sharing, time),
        }
    }

    impl Rite {
        fn given(&self, at: usize, purpose: Purpose) -> GivenShare {
            let kept = &self.round.sharing.shares[at];
            let share = kept.open(&self.keys[at]).unwrap();
            GivenShare::seal(kept, &share, purpose, self.round.status().round).unwrap()
        }
    }

    #[test]
    fn a_wrong_share_does_not_spoil_the_others() {
        let mut rite = rite(Duration::from_secs(60));
        let (one, three) = (
            rite.given(0, Purpose::Unseal),
            rite.given(2, Purpose::Unseal),
        );
        assert!(rite.round.take("a", &one).unwrap().is_none());
        // The same once more is one all the same.
        assert!(rite.round.take("a", &one).unwrap().is_none());
        assert_eq!(rite.round.status().given, [1]);
        type Bend = fn(&mut GivenShare);
        let bends: [(Bend, Refusal); 5] = [
            (|s| s.vault.0[0] ^= 1, Refusal::OtherVault),
            (|s| s.sharing.0[0] ^= 1, Refusal::OtherSharing),
            (|s| s.round.0[0] ^= 1, Refusal::OtherRound),
            (|s| s.number = 2, Refusal::BadShare),
            (|s| s.sealed.0[50] ^= 1, Refusal::BadShare),
        ];
        for (bend, refusal) in bends {
            let mut bent = rite.given(2, Purpose::Unseal);
            bend(&mut bent);
            assert_eq!(rite.round.take("b", &bent).err(), Some(refusal));
        }
        let purpose = Purpose::Reshare(Reshare {
            threshold: 2,
            custodians: rite.keys.iter().map(|k| Hex(k.public())).collect(),
        });
        let other = rite.given(1, purpose);
        let refused = rite.round.take("b", &other).err();
        assert_eq!(refused, Some(Refusal::OtherPurpose));
        let complete = rite.round.take("c", &three).unwrap().unwrap();
        assert_eq!(complete.root.expose(), rite.root.expose());
        assert_eq!(complete.givers, ["a", "c"]);
        // The round is over: what was sealed for it opens nothing any more.
        assert_eq!(rite.round.take("a", &one).err(), Some(Refusal::OtherRound));
        assert!(rite.round.status().given.is_empty());
    }

    #[test]
    fn what_has_come_is_forgotten_in_time() {
        let mut rite = rite(Duration::ZERO);
        let one = rite.given(0, Purpose::Unseal);
        let two = rite.given(1, Purpose::Unseal);
        assert!(rite.round.take("a", &one).unwrap().is_none());
        assert_eq!(rite.round.take("b", &two).err(), Some(Refusal::OtherRound));
        assert!(!rite.round.has_begun());
    }
}
