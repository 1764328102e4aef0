//! Request smuggling: the forms of HTTP/1.1 and HTTP/2 at whose end readers are known to differ.
//! Each with what the gateway makes of it.

/// Stands for the route's path, and is as long.
pub const PATH: &str = "/P00";

/// One connection's worth of bytes or frames.
pub struct Vector {
    pub name: &'static str,
    pub sent: Sent,
    /// Statuses that the client gets, in order, without 100.
    pub answers: &'static [u16],
    /// What goes upstream whole: `METHOD path length`, in order.
    pub forwards: Vec<String>,
}

pub enum Sent {
    Http1(Vec<u8>),
    Http2 {
        fields: Vec<(Vec<u8>, Vec<u8>)>,
        data: Vec<u8>,
        trailers: Vec<(Vec<u8>, Vec<u8>)>,
    },
}

const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

/// A request that only one of two readers should see.
fn smuggled() -> String {
    format!("GET {PATH}/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST {PATH}/a HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("transfer-encoding: chunked\r\n", body)
}

pub fn all() -> Vec<Vector> {
    let mut all = lengths();
    all.extend(codings());
    all.extend(chunks());
    all.extend(lines());
    all.extend(sequences());
    all.extend(downgrades());
    all
}

/// A document of which the route's policy leaves a member out, so that its length changes.
pub const DOCUMENT: &str = r#"{"gone":"12345","b":1}"#;

/// On a route whose policy rewrites JSON: its bodies are framed anew.
pub fn rewritten() -> Vec<Vector> {
    const JSON: &str = "content-type: application/json\r\n";
    let hidden = smuggled();
    let length = DOCUMENT.len();
    let json = |fields: &str, body: &str| post(&format!("{JSON}{fields}"), body);
    let with = |value: &str| json(&format!("content-length:{value}\r\n"), DOCUMENT);
    let in_chunks = |body: &str| json("transfer-encoding: chunked\r\n", body);
    let chunk = format!("{length:x}\r\n{DOCUMENT}\r\n");
    let last = "0\r\n\r\n";
    let (ten, rest) = DOCUMENT.split_at(10);
    let both = |length: usize, body: &str| {
        let fields = format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n");
        json(&fields, body)
    };
    let seven: &[&str] = &["POST /a 7"];
    let two: &[&str] = &["POST /a 7", "GET /smuggled 0"];
    let escaped = format!(r#"{{"b":"{}"}}"#, hidden.replace("\r\n", "\\r\\n"));
    let bare = format!("{{\"b\":\"{hidden}\"}}");
    let sized = |body: &str| json(&format!("content-length: {}\r\n", body.len()), body);
    // Longer than what is held, so that it leaves before its end has come: framed in chunks.
    let lines = format!("{DOCUMENT}\n").repeat(20_000);
    let left = format!("POST /a {}", "{\"b\":1}\n".len() * 20_000);
    let lined = |fields: &str, body: &str| {
        post(
            &format!("content-type: application/x-ndjson\r\n{fields}"),
            body,
        )
    };
    let long = lined(&format!("content-length: {}\r\n", lines.len()), &lines);
    let long_chunks = lined(
        "transfer-encoding: chunked\r\n",
        &format!("{:x}\r\n{lines}\r\n{last}", lines.len()),
    );
    let cut = lined(&format!("content-length: {}\r\n", lines.len() + 5), &lines);
    let spoilt = lined(
        &format!("content-length: {}\r\n", lines.len()),
        &(lines[1..].to_owned() + "}"),
    );
    let mut all = vec![
        passed("a length", &[200], with(&format!(" {length}")), seven),
        passed(
            "chunks",
            &[200],
            in_chunks(&format!("{chunk}{last}")),
            seven,
        ),
        passed(
            "more chunks",
            &[200],
            in_chunks(&format!(
                "a\r\n{ten}\r\n{:x};x=y\r\n{rest}\r\n{last}",
                rest.len()
            )),
            seven,
        ),
        passed(
            "CL.TE",
            &[200],
            both(
                chunk.len() + last.len() + hidden.len(),
                &format!("{chunk}{last}{hidden}"),
            ),
            seven,
        ),
        passed("TE.CL", &[200], both(4, &format!("{chunk}{last}")), seven),
        passed(
            "a request behind",
            &[200, 200],
            in_chunks(&format!("{chunk}{last}{hidden}")),
            two,
        ),
        passed(
            "a request behind a length",
            &[200, 200],
            [with(&format!(" {length}")), hidden.clone().into()].concat(),
            two,
        ),
        passed(
            "a request in a string",
            &[200],
            sized(&escaped),
            &[&format!("POST /a {}", escaped.len())],
        ),
        refused("a request in a string, not escaped", &[400], sized(&bare)),
        refused(
            "a request behind the document, in its length",
            &[400],
            sized(&format!("{DOCUMENT}{hidden}")),
        ),
        refused(
            "a request behind the document, in a chunk",
            &[400],
            in_chunks(&format!("{chunk}{:x}\r\n{hidden}\r\n{last}", hidden.len())),
        ),
        refused("a document too short", &[400], sized(&DOCUMENT[..10])),
        passed(
            "a length that the body does not reach",
            &[],
            with(" 50"),
            &[],
        ),
        refused(
            "two lengths",
            &[400],
            json(
                &format!("content-length: {length}\r\ncontent-length: 7\r\n"),
                DOCUMENT,
            ),
        ),
        // What is left of it is no request.
        refused("the length after rewriting", &[400, 400], with(" 7")),
        refused(
            "a size that is no number",
            &[400],
            in_chunks("G\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "a coding before chunked",
            &[400],
            json(
                "transfer-encoding: gzip, chunked\r\n",
                &format!("{chunk}{last}"),
            ),
        ),
        refused(
            "another media type",
            &[415],
            post(
                &format!(
                    "content-type: text/plain\r\ncontent-length: {}\r\n",
                    hidden.len()
                ),
                &hidden,
            ),
        ),
        refused(
            "another media type, at Expect",
            &[415],
            [
                post(
                    "content-type: text/plain\r\nexpect: 100-continue\r\ncontent-length: 60\r\n",
                    "",
                ),
                hidden.clone().into(),
            ]
            .concat(),
        ),
        passed(
            "trailers about framing",
            &[200],
            in_chunks(&format!(
                "{chunk}0\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\n\r\n"
            )),
            seven,
        ),
        passed(
            "Expect, and the body at once",
            &[200],
            json(
                &format!("expect: 100-continue\r\ncontent-length: {length}\r\n"),
                DOCUMENT,
            ),
            seven,
        ),
        passed(
            "pipelined",
            &[200; 3],
            [
                with(&format!(" {length}")),
                in_chunks(&format!("{chunk}{last}")),
                hidden.clone().into(),
            ]
            .concat(),
            &["POST /a 7", "POST /a 7", "GET /smuggled 0"],
        ),
        passed("streamed, by its length", &[200], long, &[&left]),
        passed(
            "streamed, in chunks",
            &[200, 200],
            [long_chunks, hidden.clone().into()].concat(),
            &[&left, "GET /smuggled 0"],
        ),
        passed("streamed, and cut", &[], cut, &[]),
        passed("streamed, and wrong at the end", &[400], spoilt, &[]),
    ];
    let two = |name, more: &[(&str, &str)], data: &str, answers, forwards: &[&str]| {
        let fields = [&[("content-type", "application/json")][..], more].concat();
        let path = format!("{PATH}/a");
        http2(name, "POST", &path, &fields, data, answers, forwards)
    };
    let length = length.to_string();
    all.extend([
        two("h2", &[], DOCUMENT, &[200], seven),
        two(
            "h2: its length",
            &[("content-length", &length)],
            DOCUMENT,
            &[200],
            seven,
        ),
        two(
            "h2: a length too short",
            &[("content-length", "7")],
            DOCUMENT,
            &[],
            &[],
        ),
        two(
            "h2: a request behind the document",
            &[],
            &format!("{DOCUMENT}{hidden}"),
            &[400],
            &[],
        ),
    ]);
    all
}

/// Refused: nothing goes upstream.
fn refused(name: &'static str, status: &'static [u16], bytes: Vec<u8>) -> Vector {
    passed(name, status, bytes, &[])
}

fn passed(
    name: &'static str,
    answers: &'static [u16],
    bytes: Vec<u8>,
    forwards: &[&str],
) -> Vector {
    Vector {
        name,
        sent: Sent::Http1(bytes),
        answers,
        forwards: forwards.iter().map(|&f| f.to_owned()).collect(),
    }
}

/// Content-Length, alone and beside Transfer-Encoding.
fn lengths() -> Vec<Vector> {
    let hidden = smuggled();
    let both = |length: usize, body: &str| {
        post(
            &format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
            body,
        )
    };
    let inside = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let whole = [&*format!("POST /a {}", hidden.len())];
    let zero = "0\r\n\r\n".len();
    let with = |value: &str| post(&format!("content-length:{value}\r\n"), "hello");
    vec![
        passed("plain length", &[200], with(" 5"), &["POST /a 5"]),
        passed("CL.TE: one byte more", &[200], both(6, "0\r\n\r\nG"), &["POST /a 0"]),
        passed("CL.TE: a whole request", &[200], both(zero + hidden.len(), &format!("0\r\n\r\n{hidden}")), &["POST /a 0"]),
        passed("TE.CL: a whole request in a chunk", &[200], both(4, &inside), &whole),
        passed("TE before CL", &[200], post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &inside), &whole),
        passed("CL twice, then TE", &[200], post("content-length: 4\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n", &inside), &whole),
        refused("two lengths", &[400], post("content-length: 5\r\ncontent-length: 0\r\n", "hello")),
        refused("two lengths, the other way", &[400], post("content-length: 0\r\ncontent-length: 5\r\n", "hello")),
        passed("the same length twice", &[200], post("content-length: 5\r\ncontent-length: 5\r\n", "hello"), &["POST /a 5"]),
        refused("a list of one length", &[400], with(" 5, 5")),
        refused("a length with a sign", &[400], with(" +5")),
        refused("a negative length", &[400], with(" -5")),
        refused("a hexadecimal length", &[400], with(" 0x5")),
        refused("a length with a fraction", &[400], with(" 5.0")),
        refused("an empty length", &[400], with("")),
        refused("a length over 2^64", &[400], with(" 18446744073709551621")),
        refused("a length with a bare CR", &[400], with(" 5\r")),
        refused("a length with a NUL", &[400], with(" 5\0")),
        refused("a length with a vertical tab", &[400], with(" \x0b5")),
        passed("a length with zeros before", &[200], with(" 0000005"), &["POST /a 5"]),
        passed("a length between tabs", &[200], with("\t5\t"), &["POST /a 5"]),
        refused("a space before the colon", &[400], post("content-length : 5\r\n", "hello")),
        passed("a length that Connection names", &[200], post("connection: content-length\r\ncontent-length: 5\r\n", "hello"), &["POST /a 5"]),
        passed("a length in a name with _", &[200, 200], post("content_length: 51\r\n", &hidden), &["POST /a 0", "GET /smuggled 0"]),
        // What stands behind is a request of its own, and is treated as one: 200.
        passed("CL.0: no length at all", &[200, 200], post("", &hidden), &["POST /a 0", "GET /smuggled 0"]),
        passed("a request inside a body", &[200], post(&format!("content-length: {}\r\n", hidden.len()), &hidden), &whole),
        refused("GET with a body", &[400], format!("GET {PATH}/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        refused("GET with chunks", &[400], format!("GET {PATH}/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{inside}").into_bytes()),
        passed("DELETE with a body", &[200], format!("DELETE {PATH}/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes(), &[&format!("DELETE /a {}", hidden.len())]),
        passed("OPTIONS with a body", &[200], format!("OPTIONS {PATH}/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes(), &[&format!("OPTIONS /a {}", hidden.len())]),
        passed("a body that never comes whole", &[], post("content-length: 50\r\n", "hello"), &[]),
    ]
}

/// Transfer-Encoding that one reader takes for chunked and the next does not.
fn codings() -> Vec<Vector> {
    let hidden = smuggled();
    let body = format!("0\r\n\r\n{hidden}");
    let long = format!("content-length: {}\r\n", body.len());
    // A length that a reader would take who does not see the coding.
    let with = |field: &str| post(&format!("{long}{field}\r\n"), &body);
    let mut all: Vec<Vector> = [
        (
            "TE.TE: identity after it",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        ),
        (
            "TE.TE: identity before it",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        ),
        (
            "TE.TE: chunked twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ),
        ("chunked, chunked", "transfer-encoding: chunked, chunked"),
        ("chunked, identity", "transfer-encoding: chunked, identity"),
        ("gzip, chunked", "transfer-encoding: gzip, chunked"),
        ("an empty member", "transfer-encoding: ,chunked"),
        ("xchunked", "transfer-encoding: xchunked"),
        ("chunked in quotes", "transfer-encoding: \"chunked\""),
        ("chunked with a parameter", "transfer-encoding: chunked;x"),
        ("a space before TE's colon", "transfer-encoding : chunked"),
        ("a tab before TE's colon", "transfer-encoding\t: chunked"),
        ("a folded value", "transfer-encoding:\r\n chunked"),
        ("a folded line", "x: y\r\n transfer-encoding: chunked"),
        ("a space before TE", " transfer-encoding: chunked"),
        ("a vertical tab", "transfer-encoding:\x0bchunked"),
        ("a form feed behind", "transfer-encoding: chunked\x0c"),
        ("a NUL", "transfer-encoding: chunked\0"),
        ("a bare CR behind", "transfer-encoding: chunked\r"),
        (
            "a bare CR as a line end",
            "x: y\rtransfer-encoding: chunked",
        ),
        ("no colon", "transfer-encoding chunked"),
        ("identity", "transfer-encoding: identity"),
        ("no coding", "transfer-encoding:"),
        ("a name not of ASCII", "transf\u{e9}r-encoding: chunked"),
    ]
    .map(|(name, field)| refused(name, &[400], with(field)))
    .into();
    all.push(passed(
        "CHUNKED",
        &[200],
        post("Transfer-Encoding: CHUNKED\r\n", HELLO),
        &["POST /a 5"],
    ));
    all.push(passed(
        "chunked between tabs",
        &[200],
        post("transfer-encoding:\t chunked \t\r\n", HELLO),
        &["POST /a 5"],
    ));
    all.push(passed(
        "a bare LF as a line end",
        &[200],
        with("x: y\ntransfer-encoding: chunked"),
        &["POST /a 0"],
    ));
    all.push(passed(
        "TE in a name with _",
        &[200],
        with("transfer_encoding: chunked"),
        &[&format!("POST /a {}", body.len())],
    ));
    let old = format!(
        "POST {PATH}/a HTTP/1.0\r\nhost: localhost\r\n{long}transfer-encoding: chunked\r\n\r\n{body}"
    );
    all.push(refused("chunked in HTTP/1.0", &[400], old.into_bytes()));
    all
}

/// Chunk lines, data and trailers.
fn chunks() -> Vec<Vector> {
    let hidden = smuggled();
    let mut all: Vec<Vector> = [
        ("LF-only chunk lines", "5\nhello\n0\n\n".to_owned()),
        (
            "an LF after the size",
            format!("5\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        ("an LF after the data", "5\r\nhello\n0\r\n\r\n".to_owned()),
        (
            "an LF in an extension",
            format!("5;\nhello\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a CR in an extension",
            "5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "an LF in the last chunk",
            format!("5\r\nhello\r\n0\n\r\n{hidden}"),
        ),
        (
            "a CR alone after the size",
            "5\rhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "two other bytes after the data",
            "5\r\nhelloXX0\r\n\r\n".to_owned(),
        ),
        (
            "data longer than its chunk",
            "5\r\nhello!\r\n0\r\n\r\n".to_owned(),
        ),
        ("0x5", "0x5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("+5", "+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("-5", "-5\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a space before the size",
            " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        ("5_0", "5_0\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("two sizes", "5 5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a size that is no number",
            "G\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a size over 2^64",
            "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a size of many Fs",
            "FFFFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a request instead of a trailer",
            format!("5\r\nhello\r\n0\r\n{hidden}"),
        ),
        (
            "a trailer without a colon",
            "5\r\nhello\r\n0\r\nx\r\n\r\n".to_owned(),
        ),
        (
            "a trailer with a bare CR",
            "5\r\nhello\r\n0\r\nx: a\rb\r\n\r\n".to_owned(),
        ),
    ]
    .map(|(name, body)| refused(name, &[400], chunked(&body)))
    .into();
    for (name, body) in [
        ("an extension", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"),
        ("white space after the size", "5 \t\r\nhello\r\n0 \r\n\r\n"),
        (
            "zeros before the size",
            "00000000000000000000000005\r\nhello\r\n000\r\n\r\n",
        ),
        (
            "trailers about framing",
            "5\r\nhello\r\n0\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\nhost: evil\r\n\r\n",
        ),
    ] {
        all.push(passed(name, &[200], chunked(body), &["POST /a 5"]));
    }
    let after = format!("{HELLO}{hidden}");
    all.push(passed(
        "a request after the last chunk",
        &[200, 200],
        chunked(&after),
        &["POST /a 5", "GET /smuggled 0"],
    ));
    all.push(passed(
        "a size that the data does not reach",
        &[],
        chunked("50\r\nhello"),
        &[],
    ));
    all.push(passed("no last chunk", &[], chunked("5\r\nhello\r\n"), &[]));
    all.push(passed(
        "a last chunk without its empty line",
        &[],
        chunked("5\r\nhello\r\n0\r\n"),
        &[],
    ));
    all
}

/// Heads as a whole: line ends, targets, versions.
fn lines() -> Vec<Vector> {
    let hidden = smuggled();
    let get = |line: &str| format!("{line}\r\nhost: localhost\r\n\r\n").into_bytes();
    vec![
        passed("bare LF everywhere", &[200], format!("POST {PATH}/a HTTP/1.1\nhost: localhost\ncontent-length: 5\n\nhello").into_bytes(), &["POST /a 5"]),
        passed("an LF ends the head", &[200], post("content-length: 5\r\n", "hello").as_slice().strip_suffix(b"\r\nhello").map(|head| [head, b"\nhello"].concat()).unwrap(), &["POST /a 5"]),
        refused("bare CR everywhere", &[400], format!("POST {PATH}/a HTTP/1.1\rhost: localhost\rcontent-length: 5\r\rhello").into_bytes()),
        passed("empty lines before", &[200], [&b"\r\n\r\n"[..], &get(&format!("GET {PATH}/a HTTP/1.1"))].concat(), &["GET /a 0"]),
        refused("a line in the path, encoded", &[400], get(&format!("GET {PATH}/a%0d%0ax: HTTP/1.1"))),
        refused("two targets", &[400], get(&format!("GET {PATH}/a {PATH}/smuggled HTTP/1.1"))),
        refused("two versions", &[400], get(&format!("GET {PATH}/a HTTP/1.1 HTTP/1.1"))),
        refused("HTTP/0.9", &[400], format!("GET {PATH}/a\r\n\r\n{hidden}").into_bytes()),
        refused("HTTP/1.2", &[400], get(&format!("GET {PATH}/a HTTP/1.2"))),
        refused("another host in the target", &[400], get(&format!("GET https://other{PATH}/a HTTP/1.1"))),
        passed("an absolute target", &[200], get(&format!("GET https://localhost{PATH}/a HTTP/1.1")), &["GET /a 0"]),
        passed("a fragment", &[200], get(&format!("GET {PATH}/a#{PATH}/smuggled HTTP/1.1")), &["GET /a 0"]),
        refused("a path that goes up", &[400], get(&format!("GET {PATH}/../admin HTTP/1.1"))),
        refused("a path that goes up, encoded", &[400], get(&format!("GET {PATH}/%2e%2e/admin HTTP/1.1"))),
        refused("h2c", &[400], post("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 5\r\n", "hello")),
        refused("the preface of HTTP/2", &[], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        passed("HTTP/1.0 with a length", &[200], format!("POST {PATH}/a HTTP/1.0\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello{hidden}").into_bytes(), &["POST /a 5"]),
    ]
}

/// Several requests on one connection, and `Expect`.
fn sequences() -> Vec<Vector> {
    let hidden = smuggled();
    let get = |name: &str, fields: &str| {
        format!("GET {PATH}/{name} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n")
    };
    let three = get("a", "") + &get("b", "content-length: 0\r\n") + &get("c", "");
    let mut mixed = post("content-length: 5\r\n", "hello");
    mixed.extend(chunked(HELLO));
    mixed.extend(get("b", "").bytes());
    let length = format!("content-length: {}\r\n", hidden.len());
    let nowhere = |fields: &str| {
        format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{fields}{length}\r\n").into_bytes()
    };
    vec![
        passed("three pipelined", &[200; 3], three.into_bytes(), &["GET /a 0", "GET /b 0", "GET /c 0"]),
        passed("bodies pipelined", &[200; 3], mixed, &["POST /a 5", "POST /a 5", "GET /b 0"]),
        passed("behind a close", &[200], (get("a", "connection: close\r\n") + &hidden).into_bytes(), &["GET /a 0"]),
        passed("Expect, and the body at once", &[200], post("expect: 100-continue\r\ncontent-length: 5\r\n", "hello"), &["POST /a 5"]),
        passed("Expect in HTTP/1.0", &[200], format!("POST {PATH}/a HTTP/1.0\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello").into_bytes(), &["POST /a 5"]),
        passed("another Expect", &[200], post("expect: y 100-continue\r\ncontent-length: 5\r\n", "hello"), &["POST /a 5"]),
        passed("Expect twice", &[200], post("expect: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n", "hello"), &["POST /a 5"]),
        passed("Expect without a body", &[200, 200], (get("a", "expect: 100-continue\r\n") + &hidden).into_bytes(), &["GET /a 0", "GET /smuggled 0"]),
        refused("refused, and the body a request", &[404], [nowhere(""), hidden.clone().into()].concat()),
        refused("refused at Expect, and the body a request", &[404], [nowhere("expect: 100-continue\r\n"), hidden.clone().into()].concat()),
        refused("refused at Expect, without its body", &[404], nowhere("expect: 100-continue\r\n")),
        passed("refused, then another", &[404, 200], format!("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n{hidden}").into_bytes(), &["GET /smuggled 0"]),
    ]
}

fn as_bytes(fields: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    fields.iter().map(|(n, v)| (bytes(n), bytes(v))).collect()
}

fn http2(
    name: &'static str,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    data: &str,
    answers: &'static [u16],
    forwards: &[&str],
) -> Vector {
    let mut fields = as_bytes(&[
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
    ]);
    fields.extend(as_bytes(more));
    Vector {
        name,
        sent: Sent::Http2 {
            fields,
            data: data.into(),
            trailers: vec![],
        },
        answers,
        forwards: forwards.iter().map(|&f| f.to_owned()).collect(),
    }
}

/// HTTP/2 that would be more than one request, or another, once written as HTTP/1.1.
fn downgrades() -> Vec<Vector> {
    let path = format!("{PATH}/a");
    let hidden = smuggled();
    let whole = format!("POST /a {}", hidden.len());
    let post = |name, more: &[(&str, &str)], data: &str, answers, forwards: &[&str]| {
        http2(name, "POST", &path, more, data, answers, forwards)
    };
    let ok: &[u16] = &[200];
    let mut all = vec![
        post("h2: data", &[], "hello", ok, &["POST /a 5"]),
        post(
            "h2: data of its length",
            &[("content-length", "5")],
            "hello",
            ok,
            &["POST /a 5"],
        ),
        post("h2: a request as data", &[], &hidden, ok, &[&whole]),
        post("H2.CL: 0", &[("content-length", "0")], &hidden, &[], &[]),
        post(
            "H2.CL: too short",
            &[("content-length", "4")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.CL: too long",
            &[("content-length", "50")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.CL: two",
            &[("content-length", "5"), ("content-length", "0")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.TE",
            &[("transfer-encoding", "chunked")],
            &format!("0\r\n\r\n{hidden}"),
            &[],
            &[],
        ),
        post(
            "H2.TE: in upper case",
            &[("Transfer-Encoding", "chunked")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.TE: in a value",
            &[("x", "y\r\ntransfer-encoding: chunked")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.TE: in a value, by LF",
            &[("x", "y\ntransfer-encoding: chunked")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.TE: in a name",
            &[("x: y\r\ntransfer-encoding", "chunked")],
            "hello",
            &[],
            &[],
        ),
        post(
            "H2.TE: connection",
            &[("connection", "transfer-encoding")],
            "hello",
            &[],
            &[],
        ),
        post(
            "h2: a head in a value",
            &[("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost")],
            "",
            &[],
            &[],
        ),
        http2(
            "h2: a line in :method",
            "POST /a HTTP/1.1\r\nx: y\r\n\r\nGET",
            &path,
            &[],
            "hello",
            &[],
            &[],
        ),
        http2(
            "h2: a line in :path",
            "POST",
            &format!("{path} HTTP/1.1\r\ntransfer-encoding: chunked\r\nx:"),
            &[],
            "hello",
            &[],
            &[],
        ),
        http2(
            "h2: a space in :path",
            "POST",
            &format!("{path} {path}"),
            &[],
            "hello",
            &[],
            &[],
        ),
        post(
            "h2: a second :path",
            &[(":path", "/smuggled")],
            "hello",
            &[],
            &[],
        ),
        post(
            "h2: another host",
            &[("host", "other")],
            "hello",
            &[400],
            &[],
        ),
        http2("h2: GET with data", "GET", &path, &[], &hidden, &[400], &[]),
        http2(
            "h2: HEAD with data",
            "HEAD",
            &path,
            &[],
            &hidden,
            &[400],
            &[],
        ),
        http2("h2: GET", "GET", &path, &[], "", ok, &["GET /a 0"]),
        http2(
            "h2: DELETE with data",
            "DELETE",
            &path,
            &[],
            "hello",
            ok,
            &["DELETE /a 5"],
        ),
    ];
    let mut late = post(
        "h2: trailers about framing",
        &[],
        "hello",
        ok,
        &["POST /a 5"],
    );
    if let Sent::Http2 { trailers, .. } = &mut late.sent {
        *trailers = as_bytes(&[("content-length", "50"), ("x", "y")]);
    }
    all.push(late);
    all
}
