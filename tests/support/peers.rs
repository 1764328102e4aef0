//! Peers that misbehave, on both sides of the gateway: stallers, dribblers, killers, early
//! answerers. Each does one thing wrong and goes on doing it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::raw::Raw;

/// What a backend does with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Accepts, reads nothing, says nothing.
    Staller,
    /// Closes what it has accepted: by FIN, by RST.
    Leaver,
    Resetter,
    /// Reads the head, then closes.
    HeadReader,
    /// Half a head, then silence; then FIN.
    HalfHead,
    HalfHeadLeaver,
    /// A byte of its head every 100 ms.
    HeadDribbler,
    /// A byte of its body every 20 ms.
    BodyDribbler,
    /// No HTTP, more head than there may be, two lengths, a bad length.
    Stranger,
    Talker,
    TwoLengths,
    NoLength,
    /// Informational answers without an end.
    Informer,
    /// Half a body of known length, then RST; FIN; silence.
    Killer,
    Cutter,
    BodyStaller,
    /// The same in chunks; a chunk that is none.
    ChunkKiller,
    ChunkCutter,
    ChunkStaller,
    WrongChunk,
    /// Answers at the head and never reads the body.
    Early,
    /// One answer more than it was asked for.
    Splitter,
}

/// Bytes of a body that [`Bad::BodyDribbler`] sends.
pub const DRIBBLED: usize = 40;

/// What a [`Bad`] backend is listening on.
pub async fn backend(bad: Bad) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(behave(tcp, bad));
        }
    });
    address
}

/// Closes with RST, whatever is still to be read or written.
pub fn resets(tcp: &TcpStream) {
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(tcp).set_linger(linger).unwrap();
}

async fn behave(mut tcp: TcpStream, bad: Bad) {
    match bad {
        Bad::Staller => return std::future::pending().await,
        Bad::Leaver => return,
        Bad::Resetter => return resets(&tcp),
        _ => {}
    }
    if head(&mut tcp).await.is_none() {
        return;
    }
    let known = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf of it";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhalf of it\r\n";
    let say = match bad {
        Bad::HeadReader => "",
        Bad::HalfHead | Bad::HalfHeadLeaver => "HTTP/1.1 200 OK\r\ncontent-len",
        Bad::Stranger => "SSH-2.0-OpenSSH_9.2p1\r\n",
        Bad::TwoLengths => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        Bad::NoLength => "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        Bad::Killer | Bad::Cutter | Bad::BodyStaller => known,
        Bad::ChunkKiller | Bad::ChunkCutter | Bad::ChunkStaller => chunks,
        Bad::WrongChunk => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhalf of it\r\nG\r\n"
        }
        Bad::Early => "HTTP/1.1 429 Slow Down\r\ncontent-length: 4\r\n\r\nlate",
        Bad::Splitter => {
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond"
        }
        _ => "",
    };
    if tcp.write_all(say.as_bytes()).await.is_err() {
        return;
    }
    match bad {
        Bad::HeadDribbler => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            dribble(&mut tcp, head.as_bytes(), Duration::from_millis(100)).await;
        }
        Bad::BodyDribbler => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {DRIBBLED}\r\n\r\n"
            );
            tcp.write_all(head.as_bytes()).await.unwrap();
            dribble(&mut tcp, &[b'x'; DRIBBLED], Duration::from_millis(20)).await;
        }
        Bad::Talker => {
            let field = format!("x: {}\r\n", "y".repeat(1000));
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while tcp.write_all(field.as_bytes()).await.is_ok() {}
        }
        Bad::Informer => {
            let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
            while tcp.write_all(hint).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Bad::Killer | Bad::ChunkKiller => {
            // The gateway has it before it is reset: unread bytes would die with the socket.
            tokio::time::sleep(Duration::from_millis(100)).await;
            resets(&tcp);
        }
        Bad::HalfHead | Bad::BodyStaller | Bad::ChunkStaller | Bad::Early | Bad::Splitter => {
            std::future::pending().await
        }
        _ => {}
    }
}

async fn dribble(tcp: &mut TcpStream, bytes: &[u8], pause: Duration) {
    for byte in bytes {
        if tcp.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn head(tcp: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    Some(())
}

/// A client whose connection ends with RST when it is dropped.
pub async fn abrupt(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Raw {
    let tcp = TcpStream::connect(address).await.unwrap();
    resets(&tcp);
    let tls = tokio_rustls::TlsConnector::from(tls);
    let name = "localhost".try_into().unwrap();
    Raw::new(tls.connect(name, tcp).await.unwrap())
}

/// Sends byte by byte, until the peer takes no more. Whether it took all.
pub async fn dribbles(client: &mut Raw, bytes: &[u8], pause: Duration) -> bool {
    for byte in bytes {
        let written = client.stream.write_all(&[*byte]).await;
        if written.is_err() || client.stream.flush().await.is_err() {
            return false;
        }
        tokio::time::sleep(pause).await;
    }
    true
}
