//! The proxy for the way out, with curl, Python and openssl as its clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::local::processes::{free_address, pause};

use super::support::authority::Authority;
use super::support::installation::Installation;
use super::support::portal::Portal;
use super::*;

/// A hospital, its gateway, and two servers outside.
struct Way {
    whole: Installation,
    proxy: SocketAddr,
    /// Who uses the proxy trusts this.
    ca: PathBuf,
    /// Of those outside.
    theirs: Authority,
    portal: Portal,
    /// `localhost`, which no route knows.
    other: Portal,
    _folder: tempfile::TempDir,
}

/// The CA as the page makes it.
pub(super) fn make_ca(folder: &Path) -> PathBuf {
    let [commands] = &blocks("sh", "egress-ca.key")[..] else {
        panic!("one block of the page makes the CA");
    };
    let mut sh = Command::new("sh");
    expect(sh.args(["-e", "-c", commands]).current_dir(folder));
    folder.join("egress-ca.pem")
}

impl Way {
    /// `egress`: further keys of `[gateway.egress]`; OTHER stands for the other server's port.
    fn open(egress: &str) -> Self {
        let (outside, path) = folder();
        let theirs = Authority::new(&path, "theirs");
        let pair = theirs.server("portal", &["portal.example"]);
        let portal = Portal::start(&path.join("portal.log"), Some(&pair));
        let pair = theirs.server("other", &["localhost", "127.0.0.1"]);
        let other = Portal::start(&path.join("other.log"), Some(&pair));
        let proxy = free_address().unwrap();
        let rest = format!(
            r#"
[gateway.egress]
listen = ["{proxy}"]
ca = {{ certificate = "certs/out/egress-ca.pem", key = "certs/out/egress-ca.key" }}
clients = ["127.0.0.1"]
hosts = ["portal.example"]
{egress}

[backend.portal]
urls = ["https://127.0.0.1:{portal}"]
server_name = "portal.example"
ca = "{ca}"
region = "GB"

[[route]]
name = "portal"
host = "portal.example"
path = "/v1/results"
methods = ["POST"]
backend = "portal"
domain = "improvement"
request = "record"
host_upstream = "portal.example"

[[route]]
name = "inward"
path = "/inward"
methods = ["POST"]
backend = "portal"
domain = "improvement"
request = "record"
{POLICY}"#,
            portal = portal.port,
            ca = theirs.file.display(),
            egress = egress.replace("OTHER", &other.port.to_string()),
        );
        let mut whole = Installation::prepare(&rest);
        let ca = make_ca(&whole.certs());
        whole.start_vault();
        whole.start_gateway();
        Self {
            whole,
            proxy,
            ca,
            theirs,
            portal,
            other,
            _folder: outside,
        }
    }

    fn through(&self, mut command: Command) -> Command {
        command.arg("--proxy").arg(format!("http://{}", self.proxy));
        command
    }

    /// What curl says of a CONNECT: status, and whether a request followed.
    fn connect(&self, url: &str) -> String {
        let output = self.through(post(url, &self.ca)).output().unwrap();
        last(&String::from_utf8_lossy(&output.stdout)).to_owned()
    }

    /// openssl through the proxy, with this name in the handshake.
    fn openssl(&self, host: &str, port: u16, name: Option<&str>) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-showcerts", "-proxy", &self.proxy.to_string()]);
        command.args(["-connect", &format!("{host}:{port}")]);
        match name {
            Some(name) => command.args(["-servername", name]),
            None => command.arg("-noservername"),
        };
        text(&command.stdin(Stdio::null()).output().unwrap())
    }

    /// Raw bytes to the proxy, and what comes back until it closes.
    fn raw(&self, bytes: &str) -> String {
        let mut tcp = TcpStream::connect(self.proxy).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp.write_all(bytes.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn count(&self, line: &str) -> u64 {
        let page = self.whole.metrics("gateway");
        let line = format!("cryptonym_gateway_{line} ");
        let found = page.lines().find_map(|l| l.strip_prefix(&line));
        found
            .unwrap_or_else(|| panic!("no {line} in {page}"))
            .parse()
            .unwrap()
    }

    fn connects(&self, host: &str, outcome: &str) -> u64 {
        self.count(&format!(
            "egress_connects_total{{host=\"{host}\",outcome=\"{outcome}\"}}"
        ))
    }

    /// Waits until a count is this: what a client has seen may be counted a moment later.
    fn settles(&self, line: &str, wanted: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.count(line) != wanted {
            assert!(Instant::now() < end, "{line}: {}", self.count(line));
            pause(Duration::from_millis(20));
        }
    }

    fn came(&self, host: &str, outcome: &str, times: u64) {
        let labels = format!("{{host=\"{host}\",outcome=\"{outcome}\"}}");
        self.settles(&format!("egress_connects_total{labels}"), times);
    }

    /// Lines of the access log about CONNECTs, once there are so many.
    fn log(&self, least: usize) -> Vec<serde_json::Value> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(self.whole.log("gateway")).unwrap();
            let lines = log.lines().filter(|line| line.contains("\"CONNECT\""));
            let all: Vec<_> = lines.filter_map(|l| serde_json::from_str(l).ok()).collect();
            if all.len() >= least {
                return all;
            }
            assert!(Instant::now() < end, "{} of {least} lines", all.len());
            pause(Duration::from_millis(50));
        }
    }
}

const URL: &str = "https://portal.example/v1/results";

#[test]
fn proxy_09_what_leaves_by_connect_arrives_pseudonymised() {
    let way = Way::open("");
    let said = way.whole.expect(&["check"]);
    for line in [
        "opens TLS to portal.example",
        "refuses all other hosts",
        "127.0.0.1/32",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(
        !said.contains("no certificate of the gateway is made"),
        "{said}"
    );

    // HTTP/2 inside, as with any TLS server.
    let said = expect(&mut way.through(post(URL, &way.ca)));
    assert_eq!(last(&said), "201 2 200", "{said}");
    assert!(said.contains(r#"{"taken": true}"#));
    let seen = way.portal.saw_one();
    is_pseudonymised(&seen);
    assert_eq!(field(&seen, "host"), ["portal.example"]);
    assert!(field(&seen, "proxy-connection").is_empty());
    // And HTTP/1.1.
    let mut one = way.through(post(URL, &way.ca));
    assert_eq!(last(&expect(one.arg("--http1.1"))), "201 1.1 200");
    is_pseudonymised(&way.portal.saw_one());

    // Python 3.11 says CONNECT in HTTP/1.0.
    let script = format!(
        "import http.client, ssl\n\
         c = http.client.HTTPSConnection('127.0.0.1', {}, context=ssl.create_default_context(cafile='{}'), timeout=20)\n\
         c.set_tunnel('portal.example', 443)\n\
         c.request('POST', '/v1/results', '{}', {{'content-type': 'application/json'}})\n\
         print(c.getresponse().status)",
        way.proxy.port(),
        way.ca.display(),
        RECORD,
    );
    let said = expect(Command::new("python3").args(["-c", &script]));
    assert_eq!(said.trim(), "201");
    is_pseudonymised(&way.portal.saw_one());

    // Without the CA nobody takes the certificate.
    let refused = way.through(post(URL, &way.theirs.file)).output().unwrap();
    assert!(!refused.status.success());
    // What the policy refuses does not leave.
    let mut wrong = way.through(post(URL, &way.ca));
    let said = expect(wrong.args(["-d", "&x"]));
    assert!(last(&said).starts_with("400"), "{said}");
    assert!(way.portal.seen().is_empty());

    way.came("portal.example", "opened", 5);
    for line in way.log(5) {
        assert_eq!(line["host"], "portal.example");
        assert_eq!(
            (line["status"].as_u64(), &line["code"]),
            (Some(200), &"-".into())
        );
    }
    let log = fs::read_to_string(way.whole.log("gateway")).unwrap();
    assert!(
        !log.contains(CLEAR) && !log.contains("127.0.0.1\""),
        "{log}"
    );
}

#[test]
fn proxy_09_a_certificate_is_of_the_day_and_for_its_host_alone() {
    let way = Way::open("");
    let said = way.openssl("portal.example", 443, Some("portal.example"));
    let begin = said.find("-----BEGIN CERTIFICATE-----").expect(&said);
    let end = said.find("-----END CERTIFICATE-----").unwrap();
    let leaf = way.ca.with_file_name("leaf.pem");
    fs::write(
        &leaf,
        format!("{}-----END CERTIFICATE-----\n", &said[begin..end]),
    )
    .unwrap();
    let verify = |leaf: &Path, host: Option<&str>| {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "sslserver"]);
        command.args(host.map(|host| ["-verify_hostname", host]).iter().flatten());
        text(
            &command
                .arg("-CAfile")
                .arg(&way.ca)
                .arg(leaf)
                .output()
                .unwrap(),
        )
    };
    let said = verify(&leaf, Some("portal.example"));
    assert!(said.contains("leaf.pem: OK"), "{said}");
    assert!(verify(&leaf, Some("other.example")).contains("hostname mismatch"));
    let mut x509 = Command::new("openssl");
    x509.args(["x509", "-noout", "-text", "-checkend", "86300", "-in"]);
    let output = x509.arg(&leaf).output().unwrap();
    let said = text(&output);
    // It ends within a day and a bit, and not before.
    assert!(said.contains("Certificate will not expire"), "{said}");
    let mut later = Command::new("openssl");
    later.args(["x509", "-noout", "-checkend", "86500", "-in"]);
    assert!(!later.arg(&leaf).output().unwrap().status.success());
    for line in [
        "DNS:portal.example\n",
        "CA:FALSE",
        "prime256v1",
        "TLS Web Server Authentication",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // The same one again, and a key that never was in a file.
    let again = way.openssl("portal.example", 443, Some("portal.example"));
    assert!(again.contains(&fs::read_to_string(&leaf).unwrap()[..400]));
    let mut files = Command::new("grep");
    files.args(["-rl", "PRIVATE KEY", way.whole.folder().to_str().unwrap()]);
    let files = expect(&mut files);
    assert!(
        files.contains("egress-ca.key") && !files.contains("leaf"),
        "{files}"
    );

    // Whoever has the CA's key can sign for others; nobody takes it.
    for (names, why) in [
        ("DNS:other.example", "permitted subtree violation"),
        (
            "DNS:portal.example,DNS:other.example",
            "permitted subtree violation",
        ),
        (
            "DNS:portal.example,IP:192.0.2.1",
            "excluded subtree violation",
        ),
        ("DNS:portal.example", "forged.pem: OK"),
    ] {
        let forged = way.ca.with_file_name("forged.pem");
        let mut forge = Command::new("openssl");
        forge.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        forge.args([
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            "/CN=forged",
            "-days",
            "1",
        ]);
        forge.args([
            "-config",
            "/dev/null",
            "-addext",
            &format!("subjectAltName={names}"),
        ]);
        forge.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        forge.args(["-addext", "authorityKeyIdentifier=keyid"]);
        forge.args(["-addext", "subjectKeyIdentifier=hash"]);
        forge
            .arg("-CA")
            .arg(&way.ca)
            .arg("-CAkey")
            .arg(way.ca.with_extension("key"));
        expect(forge.arg("-out").arg(&forged));
        let said = verify(&forged, None);
        assert!(said.contains(why), "{names}: {said}");
    }
}

#[test]
fn proxy_09_connect_handshake_and_host_name_the_same_portal() {
    let way = Way::open("");
    // The handshake names another host, or none.
    for name in [Some("other.example"), Some("www.portal.example"), None] {
        let said = way.openssl("portal.example", 443, name);
        assert!(said.contains("unrecognized name"), "{name:?}: {said}");
        assert!(!said.contains("BEGIN CERTIFICATE"), "{said}");
    }
    let stranger = |reason| way.count(&format!("turned_away_total{{reason=\"{reason}\"}}"));
    assert_eq!((stranger("unknown-name"), stranger("no-name")), (2, 1));
    // The request names another host, or another port.
    for (host, expect_status) in [
        ("other.example", "421"),
        ("portal.example:8443", "421"),
        ("portal.example:443", "201"),
        ("portal.example", "201"),
    ] {
        let mut command = way.through(post(URL, &way.ca));
        let said = expect(command.args(["--http1.1", "-H", &format!("Host: {host}")]));
        assert!(last(&said).starts_with(expect_status), "{host}: {said}");
    }
    assert_eq!(way.portal.seen().len(), 2);
    // What came by CONNECT takes the routes of its host, and nobody else does.
    let said = expect(&mut way.through(post("https://portal.example/inward", &way.ca)));
    assert!(
        said.contains("no-route") && last(&said).starts_with("404"),
        "{said}"
    );
    let gate = way.whole.gateway_address;
    let door = way.whole.cert("gateway-ca.pem");
    let said = expect(&mut post(&format!("https://{gate}/inward"), &door));
    assert!(last(&said).starts_with("201"), "{said}");
    way.portal.saw_one();
    let mut inside = post(&format!("https://{gate}/v1/results"), &door);
    let said = expect(inside.args(["-H", "Host: portal.example"]));
    assert!(last(&said).starts_with("404"), "{said}");
    let mut named = post(URL, &door);
    named.args(["--connect-to", &format!("portal.example:443:{gate}")]);
    let said = text(&named.output().unwrap());
    assert!(said.contains("unrecognized name"), "{said}");
    assert!(way.portal.seen().is_empty());
}

#[test]
fn proxy_09_hosts_on_no_list_and_strangers_are_refused() {
    let way = Way::open("tunnel_hosts = [\"localhost:OTHER\"]");
    let other = way.other.port;
    for url in [
        "https://other.example/".to_owned(),
        "https://portal.example:8443/v1/results".to_owned(),
        "https://www.portal.example/".to_owned(),
        "https://127.0.0.1/".to_owned(),
        "https://localhost/".to_owned(),
        // Listed, and inside.
        format!("https://localhost:{other}/"),
    ] {
        assert_eq!(way.connect(&url), "000 0 403", "{url}");
    }
    way.came("other", "refused-host", 5);
    way.came("localhost", "refused-address", 1);
    // A line may overtake that of the connection before.
    let lines = way.log(6);
    let inside = lines.iter().filter(|line| line["host"] == "localhost");
    let codes: Vec<_> = inside.map(|line| &line["code"]).collect();
    assert_eq!(codes, ["refused-address"]);

    // Heads that cannot be trusted, and what is no CONNECT.
    for (head, status, code) in [
        (
            "GET http://portal.example/ HTTP/1.1\r\nhost: portal.example\r\n",
            405,
            "egress-connect-only",
        ),
        (
            "POST / HTTP/1.1\r\nhost: portal.example\r\ncontent-length: 0\r\n",
            405,
            "egress-connect-only",
        ),
        (
            "CONNECT portal.example HTTP/1.1\r\nhost: portal.example\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example:0 HTTP/1.1\r\nhost: portal.example:0\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example.:443 HTTP/1.1\r\nhost: portal.example.:443\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT u@portal.example:443 HTTP/1.1\r\nhost: portal.example:443\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example:443 HTTP/1.1\r\nhost: other.example:443\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example:443 HTTP/1.1\r\nhost: portal.example\r\nhost: portal.example\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example:443 HTTP/1.1\r\nhost: portal.example\r\ncontent-length: 5\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT portal.example:443 HTTP/1.1\r\nhost: portal.example\r\ntransfer-encoding: chunked\r\n",
            400,
            "bad-request",
        ),
    ] {
        let said = way.raw(&format!("{head}\r\n"));
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {said}"
        );
        assert!(said.contains(code), "{head}: {said}");
    }
    let big = format!(
        "CONNECT portal.example:443 HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(90_000)
    );
    assert!(way.raw(&big).starts_with("HTTP/1.1 431 "));
    assert!(
        way.raw("\x16\x03\x01\x02\x00\x01\r\n\r\n")
            .starts_with("HTTP/1.1 400 ")
    );
    let end = Instant::now() + Duration::from_secs(20);
    let refused = |host: &str| way.connects(host, "refused-request");
    while refused("other") + refused("portal.example") != 12 {
        assert!(Instant::now() < end, "{}", way.whole.metrics("gateway"));
        pause(Duration::from_millis(20));
    }

    // Who is in no network of `clients` gets no answer.
    let mut stranger = way.through(post(URL, &way.ca));
    let output = stranger
        .args(["--interface", "127.0.0.2"])
        .output()
        .unwrap();
    assert_eq!(last(&String::from_utf8_lossy(&output.stdout)), "000 0 000");
    way.came("other", "refused-client", 1);
    assert!(way.portal.seen().is_empty() && way.other.seen().is_empty());
    // And those who belong are served as before.
    assert_eq!(way.connect(URL), "201 2 200");
}

#[test]
fn proxy_09_listed_tunnels_pass_untouched() {
    let way =
        Way::open("tunnel_hosts = [\"localhost:OTHER\"]\nprivate = [\"127.0.0.0/8\", \"::1\"]");
    let url = format!("https://localhost:{}/any", way.other.port);
    let said = expect(&mut way.through(post(&url, &way.theirs.file)));
    assert_eq!(last(&said), "201 1.1 200", "{said}");
    let seen = way.other.saw_one();
    assert_eq!(seen["body"], RECORD);
    assert!(field(&seen, "via").is_empty() && field(&seen, "forwarded").is_empty());
    // The certificate is the server's own.
    let said = way.openssl("localhost", way.other.port, Some("localhost"));
    let own = fs::read_to_string(way.theirs.dir.join("other.pem")).unwrap();
    assert!(said.contains(own.trim()), "{said}");
    let sent = way
        .log(2)
        .iter()
        .map(|line| line["in"].as_u64().unwrap())
        .max()
        .unwrap();
    assert!(sent > 300, "{sent}");
    way.came("localhost", "tunnelled", 2);
    way.settles("egress_tunnels_open", 0);
    assert!(way.count("egress_tunnel_bytes_total{direction=\"out\"}") > 300);
    assert!(way.count("egress_tunnel_bytes_total{direction=\"in\"}") > 300);
    // Not to the gateway itself, although it stands in `private`.
    let gate = way.whole.gateway_address.port();
    assert_eq!(
        way.connect(&format!("https://localhost:{gate}/inward")),
        "000 0 403"
    );
}

#[test]
fn proxy_09_silence_and_crowds_come_to_an_end() {
    let way = Way::open(
        "tunnel_hosts = [\"localhost:OTHER\"]\nprivate = [\"127.0.0.0/8\", \"::1\"]\nmax_tunnels = 1\ntunnel_idle_time = \"2s\"\n[limits]\nhead_time = \"1s\"",
    );
    // A head that never ends.
    let began = Instant::now();
    assert_eq!(way.raw("CONNECT portal.example:443 HTTP/1.1\r\nhost"), "");
    assert!(began.elapsed() < Duration::from_secs(10));
    way.came("other", "slow", 1);
    // A tunnel in which nothing moves takes the only place, for a while.
    let port = way.other.port;
    let mut silent = TcpStream::connect(way.proxy).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(
        silent,
        "CONNECT localhost:{port} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    silent.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(way.count("egress_tunnels_open"), 1);
    let url = format!("https://localhost:{port}/any");
    assert_eq!(way.connect(&url), "000 0 503");
    let mut rest = Vec::new();
    let reset = silent.read_to_end(&mut rest).unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    let said = expect(&mut way.through(post(&url, &way.theirs.file)));
    assert_eq!(last(&said), "201 1.1 200", "{said}");
    way.came("localhost", "tunnel-cut", 1);
    way.came("localhost", "full", 1);
    way.settles("connections_open{side=\"client\"}", 0);
}

#[test]
fn proxy_09_others_pass_where_the_configuration_says_so() {
    let way = Way::open(
        "others = \"tunnel\"\ntunnel_ports = [OTHER, 8443]\nprivate = [\"127.0.0.0/8\", \"::1\"]",
    );
    let said = way.whole.expect(&["check"]);
    assert!(said.contains("passes unseen to all other hosts"), "{said}");
    let one = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        one.contains("hosts that no list has passes unseen"),
        "{said}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&way.whole.expect(&["check", "--json"])).unwrap();
    assert_eq!(json["egress"]["others"], "tunnel");
    let grave = |risk: &serde_json::Value| risk["about"] == "egress" && risk["grave"] == true;
    assert!(json["risks"].as_array().unwrap().iter().any(grave));

    let other = way.other.port;
    let url = format!("https://localhost:{other}/any");
    let said = expect(&mut way.through(post(&url, &way.theirs.file)));
    assert_eq!(last(&said), "201 1.1 200", "{said}");
    assert_eq!(way.other.saw_one()["body"], RECORD);
    // No way around a listed host's routes: another port, or its address in place of its name.
    for url in [
        "https://portal.example:8443/".to_owned(),
        format!("https://127.0.0.1:{other}/"),
        format!("https://[::1]:{other}/"),
        "https://localhost:444/".to_owned(),
    ] {
        assert_eq!(way.connect(&url), "000 0 403", "{url}");
    }
    way.came("other", "tunnelled", 1);
    // Where nothing listens.
    assert_eq!(way.connect("https://localhost:8443/"), "000 0 502");
    assert_eq!(way.connect(URL), "201 2 200");
    is_pseudonymised(&way.portal.saw_one());
}

#[test]
fn proxy_09_the_way_out_changes_with_a_reload() {
    let mut way = Way::open("");
    let reload = |way: &Way, from: &str, to: &str| {
        let text = fs::read_to_string(way.whole.config()).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(way.whole.config(), text.replace(from, to)).unwrap();
        let process = way.whole.gateway.as_ref().unwrap().id().to_string();
        expect(Command::new("kill").args(["-HUP", &process]));
    };
    let until = |what: &str, good: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(30);
        while !good() {
            assert!(Instant::now() < end, "{what}");
            pause(Duration::from_millis(50));
        }
    };
    let port = way.other.port;
    let url = format!("https://localhost:{port}/any");
    assert_eq!(way.connect(&url), "000 0 403");
    let tunnels =
        format!("private = [\"127.0.0.0/8\", \"::1\"]\ntunnel_hosts = [\"localhost:{port}\"]");
    let hosts = "hosts = [\"portal.example\"]\n";
    reload(&way, hosts, &format!("{hosts}{tunnels}\n"));
    // The CA of the page is none of the other server's: curl leaves, behind its tunnel.
    until("no tunnel", &|| way.connect(&url) == "000 0 200");

    // A CA that could be anybody is refused, and what was before goes on.
    let key = fs::read(way.ca.with_extension("key")).unwrap();
    let good = fs::read(&way.ca).unwrap();
    let [commands] = &blocks("sh", "egress-ca.key")[..] else {
        panic!("one block of the page makes the CA");
    };
    let commands = commands.replace("nameConstraints = critical, @names\n", "");
    let mut sh = Command::new("sh");
    expect(
        sh.args(["-e", "-c", &commands])
            .current_dir(way.whole.certs()),
    );
    reload(&way, &tunnels, "");
    way.settles("reloads_refused_total", 1);
    let trusted = way.whole.folder().join("good.pem");
    fs::write(&trusted, &good).unwrap();
    let bad = std::mem::replace(&mut way.ca, trusted);
    assert_eq!(way.connect(URL), "201 2 200");
    assert_eq!(way.connect(&url), "000 0 200");
    fs::write(&bad, good).unwrap();
    fs::write(bad.with_extension("key"), key).unwrap();

    // Another address.
    let new = free_address().unwrap();
    reload(&way, &way.proxy.to_string(), &new.to_string());
    until("not listening", &|| TcpStream::connect(new).is_ok());
    until("listening still", &|| {
        TcpStream::connect(way.proxy).is_err()
    });
    way.proxy = new;
    assert_eq!(way.connect(URL), "201 2 200");
    assert_eq!(way.connect(&url), "000 0 403");
}

#[test]
fn proxy_09_a_ca_that_could_be_anybody_is_refused_at_the_start() {
    let mut way = Way::open("");
    way.whole.kill_gateway();
    let with = |change: &dyn Fn(&str) -> String| {
        let [commands] = &blocks("sh", "egress-ca.key")[..] else {
            panic!("one block of the page makes the CA");
        };
        let mut sh = Command::new("sh");
        let changed = change(commands);
        assert_ne!(&changed, commands);
        expect(
            sh.args(["-e", "-c", &changed])
                .current_dir(way.whole.certs()),
        );
        let started = way.whole.cryptonym(&["gateway"]);
        let checked = way.whole.cryptonym(&["check"]);
        assert!(!started.success && !checked.success);
        (
            started.stdout + &started.stderr,
            checked.stdout + &checked.stderr,
        )
    };
    let names = "nameConstraints = critical, @names\n";
    type Change<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(Change<'_>, &str); 4] = [
        (&|t| t.replace(names, ""), "has no name constraints"),
        (
            &|t| t.replace(names, "nameConstraints = @names\n"),
            "name constraints that are not critical",
        ),
        (
            &|t| t.replace("= portal.example", "= example"),
            "permits `example` and everything below it",
        ),
        (&|t| t.replace(", pathlen:0", ""), "pathlen:0"),
    ];
    for (change, why) in cases {
        let (started, checked) = with(change);
        for said in [started, checked] {
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(why), "{why}: {said}");
            assert!(
                said.contains("docs/transparent.md shows how to make one"),
                "{said}"
            );
        }
    }
}
