//! The configuration as meant. A value of these types has been checked.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Egress, Format, Original, Rows, Transparent};
use crate::coding::Coding;
use crate::policy::{Policy, Purpose};
use crate::pseudonym::Kinds;

#[derive(Debug)]
pub struct Config {
    /// The file it came from, for messages.
    pub file: PathBuf,
    /// SHA-256 of the files as they were read: the main one, then the included ones in the order
    /// of `include`, one after the other.
    pub digest: [u8; 32],
    /// The included files.
    pub included: Vec<PathBuf>,
    pub kinds: Kinds,
    pub domains: Vec<Domain>,
    pub gateway: Option<Gateway>,
    pub vault: Option<Vault>,
    /// `[feed]`
    pub feed: Option<Feed>,
    pub backends: Vec<Backend>,
    pub routes: Vec<Route>,
    pub policies: Vec<Arc<Policy>>,
    pub limits: Limits,
}

impl Config {
    /// Every file that it was read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let included = self.included.iter().map(PathBuf::as_path);
        std::iter::once(self.file.as_path()).chain(included)
    }
}

/// A pseudonymisation domain.
#[derive(Clone, Debug)]
pub struct Domain {
    pub name: String,
    pub mode: Mode,
    pub purpose: Purpose,
    /// New identifiers per gateway and UTC day.
    pub budget_per_day: u64,
    /// Where a gateway keeps recovery records while the vault is away; `None`: it waits.
    pub spool: Option<Spool>,
}

/// `spool = { max_bytes = "64MiB", max_staleness = "15m" }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Of the disk.
    pub max_bytes: usize,
    /// Age of the oldest record that is in the spool only: from there on nothing is added.
    pub max_staleness: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Keyed,
}

/// `[gateway]`
#[derive(Clone, Debug)]
pub struct Gateway {
    pub listen: Vec<SocketAddr>,
    pub tls: ServerTls,
    /// `[[gateway.certificate]]`: beside the one of `tls`, chosen by the name a client asks for.
    pub certificates: Vec<NamedCertificate>,
    /// `gateway.tls.sni_required`: a handshake that names no host is refused; default: it gets the
    /// certificate of `tls`.
    pub sni_required: bool,
    /// Load balancers that say whose connection they hand on; `None`: no peer may say so.
    pub proxy_protocol: Option<ProxyProtocol>,
    pub vault: VaultAddress,
    /// `observe = "127.0.0.1:9464"`: address of metrics and health, apart from traffic; `None`: off.
    pub observe: Option<SocketAddr>,
    /// `[gateway.traces]`; `None`: no request is traced.
    pub traces: Option<Traces>,
    /// `[gateway.admin]`; `None`: nobody can ask or tell this gateway anything.
    pub admin: Option<Admin>,
    /// Worker threads; default: one per core.
    pub workers: usize,
    /// One line a request on standard error; default: yes.
    pub access_log: bool,
    pub listen_when: ListenWhen,
    /// Connections that were made to somebody else; `None`: clients come by name.
    pub transparent: Option<Transparent>,
    /// `[gateway.egress]`; `None`: the gateway is no forward proxy.
    pub egress: Option<Egress>,
    /// `gateway.reload`: whether a changed configuration is taken by itself; else at SIGHUP.
    pub reload_on_change: bool,
    /// Where this process hands its sockets over, or takes them; `None`: nowhere.
    pub handover: Option<PathBuf>,
    /// The folder of the domains' spools; `None`: no domain that routes use has one.
    pub spool_dir: Option<PathBuf>,
}

/// Where traces go (OTLP over plain HTTP), and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    pub host: String,
    pub port: u16,
    /// `/v1/traces`, unless the collector has it elsewhere.
    pub path: String,
    /// Of the traces that begin here, this part is recorded.
    pub sample: f64,
    /// Whether a client's `traceparent` is taken up; else every trace begins here.
    pub join: bool,
}

/// Where status is read, and draining and the log's level are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Always there unless `listen` is loopback; with a `client_ca`, and certificates required.
    pub tls: Option<ServerTls>,
}

/// `[feed]`: for machines on which files are rewritten, and no gateway runs.
#[derive(Clone, Debug)]
pub struct Feed {
    /// With a certificate of the feed's own; role `gateway` in the vault's registry.
    pub vault: VaultAddress,
}

/// When a gateway begins to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenWhen {
    /// At once: what needs a lease is answered 503 until there is one.
    AtOnce,
    /// Once every domain has its lease and its known set: for balancers that only look whether a
    /// port is open.
    Ready,
}

/// A server's certificate and whom it lets in.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// CA of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Certificates that this CA has revoked (gateway only; the vault has its registry).
    pub client_crl: Option<PathBuf>,
    /// Whether a client without a certificate is refused in the handshake.
    pub client_certificate: ClientCertificate,
    /// Whether clients may resume sessions (stateless tickets). Where client certificates are in
    /// use, only if asked for.
    pub resumption: bool,
}

/// One `[[gateway.certificate]]`.
#[derive(Clone, Debug)]
pub struct NamedCertificate {
    /// Host names in lower case, or `*.` and a host name; empty: the certificate's own.
    pub names: Vec<String>,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `proxy_protocol = { trusted = ["10.0.0.0/8"], required = true }`
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyProtocol {
    /// Peers whose header is believed; never empty.
    pub trusted: Vec<Network>,
    /// Whether a trusted peer must send a header; default: yes.
    pub required: bool,
}

/// An address block (RFC 4632): an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub bits: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    pub fn contains(&self, ip: IpAddr) -> bool {
        // A shift by the whole width (0 bits count) leaves nothing to compare.
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => (net.to_bits() ^ ip.to_bits())
                .checked_shr(32 - u32::from(self.bits))
                .is_none_or(|rest| rest == 0),
            (IpAddr::V6(net), IpAddr::V6(ip)) => (net.to_bits() ^ ip.to_bits())
                .checked_shr(128 - u32::from(self.bits))
                .is_none_or(|rest| rest == 0),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    None,
    Optional,
    Required,
}

/// How a gateway (or an officer's command) reaches the vault: always mutual TLS 1.3.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultAddress {
    /// `https://host:port`
    pub host: String,
    pub port: u16,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

/// How a vault's root key is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// In a file of mode 0600: the weaker choice, for development. Whoever has it and the store has
    /// everything.
    File(PathBuf),
    /// In shares that custodians keep: the vault starts sealed.
    Shares,
}

/// `[vault]`
#[derive(Clone, Debug)]
pub struct Vault {
    pub listen: SocketAddr,
    /// Certificate, key; `client_ca` is always there and client certificates are required.
    pub tls: ServerTls,
    /// Path of the SQLite database (`store = "sqlite:PATH"`).
    pub store: PathBuf,
    /// How its root key is kept.
    pub root: Root,
    /// Shares that have come are forgotten after this.
    pub unseal_time: Duration,
    /// Persons and services with their roles and signing keys (`certs init` writes one).
    pub registry: PathBuf,
    /// As [`Gateway::observe`].
    pub observe: Option<SocketAddr>,
    /// For how many months after their own the details of log entries are kept.
    pub log_retention_months: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub name: String,
    pub urls: Vec<BackendUrl>,
    /// ISO 3166 region, for transfers.
    pub region: Option<String>,
    /// CA file for https; none: the system's roots.
    pub ca: Option<PathBuf>,
    /// The name that its certificate must have and that SNI says; `None`: the host of the URL, or
    /// with `address = "original"` the name that the client asked for.
    pub server_name: Option<String>,
    /// Client certificate and key for https.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Spoken to in HTTP/2, without asking (RFC 9113, section 3.3) where it is not https.
    pub http2: bool,
    pub care: Care,
    /// `address = "original"`: there are no `urls`, and each connection goes where its client
    /// meant to go.
    pub original: Option<Original>,
}

/// How a backend's addresses are watched, spared and tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Care {
    /// Asked from time to time; `None`: only what requests meet is known.
    pub health: Option<Health>,
    pub ejection: Ejection,
    pub circuit: Circuit,
    /// Connections of all workers together.
    pub max_connections: usize,
    /// Requests in flight of all workers together.
    pub max_requests: usize,
    /// Of one client, while at least half of the places are taken; `None`: an eighth of them, but
    /// no fewer than `limits::STREAMS`.
    pub max_requests_per_client: Option<usize>,
    /// Requests that may wait for one of those places, and how long.
    pub max_waiting: usize,
    pub wait_time: Duration,
    /// Further tries of a request that may be sent again.
    pub retries: u32,
    /// How long one of several tries waits for the answer's head; `None`: `response_time`, and
    /// then no other try.
    pub attempt_time: Option<Duration>,
    /// How often a host name is looked up again.
    pub dns_time: Duration,
}

/// `health = { path = "/ping" }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// In origin form, with its query if it has one.
    pub path: String,
    pub interval: Duration,
    /// Connecting, TLS and the answer's head together.
    pub timeout: Duration,
    /// Good checks in a row that bring an address back.
    pub healthy: u32,
    /// Bad ones in a row that take it out.
    pub unhealthy: u32,
    /// Statuses that are good.
    pub status: Vec<u16>,
}

/// `ejection = { failures = 5 }`: an address that fails requests is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// The first time; each further one twice as long as the last, up to `longest`.
    pub time: Duration,
    pub longest: Duration,
    /// Percent of the addresses that may be out at once.
    pub share: u32,
}

/// `circuit = { failures = 20 }`: a backend that answers nowhere is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Failures in a row, over all addresses; 0: never.
    pub failures: u32,
    /// As in [`Ejection`].
    pub time: Duration,
    pub longest: Duration,
}

impl Default for Care {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            health: None,
            ejection: Ejection {
                failures: l::EJECTION_FAILURES,
                time: l::EJECTION_TIME,
                longest: l::EJECTION_LONGEST,
                share: l::EJECTION_SHARE,
            },
            circuit: Circuit {
                failures: l::CIRCUIT_FAILURES,
                time: l::CIRCUIT_TIME,
                longest: l::CIRCUIT_LONGEST,
            },
            max_connections: l::BACKEND_CONNECTIONS,
            max_requests: l::BACKEND_REQUESTS,
            max_requests_per_client: None,
            max_waiting: l::BACKEND_WAITING,
            wait_time: l::BACKEND_WAIT,
            retries: l::RETRIES,
            attempt_time: None,
            dns_time: l::DNS_TIME,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            path: "/".to_owned(),
            interval: l::HEALTH_INTERVAL,
            timeout: l::HEALTH_TIME,
            healthy: l::HEALTH_GOOD,
            unhealthy: l::HEALTH_BAD,
            status: vec![200],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendUrl {
    pub https: bool,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    /// Exact host (lower case, no port); `None`: any.
    pub host: Option<String>,
    /// matchit pattern: `/v1/results`, `/v1/subscribers/{id}`, `/static/{*rest}`.
    pub path: String,
    /// Upper-case methods; empty: the seven standard ones that carry or fetch a representation.
    pub methods: Vec<String>,
    /// Index into `Config::backends`.
    pub backend: usize,
    /// Index into `Config::domains`; needed by policies that derive.
    pub domain: Option<usize>,
    pub purpose: Option<Purpose>,
    pub request: RequestBody,
    pub response: ResponseBody,
    pub websocket: WebSocket,
    pub format: Option<Format>,
    /// Content codings of bodies that a policy reads.
    pub codings: Codings,
    pub rows: Rows,
    /// Bodies over `limits.hold` stream; else 413.
    pub stream: bool,
    pub client_certificate: bool,
    /// Query parameters that pass, each with what values are allowed.
    pub query: Vec<QueryRule>,
    /// Path captures that pass as they are.
    pub captures: Vec<String>,
    /// Cookies that pass.
    pub cookies: Vec<String>,
    /// Request header fields that pass, beside the standing list (lower case).
    pub request_headers: Vec<String>,
    /// Response header fields that pass, beside the standing list (lower case).
    pub response_headers: Vec<String>,
    /// The Host that the backend sees; default: the backend's own.
    pub host_upstream: Option<String>,
    /// How often one client may use it.
    pub rate: Option<Rate>,
    /// Bodies may come at any pace: `limits.body_rate` does not hold.
    pub slow: bool,
}

impl Route {
    /// Policies that write bodies anew: indices into `Config::policies`.
    pub fn rewrites(&self) -> impl Iterator<Item = usize> {
        let request = match self.request {
            RequestBody::Policy(at) => Some(at),
            RequestBody::Opaque | RequestBody::None => None,
        };
        let response = match self.response {
            ResponseBody::Policy(at) => Some(at),
            ResponseBody::Pass | ResponseBody::RestoreOwn(_) => None,
        };
        [request, response].into_iter().flatten()
    }
}

/// `codings = ["gzip", "zstd"]` and `encode = "identity"`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    /// Those that are taken, in the order of the file; any other is 415.
    pub taken: Vec<Coding>,
    /// What is rewritten goes on without them.
    pub plain: bool,
}

/// `rate = { requests = 100, per = "1m", burst = 20 }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub per: Duration,
    /// At once; default: `requests`.
    pub burst: u32,
}

/// `query = [{ name = "query", values = ["INSERT INTO results FORMAT JSONEachRow"] }, { name = "page" }]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryRule {
    pub name: String,
    /// Decoded values that pass; empty: any value (`check` prints that it is not looked at).
    pub values: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum RequestBody {
    /// Rewritten by this policy (index into `Config::policies`).
    Policy(usize),
    /// Passes unseen: `opaque = true`, shown in red by `check`.
    Opaque,
    /// No body is allowed.
    None,
}

#[derive(Clone, Debug)]
pub enum ResponseBody {
    /// Nothing is rewritten.
    Pass,
    /// What this client sent in this request comes back under the identifier it sent. The policy
    /// (index into `Config::policies`) has only `Restore` rules and `unlisted = keep`.
    RestoreOwn(usize),
    /// Rewritten for the client by this policy (index into `Config::policies`).
    Policy(usize),
}

impl ResponseBody {
    /// As a route writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::RestoreOwn(_) => "restore-own",
            Self::Policy(_) => "policy",
        }
    }
}

/// `websocket = "policy"`: what becomes of a request to switch to WebSocket (RFC 6455).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocket {
    /// No upgrade is taken.
    Refuse,
    /// Each text message of the client is a JSON document for the request's policy; what the
    /// backend says passes.
    Policy,
    /// Bytes pass unseen, both ways; only beside `opaque = true`.
    Opaque,
}

/// `[limits]`: the configurable part of `limits.rs`.
#[derive(Clone, Debug)]
pub struct Limits {
    pub hold: usize,
    pub hold_budget: usize,
    pub record: usize,
    pub depth: usize,
    pub restore: usize,
    pub connections: usize,
    pub handshakes: usize,
    /// Of those, one address's; IPv6: a /64's.
    pub handshakes_per_address: usize,
    pub handshake_time: Duration,
    pub head_time: Duration,
    pub idle_time: Duration,
    pub body_idle_time: Duration,
    pub connect_time: Duration,
    pub response_time: Duration,
    pub drain_time: Duration,
    /// The longest that one exchange may take, from its head to the last byte of its answer.
    pub exchange_time: Duration,
    /// The oldest that a client connection gets, and the most requests on it.
    pub connection_time: Duration,
    pub connection_requests: usize,
    /// Of one client address; IPv6: of a /64.
    pub connections_per_address: usize,
    /// Bytes a second that a client's body must bring while it is waited for, and that a client
    /// must take; 0: any.
    pub body_rate: usize,
}

impl Default for Limits {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            hold: l::HOLD,
            hold_budget: l::HOLD_BUDGET,
            record: l::RECORD,
            depth: l::DEPTH,
            restore: l::RESTORE,
            connections: l::CONNECTIONS,
            handshakes: l::HANDSHAKES,
            handshakes_per_address: l::HANDSHAKES_PER_ADDRESS,
            handshake_time: l::HANDSHAKE_TIME,
            head_time: l::HEAD_TIME,
            idle_time: l::IDLE_TIME,
            body_idle_time: l::BODY_IDLE_TIME,
            connect_time: l::CONNECT_TIME,
            response_time: l::RESPONSE_TIME,
            drain_time: l::DRAIN_TIME,
            exchange_time: l::EXCHANGE_TIME,
            connection_time: l::CONNECTION_TIME,
            connection_requests: l::CONNECTION_REQUESTS,
            connections_per_address: usize::MAX,
            body_rate: l::BODY_RATE,
        }
    }
}
