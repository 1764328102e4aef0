//! What a route may say of its rows, and which selectors mean nothing in them.

use std::path::Path;

use cryptonym::config::{Config, Diagnostic, Format, Loaded};
use cryptonym::format::csv::Dialect;

/// The route's own lines and the policy's first selector stand between.
fn configuration(route: &str, at: &str) -> String {
    format!(
        r#"[gateway]
listen = ["127.0.0.1:8443"]
tls = {{ certificate = "g.pem", key = "g.key" }}
vault = {{ address = "https://127.0.0.1:8200", certificate = "l.pem", key = "l.key", ca = "v.pem" }}
[backend.lake]
urls = ["http://127.0.0.1:8123"]
region = "GB"
[[route]]
name = "in"
path = "/v1"
backend = "lake"
{route}
request = "p"
[policy.p]
rules = [{{ at = "{at}", category = "test", action = "keep" }}]
"#
    )
}

fn parse(route: &str, at: &str) -> Result<Loaded, Vec<Diagnostic>> {
    Config::parse(&configuration(route, at), Path::new("/etc"), "c.toml")
}

#[test]
fn formats_01_a_route_says_how_its_rows_are_written() {
    let format = |route: &str, at: &str| {
        let loaded = parse(route, at).unwrap_or_else(|f| panic!("{f:?}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let route = &loaded.config.routes[0];
        (route.format, route.rows)
    };
    let dialect = |delimiter, header| Dialect { delimiter, header };
    let csv = |delimiter, header| Some(Format::Csv(dialect(delimiter, header)));
    assert_eq!(format("format = \"csv\"", "$.a").0, csv(b',', true));
    for (text, byte) in [(";", b';'), ("\\t", b'\t'), ("|", b'|'), (",", b',')] {
        let route = format!("format = \"csv\"\ncsv = {{ delimiter = \"{text}\", header = false }}");
        assert_eq!(format(&route, "$[3]").0, csv(byte, false));
    }
    let tsv = |header| Some(Format::Tsv { header });
    assert_eq!(format("format = \"tsv\"", "$['a b']").0, tsv(true));
    let route = "format = \"tsv\"\ntsv = { header = false }";
    assert_eq!(format(route, "$[*]").0, tsv(false));
    // By the media type, all is as it may come.
    let (none, rows) = format("csv = { delimiter = \";\" }", "$.a.b");
    assert_eq!(
        (none, rows.csv, rows.tsv_header),
        (None, dialect(b';', true), true)
    );
}

#[test]
fn formats_01_faults_about_rows_have_their_place_and_hint() {
    for (route, at, line, column, message, hint) in [
        ("format = \"cvs\"", "$.a", 12, 10, "format", "csv"),
        (
            "format = \"csv\"\ncsv = { delimiter = \":\" }",
            "$.a",
            13,
            21,
            "delimiter",
            ";",
        ),
        (
            "format = \"csv\"\ncsv = { head = true }",
            "$.a",
            13,
            9,
            "head",
            "header",
        ),
        (
            "format = \"csv\"\ncsv = { header = \"no\" }",
            "$.a",
            13,
            18,
            "",
            "",
        ),
        (
            "format = \"json\"\ncsv = { header = true }",
            "$.a",
            13,
            7,
            "no use",
            "format = \"csv\"",
        ),
        (
            "format = \"csv\"\ntsv = { header = true }",
            "$.a",
            13,
            7,
            "no use",
            "format = \"tsv\"",
        ),
        (
            "format = \"csv\"",
            "$..a",
            13,
            11,
            "nothing below them",
            "line 15",
        ),
        ("format = \"csv\"", "$.a.b", 13, 11, "`$.a.b`", "$.name"),
        (
            "format = \"tsv\"",
            "$.a[*]",
            13,
            11,
            "nothing below them",
            "a policy of its own",
        ),
        (
            "format = \"csv\"",
            "$[0]",
            13,
            11,
            "by their names",
            "csv = { header = false }",
        ),
        (
            "format = \"tsv\"",
            "$[0]",
            13,
            11,
            "by their names",
            "tsv = { header = false }",
        ),
        (
            "format = \"csv\"\ncsv = { header = false }",
            "$.a",
            14,
            11,
            "no names",
            "$[0]",
        ),
        (
            "format = \"json\"",
            "$[0]",
            13,
            11,
            "numbered columns",
            "format = \"csv\"",
        ),
        ("", "$[0]", 13, 11, "numbered columns", "format = \"csv\""),
        ("", "$[16384]", 15, 20, "so many columns", ""),
        ("", "$[0].a", 15, 20, "indexes", "$[0] alone"),
        (
            "format = \"csv\"\nwebsocket = \"policy\"",
            "$.a",
            13,
            13,
            "one JSON document",
            "json",
        ),
    ] {
        let found = match parse(route, at) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let fits = |d: &Diagnostic| {
            (d.line, d.column) == (line, column)
                && d.message.contains(message)
                && d.hint.as_deref().unwrap_or_default().contains(hint)
        };
        assert!(found.iter().any(fits), "{route} {at}: {found:?}");
    }
}
