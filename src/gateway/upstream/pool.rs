//! One worker's connections to one backend.
//!
//! What enters: who needs a connection. What leaves: a [`Link`]: a place at the backend, and a
//! connection that is ready to take one request. What can never happen: a link goes back to the
//! pool while something of its exchange is still on the way, two identities share one, or a
//! place outlives its exchange.
//!
//! A pool belongs to one backend as configured: its addresses, its CA, the gateway's own
//! certificate for it. That is the whole principal: no credential of a client is ever bound to a
//! backend connection (client certificates end here, header fields travel in each request), so
//! nothing of one client can be left on a connection for the next. Where a backend is wherever its
//! client meant to go, and may see the client's address as the source, the client's connection is
//! part of the key: another one never gets its connections ([`Aim`]).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::backend::Backend;
use super::circuit::Admitted;
use super::connect::{Opened, connect, connect_original, part};
use super::gate::Full;
use super::link::{Connection, Link, Place};
use super::metrics::Again;
use super::multi::Multis;
use super::original::Aim;
use super::shares::Group;
use crate::error::{Code, Fault, Stage};
use crate::gateway::metrics::Open;
use crate::limits;

pub struct Pool {
    pub backend: Arc<Backend>,
    /// For each address, the youngest last.
    idle: Mutex<Vec<Vec<Connection>>>,
    /// Those that speak HTTP/2.
    multis: Multis,
    random: AtomicU64,
}

impl Pool {
    pub fn new(backend: &Arc<Backend>, seed: u64) -> Arc<Self> {
        let none = backend.targets.iter().map(|_| Vec::new()).collect();
        let pool = Arc::new(Self {
            backend: backend.clone(),
            idle: Mutex::new(none),
            multis: Multis::new(backend.targets.len()),
            random: AtomicU64::new(seed | 1),
        });
        backend.joins(&pool);
        pool
    }

    /// A link: from the pool, else a new one.
    ///
    /// # Errors
    /// [`Code::CircuitOpen`], `BackendFull`, `ClientShare`, or `BackendUnreachable` when none of the
    /// addresses can be reached in time. Who has an `aim` has been judged.
    pub async fn link(
        self: &Arc<Self>,
        client: Group,
        aim: Option<&Arc<Aim>>,
    ) -> Result<Link, Fault> {
        self.has_share(client)?;
        if !self.backend.requests.try_enter() {
            Box::pin(self.wait_for_place()).await?;
        }
        let mut place = Place::new(self, client);
        match self.backend.circuit.admit() {
            Admitted::Yes => {}
            Admitted::Probe => place.is_probe(),
            Admitted::No => return Err(Fault::new(Code::CircuitOpen, Stage::Connect)),
        }
        let target = self.backend.choose(0, self.random());
        place.goes_to(target);
        if self.backend.http2 {
            return Box::pin(self.seat(place, target)).await;
        }
        let aim = aim.filter(|_| self.backend.original.is_some());
        match self.take(target, aim) {
            Some(connection) if connection.is_ready() => Ok(place.with(self.reused(connection))),
            // Apart, and boxed: what waits is large, and every exchange would carry it.
            unready => Box::pin(self.wait_for_link(place, target, unready, aim.cloned())).await,
        }
    }

    /// Who has more than its share does not even wait.
    fn has_share(&self, client: Group) -> Result<(), Fault> {
        let backend = &self.backend;
        if backend.shares.is_full(client, backend.requests.inside()) {
            return Err(Fault::new(Code::ClientShare, Stage::Connect));
        }
        Ok(())
    }

    /// A place on an HTTP/2 connection, which one exchange at a time opens if there is no room.
    async fn seat(self: &Arc<Self>, place: Place, target: usize) -> Result<Link, Fault> {
        let names = &self.backend.targets[target].endpoint.names;
        if let Some(seat) = self.multis.enter(target, names) {
            return Ok(place.with(self.reused(Connection::seat(seat))));
        }
        let turn = self.multis.turn(target);
        let turn = tokio::time::timeout(self.backend.connect_time, turn).await;
        if let Some(seat) = self.multis.enter(target, names) {
            return Ok(place.with(self.reused(Connection::seat(seat))));
        }
        let link = self.fresh(place, &mut 0, Some(target), None).await;
        drop(turn);
        link
    }

    async fn wait_for_place(&self) -> Result<(), Fault> {
        let waited = self.backend.requests.enter(self.backend.care.wait_time);
        waited.await.map_err(full)
    }

    async fn wait_for_link(
        self: &Arc<Self>,
        place: Place,
        target: usize,
        first: Option<Connection>,
        aim: Option<Arc<Aim>>,
    ) -> Result<Link, Fault> {
        let mut next = first;
        while let Some(mut connection) = next {
            // One that has just come back may still have to say so to its own task.
            let ready = tokio::time::timeout(limits::POOL_READY_TIME, connection.ready());
            if matches!(ready.await, Ok(Ok(()))) {
                return Ok(place.with(self.reused(connection)));
            }
            next = self.take(target, aim.as_ref());
        }
        self.fresh(place, &mut 0, Some(target), aim).await
    }

    fn reused(&self, mut connection: Connection) -> Connection {
        connection.reused = true;
        self.backend.counters.reused.inc();
        connection
    }

    /// A new connection to an address that is not among those `tried` (a bit each), `first` if it
    /// is given; to where the client meant to go, if it has an `aim`. Where one cannot be reached, the next one; each for an equal part of the time.
    ///
    /// # Errors
    /// [`Code::BackendUnreachable`], or `BackendFull` when there may be no more connections.
    pub async fn fresh(
        self: &Arc<Self>,
        mut place: Place,
        tried: &mut u64,
        first: Option<usize>,
        aim: Option<Arc<Aim>>,
    ) -> Result<Link, Fault> {
        let backend = &self.backend;
        let deadline = Instant::now() + backend.connect_time;
        let every = u64::MAX >> (64 - backend.targets.len());
        if *tried & every == every {
            *tried = 0;
        }
        let mut next = first;
        while *tried & every != every {
            let target = match next.take() {
                Some(target) => target,
                None => backend.choose(*tried, self.random()),
            };
            place.goes_to(target);
            let parts = (every & !*tried).count_ones() as usize;
            let until = part(deadline, parts);
            *tried |= 1 << target;
            let slot = Slot::take(backend, target).await.map_err(full)?;
            let endpoint = &backend.targets[target].endpoint;
            let opened = match (&backend.original, &aim) {
                (Some(original), Some(aim)) => {
                    connect_original(backend, original, aim, until, slot).await
                }
                _ => connect(endpoint, target, until, slot).await,
            };
            match opened {
                Ok(opened) => {
                    backend.counters.opened.inc();
                    let connection = self.first_on(opened, target, aim);
                    let broken = || Fault::new(Code::BackendBroken, Stage::Connect);
                    return Ok(place.with(connection.ok_or_else(broken)?));
                }
                Err(error) => {
                    tracing::debug!(backend = backend.name, url = target, kind = ?error.kind(), "no connection");
                    backend.counters.targets[target].connect_failed.inc();
                    backend.failed(target);
                    if *tried & every != every {
                        backend.counters.again(Again::Connect);
                    }
                }
            }
        }
        place.unanswered();
        Err(Fault::new(Code::BackendUnreachable, Stage::Connect))
    }

    /// A new connection's first exchange; `None` where it has ended already.
    fn first_on(&self, opened: Opened, target: usize, aim: Option<Arc<Aim>>) -> Option<Connection> {
        match opened {
            Opened::One(one) => Some(Connection::one(one, target, aim)),
            Opened::Multi(multi) => {
                let seat = multi.enter()?;
                self.multis.add(multi);
                Some(Connection::seat(seat))
            }
        }
    }

    /// Keeps a connection for the next request, if there is room.
    pub fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        let kept: usize = idle.iter().map(Vec::len).sum();
        if kept < limits::POOL_IDLE
            && let Some(there) = idle.get_mut(connection.target)
        {
            there.push(connection);
        }
    }

    /// Closes what has been idle for too long, or leads to an address that has vanished.
    pub fn sweep(&self) {
        for (target, idle) in self.lock().iter_mut().enumerate() {
            let names = &self.backend.targets[target].endpoint.names;
            idle.retain(|c| c.is_fresh() && c.leads_to_one_of(names));
        }
        if self.backend.http2 {
            let targets = &self.backend.targets;
            self.multis.sweep(|target| &targets[target].endpoint.names);
        }
    }

    /// Closes an idle connection; whether there was one.
    pub fn close_one(&self) -> bool {
        if self.backend.http2 {
            return self.multis.close_one();
        }
        let mut idle = self.lock();
        // What was idle longest stands first.
        let some = idle.iter_mut().find(|there| !there.is_empty());
        some.map(|there| there.remove(0)).is_some()
    }

    /// The youngest connection that is ready; else one that is not yet. `aim`: of those that belong
    /// to this client connection.
    fn take(&self, target: usize, aim: Option<&Arc<Aim>>) -> Option<Connection> {
        let names = &self.backend.targets[target].endpoint.names;
        let mut all = self.lock();
        let idle = &mut all[target];
        idle.retain(|c| !c.is_closed());
        let own = |c: &Connection| match (aim, c.aim()) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let fit = |c: &Connection| c.is_fresh() && c.leads_to_one_of(names) && own(c);
        let ready = idle.iter().rposition(|c| c.is_ready() && fit(c));
        match (ready, aim) {
            (Some(at), _) => Some(idle.swap_remove(at)),
            (None, None) => idle.pop().filter(fit),
            (None, Some(_)) => idle.iter().rposition(fit).map(|at| idle.swap_remove(at)),
        }
    }

    /// Good enough for choosing (Marsaglia, "Xorshift RNGs", 2003); only this worker asks.
    fn random(&self) -> u64 {
        if self.backend.targets.len() == 1 {
            return 0;
        }
        let next = next_random(self.random.load(Relaxed));
        self.random.store(next, Relaxed);
        next
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Connection>>> {
        // A panic elsewhere leaves lists of connections, which is what this is.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full(_: Full) -> Fault {
    Fault::new(Code::BackendFull, Stage::Connect)
}

pub(super) fn next_random(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

/// A connection's place under `max_connections`, as long as it is open.
struct Slot {
    backend: Arc<Backend>,
    target: usize,
    _open: Open,
}

impl Slot {
    async fn take(backend: &Arc<Backend>, target: usize) -> Result<Self, Full> {
        if !backend.connections.try_enter() {
            // All others are idle or about to end: requests have places for no more.
            backend.reclaim();
            backend.connections.enter(backend.care.wait_time).await?;
        }
        backend.targets[target].open.fetch_add(1, Relaxed);
        Ok(Self {
            backend: backend.clone(),
            target,
            _open: backend.metrics.backend_connection(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.backend.targets[self.target].open.fetch_sub(1, Relaxed);
        self.backend.connections.leave();
    }
}
