//! Messages by policy: each of the client's is one JSON document.
//!
//! What enters: both sides after the switch. What leaves: the client's text messages rewritten,
//! each whole and after its records are durable; the backend's messages as they are. What can
//! never happen: a byte of a message that was refused, a binary message, or what a client put
//! into a ping reaches the backend.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::ending::{End, close};
use super::meter::{Meter, Metered};
use crate::config::{Format, RequestBody};
use crate::error::{Code, Fault, Side, Stage};
use crate::gateway::body::hold;
use crate::gateway::metrics::Said;
use crate::gateway::routes::Route;
use crate::gateway::shared::Shared;
use crate::gateway::socket::Delivery;
use crate::gateway::story::Story;
use crate::limits;

/// One side after the switch.
pub type Socket = WebSocketStream<Metered<TokioIo<Upgraded>>>;

type From = SplitStream<Socket>;
type To = SplitSink<Socket, Message>;

/// What both directions need.
pub struct Relay<'a> {
    pub shared: &'a Arc<Shared>,
    pub story: &'a Arc<Story>,
    pub route: &'a Route,
    /// Of the client, of the backend.
    pub deliveries: [Option<Arc<Delivery>>; 2],
}

impl Relay<'_> {
    /// Until one side closes, a message is refused, or `until` says so; both sides are told.
    pub async fn run(self, sides: [Upgraded; 2], until: impl Future<Output = End>) -> End {
        let limits = &self.shared.limits;
        let meters = [Meter::new(), Meter::new()];
        let config = WebSocketConfig::default()
            .read_buffer_size(limits::MESSAGE_READ)
            .write_buffer_size(0)
            .max_message_size(Some(limits.hold))
            .max_frame_size(Some(limits.hold));
        let [client, backend] = sides;
        let socket = |io, at: usize, role| {
            let io = TokioIo::new(io);
            let io = Metered::holding(io, meters[at].clone(), self.shared.clone());
            WebSocketStream::from_raw_socket(io, role, Some(config))
        };
        let client = socket(client, 0, Role::Server).await;
        let backend = socket(backend, 1, Role::Client).await;
        let (mut to_client, mut from_client) = client.split();
        let (mut to_backend, mut from_backend) = backend.split();
        let end = tokio::select! {
            end = self.up(&mut from_client, &mut to_backend, &meters) => end,
            end = self.down(&mut from_backend, &mut to_client, &meters) => end,
            end = until => end,
        };
        if matches!(end, End::Cut) {
            self.deliveries.iter().flatten().for_each(|d| d.abort());
            return end;
        }
        let time = limits::CLOSE_TIME.min(limits.drain_time);
        let [to_its_client, to_its_backend] = self.deliveries;
        // They were one a moment ago.
        if let (Ok(client), Ok(backend)) = (
            from_client.reunite(to_client),
            from_backend.reunite(to_backend),
        ) {
            tokio::join!(
                close(client, end.to_client(), to_its_client, time),
                close(backend, end.to_backend(), to_its_backend, time),
            );
        }
        end
    }

    /// From the client to the backend.
    async fn up(&self, from: &mut From, to: &mut To, [its, other]: &[Arc<Meter>; 2]) -> End {
        let limits = &self.shared.limits;
        let rate = match self.route.config.slow {
            true => 0,
            false => limits.body_rate,
        };
        let mut since = its.now();
        let mut pinged = other.now();
        loop {
            let next = tokio::select! {
                next = from.next() => next,
                () = its.late(since, limits.body_idle_time, rate) => {
                    return broken(Code::SlowClient, Stage::Receive);
                }
                () = other.silent(pinged, limits.body_idle_time / 2) => {
                    pinged = other.now();
                    if let Err(end) = self.ping(to, Side::Backend).await {
                        return end;
                    }
                    continue;
                }
            };
            let text = match next {
                Some(Ok(Message::Text(text))) => Bytes::from(text),
                Some(Ok(Message::Binary(_))) => {
                    self.route.metrics.said(Said::Refused);
                    return broken(Code::BinaryMessage, Stage::Receive);
                }
                Some(Ok(Message::Ping(data) | Message::Pong(data))) => {
                    // With its mask.
                    its.took_control(data.len() + 6);
                    continue;
                }
                Some(Ok(Message::Close(frame))) => return End::Closed(frame),
                Some(Ok(Message::Frame(_))) => continue,
                Some(Err(error)) => return End::of_error(&error, Side::Client),
                None => return broken(Code::Truncated, Stage::Receive),
            };
            if self.story.is_outdated() {
                // A message is as a request: what another configuration says of it counts.
                return End::Away;
            }
            its.took_message();
            self.story.received(text.len());
            match self.rewrite(&text).await {
                Ok(out) => {
                    drop(text);
                    self.route.metrics.said(Said::Rewritten);
                    if let Err(end) = self.send(to, Data::Text, out.into(), Side::Backend).await {
                        return end;
                    }
                }
                Err(fault) => {
                    self.route.metrics.said(Said::Refused);
                    return End::Broken(fault);
                }
            }
            its.release();
            since = its.now();
        }
    }

    /// From the backend to the client.
    async fn down(&self, from: &mut From, to: &mut To, [other, its]: &[Arc<Meter>; 2]) -> End {
        let limits = &self.shared.limits;
        let mut since = its.now();
        let mut pinged = other.now();
        loop {
            let next = tokio::select! {
                next = from.next() => next,
                () = its.late(since, limits.body_idle_time, 0) => {
                    return broken(Code::BackendSlow, Stage::Receive);
                }
                () = other.silent(pinged, limits.body_idle_time / 2) => {
                    pinged = other.now();
                    if let Err(end) = self.ping(to, Side::Client).await {
                        return end;
                    }
                    continue;
                }
            };
            let (kind, data) = match next {
                Some(Ok(Message::Text(text))) => (Data::Text, Bytes::from(text)),
                Some(Ok(Message::Binary(data))) => (Data::Binary, data),
                Some(Ok(Message::Ping(data) | Message::Pong(data))) => {
                    its.took_control(data.len() + 2);
                    continue;
                }
                Some(Ok(Message::Close(frame))) => return End::Closed(frame),
                Some(Ok(Message::Frame(_))) => continue,
                Some(Err(error)) => return End::of_error(&error, Side::Backend),
                None => return broken(Code::BackendBroken, Stage::Receive),
            };
            its.took_message();
            self.story.sent(data.len());
            self.route.metrics.said(Said::Passed);
            if let Err(end) = self.send(to, kind, data, Side::Client).await {
                return end;
            }
            its.release();
            since = its.now();
        }
    }

    /// One message of the client, whole and durable.
    async fn rewrite(&self, text: &[u8]) -> Result<Vec<u8>, Fault> {
        let (shared, story, route) = (self.shared, self.story, self.route);
        if let Some(rate) = &route.rate {
            let later = |_| Fault::new(Code::RateLimited, Stage::Authorise);
            rate.take(story.conn.client).map_err(later)?;
        }
        let RequestBody::Policy(policy) = route.config.request else {
            return Err(Fault::new(Code::Internal, Stage::Scan));
        };
        let trace = story.trace.as_ref();
        let mut rewriter = shared.rewrite(&route.config, policy, Format::Json, None, trace)?;
        let (out, summary) = hold::rewrite(&mut rewriter, text).await?;
        story.rewrote(summary);
        Ok(out)
    }

    /// In fragments, so that what waits in the library's buffer stays small. To the backend
    /// within `response_time`; how slowly a client takes is watched elsewhere.
    async fn send(&self, to: &mut To, kind: Data, all: Bytes, whom: Side) -> Result<(), End> {
        let sent = self.in_time(whom, fragments(to, kind, all)).await?;
        sent.map_err(|error| End::of_error(&error, whom))
    }

    async fn ping(&self, to: &mut To, whom: Side) -> Result<(), End> {
        let sent = self
            .in_time(whom, to.send(Message::Ping(Bytes::new())))
            .await?;
        sent.map_err(|error| End::of_error(&error, whom))
    }

    async fn in_time<F: Future>(&self, whom: Side, sending: F) -> Result<F::Output, End> {
        if whom != Side::Backend {
            return Ok(sending.await);
        }
        let time = self.shared.limits.response_time;
        let sent = tokio::time::timeout(time, sending).await;
        sent.map_err(|_| broken(Code::BackendSlow, Stage::Send))
    }
}

async fn fragments(to: &mut To, kind: Data, mut rest: Bytes) -> Result<(), Error> {
    let mut kind = kind;
    loop {
        let part = rest.split_to(rest.len().min(limits::CHUNK));
        let last = rest.is_empty();
        let frame = Frame::message(part, OpCode::Data(kind), last);
        to.feed(Message::Frame(frame)).await?;
        if last {
            return to.flush().await;
        }
        kind = Data::Continue;
    }
}

fn broken(code: Code, stage: Stage) -> End {
    End::Broken(Fault::new(code, stage))
}
