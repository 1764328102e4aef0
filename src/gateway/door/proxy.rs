//! The PROXY protocol, versions 1 and 2: whose connection a load balancer hands on.
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>)
//!
//! What enters: a connection of a trusted peer. What leaves: the address that the header names,
//! with the header consumed to its last byte and nothing behind it touched. What can never
//! happen: more than [`limits::PROXY_HEADER`] bytes are kept, a byte of the TLS stream is taken
//! for a header, or a broken header for none.
//!
//! Version 2's additional fields (TLV) are skipped unread. The checksum among them is not
//! computed: what it guards against, TCP does.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::limits;

/// Both versions' shortest header is at least this long: `PROXY UNKNOWN` and its line end.
const SHORTEST: usize = 15;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2: signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// Version 2, command LOCAL: the load balancer speaks for itself.
const LOCAL: u8 = 0x20;

/// Why a header is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the peer left, or its connection failed")]
    Io(#[from] io::Error),
    #[error("no header where there must be one, or a malformed one")]
    Malformed,
    #[error("longer than any header may be")]
    TooLong,
}

/// Reads one header. `None`: there is none (where it is not `required`), or it names nobody
/// (LOCAL, UNKNOWN, UNIX sockets).
///
/// # Errors
/// The connection is of no use any more.
pub async fn read(tcp: &mut TcpStream, required: bool) -> Result<Option<SocketAddr>, Refused> {
    if !required {
        // A TLS record begins with 22; no header does.
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && !matches!(first[0], b'P' | b'\r') {
            return Ok(None);
        }
    }
    // Exactly as much as the shortest header has: what follows belongs to TLS.
    let mut begin = [0; SHORTEST];
    for at in 0..SHORTEST {
        // Refused at the first wrong byte: a TLS client would wait for an answer to its hello.
        begin[at] = tcp.read_u8().await?;
        let so_far = &begin[..=at];
        let fits = |signature: &[u8]| {
            let length = so_far.len().min(signature.len());
            so_far[..length] == signature[..length]
        };
        if !fits(V1) && !fits(V2) {
            return Err(Refused::Malformed);
        }
    }
    if begin.starts_with(V1) {
        line(tcp, &begin).await
    } else {
        block(tcp, &begin).await
    }
}

/// Version 1: one line of text, of at most 107 bytes.
async fn line(tcp: &mut TcpStream, begin: &[u8]) -> Result<Option<SocketAddr>, Refused> {
    let mut line = [0; limits::PROXY_LINE];
    line[..begin.len()].copy_from_slice(begin);
    let mut length = begin.len();
    if begin[..length - 1].contains(&b'\n') {
        return Err(Refused::Malformed);
    }
    while line[length - 1] != b'\n' {
        let room = &mut line[length..];
        if room.is_empty() {
            return Err(Refused::TooLong);
        }
        // Looked at first, taken then: only up to the end of the line.
        let seen = tcp.peek(room).await?;
        if seen == 0 {
            return Err(Refused::Malformed);
        }
        let end = room[..seen].iter().position(|b| *b == b'\n');
        let take = end.map_or(seen, |at| at + 1);
        tcp.read_exact(&mut room[..take]).await?;
        length += take;
    }
    let line = &line[..length];
    // Numbers have digits only; the parser takes a sign too.
    if !line.ends_with(b"\r\n") || line.contains(&b'+') {
        return Err(Refused::Malformed);
    }
    parse(line)
}

/// Version 2: a fixed part, then as many bytes as it says.
async fn block(tcp: &mut TcpStream, begin: &[u8]) -> Result<Option<SocketAddr>, Refused> {
    let mut fixed = [0; V2_FIXED];
    fixed[..begin.len()].copy_from_slice(begin);
    tcp.read_exact(&mut fixed[begin.len()..]).await?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > limits::PROXY_HEADER {
        return Err(Refused::TooLong);
    }
    let mut whole = vec![0; V2_FIXED + length];
    whole[..V2_FIXED].copy_from_slice(&fixed);
    tcp.read_exact(&mut whole[V2_FIXED..]).await?;
    if fixed[12] == LOCAL {
        // Whatever family it says is to be ignored (the specification, 2.2).
        return Ok(None);
    }
    parse(&whole)
}

fn parse(header: &[u8]) -> Result<Option<SocketAddr>, Refused> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let Ok((parsed, length)) = ProxyHeader::parse(header, config) else {
        return Err(Refused::Malformed);
    };
    if length != header.len() {
        return Err(Refused::Malformed);
    }
    match parsed.proxied_address() {
        None => Ok(None),
        Some(named) if named.protocol == Protocol::Stream => {
            let ip = named.source.ip().to_canonical();
            Ok(Some(SocketAddr::new(ip, named.source.port())))
        }
        // A datagram never came over this connection.
        Some(_) => Err(Refused::Malformed),
    }
}
