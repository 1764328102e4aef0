//! Configuration: every fault is told, with its file, line, column and a hint.

use std::path::Path;
use std::process::Command;

use cryptonym::config::{
    ClientCertificate, Config, Diagnostic, ListenWhen, RequestBody, ResponseBody, ServerTls,
    Severity, fuzz_config, signing_key,
};
use cryptonym::policy::{Action, Unlisted};
use cryptonym::tls::issue::{Options, init};
use cryptonym::tls::{Peer, Role, Versions, client_config, files, server_config};

/// A configuration without a fault; cases change one piece of it.
const GOOD: &str = r#"[gateway]
listen = ["127.0.0.1:8443"]
observe = "127.0.0.1:9464"
tls = { certificate = "g.pem", key = "g.key", client_ca = "ca.pem" }
vault = { address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }
[vault]
listen = "127.0.0.1:8200"
tls = { certificate = "v.pem", key = "v.key", client_ca = "ca.pem" }
store = "sqlite:vault.sqlite"
root_key = "root.key"
registry = "registry.toml"
[domain.study]
mode = "keyed"
purpose = "research"
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[kind.ethnicity]
class = "vocabulary"
prefix = "eth"
[limits]
hold = "64KiB"
[[route]]
name = "in"
host = "in.example"
path = "/v1/{site}"
methods = ["POST"]
backend = "lake"
domain = "study"
request = "p"
response = "restore-own"
client_certificate = true
captures = ["site"]
[policy.p]
unlisted = "reject"
rules = [
  { at = "$.id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.born", category = "identity", action = "generalise", to = "year" },
  { at = "$.wbc", category = "test", special = "health", action = "keep" },
]
"#;

fn parse(text: &str) -> Result<cryptonym::config::Loaded, Vec<Diagnostic>> {
    Config::parse(text, Path::new("/etc/cryptonym"), "c.toml")
}

fn faults(text: &str) -> Vec<Diagnostic> {
    match parse(text) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// (what is replaced, by what, line, column, part of the message, part of the hint)
type Case = (
    &'static str,
    &'static str,
    usize,
    usize,
    &'static str,
    &'static str,
);

const CASES: &[Case] = &[
    // --- when to listen, what to resume
    (
        "observe =",
        "listen_when = \"redy\"\nobserve =",
        3,
        15,
        "moment to listen",
        "ready",
    ),
    // --- names, revocation, load balancers
    (
        "client_ca = \"ca.pem\" }",
        "client_ca = \"ca.pem\", client_certificate = \"none\", client_crl = \"crl.pem\" }",
        4,
        111,
        "`client_crl` has no use",
        "remove it",
    ),
    (
        "observe =",
        "certificate = [{ names = [\"*.a.example\", \"B.example\"], certificate = \"b.pem\", key = \"b.key\" }]\nobserve =",
        3,
        42,
        "no name that a client can ask for",
        "in lower case",
    ),
    (
        "observe =",
        "certificate = [{ names = [\"127.0.0.1\"], certificate = \"b.pem\", key = \"b.key\" }]\nobserve =",
        3,
        27,
        "no name that a client can ask for",
        "an address name no host",
    ),
    (
        "observe =",
        "certificate = [{ certificate = \"b.pem\" }]\nobserve =",
        3,
        16,
        "has no `key`",
        "portal.key",
    ),
    (
        "observe =",
        "proxy_protocol = { trusted = [] }\nobserve =",
        3,
        30,
        "nobody is trusted",
        "load balancers",
    ),
    (
        "observe =",
        "proxy_protocol = { trusted = [\"10.0.0.1/8\"] }\nobserve =",
        3,
        31,
        "no block of addresses",
        "write \"10.0.0.0/8\"",
    ),
    (
        "observe =",
        "proxy_protocol = { trusted = [\"10.0.0.0/33\"] }\nobserve =",
        3,
        31,
        "no block of addresses",
        "0 to 32",
    ),
    (
        "observe =",
        "proxy_protocol = { trusted = [\"balancer\"] }\nobserve =",
        3,
        31,
        "no block of addresses",
        "10.0.0.0/8",
    ),
    // --- shape
    (
        "[gateway]",
        "[gatway]",
        1,
        2,
        "unknown key `gatway`",
        "did you mean `gateway`?",
    ),
    (
        "observe =",
        "obsreve =",
        3,
        1,
        "unknown key `obsreve` in [gateway]",
        "did you mean `observe`?",
    ),
    (
        "region = \"GB\"",
        "zzzzzzzzzz = 1",
        17,
        1,
        "unknown key `zzzzzzzzzz` in [backend.lake]",
        "known here: address, attempt_time, ca, certificate, circuit, dns_time",
    ),
    (
        "mode = \"keyed\"",
        "mode = \"keyed\"\nmode = \"keyed\"",
        14,
        1,
        "duplicate key",
        "remove one",
    ),
    (
        "methods = [\"POST\"]",
        "methods = \"POST\"",
        27,
        11,
        "this is a string",
        "a list of strings",
    ),
    (
        "client_certificate = true",
        "client_certificate = \"yes\"",
        32,
        22,
        "this is a string",
        "true or false",
    ),
    (
        "name = \"in\"\n",
        "",
        23,
        1,
        "[[route]] has no `name`",
        "name = ",
    ),
    (
        "unlisted = \"reject\"",
        "unlisted = \"rejct\"",
        35,
        12,
        "`rejct` is no answer to unlisted places",
        "did you mean `reject`?",
    ),
    // --- names that stand for nothing
    (
        "backend = \"lake\"",
        "backend = \"lak\"",
        28,
        11,
        "there is no backend `lak`",
        "did you mean `lake`?",
    ),
    (
        "domain = \"study\"",
        "domain = \"studi\"",
        29,
        10,
        "there is no domain `studi`",
        "did you mean `study`?",
    ),
    (
        "request = \"p\"",
        "request = \"blood\"",
        30,
        11,
        "there is no policy `blood`",
        "there are: p",
    ),
    (
        "kind = \"subscriber\"",
        "kind = \"subscribr\"",
        37,
        70,
        "there is no kind `subscribr`",
        "did you mean `subscriber`?",
    ),
    (
        "category = \"test\"",
        "category = \"tset\"",
        39,
        30,
        "`tset` is no category",
        "did you mean `test`?",
    ),
    (
        "special = \"health\"",
        "special = \"helth\"",
        39,
        48,
        "`helth` is no special category",
        "did you mean `health`?",
    ),
    (
        "action = \"keep\"",
        "action = \"keeep\"",
        39,
        67,
        "`keeep` is no action",
        "did you mean `keep`?",
    ),
    (
        "purpose = \"research\"",
        "purpose = \"reserch\"",
        14,
        11,
        "`reserch` is no purpose",
        "did you mean `research`?",
    ),
    (
        "prefix = \"eth\"",
        "prefix = \"eth\"\nnormaliser = \"txt\"",
        21,
        14,
        "`txt` is no normaliser",
        "did you mean `text`?",
    ),
    (
        "to = \"year\"",
        "to = \"yaer\"",
        38,
        71,
        "`yaer` is no way to generalise",
        "did you mean `year`?",
    ),
    (
        "mode = \"keyed\"",
        "mode = \"assigned\"",
        13,
        8,
        "mode `assigned` is not in this version",
        "keyed",
    ),
    // --- values
    (
        "hold = \"64KiB\"",
        "hold = \"64KB\"",
        22,
        8,
        "`hold` cannot be read",
        "KiB",
    ),
    (
        "hold = \"64KiB\"",
        "hold = 0",
        22,
        8,
        "`hold` is zero",
        "at least 1",
    ),
    (
        "hold = \"64KiB\"",
        "hold = \"1GiB\"",
        22,
        8,
        "larger than `hold_budget`",
        "raise hold_budget",
    ),
    (
        "hold = \"64KiB\"",
        "head_time = \"0s\"",
        22,
        13,
        "`head_time` is zero",
        "write a long one",
    ),
    (
        "hold = \"64KiB\"",
        "idle_time = \"5 fortnights\"",
        22,
        13,
        "`idle_time` cannot be read",
        "\"5s\"",
    ),
    (
        "hold = \"64KiB\"",
        "depth = 100000",
        22,
        9,
        "`depth` is out of range",
        "1 to 512",
    ),
    (
        "\"127.0.0.1:8443\"",
        "\"localhost:8443\"",
        2,
        11,
        "this is no address to listen on",
        "names are not resolved",
    ),
    (
        "observe = \"127.0.0.1:9464\"",
        "observe = \"127.0.0.1:8443\"",
        3,
        11,
        "public address",
        "port of its own",
    ),
    (
        "http://127.0.0.1:8123",
        "http://127.0.0.1:8123/db",
        16,
        31,
        "no address of a server",
        "the path is the request's own",
    ),
    (
        "urls = [\"http://127.0.0.1:8123\"]",
        "urls = []",
        16,
        8,
        "has no address",
        "urls = ",
    ),
    (
        "https://127.0.0.1:8200",
        "http://127.0.0.1:8200",
        5,
        21,
        "the vault is reached over TLS only",
        "https://",
    ),
    (
        "region = \"GB\"",
        "region = \"uk\"",
        17,
        10,
        "this is no region",
        "ISO 3166",
    ),
    (
        "region = \"GB\"",
        "certificate = \"c\"",
        15,
        1,
        "a certificate without a key",
        "both, or neither",
    ),
    (
        "sqlite:vault.sqlite",
        "postgres://x",
        9,
        9,
        "this is no store",
        "not in this version",
    ),
    (
        ", client_ca = \"ca.pem\" }\nstore",
        " }\nstore",
        8,
        7,
        "the vault has no `client_ca`",
        "vault-ca.pem",
    ),
    (
        "prefix = \"eth\"",
        "prefix = \"sub\"",
        20,
        10,
        "prefix `sub` is that of kind `subscriber`",
        "of its own",
    ),
    (
        "prefix = \"eth\"",
        "prefix = \"e1\"",
        20,
        10,
        "this is no prefix",
        "2 to 8 letters",
    ),
    (
        "[domain.study]",
        "[domain.Study]",
        12,
        9,
        "`Study` is no name for a domain",
        "a-z",
    ),
    // --- routes
    (
        "methods = [\"POST\"]",
        "methods = [\"GET\", \"post\"]",
        27,
        19,
        "`post` is no method",
        "write \"POST\"",
    ),
    (
        "methods = [\"POST\"]",
        "methods = [\"CONNECT\"]",
        27,
        12,
        "`CONNECT` is no method",
        "never passes",
    ),
    (
        "host = \"in.example\"",
        "host = \"In.example\"",
        25,
        8,
        "this is no host",
        "lower case",
    ),
    (
        "host = \"in.example\"",
        "host = \"*.example\"",
        25,
        8,
        "this is no host",
        "hosts are exact",
    ),
    (
        "path = \"/v1/{site}\"",
        "path = \"v1/{site}\"",
        26,
        9,
        "a path starts with /",
        "/v1/results",
    ),
    (
        "path = \"/v1/{site}\"",
        "path = \"/v1/../{site}\"",
        26,
        13,
        "would never match",
        "before routing",
    ),
    (
        "path = \"/v1/{site}\"",
        "path = \"/v1/{site\"",
        26,
        13,
        "this capture has no end",
        "{name}",
    ),
    (
        "path = \"/v1/{site}\"",
        "path = \"/{*site}/x\"",
        26,
        8,
        "end of a path",
        "{*rest}",
    ),
    (
        "captures = [\"site\"]",
        "captures = [\"site\", \"sit\"]",
        33,
        21,
        "the path captures no `sit`",
        "did you mean `site`?",
    ),
    (
        "captures = [\"site\"]",
        "",
        26,
        8,
        "capture `site` is not named",
        "captures = [\"site\"]",
    ),
    (
        "request = \"p\"",
        "request = \"p\"\nopaque = true",
        31,
        10,
        "unseen at once",
        "remove opaque",
    ),
    (
        "client_certificate = true",
        "",
        31,
        12,
        "restore-own needs to know the client",
        "client_certificate = true",
    ),
    (
        ", client_ca = \"ca.pem\" }\nvault",
        " }\nvault",
        32,
        22,
        "the gateway has no `client_ca`",
        "gateway.tls",
    ),
    (
        "domain = \"study\"\n",
        "",
        29,
        11,
        "no `domain` to make them in",
        "line 36",
    ),
    (
        "request = \"p\"\n",
        "",
        30,
        12,
        "there is none",
        "response = \"pass\"",
    ),
    (
        "domain = \"study\"",
        "domain = \"study\"\npurpose = \"analytics\"",
        30,
        11,
        "serves another purpose: research",
        "leave `purpose` out",
    ),
    (
        "captures = [\"site\"]",
        "captures = [\"site\"]\ncookies = [\"a b\"]",
        34,
        12,
        "this is no cookie name",
        "RFC 6265",
    ),
    (
        "captures = [\"site\"]",
        "captures = [\"site\"]\nrequest_headers = [\"Referer\"]",
        34,
        20,
        "cannot be passed on",
        "itself",
    ),
    (
        "captures = [\"site\"]",
        "captures = [\"site\"]\nresponse_headers = [\"Set-Cookie\"]",
        34,
        21,
        "a list of their own",
        "cookies =",
    ),
    (
        "captures = [\"site\"]",
        "captures = [\"site\"]\nquery = [{ name = \"q\", values = [] }]",
        34,
        33,
        "no value could ever pass",
        "leave `values` out",
    ),
    // --- rules
    ("\"$.wbc\"", "\"$.wbc[0]\"", 39, 17, "indexes", "[*]"),
    ("\"$.wbc\"", "\"wbc\"", 39, 11, "starts with $", "$.name"),
    (
        "\"$.wbc\"",
        "\"$.id\"",
        39,
        10,
        "this rule can never match",
        "line 37",
    ),
    (
        "special = \"health\"",
        "special = \"religion\"",
        39,
        69,
        "`religion` is not collected",
        "reject",
    ),
    (
        "category = \"test\", special",
        "category = \"profile\", special",
        39,
        3,
        "`profile` may not flow in clear for purpose `research`",
        "test may",
    ),
    (
        "category = \"identity\", action = \"generalise\"",
        "action = \"generalise\"",
        38,
        3,
        "a rule has no `category`",
        "category =",
    ),
    (
        "to = \"year\"",
        "to = \"year\", width = 5",
        38,
        87,
        "`width` says nothing about `year`",
        "remove",
    ),
    (
        "action = \"keep\"",
        "action = \"keep\", kind = \"kit\"",
        39,
        82,
        "`kind` belongs to action `pseudonym`",
        "remove it",
    ),
    (
        "kind = \"subscriber\", subject",
        "kind = \"kit\", subject",
        37,
        87,
        "cannot name the subject",
        "class person",
    ),
    (
        "kind = \"subscriber\", subject = true",
        "kind = \"ethnicity\"",
        37,
        50,
        "undone by counting",
        "accept = \"frequency\"",
    ),
    (
        "subject = true",
        "scope = \"person\"",
        37,
        92,
        "`person` is no scope",
        "",
    ),
    (
        "subject = true",
        "accept = \"frequency\"",
        37,
        93,
        "no such risk",
        "remove it",
    ),
    (
        "action = \"generalise\", to = \"year\"",
        "action = \"digits\"",
        38,
        52,
        "`digits` is not in this version",
        "docs/policies.md",
    ),
    (
        "region = \"GB\"",
        "region = \"US\"",
        38,
        3,
        "may not go to region US",
        "only as pseudonyms",
    ),
];

#[test]
fn path_04_the_good_one_is_good() {
    let loaded = parse(GOOD).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    let gateway = config.gateway.unwrap();
    assert_eq!(gateway.tls.certificate, Path::new("/etc/cryptonym/g.pem"));
    assert!(!gateway.tls.resumption && gateway.access_log);
    assert_eq!(gateway.listen_when, ListenWhen::AtOnce);
    assert_eq!(config.limits.hold, 65_536);
    let route = &config.routes[0];
    let RequestBody::Policy(at) = route.request else {
        panic!("{route:?}")
    };
    assert_eq!(config.policies[at].rules.len(), 3);
    let ResponseBody::RestoreOwn(at) = route.response else {
        panic!("{route:?}")
    };
    let restore = &config.policies[at];
    assert_eq!(restore.unlisted, Unlisted::Keep);
    assert!(matches!(&*restore.rules, [one] if matches!(one.action, Action::Restore { .. })));
    assert_eq!(route.purpose, Some(config.domains[0].purpose));
}

#[test]
fn path_04_each_fault_has_its_place_and_hint() {
    let mut wrong = String::new();
    for (from, to, line, column, message, hint) in CASES {
        assert!(GOOD.contains(from), "the case replaces nothing: {from}");
        let text = GOOD.replacen(from, to, 1);
        let found = faults(&text);
        let fits = |d: &&Diagnostic| {
            (d.line, d.column) == (*line, *column)
                && d.severity == Severity::Error
                && d.message.contains(message)
                && d.hint.as_deref().is_some_and(|h| h.contains(hint))
        };
        if parse(&text).is_ok() || !found.iter().any(|d| fits(&d)) {
            let told: String = found.iter().map(|d| format!("    {d}\n")).collect();
            wrong += &format!("{to:?}: wanted {line}:{column} {message} ({hint}), told\n{told}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn path_04_warnings_do_not_stop() {
    for (from, to, line, column, message) in [
        (
            "http://127.0.0.1:8123",
            "http://10.0.0.1:8123",
            16,
            9,
            "can be read on the way",
        ),
        (
            "unlisted = \"reject\"",
            "record = \"unbounded\"",
            30,
            11,
            "this route holds every body",
        ),
        (
            "observe = \"127.0.0.1:9464\"",
            "observe = \"0.0.0.0:9464\"",
            3,
            11,
            "from other machines",
        ),
        (
            "unlisted = \"reject\"",
            "restore = [{ at = \"$..kit\", kind = \"kit\" }]",
            35,
            19,
            "nothing will ever come back here",
        ),
    ] {
        let loaded = parse(&GOOD.replacen(from, to, 1)).unwrap();
        let one = &loaded.warnings[0];
        assert_eq!(
            (one.line, one.column, one.severity),
            (line, column, Severity::Warning),
            "{one}"
        );
        assert!(one.message.contains(message), "{one}");
        assert_eq!(loaded.warnings.len(), 1);
    }
}

#[test]
fn path_04_all_faults_are_told_in_one_run() {
    let text = GOOD
        .replace("observe =", "obsreve =")
        .replace("mode = \"keyed\"", "mode = \"kyed\"")
        .replace("hold = \"64KiB\"", "hold = true")
        .replace("backend = \"lake\"", "backend = \"sea\"")
        .replace("action = \"keep\"", "action = \"keeep\"");
    let at: Vec<_> = faults(&text).iter().map(|d| (d.line, d.column)).collect();
    assert_eq!(at, [(3, 1), (13, 8), (22, 8), (28, 11), (39, 67)]);
}

#[test]
fn path_04_all_syntax_errors_are_told() {
    let found = faults("a = \n[b\nc = \"x\nd = 1\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found.windows(2).all(|w| w[0].line <= w[1].line));
    assert_eq!(found[0].line, 1);
}

#[test]
fn path_04_conflicting_routes() {
    let second = |path: &str, method: &str| {
        format!(
            "{GOOD}\n[[route]]\nname = \"two\"\nhost = \"in.example\"\npath = \"{path}\"\nmethods = [\"{method}\"]\nbackend = \"lake\"\ncaptures = [\"site\"]\n"
        )
    };
    let same = &faults(&second("/v1/{site}", "POST"))[0];
    assert_eq!((same.line, same.column), (45, 8), "{same}");
    assert!(same.message.contains("for the same method"), "{same}");
    assert!(same.hint.as_deref().unwrap().contains("line 26"), "{same}");
    assert!(parse(&second("/v1/{site}", "GET")).is_ok());
    let other = faults(&second("/v1/{id}", "GET"));
    assert!(
        other
            .iter()
            .any(|d| d.message.contains("match the same requests")),
        "{other:?}"
    );
    let twice = faults(&second("/v2/{site}", "GET").replace("\"two\"", "\"in\""));
    assert!(
        twice[0].message.contains("route `in` stands twice"),
        "{twice:?}"
    );
}

/// Each flow that the data map does not allow is an error with its place and the clause.
#[test]
fn formats_06_a_flow_that_may_not_be_names_its_clause() {
    let usage = GOOD
        .replace("purpose = \"research\"", "purpose = \"analytics\"")
        .replace(
            "category = \"test\", special",
            "category = \"usage\", special",
        );
    let cases = [
        (
            GOOD.replace(
                "category = \"test\", special",
                "category = \"usage\", special",
            ),
            39,
            "Art. 5(1)(b)",
        ),
        (
            GOOD.replace("special = \"health\"", "special = \"religion\""),
            39,
            "Art. 5(1)(c), 9(1)",
        ),
        // The category may flow for this purpose, and what is special about it may not.
        (
            usage.clone(),
            39,
            "special category `health` has no condition for purpose `analytics`",
        ),
        (usage.clone(), 39, "Art. 9(2)"),
        (
            GOOD.replace("region = \"GB\"", "region = \"US\""),
            38,
            "Art. 44",
        ),
        (
            GOOD.replace(
                "kind = \"subscriber\", subject = true",
                "kind = \"ethnicity\"",
            ),
            37,
            "recital 26",
        ),
    ];
    for (text, line, clause) in cases {
        let found = faults(&text);
        let fits = |d: &Diagnostic| d.line == line && d.message.contains(clause) && d.column > 0;
        assert!(found.iter().any(fits), "{clause}: {found:?}");
    }
    assert!(parse(&usage.replace(", special = \"health\"", "")).is_ok());
}

/// What an officer files: one record a route, with nothing in it that the configuration does not say.
#[test]
fn formats_06_check_explain_prints_a_record_of_processing() {
    let dir = tempfile::tempdir().unwrap();
    let abroad = "[backend.far]\nurls = [\"https://far.example\"]\nregion = \"US\"\n[limits]";
    let more = "\n[[route]]\nname = \"pages\"\npath = \"/pages\"\nmethods = [\"GET\"]\nbackend = \"far\"\n";
    let text = GOOD.replace("[limits]", abroad) + more;
    std::fs::write(dir.path().join("config.toml"), text).unwrap();
    let (code, told, errors) = cryptonym(dir.path(), &["check", "--explain", "--no-files"]);
    assert_eq!(code, 0, "{errors}");
    for line in [
        "## in",
        "| Purpose (b) | research |",
        "| Lawful basis | public interest, Art. 6(1)(e), or consent, Art. 6(1)(a) |",
        "| Special categories: condition | explicit consent, Art. 9(2)(a) |",
        "| Data subjects (c) | those named by: subscriber |",
        "| Recipient (d) | lake (GB) |",
        "| Transfers (e) | none outside the United Kingdom, the EEA and adequate countries |",
        "| `$.id` | identity | – | pseudonym | sub_1_… (the subject) |",
        "| `$.wbc` | test | health | keep | the value as it is |",
        "| What no rule names | a message with anything else is refused |",
        "## pages",
        "| Recipient (d) | far (US) |",
        "| Transfers (e) | to US: of identifiable categories nothing but pseudonyms (Art. 44, 46) |",
    ] {
        assert!(told.lines().any(|l| l == line), "{line}\n{told}");
    }
    assert!(
        told.contains("in the vault") && told.contains("domain `study`"),
        "{told}"
    );
    // Whatever only the controller knows is said to be open, and nothing is made up.
    let open = told.matches("to be completed by the controller").count();
    assert!(open >= 5, "{open}: {told}");
    let (code, told, _) = cryptonym(dir.path(), &["check", "--explain", "--json", "--no-files"]);
    assert_eq!(code, 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["records"][0]["purpose"], "research");
    assert_eq!(told["records"][0]["data"][2]["special"], "health");
    assert_eq!(told["records"][1]["lawful_basis"], serde_json::Value::Null);
}

#[test]
fn path_04_opaque_abroad_is_refused() {
    let text = GOOD
        .replace("request = \"p\"", "opaque = true")
        .replace("response = \"restore-own\"", "response = \"pass\"")
        .replace("region = \"GB\"", "region = \"US\"");
    let found = faults(&text);
    assert!(
        found
            .iter()
            .any(|d| d.line == 30 && d.message.contains("unseen body")),
        "{found:?}"
    );
}

#[test]
fn path_04_included_files_are_named_in_their_faults() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    let (main, policy) = GOOD.split_at(GOOD.find("[policy.p]").unwrap());
    let main = format!("include = [\"policies/p.toml\"]\n{main}");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, &main).unwrap();
    std::fs::write(dir.path().join("policies/p.toml"), policy).unwrap();
    let loaded = Config::load(&path).unwrap();
    assert_eq!(loaded.config.policies.len(), 2);
    assert_eq!(
        loaded.config.gateway.unwrap().tls.key,
        dir.path().join("g.key")
    );

    std::fs::write(
        dir.path().join("policies/p.toml"),
        policy.replace("keep", "kep"),
    )
    .unwrap();
    let found = Config::load(&path).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.ends_with("policies/p.toml"));
    assert_eq!((found[0].line, found[0].column), (6, 67));

    // A broken include does not make its names unknown as well.
    std::fs::write(dir.path().join("policies/p.toml"), "[policy").unwrap();
    let found = Config::load(&path).unwrap_err();
    assert!(
        found.iter().all(|d| d.file.ends_with("p.toml")),
        "{found:?}"
    );

    std::fs::write(
        dir.path().join("policies/p.toml"),
        format!("{policy}[gateway]\n"),
    )
    .unwrap();
    let found = Config::load(&path).unwrap_err();
    assert!(
        found[0].message.contains("unknown key `gateway`"),
        "{found:?}"
    );

    for (name, why) in [
        ("../p.toml", "leaves"),
        ("/etc/passwd", "leaves"),
        ("none.toml", "no file"),
    ] {
        std::fs::write(&path, main.replace("policies/p.toml", name)).unwrap();
        let found = Config::load(&path).unwrap_err();
        assert_eq!((found[0].line, found[0].column), (1, 12));
        assert!(found[0].message.contains(why), "{found:?}");
    }
}

#[test]
fn path_04_rendering() {
    let found = faults(&GOOD.replace("kind = \"subscriber\"", "kind = \"subscribr\""));
    let expected = r#"error: there is no kind `subscribr`
  --> c.toml:37:70
   |
37 | ...action = "pseudonym", kind = "subscribr", subject = true },
   |                                 ^^^^^^^^^^^
   |
   = help: did you mean `subscriber`?"#;
    assert_eq!(found[0].rendered(false), expected);
    assert!(found[0].rendered(true).contains("\u{1b}["));
    let short = faults(&GOOD.replace("hold = \"64KiB\"", "hold = \"64KB\""));
    let expected = r#"error: `hold` cannot be read
  --> c.toml:22:8
   |
22 | hold = "64KB"
   |        ^^^^^^
   |
   = help: a size is a whole number with B, KiB, MiB, GiB, kB, MB or GB, as in "256KiB""#;
    assert_eq!(short[0].rendered(false), expected);
}

/// The corpus, and every prefix and every one-byte change of a good configuration.
#[test]
fn path_17_any_bytes_are_a_configuration_or_reasons() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/config");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        fuzz_config(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 10, "{files}");
    for end in (0..GOOD.len()).step_by(7) {
        fuzz_config(&GOOD.as_bytes()[..end]);
    }
    for (at, new) in (0..GOOD.len())
        .step_by(5)
        .zip(b"\"[]{}=\n\0\xff\\#.'9-".iter().cycle())
    {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = *new;
        fuzz_config(&bytes);
    }
}

fn cryptonym(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_cryptonym"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (
        out.status.code().unwrap(),
        text(out.stdout),
        text(out.stderr),
    )
}

#[test]
fn path_04_check_tells_what_the_example_means() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    std::fs::copy(example, dir.path().join("config.toml")).unwrap();

    // Without the files that it names: understood, but not usable.
    let (code, out, _) = cryptonym(dir.path(), &["check"]);
    assert_eq!(code, 1);
    assert!(out.contains("certs/out/gateway.pem: is not there"), "{out}");
    assert_eq!(cryptonym(dir.path(), &["check", "--no-files"]).0, 0);

    let (code, out, err) = cryptonym(dir.path(), &["certs", "init"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let (code, out, err) = cryptonym(dir.path(), &["check", "--color", "never"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    for line in [
        "  $.subscriber_id    identity             pseudonym   sub_1_… (the subject)",
        "  $.date_of_birth    identity             generalise  1984",
        "  $.ethnicity        identity, ethnicity  pseudonym   eth_1_…",
        "    POST https://ingest.example/v1/results",
        "    query    query: \"INSERT INTO results FORMAT JSONEachRow\"",
    ] {
        assert!(out.lines().any(|l| l == line), "{line}\nnot in\n{out}");
    }
    let widest = out.lines().map(|l| l.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}\n{out}");
    assert!(
        cryptonym(dir.path(), &["check", "--color", "always"])
            .1
            .contains("\u{1b}[")
    );

    let (code, out, _) = cryptonym(dir.path(), &["check", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["ok"]), (0, &serde_json::Value::Bool(true)));
    assert_eq!(value["routes"][0]["request"]["policy"], "blood-results");
    assert_eq!(
        value["policies"][0]["rules"][0]["backend_sees"],
        "sub_1_… (the subject)"
    );

    // A certificate that is not made for the name it is to have, and a host that none is made for.
    let text = std::fs::read_to_string(dir.path().join("config.toml")).unwrap();
    let pair = "certificate = \"certs/out/gateway.pem\"\nkey = \"certs/out/gateway.key\"\n";
    let more = format!("{text}\n[[gateway.certificate]]\nnames = [\"other.example\"]\n{pair}");
    std::fs::write(dir.path().join("config.toml"), more).unwrap();
    let (code, out, _) = cryptonym(dir.path(), &["check", "--color", "never"]);
    assert_eq!(code, 1);
    assert!(out.contains("is not made for `other.example`"), "{out}");
    let hosted = text.replacen("host = \"ingest.example\"", "host = \"other.example\"", 1);
    assert_ne!(hosted, text);
    std::fs::write(dir.path().join("config.toml"), hosted).unwrap();
    let (code, out, _) = cryptonym(dir.path(), &["check", "--color", "never"]);
    assert_eq!(code, 0);
    assert!(out.contains("made for `other.example`, which"), "{out}");
}

#[test]
fn path_04_check_shows_opaque_in_red_and_refuses_what_it_does_not_understand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let opaque = GOOD
        .replace("request = \"p\"", "opaque = true")
        .replace("response = \"restore-own\"", "response = \"pass\"");
    std::fs::write(&path, opaque).unwrap();
    let (code, out, _) = cryptonym(dir.path(), &["check", "--no-files", "--color", "always"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("\u{1b}[1;31mrequest  opaque: passes unseen\u{1b}[0m"),
        "{out}"
    );

    std::fs::write(
        &path,
        GOOD.replace("observe =", "obsreve =")
            .replace("\"keep\"", "\"kep\""),
    )
    .unwrap();
    let (code, out, err) = cryptonym(dir.path(), &["check"]);
    assert_eq!((code, &*out), (3, ""));
    assert!(
        err.contains("config.toml:3:1") && err.contains("config.toml:39:67"),
        "{err}"
    );
    assert!(
        err.ends_with("2 errors: this configuration would not start\n"),
        "{err}"
    );
    let (code, out, _) = cryptonym(dir.path(), &["check", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["ok"]), (3, &serde_json::Value::Bool(false)));
    assert_eq!(value["errors"][0]["line"], 3);
    assert_eq!(
        cryptonym(dir.path(), &["check", "--config", "nowhere.toml"]).0,
        3
    );
}

#[test]
fn path_04_check_sees_files_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    std::fs::copy(example, dir.path().join("config.toml")).unwrap();
    let made = init(&Options::new(dir.path().join("certs/out"))).unwrap();
    // The key of another certificate, and a person's certificate on the gateway's link.
    std::fs::copy(&made.vault.key, &made.gateway.key).unwrap();
    let person = &made.persons[1].pair;
    std::fs::copy(&person.certificate, &made.link.certificate).unwrap();
    std::fs::copy(&person.key, &made.link.key).unwrap();
    let (code, out, _) = cryptonym(dir.path(), &["check"]);
    assert_eq!(code, 1);
    let joined = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        joined.contains("gateway.key: does not belong to the first certificate"),
        "{out}"
    );
    assert!(
        joined.contains("its role is `investigator`, and the vault wants `gateway`"),
        "{out}"
    );
}

/// `certs/README.md` tells people to type these; so they are typed here (bash, openssl 3).
#[test]
fn path_02_the_openssl_commands_of_the_readme_work() {
    let dir = tempfile::tempdir().unwrap();
    let made = init(&Options::new(dir.path())).unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let script = readme
        .split("```sh\n")
        .nth(1)
        .and_then(|s| s.split("```").next())
        .unwrap();
    let script = script.replace(
        "cryptonym certs",
        &format!("{} certs", env!("CARGO_BIN_EXE_cryptonym")),
    );
    let out = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(dir.path())
        .output()
        .expect("bash and openssl are installed");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );

    let people = dir.path().join("people");
    let (certificate, key) = (people.join("m.sato.pem"), people.join("m.sato.key"));
    let der = files::certificates(&certificate).unwrap();
    let peer = Peer::from_certificate(&der[0]).unwrap();
    assert_eq!((peer.role, &*peer.id), (Role::Investigator, "m.sato"));
    client_config(Some(&made.vault_ca), Some((&certificate, &key)), true, &[]).unwrap();
    signing_key::load(&people.join("m.sato.signing.key")).unwrap();
    let gateway = ServerTls {
        certificate: made.gateway.certificate.clone(),
        key: made.gateway.key.clone(),
        client_ca: Some(made.gateway_ca.clone()),
        client_crl: None,
        client_certificate: ClientCertificate::Optional,
        resumption: false,
    };
    server_config(&gateway, Versions::Tls12And13, &[]).unwrap();
}
