//! Every bound and every time-out, with its reason. A bound that does not stand here does not
//! exist. Those marked *(configurable)* are defaults of `[limits]` in `config.toml`.

use std::time::Duration;

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

/// Nesting of JSON: deeper than any real record, shallow enough that no reader behind us overflows. *(configurable)*
pub const DEPTH: usize = 128;

/// Bytes of a streamed body that are rewritten in one step: large enough that TLS records are
/// full, small enough that a connection stays cheap.
pub const CHUNK: usize = 64 * 1024;

/// Chunks that may wait between the reader of one side and the writer of the other:
/// with one in each hand, back-pressure reaches the sender within 256 KiB.
pub const CHUNKS_IN_FLIGHT: usize = 2;

/// Distinct identifiers of one request that `restore-own` remembers. *(configurable)*
pub const RESTORE: usize = 1000;

// --- policies -----------------------------------------------------------------------------

/// Rules of one policy: each record shape has tens of places, and slots carry a rule in 16 bits.
pub const RULES: usize = 4096;

/// Distinct member names that the selectors of one policy list.
pub const SELECTOR_NAMES: usize = 4096;

/// Steps of one selector: what is nested deeper than `DEPTH` never arrives.
pub const SELECTOR_STEPS: usize = DEPTH;

/// States of a policy's automaton. Some selectors (`$..a.*.*.*`) need a number of states that
/// is exponential in their length; real policies need tens.
pub const AUTOMATON_STATES: usize = 1024;

/// Bytes that a scanner indexes in one go: small enough that every connection can have its own
/// index (20 KiB at five bytes a token), large enough that starting a batch costs nothing.
pub const INDEX_BATCH: usize = 4096;

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

/// After SIGTERM, requests in flight may take this long. *(configurable)*
pub const DRAIN_TIME: Duration = Duration::from_secs(20);

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
