//! What went wrong, on which side, at which stage.
//!
//! A [`Fault`] is what the five steps and the exchange return. It carries a stable [`Code`]
//! (which decides the HTTP status and the text), never a value of the message. A place prints
//! only names that the policy itself lists; every other name is `*`.

use std::fmt;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Gateway,
    Vault,
    Backend,
}

impl Side {
    /// In the order of their declaration.
    pub const ALL: &'static [Side] = &[Side::Client, Side::Gateway, Side::Vault, Side::Backend];

    /// The name in problem documents, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Gateway => "gateway",
            Side::Vault => "vault",
            Side::Backend => "backend",
        }
    }
}

/// Where in the way of a message it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Accept,
    Head,
    Route,
    Authorise,
    Decode,
    Scan,
    Resolve,
    Splice,
    Encode,
    Connect,
    Send,
    Receive,
}

impl Stage {
    /// In the order of their declaration.
    pub const ALL: &'static [Stage] = &[
        Stage::Accept,
        Stage::Head,
        Stage::Route,
        Stage::Authorise,
        Stage::Decode,
        Stage::Scan,
        Stage::Resolve,
        Stage::Splice,
        Stage::Encode,
        Stage::Connect,
        Stage::Send,
        Stage::Receive,
    ];

    /// The name in problem documents, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Head => "head",
            Stage::Route => "route",
            Stage::Authorise => "authorise",
            Stage::Decode => "decode",
            Stage::Scan => "scan",
            Stage::Resolve => "resolve",
            Stage::Splice => "splice",
            Stage::Encode => "encode",
            Stage::Connect => "connect",
            Stage::Send => "send",
            Stage::Receive => "receive",
        }
    }
}

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $side:ident, $title:literal, $next:literal; )*) => {
        /// Stable codes: they appear in problem documents, logs and metrics, and never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[$doc])* $variant, )* }

        impl Code {
            /// Every code, for documentation and for tests that walk all of them.
            pub const ALL: &'static [Code] = &[ $( Code::$variant, )* ];

            /// The stable name, kebab-case.
            pub fn name(self) -> &'static str { match self { $( Code::$variant => $name, )* } }

            /// HTTP status of the problem document (RFC 9457).
            pub fn status(self) -> u16 { match self { $( Code::$variant => $status, )* } }

            /// The side that usually has to act.
            pub fn side(self) -> Side { match self { $( Code::$variant => Side::$side, )* } }

            /// One sentence: what is wrong.
            pub fn title(self) -> &'static str { match self { $( Code::$variant => $title, )* } }

            /// One sentence: what to do next.
            pub fn next(self) -> &'static str { match self { $( Code::$variant => $next, )* } }
        }
    };
}

codes! {
    // --- the body's bytes
    MalformedJson = "malformed-json", 400, Client, "The body is not valid JSON (RFC 8259).", "Send one well-formed JSON text in UTF-8 without a byte order mark.";
    MalformedNdjson = "malformed-ndjson", 400, Client, "A line of the body is not exactly one JSON text.", "Send one JSON text a line, separated by line feeds.";
    MalformedForm = "malformed-form", 400, Client, "The body is not a form that every reader reads alike.", "Send name=value pairs with & between them, percent-encoded; no semicolon, no %00, no broken escape.";
    MalformedCsv = "malformed-csv", 400, Client, "A row of the body is not valid CSV (RFC 4180).", "Quote fields that hold quotes, delimiters or line ends, double the quotes inside, and end every row alike.";
    MalformedTsv = "malformed-tsv", 400, Client, "A row of the body is not valid TSV.", "Escape tabs, line ends and backslashes inside fields with a backslash, and end rows with line feeds.";
    MalformedEvents = "malformed-events", 400, Client, "An event of the stream is not one line of JSON beside a plain event name.", "Write each event's data as one JSON text on one line, and name events with letters, points, lines and dashes.";
    UnclosedQuote = "unclosed-quote", 400, Client, "The body ends inside a quoted field.", "Close the quote that the offset names, or send the whole body again.";
    NulInRow = "nul-in-row", 400, Client, "A row contains U+0000.", "Remove the NUL: some readers stop there.";
    TooManyColumns = "too-many-columns", 413, Client, "The header row names more columns than the gateway follows.", "Send fewer columns.";
    NotUtf8 = "not-utf8", 400, Client, "The body is not UTF-8.", "Convert UTF-16 or Latin-1 text to UTF-8 before sending.";
    ByteOrderMark = "byte-order-mark", 400, Client, "The body starts with a byte order mark.", "Send UTF-8 without a byte order mark (RFC 8259, section 8.1).";
    LoneSurrogate = "lone-surrogate", 400, Client, "A string holds half of a surrogate pair.", "Escape characters beyond U+FFFF as a pair, or send them as UTF-8.";
    NulInName = "nul-in-name", 400, Client, "A member name contains U+0000.", "Remove the NUL: some readers stop there and see another name.";
    Truncated = "truncated", 400, Client, "The body ends before its last value does.", "Send the whole body again.";
    CodingBroken = "coding-broken", 400, Client, "The body's content coding is damaged, or something follows it.", "Compress the body again, and send nothing after its end.";
    CodingRatio = "coding-ratio", 413, Client, "More comes out of the compressed body than may come out of so few bytes.", "Send the body uncompressed.";
    CodingWindow = "coding-window", 413, Client, "The compressed body wants a larger window than the gateway takes.", "Compress with a window of at most 4 MiB (br) or 8 MiB (zstd).";
    TooDeep = "too-deep", 413, Client, "The body nests deeper than the gateway follows.", "Flatten the document, or raise limits.depth.";
    // --- limits
    BodyTooLarge = "body-too-large", 413, Client, "The body is larger than this route holds, and the route does not stream.", "Send smaller bodies, or set stream = true on the route.";
    RecordTooLarge = "record-too-large", 413, Client, "One record is larger than limits.record.", "Send smaller records, or raise limits.record.";
    ValueTooLarge = "value-too-large", 413, Client, "A value that a rule replaces is larger than limits.value.", "Check the field, or raise limits.value.";
    TooManyValues = "too-many-values", 413, Client, "The body has more replaced values at once than the gateway takes.", "Send smaller bodies, or records with fewer values.";
    HeadTooLarge = "head-too-large", 431, Client, "The request head is larger than the gateway accepts.", "Send fewer or shorter header fields.";
    HoldBudget = "hold-budget", 503, Gateway, "The gateway holds as many bodies as it may at once.", "Try again after the time in Retry-After.";
    // --- policy
    UnlistedPlace = "unlisted-place", 422, Client, "The message has a value at a place that the policy does not list.", "Remove the value, or have a rule written for the place.";
    RejectedPlace = "rejected-place", 422, Client, "The message has a value at a place that the policy refuses.", "Remove the value.";
    NotNormal = "not-normal", 422, Client, "A value has no normal form of its kind.", "Correct the value: it is never repaired on the way.";
    Sentinel = "sentinel", 422, Client, "A value stands for 'no value' and cannot identify a subject.", "Send null or leave the member out.";
    AlreadyPseudonym = "already-pseudonym", 422, Client, "A value already looks like a pseudonym.", "Send the identifier itself; a pseudonym is never pseudonymised again.";
    NoSubject = "no-subject", 422, Client, "A value depends on who the record is about, and the record does not say.", "Send the subject's identifier in the same record: a pseudonym, null or nothing in its place names nobody.";
    TwoSubjects = "two-subjects", 422, Client, "A value depends on who the record is about, and the record names two.", "Send a record for each subject.";
    NotADate = "not-a-date", 422, Client, "A value is no date that can be shifted.", "Send a date that exists, as 2026-10-04, 2026-10-04T07:30:00Z or 20261004, in the years 1 to 9999.";
    NotGeneralisable = "not-generalisable", 422, Client, "A value cannot be generalised as its rule says.", "Send a date, number, postcode or address in the form the rule names.";
    // --- HTTP
    BadRequest = "bad-request", 400, Client, "The request head cannot be trusted.", "Check Host, Transfer-Encoding, Content-Length and the path.";
    NoRoute = "no-route", 404, Client, "No route has this host and path.", "Check the address against `cryptonym check`.";
    MethodNotAllowed = "method-not-allowed", 405, Client, "The route does not take this method.", "Use one of the methods in Allow.";
    MediaType = "media-type", 415, Client, "The route takes another media type.", "Set Content-Type to what the route's format names.";
    ContentCoding = "content-coding", 415, Client, "The route does not take the body's content coding.", "Use a coding of Accept-Encoding, or send the body uncompressed.";
    QueryNotAllowed = "query-not-allowed", 422, Client, "The query string has something that the route does not name.", "Remove it, or have the route name it.";
    ClientCertificate = "client-certificate", 403, Client, "The route wants a client certificate.", "Present a certificate of the gateway's client CA.";
    Misdirected = "misdirected-request", 421, Client, "The request's host is not what the connection was made for.", "Open a new connection for this host.";
    ConnectRefused = "connect-refused", 405, Client, "The gateway is no forward proxy.", "Send the request to a route.";
    UpgradeRefused = "upgrade-refused", 400, Client, "The route takes no protocol upgrade.", "Send an ordinary request.";
    EgressConnectOnly = "egress-connect-only", 405, Client, "The egress proxy takes CONNECT only.", "Send to https:// addresses; what is sent to http:// ones is not forwarded.";
    EgressHost = "egress-host", 403, Client, "The egress proxy does not lead to this host and port.", "Check the name against `cryptonym check`, or have the host listed.";
    EgressAddress = "egress-address", 403, Client, "The host has no address that a tunnel may lead to.", "Have the operator list its network in `private`, if it is one of yours.";
    EgressFull = "egress-full", 503, Gateway, "The egress proxy has as many tunnels as it may have at once.", "Try again after the time in Retry-After.";
    DestinationRefused = "destination-refused", 403, Client, "The gateway does not lead to where this connection was made to.", "Have the operator list its network and port, if it is a server behind the gateway.";
    WebSocketHandshake = "websocket-handshake", 400, Client, "The request to switch to WebSocket is not one of RFC 6455.", "Send GET in HTTP/1.1 with Connection, Upgrade and a Sec-WebSocket-Key of 16 bytes.";
    WebSocketVersion = "websocket-version", 426, Client, "The gateway speaks another version of WebSocket.", "Use version 13 (RFC 6455).";
    WebSocketProtocol = "websocket-protocol", 400, Client, "A WebSocket frame breaks RFC 6455.", "Mask frames, use no extension, and finish one message before the next.";
    BinaryMessage = "binary-message", 415, Client, "The route takes no binary WebSocket messages.", "Send JSON documents as text messages.";
    RestoreBudget = "restore-budget", 429, Client, "This client has used restore-own with as many distinct identifiers as it may in a day.", "Go on tomorrow (UTC), or talk to the operator.";
    RateLimited = "rate-limited", 429, Client, "This client has used the route as often as it may for now.", "Try again after the time in Retry-After.";
    ClientShare = "client-share", 429, Client, "This client has as many requests at the backend as it may have while others need it too.", "Wait for answers, and read them, before sending more; Retry-After says when to try again.";
    SlowClient = "slow-client", 408, Client, "The request did not arrive in time.", "Send faster, or raise the time-out.";
    // --- backend
    BackendUnreachable = "backend-unreachable", 502, Backend, "The backend cannot be reached.", "Try again; if it stays so, tell the operator.";
    BackendSlow = "backend-slow", 504, Backend, "The backend did not answer in time.", "Try again later.";
    BackendBroken = "backend-broken", 502, Backend, "The backend broke the connection or the protocol.", "Try again; if it stays so, tell the operator.";
    BackendFull = "backend-full", 503, Gateway, "The backend has as many requests as it may have at once.", "Try again after the time in Retry-After.";
    CircuitOpen = "circuit-open", 503, Backend, "The backend has not answered for a while and is left alone.", "Try again after the time in Retry-After.";
    ResponseRefused = "response-refused", 502, Backend, "The backend's answer does not fit the response policy.", "Tell the operator; the gateway's log has the request id.";
    // --- vault
    VaultUnreachable = "vault-unreachable", 503, Vault, "The vault cannot be reached and the message has new identifiers.", "Try again after the time in Retry-After.";
    VaultRefused = "vault-refused", 503, Vault, "The vault refuses to keep the new identifiers.", "Tell the operator; the vault's log says why.";
    VaultConflict = "vault-conflict", 503, Vault, "The vault knows a pseudonym of this message under another identifier.", "Tell the operator at once; the vault has raised an alarm.";
    Budget = "budget", 503, Vault, "The day's budget of new identifiers is spent.", "Try again tomorrow, or have the operator raise the budget.";
    NotReady = "not-ready", 503, Gateway, "The gateway has no lease for this route's domain yet.", "Try again after the time in Retry-After.";
    // --- ourselves
    Internal = "internal", 500, Gateway, "The gateway failed.", "Tell the operator; the gateway's log has the request id.";
}

/// One refusal. Cheap to make where it is certain, never made on the good path.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    pub side: Side,
    pub stage: Stage,
    /// Byte offset in the decoded body at which the fault was seen.
    pub offset: Option<u64>,
    /// The place in the policy's own notation; names that no policy lists are `*`.
    pub place: Option<Box<str>>,
}

impl Fault {
    pub fn new(code: Code, stage: Stage) -> Self {
        Self {
            code,
            side: code.side(),
            stage,
            offset: None,
            place: None,
        }
    }

    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub fn place(mut self, place: impl Into<Box<str>>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub fn side(mut self, side: Side) -> Self {
        self.side = side;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.code.title())?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " (byte {offset})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_distinct_stable_names() {
        let mut names: Vec<_> = Code::ALL.iter().map(|c| c.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    /// Counters are found by it.
    #[test]
    fn proxy_11_lists_are_in_the_order_of_declaration() {
        assert!(Code::ALL.iter().enumerate().all(|(n, c)| *c as usize == n));
        assert!(Side::ALL.iter().enumerate().all(|(n, s)| *s as usize == n));
        assert!(Stage::ALL.iter().enumerate().all(|(n, s)| *s as usize == n));
        for stage in Stage::ALL {
            assert_eq!(stage.name(), format!("{stage:?}").to_ascii_lowercase());
        }
    }
}
