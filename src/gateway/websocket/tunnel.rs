//! A connection after its switch.
//!
//! What enters: both sockets, as hyper lets go of them. What leaves: a line in the access log
//! when it is over. What can never happen: it lasts longer than the gateway, its client's right
//! to be here, `exchange_time` or `connection_time`; a message goes by a configuration that has
//! been replaced; or its places and counts are not given back.

use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio_util::sync::CancellationToken;

use super::bytes;
use super::ending::End;
use super::messages::Relay;
use crate::config::{Limits, WebSocket};
use crate::error::{Code, Fault, Stage};
use crate::gateway::clock::Verdict;
use crate::gateway::story::Story;
use crate::gateway::upstream::Link;
use crate::limits;

/// What an exchange leaves behind when the connection switches.
pub struct Tunnel {
    story: Arc<Story>,
    route: usize,
    link: Link,
    client: OnUpgrade,
    backend: OnUpgrade,
}

impl Tunnel {
    pub fn new(
        story: Arc<Story>,
        route: usize,
        link: Link,
        client: OnUpgrade,
        backend: OnUpgrade,
    ) -> Self {
        Self {
            story,
            route,
            link,
            client,
            backend,
        }
    }

    /// Until it ends, or `leave` and then a moment.
    pub async fn run(self: Box<Self>, leave: &CancellationToken) {
        // What waits is large, and every connection would carry it.
        Box::pin(self.relay(leave)).await;
    }

    async fn relay(self: Box<Self>, leave: &CancellationToken) {
        let Self {
            story,
            route,
            link,
            client,
            backend,
        } = *self;
        let shared = story.site.shared.clone();
        let _open = shared.metrics.websocket();
        let deliveries = [
            story.conn.delivery.clone(),
            Some(link.connection.delivery.clone()),
        ];
        let limits = &shared.limits;
        let route = shared.routes.get(route);
        let end = match both(client, backend, limits).await {
            Err(fault) => {
                deliveries.iter().flatten().for_each(|d| d.abort());
                End::Broken(fault)
            }
            Ok(sides) if route.config.websocket == WebSocket::Opaque => {
                let cut = cut(&story, limits, leave);
                bytes::relay(sides, deliveries, &story, limits.idle_time, cut).await
            }
            Ok(sides) => {
                let relay = Relay {
                    shared: &shared,
                    story: &story,
                    route,
                    deliveries,
                };
                relay.run(sides, over(&story, limits, leave)).await
            }
        };
        match end.fault() {
            Some(fault) => story.fail(fault),
            None => story.delivered(),
        }
    }
}

/// Both sockets, once hyper has let go of them.
async fn both(
    client: OnUpgrade,
    backend: OnUpgrade,
    limits: &Limits,
) -> Result<[Upgraded; 2], Fault> {
    let both = tokio::time::timeout(limits.head_time, async { tokio::join!(client, backend) });
    match both.await {
        Ok((Ok(client), Ok(backend))) => Ok([client, backend]),
        Ok((Err(_), _)) => Err(Fault::new(Code::Truncated, Stage::Send)),
        _ => Err(Fault::new(Code::BackendBroken, Stage::Receive)),
    }
}

/// When messages have to end: they can be told so.
async fn over(story: &Story, limits: &Limits, leave: &CancellationToken) -> End {
    tokio::select! {
        () = leave.cancelled() => End::Away,
        () = outdated(story) => End::Away,
        verdict = story.conn.clock.watch(limits, true) => match verdict {
            Verdict::NotReading => End::Cut,
            _ => End::Away,
        }
    }
}

/// Waits until there is another configuration.
async fn outdated(story: &Story) {
    while !story.is_outdated() {
        tokio::time::sleep(limits::CONFIG_FILES_TICK).await;
    }
}

/// When bytes have to end: nobody can be told.
async fn cut(story: &Story, limits: &Limits, leave: &CancellationToken) -> End {
    let drained = async {
        leave.cancelled().await;
        tokio::time::sleep(limits.drain_time).await;
    };
    let worn = async {
        // An old connection may end in its own time, until `exchange_time` is over too.
        while story.conn.clock.watch(limits, true).await == Verdict::Old {}
    };
    tokio::select! {
        () = drained => End::Cut,
        () = worn => End::Cut,
    }
}
