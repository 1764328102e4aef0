//! `traceparent` (W3C Trace Context, section 3.2), read strictly and written.
//!
//! What enters: a header field of a client. What leaves: two ids and a flag, or nothing, and then
//! the trace begins anew. What can never happen: anything but hexadecimal digits of the right
//! number passes, or ids in which somebody has written something.

use http::{HeaderMap, HeaderName, HeaderValue};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Version, trace id, parent id, flags, and three dashes.
const LENGTH: usize = 55;

/// What a client's `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub trace: [u8; 16],
    pub parent: [u8; 8],
    pub sampled: bool,
}

/// The client's trace, if there is exactly one, and it is one.
pub fn of(headers: &HeaderMap) -> Option<Remote> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => parse(value.as_bytes()),
        _ => None,
    }
}

fn parse(value: &[u8]) -> Option<Remote> {
    let (head, rest) = value.split_at_checked(LENGTH)?;
    if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
        return None;
    }
    let [version] = bytes(&head[..2])?;
    // Version 0 ends here; a later one may go on behind another dash; 255 is none.
    let good = match version {
        0 => rest.is_empty(),
        255 => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let trace = bytes(&head[3..35])?;
    let parent = bytes(&head[36..52])?;
    let [flags] = bytes(&head[53..])?;
    let ids = trace != [0; 16] && parent != [0; 8];
    let written = is_written(&trace) || is_written(&parent);
    (good && ids && !written).then_some(Remote {
        trace,
        parent,
        sampled: flags & 1 == 1,
    })
}

/// Ids are random (sections 3.2.2.3 and 3.2.2.4). One whose digits are all decimal is a number that
/// somebody wrote there, one of printable letters a word: each happens to a random trace id once in
/// millions (to one with zeros in front, and to a parent id, once in thousands), and then a trace
/// begins anew.
fn is_written(id: &[u8]) -> bool {
    let decimal = |byte: &u8| byte >> 4 < 10 && byte & 15 < 10;
    let letter = |byte: &u8| *byte == 0 || (0x20..0x7f).contains(byte);
    id.iter().all(decimal) || id.iter().all(letter)
}

/// Lower-case digits only (section 3.2.1).
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// The field for who comes next.
pub fn header(trace: &[u8; 16], span: &[u8; 8], sampled: bool) -> HeaderValue {
    let mut text = Vec::with_capacity(LENGTH);
    text.extend_from_slice(b"00-");
    hexadecimal(trace, &mut text);
    text.push(b'-');
    hexadecimal(span, &mut text);
    text.extend_from_slice(if sampled { b"-01" } else { b"-00" });
    // Digits and dashes are always a value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or(HeaderValue::from_static("00"))
}

pub(super) fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.push(b"0123456789abcdef"[usize::from(half)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn proxy_11_traceparent_is_read_strictly() {
        let read = parse(GOOD.as_bytes()).unwrap();
        assert!(read.sampled);
        assert_eq!(header(&read.trace, &read.parent, true), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!parse(unsampled.as_bytes()).unwrap().sampled);
        // A later version, with and without more behind it.
        for later in ["cc", "01"] {
            let text = GOOD.replacen("00", later, 1);
            assert!(parse(text.as_bytes()).is_some());
            assert!(parse(format!("{text}-x").as_bytes()).is_some());
            assert!(parse(format!("{text}x").as_bytes()).is_none());
        }
        for wrong in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            GOOD.to_ascii_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0x", 1),
            GOOD.replacen('-', "_", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("00f067aa0ba902b7", "SUB-000000000001"),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace("-01", "-0g"),
        ] {
            assert!(parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn proxy_11_what_somebody_wrote_into_an_id_begins_no_trace() {
        let with = |id: &str| GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", id);
        let word: String = b"SUB-00000001\0\0\0\0"
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        for id in ["00000000000000000000009990000018", &word] {
            assert_eq!(id.len(), 32);
            assert!(parse(with(id).as_bytes()).is_none(), "{id}");
        }
        let span = |id: &str| GOOD.replace("00f067aa0ba902b7", id);
        for id in ["0000009990000018", "5355422d34373131", "4142000000000000"] {
            assert!(parse(span(id).as_bytes()).is_none(), "{id}");
        }
        // A trace of 64 bits with zeros in front is one.
        assert!(parse(with("000000000000000048485a3953bb6124").as_bytes()).is_some());
    }

    #[test]
    fn proxy_11_two_of_them_are_none() {
        let mut headers = HeaderMap::new();
        assert!(of(&headers).is_none());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(of(&headers).is_none());
    }
}
