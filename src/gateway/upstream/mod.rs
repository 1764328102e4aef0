//! Connections to backends, one pool a worker.
//!
//! What enters: a backend's index. What leaves: a [`Link`] that is ready to take one request.
//! What can never happen: a link goes back to the pool while something of its exchange is still
//! on the way, or two identities share one.
//!
//! A pool belongs to one backend as configured: its addresses, its CA, the gateway's own
//! certificate for it. That is the whole principal: no credential of a client is ever bound to a
//! backend connection (client certificates end here, header fields travel in each request), so
//! nothing of one client can be left on a connection for the next. The day a client's identity
//! is forwarded in the connection itself, it becomes part of the key.

pub mod connect;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use self::connect::Target;
use super::body::outgoing::Outgoing;
use super::coarse::Moment;
use super::metrics::Metrics;
use super::socket::Delivery;
use crate::config;
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::tls::TlsError;

/// All backends of one worker.
pub struct Upstreams {
    pools: Vec<Pool>,
    metrics: Arc<Metrics>,
    connect_time: Duration,
}

struct Pool {
    targets: Vec<Target>,
    next: AtomicUsize,
    idle: Mutex<Vec<Link>>,
}

/// One connection to a backend, with one exchange on it at most.
pub struct Link {
    sender: SendRequest<Outgoing>,
    delivery: Arc<Delivery>,
    task: AbortHandle,
    backend: usize,
    target: usize,
    born: Moment,
    idle_since: Moment,
    reused: bool,
}

impl Upstreams {
    /// # Errors
    /// A CA, certificate or key file that cannot be used.
    pub fn new(
        backends: &[config::Backend],
        limits: &config::Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let pool = |backend| {
            Ok(Pool {
                targets: connect::targets(backend)?,
                next: AtomicUsize::new(0),
                idle: Mutex::new(Vec::new()),
            })
        };
        let pools: Result<Vec<Pool>, TlsError> = backends.iter().map(pool).collect();
        Ok(Self {
            pools: pools?,
            metrics,
            connect_time: limits.connect_time,
        })
    }

    /// A link to this backend: from the pool, else a new one.
    ///
    /// # Errors
    /// [`Code::BackendUnreachable`] when none of its addresses can be reached in time.
    pub async fn link(&self, backend: usize) -> Result<Link, Fault> {
        match self.pools[backend].take() {
            Some(link) if link.sender.is_ready() => Ok(self.reused(link)),
            // Apart, and boxed: what waits is large, and every exchange would carry it.
            unready => Box::pin(self.wait_for_link(backend, unready)).await,
        }
    }

    async fn wait_for_link(&self, backend: usize, first: Option<Link>) -> Result<Link, Fault> {
        let mut next = first;
        while let Some(mut link) = next {
            // A link that has just come back may still have to say so to its own task.
            let ready = tokio::time::timeout(limits::POOL_READY_TIME, link.sender.ready());
            if matches!(ready.await, Ok(Ok(()))) {
                return Ok(self.reused(link));
            }
            next = self.pools[backend].take();
        }
        self.fresh(backend).await
    }

    fn reused(&self, mut link: Link) -> Link {
        link.reused = true;
        self.metrics.upstream_reused.inc();
        link
    }

    /// Sends one request and waits for the head of its answer. A pooled connection that turns
    /// out dead before anything was written is replaced once; what may have been written is
    /// never sent again.
    ///
    /// # Errors
    /// [`Code::BackendBroken`], or `BackendUnreachable` for the replacement.
    pub async fn send(
        &self,
        link: &mut Link,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Fault> {
        loop {
            let delivery = link.delivery.clone();
            request.body_mut().travels_on(&delivery);
            let mut refused = match link.sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(refused) => refused,
            };
            let broken = || Fault::new(Code::BackendBroken, Stage::Send);
            if !link.reused {
                return Err(broken());
            }
            request = refused.take_message().ok_or_else(broken)?;
            *link = Box::pin(self.fresh(link.backend)).await?;
            let host = self.host(link);
            request.headers_mut().insert(header::HOST, host);
        }
    }

    /// The Host that this link's backend expects.
    pub fn host(&self, link: &Link) -> HeaderValue {
        self.target(link).host_header.clone()
    }

    /// The authority that stands in this backend's own links.
    pub fn authority(&self, link: &Link) -> &str {
        self.target(link).host_header.to_str().unwrap_or_default()
    }

    pub fn give_back(&self, mut link: Link) {
        let fit = link.delivery.is_clean()
            && !link.sender.is_closed()
            && link.born.elapsed() < limits::POOL_AGE;
        if !fit {
            return;
        }
        link.idle_since = Moment::now();
        let mut idle = self.pools[link.backend].lock();
        if idle.len() < limits::POOL_IDLE {
            idle.push(link);
        }
    }

    /// Closes what has been idle for too long. Called once a second.
    pub fn sweep(&self) {
        for pool in &self.pools {
            pool.lock().retain(Link::is_fresh);
        }
    }

    async fn fresh(&self, backend: usize) -> Result<Link, Fault> {
        let pool = &self.pools[backend];
        let first = pool.next.fetch_add(1, Relaxed);
        let deadline = tokio::time::Instant::now() + self.connect_time;
        for attempt in 0..pool.targets.len() {
            let target = (first + attempt) % pool.targets.len();
            let connecting = connect::connect(&pool.targets[target], &self.metrics);
            let connected = tokio::time::timeout_at(deadline, connecting).await;
            if let Ok(Ok((sender, delivery, task))) = connected {
                self.metrics.upstream_opened.inc();
                let now = Moment::now();
                return Ok(Link {
                    sender,
                    delivery,
                    task,
                    backend,
                    target,
                    born: now,
                    idle_since: now,
                    reused: false,
                });
            }
        }
        Err(Fault::new(Code::BackendUnreachable, Stage::Connect))
    }

    fn target(&self, link: &Link) -> &Target {
        &self.pools[link.backend].targets[link.target]
    }
}

impl Pool {
    /// The youngest link that is ready; else one that is not yet.
    fn take(&self) -> Option<Link> {
        let mut idle = self.lock();
        idle.retain(|l| !l.sender.is_closed());
        let ready = idle
            .iter()
            .rposition(|l| l.sender.is_ready() && l.is_fresh());
        match ready {
            Some(at) => Some(idle.swap_remove(at)),
            None => idle.pop().filter(Link::is_fresh),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        // A panic elsewhere leaves a list of links, which is what this is.
        self.idle
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Link {
    fn is_fresh(&self) -> bool {
        self.idle_since.elapsed() < limits::POOL_IDLE_TIME && !self.sender.is_closed()
    }
}

impl Drop for Link {
    /// A request that is still travelling when its exchange is over ends here. hyper would go on
    /// sending, and hold the client's body, as long as a deaf backend keeps the connection open.
    fn drop(&mut self) {
        if self.delivery.is_cut() {
            self.task.abort();
        }
    }
}
