//! The vault's list of persons and services.
//!
//! What enters: `registry.toml`. What leaves: for a verified certificate, the one person it
//! belongs to. What can never happen: one person under two roles, one certificate or one signing
//! key for two persons (an approver could then approve their own request), or an approver who
//! cannot sign.
//!
//! ```toml
//! [[person]]
//! id = "i.okafor"
//! role = "investigator"
//! certificate = "sha256:…"          # or a list of two, while one is being renewed
//!
//! [[person]]
//! id = "a.lindqvist"
//! role = "approver"
//! certificate = "sha256:…"
//! signing_key = "ed25519:…"         # base64 of the 32 bytes of RFC 8032
//!
//! [[person]]
//! id = "gateway-1"
//! role = "gateway"
//! certificate = "sha256:…"
//! domains = ["improvement"]         # the only ones it may use; without: all
//! ```

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;

use super::diagnostic::{Diagnostic, name_hint};
use super::load::read_source;
use super::raw::{self, Findings, Source, Table, Text};
use crate::tls::identity::{Peer, Role, valid_id};

/// Who may do something at the vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    pub persons: Vec<Person>,
}

/// A person or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: String,
    pub role: Role,
    /// SHA-256 of the certificates (DER) that are theirs; at least one.
    pub fingerprints: Vec<[u8; 32]>,
    /// With which they sign approvals; always there for approvers.
    pub signing_key: Option<VerifyingKey>,
    /// The domains that a gateway may use; `None`: all.
    pub domains: Option<Vec<String>>,
}

impl Registry {
    /// # Errors
    /// Everything that is wrong in the file.
    pub fn load(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        Self::read(&read_source(path).map_err(|e| vec![*e])?)
    }

    /// As [`Registry::load`], from text.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::read(&Source {
            name: file.to_owned(),
            text: text.to_owned(),
            base: Path::new("").to_owned(),
        })
    }

    /// The person whose role, id and certificate all agree with the peer's.
    pub fn find(&self, peer: &Peer) -> Option<&Person> {
        self.persons.iter().find(|p| {
            p.role == peer.role && p.id == peer.id && p.fingerprints.contains(&peer.fingerprint)
        })
    }

    /// A person by id. For showing names; authority comes from [`Registry::find`] alone.
    pub fn by_id(&self, id: &str) -> Option<&Person> {
        self.persons.iter().find(|p| p.id == id)
    }

    /// The file that [`Registry::load`] reads.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Who may do what at the vault. Each certificate and each signing key is one person's alone.\n",
        );
        for person in &self.persons {
            let prints: Vec<_> = person
                .fingerprints
                .iter()
                .map(|f| format!("\"{}\"", fingerprint_text(f)))
                .collect();
            let prints = match &*prints {
                [one] => one.clone(),
                more => format!("[{}]", more.join(", ")),
            };
            let _ = write!(
                out,
                "\n[[person]]\nid = \"{}\"\nrole = \"{}\"\ncertificate = {prints}\n",
                person.id,
                person.role.name()
            );
            if let Some(key) = &person.signing_key {
                let _ = writeln!(
                    out,
                    "signing_key = \"ed25519:{}\"",
                    STANDARD.encode(key.as_bytes())
                );
            }
            if let Some(domains) = &person.domains {
                let names: Vec<_> = domains.iter().map(|d| format!("\"{d}\"")).collect();
                let _ = writeln!(out, "domains = [{}]", names.join(", "));
            }
        }
        out
    }

    fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        let findings = Findings::default();
        let mut registry = Self::default();
        if let Some(map) = raw::parse(source, &findings) {
            let root = Table::root(&map, source, &findings);
            for table in root.tables("person", "[[person]]") {
                let place = table.place.clone();
                if let Some(person) = read_person(table) {
                    if let Some(clash) = registry.clash(&person) {
                        let hint = "one person has one entry, one role, and certificates and keys of their own";
                        findings.error(&place, clash, hint);
                    }
                    registry.persons.push(person);
                }
            }
            root.finish();
        }
        let found = findings.into_inner();
        if found.is_empty() {
            Ok(registry)
        } else {
            Err(found)
        }
    }

    fn clash(&self, new: &Person) -> Option<String> {
        self.persons.iter().find_map(|old| {
            if old.id == new.id {
                Some(format!("`{}` stands here twice", new.id))
            } else if old
                .fingerprints
                .iter()
                .any(|f| new.fingerprints.contains(f))
            {
                Some(format!("`{}` has the certificate of `{}`", new.id, old.id))
            } else if old.signing_key.is_some() && old.signing_key == new.signing_key {
                Some(format!("`{}` has the signing key of `{}`", new.id, old.id))
            } else {
                None
            }
        })
    }
}

/// `sha256:` and 64 hexadecimal digits.
pub fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    let mut out = String::from("sha256:");
    for byte in fingerprint {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn read_person(table: Table<'_>) -> Option<Person> {
    let findings = table.findings();
    let id = table.require("id", table.text("id"), "id = \"i.okafor\"");
    let role = table.require("role", table.text("role"), "role = \"investigator\"");
    let certificate = table.get("certificate");
    let certificate = table.require("certificate", certificate, "certificate = \"sha256:…\"");
    let key = table.text("signing_key");
    let domains = table.has("domains").then(|| table.texts("domains"));

    let id = id.filter(|id| {
        let good = valid_id(id.value);
        if !good {
            findings.error(
                &id.place,
                "this is no id",
                "1 to 64 of a-z 0-9 . _ @ -, a letter or digit first, as in the certificate",
            );
        }
        good
    });
    let role = role.and_then(|role| {
        let parsed = Role::parse(role.value);
        if parsed.is_none() {
            let hint = name_hint(role.value, Role::ALL.iter().map(|r| r.name()));
            findings.error(&role.place, "this is no role", hint);
        }
        parsed
    });
    let texts = certificate
        .map(raw::Node::text_or_texts)
        .unwrap_or_default();
    let fingerprints: Vec<_> = texts
        .iter()
        .filter_map(|text| {
            let parsed = parse_fingerprint(text.value);
            if parsed.is_none() {
                findings.error(
                    &text.place,
                    "this is no certificate fingerprint",
                    "\"sha256:\" and 64 hexadecimal digits; `cryptonym certs show FILE` prints it",
                );
            }
            parsed
        })
        .collect();
    let signing_key = key.as_ref().and_then(|key| read_key(key, findings));
    if role == Some(Role::Approver) && key.is_none() {
        findings.error(
            &table.place,
            "an approver has no `signing_key`",
            "an approval is a signature; write signing_key = \"ed25519:…\"",
        );
    }
    if let Some(names) = &domains {
        let place = table.place_of("domains");
        if names.is_empty() {
            let hint = "name one at least, or leave `domains` out: then it may use all";
            findings.error(&place, "a gateway without any domain", hint);
        }
        if role.is_some_and(|role| role != Role::Gateway) {
            let hint = "only gateways have `domains`; remove it";
            findings.error(&place, "this person is no gateway", hint);
        }
        for name in names.iter().filter(|n| !plain_name(n.value)) {
            let hint = "a name as in `[domain.NAME]` of config.toml";
            findings.error(&name.place, "this is no name of a domain", hint);
        }
    }
    table.finish();
    if fingerprints.is_empty() {
        return None;
    }
    Some(Person {
        id: id?.value.to_owned(),
        role: role?,
        fingerprints,
        signing_key,
        domains: domains.map(|names| names.iter().map(|n| n.value.to_owned()).collect()),
    })
}

/// Whether a name can stand in the file, and in a log, as it is.
fn plain_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !name.is_empty() && name.bytes().all(good)
}

fn read_key(text: &Text<'_>, findings: &Findings) -> Option<VerifyingKey> {
    let parsed = text
        .value
        .strip_prefix("ed25519:")
        .and_then(|b| STANDARD.decode(b).ok())
        .and_then(|b| <[u8; 32]>::try_from(b).ok())
        .and_then(|b| VerifyingKey::from_bytes(&b).ok())
        .filter(|k| !k.is_weak());
    if parsed.is_none() {
        findings.error(
            &text.place,
            "this is no signing key",
            "\"ed25519:\" and the base64 of a 32-byte public key (RFC 8032)",
        );
    }
    parsed
}

fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    // from_str_radix takes a sign.
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> VerifyingKey {
        ed25519_dalek::SigningKey::from_bytes(&[byte; 32]).verifying_key()
    }

    fn two() -> Registry {
        Registry {
            persons: vec![
                Person {
                    id: "i.okafor".to_owned(),
                    role: Role::Investigator,
                    fingerprints: vec![[1; 32]],
                    signing_key: None,
                    domains: None,
                },
                Person {
                    id: "a.lindqvist".to_owned(),
                    role: Role::Approver,
                    fingerprints: vec![[2; 32], [3; 32]],
                    signing_key: Some(key(9)),
                    domains: None,
                },
                Person {
                    id: "gateway-1".to_owned(),
                    role: Role::Gateway,
                    fingerprints: vec![[4; 32]],
                    signing_key: None,
                    domains: Some(vec!["improvement".to_owned(), "research".to_owned()]),
                },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let read = Registry::parse(&two().to_toml(), "r.toml").unwrap();
        assert_eq!(read, two());
    }

    #[test]
    fn role_id_and_certificate_must_all_agree() {
        let registry = two();
        let peer = |role, id: &str, byte| Peer {
            role,
            id: id.to_owned(),
            fingerprint: [byte; 32],
        };
        let found = registry
            .find(&peer(Role::Approver, "a.lindqvist", 3))
            .unwrap();
        assert_eq!(found.id, "a.lindqvist");
        assert!(
            registry
                .find(&peer(Role::Approver, "a.lindqvist", 1))
                .is_none()
        );
        assert!(
            registry
                .find(&peer(Role::Officer, "a.lindqvist", 2))
                .is_none()
        );
        assert!(
            registry
                .find(&peer(Role::Approver, "i.okafor", 2))
                .is_none()
        );
    }

    #[test]
    fn shared_identities_are_refused() {
        let base = two().to_toml();
        let print = |b| fingerprint_text(&[b; 32]);
        let signing = STANDARD.encode(key(9).as_bytes());
        for (id, print, extra, why) in [
            ("i.okafor", print(7), String::new(), "stands here twice"),
            (
                "other",
                print(3),
                String::new(),
                "has the certificate of `a.lindqvist`",
            ),
            (
                "other",
                print(7),
                format!("signing_key = \"ed25519:{signing}\""),
                "has the signing key of `a.lindqvist`",
            ),
        ] {
            let text = format!(
                "{base}\n[[person]]\nid = \"{id}\"\nrole = \"officer\"\ncertificate = \"{print}\"\n{extra}\n"
            );
            let errors = Registry::parse(&text, "r.toml").unwrap_err();
            assert!(errors.iter().any(|e| e.message.contains(why)), "{errors:?}");
        }
    }

    #[test]
    fn domains_are_a_gateway_s_and_never_an_empty_list() {
        let print = fingerprint_text(&[7; 32]);
        for (role, domains, why) in [
            ("gateway", "[]", "without any domain"),
            ("officer", "[\"improvement\"]", "no gateway"),
            ("gateway", "[\"a b\"]", "no name of a domain"),
        ] {
            let text = format!(
                "[[person]]\nid = \"x\"\nrole = \"{role}\"\ncertificate = \"{print}\"\ndomains = {domains}\n"
            );
            let errors = Registry::parse(&text, "r.toml").unwrap_err();
            assert!(errors.iter().any(|e| e.message.contains(why)), "{errors:?}");
        }
    }

    #[test]
    fn every_error_is_told_with_its_place() {
        let text = "[[person]]\nid = \"I\"\nrole = \"aprover\"\ncertificate = \"sha256:+f\"\nkey = 1\n[[person]]\nid = \"a\"\nrole = \"approver\"\ncertificate = \"sha256:0\"\nsigning_key = \"ed25519:AA==\"\n";
        let errors = Registry::parse(text, "r.toml").unwrap_err();
        let at: Vec<_> = errors.iter().map(|e| (e.line, e.column)).collect();
        assert_eq!(at, [(2, 6), (3, 8), (4, 15), (5, 1), (9, 15), (10, 15)]);
        assert_eq!(errors[1].hint.as_deref(), Some("did you mean `approver`?"));
    }
}
