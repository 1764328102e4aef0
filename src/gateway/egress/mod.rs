//! The way out: a proxy for clients that send to portals outside.
//!
//! ```text
//! CONNECT portal:443 ─▶ a client of ours? ─▶ on which list?
//!                                              │      │    └─ none: 403, or a tunnel
//!                       TLS ends here, with a  │      └─ tunnel_hosts: bytes pass unseen
//!                       certificate made for   │
//!                       this host alone     ◀──┘
//!                         │
//!                         ▼
//!                       exchange: the routes of this host, and no others
//! ```
//!
//! What enters: a TCP connection to an address of `[gateway.egress]`. What leaves: a guest as by the
//! door, a tunnel, or a refusal. What can never happen: a host gets a certificate that the
//! configuration does not list, what was asked for in CONNECT, in the handshake and in the request
//! differ, or a tunnel leads to where the gateway stands unless its network is listed.

pub mod connect;
pub mod metrics;
pub mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::metrics::{EgressMetrics, Outcome};
use self::tunnel::Tunnel;
use super::door::counts::Reason;
use super::door::{Bypath, Door, Guest};
use super::head::Head;
use super::routes::Route;
use super::serve::{ALPN, Conn};
use super::shared::{RequestId, Worker};
use crate::config::{self, Limits, Others, Portal};
use crate::error::{Code, Fault, Stage};
use crate::observe::access::Line;
use crate::tls::TlsError;
use crate::tls::mint::Mint;

/// One for all listeners and workers.
pub struct Egress {
    config: config::Egress,
    mint: Mint,
    /// What the gateway itself listens on.
    own: Vec<SocketAddr>,
    tunnels: Arc<Semaphore>,
    metrics: Arc<EgressMetrics>,
}

/// What became of a CONNECT.
pub enum Arrival {
    Guest(Box<Guest>),
    Tunnel(Box<Tunnel>),
    /// Answered, logged and counted.
    Refused,
}

/// Where a CONNECT leads.
enum Way {
    /// TLS ends here.
    Open(Portal),
    /// Connected, and nobody looks.
    Tunnel(TcpStream, tokio::sync::OwnedSemaphorePermit),
}

impl Egress {
    /// # Errors
    /// A CA that cannot be used, or that could make certificates for other hosts. `before`: what
    /// is used now, whose tunnels go on counting.
    pub fn new(
        gateway: &config::Gateway,
        metrics: &Arc<EgressMetrics>,
        before: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(config) = &gateway.egress else {
            return Ok(None);
        };
        let mint = mint(config)?;
        let same = before.filter(|before| before.config.max_tunnels == config.max_tunnels);
        let mut own = gateway.listen.clone();
        own.extend(&config.listen);
        own.extend(gateway.observe);
        own.extend(gateway.admin.as_ref().map(|admin| admin.listen));
        let listed = config.hosts.iter().chain(&config.tunnel_hosts);
        metrics.knows(listed.map(|portal| portal.host.as_str()));
        Ok(Some(Arc::new(Self {
            mint,
            own,
            tunnels: same.map_or_else(
                || Arc::new(Semaphore::new(config.max_tunnels)),
                |before| before.tunnels.clone(),
            ),
            metrics: metrics.clone(),
            config: config.clone(),
        })))
    }

    /// Hears one client's wish.
    ///
    /// # Errors
    /// Why it is turned away, as by the door.
    pub async fn arrive(
        self: &Arc<Self>,
        (tcp, peer): (TcpStream, SocketAddr),
        worker: &Arc<Worker>,
        limits: &Limits,
        door: &Door,
        stop: &CancellationToken,
    ) -> Result<Arrival, Reason> {
        let mut record = Record::new(self, worker);
        let ip = peer.ip().to_canonical();
        if !self.config.clients.iter().any(|n| n.contains(ip)) {
            // Before a byte is read: who may not use it learns nothing, and costs nothing.
            record.ends(Outcome::Client, 0, None);
            return Ok(Arrival::Refused);
        }
        let place = door.place(peer)?;
        let Some(granted) = connect::hear(self, tcp, limits, &mut record).await else {
            return Ok(Arrival::Refused);
        };
        let connect::Granted { way, tcp, early } = granted;
        match way {
            Way::Tunnel(far, permit) => Ok(Arrival::Tunnel(Box::new(Tunnel {
                near: tcp,
                far,
                early,
                record,
                _permit: permit,
                _place: place,
            }))),
            Way::Open(portal) => {
                record.ends(Outcome::Opened, 200, None);
                // Its handshake comes after our answer, and nothing else does.
                if !early.is_empty() {
                    return Err(Reason::Protocol);
                }
                let config = self.mint.serve(&portal.host).map_err(|error| {
                    tracing::error!(%error, "no certificate for the egress proxy");
                    Reason::Protocol
                })?;
                let (stream, member) = door.meet(tcp, &portal.host, config, stop).await?;
                let way = Bypath {
                    portal: Some(portal.port),
                    original: None,
                };
                Ok(Arrival::Guest(Box::new(Guest {
                    stream,
                    source: peer,
                    member,
                    place,
                    way,
                })))
            }
        }
    }

    /// Where this leads, connected if it is a tunnel.
    async fn way(&self, portal: Portal, limits: &Limits) -> Result<Way, Code> {
        if self.config.hosts.contains(&portal) {
            return Ok(Way::Open(portal));
        }
        let listed = self.config.tunnel_hosts.contains(&portal);
        // A host whose TLS ends here has no other port, and no name that is an address: those
        // would be ways around its routes.
        let other = self.config.others == Others::Tunnel
            && self.config.tunnel_ports.contains(&portal.port)
            && !self.config.opens(&portal.host)
            && portal.host.parse::<IpAddr>().is_err()
            && !portal.host.starts_with('[');
        if !listed && !other {
            return Err(Code::EgressHost);
        }
        let Ok(permit) = self.tunnels.clone().try_acquire_owned() else {
            return Err(Code::EgressFull);
        };
        let far = tunnel::connect(self, &portal, limits.connect_time).await?;
        Ok(Way::Tunnel(far, permit))
    }
}

/// The CA of the egress proxy, ready to sign.
///
/// # Errors
/// As [`Mint::load`].
pub fn mint(config: &config::Egress) -> Result<Mint, TlsError> {
    let mut hosts: Vec<&str> = config.hosts.iter().map(|p| p.host.as_str()).collect();
    hosts.dedup();
    Mint::load(&config.certificate, &config.key, &hosts, ALPN)
}

/// Whether a request is where its connection came for: what came by CONNECT takes the routes of
/// that host at that port, and nobody else does.
///
/// # Errors
/// [`Code::NoRoute`] or `Misdirected`.
pub fn belongs(conn: &Conn, route: &Route, head: &Head<'_>) -> Result<(), Fault> {
    match conn.way.portal {
        None if !route.outward => Ok(()),
        Some(port) if route.outward => {
            let written = head.authority.rsplit_once(':');
            let named = written.and_then(|(_, port)| port.parse().ok());
            if named.unwrap_or(443) == port {
                Ok(())
            } else {
                Err(Fault::new(Code::Misdirected, Stage::Head))
            }
        }
        _ => Err(Fault::new(Code::NoRoute, Stage::Route)),
    }
}

/// One CONNECT, until it has ended.
pub struct Record {
    egress: Arc<Egress>,
    worker: Arc<Worker>,
    pub id: RequestId,
    started: Instant,
    /// As the configuration names it; `None`: another one.
    host: Option<String>,
    ended: bool,
}

impl Record {
    fn new(egress: &Arc<Egress>, worker: &Arc<Worker>) -> Self {
        Self {
            egress: egress.clone(),
            id: worker.request_id(),
            worker: worker.clone(),
            started: Instant::now(),
            host: None,
            ended: false,
        }
    }

    /// What a client writes is not repeated unless the configuration has it too.
    fn is_for(&mut self, portal: &Portal) {
        let config = &self.egress.config;
        let mut listed = config.hosts.iter().chain(&config.tunnel_hosts);
        self.host = (listed.find(|one| *one == portal)).map(|one| one.host.clone());
    }

    /// `status` 0: no answer. `moved`: bytes from the client, and to it.
    pub fn ends(&mut self, outcome: Outcome, status: u16, moved: Option<(u64, u64)>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let host = self.host.as_deref().unwrap_or(metrics::OTHER);
        self.egress.metrics.connected(host, outcome);
        let (bytes_in, bytes_out) = moved.unwrap_or_default();
        let micros = self.started.elapsed().as_micros();
        let line = Line {
            request: (self.id.mark, self.id.number),
            route: None,
            method: "CONNECT",
            protocol: "http/1.1",
            status,
            client: None,
            bytes_in,
            bytes_out,
            micros: u64::try_from(micros).unwrap_or(u64::MAX),
            records: 0,
            replaced: 0,
            first_sights: 0,
            code: outcome.code(),
            whole: outcome.is_whole(),
        };
        self.worker.access.write_connect(&line, host);
    }
}

impl Drop for Record {
    /// The client went before it was answered, or the gateway stops.
    fn drop(&mut self) {
        self.ends(Outcome::Gone, 0, None);
    }
}
