//! What one exchange has of a backend.
//!
//! What enters: a place under the backend's limits and a connection. What leaves: both, at the
//! end of the exchange. What can never happen: a place is not given back, however the exchange
//! ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::uri::Scheme;
use http::{HeaderValue, StatusCode};
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use super::backend::Backend;
use super::connect::{self, Led};
use super::multi::Seat;
use super::names::Names;
use super::original::Aim;
use super::pool::Pool;
use super::shares::Group;
use crate::error::Fault;
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::coarse::Moment;
use crate::gateway::socket::Delivery;
use crate::limits;

/// One exchange's connection to a backend: its own, or a seat on one that many share.
pub struct Connection {
    pub sender: Sender,
    /// Of the request on it.
    pub delivery: Arc<Delivery>,
    pub target: usize,
    /// It has served a request before.
    pub reused: bool,
}

/// What sends on it. Boxed once a connection: every exchange carries this about.
pub enum Sender {
    One(Box<One>),
    Multi(Seat),
}

/// HTTP/1.1: one exchange at a time.
pub struct One {
    pub sender: SendRequest<Outgoing>,
    /// The only client connection that it serves; `None`: it serves all.
    pub aim: Option<Arc<Aim>>,
    task: AbortHandle,
    led: Led,
    born: Moment,
    idle_since: Moment,
    requests: u32,
}

impl Connection {
    pub fn one(opened: connect::One, target: usize, aim: Option<Arc<Aim>>) -> Self {
        let now = Moment::now();
        Self {
            delivery: opened.delivery,
            target,
            reused: false,
            sender: Sender::One(Box::new(One {
                sender: opened.sender,
                aim,
                task: opened.task,
                led: opened.led,
                born: now,
                idle_since: now,
                requests: 0,
            })),
        }
    }

    pub fn seat(seat: Seat) -> Self {
        Self {
            delivery: Arc::default(),
            target: seat.target(),
            reused: false,
            sender: Sender::Multi(seat),
        }
    }

    /// The client connection that it belongs to.
    pub fn aim(&self) -> Option<&Arc<Aim>> {
        match &self.sender {
            Sender::One(one) => one.aim.as_ref(),
            Sender::Multi(_) => None,
        }
    }

    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Multi(_))
    }

    /// It can take a request at once.
    pub fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::One(one) => one.sender.is_ready(),
            Sender::Multi(seat) => seat.sender.is_ready(),
        }
    }

    /// Waits until it can.
    ///
    /// # Errors
    /// It is closed.
    pub async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.sender {
            Sender::One(one) => one.sender.ready().await,
            Sender::Multi(seat) => seat.sender.ready().await,
        }
    }

    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(one) => one.sender.is_closed(),
            Sender::Multi(seat) => seat.sender.is_closed(),
        }
    }

    pub fn is_fresh(&self) -> bool {
        let young = |one: &One| one.idle_since.elapsed() < limits::POOL_IDLE_TIME;
        matches!(&self.sender, Sender::One(one) if young(one)) && !self.is_closed()
    }

    /// Whether its address is still one of the name's.
    pub fn leads_to_one_of(&self, names: &Names) -> bool {
        match &self.sender {
            Sender::One(one) => one.led.version == names.version() || names.leads_to(&one.led.to),
            Sender::Multi(_) => true,
        }
    }
}

impl Drop for Connection {
    /// A request that is still travelling when its exchange is over ends here. hyper would go on
    /// sending, and hold the client's body, as long as a deaf backend keeps the connection open.
    fn drop(&mut self) {
        match &self.sender {
            Sender::One(one) if self.delivery.is_cut() => one.task.abort(),
            Sender::Multi(seat) if self.delivery.is_armed() => {
                self.delivery.abort();
                seat.leaves_a_request();
            }
            _ => {}
        }
    }
}

/// A request's place at a backend, under its limits and in the load of one address.
pub struct Place {
    pool: Arc<Pool>,
    client: Group,
    target: Option<usize>,
    /// It is the circuit's probe, and has not told how it ended.
    probe: bool,
}

impl Place {
    /// For who has entered the backend's gate.
    pub fn new(pool: &Arc<Pool>, client: Group) -> Self {
        pool.backend.shares.enter(client);
        Self {
            pool: pool.clone(),
            client,
            target: None,
            probe: false,
        }
    }

    pub fn is_probe(&mut self) {
        self.probe = true;
    }

    pub fn goes_to(&mut self, target: usize) {
        if self.target != Some(target) {
            self.counts(-1);
            self.target = Some(target);
            self.counts(1);
        }
    }

    pub fn with(self, connection: Connection) -> Link {
        Link {
            connection,
            place: self,
        }
    }

    /// No address has answered.
    pub fn unanswered(&mut self) {
        self.probe = false;
        self.pool.backend.unanswered();
    }

    fn counts(&self, by: isize) {
        if let Some(target) = self.target {
            let load = &self.pool.backend.targets[target].in_flight;
            load.fetch_add(by as usize, Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts(-1);
        let backend = &self.pool.backend;
        if self.probe {
            backend.circuit.given_up();
        }
        backend.shares.leave(self.client);
        backend.requests.leave();
    }
}

/// A place at a backend, and a connection there.
pub struct Link {
    pub connection: Connection,
    place: Place,
}

impl Link {
    pub fn backend(&self) -> &Arc<Backend> {
        &self.place.pool.backend
    }

    /// The Host that this link's address expects.
    pub fn host(&self) -> HeaderValue {
        self.host_header().clone()
    }

    pub fn scheme(&self) -> Scheme {
        self.backend().targets[self.connection.target]
            .endpoint
            .scheme()
    }

    /// The authority that stands in this backend's own links.
    pub fn authority(&self) -> &str {
        self.host_header().to_str().unwrap_or_default()
    }

    /// Whether the backend is where the client meant to go.
    pub fn is_original(&self) -> bool {
        self.connection.aim().is_some()
    }

    fn host_header(&self) -> &HeaderValue {
        &self.backend().targets[self.connection.target]
            .endpoint
            .host_header
    }

    /// An answer's head has come.
    pub fn answered(&mut self, status: StatusCode) {
        self.place.probe = false;
        self.backend().answered(self.connection.target, status);
    }

    /// No answer has come.
    pub fn failed(&mut self) {
        self.backend().failed(self.connection.target);
        self.place.unanswered();
    }

    /// The same place, with a new connection to an address that has not been `tried`, if there is
    /// one.
    ///
    /// # Errors
    /// As [`Pool::fresh`].
    pub async fn again(self, tried: &mut u64) -> Result<Self, Fault> {
        let Self { connection, place } = self;
        let aim = connection.aim().cloned();
        // Its own place among the connections may be needed.
        drop(connection);
        let pool = place.pool.clone();
        pool.fresh(place, tried, None, aim).await
    }

    /// The exchange is over; the connection may be used again if nothing of it is on the way.
    pub fn give_back(self) {
        let Self {
            mut connection,
            place,
        } = self;
        let backend = &place.pool.backend;
        let names = &backend.targets[connection.target].endpoint.names;
        let fit = connection.delivery.is_clean()
            && !connection.is_closed()
            && connection.leads_to_one_of(names);
        // A seat is left by being dropped.
        let Sender::One(one) = &mut connection.sender else {
            return;
        };
        one.requests += 1;
        let young = one.born.elapsed() < limits::POOL_AGE && one.requests < limits::POOL_REQUESTS;
        if fit && young {
            one.idle_since = Moment::now();
            place.pool.keep(connection);
        }
    }
}
