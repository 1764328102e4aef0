//! What one client, or one reader of what the gateway says of itself, may take of what all share.

use std::time::Duration;

use super::HANDSHAKES;

/// Bytes of answers that wait on one HTTP/2 connection, beyond one chunk of each of its streams:
/// the socket below has a buffer of its own, so this only has to last until a backend's next
/// chunk is here. Without it each of the `STREAMS` would have as much.
pub const SEND_QUEUE: usize = 256 * 1024;

/// One client's part of a backend's places, once half of them are taken: one in so many, but no
/// fewer than the streams of one connection (`STREAMS`). *(configurable)*
pub const CLIENT_SHARE: usize = 8;

/// Into so many groups clients are put for that, at random: 4 KiB a backend, and whoever takes all
/// it may is found in one group with one client of a thousand others.
pub const BACKEND_CLIENTS: usize = 1024;

/// Of the TLS handshakes at once (`HANDSHAKES`), those of one address (IPv6: a /64): a client that
/// says hello and no more keeps its own places, not everybody's. *(configurable)*
pub const HANDSHAKES_PER_ADDRESS: usize = HANDSHAKES / 8;

/// A certificate of an open connection whose time is over, and which is let in all the same (another
/// of its chain is what counts), is looked at again after this.
pub const ROLL_AGAIN: Duration = Duration::from_secs(60);

/// The oldest client connection, which is then closed after its answers: after more gateways have
/// come the load spreads to them, and what was checked in the handshake is checked again.
/// *(configurable)*
pub const CONNECTION_TIME: Duration = Duration::from_secs(3600);

/// Requests on one client connection, for the same reasons; a hundred thousand make a handshake
/// cost nothing. *(configurable)*
pub const CONNECTION_REQUESTS: usize = 100_000;

// --- floods and slow peers ----------------------------------------------------------------

/// HTTP/2 frames that cost work and carry nothing (`gateway/frames.rs`), of one connection: at
/// once, and a second after that. A client that gives up all its streams (`STREAMS`) several times
/// a second, and pings, stays below; a flood is through in a millisecond.
pub const FLOOD_FRAMES: u32 = 1000;
pub const FLOOD_RATE: u32 = 200;

/// Bytes a second that a client's body must bring in the time in which it is waited for, beyond
/// `BODY_IDLE_TIME`, and that a client must take of an answer in the time in which it blocks one:
/// the slowest mobile network does ten times as much, an attacker with thousands of connections
/// does a byte every half minute. *(configurable)*
pub const BODY_RATE: usize = 240;

/// Clients that a route with a rate remembers: some 8 MB. Beyond, those are forgotten who have
/// not come for longest.
pub const RATE_KEYS: usize = 1 << 18;

// --- who reads what a process says of itself

/// Bytes of log lines that wait for whoever reads standard error: some 4000 requests. What comes
/// on top is dropped and counted.
pub const LOG_QUEUE: usize = 1024 * 1024;

/// How long a process that ends waits for its last lines to be read.
pub const LOG_FLUSH_TIME: Duration = Duration::from_secs(2);

/// Pause before trying again, where standard error is a pipe that does not block.
pub const LOG_PAUSE: Duration = Duration::from_millis(10);

/// A connection to a metrics or admin address without a request, and a TLS handshake there:
/// whoever scrapes or probes asks at once, and connects again for the next time.
pub const OBSERVE_IDLE_TIME: Duration = Duration::from_secs(2);
pub const OBSERVE_HANDSHAKE_TIME: Duration = Duration::from_secs(3);

/// How long a connection there waits for the place of one that has been asked to leave.
pub const OBSERVE_WAIT: Duration = Duration::from_secs(1);
