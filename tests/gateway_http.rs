//! Heads, header fields, connections: what the gateway lets through, over real TLS.

mod support;

use std::sync::Arc;
use std::time::Duration;

use cryptonym::config::{Limits, QueryRule, RequestBody, ResponseBody};
use cryptonym::tls::{Role, client_config};
use http::{Method, Request};
use http_body_util::BodyExt;
use support::backend::{Backend, serve};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::h2::{Sent, h2};
use support::raw::{End, Raw, field, status};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: secret\r\nset-cookie: id=1\r\netag: \"e\"\r\n\r\nok";

async fn gateway(backend: &Backend, change: impl Fn(&mut Limits)) -> Gateway {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut asked = opaque("asked", "/asked/{id}/{*rest}");
    asked.captures = vec!["id".to_owned(), "rest".to_owned()];
    asked.cookies = vec!["theme".to_owned()];
    asked.query = vec![QueryRule {
        name: "page".to_owned(),
        values: vec!["1".to_owned()],
    }];
    let mut known = opaque("known", "/known");
    known.client_certificate = true;
    let mut none = opaque("none", "/none");
    none.request = RequestBody::None;
    let mut get = opaque("get", "/get");
    get.methods = vec!["GET".to_owned(), "HEAD".to_owned()];
    let routes = vec![
        opaque("any", "/any"),
        opaque("capture", "/capture/{id}"),
        rewriting("json", "/json"),
        asked,
        known,
        none,
        get,
    ];
    Gateway::start(&Arc::new(Certificates::new()), backend, routes, limits)
}

async fn once(gateway: &Gateway, request: &str) -> (String, Vec<u8>) {
    let mut client = gateway.h1().await;
    client.send(request).await;
    client.answer().await
}

#[tokio::test]
async fn path_03_a_request_goes_through_http_1_and_http_2() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ()).await;
    let request = "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nuser-agent: x\r\n\
        x-forwarded-for: 192.0.2.1\r\nreferer: /SUB-1\r\naccept: text/plain\r\n\r\nhello";
    let (head, body) = once(&gateway, request).await;
    assert_eq!((status(&head), &body[..]), (200, &b"ok"[..]));
    assert_eq!(field(&head, "etag"), Some("\"e\""));
    assert_eq!(
        (field(&head, "server"), field(&head, "set-cookie")),
        (None, None)
    );
    let seen = backend.next().await;
    assert_eq!(seen.body.unwrap(), b"hello");
    assert!(seen.head.starts_with("POST /any HTTP/1.1"));
    assert_eq!(field(&seen.head, "via"), Some("1.1 cryptonym"));
    assert_eq!(
        field(&seen.head, "forwarded"),
        Some("for=unknown;proto=https")
    );
    let own = format!("localhost:{}", backend.address.port());
    assert_eq!(field(&seen.head, "host"), Some(&*own));
    assert_eq!(field(&seen.head, "accept"), Some("text/plain"));
    for gone in ["user-agent", "x-forwarded-for", "referer"] {
        assert_eq!(field(&seen.head, gone), None, "{gone}");
    }

    let mut h2 = h2(&gateway).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("https://localhost/asked/a/b/c?page=1")
        .header("cookie", "theme=dark")
        .header("cookie", "id=SUB-1")
        .body(Sent::whole("hello"))
        .unwrap();
    let answer = h2.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ok");
    let seen = backend.next().await;
    assert!(seen.head.starts_with("POST /asked/a/b/c?page=1 HTTP/1.1"));
    assert_eq!(field(&seen.head, "cookie"), Some("theme=dark"));
    assert_eq!(field(&seen.head, "via"), Some("2 cryptonym"));
    assert_eq!(field(&seen.head, "transfer-encoding"), Some("chunked"));
    assert_eq!(seen.body.unwrap(), b"hello");
    // One pooled connection served both.
    assert_eq!(backend.connections(), 1);
    gateway.running.drain().await;
}

#[tokio::test]
async fn path_03_heads_that_cannot_be_trusted_never_reach_a_backend() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ()).await;
    for (request, expected) in [
        ("GET /any HTTP/1.1\r\n\r\n", 400),
        (
            "GET /any HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
            400,
        ),
        (
            "GET https://other/any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            400,
        ),
        ("GET /any HTTP/1.1\r\nhost: other\r\n\r\n", 421),
        (
            "GET http://localhost/any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            421,
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            400,
        ),
        ("get /any HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("TRACE /any HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        (
            "CONNECT localhost:443 HTTP/1.1\r\nhost: localhost:443\r\n\r\n",
            405,
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (
            "GET /any HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            400,
        ),
        ("GET /none/../any HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (
            "GET /none/%2e%2e/any HTTP/1.1\r\nhost: localhost\r\n\r\n",
            400,
        ),
        ("GET /%61ny%2f HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("GET //any HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("GET /%61ny HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (
            "GET /asked/a/j%73on HTTP/1.1\r\nhost: localhost\r\n\r\n",
            400,
        ),
        (
            "GET /asked/a/b;x=1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
            400,
        ),
        ("GET /any HTTP/1.1\r\nhost: localhost.\r\n\r\n", 400),
        (
            "GET /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx",
            400,
        ),
        ("SUB-00001 /any HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        ("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (
            "POST /none HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx",
            422,
        ),
        (
            "POST /json HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
            415,
        ),
        (
            "POST /json HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            415,
        ),
        (
            "POST /json HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json; charset=utf-16\r\ncontent-length: 2\r\n\r\n{}",
            415,
        ),
        ("GET /known HTTP/1.1\r\nhost: localhost\r\n\r\n", 403),
    ] {
        let (head, body) = once(&gateway, request).await;
        assert_eq!(status(&head), expected, "{request}");
        // What hyper itself refuses (lengths that differ) has no document.
        if !body.is_empty() {
            assert_eq!(
                field(&head, "content-type"),
                Some("application/problem+json")
            );
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["status"], expected);
            assert!(!problem["request_id"].as_str().unwrap().is_empty());
        }
    }
    let (head, _) = once(&gateway, "POST /get HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(
        (status(&head), field(&head, "allow")),
        (405, Some("GET, HEAD"))
    );
    assert!(backend.saw_nothing());
}

#[tokio::test]
async fn path_06_query_captures_and_cookies_pass_only_where_listed() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ()).await;
    for (target, place) in [
        ("/any?page=1", "?*"),
        ("/asked/a/b?page=2", "?page"),
        ("/asked/a/b?page=1&name=Ann", "?*"),
        ("/asked/a/b?page=1;name=Ann", "?*"),
        ("/capture/SUB-1", "/{id}"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let (head, body) = once(&gateway, &request).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status(&head), problem["place"].as_str()),
            (422, Some(place)),
            "{target}"
        );
        assert!(!String::from_utf8(body).unwrap().contains("Ann"));
    }
    assert!(backend.saw_nothing());
    let request =
        "GET /asked/a/b?p%61ge=1 HTTP/1.1\r\nhost: localhost\r\ncookie: id=1; theme=x\r\n\r\n";
    assert_eq!(status(&once(&gateway, request).await.0), 200);
    let seen = backend.next().await;
    assert!(seen.head.starts_with("GET /asked/a/b?p%61ge=1 "));
    assert_eq!(field(&seen.head, "cookie"), Some("theme=x"));
}

#[tokio::test]
async fn path_06_fields_of_a_rewritten_request_carry_no_identifier() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ()).await;
    let request = "POST /json HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\
        content-type: application/SUB-00001+json; id=SUB-00001\r\ncontent-language: SUB-00001\r\n\
        accept: application/SUB-00001\r\naccept-language: SUB-00001\r\nprefer: SUB-00001\r\n\
        accept-encoding: gzip, SUB-00001\r\ncache-control: SUB-00001\r\n\
        if-none-match: \"SUB-00001\"\r\n\r\n{\"n\":1}";
    assert_eq!(status(&once(&gateway, request).await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "content-type"), Some("application/json"));
    assert!(!seen.head.contains("SUB"), "{}", seen.head);
    assert_eq!(seen.body.unwrap(), b"{\"n\":1}");
}

#[tokio::test]
async fn path_03_expect_is_answered_only_after_authorisation() {
    let mut backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |_| ()).await;
    for path in ["/known", "/none", "/json", "/nowhere"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        );
        let (head, _) = once(&gateway, &request).await;
        assert!(status(&head) >= 400, "{path}: {head}");
    }
    let mut client = gateway.h1_known().await;
    let request = "POST /known HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    client.send(request).await;
    assert_eq!(status(&client.head().await.unwrap()), 100);
    client.send("{}").await;
    assert_eq!(status(&client.answer().await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "expect"), None);
    assert_eq!(seen.body.unwrap(), b"{}");
}

#[tokio::test]
async fn path_03_head_204_304_206_and_informational_answers() {
    let answers = [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n",
            200,
            Some("70"),
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\n\r\n",
            304,
            None,
        ),
        (
            "GET",
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nok",
            206,
            Some("2"),
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            200,
            Some("2"),
        ),
        (
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            502,
            None,
        ),
    ];
    for (method, answer, expected, length) in answers {
        let backend = Backend::answering(answer).await;
        let gateway = gateway(&backend, |_| ()).await;
        let mut client = gateway.h1().await;
        for _ in 0..2 {
            client
                .send(format!("{method} /any HTTP/1.1\r\nhost: localhost\r\n\r\n"))
                .await;
            let head = client.head().await.unwrap();
            assert_eq!(status(&head), expected, "{answer}");
            if expected != 502 {
                assert_eq!(field(&head, "content-length"), length, "{answer}");
            }
            if method != "HEAD" {
                client.body(&head).await.unwrap();
            }
        }
        assert!(expected == 502 || backend.connections() == 1, "{answer}");
    }
}

#[tokio::test]
async fn path_03_only_the_role_client_counts_as_a_client() {
    let mut backend = Backend::answering(OK).await;
    let certificates = Arc::new(Certificates::new());
    let made = &certificates.made;
    let mut known = opaque("known", "/known");
    known.client_certificate = true;
    let mut own = opaque("own", "/own");
    own.response = ResponseBody::RestoreOwn(1);
    let routes = vec![opaque("any", "/any"), known, own];
    let mut config = support::gateway::config(&certificates, &backend, routes, Limits::default());
    // One CA for everybody, as an operator may have it.
    config.gateway.as_mut().unwrap().tls.client_ca = Some(made.vault_ca.clone());
    let metrics = Arc::new(cryptonym::gateway::metrics::Metrics::new());
    let running = cryptonym::gateway::start(&config, None, metrics).unwrap();
    for role in [Role::Investigator, Role::Officer] {
        let pair = &made.person(role).unwrap().pair;
        let pair = Some((&*pair.certificate, &*pair.key));
        let tls = client_config(Some(certificates.ca()), pair, false, &[b"http/1.1"]).unwrap();
        let mut client = Raw::tls(running.addresses()[0], tls).await;
        for path in ["/known", "/own"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            client.send(request).await;
            let (head, body) = client.answer().await;
            assert_eq!(status(&head), 403, "{path}");
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "client-certificate");
        }
        assert!(backend.saw_nothing());
        // The certificate itself was taken.
        let request = "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.send(request).await;
        assert_eq!(status(&client.answer().await.0), 200);
        backend.next().await;
    }
}

#[tokio::test]
async fn path_03_a_location_never_leads_to_another_host() {
    for (sent, expected) in [
        ("http://localhost//evil/x", None),
        ("https://localhost/\\evil", None),
        ("/\\evil", None),
        ("/\t/evil", None),
        ("//evil", None),
        ("http://localhost/x?y", Some("/x?y")),
        ("/x//y", Some("/x//y")),
    ] {
        let answer =
            format!("HTTP/1.1 303 See Other\r\nlocation: {sent}\r\ncontent-length: 0\r\n\r\n");
        let backend = Backend::answering(answer.leak()).await;
        let gateway = gateway(&backend, |_| ()).await;
        let (head, _) = once(&gateway, "GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(status(&head), 303);
        assert_eq!(field(&head, "location"), expected, "{sent}");
    }
}

#[tokio::test]
async fn path_03_silent_and_slow_connections_are_closed() {
    let backend = Backend::answering(OK).await;
    let gateway = gateway(&backend, |l| {
        l.idle_time = Duration::from_millis(600);
        l.head_time = Duration::from_millis(300);
        l.handshake_time = Duration::from_millis(300);
    })
    .await;
    // Silent after the handshake; HTTP/2 before its preface; half a head; not even a handshake.
    let silent = gateway.h1().await;
    let tls = gateway.certificates.client(&[b"h2"], false);
    let preface = Raw::tls(gateway.address, tls).await;
    let mut slow = gateway.h1().await;
    slow.send("GET /any HT").await;
    let bare = Raw::new(
        tokio::net::TcpStream::connect(gateway.address)
            .await
            .unwrap(),
    );
    let started = std::time::Instant::now();
    for mut connection in [slow, bare, silent, preface] {
        connection.rest().await;
    }
    assert!(started.elapsed() < Duration::from_secs(8));
    // And one that has been used, over HTTP/2.
    let mut used = h2(&gateway).await;
    let request = Request::get("https://localhost/any")
        .body(Sent::open().1)
        .unwrap();
    used.send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(8), async {
        while !used.is_closed() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("an idle HTTP/2 connection is closed");
}

#[tokio::test]
async fn path_03_a_pooled_connection_that_has_gone_is_replaced() {
    // Each connection serves one request, then leaves without saying so.
    let mut backend = Backend::start(None, |mut raw, report| async move {
        let head = raw.head().await.unwrap();
        let body = raw.body(&head).await;
        let _ = report.send(support::backend::Seen { head, body });
        raw.send(OK).await;
    })
    .await;
    let gateway = gateway(&backend, |_| ()).await;
    let mut client = gateway.h1().await;
    for round in 0..4 {
        let request = "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx";
        client.send(request).await;
        assert_eq!(status(&client.answer().await.0), 200, "round {round}");
        backend.next().await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(backend.connections(), 4);
}

#[tokio::test]
async fn path_03_https_backends_and_backends_that_are_not_there() {
    let certificates = Arc::new(Certificates::new());
    let tls = certificates.backend();
    let mut backend = Backend::start(Some(tls), |raw, report| serve(raw, report, OK)).await;
    let routes = || vec![opaque("any", "/any")];
    let https = Gateway::start(&certificates, &backend, routes(), Limits::default());
    let request = "POST /any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx";
    assert_eq!(status(&once(&https, request).await.0), 200);
    assert_eq!(backend.next().await.body.unwrap(), b"x");

    let gone = Backend::answering(OK).await;
    let mut config = support::gateway::config(&certificates, &gone, routes(), Limits::default());
    config.backends[0].urls[0].port = 1;
    let metrics = Arc::new(cryptonym::gateway::metrics::Metrics::new());
    let running = cryptonym::gateway::start(&config, None, metrics).unwrap();
    let tls = certificates.client(&[b"http/1.1"], false);
    let mut client = Raw::tls(running.addresses()[0], tls).await;
    client.send(request).await;
    let (head, body) = client.answer().await;
    assert_eq!(status(&head), 502);
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("backend-unreachable")
    );
}

#[tokio::test]
async fn path_03_draining_answers_what_is_in_flight_and_closes() {
    let backend = Backend::start(None, |mut raw, _| async move {
        let head = raw.head().await.unwrap();
        raw.body(&head).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        raw.send(OK).await;
        raw.rest().await;
    })
    .await;
    let gateway = gateway(&backend, |_| ()).await;
    let mut idle = gateway.h1().await;
    let mut client = gateway.h1().await;
    client
        .send("GET /any HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let address = gateway.address;
    let (answer, ()) = tokio::join!(client.answer(), gateway.running.drain());
    assert_eq!(status(&answer.0), 200);
    assert_eq!(client.rest().await.1, End::Clean);
    assert_eq!(idle.rest().await.1, End::Clean);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
