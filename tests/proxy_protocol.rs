//! The PROXY protocol: whose connection a load balancer hands on.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{Limits, Network, ProxyProtocol};
use cryptonym::gateway::Running;
use cryptonym::gateway::door::proxy::{Refused, read};
use cryptonym::gateway::metrics::Metrics;
use cryptonym::limits;
use rustls::pki_types::ServerName;
use support::backend::Backend;
use support::certificates::Certificates;
use support::gateway::{config as gateway_config, opaque};
use support::raw::{Raw, status};
use support::settles;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut all = SIGNATURE.to_vec();
    all.extend([version_command, family]);
    all.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    all.extend(rest);
    all
}

fn v2_ip4(more: &[u8]) -> Vec<u8> {
    let mut rest = vec![192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
    rest.extend(more);
    v2(0x21, 0x11, &rest)
}

fn v2_ip6() -> Vec<u8> {
    let ends = ["2001:db8::7", "2001:db8::1"].map(|a| a.parse::<std::net::Ipv6Addr>().unwrap());
    let mut rest = ends.map(|e| e.octets()).concat();
    rest.extend([0xdc, 0x04, 0x01, 0xbb]);
    v2(0x21, 0x21, &rest)
}

/// A field of version 2: type, length, value.
fn tlv(kind: u8, length: usize) -> Vec<u8> {
    let mut all = vec![kind];
    all.extend(u16::try_from(length).unwrap().to_be_bytes());
    all.resize(3 + length, 7);
    all
}

/// What the gateway's end of a connection makes of these bytes, sent in these pieces, and what is
/// left behind the header.
async fn take(pieces: &[&[u8]], required: bool) -> (Result<Option<SocketAddr>, Refused>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    near.set_nodelay(true).unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let sending = async {
        for piece in pieces {
            // The other end may have refused already.
            if near.write_all(piece).await.is_err() {
                break;
            }
            if pieces.len() > 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let _ = near.shutdown().await;
    };
    let (read, ()) = tokio::join!(read(&mut far, required), sending);
    let mut rest = Vec::new();
    let _ = far.read_to_end(&mut rest).await;
    (read, rest)
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn proxy_04_headers_are_taken_to_the_byte() {
    let long = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(limits::PROXY_LINE - 16));
    assert_eq!(longest.len(), 107);
    let mut unix = vec![b'/'; 216];
    unix.extend(tlv(0x04, 3));
    let padded = v2_ip4(&tlv(0x04, limits::PROXY_HEADER - 15));
    let good: Vec<(Vec<u8>, Option<SocketAddr>)> = vec![
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
            address("192.0.2.1:56324"),
        ),
        (
            b"PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n".to_vec(),
            address("1.1.1.1:0"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n".to_vec(),
            address("[2001:db8::7]:56324"),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(),
            address("192.0.2.1:1"),
        ),
        (
            long.into(),
            address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ::1 65535 65535\r\n".to_vec(), None),
        (longest.into_bytes(), None),
        (v2_ip4(&[]), address("192.0.2.1:56324")),
        (
            v2_ip4(&[tlv(0x01, 2), tlv(0x20, 300), tlv(0xee, 0)].concat()),
            address("192.0.2.1:56324"),
        ),
        (padded, address("192.0.2.1:56324")),
        (v2_ip6(), address("[2001:db8::7]:56324")),
        (v2(0x20, 0x00, &[]), None),
        // LOCAL: whatever else it says is not looked at.
        (v2(0x20, 0x11, &[1; 12]), None),
        (v2(0x20, 0xff, &[1; 99]), None),
        (v2(0x21, 0x00, &tlv(0x04, 9)), None),
        (v2(0x21, 0x31, &unix), None),
    ];
    // What follows begins like a line's end, like a header, like TLS.
    for (header, source) in &good {
        for behind in [&b"\n\r\nPROXY "[..], &[22, 3, 1, 0, 5]] {
            for required in [true, false] {
                let whole = [header, behind].concat();
                let (read, rest) = take(&[&whole], required).await;
                assert_eq!(read.unwrap(), *source, "{header:?}");
                assert_eq!(rest, behind, "{header:?}");
            }
        }
        // In two segments, cut at each of the first places and at the last ones; and byte by byte.
        if header.len() <= 120 {
            for cut in (1..20)
                .chain([header.len() - 1, header.len()])
                .filter(|c| *c <= header.len())
            {
                let whole = [header, &b"\x16\x03"[..]].concat();
                let (read, rest) = take(&[&whole[..cut], &whole[cut..]], true).await;
                assert_eq!(
                    (read.unwrap(), &rest[..]),
                    (*source, &b"\x16\x03"[..]),
                    "{cut} {header:?}"
                );
            }
            let single: Vec<&[u8]> = header.chunks(1).collect();
            assert_eq!(take(&single, true).await.0.unwrap(), *source);
        }
    }
}

#[tokio::test]
async fn proxy_04_bad_headers_are_refused() {
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(500));
    let over = format!("PROXY UNKNOWN {}\r\n", "x".repeat(limits::PROXY_LINE - 15));
    let mut cut = v2_ip4(&[]);
    cut.truncate(20);
    let mut wrong_signature = v2_ip4(&[]);
    wrong_signature[11] = b'\r';
    let bad: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"P".to_vec(),
        b"PROXY TCP4 192.0.2.1 198".to_vec(),
        b"PROXY\tTCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"proxy TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n".to_vec(),
        b"PROXY TCP4  192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +56324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.01 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
        endless.into_bytes(),
        over.into_bytes(),
        wrong_signature,
        cut,
        v2(0x11, 0x11, &[1; 12]),
        v2(0x22, 0x11, &[1; 12]),
        v2(0x31, 0x11, &[1; 12]),
        v2(0x21, 0x11, &[1; 11]),
        v2(0x21, 0x21, &[1; 35]),
        v2(0x21, 0x31, &[1; 215]),
        v2(0x21, 0x12, &[1; 12]),
        v2(0x21, 0x41, &[1; 99]),
        v2(0x21, 0x13, &[1; 99]),
        v2_ip4(&tlv(4, limits::PROXY_HEADER - 14)),
        v2(0x20, 0, &vec![0; 65_535]),
    ];
    for bytes in &bad {
        let (read, _) = take(&[bytes], true).await;
        assert!(
            read.is_err(),
            "{read:?} {:?}",
            String::from_utf8_lossy(bytes)
        );
        if matches!(bytes.first(), Some(b'P' | b'\r')) {
            assert!(take(&[bytes], false).await.0.is_err());
        }
    }
    // A TLS hello: refused at its first byte where a header is required, else not touched.
    let hello = [22, 3, 1, 2, 0, 1];
    let (read, _) = take(&[&hello], true).await;
    assert!(matches!(read, Err(Refused::Malformed)));
    let (read, rest) = take(&[&hello], false).await;
    assert_eq!((read.unwrap(), &rest[..]), (None, &hello[..]));
}

struct Gate {
    running: Running,
    metrics: Arc<Metrics>,
    address: SocketAddr,
    certificates: Certificates,
}

impl Gate {
    fn start(backend: &Backend, trusted: &[(&str, u8)], required: bool) -> Self {
        let certificates = Certificates::new();
        let limits = Limits {
            head_time: Duration::from_millis(500),
            ..Limits::default()
        };
        let routes = vec![opaque("any", "/any")];
        let mut config = gateway_config(&certificates, backend, routes, limits);
        let trusted = trusted.iter().map(|(address, bits)| Network {
            address: address.parse().unwrap(),
            bits: *bits,
        });
        config.gateway.as_mut().unwrap().proxy_protocol = Some(ProxyProtocol {
            trusted: trusted.collect(),
            required,
        });
        let metrics = Arc::new(Metrics::new());
        let running = cryptonym::gateway::start(&config, None, metrics.clone()).unwrap();
        Self {
            address: running.addresses()[0],
            running,
            metrics,
            certificates,
        }
    }

    /// A request over a connection from `from` that begins with these bytes.
    async fn get(&self, from: &str, header: &[u8]) -> std::io::Result<u16> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0))?;
        let mut tcp = socket.connect(self.address).await?;
        tcp.write_all(header).await?;
        let tls = self.certificates.client(&[b"http/1.1"], false);
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(tls).connect(name, tcp);
        let limit = Duration::from_secs(10);
        let stream = tokio::time::timeout(limit, connecting)
            .await
            .expect("an end")?;
        let mut raw = Raw::new(stream);
        raw.send("GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        Ok(status(&raw.answer().await.0))
    }

    async fn is_turned_away(&self, reason: &str, times: u64) {
        settles(reason, times, || self.turned_away(reason)).await;
    }

    fn turned_away(&self, reason: &str) -> u64 {
        let mut text = String::new();
        let registry = self.metrics.registry();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let wanted = format!("cryptonym_gateway_turned_away_total{{reason=\"{reason}\"}} ");
        let line = text.lines().find_map(|l| l.strip_prefix(&*wanted));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }
}

#[tokio::test]
async fn proxy_04_only_trusted_peers_are_asked_for_a_header() {
    let backend = Backend::answering(OK).await;
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    let required = Gate::start(&backend, &[("127.0.0.2", 32), ("10.0.0.0", 8)], true);
    assert_eq!(required.get("127.0.0.2", header).await.unwrap(), 200);
    assert_eq!(
        required
            .get("127.0.0.2", &v2_ip4(&tlv(4, 9)))
            .await
            .unwrap(),
        200
    );
    assert_eq!(
        required
            .get("127.0.0.2", b"PROXY UNKNOWN\r\n")
            .await
            .unwrap(),
        200
    );
    assert_eq!(
        required.get("127.0.0.2", &v2(0x20, 0, &[])).await.unwrap(),
        200
    );
    assert!(required.get("127.0.0.2", b"").await.is_err());
    assert!(required.get("127.0.0.2", &header[..20]).await.is_err());
    required.is_turned_away("proxy-header", 2).await;
    // To a stranger the header is no TLS.
    assert_eq!(required.get("127.0.0.1", b"").await.unwrap(), 200);
    assert!(required.get("127.0.0.1", header).await.is_err());
    assert!(required.get("127.0.0.1", &v2_ip4(&[])).await.is_err());
    required.is_turned_away("protocol", 2).await;
    required.is_turned_away("proxy-header", 2).await;

    let optional = Gate::start(&backend, &[("127.0.0.0", 8)], false);
    assert_eq!(optional.get("127.0.0.1", b"").await.unwrap(), 200);
    assert_eq!(optional.get("127.0.0.1", header).await.unwrap(), 200);
    assert!(
        optional
            .get("127.0.0.1", b"PROXY nonsense\r\n")
            .await
            .is_err()
    );
    optional.is_turned_away("proxy-header", 1).await;
    // Two headers are one too many.
    assert!(
        optional
            .get("127.0.0.1", &[&header[..], header].concat())
            .await
            .is_err()
    );
    required.running.drain().await;
}

#[tokio::test]
async fn proxy_04_a_header_has_its_time() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::start(&backend, &[("127.0.0.1", 32)], true);
    for begin in [&b""[..], b"PROXY TCP4 192.0", &v2_ip4(&[])[..20]] {
        let started = Instant::now();
        let mut tcp = TcpStream::connect(gate.address).await.unwrap();
        tcp.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut rest));
        let _ = end.await.expect("closed in time");
        assert!(rest.is_empty() && started.elapsed() >= Duration::from_millis(400));
    }
    gate.is_turned_away("proxy-time", 3).await;
}

/// HAProxy in TCP mode, ended when dropped.
struct Haproxy {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Haproxy {
    /// Hands connections on to `to`, with this option of its `server` line.
    async fn start(to: SocketAddr, option: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
             listen front\n  bind 127.0.0.1:{port}\n  server gateway {to} {option}\n"
        );
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let child = Command::new("/usr/sbin/haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is needed: `tests/run` installs it");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let this = Self {
            child,
            address,
            _dir: dir,
        };
        // Whether it listens is looked up in the kernel's table: connecting would make a
        // connection that it hands on.
        let needle = format!(":{port:04X} 00000000:0000 0A");
        let end = Instant::now() + Duration::from_secs(20);
        while !std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&needle)
        {
            assert!(Instant::now() < end, "haproxy does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        this
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OPTIONS: [&str; 4] = [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options unique-id,crc32c,authority",
    "send-proxy-v2-ssl-cn",
];

#[tokio::test(flavor = "multi_thread")]
async fn proxy_04_haproxy_says_whose_connection_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for option in OPTIONS {
        let haproxy = Haproxy::start(listener.local_addr().unwrap(), option).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let mut client = socket.connect(haproxy.address).await.unwrap();
        client.write_all(b"\x16hello").await.unwrap();
        let (mut tcp, peer) = listener.accept().await.unwrap();
        let source = read(&mut tcp, true).await.unwrap();
        assert_eq!(source, Some(client.local_addr().unwrap()), "{option}");
        assert_eq!(peer.ip().to_string(), "127.0.0.1");
        let mut hello = [0; 6];
        tcp.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"\x16hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_04_requests_come_through_haproxy() {
    let mut backend = Backend::answering(OK).await;
    let gate = Gate::start(&backend, &[("127.0.0.1", 32)], true);
    for option in OPTIONS {
        // Its health checks speak for themselves: LOCAL in version 2, UNKNOWN or its own in 1.
        let option = format!("{option} check check-ssl verify none inter 100ms");
        let haproxy = Haproxy::start(gate.address, &option).await;
        for _ in 0..3 {
            let tls = gate.certificates.client(&[b"http/1.1"], false);
            let mut raw = Raw::tls(haproxy.address, tls).await;
            for _ in 0..2 {
                raw.send("GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    .await;
                assert_eq!(status(&raw.answer().await.0), 200, "{option}");
                assert!(!backend.next().await.head.contains("127.0.0.1"));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    gate.is_turned_away("proxy-header", 0).await;
    // Without its header it does not get in.
    let plain = Haproxy::start(gate.address, "").await;
    let tcp = TcpStream::connect(plain.address).await.unwrap();
    let tls = TlsConnector::from(gate.certificates.client(&[b"http/1.1"], false));
    let name = ServerName::try_from("localhost").unwrap();
    tls.connect(name, tcp).await.unwrap_err();
    gate.is_turned_away("proxy-header", 1).await;
}
