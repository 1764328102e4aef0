//! Answers by policy: what a source system says is rewritten for the client, over real TLS, by
//! a gateway alone and by a whole installation.

mod support;

use std::sync::Arc;

use cryptonym::coding::{Coding, Encoder};
use cryptonym::config::{Limits, ResponseBody};
use http::Request;
use http_body_util::BodyExt;
use support::backend::{Backend, Seen};
use support::certificates::Certificates;
use support::gateway::{Gateway, opaque, rewriting};
use support::h2::{Sent, h2};
use support::raw::{End, field, status};

#[path = "support/installation.rs"]
mod installation;
use installation::{HOST, Installation};

const RECORD: &str = "{\"name\":\"SUB-1\",\"n\":1.50}";
const REWRITTEN: &str = "{\"name\":\"X\",\"n\":1.50}";

fn gateway(backend: &Backend) -> Gateway {
    let mut answers = opaque("answers", "/answers");
    answers.response = ResponseBody::Policy(0);
    let mut both = rewriting("both", "/both");
    both.response = ResponseBody::Policy(0);
    let mut listed = answers.clone();
    listed.name = "listed".to_owned();
    listed.path = "/listed".to_owned();
    listed.response_headers = ["location", "etag", "x-count"].map(String::from).to_vec();
    let routes = vec![answers, both, listed];
    let limits = Limits::default();
    Gateway::start(&Arc::new(Certificates::new()), backend, routes, limits)
}

/// A backend that answers each request with these bytes.
async fn saying(answer: impl Into<Vec<u8>>) -> Backend {
    let answer = answer.into();
    Backend::start(None, move |mut raw, report| {
        let answer = answer.clone();
        async move {
            while let Some(head) = raw.head().await {
                let body = raw.body(&head).await;
                let _ = report.send(Seen { head, body });
                raw.send(&answer).await;
            }
        }
    })
    .await
}

fn with(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {line}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const JSON: &str = "content-type: application/json\r\n";
const GET: &str = "GET /answers HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn get(answer: impl Into<Vec<u8>>, request: &str) -> (String, Vec<u8>) {
    let backend = saying(answer).await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    client.send(request).await;
    client.answer().await
}

#[tokio::test]
async fn formats_08_an_answer_is_rewritten_whole_or_as_it_comes() {
    let lines = format!("{RECORD}\n").repeat(20_000);
    let large = format!("{REWRITTEN}\n").repeat(20_000);
    let chunks: String = (lines.as_bytes().chunks(30_000))
        .map(|c| format!("{:x}\r\n{}\r\n", c.len(), std::str::from_utf8(c).unwrap()))
        .collect();
    let ndjson = "content-type: application/x-ndjson; charset=utf-8; by=SUB-1\r\n";
    for (answer, expected, kind) in [
        (
            with("200 OK", JSON, RECORD.as_bytes()),
            REWRITTEN,
            "application/json",
        ),
        (
            with("200 OK", ndjson, lines.as_bytes()),
            &large,
            "application/x-ndjson",
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\n{ndjson}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
            )
            .into_bytes(),
            &large,
            "application/x-ndjson",
        ),
        // A problem of the backend's own, told in a type that can be read.
        (
            with(
                "404 Not Found",
                "content-type: application/problem+json\r\n",
                RECORD.as_bytes(),
            ),
            REWRITTEN,
            "application/json",
        ),
    ] {
        let backend = saying(answer).await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        for _ in 0..2 {
            client.send(GET).await;
            let (head, body) = client.answer().await;
            assert!([200, 404].contains(&status(&head)), "{head}");
            assert_eq!(field(&head, "content-type"), Some(kind));
            let exact = expected.len() < 60_000;
            assert_eq!(field(&head, "content-length").is_some(), exact);
            assert!(body == expected.as_bytes());
        }
        let mut h2 = h2(&gateway).await;
        let request = Request::get("https://localhost/answers").body(Sent::open().1);
        let answer = h2.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], kind);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body == expected.as_bytes());
    }
}

#[tokio::test]
async fn formats_08_what_is_sent_for_an_answer_that_can_be_read() {
    let mut backend = saying(with("200 OK", JSON, RECORD.as_bytes())).await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    client
        .send("GET /answers HTTP/1.1\r\nhost: localhost\r\naccept-encoding: br, zstd\r\nrange: bytes=0-3\r\nif-range: \"x\"\r\nif-none-match: \"x\"\r\nif-modified-since: Sun, 22 Nov 2026 00:00:00 GMT\r\n\r\n")
        .await;
    assert_eq!(status(&client.answer().await.0), 200);
    let seen = backend.next().await;
    assert_eq!(field(&seen.head, "accept-encoding"), Some("identity"));
    for gone in ["range", "if-range", "if-none-match", "if-modified-since"] {
        assert_eq!(field(&seen.head, gone), None, "{gone}");
    }
    // Both directions on one route.
    client
        .send(format!(
            "POST /both HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: {}\r\n\r\n{RECORD}",
            RECORD.len()
        ))
        .await;
    let (_, body) = client.answer().await;
    assert_eq!(body, REWRITTEN.as_bytes());
    assert_eq!(backend.next().await.body.unwrap(), REWRITTEN.as_bytes());
}

#[tokio::test]
async fn formats_08_fields_that_are_false_or_say_too_much_are_dropped() {
    const FIELDS: &str = "content-type: application/json\r\netag: \"SUB-1\"\r\ndigest: sha-256=x\r\n\
        content-digest: sha-256=:eA==:\r\nrepr-digest: sha-256=:eA==:\r\ncontent-md5: x\r\n\
        signature: s=:eA==:\r\nsignature-input: s=()\r\naccept-ranges: bytes\r\n\
        content-disposition: attachment; filename=\"SUB-1.json\"\r\nlocation: /of/SUB-1\r\n\
        content-location: /of/SUB-1\r\nlink: </of/SUB-1>\r\nwww-authenticate: Basic realm=\"SUB-1\"\r\n\
        cache-control: max-age=60\r\nvary: accept\r\nx-count: 1\r\n\
        content-language: SUB-1\r\nage: SUB-1\r\nexpires: SUB-1\r\nretry-after: SUB-1\r\nallow: SUB-1\r\nset-cookie: id=SUB-1\r\n";
    let (head, body) = get(with("200 OK", FIELDS, RECORD.as_bytes()), GET).await;
    assert_eq!(body, REWRITTEN.as_bytes());
    assert!(!head.contains("SUB-1"), "{head}");
    let mut names: Vec<&str> = head
        .lines()
        .skip(1)
        .filter_map(|l| l.split(':').next())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cache-control",
            "content-length",
            "content-type",
            "date",
            "vary"
        ],
        "{head}"
    );
    // What the route lists passes, but for what would be false.
    let request = GET.replace("/answers", "/listed");
    let (head, _) = get(with("200 OK", FIELDS, RECORD.as_bytes()), &request).await;
    assert_eq!(field(&head, "location"), Some("/of/SUB-1"));
    assert_eq!(field(&head, "x-count"), Some("1"));
    assert_eq!(field(&head, "etag"), None);
}

#[tokio::test]
async fn formats_08_answers_without_a_body_have_no_length() {
    let head_only = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 25\r\netag: \"x\"\r\n\r\n");
    let (head, _) = get_head(head_only.into_bytes(), &GET.replace("GET", "HEAD")).await;
    assert_eq!(status(&head), 200);
    assert_eq!(field(&head, "content-type"), Some("application/json"));
    assert_eq!(field(&head, "content-length"), None, "{head}");
    // Nothing has to be undone where nothing comes.
    let coded = format!("HTTP/1.1 200 OK\r\n{JSON}content-encoding: SUB\r\n\r\n");
    let (head, _) = get_head(coded.into_bytes(), &GET.replace("GET", "HEAD")).await;
    assert_eq!(
        (status(&head), field(&head, "content-encoding")),
        (200, None)
    );
    let unchanged = "HTTP/1.1 304 Not Modified\r\netag: \"SUB-1\"\r\ncontent-length: 25\r\n\r\n";
    let (head, _) = get_head(unchanged.into(), GET).await;
    assert_eq!(status(&head), 304);
    assert_eq!(field(&head, "content-length"), None, "{head}");
    assert_eq!(field(&head, "etag"), None);
    let (head, _) = get_head("HTTP/1.1 204 No Content\r\n\r\n".into(), GET).await;
    assert_eq!(status(&head), 204);
    let (head, body) = get(
        "HTTP/1.1 201 Created\r\nlocation: /SUB-1\r\ncontent-length: 0\r\n\r\n",
        GET,
    )
    .await;
    assert_eq!((status(&head), body.len()), (201, 0));
    assert_eq!(field(&head, "location"), None);
}

/// The head alone: what follows would be the next answer.
async fn get_head(answer: Vec<u8>, request: &str) -> (String, ()) {
    let backend = saying(answer).await;
    let gateway = gateway(&backend);
    let mut client = gateway.h1().await;
    client.send(request).await;
    let first = client.head().await.unwrap();
    client.send(request).await;
    assert_eq!(status(&client.head().await.unwrap()), status(&first));
    (first, ())
}

#[tokio::test]
async fn formats_08_what_cannot_be_read_never_reaches_the_client() {
    let text = "content-type: text/html\r\n";
    let wide = "content-type: application/json; charset=utf-16\r\n";
    let refused = [
        with("200 OK", text, b"<p>SUB-1"),
        with("200 OK", "", b"SUB-1"),
        with("200 OK", wide, RECORD.as_bytes()),
        // Columns that the policy knows by name would have none.
        with(
            "200 OK",
            "content-type: text/csv; header=absent\r\n",
            b"SUB-1,x\n",
        ),
        with("206 Partial Content", JSON, b"{\"na"),
        with(
            "200 OK",
            "content-type: application/json\r\ncontent-encoding: compress\r\n",
            b"SUB-1",
        ),
        with("200 OK", JSON, b"{\"name\":\"SUB-1\""),
        with("200 OK", JSON, b"{\"bad\":\"SUB-1\"}"),
        with("200 OK", JSON, b"{\"SUB-1\":\"SUB-1\"}"),
    ];
    for answer in refused {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = get(answer, GET).await;
        assert_eq!(status(&head), 502, "{shown}");
        let text = String::from_utf8(body).unwrap();
        assert!(!head.contains("SUB-1") && !text.contains("SUB-1"), "{text}");
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["code"], "response-refused");
        // The client has no business with places of somebody else's message.
        assert!(problem.get("place").is_none() && problem.get("offset").is_none());
    }
    // Failures and redirects of an unnamed type: that they are so, and nothing more.
    for line in ["404 Not Found", "500 Oh", "302 Found"] {
        let (head, body) = get(
            with(
                line,
                "content-type: text/html\r\nlocation: /SUB-1\r\n",
                b"<p>SUB-1",
            ),
            GET,
        )
        .await;
        assert_eq!(status(&head).to_string(), line[..3]);
        assert_eq!((field(&head, "content-type"), body.len()), (None, 0));
        assert_eq!(field(&head, "content-length"), Some("0"));
        assert!(!head.contains("SUB-1"));
    }
}

/// Sends one chunk whenever it is told to, and ends with the channel.
async fn streaming(fields: &'static str) -> (Backend, tokio::sync::broadcast::Sender<String>) {
    let (to, _) = tokio::sync::broadcast::channel::<String>(8);
    let source = to.clone();
    let backend = Backend::start(None, move |mut raw, report| {
        let mut chunks = source.subscribe();
        async move {
            let head = raw.head().await.unwrap();
            raw.send(format!(
                "HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n"
            ))
            .await;
            let body = Ok(vec![]);
            let _ = report.send(Seen { head, body });
            while let Ok(chunk) = chunks.recv().await {
                if chunk.is_empty() {
                    break;
                }
                raw.send(format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
            }
            raw.send("0\r\n\r\n").await;
        }
    })
    .await;
    (backend, to)
}

const EVENTS: &str = "content-type: text/event-stream; charset=utf-8\r\n";

#[tokio::test]
async fn formats_08_events_are_rewritten_one_by_one_as_they_come() {
    let (mut backend, to) = streaming(EVENTS).await;
    let gateway = gateway(&backend);
    for http2 in [false, true] {
        let (sending, mut client) = if http2 {
            let mut h2 = h2(&gateway).await;
            let request = Request::get("https://localhost/answers").body(Sent::open().1);
            (Some(tokio::spawn(h2.send_request(request.unwrap()))), None)
        } else {
            let mut client = gateway.h1().await;
            client.send(GET).await;
            (None, Some(client))
        };
        backend.next().await;
        let mut body = match sending {
            Some(sending) => Some(sending.await.unwrap().unwrap().into_body()),
            None => {
                let head = client.as_mut().unwrap().head().await.unwrap();
                assert_eq!(field(&head, "content-type"), Some("text/event-stream"));
                assert_eq!(field(&head, "content-length"), None);
                None
            }
        };
        // Each arrives before the next is sent; the second one in two pieces.
        for (pieces, expected) in [
            (
                &["event: made\nid: SUB-1\ndata: {\"name\":\"SUB-1\",\"n\":1}\n\n"][..],
                "event: made\n:\ndata: {\"name\":\"X\",\"n\":1}\n\n",
            ),
            (
                &[
                    ": SUB-2\r\nretry: 5\r\nda",
                    "ta: {\"name\":\"SUB-2\"}\r\n\r\n",
                ],
                ":\r\nretry: 5\r\ndata: {\"name\":\"X\"}\r\n\r\n",
            ),
        ] {
            for piece in pieces {
                to.send((*piece).to_owned()).unwrap();
            }
            let mut seen = Vec::new();
            while seen.len() < expected.len() {
                match (&mut body, &mut client) {
                    (Some(body), _) => {
                        let frame = body.frame().await.unwrap().unwrap();
                        seen.extend_from_slice(&frame.into_data().unwrap());
                    }
                    (None, Some(client)) => seen.extend(client.chunk().await.unwrap()),
                    _ => unreachable!(),
                }
            }
            assert_eq!(String::from_utf8(seen).unwrap(), expected);
        }
        to.send(String::new()).unwrap();
        match (body, client) {
            (Some(body), _) => assert!(body.collect().await.unwrap().to_bytes().is_empty()),
            (None, Some(mut client)) => assert_eq!(client.chunk().await.unwrap(), b""),
            _ => unreachable!(),
        }
    }
}

#[tokio::test]
async fn formats_08_an_event_that_cannot_be_read_breaks_the_stream_off() {
    for wrong in [
        "data: {\"name\":\"SUB-9\"\n\n",
        "data: {\"bad\":\"SUB-9\"}\n\n",
        "data: {\"n\":1}\ndata: {\"n\":\"SUB-9\"}\n\n",
        "event: SUB-9\ndata: {\"n\":1}\n\n",
        "data: SUB-9\n\n",
    ] {
        let (mut backend, to) = streaming(EVENTS).await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        client.send(GET).await;
        backend.next().await;
        assert_eq!(status(&client.head().await.unwrap()), 200);
        to.send("data: {\"n\":0}\n\n".to_owned()).unwrap();
        to.send(wrong.to_owned()).unwrap();
        let (rest, end) = client.rest().await;
        assert_eq!(end, End::Reset, "{wrong}");
        assert!(!String::from_utf8_lossy(&rest).contains("SUB-"), "{wrong}");
    }
    // Nobody sends events to a backend.
    let (_backend, _to) = streaming(EVENTS).await;
    let gateway = self::gateway(&_backend);
    let mut client = gateway.h1().await;
    client
        .send(format!(
            "POST /both HTTP/1.1\r\nhost: localhost\r\n{EVENTS}content-length: 7\r\n\r\ndata:1\n"
        ))
        .await;
    assert_eq!(status(&client.answer().await.0), 415);
}

#[tokio::test]
async fn formats_08_a_coded_answer_is_undone() {
    let lines = format!("{RECORD}\n").repeat(5_000);
    let expected = format!("{REWRITTEN}\n").repeat(5_000);
    for codings in [
        &[Coding::Gzip][..],
        &[Coding::Br],
        &[Coding::Deflate, Coding::Zstd],
    ] {
        let names: Vec<_> = codings.iter().map(|c| c.name()).collect();
        let fields = format!(
            "content-type: application/x-ndjson\r\ncontent-encoding: {}\r\n",
            names.join(", ")
        );
        let coded = Encoder::whole(codings, lines.as_bytes()).unwrap();
        let (head, body) = get(with("200 OK", &fields, &coded), GET).await;
        assert_eq!(status(&head), 200);
        assert_eq!(field(&head, "content-encoding"), None);
        assert!(body == expected.as_bytes());
        let small = Encoder::whole(codings, RECORD.as_bytes()).unwrap();
        for wrong in [&small[..small.len() - 1], b"SUB-1"] {
            let (head, body) = get(with("200 OK", &fields, wrong), GET).await;
            assert_eq!(status(&head), 502);
            assert!(!String::from_utf8(body).unwrap().contains("offset"));
        }
    }
}

#[tokio::test]
async fn formats_08_an_answer_that_fails_midway_never_ends_cleanly() {
    let good = format!("{RECORD}\n").repeat(20_000);
    let bad = good.clone() + "{\"bad\":\"SUB-9\"}\n" + &good;
    let ndjson = "content-type: application/x-ndjson\r\n";
    let cut = {
        let mut whole = with("200 OK", ndjson, good.as_bytes());
        whole.truncate(whole.len() / 2);
        whole
    };
    for (answer, closes) in [(with("200 OK", ndjson, bad.as_bytes()), false), (cut, true)] {
        let backend = Backend::start(None, move |mut raw, _| {
            let answer = answer.clone();
            async move {
                while raw.head().await.is_some() {
                    raw.send(&answer).await;
                    if closes {
                        return;
                    }
                }
            }
        })
        .await;
        let gateway = gateway(&backend);
        let mut client = gateway.h1().await;
        client.send(GET).await;
        assert_eq!(status(&client.head().await.unwrap()), 200);
        let (rest, end) = client.rest().await;
        assert_eq!(end, End::Reset);
        assert!(!rest.ends_with(b"0\r\n\r\n"));
        assert!(!String::from_utf8_lossy(&rest).contains("SUB-"));

        let mut h2 = h2(&gateway).await;
        let request = Request::get("https://localhost/answers").body(Sent::open().1);
        let answer = h2.send_request(request.unwrap()).await.unwrap();
        let error = answer.into_body().collect().await.unwrap_err();
        assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    }
}

/// With keys: a client reads the pseudonym that the same identifier has everywhere in the domain,
/// and none whose record is not durable.
#[test]
fn formats_08_a_pseudonym_of_an_answer_is_durable_before_it_leaves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let source = runtime.block_on(Backend::start(None, |mut raw, _| async move {
        while let Some(head) = raw.head().await {
            let _ = raw.body(&head).await;
            let path = head.split(' ').nth(1).unwrap();
            let number = path.rsplit('/').next().unwrap();
            if number == "events" {
                let events: String = [1, 2]
                    .map(|n| format!("data: {{\"subscriber_id\":\"SUB-{n:0>5}\",\"n\":1}}\n\n"))
                    .concat();
                raw.send(with("200 OK", EVENTS, events.as_bytes())).await;
                continue;
            }
            let body = format!("{{\"subscriber_id\":\"SUB-{number:0>5}\",\"n\":1}}");
            raw.send(with("200 OK", JSON, body.as_bytes())).await;
        }
    }));
    let mut installation = Installation::start(&format!(
        r#"
[backend.source]
urls = ["http://{}"]
region = "GB"

[[route]]
name = "people"
host = "{HOST}"
path = "/people/{{number}}"
captures = ["number"]
backend = "source"
domain = "improvement"
response = "people"

[policy.people]
unlisted = "reject"
rules = [
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.n", category = "test", action = "keep" }},
]
"#,
        source.address
    ));
    let mut client = installation.client();
    let mut ask = |path: &str| {
        let answer = runtime.block_on(client.send("GET", path, "application/json", String::new()));
        let answer = answer.unwrap();
        (
            answer.status,
            String::from_utf8(answer.body.to_vec()).unwrap(),
        )
    };
    let json = |(status, body): (u16, String)| -> (u16, serde_json::Value) {
        (status, serde_json::from_str(&body).unwrap())
    };
    let (status, first) = json(ask("/people/1"));
    assert_eq!(status, 200, "{first}");
    let pseudonym = first["subscriber_id"].as_str().unwrap();
    assert!(pseudonym.starts_with("sub_"), "{first}");
    assert_eq!(json(ask("/people/1")), (200, first.clone()));
    assert_ne!(
        json(ask("/people/2")).1["subscriber_id"],
        first["subscriber_id"]
    );
    // Events are records like any other, and count in the log.
    let (status, text) = ask("/people/events");
    assert_eq!(status, 200, "{text}");
    let seen: Vec<serde_json::Value> = text
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!((seen.len(), &seen[0]), (2, &first));
    let begun = std::time::Instant::now();
    loop {
        let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
        if log.contains("\"records\":2,\"replaced\":2,\"first_sights\":0") {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{log}");
        let pause = std::time::Duration::from_millis(50);
        runtime.block_on(async { tokio::time::sleep(pause).await });
    }
    // Without the vault, what is durable comes, and nothing else does.
    installation.kill_vault();
    assert_eq!(json(ask("/people/1")), (200, first));
    let (status, problem) = json(ask("/people/3"));
    assert_eq!(
        (status, problem["side"].as_str()),
        (503, Some("vault")),
        "{problem}"
    );
    assert!(problem.get("place").is_none() && problem.get("offset").is_none());
    installation.kill_gateway();
}
