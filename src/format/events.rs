//! Server-sent events (WHATWG HTML, section 9.2 "Server-sent events"): lines of fields, a blank
//! line behind each event.
//!
//! What enters: an event stream. What leaves: slots of the JSON text that stands in an event's
//! `data`; every such text is scanned as a body of its own. What can never happen: words that no
//! policy has looked at pass beside the data (comments, ids, names of fields), or an event ends where
//! the backend did not end it. What events are called is the backend's program text: whoever calls
//! them after people tells who they are.
//!
//! | line | under `unlisted = "keep"` | else |
//! |---|---|---|
//! | blank | passes | passes |
//! | `data` | one JSON text, or empty; one a event | the same |
//! | `event` | passes | passes if its name has only ASCII letters, `.`, `_` and `-`, 64 at most; else refused |
//! | `retry` | passes | passes if it is digits, at most five; else its colon stays |
//! | `:` (a comment) | passes | its colon stays: it keeps connections alive |
//! | `id`, any other with a colon | passes | its colon stays |
//! | any other | passes | refused |
//!
//! Lines are never taken away, only emptied: a carriage return before one and a line feed behind
//! it would become one end of a line, and a blank line less.
//!
//! A line leaves when it is whole, so that an event is not kept waiting. One whose second `data`
//! line is refused has left in part, but without its blank line: readers discard it.

use std::ops::Range;
use std::sync::Arc;

use super::{Answer, Found, Json, Options, Scanner, Shape, Slot, text};
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::policy::{Policy, RuleId, Unlisted};

/// What may stand before the first line.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Scans one event stream. `$` is the JSON text of an event, or what the policy's `record` makes
/// of it.
pub struct EventStream {
    policy: Arc<Policy>,
    options: Options,
    failed: Option<Fault>,
    /// No line has been read yet.
    first: bool,
    /// The present event has a `data` line.
    data: bool,
    /// Found in one `data` line.
    inner: Found,
    /// How far line ends have been looked for.
    looked: usize,
    /// Absolute offset of the window's first byte.
    base: u64,
    released: usize,
    records: u64,
}

impl EventStream {
    pub fn new(policy: Arc<Policy>, options: Options) -> Self {
        Self {
            policy,
            options,
            failed: None,
            first: true,
            data: false,
            inner: Found::default(),
            looked: 0,
            base: 0,
            released: 0,
            records: 0,
        }
    }

    /// Goes over the lines that are whole; gives where the next one begins.
    fn lines(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<usize, Fault> {
        let mut start = 0;
        while let Some(at) = memchr::memchr2(b'\r', b'\n', &window[self.looked..]) {
            let end = self.looked + at;
            let mut next = end + 1;
            if window[end] == b'\r' {
                match window.get(next) {
                    Some(b'\n') => next += 1,
                    // Whether a line feed belongs to it is not known yet.
                    None if !last => {
                        self.looked = end;
                        return self.bounded(start, end).map(|()| start);
                    }
                    _ => {}
                }
            }
            self.line(window, start..end, found)?;
            start = next;
            self.looked = next;
        }
        self.looked = window.len();
        if last && start < window.len() {
            self.line(window, start..window.len(), found)?;
            start = window.len();
        }
        self.bounded(start, window.len()).map(|()| start)
    }

    fn line(
        &mut self,
        window: &[u8],
        mut line: Range<usize>,
        found: &mut Found,
    ) -> Result<(), Fault> {
        self.bounded(line.start, line.end)?;
        if std::mem::take(&mut self.first) && window[line.clone()].starts_with(MARK) {
            line.start += MARK.len();
        }
        if line.is_empty() {
            self.data = false;
            return Ok(());
        }
        let (name, value) = field(window, &line);
        let kept = self.policy.unlisted == Unlisted::Keep;
        let bytes = &window[value.clone()];
        match &window[name.clone()] {
            b"data" => return self.data(window, &line, value, found),
            _ if kept => {
                let wrong = |e: simdutf8::compat::Utf8Error| line.start + e.valid_up_to();
                return simdutf8::compat::from_utf8(&window[line.clone()])
                    .map(drop)
                    .map_err(|e| self.fault(Code::NotUtf8, wrong(e)));
            }
            b"event" if bytes.len() <= limits::EVENT_NAME && bytes.iter().all(|b| word(*b)) => {}
            b"event" => {
                return Err(self
                    .fault(Code::MalformedEvents, value.start)
                    .place("event"));
            }
            b"retry" if digits(bytes) => {}
            _ if name.end < line.end => {
                self.leave_out(name.clone(), found);
                self.leave_out(name.end + 1..line.end, found);
            }
            _ => return Err(self.fault(Code::MalformedEvents, line.start).place("$")),
        }
        Ok(())
    }

    /// One JSON text, scanned whole.
    fn data(
        &mut self,
        window: &[u8],
        line: &Range<usize>,
        value: Range<usize>,
        found: &mut Found,
    ) -> Result<(), Fault> {
        if std::mem::replace(&mut self.data, true) {
            return Err(self.fault(Code::MalformedEvents, line.start).place("data"));
        }
        if value.is_empty() {
            return Ok(());
        }
        let base = self.base + value.start as u64;
        let mut json = Json::new(self.policy.clone(), self.options);
        self.inner.slots.clear();
        json.scan(&window[value.clone()], true, &mut self.inner)
            .map_err(|fault| {
                let offset = fault.offset.unwrap_or(0);
                fault.at(base + offset)
            })?;
        found
            .slots
            .extend(self.inner.slots.drain(..).map(|slot| Slot {
                start: slot.start + value.start,
                end: slot.end + value.start,
                record: slot.record + self.records,
                ..slot
            }));
        self.records += self.inner.records;
        Ok(())
    }

    fn leave_out(&self, range: Range<usize>, found: &mut Found) {
        if !range.is_empty() {
            found.slots.push(Slot {
                start: range.start,
                end: range.end,
                rule: RuleId::UNLISTED,
                shape: Shape::Extent,
                record: self.records,
            });
        }
    }

    /// A line is held until it is whole.
    fn bounded(&self, start: usize, end: usize) -> Result<(), Fault> {
        if end - start <= self.options.record {
            return Ok(());
        }
        let fault = self.fault(Code::RecordTooLarge, start + self.options.record);
        Err(fault.place("$"))
    }

    fn fault(&self, code: Code, at: usize) -> Fault {
        Fault::new(code, Stage::Scan).at(self.base + at as u64)
    }
}

/// Name and value of a line that is not blank; of a comment the name is empty.
fn field(window: &[u8], line: &Range<usize>) -> (Range<usize>, Range<usize>) {
    match memchr::memchr(b':', &window[line.clone()]) {
        None => (line.clone(), line.end..line.end),
        Some(at) => {
            let colon = line.start + at;
            let space = window[colon + 1..line.end].starts_with(b" ");
            (line.start..colon, colon + 1 + usize::from(space)..line.end)
        }
    }
}

/// What names of events are made of. No digits: nothing that counts or numbers people.
fn word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || b"._-".contains(&byte)
}

/// A time in milliseconds.
fn digits(value: &[u8]) -> bool {
    value.len() <= limits::EVENT_RETRY && value.iter().all(u8::is_ascii_digit)
}

impl Scanner for EventStream {
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        self.base += self.released as u64;
        self.looked -= self.released;
        (self.released, found.released) = (0, 0);
        match self.lines(window, last, found) {
            Ok(released) => {
                (self.released, found.released) = (released, released);
                found.records = self.records;
                Ok(())
            }
            Err(fault) => {
                self.failed = Some(fault.clone());
                Err(fault)
            }
        }
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        text::value(raw, shape, scratch)
    }

    fn write(&self, raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        text::write(raw, shape, answer, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::fuzz::{self, policy, rewrite};
    use crate::policy::{Action, RecordUnit, Redact};

    const X: Answer<'static> = Answer::Text("X");

    fn rules(unlisted: Unlisted) -> Arc<Policy> {
        let redact = Action::Redact(Redact::Constant("-".into()));
        let rules = [
            ("$.name", redact),
            ("$.n", Action::Keep),
            ("$.gone", Action::Drop),
        ];
        policy(unlisted, RecordUnit::Auto, &rules)
    }

    /// What becomes of a stream, however it is cut, or its fault: code, offset and place.
    fn becomes(unlisted: Unlisted, body: &str) -> Result<String, (Code, u64, String)> {
        let run = |cut: usize| {
            let mut scanner = EventStream::new(rules(unlisted), Options::default());
            let cuts = std::iter::repeat(cut);
            rewrite(&mut scanner, body.as_bytes(), cuts, |_| X)
        };
        let whole = run(body.len().max(1));
        for cut in 1..body.len() {
            assert_eq!(run(cut), whole, "cut into {cut}");
        }
        match whole {
            Ok((out, _)) => Ok(String::from_utf8(out).expect("UTF-8")),
            Err(fault) => Err((
                fault.code,
                fault.offset.expect("an offset"),
                fault.place.map(String::from).unwrap_or_default(),
            )),
        }
    }

    #[test]
    fn formats_08_events_are_records_and_the_rest_is_decided() {
        use Unlisted::{Keep, Reject};
        for (unlisted, body, expected) in [
            (Reject, "", ""),
            (
                Reject,
                "data: {\"name\":\"Ann\",\"n\":1}\n\n",
                "data: {\"name\":\"X\",\"n\":1}\n\n",
            ),
            // Every way to end a line, no space, no end.
            (
                Reject,
                "data:{\"name\":1}\r\n\r\ndata: {\"n\":2}\r\rdata: {\"n\":3}",
                "data:{\"name\":\"X\"}\r\n\r\ndata: {\"n\":2}\r\rdata: {\"n\":3}",
            ),
            (
                Reject,
                "\u{feff}event: result.created\ndata: {\"n\":1,\"gone\":7}\n\n",
                "\u{feff}event: result.created\ndata: {\"n\":1}\n\n",
            ),
            // What nobody has looked at stays behind, and no blank line comes of it.
            (
                Reject,
                ": Ann\n:\nid: SUB-1\r\nretry: 3000\nretry: 123456\nData: Ann\ndata: {\"n\":1}\n\n",
                ":\n:\n:\r\nretry: 3000\n:\n:\ndata: {\"n\":1}\n\n",
            ),
            (
                Reject,
                "data\n\ndata:\n\nid: 1\n\n:\n",
                "data\n\ndata:\n\n:\n\n:\n",
            ),
            (
                Reject,
                "data: {\"n\":1}\rid: 7\n\ndata: {\"n\":2}\n",
                "data: {\"n\":1}\r:\n\ndata: {\"n\":2}\n",
            ),
            (
                Keep,
                ": Ann\nid: SUB-1\nevent: v1 x\nAnn\ndata: {\"name\":\"Ann\",\"x\":1}\n\n",
                ": Ann\nid: SUB-1\nevent: v1 x\nAnn\ndata: {\"name\":\"X\",\"x\":1}\n\n",
            ),
            // Elements of an array are records; the text may have space around it.
            (
                Reject,
                "data:  [{\"name\":\"a\"} , {\"name\":\"b\"}] \n\n",
                "data:  [{\"name\":\"X\"} , {\"name\":\"X\"}] \n\n",
            ),
        ] {
            assert_eq!(becomes(unlisted, body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn formats_08_what_is_no_event_is_refused() {
        use Code::{MalformedEvents, MalformedJson, NotUtf8, UnlistedPlace};
        for (body, code, offset, place) in [
            // Joined by line feeds, it would be read as one text.
            (
                "data: {\"n\":1}\ndata: {\"n\":2}\n\n",
                MalformedEvents,
                14,
                "data",
            ),
            ("data:\ndata: 1\n\n", MalformedEvents, 6, "data"),
            ("event: SUB-1\n\n", MalformedEvents, 7, "event"),
            ("\nSUB-1\n", MalformedEvents, 1, "$"),
            ("\n\ndata: [DONE]\n\n", MalformedJson, 9, "$"),
            ("data: {\"n\":1} {\"n\":2}\n\n", MalformedJson, 14, "$"),
            (
                "data: {\"n\":1}\n\ndata: {\"x\":1}\n\n",
                UnlistedPlace,
                26,
                "$.x",
            ),
        ] {
            let fault = becomes(Unlisted::Reject, body).expect_err(body);
            assert_eq!((fault.0, fault.1), (code, offset), "{body} {fault:?}");
            if code == MalformedEvents {
                assert_eq!(fault.2, place);
            }
        }
        let mut scanner = EventStream::new(rules(Unlisted::Keep), Options::default());
        let fault = rewrite(&mut scanner, b"\n: \xff\n", std::iter::empty(), |_| X);
        let fault = fault.expect_err("Latin-1");
        assert_eq!((fault.code, fault.offset), (NotUtf8, Some(3)));
    }

    #[test]
    fn formats_08_a_line_is_held_within_a_bound_and_leaves_when_it_is_whole() {
        let options = Options {
            record: 20,
            ..Options::default()
        };
        let run = |body: &str, cut: usize| {
            let mut scanner = EventStream::new(rules(Unlisted::Keep), options);
            let cuts = std::iter::repeat(cut);
            rewrite(&mut scanner, body.as_bytes(), cuts, |_| X).map_err(|f| (f.code, f.offset))
        };
        for cut in 1..40 {
            assert!(run("data: {\"name\":\"Ann\"}\r\n\r\n", cut).is_ok());
            let longer = run("\ndata: {\"name\":\"Anna\"}\n\n", cut);
            assert_eq!(longer, Err((Code::RecordTooLarge, Some(21))));
            let longer = run("\ndata: {\"name\":\"Anna\"}\r", cut);
            assert_eq!(longer, Err((Code::RecordTooLarge, Some(21))));
        }
        let mut scanner = EventStream::new(rules(Unlisted::Reject), Options::default());
        let mut found = Found::default();
        let body = b"data: {\"n\":1}\n\ndata: {";
        scanner.scan(body, false, &mut found).expect("an event");
        assert_eq!((found.released, found.records), (15, 1));
    }

    fn lines() -> impl Strategy<Value = String> {
        let line = proptest::sample::select(vec![
            "data: {\"a\":{\"b\":1,\"e\":\"x\"},\"c\":[1,2]}",
            "data: \"\\u00e4\"",
            "data:[{\"e\":1},{\"f\":[]}]",
            "data:",
            "data",
            "event: made",
            "event: m 1",
            ": here",
            ":",
            "id: 7",
            "retry: 10",
            "retry: x",
            "x",
            "",
            "",
            "",
        ]);
        let end = proptest::sample::select(vec!["\n", "\r\n", "\r"]);
        proptest::collection::vec((line, end), 0..12)
            .prop_map(|lines| lines.into_iter().map(|(l, e)| l.to_owned() + e).collect())
    }

    proptest! {
        #[test]
        fn formats_13_a_stream_does_not_depend_on_how_it_is_cut(body in lines()) {
            fuzz::events(body.as_bytes());
        }

        #[test]
        fn formats_13_any_bytes_are_a_stream_or_a_fault(body in "[\\x00\\r\\n: daten{}\"1\u{fe}\u{feff}]{0,40}") {
            fuzz::events(body.as_bytes());
        }
    }
}
