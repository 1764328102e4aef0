//! One client connection, from the door to close.
//!
//! What enters: a TCP stream. What leaves: nothing; every request on it goes to [`exchange`].
//! What can never happen: hyper guesses the protocol (ALPN has decided it), or the connection
//! outlives its time-outs ([`Clock`] keeps them; hyper's own header timer would also close kept
//! connections, and cost an allocation a request).

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::body::answer::Answer;
use super::client::Client;
use super::clock::{Clock, Verdict, Watched, unless_stalled};
use super::door::counts::Reason;
use super::door::{Bypath, Door, Guest};
use super::egress::Arrival;
use super::exchange::exchange;
use super::frames::Counted;
use super::shared::Worker;
use super::socket::{Delivery, Guarded};
use super::story;
use super::upstream::original::{self, Aim};
use super::websocket::Tunnel;
use crate::config::Limits;
use crate::error::Code;
use crate::limits;
use crate::tls::identity::Peer;

/// Application protocols offered, best first.
pub const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What every request of one connection may know about it.
pub struct Conn {
    pub worker: Arc<Worker>,
    /// Who the client's certificate says it is. A certificate of the right CA without an
    /// identity of ours counts as none.
    pub peer: Option<Peer>,
    /// The name asked for in the handshake.
    pub sni: Option<String>,
    /// Where the client is: as a trusted load balancer says, else as the socket does. For limits;
    /// personal data, so never logged.
    pub source: SocketAddr,
    /// To whose share of a backend its requests count.
    pub client: Client,
    pub clock: Arc<Clock>,
    /// How it came, if not by name.
    pub way: Bypath,
    /// Where a redirected client meant to go.
    pub aim: Option<Arc<Aim>>,
    /// Of the configuration that it came in under.
    limits: Arc<Limits>,
    /// The next answer is the last one (HTTP/1.1).
    leaves: AtomicBool,
    /// HTTP/1.1 only: HTTP/2 resets streams, not connections.
    pub delivery: Option<Arc<Delivery>>,
    /// Where an exchange leaves the connection's other protocol, for when hyper is through.
    pub switch: Mutex<Option<oneshot::Sender<Box<Tunnel>>>>,
}

/// Serves one connection until it ends, or `stop` and then its last answer.
pub async fn connection(
    tcp: TcpStream,
    peer: SocketAddr,
    worker: Arc<Worker>,
    door: Arc<Door>,
    stop: CancellationToken,
) {
    let _open = worker.metrics.client_connection();
    // Without it Nagle's algorithm holds the last part of an answer back.
    let _ = tcp.set_nodelay(true);
    let transparent = worker.site().shared.transparent;
    let original = transparent.and_then(|how| original::destination(&tcp, how));
    // Who has been accepted comes in, even on the way out; but a silent one is not waited for.
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(limits::LEAVE_HANDSHAKE).await;
    };
    let entered = tokio::select! {
        entered = door.enter(tcp, peer, &stop) => entered,
        () = too_late => return,
    };
    drop(door);
    match entered {
        Ok(mut guest) => {
            guest.way.original = original;
            serve(guest, worker, stop).await;
        }
        Err(reason) => turned_away(&worker, reason),
    }
}

/// As [`connection`], for one that came to the egress proxy.
pub async fn outward(
    tcp: TcpStream,
    peer: SocketAddr,
    worker: Arc<Worker>,
    door: Arc<Door>,
    stop: CancellationToken,
) {
    let shared = worker.site().shared.clone();
    let Some(egress) = &shared.egress else {
        return;
    };
    let _open = worker.metrics.client_connection();
    let _ = tcp.set_nodelay(true);
    let arrived = egress.arrive((tcp, peer), &worker, &shared.limits, &door, &stop);
    let arrived = arrived.await;
    drop(door);
    let drain = shared.limits.drain_time;
    drop(shared);
    match arrived {
        Ok(Arrival::Guest(guest)) => serve(*guest, worker, stop).await,
        Ok(Arrival::Tunnel(tunnel)) => tunnel.run(&stop, drain).await,
        Ok(Arrival::Refused) => {}
        Err(reason) => turned_away(&worker, reason),
    }
}

fn turned_away(worker: &Worker, reason: Reason) {
    worker.metrics.handshakes_failed.inc();
    worker.metrics.door.turned_away(reason);
    tracing::debug!(
        reason = reason.name(),
        "turned away before its first request"
    );
}

async fn serve(guest: Guest, worker: Arc<Worker>, stop: CancellationToken) {
    if guest.stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_h2(guest, worker).await;
    } else {
        serve_h1(guest, worker, stop).await;
    }
}

async fn serve_h1(guest: Guest, worker: Arc<Worker>, stop: CancellationToken) {
    let delivery = Arc::new(Delivery::default());
    let (switch, mut switched) = oneshot::channel();
    let conn = Conn::new(worker, &guest, Some((delivery.clone(), switch)));
    let Guest { stream, member, .. } = guest;
    let guarded = Guarded::new(stream, delivery);
    let io = TokioIo::new(Watched::new(guarded, conn.clock.clone()));
    // At most 100 fields is hyper's own default, and cheapest so; `head::check` counts for both.
    let http = http1::Builder::new()
        .max_buf_size(limits::HEAD)
        .serve_connection(io, service_fn(|request| answer(&conn, request)))
        .with_upgrades();
    let mut http = pin!(http);
    let limits = conn.limits.clone();
    let mut watch = pin!(conn.clock.watch(&limits, true));
    tokio::select! {
        ended = http.as_mut() => {
            return over(&conn, ended, &mut switched, member.leave()).await;
        }
        verdict = watch.as_mut() => {
            closed(verdict);
            match verdict {
                Verdict::Old => {}
                // Nothing is on its way, so this ends at once, and with a close_notify.
                Verdict::Idle => {
                    http.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(limits::LINGER_TIME, http).await;
                    return;
                }
                _ => return,
            }
        }
        () = member.leave().cancelled() => {}
    }
    if stop.is_cancelled() {
        // A request may be under way: it is answered, and its answer says that it is the last.
        conn.leaves.store(true, Relaxed);
        tokio::select! {
            ended = http.as_mut() => {
                return over(&conn, ended, &mut switched, member.leave()).await;
            }
            () = tokio::time::sleep(limits::LEAVE_TIME) => {}
        }
    }
    http.as_mut().graceful_shutdown();
    tokio::select! {
        ended = http => over(&conn, ended, &mut switched, member.leave()).await,
        verdict = conn.clock.watch(&limits, true) => closed(verdict),
        () = cut(member.leave(), &limits) => {}
    }
}

async fn serve_h2(guest: Guest, worker: Arc<Worker>) {
    let conn = Conn::new(worker, &guest, None);
    let Guest { stream, member, .. } = guest;
    let counted = Counted::new(stream, conn.worker.metrics.clone());
    let io = TokioIo::new(Watched::new(counted, conn.clock.clone()));
    let limits = conn.limits.clone();
    let http = http2::Builder::new(Streams::new(&limits))
        .timer(TokioTimer::new())
        .max_header_list_size(limits::HEAD as u32)
        .max_concurrent_streams(limits::STREAMS)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_send_buf_size(limits::SEND_QUEUE)
        .keep_alive_interval(limits::PING_INTERVAL)
        .keep_alive_timeout(limits::PING_TIME)
        .serve_connection(io, service_fn(|request| answer(&conn, request)));
    let mut http = pin!(http);
    let mut watch = pin!(conn.clock.watch(&limits, false));
    let verdict = tokio::select! {
        _ = http.as_mut() => return,
        verdict = watch.as_mut() => Some(verdict),
        () = member.leave().cancelled() => None,
    };
    // GOAWAY, then as long as the streams take; a peer that is only idle gets a moment.
    http.as_mut().graceful_shutdown();
    let patience = match verdict {
        Some(Verdict::Idle) => limits::LINGER_TIME,
        Some(Verdict::Old) | None => Duration::MAX,
        Some(_) => return,
    };
    tokio::select! {
        _ = http => {}
        () = tokio::time::sleep(patience) => {}
        verdict = conn.clock.watch(&limits, false), if patience == Duration::MAX => closed(verdict),
        () = cut(member.leave(), &limits) => {}
    }
}

/// hyper is through with the connection: it has ended, or goes on in another protocol.
async fn over(
    conn: &Conn,
    ended: Result<(), hyper::Error>,
    switched: &mut oneshot::Receiver<Box<Tunnel>>,
    leave: &CancellationToken,
) {
    unparsed(conn, ended);
    if let Ok(tunnel) = switched.try_recv() {
        tunnel.run(leave).await;
    }
}

/// A head that is no HTTP never becomes a request: hyper has answered it by a status alone.
fn unparsed(conn: &Conn, ended: Result<(), hyper::Error>) {
    match ended {
        Err(error) if error.is_parse_too_large() => story::unparsed(conn, Code::HeadTooLarge),
        Err(error) if error.is_parse() => story::unparsed(conn, Code::BadRequest),
        _ => {}
    }
}

/// Waits for what ends a connection before its time (the gateway stops, or its certificate is not
/// let in any more), and then for as long as requests in flight have.
async fn cut(leave: &CancellationToken, limits: &Limits) {
    leave.cancelled().await;
    tokio::time::sleep(limits.drain_time).await;
}

fn closed(verdict: Verdict) {
    tracing::debug!(?verdict, "connection closed");
}

/// hyper wants a result; an exchange always has an answer.
fn answer(
    conn: &Arc<Conn>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, std::convert::Infallible>> + Send + use<> {
    let held = conn.clone();
    let answer = exchange(conn.clone(), request);
    async move {
        let mut answer = answer.await;
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if held.leaves.load(Relaxed) && !switches {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(answer)
    }
}

/// What only an HTTP/1.1 connection has.
type Http1 = (Arc<Delivery>, oneshot::Sender<Box<Tunnel>>);

impl Conn {
    pub fn is_h2(&self) -> bool {
        self.delivery.is_none()
    }

    fn new(worker: Arc<Worker>, guest: &Guest, http_1: Option<Http1>) -> Arc<Self> {
        let (delivery, switch) = http_1.unzip();
        let session = guest.stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let peer = certificate.and_then(|c| Peer::from_certificate(c).ok());
        let sni = session.server_name().map(str::to_owned);
        let aim = guest.way.original.map(|to| {
            Arc::new(Aim {
                to,
                client: guest.source,
                name: sni.clone(),
            })
        });
        Arc::new(Self {
            client: Client::of(peer.as_ref(), guest.source.ip()),
            peer,
            sni,
            way: guest.way,
            aim,
            source: guest.source,
            clock: Arc::new(Clock::default()),
            limits: worker.site().shared.limits.clone(),
            leaves: AtomicBool::new(false),
            worker,
            delivery,
            switch: Mutex::new(switch),
        })
    }
}

/// Runs HTTP/2 streams, and gives up those that nobody wakes any more.
#[derive(Clone)]
struct Streams {
    patience: Duration,
    longest: Duration,
}

impl Streams {
    fn new(limits: &Limits) -> Self {
        let longest = limits.response_time.max(limits.connect_time);
        Self {
            patience: longest.max(limits::VAULT_TIME) + limits.body_idle_time,
            longest: limits.exchange_time,
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        // Boxed once: a task's future is copied several times on its way. Dropped, a stream is
        // reset.
        tokio::spawn(unless_stalled(
            self.patience,
            self.longest,
            Box::pin(stream),
        ));
    }
}

/// Exchanges may be moved between threads, whatever shape the runtime has.
#[allow(dead_code, reason = "checked by compiling")]
fn exchanges_are_send(conn: &Arc<Conn>, request: Request<Incoming>) -> Pin<Box<dyn Send>> {
    Box::pin(answer(conn, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// Every HTTP/2 stream allocates one and copies it. What is large and rare is boxed.
    #[test]
    fn speed_04_an_exchange_is_a_small_future() {
        let bytes = size(exchange);
        assert!(bytes <= 4 * 1024, "{bytes} bytes");
    }
}
