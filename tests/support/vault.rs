//! An installation in a temporary folder: certificates, configuration, the vault as a process.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{Config, VaultAddress, root_key, signing_key};
use cryptonym::pseudonym::{KindId, Pseudonym};
use cryptonym::secret::{Key32, PlainBuf};
use cryptonym::tls::client::client_config;
use cryptonym::tls::identity::Role;
use cryptonym::tls::issue::{Options, init};
use cryptonym::vault_link::client::{CallError, Client};
use cryptonym::vault_link::{FirstSight, Lease, VaultLink};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

pub struct House {
    folder: tempfile::TempDir,
    port: u16,
    pub config: Config,
}

/// What a command printed, and how it ended.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub struct VaultProcess(Child);

impl House {
    pub fn new() -> Self {
        Self::with("root_key = \"certs/out/vault-root.key\"", &[])
    }

    /// With other lines in `[vault]` in place of `root_key`, and more people.
    pub fn with(lines: &str, more: &[(Role, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("certs/out"));
        options.persons = vec![
            (Role::Client, "provider-1".into()),
            (Role::Gateway, "gateway-2".into()),
            (Role::Investigator, "i.okafor".into()),
            (Role::Investigator, "j.berg".into()),
            (Role::Investigator, "x.stranger".into()),
            (Role::Approver, "a.lindqvist".into()),
            (Role::Auditor, "u.novak".into()),
        ];
        let more = more.iter().map(|(role, id)| (*role, (*id).to_owned()));
        options.persons.extend(more);
        init(&options).unwrap();
        strike_from_registry(&folder.path().join("certs/out/registry.toml"), "x.stranger");
        let port = free_port();
        let text = format!(
            r#"
[vault]
listen = "127.0.0.1:{port}"
store = "sqlite:state/vault.sqlite"
{lines}
registry = "certs/out/registry.toml"
[vault.tls]
certificate = "certs/out/vault.pem"
key = "certs/out/vault.key"
client_ca = "certs/out/vault-ca.pem"
[domain.improvement]
mode = "keyed"
purpose = "develop-and-improve"
[domain.research]
mode = "keyed"
purpose = "research"
[domain.small]
mode = "keyed"
purpose = "research"
budget_per_day = 5
"#
        );
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let config = match Config::load(&file) {
            Ok(loaded) => loaded.config,
            Err(errors) => panic!(
                "{}",
                errors.iter().map(|e| e.to_string()).collect::<String>()
            ),
        };
        Self {
            folder,
            port,
            config,
        }
    }

    /// Reads the configuration again, which a test has changed.
    pub fn reload(&mut self) {
        let file = self.folder.path().join("config.toml");
        self.config = Config::load(&file).expect("it is understood").config;
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn kind(&self, name: &str) -> KindId {
        self.config.kinds.find(name).unwrap()
    }

    /// Starts the vault and waits until it listens.
    pub fn start_vault(&self) -> VaultProcess {
        self.start(self.command(&["vault"]))
    }

    /// As [`House::start_vault`], with its writes and syncs written to a file by strace.
    pub fn start_vault_traced(&self, file: &str) -> VaultProcess {
        let vault = self.command(&["vault"]);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-y", "-s", "0", "-o", file, "-e"])
            .arg("trace=fsync,fdatasync,write,writev,sendto,sendmsg")
            .arg(vault.get_program())
            .args(vault.get_args())
            .stdin(Stdio::null());
        self.start(command)
    }

    /// As [`House::start_vault`], with no file growing beyond so many KiB: a full disk.
    pub fn start_vault_with_files_up_to(&self, kib: u32) -> VaultProcess {
        let vault = self.command(&["vault"]);
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\""))
            .arg(vault.get_program())
            .args(vault.get_args())
            .stdin(Stdio::null());
        self.start(command)
    }

    pub fn start(&self, mut command: Command) -> VaultProcess {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("vault.log"))
            .unwrap();
        let mut child = match command.stderr(log).spawn() {
            Ok(child) => child,
            Err(error) => panic!("{:?} does not start: {error}", command.get_program()),
        };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.path("vault.log")).unwrap();
                panic!("the vault ended ({status}):\n{log}");
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no vault");
            pause();
        }
        VaultProcess(child)
    }

    /// The vault does not start; gives what it said.
    pub fn vault_fails(&self) -> String {
        let ran = self.run(&["vault"]);
        assert_ne!(ran.code, 0);
        ran.err
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("config.toml"))
            .args(match arguments[0] {
                "vault" | "check" => vec![],
                _ if arguments.contains(&"--export") => vec![],
                _ => vec![
                    "--vault".to_owned(),
                    format!("https://127.0.0.1:{}", self.port),
                ],
            })
            .stdin(Stdio::null());
        command
    }

    fn address(&self, who: &str) -> VaultAddress {
        let out = self.folder.path().join("certs/out");
        let stem = match who {
            "gateway-1" => out.join("gateway-link"),
            who => out.join("people").join(who),
        };
        let with = |end: &str| PathBuf::from(format!("{}.{end}", stem.display()));
        VaultAddress {
            host: "127.0.0.1".into(),
            port: self.port,
            certificate: with("pem"),
            key: with("key"),
            ca: out.join("vault-ca.pem"),
        }
    }

    /// A caller with somebody's certificate.
    pub fn client(&self, who: &str) -> Client {
        Client::new(&self.address(who)).unwrap()
    }

    /// A connection whose windows hold less than a page of the known set.
    pub async fn slow_connection(&self, who: &str) -> SlowConnection {
        let address = self.address(who);
        let identity = (address.certificate.as_path(), address.key.as_path());
        let tls = client_config(Some(&address.ca), Some(identity), true, &[b"h2"]).unwrap();
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", self.port));
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let tls = tokio_rustls::TlsConnector::from(tls)
            .connect(name, tcp.await.unwrap())
            .await
            .unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024)
            .handshake(TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection);
        SlowConnection(sender, self.port)
    }

    /// A ready link of the gateway for all domains.
    pub async fn link(&self) -> Arc<VaultLink> {
        let all: Vec<usize> = (0..self.config.domains.len()).collect();
        let link = VaultLink::start(&self.config, &self.address("gateway-1"), &all).unwrap();
        self.until("the link is ready", async || link.ready().then_some(()))
            .await;
        link
    }

    pub async fn until<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            if start.elapsed() > Duration::from_secs(30) {
                let log = std::fs::read_to_string(self.path("vault.log")).unwrap_or_default();
                panic!("never: {what}\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Durable records of subscribers; gives their text forms.
    pub async fn make_pseudonyms(&self, domain: usize, numbers: Range<u32>) -> Vec<String> {
        let link = self.link().await;
        let lease = link.lease(domain).unwrap();
        let made = sights(self, &lease, numbers);
        let texts = made
            .iter()
            .map(|s| self.text(&lease, &s.pseudonym))
            .collect();
        lease.make_durable(made).await.unwrap();
        texts
    }

    /// The text form of a pseudonym that has no record.
    pub async fn pseudonym_text(&self, domain: usize, number: u32) -> String {
        let link = self.link().await;
        let lease = link.lease(domain).unwrap();
        let sight = &sights(self, &lease, number..number + 1)[0];
        self.text(&lease, &sight.pseudonym)
    }

    fn text(&self, lease: &Lease, pseudonym: &Pseudonym) -> String {
        let mut text = String::new();
        lease
            .kind(self.kind("subscriber"))
            .write(pseudonym, &mut text);
        text
    }

    pub fn signing_key(&self, who: &str) -> ed25519_dalek::SigningKey {
        let file = self.path(&format!("certs/out/people/{who}.signing.key"));
        signing_key::load(Path::new(&file)).unwrap()
    }

    /// How often an event is in the log.
    pub fn events(&self, event: &str) -> usize {
        self.log_lines(event).len()
    }

    /// The codes of an event's entries, in order.
    pub fn codes_of(&self, event: &str) -> Vec<String> {
        let lines = self.log_lines(event);
        let codes = lines
            .iter()
            .map(|entry| entry["code"].as_str().unwrap().to_owned());
        codes.collect()
    }

    /// An event's entries.
    pub fn log_lines(&self, event: &str) -> Vec<serde_json::Value> {
        let ran = self.run(&["log", "show", "--json", "--as", "u.novak"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"].clone())
            .filter(|entry| entry["event"] == event)
            .collect()
    }

    /// Writes the only domains a gateway may use into the registry; before the vault starts.
    pub fn give_domains(&self, id: &str, domains: &str) {
        let file = self.path("certs/out/registry.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let line = format!("id = \"{id}\"\n");
        let with = format!("{line}domains = {domains}\n");
        let changed = text.replacen(&line, &with, 1);
        assert_ne!(changed, text);
        std::fs::write(&file, changed).unwrap();
    }

    /// What the vault wrote to its standard error.
    pub fn vault_log(&self) -> String {
        std::fs::read_to_string(self.path("vault.log")).unwrap()
    }

    pub fn expire_reveals(&self) {
        self.sql("UPDATE reveal SET expires = 1");
    }

    pub fn sql(&self, statement: &str) {
        let database = rusqlite::Connection::open(self.path("state/vault.sqlite")).unwrap();
        database.busy_timeout(Duration::from_secs(5)).unwrap();
        assert!(database.execute(statement, []).unwrap() > 0, "{statement}");
    }

    pub fn count(&self, query: &str) -> i64 {
        let database = rusqlite::Connection::open(self.path("state/vault.sqlite")).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    pub fn blob(&self, query: &str) -> Vec<u8> {
        let database = rusqlite::Connection::open(self.path("state/vault.sqlite")).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Every reveal of the store: its id, whether it stands as approved, and reads left.
    pub fn reveals(&self) -> Vec<(String, bool, u32)> {
        let database = rusqlite::Connection::open(self.path("state/vault.sqlite")).unwrap();
        let sql = "SELECT lower(hex(id)), state = 1, reads_left FROM reveal";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Whether bytes are in any file of the store.
    pub fn store_holds(&self, bytes: &[u8]) -> bool {
        self.store_files().iter().any(|file| {
            let content = std::fs::read(file).unwrap();
            memchr::memmem::find(&content, bytes).is_some()
        })
    }

    pub fn remove_store(&self) {
        std::fs::remove_dir_all(self.path("state")).unwrap();
    }

    /// Copies the store of a vault that is stopped.
    pub fn back_up(&self) {
        self.copy_store("state", "backup");
    }

    /// Puts the copy in the store's place.
    pub fn restore(&self) {
        self.remove_store();
        self.copy_store("backup", "state");
    }

    fn copy_store(&self, from: &str, to: &str) {
        std::fs::create_dir(self.path(to)).unwrap();
        for file in std::fs::read_dir(self.path(from)).unwrap() {
            let file = file.unwrap();
            let to = Path::new(&self.path(to)).join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
    }

    pub fn replace_root_key(&self) {
        let text = root_key::to_text(&Key32::new([3; 32]));
        std::fs::write(self.path("certs/out/vault-root.key"), text.as_bytes()).unwrap();
    }

    pub fn assert_private_files(&self) {
        for file in self.store_files() {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", file.display());
        }
    }

    /// None of the words, and none of the pseudonyms as bytes, is in any file of the store; a
    /// canary that is planted is found.
    pub fn assert_store_hides(&self, words: &[String], pseudonyms: &[Pseudonym]) {
        let mut content = Vec::new();
        for file in self.store_files() {
            content.extend(std::fs::read(file).unwrap());
        }
        content.extend(std::fs::read(self.path("vault.log")).unwrap());
        let holds = |needle: &[u8], hay: &[u8]| memchr::memmem::find(hay, needle).is_some();
        let mut with_canary = content.clone();
        with_canary.extend_from_slice(words[0].as_bytes());
        assert!(holds(words[0].as_bytes(), &with_canary));
        assert!(
            holds(b"log_leaf", &content),
            "these are not the store's files"
        );
        // The log of the process names domains (they are configuration); the store does not.
        for word in words
            .iter()
            .filter(|w| *w != "improvement" && *w != "subscriber")
        {
            assert!(!holds(word.as_bytes(), &content), "{word} is in clear");
        }
        let store: Vec<u8> = self
            .store_files()
            .iter()
            .flat_map(|f| std::fs::read(f).unwrap())
            .collect();
        for word in words {
            assert!(
                !holds(word.as_bytes(), &store),
                "{word} is in clear in the store"
            );
        }
        for pseudonym in pseudonyms {
            assert!(!holds(&pseudonym.0, &store), "a pseudonym is in clear");
        }
    }

    fn store_files(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.path("state")).unwrap();
        let files: Vec<_> = folder.map(|f| f.unwrap().path()).collect();
        assert!(!files.is_empty());
        files
    }
}

pub struct SlowConnection(http2::SendRequest<http_body_util::Empty<bytes::Bytes>>, u16);

impl SlowConnection {
    pub async fn get(&mut self, path: &str) -> http::Response<hyper::body::Incoming> {
        let request = http::Request::get(format!("https://127.0.0.1:{}{path}", self.1))
            .body(http_body_util::Empty::new())
            .unwrap();
        self.0.send_request(request).await.unwrap()
    }
}

impl VaultProcess {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGTERM; it must end cleanly.
    pub fn stop(mut self) {
        let own = self.0.id();
        // Under strace the vault is its child; strace ends as the vault does.
        let children = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let child = children.split_whitespace().next();
        let pid = child.map_or(own, |pid| pid.parse().unwrap());
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for VaultProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The n-th subscriber; all zeros would be a sentinel.
pub fn identifier(number: u32) -> String {
    format!("SUB-{:08}", number + 1)
}

/// First sights of subscribers.
pub fn sights(house: &House, lease: &Lease, numbers: Range<u32>) -> Vec<FirstSight> {
    let kind = house.kind("subscriber");
    numbers
        .map(|number| {
            let normal = identifier(number).into_bytes();
            FirstSight {
                kind,
                pseudonym: lease.kind(kind).derive(&normal),
                identifier: PlainBuf::new(normal),
                subject: None,
            }
        })
        .collect()
}

/// The code with which the vault refused.
pub fn code_of<T>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Refused { code, .. }) => code,
        Err(other) => panic!("not refused by the vault: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[allow(clippy::disallowed_methods)] // a test waits for a process
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn strike_from_registry(file: &Path, id: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let parts: Vec<&str> = text.split("[[person]]").collect();
    let name = format!("id = \"{id}\"");
    let kept: Vec<&str> = parts.into_iter().filter(|p| !p.contains(&name)).collect();
    std::fs::write(file, kept.join("[[person]]")).unwrap();
}

/// One finished system call of a trace.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    /// Its first argument with the file behind it: `12</path>`.
    pub file: String,
    pub result: i64,
}

impl Call {
    pub fn is_sync_of(&self, end: &str) -> bool {
        let file = self.file.trim_end_matches('>');
        self.name.ends_with("sync") && file.ends_with(end) && self.result == 0
    }

    pub fn is_socket_write(&self) -> bool {
        !self.name.ends_with("sync") && (self.file.contains("socket:") || self.file.contains("TCP"))
    }
}

/// The calls of a trace in the order of their ends, joining those that strace split.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut open: std::collections::HashMap<&str, (String, String)> = Default::default();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        let result = || rest.rsplit("= ").next()?.split(' ').next()?.parse().ok();
        if rest.starts_with("<... ") {
            if let (Some((name, file)), Some(result)) = (open.remove(thread), result()) {
                calls.push(Call { name, file, result });
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let file = arguments.split([',', ')']).next().unwrap_or("");
        let file = file.split(" <unfinished").next().unwrap_or("");
        let (name, file) = (name.to_owned(), file.to_owned());
        if rest.contains("<unfinished ...>") {
            open.insert(thread, (name, file));
        } else if let Some(result) = result() {
            calls.push(Call { name, file, result });
        }
    }
    calls
}
