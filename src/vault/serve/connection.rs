//! One connection: handshake, identity, HTTP/2, and every timer.
//!
//! ```text
//! accepted ─ handshake (10 s) ─▶ first request (10 s) ─▶ requests, pings (20 s) ─▶ idle (20 min) ─▶ closed
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Server, routes};
use crate::limits;
use crate::tls::identity::Peer;
use crate::vault::state::Caller;

pub async fn serve(server: Server, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let handshake = timeout(limits::HANDSHAKE_TIME, server.acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = handshake else {
        server.keeper.parts.metrics.handshakes_failed.inc();
        tracing::debug!("a handshake failed");
        return;
    };
    let tls = stream.get_ref().1;
    // ALPN offers h2 alone; a client without ALPN has not asked for HTTP/2.
    if tls.alpn_protocol() != Some(b"h2") {
        return;
    }
    let peer = tls.peer_certificates().and_then(|chain| chain.first());
    let caller = peer
        .and_then(|certificate| Peer::from_certificate(certificate).ok())
        .and_then(|peer| server.keeper.parts.caller(&peer));
    let open = server.keeper.parts.metrics.connections_open.clone();
    open.inc();
    http(server, TokioIo::new(stream), caller).await;
    open.dec();
}

async fn http<I>(server: Server, io: I, caller: Option<Caller>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let clock = Arc::new(Clock::new());
    let service = {
        let (server, clock) = (server.clone(), Arc::clone(&clock));
        service_fn(move |request| {
            let (server, caller) = (server.clone(), caller.clone());
            let busy = Busy::start(&clock);
            async move {
                let response = routes::answer(server, caller, request).await;
                drop(busy);
                Ok::<_, std::convert::Infallible>(response)
            }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::VAULT_STREAMS)
        .max_header_list_size(limits::VAULT_HEAD)
        .initial_stream_window_size(limits::CONNECTION_WINDOW)
        .initial_connection_window_size(4 * limits::CONNECTION_WINDOW)
        .keep_alive_interval(limits::VAULT_PING_TIME)
        .keep_alive_timeout(limits::VAULT_PING_TIME)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut closing = false;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = server.stop.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => match clock.idle() {
                // A preface or a first request that never comes, or a graceful end that does not.
                Idle::Fresh(time) if closing || time > limits::HEAD_TIME => return,
                Idle::For(time) if time > limits::VAULT_IDLE_TIME && !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Idle::For(time) if closing && time > limits::HEAD_TIME => return,
                _ => {}
            },
        }
    }
}

/// Since when a connection has had nothing to do.
struct Clock {
    start: Instant,
    active: AtomicUsize,
    requests: AtomicU64,
    /// Milliseconds after `start`.
    last: AtomicU64,
}

enum Idle {
    No,
    /// No request yet.
    Fresh(Duration),
    For(Duration),
}

impl Clock {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            active: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    fn idle(&self) -> Idle {
        if self.active.load(Relaxed) > 0 {
            return Idle::No;
        }
        let now = self.start.elapsed();
        if self.requests.load(Relaxed) == 0 {
            return Idle::Fresh(now);
        }
        Idle::For(now.saturating_sub(Duration::from_millis(self.last.load(Relaxed))))
    }
}

/// A request in progress.
struct Busy(Arc<Clock>);

impl Busy {
    fn start(clock: &Arc<Clock>) -> Self {
        clock.active.fetch_add(1, Relaxed);
        clock.requests.fetch_add(1, Relaxed);
        Self(Arc::clone(clock))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.0.start.elapsed().as_millis();
        self.0
            .last
            .store(u64::try_from(now).unwrap_or(u64::MAX), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}
