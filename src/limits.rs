//! Every bound and every time-out, with its reason. A bound that does not stand here does not
//! exist. Those marked *(configurable)* are defaults of `[limits]` in `config.toml`.

use std::time::Duration;

mod backup;
mod bypath;
mod codings;
mod feed;
mod log;
mod protocols;
mod seal;
mod shares;
mod soak;
mod spool;
mod values;

pub use self::backup::*;
pub use self::bypath::*;
pub use self::codings::*;
pub use self::feed::*;
pub use self::log::*;
pub use self::protocols::*;
pub use self::seal::*;
pub use self::shares::*;
pub use self::soak::*;
pub use self::spool::*;
pub use self::values::*;

// --- bodies -------------------------------------------------------------------------------

/// Bodies up to this are rewritten and made durable whole before the first byte goes upstream,
/// so that a refusal is atomic. 256 KiB covers a batch of some 400 records. *(configurable)*
pub const HOLD: usize = 256 * 1024;

/// All held bodies together. 64 bodies of the largest kind: beyond that, waiting is honest. *(configurable)*
pub const HOLD_BUDGET: usize = 16 * 1024 * 1024;

/// One record leaves whole or not at all, so it is held; larger ones are refused. *(configurable)*
pub const RECORD: usize = 1024 * 1024;

/// One value that a rule replaces: identifiers are short, and a container is derived from its
/// raw bytes, which must then be in memory at once.
pub const VALUE: usize = 64 * 1024;

/// Values that one step of a rewrite replaces: each costs some hundred bytes until it has left, so
/// a body of nothing but tiny replaced values would take forty times its size. A held body of the
/// smallest records there are (`{"a":1}` and a line feed) stays below.
pub const SLOTS: usize = 32 * 1024;

/// Identifiers of one record that are looked for in its own free text, each in a dozen spellings:
/// a person has a few, and the search takes time for each.
pub const OWN_IDENTIFIERS: usize = 64;

/// Nesting of JSON: deeper than any real record, shallow enough that no reader behind us overflows. *(configurable)*
pub const DEPTH: usize = 128;

/// Bytes of a streamed body that are rewritten in one step: large enough that TLS records are
/// full, small enough that a connection stays cheap.
pub const CHUNK: usize = 64 * 1024;

/// Chunks that may wait between the reader of one side and the writer of the other:
/// with one in each hand, back-pressure reaches the sender within 256 KiB.
pub const CHUNKS_IN_FLIGHT: usize = 2;

/// Rewritten bytes of one body that wait for their records: enough for two full batches (`BATCH`)
/// on their way to the vault and a third that fills, at three new identifiers in a record of 600
/// bytes. What waits beside them (identifiers, sealed batches) takes about as much again.
pub const AHEAD: usize = 512 * 1024;

/// Segments of one body that wait so: each has a future of its own, and all are looked at when
/// one is ready, so a body in tiny pieces must not make thousands of them.
pub const AHEAD_SEGMENTS: usize = 64;

/// The same for all bodies together, beyond one segment each: some 20 000 identifiers, which
/// even a slow vault keeps within `VAULT_TIME`.
pub const AHEAD_ALL: usize = 4 * 1024 * 1024;

/// Distinct identifiers of one request that `restore-own` remembers. *(configurable)*
pub const RESTORE: usize = 1000;

/// Distinct identifiers that one client certificate may use with `restore-own` in one UTC day:
/// a Provider's whole list, not a population. Eight bytes are kept for each.
pub const RESTORE_PER_DAY: usize = 10_000;

/// How long a body waits for its share of the hold budget before it is told to come back:
/// long enough for a burst to pass, short enough that the client has not given up.
pub const HOLD_WAIT: Duration = Duration::from_secs(2);

/// After a refusal that left part of a body unread, the connection reads on this long and this
/// much before it closes: closing at once makes TCP throw the answer away (RFC 9112, section 9.6).
pub const LINGER_TIME: Duration = Duration::from_secs(2);
pub const LINGER_BYTES: u64 = 1024 * 1024;

/// After an answer that left part of an HTTP/2 body unread, the stream is read on this long and
/// this much before it is reset: some clients see an answer only when they have sent everything.
/// Most uploads fit in; one that does not is reset.
pub const DISCARD_TIME: Duration = Duration::from_secs(10);
pub const DISCARD_BYTES: u64 = 64 * 1024 * 1024;

/// A client that sends nothing for this long after its answer has stopped: longer than a round
/// trip, which is what an opened window takes to bring more.
pub const DISCARD_QUIET: Duration = Duration::from_millis(500);

// --- policies -----------------------------------------------------------------------------

/// Rules of one policy: each record shape has tens of places, and slots carry a rule in 16 bits.
pub const RULES: usize = 4096;

/// Columns of a row that has a header, or that a selector may name: a spreadsheet has no more.
/// What is known of each is kept for as long as the body lasts (eight bytes).
pub const COLUMNS: usize = 16_384;

/// Distinct member names that the selectors of one policy list.
pub const SELECTOR_NAMES: usize = 4096;

/// Steps of one selector: what is nested deeper than `DEPTH` never arrives.
pub const SELECTOR_STEPS: usize = DEPTH;

/// States of a policy's automaton. Some selectors (`$..a.*.*.*`) need a number of states that
/// is exponential in their length; real policies need tens.
pub const AUTOMATON_STATES: usize = 1024;

/// Bytes that a scanner indexes in one go: small enough that every thread's index stays in its core's first
/// cache (20 KiB at five bytes a token), large enough that starting a batch costs nothing.
pub const INDEX_BATCH: usize = 4096;

/// How often a gateway that waits for its leases before it listens looks whether they are there.
pub const READY_TICK: Duration = Duration::from_millis(10);

// --- heads --------------------------------------------------------------------------------

/// Bytes of a request head (hyper's read buffer for HTTP/1, header list size for HTTP/2).
pub const HEAD: usize = 32 * 1024;

/// Header fields in a request head.
pub const HEADERS: usize = 100;

/// Bytes of a response head of a backend.
pub const BACKEND_HEAD: usize = 64 * 1024;

// --- connections --------------------------------------------------------------------------

/// Client connections at once. *(configurable)*
pub const CONNECTIONS: usize = 4096;

/// Concurrent HTTP/2 streams of one client connection.
pub const STREAMS: u32 = 128;

/// HTTP/2 receive window of one stream: one hold's worth, so that a held body never stalls.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// HTTP/2 receive window of one connection.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Connections the kernel keeps for us between two accepts.
pub const BACKLOG: i32 = 1024;

/// Idle connections kept open to one backend.
pub const POOL_IDLE: usize = 64;

// --- time ---------------------------------------------------------------------------------

/// A TLS handshake: a phone on a bad network needs seconds, an attacker needs hours. *(configurable)*
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// From the first byte of a request head to its last (slow header attacks). *(configurable)*
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// A kept connection without a request. *(configurable)*
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// Longest silence of a client in the middle of a body, or of a client that does not read. *(configurable)*
pub const BODY_IDLE_TIME: Duration = Duration::from_secs(30);

/// Connecting to a backend, TLS included. *(configurable)*
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// From the last byte of the request to the backend's response head. *(configurable)*
pub const RESPONSE_TIME: Duration = Duration::from_secs(60);

/// An idle upstream connection is closed before the backend's own usual keep-alive ends.
pub const POOL_IDLE_TIME: Duration = Duration::from_secs(3);

/// How long a pooled connection may take to say that it is ready again: its answer has ended, so
/// only its own task is in between. Afterwards another one is taken.
pub const POOL_READY_TIME: Duration = Duration::from_millis(50);

/// The oldest a pooled connection may get: a backend that moved (DNS, a new instance) is found.
pub const POOL_AGE: Duration = Duration::from_secs(300);

/// HTTP/2 pings of a connection that has streams: a dead peer is noticed while it still matters.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
pub const PING_TIME: Duration = Duration::from_secs(10);

/// Access log lines are written together: at most this late, or when this many bytes wait.
pub const ACCESS_LOG_TIME: Duration = Duration::from_millis(250);
pub const ACCESS_LOG_BYTES: usize = 32 * 1024;

/// After SIGTERM, requests in flight may take this long. *(configurable)*
pub const DRAIN_TIME: Duration = Duration::from_secs(20);

/// Pause after a failed accept (too many open files): trying at once would only burn a core.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// --- vault --------------------------------------------------------------------------------

/// One call to the vault, its fsync included.
pub const VAULT_TIME: Duration = Duration::from_secs(5);

/// What `Retry-After` says while the vault is away.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Recovery records in one sealed batch: one encapsulation and one fsync for all of them.
pub const BATCH: usize = 1000;

/// Bytes of one message to the vault: a full batch of the longest identifiers fits.
pub const VAULT_MESSAGE: usize = 4 * 1024 * 1024;

/// The longest normal form of an identifier: longer ones are text, not identifiers.
/// (RFC 5321, section 4.5.3.1: a mailbox is at most 254 octets on the wire.)
pub const IDENTIFIER: usize = 512;

/// A lease of a domain key; the gateway renews it at half its life.
pub const LEASE_TIME: Duration = Duration::from_secs(15 * 60);

/// New identifiers a gateway may bring into one domain in one day (UTC), unless the domain says otherwise.
pub const BUDGET_PER_DAY: u64 = 1_000_000;

/// Pseudonyms in one reveal: a reveal is about people, not about tables.
pub const REVEAL_PSEUDONYMS: usize = 100;

/// How long an approved reveal can be fetched, unless the request asks for less.
pub const REVEAL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A client certificate's clock may be off by this much in signed statements.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

// --- inside the vault and its link ----------------------------------------------------------

/// Connections to the vault at once: gateways and officers, not the public.
pub const VAULT_CONNECTIONS: usize = 256;

/// Concurrent streams of one connection to the vault: a link keeps a few batches in flight.
pub const VAULT_STREAMS: u32 = 32;

/// Messages to the vault whose bodies are in memory at once: 16 of the largest are 64 MiB.
pub const VAULT_IN_FLIGHT: usize = 16;

/// Header fields of a request to the vault, all together: it reads none beside `content-type`.
pub const VAULT_HEAD: u32 = 16 * 1024;

/// A connection to the vault without a request: longer than the time between two renewals.
pub const VAULT_IDLE_TIME: Duration = Duration::from_secs(20 * 60);

/// HTTP/2 pings on a vault connection; one without an answer within as long is dead.
pub const VAULT_PING_TIME: Duration = Duration::from_secs(20);

/// Sealed batches of one lease in flight at once: some being synced in one commit, the next
/// being opened, one on the way.
pub const BATCHES_IN_FLIGHT: usize = 6;

/// First sights that may wait for a batch: ten full ones, beyond that callers wait for room.
pub const SIGHTS_QUEUED: usize = 1024;

/// First and longest pause between two attempts to reach the vault.
pub const VAULT_RETRY_FIRST: Duration = Duration::from_millis(50);
pub const VAULT_RETRY_LONGEST: Duration = Duration::from_secs(2);

/// Loading the known set: ten million entries are 160 MB.
pub const KNOWN_TIME: Duration = Duration::from_secs(300);

/// Entries for which room is made before they come: 640 MB. A vault that announces more is either
/// very large or wrong.
pub const KNOWN_RESERVED: usize = 1 << 25;

/// Known sets that the vault reads from its store at once: each waits for the disk most of the
/// time, and tokio's blocking threads are there for the reveals too.
pub const KNOWN_STREAMS: usize = 16;

/// Of these, one gateway's: a gateway with many domains loads them in turn, and one that does
/// not read its streams leaves the others theirs.
pub const KNOWN_STREAMS_EACH: usize = 4;

/// How long a known set waits for its turn: less than `VAULT_TIME`, so that the gateway is told.
pub const KNOWN_WAIT: Duration = Duration::from_secs(3);

/// A page of the known set that the gateway does not take within this long ends the stream.
pub const KNOWN_SEND_TIME: Duration = Duration::from_secs(30);

/// Entries in one frame of the known set: 64 KiB.
pub const KNOWN_FRAME: usize = 4096;

/// Works of many requests that share one commit, and the waiting ones behind them.
pub const COMMIT_GROUP: usize = 64;
pub const COMMIT_QUEUE: usize = 256;

/// Sizes to which a record's row is padded, so that its length tells at most one of four classes.
/// The first holds a subscriber number or telephone with its kind, the last the longest
/// identifier (`IDENTIFIER`) with the longest kind (`KIND_NAME`).
pub const ROW_SIZES: [usize; 4] = [64, 128, 256, 640];

/// The longest name of a kind.
pub const KIND_NAME: usize = 64;

/// Kinds in one batch: an index of one byte.
pub const BATCH_KINDS: usize = 255;

/// Pages in the write-ahead log between two checkpoints, 128 MiB: pages of the index, which are
/// written often, are copied into the database once.
pub const STORE_CHECKPOINT_PAGES: u32 = 32 * 1024;

/// SQLite's page cache for the writer: the upper levels of a ten-million-entry index.
pub const STORE_CACHE_KIB: usize = 48 * 1024;

/// How long the store waits for a lock that another process (a backup) holds.
pub const STORE_BUSY_TIME: Duration = Duration::from_secs(5);

/// Characters of a reveal's purpose and of its reason: a sentence or two for the second person.
pub const REVEAL_PURPOSE: usize = 64;
pub const REVEAL_REASON: usize = 1000;

/// How often an approved reveal can be read, at most.
pub const REVEAL_READS: u32 = 10;

/// Reveals in one list, newest first.
pub const REVEALS_LISTED: usize = 200;

/// Details of a log entry are padded to multiples of this: lengths then hardly tell a reason.
pub const LOG_PAD: usize = 256;

// --- files --------------------------------------------------------------------------------

/// Bytes of a PEM file: a bundle of every public CA is a quarter of this.
pub const PEM_FILE: u64 = 1024 * 1024;

/// Bytes of one configuration file: a thousand routes fit many times over.
pub const CONFIG_FILE: u64 = 4 * 1024 * 1024;

/// Files that one configuration may include: more is a mistake in a pattern.
pub const INCLUDES: usize = 256;

/// Characters of a person's or service's id in certificates and registry.
pub const PERSON_ID: usize = 64;

/// Bytes of a route's path pattern: a longer request path would not be matched anyway.
pub const PATH_PATTERN: usize = 2048;

// --- demonstration and measurements -------------------------------------------------------

/// One body that the demonstration's backend takes: it holds bodies whole, and its database is
/// in a temporary folder.
pub const DEMO_BODY: usize = 64 * 1024 * 1024;

/// How long a command waits for a process of its own to become ready: the first start makes
/// keys and a database, on a slow disk.
pub const LOCAL_START: Duration = Duration::from_secs(20);

/// After this long without an answer to SIGTERM such a process is killed: it has nothing to
/// drain.
pub const LOCAL_STOP: Duration = Duration::from_secs(5);

/// How long a measurement waits for one connection or one answer: a body of any load is through
/// in less, and what takes longer is an error, not a latency.
pub const BENCH_ANSWER: Duration = Duration::from_secs(60);

/// Pause of the load generator after a connection that could not be made.
pub const BENCH_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a refusal that are looked at for its code.
pub const BENCH_PROBLEM: usize = 64 * 1024;

/// Bytes that the origin of a measurement keeps of one body, and how many bodies: enough to see
/// that they were rewritten, too little to cost anything.
pub const BENCH_SAMPLE: usize = 256 * 1024;
pub const BENCH_SAMPLES: usize = 8;

/// How long a counter may lag behind the answers that it counts.
pub const BENCH_SETTLE: Duration = Duration::from_secs(5);

/// Growth of memory that a soak forgives, the larger of both: an allocator keeps what a burst
/// took, while a leak goes on.
pub const BENCH_GROWTH: usize = 4 * 1024 * 1024;
pub const BENCH_GROWTH_PART: f64 = 0.1;

// --- back ends ----------------------------------------------------------------------------

/// Addresses of one backend: a choice among them is made in one word of bits.
pub const BACKEND_URLS: usize = 64;

/// Requests in flight to one backend, and connections to it, from the whole gateway: as many as
/// clients may have connections (`CONNECTIONS`), so that unless configured the cap on clients is
/// what limits. *(configurable)*
pub const BACKEND_REQUESTS: usize = CONNECTIONS;
pub const BACKEND_CONNECTIONS: usize = CONNECTIONS;

/// Requests that wait for a place at one backend, and how long: enough for a burst, and short
/// enough that the client is still there. *(configurable)*
pub const BACKEND_WAITING: usize = 1024;
pub const BACKEND_WAIT: Duration = Duration::from_secs(1);

/// Requests on one pooled connection: whatever a backend keeps for a connection is let go now and
/// then, at one handshake in ten thousand.
pub const POOL_REQUESTS: u32 = 10_000;

/// Between two health checks of one address: a dead one is out after three, within a quarter of a
/// minute, and eight gateways together ask less than twice a second. *(configurable)*
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// One check, connecting included: a backend that needs longer for a page made for this is not
/// well. *(configurable)*
pub const HEALTH_TIME: Duration = Duration::from_secs(1);

/// Checks in a row that bring an address back or take it out: one lost packet is no outage, one
/// good answer of a server that starts is no recovery. *(configurable)*
pub const HEALTH_GOOD: u32 = 2;
pub const HEALTH_BAD: u32 = 3;

/// Each pause between checks or look-ups is longer or shorter by up to this many percent, so that
/// gateways started together do not ask together.
pub const JITTER_PERCENT: u32 = 10;

/// Bytes of the answer to a health check, head included; the rest is not read.
pub const HEALTH_HEAD: usize = 16 * 1024;

/// Failures in a row that eject an address: a single bad request must not. *(configurable)*
pub const EJECTION_FAILURES: u32 = 5;

/// The first ejection: a restart takes about as long. Each further one is twice as long, up to the
/// longest; an address that has been good for the longest starts anew. *(configurable)*
pub const EJECTION_TIME: Duration = Duration::from_secs(10);
pub const EJECTION_LONGEST: Duration = Duration::from_secs(300);

/// Percent of a backend's addresses that may be ejected at once: when more of them fail, the cause
/// is likely a common one, and the rest would only be overrun. *(configurable)*
pub const EJECTION_SHARE: u32 = 50;

/// Requests in a row that no address of a backend has answered, until it is left alone: more than
/// a restart costs at a moderate rate. *(configurable)*
pub const CIRCUIT_FAILURES: u32 = 20;

/// How long it is left alone at first, twice as long after each probe that fails, and at most.
/// *(configurable)*
pub const CIRCUIT_TIME: Duration = Duration::from_secs(1);
pub const CIRCUIT_LONGEST: Duration = Duration::from_secs(30);

/// Further tries of one request: the second address either works or the trouble is a common one.
/// *(configurable)*
pub const RETRIES: u32 = 1;

/// More of them than this the configuration does not take: each may wait as long as the first.
pub const RETRIES_MOST: u32 = 5;

/// Retries of one backend, in percent of its requests, beyond a reserve that fills up again at
/// that rate: an instance that dies takes what was in flight to it along (the reserve), while a
/// backend that is down everywhere gets a fifth more requests, not twice as many.
pub const RETRY_SHARE: u32 = 20;
pub const RETRY_RESERVE: u32 = 256;

/// How often a backend's name is looked up again: the resolver that the system asks keeps the
/// record's own life; this is how late the gateway may be on top. *(configurable)*
pub const DNS_TIME: Duration = Duration::from_secs(30);

/// Look-ups because connecting failed, at most one in this time and name.
pub const DNS_AGAIN: Duration = Duration::from_secs(1);

/// Addresses of one name that are used: a resolver's answer of one datagram has fewer.
pub const DNS_ADDRESSES: usize = 64;

/// One exchange from its head to the last byte of its answer: both sides may keep below every
/// time-out of silence and still never come to an end. An hour is a large upload over a bad line.
/// *(configurable)*
pub const EXCHANGE_TIME: Duration = Duration::from_secs(3600);

// --- observing ----------------------------------------------------------------------------

/// Traces that wait for the collector: a second of a busy gateway at one in ten. What comes on
/// top is dropped and counted: a collector that is away costs no request anything.
pub const TRACES_QUEUED: usize = 2048;

/// Traces in one message to the collector: some 256 KiB of JSON.
pub const TRACES_BATCH: usize = 256;

/// How long a trace waits for company before it is sent.
pub const TRACES_TIME: Duration = Duration::from_secs(1);

/// One message to the collector, with its answer; and the last one at the end of the process.
pub const TRACES_SEND_TIME: Duration = Duration::from_secs(5);

/// How often a message is sent that the collector could not take, and the first pause (the next
/// ones are twice as long): after half a minute it is dropped.
pub const TRACES_TRIES: u32 = 5;
pub const TRACES_PAUSE: Duration = Duration::from_secs(1);

/// Vault round trips of one request that are told one by one: a streamed body has thousands.
pub const TRACES_PARTS: usize = 64;

/// Bytes of an answer of the collector, and of a request to the admin address: a line or two.
pub const ADMIN_BODY: usize = 16 * 1024;

/// Connections to a metrics or admin address at once: scrapers, probes and a terminal.
pub const OBSERVE_CONNECTIONS: usize = 16;

/// How long a log level that was set while running lasts unless the request says otherwise, and
/// at most: a level of debug that somebody forgot fills disks.
pub const LOG_LEVEL_TIME: Duration = Duration::from_secs(15 * 60);
pub const LOG_LEVEL_LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Between two looks of `top`, unless its command line says otherwise: rates of a second are what
/// one thinks in.
pub const TOP_INTERVAL: Duration = Duration::from_secs(1);

/// How long `top` waits for a key before it looks whether there is something new to draw.
pub const TOP_TICK: Duration = Duration::from_millis(100);
// --- the door: TLS and who stands before it -------------------------------------------------

/// TLS handshakes at once, from the client's hello on. What waits for a place costs no more than
/// a connection; 512 keep two cores busy at a round trip of 200 ms. *(configurable)*
pub const HANDSHAKES: usize = 512;

/// How often the gateway looks whether its TLS files have changed. A change counts when a second
/// look finds it the same: certificate and key are two files, and nobody writes both at once.
pub const TLS_FILES_TICK: Duration = Duration::from_secs(1);

/// Bytes of a list of revoked certificates: a hundred thousand of them are 4 MB.
pub const CRL_FILE: u64 = 16 * 1024 * 1024;

/// Certificates beside the default one: more names than one gateway has routes for.
pub const CERTIFICATES: usize = 1024;

/// The longest line of PROXY protocol version 1, its end included (the specification, 2.1).
pub const PROXY_LINE: usize = 107;

/// Bytes behind the fixed part of a PROXY protocol header of version 2: addresses, and fields
/// that are skipped. Load balancers send some hundred; a client certificate inside is 2 KB.
pub const PROXY_HEADER: usize = 4096;

// --- reload and hand-over

/// Whether the configuration's files have changed is looked at this often; a change counts when
/// two looks in a row find the same.
pub const CONFIG_FILES_TICK: Duration = Duration::from_secs(1);

/// A new configuration waits this long for leases that it needs and the old one did not; then it
/// is refused: whoever has asked on the admin address hears it within that connection's time.
pub const RELOAD_WAIT: Duration = Duration::from_secs(50);

/// On the way out, a kept HTTP/1.1 connection is told with its next answer (`Connection: close`);
/// one that has no next request within this time is closed. Longer than a round trip, since a
/// request may be under way.
pub const LEAVE_TIME: Duration = Duration::from_secs(1);

/// On the way out, a handshake that is under way may take this long more: some round trips.
pub const LEAVE_HANDSHAKE: Duration = Duration::from_secs(2);

/// A successor that has been given the sockets says within this time that it serves: as long as
/// the largest known set takes to load.
pub const HANDOVER_TIME: Duration = Duration::from_secs(10 * 60);

/// Each other step of a hand-over: two processes of one machine.
pub const HANDOVER_STEP: Duration = Duration::from_secs(10);

/// Listening sockets that are handed over together (the kernel's own bound is 253).
pub const HANDOVER_SOCKETS: usize = 128;

/// The line that goes with them.
pub const HANDOVER_LINE: u64 = 1024;
