//! CSV and TSV from the socket to the backend: what passes, what is refused and where, what a
//! configuration may say of rows; fuzz bodies over `tests/corpus`; a real ClickHouse.

use cryptonym::format::fuzz;

#[path = "rows/clickhouse.rs"]
mod clickhouse;
#[path = "rows/configuration.rs"]
mod configuration;
#[path = "rows/gateway.rs"]
mod gateway;
mod support {
    #![allow(
        dead_code,
        clippy::unwrap_used,
        reason = "shared with other test programs"
    )]

    pub mod authority;
    pub mod backend;
    pub mod certificates;
    pub mod clickhouse;
    pub mod corpus;
    pub mod gateway;
    pub mod installation;
    pub mod leak;
    pub mod peers;
    pub mod raw;
    pub mod seen;
}
use support::corpus::replay;

/// Seeds that would be silly as files.
fn made() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for byte in 0..=255u8 {
        all.push(vec![byte]);
        all.push([b"a,b\n1,", &[byte][..], b"x\n"].concat());
        all.push([b"a;b\n\"1\"", &[byte][..], b"\n"].concat());
        all.push([b"a\tb\n\\", &[byte][..], b"\t1\n"].concat());
    }
    for length in [0, 1, 22, 23, 24, 25, 62, 63, 64, 65, 87, 88, 89, 90, 91] {
        let long = "x".repeat(length);
        for body in [
            format!("a,b\n{long},2\n"),
            format!("b,a\n1,{long}"),
            format!("e\tb\ta\n1\t2\t{long}\\\\\n"),
            format!("\"{}\",a\n1,2\r\n", "\"\"".repeat(length)),
            format!("a,c d\r\n{}1\r\n", ",".repeat(length)),
        ] {
            all.push(body.into_bytes());
        }
    }
    all
}

#[test]
fn formats_13_corpus_csv() {
    replay("csv", fuzz::csv, 10);
    made().iter().for_each(|body| fuzz::csv(body));
}

#[test]
fn formats_13_corpus_tsv() {
    replay("tsv", fuzz::tsv, 6);
    made().iter().for_each(|body| fuzz::tsv(body));
}
