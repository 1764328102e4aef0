//! Spans as an OTLP message in JSON (OpenTelemetry Protocol 1.x, "OTLP/HTTP", JSON encoding of
//! `ExportTraceServiceRequest`): ids in hexadecimal, numbers of 64 bits as strings.
//!
//! What enters: finished traces. What leaves: one message. What can never happen: a key or value
//! that no [`Span`] has.

use super::context::hexadecimal;
use super::{Finished, Span, Value};

/// One message.
pub fn encode<'a>(traces: impl IntoIterator<Item = &'a Finished>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    let version = env!("CARGO_PKG_VERSION");
    for (n, (key, value)) in [
        ("service.name", "cryptonym-gateway"),
        ("service.version", version),
    ]
    .into_iter()
    .enumerate()
    {
        comma(n, &mut out);
        attribute(key, &Value::Text(value.into()), &mut out);
    }
    out.extend_from_slice(b"]},\"scopeSpans\":[{\"scope\":{\"name\":\"cryptonym\",\"version\":\"");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\"},\"spans\":[");
    let mut n = 0;
    for trace in traces {
        for one in &trace.spans {
            comma(n, &mut out);
            n += 1;
            span(&trace.trace, one, &mut out);
        }
    }
    out.extend_from_slice(b"]}]}]}");
    out
}

fn span(trace: &[u8; 16], span: &Span, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"traceId\":\"");
    hexadecimal(trace, out);
    out.extend_from_slice(b"\",\"spanId\":\"");
    hexadecimal(&span.id, out);
    if let Some(parent) = &span.parent {
        out.extend_from_slice(b"\",\"parentSpanId\":\"");
        hexadecimal(parent, out);
    }
    out.extend_from_slice(b"\",\"name\":");
    text(span.name, out);
    let times = format!(
        ",\"kind\":{},\"startTimeUnixNano\":\"{}\",\"endTimeUnixNano\":\"{}\",\"attributes\":[",
        span.kind as u8, span.start, span.end
    );
    out.extend_from_slice(times.as_bytes());
    for (n, (key, value)) in span.attributes.iter().enumerate() {
        comma(n, out);
        attribute(key, value, out);
    }
    // STATUS_CODE_ERROR
    let status: &[u8] = if span.failed { b"{\"code\":2}" } else { b"{}" };
    out.extend_from_slice(b"],\"status\":");
    out.extend_from_slice(status);
    out.push(b'}');
}

fn attribute(key: &str, value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    text(key, out);
    out.extend_from_slice(b",\"value\":{");
    match value {
        Value::Text(value) => {
            out.extend_from_slice(b"\"stringValue\":");
            text(value, out);
        }
        Value::Number(value) => {
            out.extend_from_slice(format!("\"intValue\":\"{value}\"").as_bytes());
        }
        Value::Flag(value) => {
            out.extend_from_slice(format!("\"boolValue\":{value}").as_bytes());
        }
    }
    out.extend_from_slice(b"}}");
}

fn text(value: &str, out: &mut Vec<u8>) {
    // Into memory, and of a string: it cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn comma(n: usize, out: &mut Vec<u8>) {
    if n > 0 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn proxy_11_a_message_is_what_the_protocol_says() {
        let trace = Finished {
            trace: [0xab; 16],
            spans: vec![
                Span {
                    id: [1; 8],
                    parent: None,
                    name: "request",
                    kind: Kind::Server,
                    start: 1_700_000_000_000_000_001,
                    end: 1_700_000_000_000_000_002,
                    failed: true,
                    attributes: vec![
                        ("a", Value::Text("x\"y".into())),
                        ("b", Value::Number(7)),
                        ("c", Value::Flag(true)),
                    ],
                },
                Span {
                    id: [2; 8],
                    parent: Some([1; 8]),
                    name: "upstream",
                    kind: Kind::Client,
                    start: 1,
                    end: 2,
                    failed: false,
                    attributes: vec![],
                },
            ],
        };
        let read: serde_json::Value = serde_json::from_slice(&encode([&trace])).unwrap();
        let scope = &read["resourceSpans"][0]["scopeSpans"][0];
        let expected = serde_json::json!([
            {
                "traceId": "ab".repeat(16), "spanId": "01".repeat(8), "name": "request", "kind": 2,
                "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000002",
                "attributes": [
                    { "key": "a", "value": { "stringValue": "x\"y" } },
                    { "key": "b", "value": { "intValue": "7" } },
                    { "key": "c", "value": { "boolValue": true } },
                ],
                "status": { "code": 2 },
            },
            {
                "traceId": "ab".repeat(16), "spanId": "02".repeat(8),
                "parentSpanId": "01".repeat(8), "name": "upstream", "kind": 3,
                "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": [], "status": {},
            },
        ]);
        assert_eq!(scope["spans"], expected);
        assert_eq!(scope["scope"]["name"], "cryptonym");
        let attributes = &read["resourceSpans"][0]["resource"]["attributes"];
        assert_eq!(attributes[0]["value"]["stringValue"], "cryptonym-gateway");
    }
}
