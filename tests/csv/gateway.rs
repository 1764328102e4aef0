//! Rows through a gateway to a backend, both in this process.

use std::sync::Arc;

use cryptonym::config::{Format, Limits, Rows};
use cryptonym::format::csv::Dialect;

use crate::support::backend::{Backend, serve};
use crate::support::certificates::Certificates;
use crate::support::gateway::{Gateway, rewriting};
use crate::support::raw::{field, status};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn backend() -> Backend {
    Backend::start(None, |raw, report| serve(raw, report, OK)).await
}

/// `/auto` goes by the media type, `/semicolons` and `/tsv` have a format and no header row.
fn gateway(backend: &Backend) -> Gateway {
    let (csv, header) = (
        Dialect {
            delimiter: b';',
            header: false,
        },
        false,
    );
    let rows = Rows {
        csv,
        tsv_header: header,
    };
    let mut auto = rewriting("auto", "/auto");
    auto.stream = true;
    let mut semicolons = rewriting("semicolons", "/semicolons");
    (semicolons.format, semicolons.rows) = (Some(Format::Csv(csv)), rows);
    let mut tsv = rewriting("tsv", "/tsv");
    (tsv.format, tsv.rows) = (Some(Format::Tsv { header }), rows);
    let limits = Limits {
        hold: 10_000,
        ..Limits::default()
    };
    let certificates = Arc::new(Certificates::new());
    Gateway::start(&certificates, backend, vec![auto, semicolons, tsv], limits)
}

fn post(path: &str, media: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn formats_01_rows_are_rewritten_on_their_way() {
    let mut backend = backend().await;
    let gateway = gateway(&backend);
    for (media, body, expected, said) in [
        (
            "text/csv; header=present; charset=utf-8",
            "\u{FEFF}n,name\r\n1.0e-7,\"O\"\"Connor, Siobhán\"\r\n2,ada",
            "\u{FEFF}n,name\r\n1.0e-7,\"X\"\r\n2,X",
            "text/csv",
        ),
        (
            "text/tab-separated-values",
            "name\tn\nO\\'Connor\t\\N\n\\N\t1\\t2\n",
            "name\tn\nX\t\\N\n\\N\t1\\t2\n",
            "text/tab-separated-values",
        ),
    ] {
        let mut client = gateway.h1().await;
        client.send(post("/auto", media, body)).await;
        assert_eq!(status(&client.answer().await.0), 200);
        let seen = backend.next().await;
        assert_eq!(field(&seen.head, "content-type"), Some(said));
        let length = expected.len().to_string();
        assert_eq!(field(&seen.head, "content-length"), Some(&*length));
        assert_eq!(seen.body.unwrap(), expected.as_bytes());
    }
}

#[tokio::test]
async fn formats_01_a_long_body_streams_in_pieces_of_any_size() {
    let mut backend = backend().await;
    let gateway = gateway(&backend);
    let (row, rewritten) = ("1,\"a\"\"b\r\nc\"\r\n", "1,\"X\"\r\n");
    let body = format!("n,name\r\n{}", row.repeat(2000));
    let mut client = gateway.h1().await;
    let head = "POST /auto HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(head).await;
    for part in body.as_bytes().chunks(331) {
        let part = std::str::from_utf8(part).unwrap();
        client.send(format!("{:x}\r\n{part}\r\n", part.len())).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(status(&client.answer().await.0), 200);
    let expected = format!("n,name\r\n{}", rewritten.repeat(2000));
    assert_eq!(backend.next().await.body.unwrap(), expected.as_bytes());
}

#[tokio::test]
async fn formats_01_refused_rows_say_where_and_leave_nothing_at_the_backend() {
    let mut backend = backend().await;
    let gateway = gateway(&backend);
    for (path, media, body, code, number, offset) in [
        (
            "/auto",
            "text/csv",
            "n,name\n1,SUB-1\"\n",
            "malformed-csv",
            400,
            Some(14),
        ),
        (
            "/auto",
            "text/csv",
            "n,name\n1,\"SUB-1\n",
            "unclosed-quote",
            400,
            Some(9),
        ),
        (
            "/auto",
            "text/csv",
            "n,name\n1,SUB-1\0\n",
            "nul-in-row",
            400,
            Some(14),
        ),
        (
            "/auto",
            "text/csv",
            "n,SUB-1\n",
            "unlisted-place",
            422,
            Some(2),
        ),
        (
            "/auto",
            "text/csv",
            "n,bad\n",
            "rejected-place",
            422,
            Some(2),
        ),
        (
            "/auto",
            "text/csv; header=absent",
            "1,SUB-1\n",
            "media-type",
            415,
            None,
        ),
        (
            "/auto",
            "text/csv; charset=latin1",
            "n\n1\n",
            "media-type",
            415,
            None,
        ),
        (
            "/semicolons",
            "text/csv; header=present",
            "n\n1\n",
            "media-type",
            415,
            None,
        ),
        // Without a header row this policy lists no column.
        (
            "/semicolons",
            "text/csv",
            "1;SUB-1\n",
            "unlisted-place",
            422,
            Some(0),
        ),
        (
            "/tsv",
            "text/plain",
            "1\\x\n",
            "unlisted-place",
            422,
            Some(0),
        ),
        (
            "/auto",
            "text/tab-separated-values",
            "n\nSUB-1\\x\n",
            "malformed-tsv",
            400,
            Some(7),
        ),
    ] {
        let mut client = gateway.h1().await;
        client.send(post(path, media, body)).await;
        let (head, answer) = client.answer().await;
        assert_eq!(status(&head), number, "{body:?}");
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(problem["code"], code, "{body:?}");
        assert_eq!(problem["offset"].as_u64(), offset, "{body:?}");
        assert!(!String::from_utf8(answer).unwrap().contains("SUB-1"));
    }
    assert_eq!(backend.connections(), 0);
    assert!(backend.saw_nothing());
}
