//! Redirected connections, between network namespaces of the test's own:
//!
//! ```text
//! client 10.9.1.2 ── c0 10.9.1.1 │ gateway: this process │ 10.9.2.1 s0 ── 10.9.2.2, .3 servers
//! ```
//!
//! The test starts itself again in a namespace, which is the router's. The rules are those of
//! docs/transparent.md.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::local::processes::pause;

use super::support::authority::Authority;
use super::support::installation::Installation;
use super::support::portal::Portal;
use super::*;

/// Set in the process that is the router.
const INSIDE: &str = "CRYPTONYM_TEST_ROUTER";

const CLIENT: &str = "10.9.1.2";
const ROUTER: &str = "10.9.2.1";
const SERVER: &str = "10.9.2.2";
/// Behind the same router, and on no list.
const OTHER: &str = "10.9.2.3";

#[test]
fn proxy_09_redirect_leads_where_the_client_meant_to_go() {
    as_router(
        "proxy_09_redirect_leads_where_the_client_meant_to_go",
        || {
            let way = Way::open("redirect", "gateway", &rules("redirect to"));
            way.closed_without_a_gateway();
            way.opened(ROUTER)
        },
    );
}

#[test]
fn proxy_09_tproxy_leads_there_from_the_clients_own_address() {
    as_router(
        "proxy_09_tproxy_leads_there_from_the_clients_own_address",
        || {
            let way = Way::open("tproxy", "client", &rules("tproxy ip to"));
            divert();
            way.closed_without_a_gateway();
            way.needs_the_privilege();
            way.opened(CLIENT)
        },
    );
}

#[test]
fn proxy_09_redirect_can_keep_the_source_too() {
    as_router("proxy_09_redirect_can_keep_the_source_too", || {
        let both = rules("redirect to") + "\n" + &rules("chain answers");
        let way = Way::open("redirect", "client", &both);
        divert();
        way.closed_without_a_gateway();
        way.opened(CLIENT)
    });
}

/// Runs this test in a network namespace of its own, for two minutes at most.
fn as_router(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let may = Command::new("unshare")
        .args(["--net", "true"])
        .output()
        .unwrap();
    assert!(
        may.status.success(),
        "this test makes network namespaces: run it as root ({})",
        text(&may).trim()
    );
    let mut inside = Command::new("timeout");
    inside
        .args(["--kill-after=5", "120", "unshare", "--net"])
        .arg(std::env::current_exe().unwrap());
    inside.args(["--exact", &format!("network::{name}"), "--nocapture"]);
    let output = inside.env(INSIDE, "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("1 passed"), "{}", text(&output));
}

/// The page's rules with this in them, for the interfaces here.
fn rules(with: &str) -> String {
    let [rules] = &blocks("nft", with)[..] else {
        panic!("one block of the page has {with}");
    };
    rules.replace("eth-in", "c0")
}

/// The page's commands for what is marked.
fn divert() {
    let [commands] = &blocks("sh", "ip rule add")[..] else {
        panic!("one block of the page leads what is marked here");
    };
    expect(Command::new("sh").args(["-e", "-c", commands]));
}

fn ip(words: &str) {
    expect(Command::new("ip").args(words.split(' ')));
}

fn nft(rules: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rules).unwrap();
    expect(Command::new("nft").arg("-f").arg(file.path()));
}

/// Another machine, as far as the network goes.
struct Machine {
    holder: Child,
    id: String,
}

impl Machine {
    /// On the other end of `link`. `own`, `gateway`: addresses.
    fn new(link: &str, near: &str, own: &[&str]) -> Self {
        let mut holder = Command::new("unshare");
        let holder = holder
            .args(["--net", "sleep", "180"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let id = holder.id().to_string();
        let space = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while space(&id) == space("self") {
            assert!(Instant::now() < end, "no namespace");
            pause(Duration::from_millis(10));
        }
        let machine = Self { holder, id };
        ip(&format!(
            "link add {link} type veth peer name eth0 netns {}",
            machine.id
        ));
        ip(&format!("addr add {near}/24 dev {link}"));
        ip(&format!("link set {link} up"));
        let inside = |words: &str| {
            let mut command = machine.run("ip");
            expect(command.args(words.split(' ')));
        };
        inside("link set lo up");
        for address in own {
            inside(&format!("addr add {address}/24 dev eth0"));
        }
        inside("link set eth0 up");
        inside(&format!("route add default via {near}"));
        machine
    }

    /// What comes before a program that is to run there.
    fn wrapper(&self) -> [&str; 4] {
        ["nsenter", "-t", &self.id, "-n"]
    }

    fn run(&self, program: &str) -> Command {
        let [first, rest @ ..] = self.wrapper();
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

struct Way {
    whole: Installation,
    client: Machine,
    _servers: Machine,
    /// Of the gateway's certificate, and of the servers'.
    ours: PathBuf,
    theirs: PathBuf,
    server: Portal,
    other: Portal,
    _folder: tempfile::TempDir,
}

impl Way {
    fn open(how: &str, source: &str, rules: &str) -> Self {
        ip("link set lo up");
        let client = Machine::new("c0", "10.9.1.1", &[CLIENT]);
        let servers = Machine::new("s0", ROUTER, &[SERVER, OTHER]);
        expect(Command::new("sysctl").args(["-w", "net.ipv4.ip_forward=1"]));

        let (outside, path) = folder();
        let theirs = Authority::new(&path, "theirs");
        let ours = Authority::new(&path, "ours");
        let pair = theirs.server("server", &["service.example"]);
        let serve = |address: &str, name: &str| {
            let log = path.join(name);
            Portal::start_under(&servers.wrapper(), address, 443, &log, Some(&pair))
        };
        let (server, other) = (serve(SERVER, "server.log"), serve(OTHER, "other.log"));
        let own = ours.server("gateway", &["service.example"]);
        let rest = format!(
            r#"
[[gateway.certificate]]
certificate = "{certificate}"
key = "{key}"

[backend.servers]
address = "original"
networks = ["{ROUTER}", "{SERVER}"]
ca = "{ca}"
source = "{source}"
region = "GB"

[[route]]
name = "results"
host = "service.example"
path = "/v1/results"
methods = ["POST"]
backend = "servers"
domain = "improvement"
request = "record"
{POLICY}"#,
            certificate = own.certificate.display(),
            key = own.key.display(),
            ca = theirs.file.display(),
        );
        let whole = Installation::prepare(&rest);
        let written = fs::read_to_string(whole.config()).unwrap();
        let listen = format!("listen = [\"{}\"]", whole.gateway_address);
        assert!(written.contains(&listen));
        let new = format!("listen = [\"0.0.0.0:8443\"]\ntransparent = \"{how}\"");
        fs::write(whole.config(), written.replace(&listen, &new)).unwrap();
        let said = whole.expect(&["check"]);
        assert!(said.contains("where the client meant to go"), "{said}");

        let way = Self {
            whole,
            client,
            _servers: servers,
            ours: ours.file,
            theirs: theirs.file,
            server,
            other,
            _folder: outside,
        };
        // Without rules the router is one: what is sent arrives as it is.
        let said = expect(&mut way.post(SERVER, "service.example", &way.theirs));
        assert!(said.contains("201"), "{said}");
        let seen = way.server.saw_one();
        assert_eq!(
            (&seen["body"], &seen["peer"]),
            (&RECORD.into(), &CLIENT.into())
        );
        nft(rules);
        way
    }

    /// The client's curl, to this address.
    fn post(&self, address: &str, name: &str, ca: &Path) -> Command {
        let plain = post(&format!("https://{name}/v1/results"), ca);
        let mut command = self.client.run("curl");
        command
            .args(plain.get_args())
            .args(["--connect-timeout", "3", "--noproxy", "*"]);
        command.args(["--resolve", &format!("{name}:443:{address}")]);
        command
    }

    /// What curl has printed last: status, version.
    fn sends(&self, address: &str) -> String {
        let output = self
            .post(address, "service.example", &self.ours)
            .output()
            .unwrap();
        last(&String::from_utf8_lossy(&output.stdout)).to_owned()
    }

    fn nothing_passes(&self) {
        for (address, ca) in [
            (SERVER, &self.ours),
            (SERVER, &self.theirs),
            (OTHER, &self.theirs),
        ] {
            let output = self.post(address, "service.example", ca).output().unwrap();
            let code = output.status.code();
            // Refused, or no answer.
            assert!(matches!(code, Some(7 | 28)), "{code:?} {}", text(&output));
        }
        assert!(self.server.seen().is_empty() && self.other.seen().is_empty());
    }

    fn closed_without_a_gateway(&self) {
        self.nothing_passes();
    }

    /// Without the capability it says so, and does not start.
    fn needs_the_privilege(&self) {
        let mut command = Command::new("timeout");
        command.args(["20", "setpriv", "--bounding-set", "-net_admin,-net_raw"]);
        command.arg(env!("CARGO_BIN_EXE_cryptonym")).arg("gateway");
        command.arg("--config").arg(self.whole.config());
        let output = command.current_dir(self.whole.folder()).output().unwrap();
        assert!(!output.status.success());
        let said = text(&output);
        assert!(said.contains("give it CAP_NET_RAW"), "{said}");
    }

    /// `source`: whom the server sees.
    fn opened(mut self, source: &str) {
        self.whole.start_vault();
        // Of what the kernel asks for, the lesser capability is enough.
        self.whole
            .launch_gateway_under(&["setpriv", "--bounding-set", "-net_admin"]);
        self.whole.wait_for_gateway();

        // The client believes that it talks to the server.
        assert_eq!(self.sends(SERVER), "201 2 000");
        let seen = self.server.saw_one();
        is_pseudonymised(&seen);
        assert_eq!(seen["peer"], source);
        assert_eq!(field(&seen, "host"), ["service.example"]);

        // One client connection has connections of its own, and uses them again.
        let count = |name: &str| {
            let page = self.whole.metrics("gateway");
            let name = format!("cryptonym_gateway_{name} ");
            let line = page.lines().find_map(|l| l.strip_prefix(&name));
            line.expect("it is counted").parse::<u64>().unwrap()
        };
        let before = (
            count("upstream_opened_total"),
            count("upstream_reused_total"),
        );
        let mut twice = self.post(SERVER, "service.example", &self.ours);
        twice.arg("https://service.example/v1/results");
        expect(&mut twice);
        assert_eq!(self.sends(SERVER), "201 2 000");
        assert_eq!(self.server.seen().len(), 3);
        let after = (
            count("upstream_opened_total"),
            count("upstream_reused_total"),
        );
        assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1));

        // Where it may not lead: a server on no list, the router itself.
        for address in [OTHER, ROUTER] {
            let output = self
                .post(address, "service.example", &self.ours)
                .output()
                .unwrap();
            let said = text(&output);
            assert!(said.contains("destination-refused"), "{address}: {said}");
            assert!(said.contains("403 2"), "{said}");
        }
        let mut itself = self.client.run("curl");
        let plain = post("https://service.example:8443/v1/results", &self.ours);
        itself
            .args(plain.get_args())
            .args(["--resolve", "service.example:8443:10.9.1.1"]);
        let said = text(&itself.args(["--noproxy", "*"]).output().unwrap());
        assert!(said.contains("destination-refused"), "{said}");
        // A name that nobody here has.
        let said = text(
            &self
                .post(SERVER, "other.example", &self.ours)
                .output()
                .unwrap(),
        );
        assert!(said.contains("unrecognized name"), "{said}");
        assert!(self.server.seen().is_empty() && self.other.seen().is_empty());

        // Rules that send the gateway to itself end in a refusal, not in a circle.
        nft(&format!(
            "table ip circle {{\n chain out {{\n  type nat hook output priority -100;\n  ip daddr {SERVER} tcp dport 443 redirect to :8443\n }}\n}}\n"
        ));
        let said = self.sends(SERVER);
        assert!(
            said.starts_with("403 ") || said.starts_with("502 "),
            "{said}"
        );
        assert!(self.server.seen().is_empty());
        expect(Command::new("nft").args(["delete", "table", "ip", "circle"]));
        assert_eq!(self.sends(SERVER), "201 2 000");
        is_pseudonymised(&self.server.saw_one());

        // And when it is gone, nothing passes.
        self.whole.kill_gateway();
        self.nothing_passes();
    }
}
