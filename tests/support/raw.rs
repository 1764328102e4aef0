//! A byte stream that says how it ended, with just enough HTTP/1.1 to look at messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How the other side left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN after close_notify, or FIN on plain TCP.
    Clean,
    /// FIN without close_notify.
    Cut,
    /// RST.
    Reset,
}

pub struct Raw {
    pub stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Raw {
    pub fn new(stream: impl Stream + 'static) -> Self {
        let stream = Box::new(stream);
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    /// TLS to a gateway, as `localhost`.
    pub async fn tls(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Self {
        Self::tls_as(address, config, "localhost").await.unwrap()
    }

    pub async fn tls_as(
        address: SocketAddr,
        config: Arc<rustls::ClientConfig>,
        name: &'static str,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        let name = name.try_into().unwrap();
        let tls = tokio_rustls::TlsConnector::from(config);
        Ok(Self::new(tls.connect(name, tcp).await?))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next head, without its empty line; `None` if the peer leaves first.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Some(String::from_utf8(head[..at].to_vec()).unwrap());
            }
            self.more().await.ok()?;
        }
    }

    /// The body that belongs to this head, decoded.
    ///
    /// # Errors
    /// How the peer left before its end.
    pub async fn body(&mut self, head: &str) -> Result<Vec<u8>, End> {
        if field(head, "transfer-encoding").is_some() {
            return self.chunks().await;
        }
        let length = field(head, "content-length").map_or(0, |l| l.parse().unwrap());
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// A whole answer: head and body.
    pub async fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await.expect("an answer");
        let body = self.body(&head).await.expect("a whole answer");
        (head, body)
    }

    /// What has come and has not been looked at.
    pub fn buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Everything up to and with these bytes, as it stood on the wire.
    pub async fn raw_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            self.more().await.expect("more bytes");
        }
    }

    /// Everything until the peer leaves, and how it does.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            if let Err(end) = self.more().await {
                break end;
            }
        };
        (std::mem::take(&mut self.buffer), end)
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut all = Vec::new();
        loop {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Ok(all);
            }
            all.extend(chunk);
        }
    }

    /// One chunk of a body; empty: the last one.
    ///
    /// # Errors
    /// How the peer left before it.
    pub async fn chunk(&mut self) -> Result<Vec<u8>, End> {
        let line = loop {
            match find(&self.buffer, b"\r\n") {
                Some(at) => break self.buffer.drain(..at + 2).collect::<Vec<u8>>(),
                None => self.more().await?,
            }
        };
        let size = std::str::from_utf8(&line).unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        while self.buffer.len() < size + 2 {
            self.more().await?;
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Ok(chunk)
    }

    async fn more(&mut self) -> Result<(), End> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk);
        match tokio::time::timeout(Duration::from_secs(20), read).await {
            Err(_) => panic!("the peer neither speaks nor leaves"),
            Ok(Ok(0)) => Err(End::Clean),
            Ok(Ok(n)) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Err(End::Cut),
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
            Ok(Err(e)) => panic!("unexpected end: {e}"),
        }
    }
}

/// A header field's value in a head as text.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status code of an answer's head.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
