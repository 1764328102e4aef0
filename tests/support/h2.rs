//! An HTTP/2 client of the gateway, with bodies that come when the test sends them.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// A frame as it stood on the wire.
#[derive(Debug)]
pub struct Wire {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;

pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection frame by frame (RFC 9113), for what a library would smooth over.
pub struct Frames {
    raw: Raw,
    next: u32,
    /// What may still be sent: on the connection, and on each new stream.
    connection: i64,
    initial: i64,
    streams: HashMap<u32, i64>,
    /// Frames that came while something was being sent.
    seen: VecDeque<Wire>,
}

impl Frames {
    /// Connects, and waits for the gateway's settings.
    pub async fn open(gateway: &Gateway) -> Self {
        let tls = gateway.certificates.client(&[b"h2"], false);
        Self::speak(Raw::tls(gateway.address, tls).await).await
    }

    /// On a connection that is there already.
    pub async fn speak(mut raw: Raw) -> Self {
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut me = Self {
            raw,
            next: 1,
            connection: 65_535,
            initial: 65_535,
            streams: HashMap::new(),
            seen: VecDeque::new(),
        };
        me.write(SETTINGS, 0, 0, &[]).await;
        while me.read().await.kind != SETTINGS {}
        me
    }

    /// Begins a POST whose body follows.
    pub async fn post(&mut self, path: &str) -> u32 {
        // `:method: POST` and `:scheme: https` of the static table, two literals (RFC 7541, 6.2.2).
        let mut block = vec![0x83, 0x87];
        for (name, value) in [(4, path), (1, "localhost")] {
            block.extend([name, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, self.initial);
        self.write(HEADERS, END_HEADERS, stream, &block).await;
        stream
    }

    /// Begins a request with exactly these fields, in this order, as literals without an index
    /// (RFC 7541, section 6.2.2): nothing is checked, completed or put in lower case.
    pub async fn request(&mut self, fields: &[(&[u8], &[u8])], end: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, self.initial);
        self.fields(stream, fields, end).await;
        stream
    }

    /// More fields on an open stream: trailers, if they end it.
    pub async fn fields(&mut self, stream: u32, fields: &[(&[u8], &[u8])], end: bool) {
        let block = literals(fields);
        let mut parts = block.chunks(16_384);
        let first = parts.next().unwrap_or_default();
        let more = block.len() > first.len();
        let flags = if end { END_STREAM } else { 0 } | if more { 0 } else { END_HEADERS };
        self.write(HEADERS, flags, stream, first).await;
        let last = parts.len();
        for (number, part) in parts.enumerate() {
            let flags = if number + 1 == last { END_HEADERS } else { 0 };
            self.write(CONTINUATION, flags, stream, part).await;
        }
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let flags = if end { END_STREAM } else { 0 };
        self.write(DATA, flags, stream, bytes).await;
    }

    /// How this stream ended, or the connection before it.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let Some(frame) = self.try_take().await else {
                return Outcome::Closed;
            };
            match frame.kind {
                GOAWAY if number(&frame.payload[4..8]) != 0 => {
                    return Outcome::Goaway(number(&frame.payload[4..8]));
                }
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(number(&frame.payload));
                }
                HEADERS if frame.stream == stream && status.is_none() => {
                    status = Some(answered(&frame.payload));
                }
                DATA if frame.stream == stream => body.extend(&frame.payload),
                _ => {}
            }
            if let (Some(status), true) = (status, frame.stream == stream)
                && matches!(frame.kind, HEADERS | DATA)
                && frame.flags & END_STREAM != 0
            {
                return Outcome::Answer(status, body);
            }
        }
    }

    /// Sends these bytes as the windows allow, not looking at what is answered meanwhile. Who is
    /// not `patient` stops when the stream's own window is used up. Gives back how much went.
    pub async fn push(&mut self, stream: u32, bytes: &[u8], patient: bool) -> usize {
        let mut sent = 0;
        while sent < bytes.len() && (patient || self.streams[&stream] > 0) {
            let most = self.connection.min(self.streams[&stream]).clamp(0, 16_384);
            let part = &bytes[sent..bytes.len().min(sent + most as usize)];
            if part.is_empty() {
                let frame = self.take().await;
                self.seen.push_back(frame);
                continue;
            }
            self.write(DATA, 0, stream, part).await;
            sent += part.len();
            self.connection -= part.len() as i64;
            *self.streams.get_mut(&stream).unwrap() -= part.len() as i64;
        }
        sent
    }

    pub async fn end(&mut self, stream: u32) {
        self.write(DATA, END_STREAM, stream, &[]).await;
    }

    /// The next frame, in the order of their coming.
    pub async fn read(&mut self) -> Wire {
        match self.seen.pop_front() {
            Some(frame) => frame,
            None => self.take().await,
        }
    }

    /// Takes a frame off the wire, and does what it asks for.
    async fn take(&mut self) -> Wire {
        self.try_take().await.expect("the gateway has left")
    }

    /// As [`Frames::take`]; `None` when the gateway leaves.
    pub async fn try_take(&mut self) -> Option<Wire> {
        let reading = async {
            let mut head = [0; 9];
            self.raw.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.raw.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Wire {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            })
        };
        let frame = tokio::time::timeout(Duration::from_secs(20), reading).await;
        let frame = frame.expect("a frame, or an end")?;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                for setting in frame.payload.chunks(6) {
                    if setting[..2] == [0, 4] {
                        self.initial = i64::from(number(&setting[2..]));
                    }
                }
                self.write(SETTINGS, ACK, 0, &[]).await;
            }
            PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.payload).await,
            WINDOW_UPDATE => {
                let more = i64::from(number(&frame.payload));
                if frame.stream == 0 {
                    self.connection += more;
                } else if let Some(window) = self.streams.get_mut(&frame.stream) {
                    *window += more;
                }
            }
            _ => {}
        }
        Some(frame)
    }

    /// A frame as it is given. Nothing happens if the gateway has left.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let _ = self.raw.stream.write_all(&frame).await;
        let _ = self.raw.stream.flush().await;
    }
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Answer(u16, Vec<u8>),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, which is not NO_ERROR.
    Goaway(u32),
    /// The connection ended.
    Closed,
}

fn literals(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(*text);
        }
    }
    block
}

/// RFC 7541, section 5.1, with a prefix of seven bits.
fn length(block: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push((length % 128) as u8 | 128);
        length /= 128;
    }
    block.push(length as u8);
}

/// The status in a header block of the gateway, where it stands first.
fn answered(block: &[u8]) -> u16 {
    match block[0] {
        // The static table (RFC 7541, appendix A).
        at @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(at - 0x88)],
        // A literal under the table's name, its digits in the Huffman code (appendix B).
        0x08 | 0x48 => {
            assert!(block[1] & 0x80 != 0);
            let bytes = &block[2..2 + usize::from(block[1] & 0x7f)];
            let mut bits = bytes
                .iter()
                .flat_map(|b| (0..8).rev().map(move |at| u16::from(b >> at & 1)));
            let mut number = 0;
            for _ in 0..3 {
                let mut code = 0;
                for _ in 0..5 {
                    code = code << 1 | bits.next().unwrap();
                }
                let digit = if code < 3 {
                    code
                } else {
                    (code << 1 | bits.next().unwrap()) - 0x19 + 3
                };
                number = number * 10 + digit;
            }
            number
        }
        other => panic!("a status in another form: {other:#x}"),
    }
}

/// A number as frames write it: four bytes, the first bit reserved.
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap()) & (u32::MAX >> 1)
}
