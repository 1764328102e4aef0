//! A socket that ends cleanly only when what was promised on it has been delivered.
//!
//! What enters: a TCP or TLS stream. What leaves: the same stream, with a [`Delivery`] that the
//! body travelling on it shares. What can never happen: a message that is not whole ends with a
//! FIN or a close_notify. ClickHouse 18.16 commits a chunked upload on a FIN; a reset is the
//! only end that no receiver takes for a good one.
//!
//! Life of a delivery, one message after the other:
//!
//! ```text
//! clean ──arm──▶ armed ──ended──▶ ending ──flushed──▶ clean
//!                  │                 │
//!                  └── shutdown or drop in between: SO_LINGER 0, RST
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How far the message on a connection has got.
#[derive(Debug, Default)]
pub struct Delivery(AtomicU8);

const CLEAN: u8 = 0;
const ARMED: u8 = 1;
const ENDING: u8 = 2;
const ABORTED: u8 = 3;

impl Delivery {
    /// A message starts whose end must be whole.
    pub fn arm(&self) {
        self.0.store(ARMED, Ordering::Release);
    }

    /// The last byte has been handed over; once it is flushed the connection is clean again.
    pub fn ended(&self) {
        let _ = self
            .0
            .compare_exchange(ARMED, ENDING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Nothing more may be written; the socket will be reset.
    pub fn abort(&self) {
        self.0.store(ABORTED, Ordering::Release);
    }

    pub fn is_clean(&self) -> bool {
        self.0.load(Ordering::Acquire) == CLEAN
    }

    /// Part of a message has not been handed over, and now never will be.
    pub fn is_cut(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), ARMED | ABORTED)
    }

    /// A message has begun, and its end has not been handed over.
    pub fn is_armed(&self) -> bool {
        self.0.load(Ordering::Acquire) == ARMED
    }

    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABORTED
    }

    fn flushed(&self) {
        let _ = self
            .0
            .compare_exchange(ENDING, CLEAN, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Streams that stand on a TCP socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Socket for tokio_rustls::client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The stream with its delivery, and what lasts as long as it is open.
pub struct Guarded<S: Socket, H = ()> {
    inner: S,
    delivery: Arc<Delivery>,
    _held: H,
}

impl<S: Socket> Guarded<S> {
    pub fn new(inner: S, delivery: Arc<Delivery>) -> Self {
        Self::holding(inner, delivery, ())
    }
}

impl<S: Socket, H> Guarded<S, H> {
    /// `held` is dropped after the socket.
    pub fn holding(inner: S, delivery: Arc<Delivery>, held: H) -> Self {
        Self {
            inner,
            delivery,
            _held: held,
        }
    }

    fn writable(&self) -> io::Result<()> {
        if self.delivery.is_aborted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl<S: Socket, H> Drop for Guarded<S, H> {
    fn drop(&mut self) {
        if !self.delivery.is_clean() {
            // Only a hint to the kernel; if the socket is gone already there is nothing to reset.
            let _ = socket2::SockRef::from(self.inner.tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl<S: Socket, H: Unpin> AsyncRead for Guarded<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Socket, H: Unpin> AsyncWrite for Guarded<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writable()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writable()?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes the stream below it only when its own buffer is empty, so a flush that
    /// succeeds after the body's end means that the kernel has the whole message.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable()?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.delivery.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.delivery.is_clean() {
            self.delivery.abort();
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn an_armed_socket_is_reset_on_drop_and_on_shutdown() {
        for shut in [false, true] {
            let (near, mut far) = pair().await;
            let delivery = Arc::new(Delivery::default());
            let mut near = Guarded::new(near, delivery.clone());
            delivery.arm();
            near.write_all(b"half").await.unwrap();
            let mut four = [0; 4];
            far.read_exact(&mut four).await.unwrap();
            if shut {
                near.shutdown().await.unwrap_err();
                near.write_all(b"x").await.unwrap_err();
            }
            drop(near);
            let error = far.read(&mut four).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_delivered_message_ends_with_a_fin() {
        let (near, mut far) = pair().await;
        let delivery = Arc::new(Delivery::default());
        let mut near = Guarded::new(near, delivery.clone());
        delivery.arm();
        near.write_all(b"whole").await.unwrap();
        delivery.ended();
        near.flush().await.unwrap();
        assert!(delivery.is_clean());
        near.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"whole");
    }
}
