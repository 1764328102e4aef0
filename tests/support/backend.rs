//! A backend that does exactly what a test says, well or badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use cryptonym::config;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::raw::{End, Raw};

/// One request as the backend saw it.
#[derive(Debug)]
pub struct Seen {
    pub head: String,
    pub body: Result<Vec<u8>, End>,
}

pub struct Backend {
    pub address: SocketAddr,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    connections: Arc<AtomicUsize>,
    https: bool,
}

impl Backend {
    /// Each connection is handed to `behave`, with where to report what it saw.
    pub async fn start<F, T>(tls: Option<Arc<rustls::ServerConfig>>, behave: F) -> Self
    where
        F: Fn(Raw, mpsc::UnboundedSender<Seen>) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), tls, behave).await
    }

    pub async fn start_at<F, T>(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        behave: F,
    ) -> Self
    where
        F: Fn(Raw, mpsc::UnboundedSender<Seen>) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (report, seen) = mpsc::unbounded_channel();
        let counted = connections.clone();
        let https = tls.is_some();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                let raw = match &tls {
                    None => Raw::new(tcp),
                    Some(config) => {
                        let tls = tokio_rustls::TlsAcceptor::from(config.clone());
                        match tls.accept(tcp).await {
                            Ok(stream) => Raw::new(stream),
                            Err(_) => continue,
                        }
                    }
                };
                tokio::spawn(behave(raw, report.clone()));
            }
        });
        Self {
            address,
            seen,
            connections,
            https,
        }
    }

    /// Reads every request whole and gives the same answer to each.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(None, move |raw, report| serve(raw, report, answer)).await
    }

    /// Does with each request what its mood says then.
    pub async fn moody(mood: Mood) -> (Self, Moods) {
        let moods = Moods(Arc::new(tokio::sync::watch::Sender::new(mood)));
        let its = moods.clone();
        let backend = Self::start(None, move |raw, report| obey(raw, report, its.clone())).await;
        (backend, moods)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), self.seen.recv());
        next.await.expect("a request").unwrap()
    }

    /// Whether no request has come.
    pub fn saw_nothing(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }

    pub fn config(&self, certificates: &super::certificates::Certificates) -> config::Backend {
        config::Backend {
            name: "backend".to_owned(),
            urls: vec![config::BackendUrl {
                https: self.https,
                host: "localhost".to_owned(),
                port: self.address.port(),
            }],
            region: None,
            ca: self.https.then(|| certificates.ca().to_owned()),
            server_name: None,
            identity: None,
            http2: false,
            care: config::Care::default(),
            original: None,
        }
    }
}

/// What a moody backend does with a request that it has read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers with this status and a body of two bytes.
    Answer(u16),
    /// Waits for another mood.
    Stall,
    /// Closes the connection without a word.
    Close,
    /// Answers the first request of a connection, and closes when it has read the second.
    CloseSecond,
}

/// Changes a backend's mood.
#[derive(Clone)]
pub struct Moods(Arc<tokio::sync::watch::Sender<Mood>>);

impl Moods {
    pub fn set(&self, mood: Mood) {
        self.0.send_replace(mood);
    }
}

async fn obey(mut raw: Raw, report: mpsc::UnboundedSender<Seen>, moods: Moods) {
    let mut mood = moods.0.subscribe();
    let mut served = 0;
    while let Some(head) = raw.head().await {
        let Ok(body) = raw.body(&head).await else {
            return;
        };
        let body = Ok(body);
        let _ = report.send(Seen { head, body });
        let stalled = mood.wait_for(|mood| *mood != Mood::Stall);
        let now = tokio::select! {
            biased;
            now = stalled => *now.unwrap(),
            // Whoever gives up waiting is let go.
            _ = raw.rest() => return,
        };
        let status = match now {
            Mood::Answer(status) => status,
            Mood::CloseSecond if served == 0 => 200,
            _ => return,
        };
        let answer = format!("HTTP/1.1 {status} Some\r\ncontent-length: 2\r\n\r\nok");
        raw.send(answer).await;
        served += 1;
    }
}

/// One request, answered well; then whoever has the connection closes it.
pub async fn serve_one(raw: &mut Raw, report: &mpsc::UnboundedSender<Seen>) {
    if let Some(head) = raw.head().await {
        let body = raw.body(&head).await;
        let _ = report.send(Seen { head, body });
        raw.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
}

/// Requests one after the other, each with the same answer.
pub async fn serve(mut raw: Raw, report: mpsc::UnboundedSender<Seen>, answer: &'static str) {
    while let Some(head) = raw.head().await {
        let body = raw.body(&head).await;
        let whole = body.is_ok();
        let _ = report.send(Seen { head, body });
        if !whole {
            return;
        }
        raw.send(answer).await;
    }
}
