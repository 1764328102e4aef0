//! WebSocket through gateway and vault as processes, with a client and a server that others have
//! written: the same person has the same pseudonym as over HTTP, what cannot be made durable does
//! not leave, and nothing of a message is written down.

#[path = "support/installation.rs"]
mod installation;
#[path = "support/leak.rs"]
mod leak;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use installation::{CA, CLIENT, Installation};
use leak::LeakSearch;
use serde_json::{Value, json};
use support::backend::Backend;

const SUBSCRIBERS: [&str; 3] = ["SUB-00004711", "SUB-00004712", "SUB-00004713"];

struct Python {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Python {
    fn start(arguments: &[String]) -> Self {
        let python = std::env::var("CRYPTONYM_PYTHON").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/venv/bin/python").to_owned()
        });
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/support/ws_peer.py"
            ))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`tests/run` installs what is needed");
        Self {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn said(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Sends a message, or the fragments of one.
    fn say(&mut self, message: Value) {
        writeln!(self.to, "{message}").unwrap();
        self.to.flush().unwrap();
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(socket: &str, post: u16) -> String {
    let route = |path: &str, backend: &str, more: &str| {
        format!(
            "[[route]]\nname = \"{path}\"\npath = \"/{path}\"\nbackend = \"{backend}\"\ndomain = \"improvement\"\nrequest = \"people\"\n{more}\n"
        )
    };
    format!(
        r#"
[backend.socket]
urls = ["http://127.0.0.1:{socket}"]
region = "GB"
[backend.post]
urls = ["http://127.0.0.1:{post}"]
region = "GB"
{}{}
[policy.people]
rules = [
  {{ at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true }},
  {{ at = "$.value", category = "test", action = "keep" }},
]
"#,
        route("ws", "socket", "websocket = \"policy\""),
        route("post", "post", ""),
    )
}

/// The client's text in the server's report.
fn got(said: &Value) -> Value {
    serde_json::from_str(said["got"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_05_websocket_and_http_give_one_person_one_pseudonym() {
    let mut server = Python::start(&["serve".to_owned()]);
    let port = server.line();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let mut post = Backend::answering(answer).await;
    let mut installation = Installation::start(&configuration(&port, post.address.port()));
    let cert = |name: &str| installation.cert(name).display().to_string();
    let arguments = [
        "call".to_owned(),
        installation.gateway_address.port().to_string(),
        cert(CA),
        cert(CLIENT.0),
        cert(CLIENT.1),
    ];
    let connect = |server: &mut Python| {
        let mut client = Python::start(&arguments);
        assert_eq!(client.line(), "open");
        // It offers compression; the backend hears nothing of that.
        assert_eq!(server.said(), json!({ "compressed": false }));
        client
    };
    let mut client = connect(&mut server);
    let mut pseudonyms = Vec::new();
    for (n, subscriber) in SUBSCRIBERS[..2].iter().enumerate() {
        let message = json!({ "subscriber_id": subscriber, "value": n }).to_string();
        if n == 0 {
            client.say(json!(message));
        } else {
            let (begin, end) = message.split_at(25);
            client.say(json!([begin, end]));
        }
        let seen = got(&server.said());
        assert_eq!(seen["value"], n);
        let pseudonym = seen["subscriber_id"].as_str().unwrap().to_owned();
        assert!(pseudonym.starts_with("sub"), "{pseudonym}");
        // What the server says comes back as it is.
        assert_eq!(got(&client.said()), seen);
        pseudonyms.push(pseudonym);
    }
    assert_ne!(pseudonyms[0], pseudonyms[1]);
    let mut http = installation.client();
    for (subscriber, pseudonym) in SUBSCRIBERS.iter().zip(&pseudonyms) {
        let body = json!({ "subscriber_id": subscriber }).to_string();
        let sent = http.send("POST", "/post", "application/json", body).await;
        assert_eq!(sent.unwrap().status, 200);
        let seen: Value = serde_json::from_slice(&post.next().await.body.unwrap()).unwrap();
        assert_eq!(seen["subscriber_id"], **pseudonym);
    }
    // A message that is refused, and what the client hears of it.
    client.say(json!(r#"{"subscriber_id":"SUB-00004713","x":1}"#));
    let told = json!({ "closed": 1008, "reason": "unlisted-place" });
    assert_eq!(client.said(), told);
    assert_eq!(server.said(), json!({ "closed": 1001 }));
    // Somebody new, while nobody can keep the record: nothing leaves.
    let mut client = connect(&mut server);
    installation.kill_vault();
    client.say(json!(r#"{"subscriber_id":"SUB-00004713"}"#));
    let told = client.said();
    assert_eq!(told["closed"], 1013, "{told}");
    assert_eq!(server.said(), json!({ "closed": 1001 }));
    drop(client);
    // Nothing of a message stands in a log.
    installation.kill_gateway();
    let leaks = LeakSearch::new(SUBSCRIBERS).look(&installation.folder().join("logs"));
    assert!(leaks.is_empty(), "{leaks:?}");
    let log = std::fs::read_to_string(installation.log("gateway")).unwrap();
    let line = log.lines().find(|l| l.contains("unlisted-place")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["status"], 101);
    assert_eq!(line["replaced"], 2);
    assert_eq!(line["whole"], false);
}
