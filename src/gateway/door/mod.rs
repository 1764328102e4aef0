//! From an accepted socket to a client whom one can talk to.
//!
//! ```text
//! socket ─▶ proxy: whose connection? ─▶ hello ─▶ name known? ─▶ a turn of its address ─▶ a place
//!                                                                        among handshakes ─┐
//!                   roll: would this certificate be let in now? ◀─ TLS ◀───────────────────┘
//! ```
//!
//! What enters: TCP streams, and the wish to read the TLS files again. What leaves: TLS streams,
//! each with the address it comes from. What can never happen: a name that nobody here has gets a
//! certificate, a stranger says whose connection it is, a handshake takes longer than its time,
//! or a client goes on under a certificate that the newest CA and lists would not let in, or that
//! has ended.

pub mod counts;
pub mod places;
pub mod proxy;
pub mod roll;
pub mod turns;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::sync::CancellationToken;

use self::counts::{DoorMetrics, Reason};
use self::places::{Place, Places};
use self::roll::{Member, Roll};
use self::turns::Turns;
use crate::config::{Limits, Network, ProxyProtocol};
use crate::limits;
use crate::tls::TlsError;
use crate::tls::reload::{Plan, Reloadable, Reloaded, Serving};
use crate::tls::sni::Stranger;

/// A fatal alert in clear, as TLS sends it before keys are agreed (RFC 8446, sections 5.1 and 6):
/// alert, 1.2 on the wire, two bytes, fatal, unrecognized_name. rustls has no way to send it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// One for all listeners and workers.
pub struct Door {
    tls: Reloadable,
    rules: ArcSwap<Rules>,
    roll: Roll,
    metrics: Arc<DoorMetrics>,
}

/// What a configuration says of the door, beside its TLS.
struct Rules {
    proxies: Option<ProxyProtocol>,
    limits: Limits,
    handshakes: Arc<Semaphore>,
    turns: Arc<Turns>,
    places: Arc<Places>,
}

impl Rules {
    /// Whoever is inside keeps their place, as far as the bounds are still the same.
    fn new(proxies: Option<ProxyProtocol>, limits: &Limits, before: Option<&Self>) -> Self {
        let same =
            |get: fn(&Limits) -> usize| before.filter(|before| get(&before.limits) == get(limits));
        let handshakes = same(|l| l.handshakes).map(|before| before.handshakes.clone());
        let turns = same(|l| l.handshakes_per_address).map(|before| before.turns.clone());
        let places = same(|l| l.connections_per_address).and_then(|_| same(|l| l.connections));
        let (each, all) = (limits.connections_per_address, limits.connections);
        Self {
            proxies,
            limits: limits.clone(),
            turns: turns.unwrap_or_else(|| Turns::new(limits.handshakes_per_address)),
            handshakes: handshakes.unwrap_or_else(|| Arc::new(Semaphore::new(limits.handshakes))),
            places: places.map_or_else(|| Places::new(each, all), |before| before.places.clone()),
        }
    }
}

/// A client that has come in.
pub struct Guest {
    pub stream: TlsStream<TcpStream>,
    /// The client's own address where a trusted load balancer has named it, else the peer's.
    pub source: SocketAddr,
    /// On the roll.
    pub member: Member,
    /// Among the connections of its address.
    pub place: Place,
    /// How it came, if it did not come by name.
    pub way: Bypath,
}

/// How a client came that did not mean to talk to the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypath {
    /// By CONNECT to this port of the host that it named in its handshake.
    pub portal: Option<u16>,
    /// Redirected on its way to this address.
    pub original: Option<SocketAddr>,
}

impl Door {
    /// # Errors
    /// A TLS file that cannot be used.
    pub fn new(
        plan: Plan,
        proxies: Option<ProxyProtocol>,
        limits: &Limits,
        metrics: Arc<DoorMetrics>,
    ) -> Result<Self, TlsError> {
        let tls = Reloadable::new(plan)?;
        let serving = tls.current();
        if let Err(error) = serving.dated() {
            tracing::warn!(%error, "clients will not take this certificate");
        }
        metrics.certificates(serving.ends());
        Ok(Self {
            tls,
            rules: ArcSwap::from_pointee(Rules::new(proxies, limits, None)),
            roll: Roll::default(),
            metrics,
        })
    }

    /// Lets one client in. `stop`: what ends its connection; each has one of its own below it.
    ///
    /// # Errors
    /// Why it is turned away. It has been told what TLS lets one tell.
    pub async fn enter(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<Guest, Reason> {
        let rules = self.rules.load_full();
        let source = rules.source(&mut tcp, peer).await?;
        let at_home = rules.place(source)?;
        let deadline = Instant::now() + rules.limits.handshake_time;
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
        let hello = within(deadline, hello).await?;
        let serving = self.tls.current();
        let admitted = (serving.certificates).admit(hello.client_hello().server_name());
        if let Err(stranger) = admitted {
            turn_away(hello.io, deadline).await;
            return Err(match stranger {
                Stranger::UnknownName => Reason::UnknownName,
                Stranger::NoName => Reason::NoName,
            });
        }
        let at = source.ip();
        let stream = rules
            .shake(at, hello, serving.config.clone(), deadline)
            .await?;
        let member = self.member(&stream, &serving, stop)?;
        Ok(Guest {
            stream,
            source,
            member,
            place: at_home,
            way: Bypath::default(),
        })
    }

    /// A place among the connections of this client's address.
    ///
    /// # Errors
    /// [`Reason::Crowd`].
    pub fn place(&self, source: SocketAddr) -> Result<Place, Reason> {
        self.rules.load().place(source)
    }

    /// TLS with a client that has said where it wants to go, and must ask for that host now.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub async fn meet(
        &self,
        tcp: TcpStream,
        host: &str,
        config: Arc<ServerConfig>,
        stop: &CancellationToken,
    ) -> Result<(TlsStream<TcpStream>, Member), Reason> {
        let rules = self.rules.load_full();
        let deadline = Instant::now() + rules.limits.handshake_time;
        let from = tcp.peer_addr().map_err(|_| Reason::Gone)?.ip();
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
        let hello = within(deadline, hello).await?;
        let reason = match hello.client_hello().server_name() {
            Some(name) if name == host => None,
            Some(_) => Some(Reason::UnknownName),
            None => Some(Reason::NoName),
        };
        if let Some(reason) = reason {
            turn_away(hello.io, deadline).await;
            return Err(reason);
        }
        let stream = rules.shake(from, hello, config, deadline).await?;
        Ok((stream, self.roll.enter(&[], stop)))
    }

    /// Reads the TLS files again, and asks those with a certificate to leave whom the new CA or
    /// list would not let in. Blocks.
    ///
    /// # Errors
    /// The file that cannot be used; everything stays as it was.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        self.changed(self.tls.reload())
    }

    /// As [`Self::reload`], with other files, names or hosts, and other rules for who comes from
    /// now on.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn adopt(
        &self,
        plan: Plan,
        proxies: Option<ProxyProtocol>,
        limits: &Limits,
    ) -> Result<Reloaded, TlsError> {
        let what = self.changed(self.tls.adopt(plan))?;
        let rules = Rules::new(proxies, limits, Some(&self.rules.load()));
        self.rules.store(Arc::new(rules));
        Ok(what)
    }

    fn changed(&self, reloaded: Result<Reloaded, TlsError>) -> Result<Reloaded, TlsError> {
        match &reloaded {
            Ok(what) => {
                let serving = self.tls.current();
                self.metrics.reloaded(true);
                self.metrics.certificates(serving.ends());
                let left = match what {
                    Reloaded::Certificates => 0,
                    Reloaded::Trust => self.roll.revise(&serving.trust),
                };
                tracing::info!(?what, left, "TLS files read again");
            }
            Err(TlsError { file, what }) => {
                self.metrics.reloaded(false);
                tracing::error!(%file, %what, "TLS files refused: the ones before stay in use");
            }
        }
        reloaded
    }

    /// Asks those to leave whom time has overtaken: their certificate has ended, or the list that
    /// said it is not revoked. Blocks.
    fn revise(&self) {
        let left = self.roll.revise(&self.tls.current().trust);
        if left > 0 {
            tracing::info!(left, "certificates or lists have ended");
        }
    }

    /// Puts a client on the roll, with its certificate if it has one: without, it would not be let
    /// in either from the moment that one is required.
    fn member(
        &self,
        stream: &TlsStream<TcpStream>,
        serving: &Serving,
        stop: &CancellationToken,
    ) -> Result<Member, Reason> {
        let session = stream.get_ref().1;
        let chain = session.peer_certificates().unwrap_or_default();
        let member = self.roll.enter(chain, stop);
        // The trust may have changed since the hello. Once on the roll, later changes find it. A
        // resumed session brings the certificate of its first handshake, which may have ended.
        let now = self.tls.current();
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let changed = now.trust.generation != serving.trust.generation;
        if (resumed || changed) && !now.trust.accepts(chain) {
            return Err(Reason::Revoked);
        }
        Ok(member)
    }
}

impl Rules {
    fn place(&self, source: SocketAddr) -> Result<Place, Reason> {
        self.places.enter(source.ip()).ok_or(Reason::Crowd)
    }

    async fn shake(
        &self,
        from: IpAddr,
        hello: StartHandshake<TcpStream>,
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<TlsStream<TcpStream>, Reason> {
        // First among its own: who waits there is before nobody else.
        let turn = timeout_at(deadline, self.turns.take(from));
        let Ok(Some(_turn)) = turn.await else {
            return Err(Reason::Busy);
        };
        let place = timeout_at(deadline, self.handshakes.acquire());
        let Ok(Ok(_place)) = place.await else {
            return Err(Reason::Busy);
        };
        within(deadline, hello.into_stream(config)).await
    }

    /// Whose connection it is.
    async fn source(&self, tcp: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Reason> {
        let Some(proxies) = &self.proxies else {
            return Ok(peer);
        };
        let ip = peer.ip();
        if !proxies.trusted.iter().any(|n: &Network| n.contains(ip)) {
            return Ok(peer);
        }
        // Boxed: most connections never have it.
        let header = Box::pin(proxy::read(tcp, proxies.required));
        match tokio::time::timeout(self.limits.head_time, header).await {
            Ok(Ok(named)) => Ok(named.unwrap_or(peer)),
            Ok(Err(_)) => Err(Reason::ProxyHeader),
            Err(_) => Err(Reason::ProxyTime),
        }
    }
}

/// Tells a client that nobody here has the name it asked for. Whether that arrives is its matter.
async fn turn_away(mut tcp: TcpStream, deadline: Instant) {
    let _ = timeout_at(deadline, tcp.write_all(&UNRECOGNIZED_NAME)).await;
    let _ = tcp.shutdown().await;
}

/// One step of a handshake.
async fn within<T>(
    deadline: Instant,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Reason> {
    match timeout_at(deadline, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Reason::of(&error)),
        Err(_) => Err(Reason::Time),
    }
}

/// Reloads whenever the files have changed, and asks those to leave whose certificate or list has
/// ended, until `stop`.
pub async fn watch(door: Arc<Door>, stop: CancellationToken) {
    let mut changes = door.tls.changes();
    let mut tick = tokio::time::interval(limits::TLS_FILES_TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        // A few calls for names that the kernel has at hand: not worth a thread of its own, which
        // would stay (and its memory with it) as long as somebody asks every second.
        let changed = changes.is_due(door.tls.stamps());
        if !changed && !door.roll.is_due(&door.tls.current().trust) {
            continue;
        }
        let door = door.clone();
        // Reading and verifying takes longer, and this is the thread that accepts. What came of it
        // has been logged and counted.
        let look = move || match changed {
            true => drop(door.reload()),
            false => door.revise(),
        };
        let _ = tokio::task::spawn_blocking(look).await;
    }
}
