//! The access log: one JSON line a request, on standard error with the rest of the log.
//!
//! What enters: what a request's story holds. What leaves: lines, written together a few times a
//! second (a system call a request would cost more than the request's routing). What can never
//! happen: a path, a query, an address or a value in a line; every text in it is a configured
//! name, a registered id or a constant.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::writer;
use crate::limits::ACCESS_LOG_BYTES;

/// One request.
pub struct Line<'a> {
    /// Worker's mark (48 bits) and number.
    pub request: (u64, u64),
    pub route: Option<&'a str>,
    pub method: &'static str,
    pub protocol: &'static str,
    /// 0: the client went before an answer.
    pub status: u16,
    /// Registered id of the client's certificate.
    pub client: Option<&'a str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub micros: u64,
    pub records: u64,
    pub replaced: u64,
    pub first_sights: u64,
    pub code: Option<&'static str>,
    /// Whether the answer's last byte was handed over.
    pub whole: bool,
}

/// One worker's lines, not yet written.
pub struct AccessLog {
    wanted: bool,
    waiting: Mutex<Vec<u8>>,
}

impl AccessLog {
    /// `wanted`: the configuration's `gateway.access_log`.
    pub fn new(wanted: bool) -> Self {
        Self {
            wanted,
            waiting: Mutex::default(),
        }
    }

    pub fn write(&self, line: &Line<'_>) {
        self.put(line, None);
    }

    /// A CONNECT of the egress proxy. `host`: one that the configuration names, or `other`.
    pub fn write_connect(&self, line: &Line<'_>, host: &str) {
        self.put(line, Some(host));
    }

    fn put(&self, line: &Line<'_>, host: Option<&str>) {
        if !self.wanted {
            return;
        }
        let mut waiting = self.lock();
        append(&mut waiting, line, host, SystemTime::now());
        if waiting.len() >= ACCESS_LOG_BYTES {
            flush(&mut waiting);
        }
    }

    /// Writes what waits. Called every [`crate::limits::ACCESS_LOG_TIME`].
    pub fn flush(&self) {
        flush(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        // A panic elsewhere leaves at worst half a line.
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn flush(waiting: &mut Vec<u8>) {
    if !waiting.is_empty() {
        writer::write(waiting);
        waiting.clear();
    }
}

fn append(out: &mut Vec<u8>, line: &Line<'_>, host: Option<&str>, now: SystemTime) {
    out.extend_from_slice(b"{\"time\":\"");
    time(out, now);
    out.extend_from_slice(b"\",\"access\":\"");
    hexadecimal(out, line.request.0, 12);
    out.push(b'-');
    hexadecimal(out, line.request.1, 1);
    for (name, value) in [
        ("\",\"route\":\"", line.route.unwrap_or("-")),
        ("\",\"method\":\"", line.method),
        ("\",\"protocol\":\"", line.protocol),
        ("\",\"client\":\"", line.client.unwrap_or("-")),
        ("\",\"code\":\"", line.code.unwrap_or("-")),
    ] {
        out.extend_from_slice(name.as_bytes());
        text(out, value);
    }
    out.push(b'"');
    for (name, value) in [
        (",\"status\":", u64::from(line.status)),
        (",\"in\":", line.bytes_in),
        (",\"out\":", line.bytes_out),
        (",\"us\":", line.micros),
        (",\"records\":", line.records),
        (",\"replaced\":", line.replaced),
        (",\"first_sights\":", line.first_sights),
    ] {
        out.extend_from_slice(name.as_bytes());
        decimal(out, value, 1);
    }
    let whole: &[u8] = if line.whole { b"true" } else { b"false" };
    out.extend_from_slice(b",\"whole\":");
    out.extend_from_slice(whole);
    if let Some(host) = host {
        out.extend_from_slice(b",\"host\":\"");
        text(out, host);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
}

/// `value` with at least so many digits. A line has fifteen numbers; `write!` takes as long for
/// them as the gateway for routing.
fn decimal(out: &mut Vec<u8>, value: u64, least: usize) {
    digits::<10>(out, value, least);
}

fn hexadecimal(out: &mut Vec<u8>, value: u64, least: usize) {
    digits::<16>(out, value, least);
}

fn digits<const BASE: u64>(out: &mut Vec<u8>, mut value: u64, least: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while value > 0 || text.len() - at < least {
        at -= 1;
        text[at] = b"0123456789abcdef"[(value % BASE) as usize];
        value /= BASE;
    }
    out.extend_from_slice(&text[at..]);
}

/// Configured names and ids need no escapes; should one, it shows as `?` and breaks no line.
fn text(out: &mut Vec<u8>, value: &str) {
    let safe = |b: u8| {
        if b < 0x20 || matches!(b, b'"' | b'\\') {
            b'?'
        } else {
            b
        }
    };
    out.extend(value.bytes().map(safe));
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(out: &mut Vec<u8>, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (u64::from(since.subsec_millis()), 3, b'Z'),
    ];
    for (number, width, after) in parts {
        decimal(out, number, width);
        out.push(after);
    }
}

/// The Gregorian date of a day since 1970-01-01, counted in eras of 400 years from 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn path_12_a_line_is_one_json_object_with_its_time() {
        let line = Line {
            request: (0xabc, 0x1f),
            route: Some("re\"sults"),
            method: "POST",
            protocol: "h2",
            status: 200,
            client: None,
            bytes_in: 1,
            bytes_out: 2,
            micros: 3,
            records: 4,
            replaced: 5,
            first_sights: 6,
            code: None,
            whole: true,
        };
        let mut out = Vec::new();
        let leap = UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        append(&mut out, &line, None, leap);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["time"], "2024-02-29T12:34:56.789Z");
        assert_eq!(read["access"], "000000000abc-1f");
        assert_eq!(read["route"], "re?sults");
        assert_eq!(read["client"], "-");
        assert_eq!(read["us"], 3);
        assert_eq!(read["whole"], true);
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        assert!(read.get("host").is_none());
        out.clear();
        append(&mut out, &line, Some("portal.example"), leap);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["host"], "portal.example");
    }

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, value, 1);
            out.push(b' ');
            decimal(&mut out, value, 4);
            out.push(b' ');
            hexadecimal(&mut out, value, 12);
            let expected = format!("{value} {value:04} {value:012x}");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
