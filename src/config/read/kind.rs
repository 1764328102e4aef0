//! `[kind.NAME]`: kinds of identifiers, built in and one's own.

use super::super::raw::{Findings, Table, Text};
use super::{plain_name, word};
use crate::pseudonym::{Class, Kind, Kinds, Normaliser};

/// Kinds that every configuration has; `[kind.NAME]` of the same name changes them.
const BUILT_IN: [(&str, Class, &str, Normaliser); 11] = [
    ("subscriber", Class::Person, "sub", Normaliser::Subscriber),
    ("email", Class::Person, "eml", Normaliser::Email),
    ("nhs-number", Class::Person, "nhs", Normaliser::NhsNumber),
    ("phone", Class::Person, "tel", Normaliser::Phone),
    ("kit", Class::Object, "kit", Normaliser::Kit),
    ("provider", Class::Person, "prv", Normaliser::Provider),
    ("name", Class::Person, "nam", Normaliser::Name),
    ("card", Class::Object, "crd", Normaliser::Card),
    ("iban", Class::Object, "iba", Normaliser::Iban),
    ("postcode", Class::Object, "pcd", Normaliser::Postcode),
    ("ip", Class::Object, "ipa", Normaliser::Ip),
];

const NORMALISERS: [(&str, Normaliser); 12] = [
    ("subscriber", Normaliser::Subscriber),
    ("email", Normaliser::Email),
    ("nhs-number", Normaliser::NhsNumber),
    ("phone", Normaliser::Phone),
    ("kit", Normaliser::Kit),
    ("provider", Normaliser::Provider),
    ("name", Normaliser::Name),
    ("card", Normaliser::Card),
    ("iban", Normaliser::Iban),
    ("postcode", Normaliser::Postcode),
    ("ip", Normaliser::Ip),
    ("text", Normaliser::Text),
];

const CLASSES: [(&str, Class); 3] = [
    ("person", Class::Person),
    ("object", Class::Object),
    ("vocabulary", Class::Vocabulary),
];

/// All kinds, and the names of those that could not be read.
pub(super) struct ReadKinds<'a> {
    pub kinds: Kinds,
    pub broken: Vec<&'a str>,
}

/// Built-in kinds, changed and extended by the files.
pub(super) fn all<'a>(root: &Table<'a>, parts: &[Table<'a>]) -> ReadKinds<'a> {
    let findings = root.findings();
    let mut kinds: Vec<Kind> = BUILT_IN
        .iter()
        .map(|(name, class, prefix, normaliser)| Kind {
            name: (*name).into(),
            class: *class,
            prefix: (*prefix).into(),
            normaliser: *normaliser,
        })
        .collect();
    let mut broken = Vec::new();
    let mut seen: Vec<Text<'a>> = Vec::new();
    let tables: Vec<_> = std::iter::once(root)
        .chain(parts)
        .flat_map(|t| t.named("kind"))
        .collect();
    for (name, table) in tables {
        if let Some(first) = seen.iter().find(|s| s.value == name.value) {
            let place = &first.place;
            let hint = format!(
                "the first stands in {}, line {}",
                place.source.name,
                place.line()
            );
            findings.error(
                &name.place,
                format!("kind `{}` stands twice", name.value),
                hint,
            );
            continue;
        }
        let at = kinds.iter().position(|k| &*k.name == name.value);
        let place = if table.has("prefix") {
            table.place_of("prefix")
        } else {
            name.place.clone()
        };
        match read(&name, table, at.map(|i| kinds[i].clone())) {
            Some(kind) => {
                if let Some(other) = kinds
                    .iter()
                    .find(|k| k.prefix == kind.prefix && k.name != kind.name)
                {
                    let message =
                        format!("prefix `{}` is that of kind `{}`", kind.prefix, other.name);
                    findings.error(&place, message, "each kind has a prefix of its own");
                }
                match at {
                    Some(i) => kinds[i] = kind,
                    None => kinds.push(kind),
                }
            }
            None => broken.push(name.value),
        }
        seen.push(name);
    }
    ReadKinds {
        kinds: Kinds::new(kinds),
        broken,
    }
}

fn read(name: &Text<'_>, table: Table<'_>, built_in: Option<Kind>) -> Option<Kind> {
    let findings = table.findings();
    let good = plain_name(name, "kind", findings);
    let own = built_in.is_none();
    let mut class = table.text("class");
    let mut prefix = table.text("prefix");
    if own {
        class = table.require(
            "class",
            class,
            "class = \"person\", \"object\" or \"vocabulary\"",
        );
        prefix = table.require("prefix", prefix, "prefix = \"abc\"");
    }
    let class = match &class {
        Some(text) => word(text, "class", &CLASSES, findings),
        None => built_in.as_ref().map(|k| k.class),
    };
    let prefix = match &prefix {
        Some(text) => checked_prefix(text, findings),
        None => built_in.as_ref().map(|k| &*k.prefix),
    };
    let normaliser = match table.text("normaliser") {
        Some(text) => word(&text, "normaliser", &NORMALISERS, findings),
        None if table.has("normaliser") => None,
        None if class == Some(Class::Vocabulary) && own => Some(Normaliser::Text),
        None if own => {
            findings.error(
                &table.place,
                format!("kind `{}` has no `normaliser`", name.value),
                "write normaliser = \"text\", or that of a built-in kind",
            );
            None
        }
        None => built_in.as_ref().map(|k| k.normaliser),
    };
    table.finish();
    Some(Kind {
        name: name.value.into(),
        class: class?,
        prefix: prefix?.into(),
        normaliser: normaliser?,
    })
    .filter(|_| good)
}

fn checked_prefix<'a>(text: &Text<'a>, findings: &Findings) -> Option<&'a str> {
    let good =
        (2..=8).contains(&text.value.len()) && text.value.bytes().all(|b| b.is_ascii_lowercase());
    if !good {
        findings.error(
            &text.place,
            "this is no prefix",
            "2 to 8 letters a to z, as in \"sub\"",
        );
    }
    good.then_some(text.value)
}
