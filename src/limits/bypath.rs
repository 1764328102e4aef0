//! Bounds of traffic that is redirected, or leaves by CONNECT.

use std::time::Duration;

/// Hosts whose TLS ends at the egress proxy, and hosts that are let through, each: a hospital sends
/// to tens of portals. Each of the first may have a key and a certificate in memory.
pub const EGRESS_HOSTS: usize = 256;

/// Bytes of the head of a CONNECT: browsers send some hundred, with credentials for another proxy
/// two thousand.
pub const CONNECT_HEAD: usize = 8 * 1024;

/// How long a certificate that the egress proxy has made is valid: a day is what short-lived
/// certificates have in common (RFC 9773, section 1), and nobody has to revoke one.
pub const LEAF_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long it is given out before another one is made: half its life is left to who got it last.
pub const LEAF_RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// It is valid since an hour before: clocks of clients may be behind.
pub const LEAF_BEFORE: Duration = Duration::from_secs(3600);

/// Tunnels at once that pass unseen: each costs two sockets and two buffers (`TUNNEL_BUFFER`).
/// *(`gateway.egress.max_tunnels`)*
pub const TUNNELS: usize = 1024;

/// A tunnel in which nothing moves, in either direction: longer than what long polls wait.
/// *(`gateway.egress.tunnel_idle_time`)*
pub const TUNNEL_IDLE_TIME: Duration = Duration::from_secs(300);

/// Bytes that a tunnel moves in one step, each way: one TLS record.
pub const TUNNEL_BUFFER: usize = 16 * 1024;
