//! A backend that forgets nothing: an HTTP/1.1 server on a thread that keeps every byte of every
//! body, also of those that break off. What it holds is what left the gateway.

// Each test uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// One body as it arrived.
#[derive(Clone)]
pub struct Arrival {
    pub bytes: Vec<u8>,
    /// Whether it ended as its framing said.
    pub whole: bool,
    /// When its first byte was there: seconds since 1970, to compare with a trace of system calls.
    pub began_unix: f64,
}

pub struct Sink {
    pub address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Sink {
    /// Listens on a free loopback port. Its threads end with the test's process.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
        let kept = arrivals.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { address, arrivals }
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }
}

impl Sink {
    /// What has arrived since the last call, to be kept by the caller alone.
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.arrivals.lock().unwrap())
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Arrival>>) {
    let mut answers = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(framing) = head(&mut reader) {
        if reader.fill_buf().is_err() {
            return;
        }
        let mut arrival = Arrival {
            bytes: Vec::new(),
            whole: false,
            began_unix: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs_f64(),
        };
        arrival.whole = match framing {
            Framing::Length(length) => {
                let read = reader.by_ref().take(length).read_to_end(&mut arrival.bytes);
                read.is_ok() && arrival.bytes.len() as u64 == length
            }
            Framing::Chunked => chunks(&mut reader, &mut arrival.bytes).is_some(),
        };
        let whole = arrival.whole;
        kept.lock().unwrap().push(arrival);
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n";
        if !whole || answers.write_all(answer).is_err() {
            return;
        }
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

/// Reads a request head; `None` when the connection ends.
fn head(reader: &mut impl BufRead) -> Option<Framing> {
    let mut framing = Framing::Length(0);
    let mut lines = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() && lines > 0 {
            return Some(framing);
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            framing = Framing::Length(length.trim().parse().ok()?);
        }
        if line.starts_with("transfer-encoding:") && line.ends_with("chunked") {
            framing = Framing::Chunked;
        }
        lines += 1;
    }
}

/// Reads chunks up to the last; `None` when they break off (what came is kept).
fn chunks(reader: &mut impl BufRead, out: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = u64::from_str_radix(line.trim_end().split(';').next()?, 16).ok()?;
        let before = out.len() as u64;
        reader.by_ref().take(size).read_to_end(out).ok()?;
        if out.len() as u64 - before != size {
            return None;
        }
        let mut end = String::new();
        reader.read_line(&mut end).ok()?;
        if end != "\r\n" {
            return None;
        }
        if size == 0 {
            return Some(());
        }
    }
}
