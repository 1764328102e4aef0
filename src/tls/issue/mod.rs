//! The certificates and keys of a first installation (`cryptonym certs init`).
//!
//! What enters: a directory, host names, persons. What leaves: two private CAs, certificates,
//! signing keys, the vault's root key and its registry, as files. What can never happen: a
//! private file that others can read, a file replaced that nobody asked to replace, or the
//! vault's root key replaced at all (every record would be lost with it).
//!
//! Two CAs, one a door. The gateway's CA vouches for the gateway and for those who talk to it:
//! providers, laboratories, apps. The vault's CA vouches for the vault, the gateway's link to it
//! and the staff. Were they one, whoever may issue a certificate to a provider could issue
//! themselves an approver's.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::identity::{self, Role};
use crate::config::{Person, Registry, root_key, signing_key};
use crate::secret::Key32;
use authority::{Authority, Issued};
use place::Place;

mod authority;
mod place;

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    pub out: PathBuf,
    /// Names and addresses of the gateway's and the vault's certificate, beside the local ones.
    pub hosts: Vec<String>,
    /// Role and id of each person and service; empty: one of each role that this version uses.
    pub persons: Vec<(Role, String)>,
    /// Replace files that are there (but never the vault's root key).
    pub force: bool,
}

impl Options {
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            hosts: Vec::new(),
            persons: Vec::new(),
            force: false,
        }
    }
}

/// What was made, by what it is for.
#[derive(Clone, Debug)]
pub struct Made {
    pub gateway_ca: PathBuf,
    pub vault_ca: PathBuf,
    pub gateway: Pair,
    pub vault: Pair,
    /// With which the gateway reaches the vault: role `gateway`, id `gateway-1`.
    pub link: Pair,
    pub persons: Vec<MadePerson>,
    pub registry: PathBuf,
    pub root_key: PathBuf,
    /// Every file, in the order made.
    pub files: Vec<MadeFile>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug)]
pub struct MadePerson {
    pub role: Role,
    pub id: String,
    pub pair: Pair,
    /// Approvers have one.
    pub signing_key: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct MadeFile {
    pub path: PathBuf,
    pub what: String,
    /// Mode 0600.
    pub private: bool,
    /// Certificates: the end, in seconds since 1970-01-01T00:00:00Z.
    pub not_after: Option<i64>,
    /// It was there, and stays as it was.
    pub kept: bool,
}

impl Made {
    /// The first person or service of a role.
    pub fn person(&self, role: Role) -> Option<&MadePerson> {
        self.persons.iter().find(|p| p.role == role)
    }
}

/// Why nothing, or not all, was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(
        "{0} is there already; --force replaces it (a certificate's holders then need the new one)"
    )]
    Exists(PathBuf),
    #[error("{file}: {source}")]
    File {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Option(String),
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The names under which a local installation is reached.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the example configuration calls the gateway.
const EXAMPLE_HOST: &str = "ingest.example";

const PERSONS: [(Role, &str); 6] = [
    (Role::Client, "provider-1"),
    (Role::Investigator, "i.okafor"),
    (Role::Approver, "a.lindqvist"),
    (Role::Officer, "o.haddad"),
    (Role::Custodian, "c.mwangi"),
    (Role::Auditor, "u.novak"),
];

const LINK: &str = "gateway-1";

/// Makes everything a first installation needs.
///
/// # Errors
/// [`MakeError`]; files made before the error stay. Nothing is written if a file is in the way.
pub fn init(options: &Options) -> Result<Made, MakeError> {
    let persons = persons(options)?;
    check_hosts(&options.hosts)?;
    let mut place = Place::open(&options.out, options.force)?;
    place.refuse_existing(&names(&persons))?;

    let gateway_authority = Authority::new("Cryptonym gateway CA")?;
    let vault_authority = Authority::new("Cryptonym vault CA")?;
    let gateway_ca = place.authority(
        "gateway-ca",
        "CA of the gateway and its clients",
        &gateway_authority,
    )?;
    let vault_ca = place.authority(
        "vault-ca",
        "CA of the vault, its gateways and the staff",
        &vault_authority,
    )?;

    let local = LOCAL.iter().map(|n| (*n).to_owned());
    let hosts: Vec<String> = local.chain(options.hosts.iter().cloned()).collect();
    let mut public = hosts.clone();
    public.push(EXAMPLE_HOST.to_owned());
    let gateway = place.pair(
        "gateway",
        "the gateway's server certificate",
        &gateway_authority.server("gateway", public)?,
    )?;
    let vault = place.pair(
        "vault",
        "the vault's server certificate",
        &vault_authority.server("vault", hosts)?,
    )?;
    let issued = vault_authority.client(Role::Gateway, LINK)?;
    let link = place.pair("gateway-link", "the gateway's way to the vault", &issued)?;

    let mut registry = Registry::default();
    registry
        .persons
        .push(entry(Role::Gateway, LINK, &issued, None));
    let mut made = Vec::new();
    for (role, id) in persons {
        let authority = match role {
            Role::Client => &gateway_authority,
            _ => &vault_authority,
        };
        let issued = authority.client(role, &id)?;
        let pair = place.pair(
            &format!("people/{id}"),
            &format!("{} {id}", role.name()),
            &issued,
        )?;
        let key = match role {
            Role::Approver => Some(new_signing_key()?),
            _ => None,
        };
        let signing_key = match &key {
            Some(key) => Some(place.private(
                &format!("people/{id}.signing.key"),
                &format!("with which {id} signs approvals"),
                &signing_key::to_pem(key),
            )?),
            None => None,
        };
        if role != Role::Client {
            registry
                .persons
                .push(entry(role, &id, &issued, key.as_ref()));
        }
        made.push(MadePerson {
            role,
            id,
            pair,
            signing_key,
        });
    }
    let registry = place.public(
        "registry.toml",
        "who may do what at the vault",
        &registry.to_toml(),
    )?;
    let root_key = place.keep_or("vault-root.key", "the vault's root key", || {
        Ok(root_key::to_text(&Key32::new(random()?)))
    })?;
    Ok(Made {
        gateway_ca,
        vault_ca,
        gateway,
        vault,
        link,
        persons: made,
        registry,
        root_key,
        files: place.into_files(),
    })
}

fn persons(options: &Options) -> Result<Vec<(Role, String)>, MakeError> {
    let persons = match &*options.persons {
        [] => PERSONS
            .iter()
            .map(|(r, id)| (*r, (*id).to_owned()))
            .collect(),
        given => given.to_vec(),
    };
    for (i, (_, id)) in persons.iter().enumerate() {
        if !identity::valid_id(id) {
            return Err(MakeError::Option(format!(
                "`{id}` is no id: 1 to 64 of a-z 0-9 . _ @ -, a letter or digit first"
            )));
        }
        if id == LINK || persons[..i].iter().any(|(_, other)| other == id) {
            return Err(MakeError::Option(format!(
                "`{id}` is named twice: one person has one role, so that nobody approves their own request"
            )));
        }
    }
    Ok(persons)
}

fn check_hosts(hosts: &[String]) -> Result<(), MakeError> {
    for host in hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let good = host.parse::<std::net::IpAddr>().is_ok()
            || (!name.is_empty()
                && name.len() <= 253
                && name.split('.').all(|l| !l.is_empty() && l.len() <= 63)
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
        if !good {
            return Err(MakeError::Option(format!(
                "`{host}` is neither a host name nor an address"
            )));
        }
    }
    Ok(())
}

/// Every file that [`init`] would write, but the root key.
fn names(persons: &[(Role, String)]) -> Vec<String> {
    let mut names = vec!["registry.toml".to_owned()];
    let mut pair = |stem: &str| names.extend([format!("{stem}.pem"), format!("{stem}.key")]);
    for stem in ["gateway-ca", "vault-ca", "gateway", "vault", "gateway-link"] {
        pair(stem);
    }
    for (_, id) in persons {
        pair(&format!("people/{id}"));
    }
    let signing = persons.iter().filter(|(r, _)| *r == Role::Approver);
    names.extend(signing.map(|(_, id)| format!("people/{id}.signing.key")));
    names
}

fn entry(role: Role, id: &str, issued: &Issued, key: Option<&SigningKey>) -> Person {
    Person {
        id: id.to_owned(),
        role,
        fingerprints: vec![Sha256::digest(&issued.der).into()],
        signing_key: key.map(SigningKey::verifying_key),
        domains: None,
    }
}

fn new_signing_key() -> Result<SigningKey, MakeError> {
    let mut seed = random()?;
    let key = SigningKey::from_bytes(&seed);
    seed.zeroize();
    Ok(key)
}

fn random() -> Result<[u8; 32], MakeError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(MakeError::Random)?;
    Ok(bytes)
}

fn file_error(file: &Path, source: std::io::Error) -> MakeError {
    MakeError::File {
        file: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use crate::config::{ClientCertificate, ServerTls};
    use crate::tls::testing::handshake;
    use crate::tls::{Facts, Peer, Versions, client_config, files, server_config};

    fn tls(pair: &Pair, ca: &Path) -> ServerTls {
        ServerTls {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            client_ca: Some(ca.to_owned()),
            client_crl: None,
            client_certificate: ClientCertificate::Required,
            resumption: false,
        }
    }

    #[test]
    fn path_02_everything_fits_together() {
        let dir = tempfile::tempdir().unwrap();
        let made = init(&Options::new(dir.path().join("out"))).unwrap();
        let registry = Registry::load(&made.registry).unwrap();
        root_key::load(&made.root_key).unwrap();

        let vault = server_config(&tls(&made.vault, &made.vault_ca), Versions::Tls13, &[]).unwrap();
        for person in &made.persons {
            let identity = Some((&*person.pair.certificate, &*person.pair.key));
            let client = client_config(Some(&made.vault_ca), identity, true, &[]).unwrap();
            let met = handshake(vault.clone(), client);
            // Clients of the gateway are strangers at the vault.
            assert_eq!(met.is_ok(), person.role != Role::Client, "{person:?}");
            let der = files::certificates(&person.pair.certificate).unwrap();
            let peer = Peer::from_certificate(&der[0]).unwrap();
            assert_eq!((peer.role, &peer.id), (person.role, &person.id));
            let known = registry.find(&peer);
            assert_eq!(known.is_some(), person.role != Role::Client);
            if let Some(path) = &person.signing_key {
                let key = signing_key::load(path).unwrap();
                assert_eq!(known.unwrap().signing_key, Some(key.verifying_key()));
            }
        }
        let approver = made.person(Role::Approver).unwrap();
        assert!(approver.signing_key.is_some());
        assert_ne!(made.person(Role::Investigator).unwrap().id, approver.id);

        let gateway = server_config(
            &tls(&made.gateway, &made.gateway_ca),
            Versions::Tls12And13,
            &[],
        )
        .unwrap();
        let provider = &made.person(Role::Client).unwrap().pair;
        let client = client_config(
            Some(&made.gateway_ca),
            Some((&provider.certificate, &provider.key)),
            false,
            &[],
        )
        .unwrap();
        assert!(handshake(gateway, client).is_ok());
    }

    #[test]
    fn path_02_private_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("certs/out");
        let made = init(&Options::new(&out)).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&out), 0o700);
        assert_eq!(mode(&out.join("people")), 0o700);
        let mut private = 0;
        for file in &made.files {
            let key = file.path.extension().is_some_and(|e| e == "key");
            assert_eq!(key, file.private, "{}", file.path.display());
            assert_eq!(
                mode(&file.path),
                if key { 0o600 } else { 0o644 },
                "{}",
                file.path.display()
            );
            private += usize::from(key);
        }
        assert_eq!(private, 13);
    }

    #[test]
    fn path_02_nothing_is_replaced_unasked_and_the_root_key_never() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        let made = init(&options).unwrap();
        let read = |p: &Path| std::fs::read(p).unwrap();
        let (certificate, root) = (read(&made.vault.certificate), read(&made.root_key));
        assert!(matches!(init(&options), Err(MakeError::Exists(_))));
        assert_eq!(read(&made.vault.certificate), certificate);
        options.force = true;
        let again = init(&options).unwrap();
        assert_ne!(read(&made.vault.certificate), certificate);
        assert_eq!(read(&made.root_key), root);
        assert!(
            again
                .files
                .iter()
                .any(|f| f.kept && f.path == made.root_key)
        );
    }

    #[test]
    fn path_02_hosts_and_persons_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.hosts = vec!["gw.hospital.example".to_owned(), "192.0.2.7".to_owned()];
        options.persons = vec![
            (Role::Approver, "dr.b".to_owned()),
            (Role::Approver, "dr.c".to_owned()),
        ];
        let made = init(&options).unwrap();
        let der = files::certificates(&made.gateway.certificate).unwrap();
        let facts = Facts::of(&der[0]).unwrap();
        for name in [
            "DNS:localhost",
            "IP:127.0.0.1",
            "IP:::1",
            "DNS:ingest.example",
            "DNS:gw.hospital.example",
            "IP:192.0.2.7",
        ] {
            assert!(
                facts.names.iter().any(|n| n == name),
                "{name} in {:?}",
                facts.names
            );
        }
        assert_eq!(made.persons.len(), 2);
        for (persons, hosts) in [
            (
                vec![
                    (Role::Approver, "x".to_owned()),
                    (Role::Investigator, "x".to_owned()),
                ],
                vec![],
            ),
            (vec![(Role::Approver, "X Y".to_owned())], vec![]),
            (vec![(Role::Approver, "../x".to_owned())], vec![]),
            (vec![], vec!["a b".to_owned()]),
        ] {
            let mut bad = Options::new(dir.path().join("other"));
            (bad.persons, bad.hosts) = (persons, hosts);
            assert!(matches!(init(&bad), Err(MakeError::Option(_))));
            assert!(!bad.out.exists());
        }
    }
}
