//! A vault in this process, its store on the disk, and batches as a gateway seals them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use cryptonym::config::Config;
use cryptonym::pseudonym::{DomainKey, KindKey};
use cryptonym::secret::Plain;
use cryptonym::tls::Role;
use cryptonym::tls::issue::{Options, init};
use cryptonym::vault::state::{Caller, Vault};
use cryptonym::vault::{leases, records};
use cryptonym::wire::batch::{self, Entry, Envelope, INFO, associated_data};
use cryptonym::wire::control::{LeaseAnswer, LeaseRequest, RecordsAnswer};
use cryptonym::wire::{sealed, text::Hex};

const CONFIG: &str = r#"
[vault]
listen = "127.0.0.1:1"
store = "sqlite:state/vault.sqlite"
root_key = "CERTS/vault-root.key"
registry = "CERTS/registry.toml"
[vault.tls]
certificate = "CERTS/vault.pem"
key = "CERTS/vault.key"
client_ca = "CERTS/vault-ca.pem"
[domain.bench]
purpose = "analytics"
budget_per_day = 1_000_000_000
"#;

const KIND: &str = "subscriber";

/// An open vault with one domain and its gateway.
pub struct Opened {
    vault: Arc<Vault>,
    caller: Caller,
    lease: LeaseAnswer,
    key: KindKey,
    number: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Opened {
    /// `certificates`: what `certs init` made; `None`: they are made here.
    pub async fn new(certificates: Option<PathBuf>) -> Self {
        // The temporary folder of the system may be in memory, where a sync costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let certificates = certificates.unwrap_or_else(|| {
            let out = folder.path().join("certs");
            init(&Options::new(&out)).expect("certificates");
            out
        });
        let file = folder.path().join("config.toml");
        let text = CONFIG.replace("CERTS", &certificates.display().to_string());
        std::fs::write(&file, text).expect("a file");
        let Ok(loaded) = Config::load(&file) else {
            panic!("the configuration is not understood");
        };
        let (vault, _) = Vault::open(&loaded.config).expect("a vault");
        let caller = Caller {
            id: "gateway-1".into(),
            role: Role::Gateway,
            signing_key: None,
            domains: None,
        };
        let ask = LeaseRequest {
            domain: "bench".into(),
            boot: Hex([1; 16]),
            predecessor: None,
        };
        let lease = leases::grant(&vault, &caller, ask).await.expect("a lease");
        let kind = vault.kinds.find(KIND).expect("a built-in kind");
        let domain = DomainKey::new(lease.domain.0, lease.epoch, lease.key.0.clone());
        Self {
            key: domain.kind(vault.kinds.get(kind)),
            vault,
            caller,
            lease,
            number: AtomicU64::new(0),
            _folder: folder,
        }
    }

    /// The sealed batch of these subscribers, in its envelope.
    pub fn batch(&self, subscribers: Range<u64>) -> Bytes {
        let sights: Vec<(String, _)> = subscribers
            .map(|n| {
                // The number of all zeros is nobody's.
                let identifier = format!("SUB-{:08}", n + 1);
                let pseudonym = self.key.derive(identifier.as_bytes());
                (identifier, pseudonym)
            })
            .collect();
        let plaintext = batch::encode_entries(sights.iter().map(|(identifier, pseudonym)| Entry {
            kind: KIND,
            pseudonym: *pseudonym,
            identifier: Plain::new(identifier.as_bytes()),
            subject: None,
        }));
        let mut envelope = Envelope {
            domain: self.lease.domain.0,
            epoch: self.lease.epoch,
            boot: [1; 16],
            number: self.number.fetch_add(1, Relaxed),
            sealed: &[],
        };
        let associated = associated_data(&self.lease.vault.0, &self.lease.gateway, &envelope);
        let sealed = sealed::seal(&self.lease.records_key.0, INFO, &associated, &plaintext)
            .expect("the vault's key");
        envelope.sealed = &sealed;
        envelope.encode().into()
    }

    /// What the vault does with `POST /v1/records`: durable on return.
    pub async fn keep(&self, batch: Bytes) -> RecordsAnswer {
        records::keep(&self.vault, &self.caller, batch)
            .await
            .expect("the batch is right")
    }
}
