//! Normal forms, total per kind: a normal form or a refusal, never a repair.

/// The normalisers of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normaliser {
    Subscriber,
    Email,
    NhsNumber,
    Phone,
    Kit,
    Provider,
    Name,
    /// Any text: Unicode as it comes, only outer white space is refused. For vocabularies.
    Text,
}

/// Why a value has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNormal {
    /// It is not of this kind's form.
    Form,
    /// It stands for 'no value' (`N/A`, `0000000000`): never a subject.
    Sentinel,
    /// It already looks like a pseudonym.
    Pseudonym,
}

impl Normaliser {
    /// The version that belongs to an epoch: a later one needs a new epoch.
    pub const VERSION: u16 = 1;

    /// Writes the normal form of `value` to `out` (cleared first).
    pub fn normalise(self, _value: &[u8], _out: &mut Vec<u8>) -> Result<(), NotNormal> {
        todo!()
    }
}
