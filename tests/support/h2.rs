//! An HTTP/2 client of the gateway, with bodies that come when the test sends them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::raw::Raw;

/// A body that ends when its sender is dropped.
pub struct Sent(mpsc::UnboundedReceiver<Bytes>);

impl Sent {
    pub fn open() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (to, from) = mpsc::unbounded_channel();
        (to, Self(from))
    }

    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let (to, sent) = Self::open();
        to.send(bytes.into()).unwrap();
        sent
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|b| b.map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

pub async fn h2(gateway: &Gateway) -> SendRequest<Sent> {
    let tls = gateway.certificates.client(&[b"h2"], false);
    let raw = Raw::tls(gateway.address, tls).await;
    let io = TokioIo::new(raw.stream);
    let (sender, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}
