//! Bounds of what stands beside plain HTTP/1.1: WebSocket, HTTP/2 to backends, HTTP/2 windows.

use std::time::Duration;

// --- WebSocket ----------------------------------------------------------------------------

/// Bytes of a WebSocket message that are taken before it needs its share of the hold budget: the
/// usual message is smaller, and one read of a socket brings about as much.
pub const MESSAGE_FREE: usize = 16 * 1024;

/// What is read from a WebSocket at once, set aside for each side of each connection.
pub const MESSAGE_READ: usize = 8 * 1024;

/// How long a WebSocket's two sides have to answer a closing message, and to leave: a round trip
/// of the slowest line.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

// --- HTTP/2 to backends -------------------------------------------------------------------

/// Exchanges on one HTTP/2 connection to a backend, if it allows as many: what servers usually
/// allow (RFC 9113, section 6.5.2 advises no fewer). More go on another connection.
pub const BACKEND_STREAMS: usize = 100;

/// How often it is looked whether a backend's settings have come, on a new HTTP/2 connection: they
/// are a round trip away.
pub const SETTINGS_TICK: Duration = Duration::from_millis(1);

/// Bytes sent to an HTTP/2 client for each WINDOW_UPDATE that is not counted among the frames that
/// carry nothing: some clients open both windows for every DATA frame, and an event may have twenty
/// bytes, nine more with its head.
pub const UPDATE_BYTES: usize = 16;

/// Bytes sent that an HTTP/2 client may still open windows for: all that stands in the window of
/// the largest clients (Chromium opens 15 MiB).
pub const UNREAD: usize = 16 * 1024 * 1024;
