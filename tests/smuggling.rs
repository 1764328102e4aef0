//! Where does a request end? The gateway, its access log, nginx and HAProxy behind it must say
//! the same of every vector that ever set two readers apart (`support/vectors.rs`), and the next
//! request on the same upstream connection must get its own answer.
//!
//! Needs nginx and HAProxy; `tests/run` installs Debian's.

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cryptonym::local::processes::{Process, free_address};
use support::certificates::Certificates;
use support::h2::{Frames, Outcome};
use support::raw::{Raw, status};
use support::seen::{Server, Told};
use support::vectors::{self, PATH, Sent, Vector};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long the gateway gets to say more than it should.
const QUIET: Duration = Duration::from_millis(60);

/// How long a server gets to answer what it may be waiting for more of.
const DIRECT: Duration = Duration::from_millis(250);

struct Gateway {
    process: Process,
    address: SocketAddr,
    certificates: Arc<Certificates>,
}

/// One route for each vector and server, so that the access log tells them apart. `treats`: what
/// each route does with bodies.
fn start(servers: &[Server], vectors: &[Vector], treats: &str) -> Gateway {
    let certificates = Arc::new(Certificates::new());
    let (address, observe) = (free_address().unwrap(), free_address().unwrap());
    let mut text = format!(
        r#"
        [gateway]
        listen = ["{address}"]
        observe = "{observe}"
        workers = 1
        tls = {{ certificate = "certs/gateway.pem", key = "certs/gateway.key", client_ca = "certs/gateway-ca.pem", client_certificate = "optional" }}
        vault = {{ address = "https://127.0.0.1:1", certificate = "certs/gateway-link.pem", key = "certs/gateway-link.key", ca = "certs/vault-ca.pem" }}
        "#
    );
    for server in servers {
        let name = server.name;
        write!(
            text,
            "[backend.{name}]\nurls = [\"http://{}\"]\nregion = \"GB\"\n",
            server.address
        )
        .unwrap();
    }
    for server in servers {
        for number in 0..vectors.len() {
            let path = path(server.name, number);
            write!(
                text,
                "[[route]]\nname = \"{route}\"\npath = \"{path}/{{*rest}}\"\ncaptures = [\"rest\"]\nbackend = \"{backend}\"\n{treats}\n",
                route = &path[1..],
                backend = server.name
            )
            .unwrap();
        }
    }
    if treats.contains("shorter") {
        text += "[policy.shorter]\nunlisted = \"keep\"\nrules = [{ at = \"$.gone\", category = \"test\", action = \"drop\" }]\n";
    }
    let folder = certificates.dir.path();
    std::fs::write(folder.join("config.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonym"));
    command.arg("gateway").current_dir(folder);
    let mut process = Process::start("gateway", command, &folder.join("log")).unwrap();
    process
        .wait_for(observe, "/healthz", Duration::from_secs(30))
        .unwrap_or_else(|failure| panic!("{failure}"));
    Gateway {
        process,
        address,
        certificates,
    }
}

/// As long as [`PATH`].
fn path(server: &str, number: usize) -> String {
    let path = format!("/{}{number:02x}", &server[..1]);
    assert_eq!(path.len(), PATH.len());
    path
}

/// `bytes` for this path.
fn placed(bytes: &[u8], path: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|w| w == PATH.as_bytes()) {
        at += found;
        bytes[at..at + 4].copy_from_slice(path.as_bytes());
    }
    bytes
}

impl Gateway {
    async fn h1(&self) -> Raw {
        let tls = self.certificates.client(&[b"http/1.1"], false);
        Raw::tls(self.address, tls).await
    }

    /// Sends one vector; gives back what the client was answered: statuses, and the texts of 200.
    async fn send(&self, vector: &Vector, path: &str) -> (Vec<u16>, Vec<String>) {
        match &vector.sent {
            Sent::Http1(bytes) => {
                self.send_1(&placed(bytes, path), vector.answers.len())
                    .await
            }
            Sent::Http2 {
                fields,
                data,
                trailers,
            } => {
                let place = |fields: &[(Vec<u8>, Vec<u8>)]| -> Vec<(Vec<u8>, Vec<u8>)> {
                    let at = |bytes: &[u8]| placed(bytes, path);
                    fields.iter().map(|(n, v)| (at(n), at(v))).collect()
                };
                let data = placed(data, path);
                self.send_2(&place(fields), &data, &place(trailers)).await
            }
        }
    }

    async fn send_1(&self, bytes: &[u8], expected: usize) -> (Vec<u16>, Vec<String>) {
        let (mut statuses, mut texts) = (vec![], vec![]);
        let mut client = self.h1().await;
        client.send(bytes).await;
        while statuses.len() < expected {
            let Some(head) = client.head().await else {
                break;
            };
            if status(&head) == 100 {
                continue;
            }
            statuses.push(status(&head));
            let body = client.body(&head).await.unwrap_or_default();
            if status(&head) == 200 {
                texts.push(String::from_utf8(body).unwrap());
            }
        }
        // Nothing more may come.
        let mut more = client.buffered();
        if more.is_empty() {
            more.resize(1, 0);
            let read = tokio::time::timeout(QUIET, client.stream.read(&mut more)).await;
            more.truncate(matches!(read, Ok(Ok(1))).into());
        }
        if !more.is_empty() {
            statuses.push(0);
        }
        (statuses, texts)
    }

    async fn send_2(
        &self,
        fields: &[(Vec<u8>, Vec<u8>)],
        data: &[u8],
        trailers: &[(Vec<u8>, Vec<u8>)],
    ) -> (Vec<u16>, Vec<String>) {
        fn borrowed(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
            fields.iter().map(|(n, v)| (&n[..], &v[..])).collect()
        }
        let tls = self.certificates.client(&[b"h2"], false);
        let mut client = Frames::speak(Raw::tls(self.address, tls).await).await;
        let stream = client.request(&borrowed(fields), data.is_empty()).await;
        if !data.is_empty() {
            client.data(stream, data, trailers.is_empty()).await;
        }
        if !trailers.is_empty() {
            client.fields(stream, &borrowed(trailers), true).await;
        }
        match client.outcome(stream).await {
            Outcome::Answer(200, body) => (vec![200], vec![String::from_utf8(body).unwrap()]),
            Outcome::Answer(status, _) => (vec![status], vec![]),
            _ => (vec![], vec![]),
        }
    }

    /// Ends it, and gives back its access log: route, method, body, of what was answered
    /// whole and without a fault.
    fn log(self) -> Vec<(String, String)> {
        let file = self.process.log.clone();
        assert_eq!(self.process.stop().and_then(|s| s.code()), Some(0));
        let log = std::fs::read_to_string(file).unwrap();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &serde_json::Value| line["code"] == "-" && line["whole"] == true)
            .map(|line| {
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                let request = format!("{} {}", text("method"), line["in"]);
                (text("route"), request)
            })
            .collect()
    }
}

/// All vectors through the gateway to one server.
async fn run(gateway: &Gateway, server: &Server, vectors: &[Vector]) -> Vec<String> {
    let mut faults = vec![];
    for (number, vector) in vectors.iter().enumerate() {
        let path = path(server.name, number);
        let (statuses, texts) = gateway.send(vector, &path).await;
        let place = |f: &String| {
            let (method, rest) = f.split_once(' ').unwrap();
            format!("{method} {path}{rest}\n")
        };
        let own: Vec<String> = vector.forwards.iter().map(place).collect();
        let mut fault = |what: String| {
            faults.push(format!("{}, {}: {what}", server.name, vector.name));
        };
        if statuses != vector.answers || texts != own {
            fault(format!("answered {statuses:?} {texts:?}"));
        }
        // An honest request gets its own answer, on the same connection if that was left whole.
        let honest = format!("GET {path}/honest HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let (_, texts) = gateway.send_1(honest.as_bytes(), 1).await;
        if texts != [format!("GET {path}/honest 0\n")] {
            fault(format!("and then {texts:?}"));
        }
        let told = server.told();
        let mine: Vec<&Told> = told.iter().filter(|t| t.below(&path).is_some()).collect();
        let seen: Vec<String> = mine.iter().filter_map(|t| t.below(&path)).collect();
        let mut expected = vector.forwards.clone();
        expected.push("GET /honest 0".to_owned());
        if seen != expected {
            fault(format!("it saw {seen:?}"));
        }
        if !vector.forwards.is_empty() && mine.windows(2).any(|w| w[0].port != w[1].port) {
            fault("on another connection".to_owned());
        }
    }
    faults
}

/// The same bytes to the server itself: the requests that it saw.
async fn direct(server: &Server, number: usize, bytes: &[u8]) -> String {
    let path = format!("/d{number:02x}");
    let mut client = Raw::new(TcpStream::connect(server.address).await.unwrap());
    client.send(placed(bytes, &path)).await;
    let mut statuses = String::new();
    loop {
        let Ok(Some(head)) = tokio::time::timeout(DIRECT, client.head()).await else {
            break;
        };
        write!(statuses, "{} ", status(&head)).unwrap();
        if tokio::time::timeout(DIRECT, client.body(&head))
            .await
            .is_err()
        {
            break;
        }
    }
    drop(client);
    let seen: Vec<String> = server
        .told()
        .iter()
        .filter_map(|t| t.below(&path))
        .collect();
    format!("{statuses}{}", seen.join(", "))
}

fn servers(folder: &std::path::Path) -> Vec<Server> {
    let start = |name| Server::start(name, folder);
    ["nginx", "haproxy"].into_iter().map(start).collect()
}

/// All vectors to all servers, and then what the gateway's own log says of each. `agree`: lines of
/// the log, and what went upstream, as `METHOD length`.
async fn through(
    servers: &[Server],
    vectors: &[Vector],
    treats: &str,
    agree: impl Fn(&[&str], &[String]) -> bool,
) {
    let gateway = start(servers, vectors, treats);
    let mut faults = vec![];
    for server in servers {
        faults.extend(run(&gateway, server, vectors).await);
    }
    let log = gateway.log();
    for server in servers {
        for (number, vector) in vectors.iter().enumerate() {
            let route = &path(server.name, number)[1..];
            let logged: Vec<&str> = log
                .iter()
                .filter(|(name, _)| name == route)
                .map(|(_, request)| &**request)
                .collect();
            let short = |f: &String| {
                let words: Vec<&str> = f.split(' ').collect();
                format!("{} {}", words[0], words[2])
            };
            let mut expected: Vec<String> = vector.forwards.iter().map(short).collect();
            expected.push("GET 0".to_owned());
            if !agree(&logged, &expected) {
                faults.push(format!("{}: the log says {logged:?}", vector.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Bodies that the gateway rewrites are framed anew: what it has read and what it writes both have
/// an end, and a request that stands in the one never becomes one behind the other.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_02_rewritten_bodies_end_where_the_gateway_says() {
    let vectors = vectors::rewritten();
    let folder = tempfile::tempdir().unwrap();
    let servers = servers(folder.path());
    let treats = "methods = [\"GET\", \"POST\"]\nrequest = \"shorter\"\nstream = true";
    // Lengths in the log are those that came.
    through(&servers, &vectors, treats, |logged, forwards| {
        logged.len() == forwards.len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_02_gateway_and_backends_agree_where_a_request_ends() {
    let vectors = vectors::all();
    assert!(vectors.len() > 100 && vectors.len() < 256);
    let folder = tempfile::tempdir().unwrap();
    let servers = servers(folder.path());
    // The same requests, of the same length.
    through(&servers, &vectors, "opaque = true", |logged, forwards| {
        logged == forwards
    })
    .await;

    // For information: what the servers make of the same bytes themselves.
    println!("| vector | through the gateway | nginx | haproxy |\n|---|---|---|---|");
    for (number, vector) in vectors.iter().enumerate() {
        let Sent::Http1(bytes) = &vector.sent else {
            continue;
        };
        let mut row = format!(
            "| {} | {:?} {}",
            vector.name,
            vector.answers,
            vector.forwards.join(", ")
        );
        for server in &servers {
            write!(row, " | {}", direct(server, number, bytes).await).unwrap();
        }
        println!("{row} |");
    }
}
