//! Kinds of identifiers.

use super::Normaliser;

/// Index of a kind in [`Kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(pub u16);

/// What an identifier of a kind points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Person,
    Object,
    /// A value out of a small list, such as an ethnicity: it identifies nobody alone.
    Vocabulary,
}

/// One kind of identifier, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// `[a-z0-9-]`, part of the derivation: renaming a kind changes its pseudonyms.
    pub name: Box<str>,
    pub class: Class,
    /// What its pseudonyms start with, `[a-z]{2,8}`, distinct for each kind.
    pub prefix: Box<str>,
    pub normaliser: Normaliser,
}

/// All kinds of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kinds(Vec<Kind>);

impl Kinds {
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self(kinds)
    }

    pub fn get(&self, id: KindId) -> &Kind {
        &self.0[usize::from(id.0)]
    }

    pub fn find(&self, name: &str) -> Option<KindId> {
        let at = self.0.iter().position(|k| &*k.name == name)?;
        u16::try_from(at).ok().map(KindId)
    }

    pub fn iter(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        (0u16..).map(KindId).zip(self.0.iter())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
