//! Configurations that make no sense are refused, each with its place.

use cryptonym::config::{Config, Others, Transparent};

use super::*;

const GATEWAY: &str = r#"
[gateway]
listen = ["127.0.0.1:8443"]
tls = { certificate = "a.pem", key = "a.key" }
vault = { address = "https://127.0.0.1:8200", certificate = "b.pem", key = "b.key", ca = "c.pem" }
"#;

const EGRESS: &str = r#"
[gateway.egress]
listen = ["127.0.0.1:3128"]
ca = { certificate = "e.pem", key = "e.key" }
clients = ["10.1.0.0/16"]
hosts = ["portal.example"]
"#;

const ROUTE: &str = r#"
[[route]]
name = "out"
host = "portal.example"
path = "/"
methods = ["GET"]
backend = "there"
"#;

const URLS: &str = "[backend.there]\nurls = [\"https://portal.example\"]\nregion = \"GB\"\n";

const ORIGINAL: &str = r#"
[backend.there]
address = "original"
networks = ["10.9.2.0/24"]
region = "GB"
"#;

fn parse(text: &str) -> Result<Config, String> {
    match Config::parse(text, Path::new("/nonexistent"), "test.toml") {
        Ok(loaded) => Ok(loaded.config),
        Err(found) => Err(found.iter().map(|d| format!("{}:{d}\n", d.line)).collect()),
    }
}

#[test]
fn proxy_09_configurations_without_sense_are_refused() {
    let how = |text: &str| GATEWAY.replace("[gateway]\n", &format!("[gateway]\n{text}\n"));
    let redirected = how("transparent = \"redirect\"");
    let good = parse(&format!("{redirected}{ORIGINAL}{ROUTE}")).unwrap();
    assert_eq!(
        good.gateway.unwrap().transparent,
        Some(Transparent::Redirect)
    );
    let original = good.backends[0].original.clone().unwrap();
    assert!(original.https && !original.keep_source && original.ports == [443]);
    let good = parse(&format!("{GATEWAY}{EGRESS}{URLS}{ROUTE}")).unwrap();
    let egress = good.gateway.unwrap().egress.unwrap();
    assert_eq!(
        (egress.others, egress.tunnel_ports),
        (Others::Refuse, vec![443])
    );

    let original = |text: &str| ORIGINAL.replace("region", &format!("{text}\nregion"));
    let outward = |text: &str| format!("{EGRESS}{text}\n");
    let aimed = |backend: String| format!("{redirected}{backend}{ROUTE}");
    let leaving = |egress: String| format!("{GATEWAY}{egress}{URLS}{ROUTE}");
    for (text, why) in [
        // Nobody says where clients meant to go.
        (
            format!("{GATEWAY}{ORIGINAL}{ROUTE}"),
            "nothing says where that is",
        ),
        (
            format!("{redirected}{EGRESS}{ORIGINAL}{ROUTE}"),
            "nothing says where that is",
        ),
        (
            format!(
                "{}{ORIGINAL}{ROUTE}",
                how("transparent = \"tproxy\"\nproxy_protocol = { trusted = [\"10.0.0.1\"] }")
            ),
            "the load balancer's own",
        ),
        (
            format!("{}{ORIGINAL}{ROUTE}", how("transparent = \"yes\"")),
            "`yes` is no way to redirect",
        ),
        // Open relays.
        (
            aimed(ORIGINAL.replace("networks = [\"10.9.2.0/24\"]\n", "")),
            "open relay",
        ),
        (
            aimed(ORIGINAL.replace("10.9.2.0/24", "0.0.0.0/0")),
            "open relay",
        ),
        (aimed(ORIGINAL.replace("10.9.2.0/24", "::/0")), "open relay"),
        (
            aimed(ORIGINAL.replace("10.9.2.0/24", "10.9.2.1/24")),
            "beyond its /24",
        ),
        (
            leaving(EGRESS.replace("10.1.0.0/16", "0.0.0.0/0")),
            "open to the world",
        ),
        (
            leaving(EGRESS.replace("clients = [\"10.1.0.0/16\"]\n", "")),
            "nobody may use",
        ),
        (
            leaving(outward("private = [\"0.0.0.0/0\"]")),
            "anywhere inside",
        ),
        // What has no use.
        (
            aimed(original("urls = [\"https://10.9.2.2\"]")),
            "`urls` has no use",
        ),
        (
            aimed(original("health = { path = \"/\" }")),
            "`health` has no use",
        ),
        (
            aimed(original("circuit = { failures = 3 }")),
            "`circuit` has no use",
        ),
        (
            aimed(original("scheme = \"http\"\nca = \"x.pem\"")),
            "`ca` has no use",
        ),
        (
            format!("{GATEWAY}{}source = \"client\"\n{ROUTE}", URLS),
            "`source` has no use",
        ),
        (
            format!("{GATEWAY}{}networks = [\"10.0.0.0/8\"]\n{ROUTE}", URLS),
            "`networks` has no use",
        ),
        (
            leaving(outward("tunnel_ports = [443]")),
            "`tunnel_ports` has no use",
        ),
        // Hosts.
        (
            leaving(EGRESS.replace("hosts = [\"portal.example\"]\n", "")),
            "no host is named",
        ),
        (
            leaving(EGRESS.replace("portal.example", "*.example")),
            "no host to send to",
        ),
        (
            leaving(EGRESS.replace(
                "[\"portal.example\"]",
                "[\"portal.example\", \"b.example\"]",
            )),
            "no route says what becomes of messages to `b.example`",
        ),
        (
            leaving(outward("tunnel_hosts = [\"portal.example\"]")),
            "stands in `hosts` too",
        ),
        (
            leaving(EGRESS.replace("3128", "8443")),
            "another address of the gateway",
        ),
        (
            leaving(EGRESS.replace("ca = {", "ca_ = {")),
            "unknown key `ca_`",
        ),
        (
            format!(
                "{}{EGRESS}{URLS}{ROUTE}client_certificate = true\n",
                GATEWAY.replace("key = \"a.key\"", "key = \"a.key\", client_ca = \"d.pem\"")
            ),
            "show no certificate",
        ),
    ] {
        let errors = parse(&text)
            .err()
            .unwrap_or_else(|| panic!("taken: {text}"));
        assert!(errors.contains(why), "{why}: {errors}");
        assert!(!errors.starts_with("0:"), "without a place: {errors}");
    }
}

#[test]
fn proxy_09_what_the_page_shows_is_understood() {
    // Each block stands for itself: what it takes for granted is put around it.
    let [name, network] = &blocks("toml", "[backend.")[..2] else {
        panic!("the page shows configurations");
    };
    let rest = "[domain.improvement]\nmode = \"keyed\"\npurpose = \"develop-and-improve\"\n[policy.blood-results]\nrules = [{ at = \"$.id\", category = \"identity\", action = \"pseudonym\", kind = \"subscriber\" }]\n";
    parse(&format!("{GATEWAY}{name}\n{rest}")).unwrap();
    let whole = GATEWAY.replace("[gateway]\nlisten = [\"127.0.0.1:8443\"]\n", "");
    let network = network.replace("# tls, vault, … as always\n", &whole);
    let route = ROUTE.replace("there", "servers");
    let config = parse(&format!("{network}\n{route}")).unwrap();
    assert!(config.backends[0].original.as_ref().unwrap().keep_source);
    let [egress] = &blocks("toml", "[gateway.egress]")[..] else {
        panic!("the page shows the egress proxy");
    };
    parse(&format!("{GATEWAY}{egress}\n{rest}")).unwrap();
    // The drop-in is the page's.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = fs::read_to_string(here.join("packaging/systemd/transparent.conf")).unwrap();
    let said = file.lines().filter(|line| !line.starts_with('#'));
    let said: Vec<&str> = said.collect();
    let [shown] = &blocks("ini", "CAP_NET_RAW")[..] else {
        panic!("the page shows the drop-in");
    };
    assert_eq!(said, shown.lines().collect::<Vec<_>>());
}
