//! TLS: names, certificates that change, revocation, handshakes, backends.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonym::config::{ClientCertificate, Config, Limits, NamedCertificate, ServerTls};
use cryptonym::gateway::Running;
use cryptonym::gateway::metrics::Metrics;
use cryptonym::tls::reload::Reloaded;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, HandshakeKind};
use support::authority::{Authority, Pair, put};
use support::backend::Backend;
use support::certificates::Certificates;
use support::gateway::{config as gateway_config, opaque};
use support::raw::{End, Raw, field, status};
use support::settles;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the watcher needs: two looks, and a slow machine.
const NOTICED: Duration = Duration::from_secs(20);

struct Site {
    ca: Authority,
    dir: tempfile::TempDir,
    certificates: Certificates,
}

struct Gate {
    running: Running,
    metrics: Arc<Metrics>,
    address: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            ca: Authority::new(dir.path(), "ca"),
            certificates: Certificates::new(),
            dir,
        }
    }

    fn tls(&self, pair: &Pair, asked: ClientCertificate) -> ServerTls {
        ServerTls {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            client_ca: (asked != ClientCertificate::None).then(|| self.ca.file.clone()),
            client_crl: None,
            client_certificate: asked,
            resumption: asked == ClientCertificate::None,
        }
    }

    fn start(&self, backend: &Backend, tls: ServerTls, change: impl FnOnce(&mut Config)) -> Gate {
        let routes = vec![opaque("any", "/{*rest}")];
        let mut config = gateway_config(&self.certificates, backend, routes, Limits::default());
        config.routes[0].captures = vec!["rest".to_owned()];
        config.gateway.as_mut().unwrap().tls = tls;
        change(&mut config);
        let metrics = Arc::new(Metrics::new());
        let running = cryptonym::gateway::start(&config, None, metrics.clone()).unwrap();
        Gate {
            address: running.addresses()[0],
            running,
            metrics,
        }
    }

    fn roots(&self) -> rustls::RootCertStore {
        cryptonym::tls::files::roots(&self.ca.file).unwrap()
    }

    fn client(&self, identity: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        self.ca.trusting(&[b"http/1.1"], identity)
    }
}

impl Gate {
    fn count(&self, line: &str) -> u64 {
        let mut text = String::new();
        let registry = self.metrics.registry();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("cryptonym_gateway_{line} ")));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }

    /// How often a client was turned away for this reason.
    async fn is_turned_away(&self, reason: &str, times: u64) {
        settles(reason, times, || self.turned_away(reason)).await;
    }

    fn turned_away(&self, reason: &str) -> u64 {
        self.count(&format!("turned_away_total{{reason=\"{reason}\"}}"))
    }
}

async fn connect(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, tcp).await
}

/// The server's certificate as this client sees it.
fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn first(pair: &Pair) -> CertificateDer<'static> {
    cryptonym::tls::files::certificates(&pair.certificate).unwrap()[0].clone()
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// In TLS 1.3 a client is done before the server has looked at its certificate: only the first
/// answer shows. `Ok`: the handshake's kind.
async fn ask(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    name: &str,
) -> std::io::Result<HandshakeKind> {
    let mut stream = connect(address, config, name).await?;
    let request = format!("GET /x HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    Ok(stream.get_ref().1.handshake_kind().unwrap())
}

async fn until(what: &str, mut good: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + NOTICED;
    while !good().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn named(names: &[&str], pair: &Pair) -> NamedCertificate {
    NamedCertificate {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
    }
}

#[tokio::test]
async fn proxy_03_sni_picks_the_certificate_and_strangers_are_refused() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let default = site.ca.server("default", &["localhost", "127.0.0.1"]);
    let exact = site.ca.server("exact", &["a.h.example"]);
    let wild = site.ca.server("wild", &["*.h.example", "example"]);
    let strong = site.ca.server_ed25519("strong", &["example"]);
    let several = site.ca.server("several", &["c.test", "d.test", "*.w.test"]);
    let gate = site.start(
        &backend,
        site.tls(&default, ClientCertificate::None),
        |config| {
            config.gateway.as_mut().unwrap().certificates = vec![
                named(&[], &wild),
                named(&["a.h.example"], &exact),
                named(&["example"], &strong),
                named(&["c.test", "x.w.test"], &several),
            ];
            let mut hosted = opaque("hosted", "/hosted");
            hosted.host = Some("hosted.test".to_owned());
            config.routes.push(hosted);
        },
    );
    let client = site.client(None);
    for (name, pair) in [
        ("localhost", &default),
        ("127.0.0.1", &default),
        ("a.h.example", &exact),
        ("A.H.Example", &exact),
        ("b.h.example", &wild),
        ("example", &wild),
        ("c.test", &several),
        ("x.w.test", &several),
    ] {
        let stream = connect(gate.address, client.clone(), name).await;
        assert_eq!(leaf(&stream.expect(name)), first(pair), "{name}");
    }
    // Of two certificates for one name, the one that the client can check.
    let mut only = cryptonym::tls::provider().as_ref().clone();
    let schemes = only.signature_verification_algorithms.mapping.iter();
    let ed25519 = schemes.filter(|(scheme, _)| *scheme == rustls::SignatureScheme::ED25519);
    only.signature_verification_algorithms.mapping = ed25519.copied().collect::<Vec<_>>().leak();
    let picky = rustls::ClientConfig::builder_with_provider(Arc::new(only))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(site.roots())
        .with_no_client_auth();
    let stream = connect(gate.address, Arc::new(picky), "example").await;
    assert_eq!(leaf(&stream.unwrap()), first(&strong));
    // A route's host without a certificate of its own gets the default, which the client refuses.
    let error = connect(gate.address, client.clone(), "hosted.test").await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
    // Names that nobody here has: `d.test` stands in a certificate, but not in its `names`.
    for name in [
        "other.test",
        "d.test",
        "a.b.h.example",
        "y.w.test",
        "localhost.example.test",
    ] {
        let error = connect(gate.address, client.clone(), name)
            .await
            .unwrap_err();
        assert_eq!(
            alert(&error),
            Some(AlertDescription::UnrecognisedName),
            "{name}: {error}"
        );
    }
    gate.is_turned_away("unknown-name", 5).await;
    gate.is_turned_away("no-name", 0).await;
}

#[tokio::test]
async fn proxy_03_sni_and_host_agree_and_a_name_can_be_demanded() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let default = site.ca.server("default", &["localhost", "127.0.0.1"]);
    let wild = site.ca.server("wild", &["*.h.example"]);
    let tls = site.tls(&default, ClientCertificate::None);
    let gate = site.start(&backend, tls.clone(), |config| {
        config.gateway.as_mut().unwrap().certificates = vec![named(&[], &wild)];
    });
    let client = site.client(None);
    for (sni, host, expect) in [
        ("a.h.example", "a.h.example", 200),
        ("a.h.example", "b.h.example", 421),
        ("a.h.example", "localhost", 421),
        ("localhost", "a.h.example", 421),
        ("127.0.0.1", "a.h.example", 200),
    ] {
        let stream = connect(gate.address, client.clone(), sni).await.unwrap();
        let mut raw = Raw::new(stream);
        raw.send(format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let (head, _) = raw.answer().await;
        assert_eq!(status(&head), expect, "{sni} {host}");
    }
    let h2 = site.ca.trusting(&[b"h2"], None);
    for (authority, expect) in [("a.h.example", 200), ("b.h.example", 421)] {
        let stream = connect(gate.address, h2.clone(), "a.h.example").await;
        let io = TokioIo::new(stream.unwrap());
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("https://{authority}/x"));
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), expect, "{authority}");
    }
    let strict = site.start(&backend, tls, |config| {
        config.gateway.as_mut().unwrap().sni_required = true;
    });
    connect(strict.address, client.clone(), "localhost")
        .await
        .unwrap();
    let error = connect(strict.address, client, "127.0.0.1")
        .await
        .unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName));
    strict.is_turned_away("no-name", 1).await;
}

#[tokio::test]
async fn proxy_03_certificates_that_cannot_serve_are_refused_at_the_start() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let default = site.ca.server("default", &["localhost"]);
    let one = site.ca.server("one", &["a.test"]);
    let two = site.ca.server("two", &["a.test", "b.test"]);
    let bare = site.ca.server("bare", &["127.0.0.1"]);
    let crossed = Pair {
        certificate: one.certificate.clone(),
        key: two.key.clone(),
    };
    for (certificates, file, why) in [
        (
            vec![named(&["b.test"], &one)],
            "one.pem",
            "is not made for `b.test`; its names are a.test",
        ),
        (
            vec![named(&["*.test"], &one)],
            "one.pem",
            "is not made for `*.test`",
        ),
        (
            vec![named(&[], &one), named(&[], &two)],
            "two.pem",
            "claims `a.test`, which",
        ),
        (vec![named(&[], &bare)], "bare.pem", "names no host"),
        (
            vec![named(&[], &crossed)],
            "two.key",
            "does not belong to the first certificate of",
        ),
    ] {
        let routes = vec![opaque("any", "/any")];
        let mut config = gateway_config(&site.certificates, &backend, routes, Limits::default());
        let gateway = config.gateway.as_mut().unwrap();
        gateway.tls = site.tls(&default, ClientCertificate::None);
        gateway.certificates = certificates;
        let Err(error) = cryptonym::gateway::start(&config, None, Arc::new(Metrics::new())) else {
            panic!("started: {why}");
        };
        let error = error.to_string();
        assert!(error.contains(file) && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn proxy_03_a_new_pair_is_served_and_open_connections_go_on() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let old = site.ca.server("default", &["localhost"]);
    let before = first(&old);
    let gate = site.start(&backend, site.tls(&old, ClientCertificate::None), |_| ());
    let client = site.client(None);
    let mut open = Raw::new(
        connect(gate.address, client.clone(), "localhost")
            .await
            .unwrap(),
    );
    assert_eq!(
        ask(gate.address, client.clone(), "localhost")
            .await
            .unwrap(),
        HandshakeKind::Full
    );
    let new = first(&site.ca.server("default", &["localhost"]));
    assert_ne!(before, new);
    until("the new certificate", async || {
        let seen = connect(gate.address, site.client(None), "localhost")
            .await
            .unwrap();
        // One or the other, never a failed handshake.
        assert!(leaf(&seen) == before || leaf(&seen) == new);
        leaf(&seen) == new
    })
    .await;
    open.send("GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let (head, _) = open.answer().await;
    assert_eq!((status(&head), field(&head, "connection")), (200, None));
    // Whom to let in is as before: so are the tickets.
    let again = ask(gate.address, client, "localhost").await.unwrap();
    assert_eq!(again, HandshakeKind::Resumed);
    assert_eq!(gate.count("tls_reloads_total{outcome=\"done\"}"), 1);
    assert_eq!(gate.count("tls_reloads_total{outcome=\"refused\"}"), 0);
}

#[tokio::test]
async fn proxy_03_a_bad_pair_keeps_the_old_one() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let good = first(&pair);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (certificate, key) = (read(&pair.certificate), read(&pair.key));
    let mut tls = site.tls(&pair, ClientCertificate::Optional);
    let crl = site.dir.path().join("crl.pem");
    put(&crl, &site.ca.revocations(&[], 7));
    tls.client_crl = Some(crl.clone());
    let gate = site.start(&backend, tls, |_| ());
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let other = Authority::new(
        &std::fs::canonicalize(site.certificates.dir.path()).unwrap(),
        "other",
    );
    let client = site.client(None);
    let mut refused = 0;
    let mut worse = async |file: &str, why: &str| {
        let error = gate.running.door().reload().unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(why), "{error}");
        assert!(!error.contains(key.lines().nth(1).unwrap()), "{error}");
        let seen = connect(gate.address, client.clone(), "localhost")
            .await
            .unwrap();
        assert_eq!(leaf(&seen), good, "{error}");
        refused += 1;
        // The watcher may have tried the same meanwhile.
        assert!(gate.count("tls_reloads_total{outcome=\"refused\"}") >= refused);
        put(&pair.certificate, &certificate);
        put(&pair.key, &key);
        put(&site.ca.file, &read(&site.dir.path().join("ca.good")));
        put(&crl, &site.ca.revocations(&[], 7));
    };
    put(&site.dir.path().join("ca.good"), &read(&site.ca.file));

    site.ca.server("default", &["localhost"]);
    put(&pair.key, &key);
    worse("default.key", "does not belong to the first certificate of").await;
    site.ca.server_of("default", &["localhost"], (-9, -1), p256);
    worse("default.pem", "has ended: put a new one there").await;
    site.ca.server_of("default", &["localhost"], (2, 9), p256);
    worse("default.pem", "not valid yet").await;
    std::fs::remove_file(&pair.key).unwrap();
    worse("default.key", "is not there").await;
    put(&pair.certificate, &certificate[..certificate.len() / 2]);
    worse("default.pem", "broken certificate").await;
    put(&pair.certificate, "");
    worse("default.pem", "holds no certificate").await;
    put(&site.ca.file, "");
    worse("ca.pem", "holds no certificate").await;
    put(&crl, "");
    worse("crl.pem", "holds no list of revoked certificates").await;
    put(&crl, &site.ca.revocations(&[], -1));
    worse("crl.pem", "has ended (nextUpdate)").await;
    put(&crl, &other.revocations(&[], 7));
    worse("crl.pem", "has no list of one of the CAs").await;
    // And a good one is taken again.
    gate.running.door().reload().unwrap();
}

/// What one revocation does to those inside and to those who come later.
#[tokio::test]
async fn proxy_03_a_revoked_client_is_refused_and_asked_to_leave() {
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let backend = Backend::start(None, move |mut raw, _| {
        let (started, mut released) = (started.clone(), released.clone());
        async move {
            while let Some(head) = raw.head().await {
                if head.contains("/slow") {
                    started.send(()).unwrap();
                    released.wait_for(|r| *r).await.unwrap();
                }
                raw.send(OK).await;
            }
        }
    })
    .await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let (bad, good) = (site.ca.client("bad", 7), site.ca.client("good", 8));
    let crl = site.dir.path().join("crl.pem");
    put(&crl, &site.ca.revocations(&[99], 7));
    let mut tls = site.tls(&pair, ClientCertificate::Required);
    tls.client_crl = Some(crl.clone());
    let gate = site.start(&backend, tls, |config| {
        config.limits.drain_time = Duration::from_secs(4);
    });
    let enter = async |who: &Pair, protocol: &[u8]| {
        let config = site.ca.trusting(&[protocol], Some(who));
        Raw::new(connect(gate.address, config, "localhost").await.unwrap())
    };
    let request = "GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut idle = enter(&bad, b"http/1.1").await;
    let mut busy = enter(&bad, b"http/1.1").await;
    let mut staying = enter(&good, b"http/1.1").await;
    for raw in [&mut idle, &mut staying] {
        raw.send(request).await;
        assert_eq!(status(&raw.answer().await.0), 200);
    }
    busy.send(request.replace("/x", "/slow")).await;
    let mut h2 = enter(&bad, b"h2").await;
    h2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    starts.recv().await.unwrap();

    // The watcher finds the new list by itself.
    put(&crl, &site.ca.revocations(&[99, 7], 7));
    let (rest, end) = idle.rest().await;
    assert_eq!((rest.len(), end), (0, End::Clean));
    // What was in flight is answered, and is the last.
    release.send(true).unwrap();
    let (head, body) = busy.answer().await;
    assert_eq!((status(&head), &body[..]), (200, &b"ok"[..]));
    assert_eq!(busy.rest().await.1, End::Clean);
    // This client answers no ping, so its connection is kept for the drain time.
    let (frames, _) = h2.rest().await;
    let goaway = |f: &[u8]| f.starts_with(&[0, 0, 8, 7, 0, 0, 0, 0, 0]);
    assert!(frames.windows(9).any(goaway), "{frames:?}");
    // New ones are refused, with the reason.
    let error = ask(gate.address, site.client(Some(&bad)), "localhost")
        .await
        .unwrap_err();
    assert_eq!(
        alert(&error),
        Some(AlertDescription::CertificateRevoked),
        "{error}"
    );
    gate.is_turned_away("revoked", 1).await;
    // The others do not notice.
    staying.send(request).await;
    assert_eq!(status(&staying.answer().await.0), 200);
    ask(gate.address, site.client(Some(&good)), "localhost")
        .await
        .unwrap();
    let error = ask(gate.address, site.client(None), "localhost")
        .await
        .unwrap_err();
    assert_eq!(
        alert(&error),
        Some(AlertDescription::CertificateRequired),
        "{error}"
    );
    gate.is_turned_away("no-certificate", 1).await;
}

#[tokio::test]
async fn proxy_03_a_revoked_client_in_flight_has_the_drain_time() {
    let backend = Backend::start(None, |mut raw, _| async move {
        raw.head().await.unwrap();
        raw.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegin")
            .await;
        raw.rest().await;
    })
    .await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let bad = site.ca.client("bad", 7);
    let crl = site.dir.path().join("crl.pem");
    put(&crl, &site.ca.revocations(&[], 7));
    let mut tls = site.tls(&pair, ClientCertificate::Required);
    tls.client_crl = Some(crl.clone());
    let gate = site.start(&backend, tls, |config| {
        config.limits.drain_time = Duration::from_millis(300);
    });
    let client = site.client(Some(&bad));
    let mut raw = Raw::new(connect(gate.address, client, "localhost").await.unwrap());
    raw.send("GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.head().await.unwrap();
    put(&crl, &site.ca.revocations(&[7], 7));
    gate.running.door().reload().unwrap();
    let (rest, end) = raw.rest().await;
    assert_eq!((&rest[..], end), (&b"begin"[..], End::Reset));
}

/// What is put in the list's place must be the CA's own, and no older.
#[tokio::test]
async fn proxy_03_a_list_of_another_key_or_an_older_one_is_refused() {
    use time::Duration as Span;
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let (bad, good) = (site.ca.client("bad", 7), site.ca.client("good", 8));
    let crl = site.dir.path().join("crl.pem");
    let days = |from, to| (Span::days(from), Span::days(to));
    put(&crl, &site.ca.list(&[7], 300, days(-5, 7)));
    let mut tls = site.tls(&pair, ClientCertificate::Required);
    tls.client_crl = Some(crl.clone());
    let gate = site.start(&backend, tls, |_| ());
    let elsewhere = tempfile::tempdir().unwrap();
    let impostor = Authority::new(elsewhere.path(), "ca");
    for (list, why) in [
        (impostor.list(&[], 301, days(-1, 7)), "has not signed"),
        (site.ca.list(&[], 299, days(-1, 9)), "an older list"),
        (site.ca.list(&[], 200, days(-1, 9)), "an older list"),
        (site.ca.list(&[], 300, days(-6, 9)), "an older list"),
    ] {
        put(&crl, &list);
        let error = gate.running.door().reload().unwrap_err().to_string();
        assert!(error.contains("crl.pem") && error.contains(why), "{error}");
        ask(gate.address, site.client(Some(&good)), "localhost")
            .await
            .unwrap();
        let error = ask(gate.address, site.client(Some(&bad)), "localhost").await;
        let told = alert(&error.unwrap_err());
        assert_eq!(told, Some(AlertDescription::CertificateRevoked), "{why}");
    }
    put(&crl, &site.ca.list(&[7, 8], 301, days(-1, 7)));
    assert_eq!(gate.running.door().reload().unwrap(), Reloaded::Trust);
    let error = ask(gate.address, site.client(Some(&good)), "localhost").await;
    let told = alert(&error.unwrap_err());
    assert_eq!(told, Some(AlertDescription::CertificateRevoked));
}

/// Time ends what a change of files would end.
#[tokio::test]
async fn proxy_03_an_open_connection_ends_with_its_certificate_and_with_the_list() {
    use time::Duration as Span;
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let crl = site.dir.path().join("crl.pem");
    put(&crl, &site.ca.revocations(&[], 7));
    let mut tls = site.tls(&pair, ClientCertificate::Required);
    tls.client_crl = Some(crl.clone());
    let gate = site.start(&backend, tls, |_| ());
    let enter = async |who: &Pair| {
        let config = site.client(Some(who));
        Raw::new(connect(gate.address, config, "localhost").await.unwrap())
    };
    let ask = async |raw: &mut Raw| {
        raw.send("GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(status(&raw.answer().await.0), 200);
    };
    let long = site.ca.client("long", 8);
    let mut staying = enter(&long).await;
    let short = site.ca.client_for("short", 9, 4);
    let mut leaving = enter(&short).await;
    ask(&mut leaving).await;
    ask(&mut staying).await;
    assert_eq!(leaving.rest().await, (vec![], End::Clean));
    let mut other = enter(&long).await;
    ask(&mut staying).await;
    // The list is renewed, for a moment.
    let moment = (Span::days(-1), Span::seconds(4));
    put(&crl, &site.ca.list(&[], 2, moment));
    gate.running.door().reload().unwrap();
    ask(&mut staying).await;
    ask(&mut other).await;
    assert_eq!(staying.rest().await, (vec![], End::Clean));
    assert_eq!(other.rest().await, (vec![], End::Clean));
}

#[tokio::test]
async fn proxy_03_tickets_die_with_the_client_ca_and_its_list() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let (bad, good) = (site.ca.client("bad", 7), site.ca.client("good", 8));
    let crl = site.dir.path().join("crl.pem");
    put(&crl, &site.ca.revocations(&[], 7));
    let mut tls = site.tls(&pair, ClientCertificate::Required);
    tls.client_crl = Some(crl.clone());
    tls.resumption = true;
    let gate = site.start(&backend, tls, |_| ());
    // `client_config` forgets sessions that carry an identity; these clients do not.
    let remembering = |who: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]| {
        let provider = cryptonym::tls::provider();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(site.roots())
            .with_client_auth_cert(
                cryptonym::tls::files::certificates(&who.certificate).unwrap(),
                cryptonym::tls::files::key(&who.key).unwrap(),
            );
        Arc::new(config.unwrap())
    };
    let tls13 = &[&rustls::version::TLS13];
    let tls12 = &[&rustls::version::TLS12];
    let clients = [
        (remembering(&bad, tls13), true),
        (remembering(&bad, tls12), true),
        (remembering(&good, tls13), false),
        (remembering(&good, tls12), false),
    ];
    for (client, _) in &clients {
        let kind = ask(gate.address, client.clone(), "localhost")
            .await
            .unwrap();
        assert_eq!(kind, HandshakeKind::Full);
        let kind = ask(gate.address, client.clone(), "localhost")
            .await
            .unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
    // The same files again: nothing to forget.
    assert_eq!(
        gate.running.door().reload().unwrap(),
        Reloaded::Certificates
    );
    for (client, _) in &clients {
        let kind = ask(gate.address, client.clone(), "localhost")
            .await
            .unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
    // A new list: nobody resumes, and the revoked one does not get in at all.
    put(&crl, &site.ca.revocations(&[7], 7));
    assert_eq!(gate.running.door().reload().unwrap(), Reloaded::Trust);
    for (client, revoked) in &clients {
        match ask(gate.address, client.clone(), "localhost").await {
            Ok(kind) => assert!(!revoked && kind == HandshakeKind::Full, "{kind:?}"),
            Err(error) => {
                assert!(revoked, "{error}");
                assert_eq!(alert(&error), Some(AlertDescription::CertificateRevoked));
            }
        }
    }
    // Another CA beside the old one: nobody resumes either.
    let (client, _) = &clients[2];
    let kind = ask(gate.address, client.clone(), "localhost")
        .await
        .unwrap();
    assert_eq!(kind, HandshakeKind::Resumed);
    let other = Authority::new(site.certificates.dir.path(), "other");
    let both = [&site.ca.file, &other.file].map(|f| std::fs::read_to_string(f).unwrap());
    put(&site.ca.file, &both.concat());
    let lists = [site.ca.revocations(&[7], 7), other.revocations(&[], 7)];
    put(&crl, &lists.concat());
    assert_eq!(gate.running.door().reload().unwrap(), Reloaded::Trust);
    let kind = ask(gate.address, client.clone(), "localhost")
        .await
        .unwrap();
    assert_eq!(kind, HandshakeKind::Full);
}

#[tokio::test]
async fn proxy_03_handshakes_have_a_time_and_a_cap() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let tls = site.tls(&pair, ClientCertificate::None);
    let gate = site.start(&backend, tls, |config| {
        config.limits.handshakes = 1;
        config.limits.handshake_time = Duration::from_millis(1500);
    });
    let started = Instant::now();
    // Who says nothing takes no place.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(gate.address).await.unwrap());
    }
    ask(gate.address, site.client(None), "localhost")
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_millis(1400));
    // Who says hello and no more takes the place until its time is over.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let hello = || {
        let name = ServerName::try_from("localhost").unwrap();
        let mut hello = Vec::new();
        let mut client = rustls::ClientConnection::new(site.client(None), name).unwrap();
        client.write_tls(&mut hello).unwrap();
        hello
    };
    let mut stalling = TcpStream::connect(gate.address).await.unwrap();
    stalling.write_all(&hello()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Those who came before it, and speak after it, wait as long as their own time lasts.
    for tcp in &mut silent[..5] {
        tcp.write_all(&hello()).await.unwrap();
    }
    silent.push(stalling);
    for mut tcp in silent {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut rest));
        let _ = end.await.expect("closed in time");
    }
    assert!(started.elapsed() < Duration::from_secs(6));
    let all = async || gate.turned_away("time") + gate.turned_away("busy") == 21;
    until("the last is counted", all).await;
    assert_eq!(
        (gate.turned_away("time"), gate.turned_away("busy")),
        (16, 5)
    );
    // And the place is free again.
    ask(gate.address, site.client(None), "localhost")
        .await
        .unwrap();
}

#[tokio::test]
async fn proxy_03_the_key_exchange_is_post_quantum() {
    let backend = Backend::answering(OK).await;
    let site = Site::new();
    let pair = site.ca.server("default", &["localhost"]);
    let gate = site.start(&backend, site.tls(&pair, ClientCertificate::None), |_| ());
    let group = |stream: &TlsStream<TcpStream>| {
        stream
            .get_ref()
            .1
            .negotiated_key_exchange_group()
            .unwrap()
            .name()
    };
    let stream = connect(gate.address, site.client(None), "localhost")
        .await
        .unwrap();
    assert_eq!(group(&stream), rustls::NamedGroup::X25519MLKEM768);
    // Nobody is made to.
    let mut classic = cryptonym::tls::provider().as_ref().clone();
    classic
        .kx_groups
        .retain(|g| g.name() == rustls::NamedGroup::X25519);
    let classic = rustls::ClientConfig::builder_with_provider(Arc::new(classic))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(site.roots())
        .with_no_client_auth();
    let stream = connect(gate.address, Arc::new(classic), "localhost")
        .await
        .unwrap();
    assert_eq!(group(&stream), rustls::NamedGroup::X25519);
}
