//! Sealing: the vault's root key in shares of custodians, over real sockets, with the real commands.

#[path = "support/vault.rs"]
mod support;

#[path = "support/memory.rs"]
mod memory;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use cryptonym::config::{custodian_key, root_key};
use cryptonym::secret::Key32;
use cryptonym::tls::identity::Role;
use cryptonym::vault::keys::derive;
use cryptonym::vault::keys::epoch::{EpochKeys, Place};
use cryptonym::vault::keys::root::{RootKeys, Use};
use cryptonym::vault::seal::sharing::combine;
use cryptonym::vault_link::client::CallError;
use cryptonym::wire::control::LeaseRequest;
use cryptonym::wire::path;
use cryptonym::wire::sealed::KeyPair;
use cryptonym::wire::share::{SealedShare, ShareList, VaultStatus};
use cryptonym::wire::text::Hex;
use serde_json::Value;
use support::{House, Ran, VaultProcess, code_of, sights};
use zeroize::Zeroizing;

const IMPROVEMENT: usize = 0;
const RESEARCH: usize = 1;

const CUSTODIANS: [&str; 5] = ["c.one", "c.two", "c.three", "c.four", "c.five"];

/// A house whose root is in five shares, of which three open it.
struct Sealed {
    house: House,
    observe: u16,
}

impl Sealed {
    fn new() -> Self {
        Self::with("")
    }

    fn with(lines: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let observe = port.local_addr().unwrap().port();
        drop(port);
        let people: Vec<_> = CUSTODIANS.iter().map(|c| (Role::Custodian, *c)).collect();
        let lines = format!("root = \"shares\"\nobserve = \"127.0.0.1:{observe}\"\n{lines}");
        let sealed = Self {
            house: House::with(&lines, &people),
            observe,
        };
        for who in CUSTODIANS {
            sealed.done(&["vault", "custodian-key", &sealed.key(who)]);
        }
        sealed
    }

    /// With its shares made.
    fn initialised() -> Self {
        let sealed = Self::new();
        sealed.init();
        sealed
    }

    fn init(&self) {
        let out = self.house.path("shares");
        let keys = CUSTODIANS.map(|c| format!("{}.pub", self.key(c)));
        let mut arguments = vec!["vault", "init", "--shares", "5", "--threshold", "3"];
        for key in &keys {
            arguments.extend(["--custodian", key]);
        }
        arguments.extend(["--out", &out]);
        self.done(&arguments);
    }

    fn key(&self, who: &str) -> String {
        self.house.path(&format!("{who}.key"))
    }

    fn pair(&self, who: &str) -> KeyPair {
        let key = custodian_key::load(Path::new(&self.key(who))).unwrap();
        KeyPair::from_secret(key).unwrap()
    }

    /// A custodian's share file of the folder, by number.
    fn share(&self, folder: &str, number: u8) -> String {
        let end = format!("-{number}.json");
        let files = std::fs::read_dir(self.house.path(folder)).unwrap();
        let mut files = files.map(|f| f.unwrap().path());
        let found = files.find(|f| f.display().to_string().ends_with(&end));
        found.expect("the share has a file").display().to_string()
    }

    fn read_share(&self, folder: &str, number: u8) -> SealedShare {
        let text = std::fs::read(self.share(folder, number)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.house.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Gives a custodian's share, from its file.
    fn unseal(&self, at: usize) -> Ran {
        let share = self.share("shares", at as u8 + 1);
        self.give(CUSTODIANS[at], &["--share", &share])
    }

    fn give(&self, who: &str, more: &[&str]) -> Ran {
        let key = self.key(who);
        let mut arguments = vec!["vault", "unseal", "--as", who, "--custodian-key", &key];
        arguments.extend(more);
        self.house.run(&arguments)
    }

    fn open(&self, by: [usize; 3]) {
        for at in by {
            let ran = self.unseal(at);
            assert_eq!(ran.code, 0, "{}", ran.err);
        }
        assert_eq!(self.status()["state"], "open");
    }

    fn status(&self) -> Value {
        let out = self.done(&["vault", "status", "--json", "--as", "c.one"]);
        serde_json::from_str(&out).unwrap()
    }

    fn given(&self) -> Vec<u64> {
        let status = self.status();
        let given = status["shares"]["given"].as_array().unwrap();
        given.iter().map(|n| n.as_u64().unwrap()).collect()
    }

    fn seal(&self) {
        self.done(&["vault", "seal", "--as", "c.four"]);
    }

    /// A page of metrics and health: status line and body.
    fn page(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.observe)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// The root, from three share files, as three custodians together could make it.
    fn root(&self, folder: &str, by: [usize; 3], keys: [&str; 3]) -> Key32 {
        let open = |(at, who): (usize, &str)| {
            let share = self.read_share(folder, at as u8 + 1);
            share.open(&self.pair(who)).unwrap().to_vec()
        };
        let shares = Zeroizing::new(by.into_iter().zip(keys).map(open).collect::<Vec<_>>());
        combine(&shares).unwrap()
    }

    fn blob(&self, query: &str) -> Vec<u8> {
        let database = rusqlite::Connection::open(self.house.path("state/vault.sqlite")).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    fn id(&self) -> [u8; 16] {
        let id = self.blob("SELECT value FROM meta WHERE name = 'vault'");
        id.try_into().unwrap()
    }
}

fn lease_request() -> LeaseRequest {
    LeaseRequest {
        domain: "improvement".into(),
        boot: Hex([1; 16]),
        predecessor: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_nothing_is_served_while_sealed() {
    let sealed = Sealed::initialised();
    let house = &sealed.house;
    let vault = house.start_vault();
    let status = sealed.status();
    assert_eq!(status["state"], "sealed");
    assert_eq!(status["root"], "shares");
    assert_eq!(status["shares"]["threshold"], 3);
    assert_eq!(status["shares"]["given"], serde_json::json!([]));
    let table = sealed.done(&["vault", "status", "--as", "u.novak"]);
    assert!(
        table.contains("sealed") && table.contains("0 of 3"),
        "{table}"
    );

    let id = "0a".repeat(16);
    let ranges = format!("{}?start=0&end=1", path::LOG_ENTRIES);
    let known = format!("{}?domain={id}&epoch=1", path::KNOWN);
    let show = format!("{}/{id}", path::REVEALS);
    for (who, path) in [
        ("gateway-1", known.as_str()),
        ("i.okafor", path::REVEALS),
        ("a.lindqvist", show.as_str()),
        ("u.novak", path::LOG_CHECKPOINT),
        ("u.novak", path::LOG_KEY),
        ("u.novak", ranges.as_str()),
    ] {
        assert_eq!(
            code_of(house.client(who).get::<Value>(path).await),
            "sealed",
            "{path}"
        );
    }
    let (decide, fetch) = (format!("{show}/decision"), format!("{show}/fetch"));
    for (who, path) in [
        ("gateway-1", path::LEASES),
        ("gateway-1", path::RECORDS),
        ("i.okafor", path::REVEALS),
        ("a.lindqvist", decide.as_str()),
        ("i.okafor", fetch.as_str()),
    ] {
        let refused = house
            .client(who)
            .post::<Value>(path, &lease_request())
            .await;
        match refused {
            Err(CallError::Refused {
                code, status, next, ..
            }) => {
                assert_eq!((code.as_str(), status), ("sealed", 503), "{path}");
                assert!(next.contains("cryptonym vault unseal"), "{next}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    // A stranger is told nothing, not even this.
    let stranger = house.client("x.stranger").get::<Value>(path::STATUS).await;
    assert_eq!(code_of(stranger), "not-registered");
    assert!(sealed.page("/healthz").starts_with("HTTP/1.1 200"));
    let ready = sealed.page("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("sealed: 0 of 3 shares"), "{ready}");
    // The store is locked against a second vault, and nobody reads it.
    assert_eq!(open_files(&vault), ["vault.lock"]);
    vault.stop();
}

/// Files of the store that a process has open.
fn open_files(vault: &VaultProcess) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{}/fd", vault.id())).unwrap();
    let targets = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let mut names: Vec<_> = targets
        .filter(|target| target.display().to_string().contains("/state/"))
        .map(|target| target.file_name().unwrap().display().to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_three_of_five_custodians_open_it_and_the_log_says_who() {
    let sealed = Sealed::initialised();
    let house = &sealed.house;
    let vault = house.start_vault();
    for at in [4, 1] {
        assert_eq!(sealed.unseal(at).code, 0);
        assert_eq!(sealed.status()["state"], "sealed");
    }
    assert_eq!(sealed.given(), [5, 2]);
    // The same share once more counts once.
    assert_eq!(sealed.unseal(4).code, 0);
    assert_eq!(sealed.given(), [5, 2]);
    assert!(sealed.page("/readyz").contains("sealed: 2 of 3 shares"));
    // Without a file the vault's own copy is opened, with the custodian's key.
    let last = sealed.give("c.three", &[]);
    assert_eq!(last.code, 0, "{}", last.err);
    assert!(last.out.contains("open"), "{}", last.out);
    assert!(sealed.page("/readyz").starts_with("HTTP/1.1 200"));

    let link = house.link().await;
    let lease = link.lease(IMPROVEMENT).unwrap();
    lease
        .make_durable(sights(house, &lease, 0..20))
        .await
        .unwrap();
    assert_eq!(house.events("vault-started"), 1);
    assert_eq!(house.events("share-given"), 4);
    let opened = house.log_lines("vault-unsealed");
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["reason"], "shares of c.five, c.two, c.three");

    // Sealed, and open again: the entry about it stands before the keys were forgotten.
    sealed.seal();
    assert_eq!(open_files(&vault), ["vault.lock"]);
    let gateway = house.client("gateway-1");
    let again = gateway.post::<Value>(path::LEASES, &lease_request()).await;
    assert_eq!(code_of(again), "sealed");
    sealed.open([0, 1, 2]);
    let seals = house.log_lines("vault-sealed");
    assert_eq!((seals.len(), &seals[0]["who"]), (1, &Value::from("c.four")));
    let verified = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    // The gateway goes on by itself.
    house
        .until("the link is back", async || {
            let lease = link.lease(IMPROVEMENT)?;
            lease.make_durable(sights(house, &lease, 30..40)).await.ok()
        })
        .await;
    assert_eq!(
        sealed
            .done(&["vault", "reset", "--as", "c.one"])
            .lines()
            .count(),
        4
    );
    assert_eq!(house.events("shares-reset"), 1);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_a_wrong_share_is_named_by_its_number_and_spoils_nothing() {
    let (sealed, other) = (Sealed::initialised(), Sealed::initialised());
    let vault = sealed.house.start_vault();
    assert_eq!(sealed.unseal(0).code, 0);
    let edit = |number: u8, change: &dyn Fn(&mut SealedShare)| {
        let mut share = sealed.read_share("shares", number);
        change(&mut share);
        let file = sealed.house.path("bent.json");
        std::fs::write(&file, serde_json::to_vec(&share).unwrap()).unwrap();
        file
    };
    let refused = |who: &str, file: &str, words: &[&str]| {
        let ran = sealed.give(who, &["--share", file]);
        assert_ne!(ran.code, 0, "{words:?}");
        for word in words {
            assert!(ran.err.contains(word), "{word}: {}", ran.err);
        }
        assert_eq!(sealed.given(), [1], "{}", ran.err);
        ran.err
    };
    // Damaged in its file.
    let bent = edit(2, &|s| s.sealed.0[60] ^= 1);
    let said = refused("c.two", &bent, &["share 2", "damaged"]);
    let share = sealed.read_share("shares", 2).open(&sealed.pair("c.two"));
    let share = share.unwrap();
    for form in texts(&share[1..]) {
        assert!(!said.contains(&form), "the share was printed");
    }
    // Another number's bytes in it, and another custodian's key for it.
    let third = sealed.read_share("shares", 3);
    let swapped = edit(2, &|s| s.sealed = third.sealed.clone());
    refused("c.two", &swapped, &["share 2", "exchanged"]);
    refused(
        "c.two",
        &sealed.share("shares", 3),
        &["share 3", "another custodian"],
    );
    // Of another vault.
    refused(
        "c.two",
        &other.share("shares", 2),
        &["share 2", "another vault"],
    );
    // Well made, for this vault and sharing, and not what it shared out: the vault itself sees it.
    let own = sealed.pair("c.two");
    let forged = edit(2, &|s| {
        let mut bytes = s.open(&own).unwrap();
        bytes[7] ^= 1;
        *s = s.clone().seal(&bytes).unwrap();
    });
    refused("c.two", &forged, &["share 2", "share-damaged"]);
    // No share at all.
    let nothing = sealed.house.path("nothing.json");
    std::fs::write(&nothing, "{}").unwrap();
    refused("c.two", &nothing, &["no share"]);

    assert_eq!(sealed.unseal(1).code, 0);
    assert_eq!(sealed.unseal(2).code, 0);
    assert_eq!(sealed.status()["state"], "open");
    let log = sealed.house.log_lines("share-refused");
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["count"], 2, "the number");
    assert_eq!(log[0]["code"], "share-damaged");
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_shares_that_came_are_forgotten_in_time_and_by_reset() {
    let sealed = Sealed::with("unseal_time = \"3s\"");
    sealed.init();
    let vault = sealed.house.start_vault();
    assert_eq!(sealed.unseal(0).code, 0);
    assert_eq!(
        sealed
            .done(&["vault", "reset", "--as", "c.five"])
            .lines()
            .count(),
        4
    );
    assert!(sealed.given().is_empty());
    // Forgotten also when nobody asks: the process says so.
    assert_eq!(sealed.unseal(0).code, 0);
    let said = "their time is over";
    sealed
        .house
        .until("the time-out", async || {
            sealed.house.vault_log().contains(said).then_some(())
        })
        .await;
    assert!(sealed.given().is_empty());
    assert_eq!(sealed.status()["state"], "sealed");
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_only_custodians_seal_give_and_reset() {
    let sealed = Sealed::initialised();
    let vault = sealed.house.start_vault();
    let denied = async || {
        for who in ["gateway-1", "i.okafor", "a.lindqvist", "u.novak"] {
            let client = sealed.house.client(who);
            for path in [path::SEAL, path::SHARES, path::SHARES_RESET] {
                let refused = client.post::<Value>(path, &Value::Null).await;
                assert_eq!(code_of(refused), "wrong-role", "{who} {path}");
            }
            assert_eq!(
                code_of(client.get::<ShareList>(path::SHARES).await),
                "wrong-role"
            );
            client.get::<VaultStatus>(path::STATUS).await.unwrap();
        }
    };
    denied().await;
    sealed.open([0, 1, 2]);
    denied().await;
    assert_eq!(sealed.status()["state"], "open");
    assert_eq!(sealed.house.events("seal-denied"), 16);
    // Nor is a share for opening one for a resharing: it is open already.
    let again = sealed.unseal(3);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("not-sealed"), "{}", again.err);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_resharing_rotates_the_root_and_earlier_shares_open_nothing() {
    let sealed = Sealed::initialised();
    let house = &sealed.house;
    let vault = house.start_vault();
    sealed.open([0, 1, 2]);
    let pseudonyms = house.make_pseudonyms(IMPROVEMENT, 0..3).await;
    let asked = sealed.done(&[
        "reveal",
        "request",
        "--as",
        "i.okafor",
        "--domain",
        "improvement",
        "--purpose",
        "share-results",
        "--reason",
        "a test",
        &pseudonyms[0],
    ]);
    let request = asked.trim();
    sealed.done(&["reveal", "approve", request, "--as", "a.lindqvist", "--yes"]);
    let verified = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let old_root = sealed.root("shares", [0, 1, 2], ["c.one", "c.two", "c.three"]);
    let old_epoch = sealed.blob("SELECT wrapped FROM epoch ORDER BY row LIMIT 1");
    let old_domain: [u8; 16] = sealed
        .blob("SELECT domain FROM epoch ORDER BY row LIMIT 1")
        .try_into()
        .unwrap();
    let place = Use::Epoch {
        domain: old_domain,
        epoch: 1,
    };
    assert!(
        RootKeys::new(&old_root, sealed.id())
            .unwrap(place, &old_epoch)
            .is_ok()
    );

    // c.five has lost their key: c.two comes in their place too, and two of three shall be enough.
    let out = house.path("new");
    let reshare = |who: &str, threshold: &str| {
        let (key, public) = (
            sealed.key(who),
            ["c.four", "c.one", "c.two"].map(|c| format!("{}.pub", sealed.key(c))),
        );
        let mut arguments = vec![
            "vault",
            "reshare",
            "--as",
            who,
            "--custodian-key",
            &key,
            "--threshold",
            threshold,
        ];
        for file in &public {
            arguments.extend(["--custodian", file]);
        }
        arguments.extend(["--out", &out]);
        house.run(&arguments)
    };
    for who in ["c.one", "c.two"] {
        let ran = reshare(who, "2");
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("to reshare"), "{}", ran.out);
    }
    let other = reshare("c.three", "3");
    assert!(other.err.contains("other-purpose"), "{}", other.err);
    let last = reshare("c.three", "2");
    assert_eq!(last.code, 0, "{}", last.err);

    // All that lay under the old root lies under the new one.
    assert_eq!(sealed.status()["state"], "open");
    assert_eq!(sealed.status()["shares"]["threshold"], 2);
    assert_eq!(house.events("vault-reshared"), 1);
    let fetched = sealed.done(&["reveal", "fetch", request, "--as", "i.okafor", "--json"]);
    assert!(fetched.contains(&support::identifier(0)), "{fetched}");
    assert_eq!(house.make_pseudonyms(IMPROVEMENT, 0..3).await, pseudonyms);
    let verified = house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    // The old root opens nothing, and nothing of before is left in the store's files.
    let new_epoch = sealed.blob("SELECT wrapped FROM epoch ORDER BY row LIMIT 1");
    let id = sealed.id();
    assert!(
        RootKeys::new(&old_root, id)
            .unwrap(place, &new_epoch)
            .is_err()
    );
    vault.stop();
    for file in std::fs::read_dir(house.path("state")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&bytes, &old_epoch).is_none());
    }
    // A new start takes the new shares and names the old ones.
    let vault = house.start_vault();
    let old = sealed.unseal(0);
    assert_ne!(old.code, 0);
    assert!(
        old.err.contains("share 1 is of another sharing"),
        "{}",
        old.err
    );
    assert!(sealed.given().is_empty());
    let share = sealed.share("new", 1);
    assert_eq!(sealed.give("c.four", &["--share", &share]).code, 0);
    assert_eq!(sealed.give("c.two", &[]).code, 0);
    assert_eq!(sealed.status()["state"], "open");
    assert_eq!(house.make_pseudonyms(IMPROVEMENT, 0..3).await, pseudonyms);
    vault.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_a_key_file_is_named_as_weaker_and_its_root_can_be_brought_into_shares() {
    let people: Vec<_> = CUSTODIANS.iter().map(|c| (Role::Custodian, *c)).collect();
    let house = House::with("root_key = \"certs/out/vault-root.key\"", &people);
    let mut sealed = Sealed { house, observe: 0 };
    for who in CUSTODIANS {
        sealed.done(&["vault", "custodian-key", &sealed.key(who)]);
    }
    let vault = sealed.house.start_vault();
    let pseudonyms = sealed.house.make_pseudonyms(RESEARCH, 0..5).await;
    // Named as such: by `check`, by the log at the start, by the status.
    let check = sealed.house.command(&["check"]).output().unwrap();
    let check = String::from_utf8(check.stdout).unwrap();
    assert!(
        check.contains("the weaker choice, for development"),
        "{check}"
    );
    assert!(
        sealed
            .house
            .vault_log()
            .contains("the root key is in a file")
    );
    let status = sealed.done(&["vault", "status", "--as", "c.one"]);
    assert!(status.contains("key file: the weaker choice"), "{status}");
    // It can be sealed, and opens by a restart alone.
    sealed.seal();
    let refused = sealed.give("c.one", &[]);
    assert!(refused.err.contains("restart the vault"), "{}", refused.err);
    vault.stop();
    let vault = sealed.house.start_vault();
    assert_eq!(sealed.status()["state"], "open");
    vault.stop();

    let file = sealed.house.path("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(
        "root_key = \"certs/out/vault-root.key\"",
        "root = \"shares\"",
    );
    std::fs::write(&file, changed).unwrap();
    sealed.house.reload();
    let error = sealed.house.vault_fails();
    assert!(error.contains("vault init"), "{error}");
    let root = sealed.house.path("certs/out/vault-root.key");
    let (keys, out) = (
        CUSTODIANS.map(|c| format!("{}.pub", sealed.key(c))),
        sealed.house.path("shares"),
    );
    let mut arguments = vec![
        "vault",
        "init",
        "--shares",
        "5",
        "--threshold",
        "3",
        "--out",
        &out,
    ];
    for key in &keys {
        arguments.extend(["--custodian", key]);
    }
    let without = sealed.house.run(&arguments);
    assert!(without.err.contains("--root-key"), "{}", without.err);
    arguments.extend(["--root-key", &root]);
    sealed.done(&arguments);
    // The file's root opens nothing now.
    let old = root_key::load(Path::new(&root)).unwrap();
    let wrapped = sealed.blob("SELECT value FROM meta WHERE name = 'records-key'");
    let keys = RootKeys::new(&old, sealed.id());
    assert!(keys.unwrap(Use::Records, &wrapped).is_err());
    let vault = sealed.house.start_vault();
    sealed.open([0, 3, 4]);
    assert_eq!(
        sealed.house.make_pseudonyms(RESEARCH, 0..5).await,
        pseudonyms
    );
    let verified = sealed.house.run(&["log", "verify", "--as", "u.novak"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    vault.stop();
    // And the configuration for a file does not open it any more.
    std::fs::write(&file, text).unwrap();
    let error = sealed.house.vault_fails();
    assert!(error.contains("in shares of custodians"), "{error}");
}

/// Every key and share that there is, each under its name; as bytes and as the texts of them.
fn needles(sealed: &Sealed, shares: &[(usize, &str)]) -> Vec<(String, Vec<u8>)> {
    let root = sealed.root("shares", [0, 1, 2], ["c.one", "c.two", "c.three"]);
    let id = sealed.id();
    let keys = RootKeys::new(&root, id);
    let of_root = |what: &[u8]| derive(&root, &[b"cryptonym vault v1", what, &id]);
    let domain: [u8; 16] = sealed
        .blob("SELECT domain FROM epoch ORDER BY row LIMIT 1")
        .try_into()
        .unwrap();
    let place = Use::Epoch { domain, epoch: 1 };
    let wrapped = sealed.blob("SELECT wrapped FROM epoch ORDER BY row LIMIT 1");
    let epoch = keys.unwrap(place, &wrapped).unwrap();
    let of_epoch = |what: &[u8]| {
        derive(
            &epoch,
            &[b"cryptonym epoch v1", what, &domain, &1u32.to_be_bytes()],
        )
    };
    let leased = EpochKeys::new(
        Place {
            row: 1,
            vault: id,
            domain_name: String::new(),
            domain,
            epoch: 1,
        },
        &epoch,
        &sealed.house.config.kinds,
    );
    let stored = |name: &str, what| {
        let wrapped = sealed.blob(&format!("SELECT value FROM meta WHERE name = '{name}'"));
        keys.unwrap(what, &wrapped).unwrap()
    };
    let month: i64 = {
        let file = sealed.house.path("state/vault.sqlite");
        let database = rusqlite::Connection::open(file).unwrap();
        database
            .query_row("SELECT max(period) FROM log_period", [], |r| r.get(0))
            .unwrap()
    };
    let period = sealed.blob("SELECT wrapped FROM log_period ORDER BY period DESC LIMIT 1");
    let period = keys
        .unwrap(Use::LogPeriod(u32::try_from(month).unwrap()), &period)
        .unwrap();
    let mut named: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| named.push((name.to_owned(), bytes.to_vec()));
    for (name, key) in [
        ("root", &root),
        ("wrapping key", &of_root(b"wrap")),
        ("reveals key", &of_root(b"reveals")),
        ("names key", &of_root(b"names")),
        ("name index key", &of_root(b"name-index")),
        ("epoch root", &epoch),
        ("leased key", leased.leased()),
        ("subjects key", &of_epoch(b"subjects")),
        ("vocabulary key", &of_epoch(b"vocabulary")),
        ("known key", &of_epoch(b"known")),
        ("records key", &stored("records-key", Use::Records)),
        ("log key", &stored("log-key", Use::LogSigning)),
        ("month's key", &period),
    ] {
        add(name, key.expose());
        for text in texts(key.expose()) {
            add(&format!("{name} as text"), text.as_bytes());
        }
    }
    for (at, who) in shares {
        let share = sealed.read_share("shares", *at as u8 + 1);
        let share = share.open(&sealed.pair(who)).unwrap();
        add(&format!("share {}", at + 1), &share[1..]);
        for text in texts(&share) {
            add(&format!("share {} as text", at + 1), text.as_bytes());
        }
    }
    named
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
    vec![hex, base64]
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_memory_after_sealing_holds_no_key_and_no_share() {
    let sealed = Sealed::initialised();
    let house = &sealed.house;
    let vault = house.start_vault();
    sealed.open([0, 1, 2]);
    // Everything that works with keys does so.
    let pseudonyms = house.make_pseudonyms(IMPROVEMENT, 0..600).await;
    let asked = sealed.done(&[
        "reveal",
        "request",
        "--as",
        "i.okafor",
        "--domain",
        "improvement",
        "--purpose",
        "share-results",
        "--reason",
        "a test",
        &pseudonyms[0],
    ]);
    sealed.done(&[
        "reveal",
        "approve",
        asked.trim(),
        "--as",
        "a.lindqvist",
        "--yes",
    ]);
    sealed.done(&["reveal", "fetch", asked.trim(), "--as", "i.okafor"]);
    assert_eq!(house.events("reveal-fetched"), 1);
    // A gateway that stays connected, with its lease.
    let _link = house.link().await;
    let all = needles(
        &sealed,
        &[(0, "c.one"), (1, "c.two"), (2, "c.three"), (3, "c.four")],
    );

    // The search finds what is there: in the test's own process, which knows all of them, …
    let own = memory::holds(std::process::id(), &all);
    for name in ["root", "epoch root", "leased key", "share 1", "share 4"] {
        assert!(
            own.contains(&name),
            "{name} was not found where it is: {own:?}"
        );
    }
    // … and in the open vault everything that it works with. Root, epoch roots and shares it has
    // needed to open, and wiped: it holds what was derived from them.
    let open = memory::holds(vault.id(), &all);
    let held = [
        "wrapping key",
        "reveals key",
        "names key",
        "name index key",
        "leased key",
        "subjects key",
        "vocabulary key",
        "known key",
        "records key",
        "log key",
        "month's key",
    ];
    for name in held {
        assert!(
            open.contains(&name),
            "{name} is not in the open vault: {open:?}"
        );
    }
    for name in [
        "root",
        "epoch root",
        "share 1",
        "share 2",
        "share 3",
        "share 4",
    ] {
        assert!(!open.contains(&name), "{name} stayed in the open vault");
    }

    sealed.seal();
    nothing_left(&vault, &all, "after sealing");

    // Two shares of three: they are there, until they are forgotten.
    assert_eq!(sealed.unseal(0).code, 0);
    assert_eq!(sealed.unseal(3).code, 0);
    let two = memory::holds(vault.id(), &all);
    assert_eq!(two, ["share 1", "share 4"]);
    sealed.done(&["vault", "reset", "--as", "c.one"]);
    nothing_left(&vault, &all, "after a reset");

    // Once more all the way.
    sealed.open([0, 3, 1]);
    assert!(memory::holds(vault.id(), &all).contains(&"wrapping key"));
    sealed.seal();
    nothing_left(&vault, &all, "after sealing again");
    vault.stop();
}

/// A worker wipes its stack when it goes idle: a moment after the answer.
fn nothing_left(vault: &VaultProcess, all: &[(String, Vec<u8>)], when: &str) {
    let start = Instant::now();
    loop {
        let left = memory::holds(vault.id(), all);
        if left.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{when}: {left:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_01_no_core_dump_and_no_look_by_processes_of_the_same_user() {
    let sealed = Sealed::initialised();
    let house = &sealed.house;
    let vault = house.start_vault();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", vault.id())).unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    vault.stop();

    // As a user of their own, with another process of that user looking in.
    let user = "65534";
    let chown = Command::new("chown")
        .args(["-R", user, &house.path("")])
        .status();
    assert!(chown.unwrap().success());
    let folder = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(house.path(""), folder).unwrap();
    let log = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(house.path("vault.log"), log).unwrap();
    let plain = house.command(&["vault"]);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--regid", user, "--clear-groups"])
        .arg(plain.get_program())
        .args(plain.get_args());
    let vault = house.start(command);
    let looks = |process: u32| {
        let environment = format!("/proc/{process}/environ");
        let look = Command::new("setpriv")
            .args([
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "cat",
                &environment,
            ])
            .output();
        look.unwrap().status.success()
    };
    let owner = |process: u32| {
        std::fs::metadata(format!("/proc/{process}/mem"))
            .unwrap()
            .uid()
    };
    let mut other = Command::new("setpriv")
        .args([
            "--reuid",
            user,
            "--regid",
            user,
            "--clear-groups",
            "sleep",
            "60",
        ])
        .spawn()
        .unwrap();
    house
        .until("the other process runs", async || {
            (owner(other.id()) != 0).then_some(())
        })
        .await;
    let (into_other, into_vault) = (looks(other.id()), looks(vault.id()));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(into_other, "who can look into nothing proves nothing");
    assert!(
        !into_vault,
        "a process of the same user looks into the vault"
    );
    assert_eq!(owner(vault.id()), 0, "it is dumpable");
    vault.stop();
}

#[test]
fn vault_01_a_root_that_cannot_be_kept_so_is_an_error_with_its_place() {
    let house = House::new();
    let file = house.path("config.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let key = "root_key = \"certs/out/vault-root.key\"";
    for (lines, what, place) in [
        (
            "root = \"hsm\"",
            "cannot be kept like that",
            "config.toml:5:8",
        ),
        (
            "root = \"shares\"\nroot_key = \"k\"",
            "in shares and in a file",
            "config.toml:6:12",
        ),
        ("root = \"file\"", "no `root_key`", "config.toml:2:1"),
        (
            "unseal_time = \"soon\"\nroot = \"shares\"",
            "`unseal_time` cannot be read",
            "config.toml:5:15",
        ),
    ] {
        std::fs::write(&file, good.replace(key, lines)).unwrap();
        let ran = house.run(&["check", "--no-files"]);
        assert_eq!(ran.code, 3, "{lines}: {}", ran.out);
        for word in [what, place] {
            assert!(ran.err.contains(word), "{lines}: {word}: {}", ran.err);
        }
    }
    std::fs::write(&file, good.replace(key, "root = \"shares\"")).unwrap();
    let ran = house.run(&["check", "--no-files"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("root key in shares of custodians"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("weaker choice"), "{}", ran.out);
}
