//! Who holds the domain's keys and knows what is durable, as the rewriter sees it.

use std::future::Future;
use std::pin::Pin;

use crate::error::Fault;
use crate::pseudonym::{KindId, KindKey, Pseudonym};
use crate::vault_link::{FirstSight, Lease};

/// A domain's keys and its set of durable pseudonyms. [`Lease`] is the real one; tests bring
/// keepers that answer late or refuse.
pub trait Keeper: Send + Sync {
    fn kind(&self, kind: KindId) -> &KindKey;

    /// Whether this pseudonym's recovery record is known durable.
    fn is_durable(&self, pseudonym: &Pseudonym) -> bool;

    /// Whether what this keeper has called durable still is: `false` once the vault's store has
    /// become another.
    fn is_current(&self) -> bool;

    /// Appends the places, in order, of those that [`Keeper::is_durable`] is not true of.
    fn absent(&self, pseudonyms: &[Pseudonym], absent: &mut Vec<usize>) {
        let places = pseudonyms.iter().enumerate();
        absent.extend(
            places
                .filter(|(_, p)| !self.is_durable(p))
                .map(|(at, _)| at),
        );
    }

    /// Resolves once every record is durable, or with the reason why none may leave.
    fn make_durable<'a>(
        &'a self,
        sights: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;
}

impl Keeper for Lease {
    fn kind(&self, kind: KindId) -> &KindKey {
        Lease::kind(self, kind)
    }

    fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        Lease::is_durable(self, pseudonym)
    }

    fn is_current(&self) -> bool {
        Lease::is_current(self)
    }

    fn absent(&self, pseudonyms: &[Pseudonym], absent: &mut Vec<usize>) {
        Lease::absent(self, pseudonyms, absent);
    }

    fn make_durable<'a>(
        &'a self,
        sights: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>> {
        Box::pin(Lease::make_durable(self, sights))
    }
}
