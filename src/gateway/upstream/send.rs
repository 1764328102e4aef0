//! A request goes to a backend, more than once if it may.
//!
//! What enters: a link and a request. What leaves: the head of an answer, and the link it came
//! on. What can never happen: a request goes out again after an answer has begun, or after it may
//! have been read unless it is idempotent and all of it is held.
//!
//! | how a try ended | goes out again |
//! |---|---|
//! | a pooled connection was closed before a byte was written | always, on a new connection |
//! | a new connection ended before a byte was written | any request |
//! | HTTP/2: refused, or above the last stream of a GOAWAY (RFC 9113, section 8.7) | any, with a held body or none |
//! | broken before an answer began | GET, HEAD, OPTIONS, PUT, DELETE with a held body or none |
//! | no answer in `attempt_time` | the same |
//! | no answer in `response_time`, or any answer | never |
//!
//! All but the first are retries: at most `retries` of them, within the backend's [`Budget`], each
//! on a new connection and to another address if there is one.
//!
//! [`Budget`]: super::retry::Budget

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version, header};
use hyper::body::Incoming;

use super::link::{Link, Sender};
use super::metrics::Again;
use super::retry;
use crate::error::{Code, Fault, Stage};
use crate::gateway::body::outgoing::Outgoing;
use crate::gateway::story::Story;

/// The same request once more.
type Spare = Option<Box<Request<Outgoing>>>;

/// A try that got no answer.
struct Failed {
    code: Code,
    /// Not a byte of it was written.
    unsent: Option<Request<Outgoing>>,
    /// The backend has said that it has not acted on it.
    refused: bool,
    /// Something came back that is no HTTP: it has been read, and another try would be too.
    garbled: bool,
}

/// Sends, and waits for the answer's head: `response_time` from the last byte that the backend
/// took. An answer that comes before the request's end is passed on. `own_host`: the Host is that
/// of the address.
///
/// # Errors
/// [`Code::BackendBroken`], `BackendSlow`, or those of a new link.
pub async fn send(
    story: &Arc<Story>,
    mut link: Link,
    request: Request<Outgoing>,
    own_host: bool,
) -> Result<(Link, Response<Incoming>), Fault> {
    let spare = match link.backend().care.retries {
        0 => None,
        // It may be refused, and then sent again whatever it is.
        _ if link.connection.is_http2() => retry::copy_of_any(&request),
        _ => retry::copy(&request),
    };
    let time = time(story, &link, may_be_repeated(&spare));
    match attempt(story, &mut link, request, time).await {
        Ok(response) => {
            link.answered(response.status());
            Ok((link, response))
        }
        Err(failed) => Box::pin(again(story, link, failed, spare, own_host)).await,
    }
}

async fn again(
    story: &Arc<Story>,
    mut link: Link,
    first: Box<Failed>,
    spare: Spare,
    own_host: bool,
) -> Result<(Link, Response<Incoming>), Fault> {
    let backend = link.backend().clone();
    let mut failed = first;
    let mut left = backend.care.retries;
    let mut tried = 0;
    loop {
        let fault = || Fault::new(failed.code, Stage::Send);
        let unsent = failed.unsent.is_some();
        let repeats = failed.refused || may_be_repeated(&spare);
        // A connection that was closed while it was idle says nothing of the backend.
        let was_idle = unsent && link.connection.reused;
        if !was_idle {
            link.failed();
            tried |= 1 << link.connection.target;
        }
        let timed_out = failed.code == Code::BackendSlow;
        let mut request = match (failed.unsent.take(), &spare) {
            (Some(request), _) => request,
            _ if failed.garbled => return Err(fault()),
            (None, Some(spare))
                if repeats && (!timed_out || backend.care.attempt_time.is_some()) =>
            {
                match retry::copy_of_any(spare) {
                    Some(again) => *again,
                    None => return Err(fault()),
                }
            }
            _ => return Err(fault()),
        };
        if !was_idle {
            if left == 0 {
                return Err(fault());
            }
            if !backend.budget.spend(backend.requests.ever()) {
                backend.counters.retries_refused.inc();
                return Err(fault());
            }
            left -= 1;
            backend.counters.again(match failed.code {
                _ if unsent || failed.refused => Again::Unsent,
                Code::BackendSlow => Again::Slow,
                _ => Again::Broken,
            });
        }
        link = link.again(&mut tried).await?;
        if own_host {
            request.headers_mut().insert(header::HOST, link.host());
        }
        let time = time(story, &link, left > 0 && may_be_repeated(&spare));
        match attempt(story, &mut link, request, time).await {
            Ok(response) => {
                link.answered(response.status());
                return Ok((link, response));
            }
            Err(again) => failed = again,
        }
    }
}

/// How long a try waits; shorter where it may be followed by another one.
fn time(story: &Story, link: &Link, more: bool) -> Duration {
    let whole = story.site.shared.limits.response_time;
    match link.backend().care.attempt_time {
        Some(time) if more => time.min(whole),
        _ => whole,
    }
}

async fn attempt(
    story: &Arc<Story>,
    link: &mut Link,
    mut request: Request<Outgoing>,
    time: Duration,
) -> Result<Response<Incoming>, Box<Failed>> {
    if link.connection.is_http2() {
        absolute(&mut request, link.scheme());
    }
    let connection = &mut link.connection;
    request.body_mut().travels_on(&connection.delivery);
    story.moves(false);
    // The common one stands here, the other is boxed: every exchange has room for it.
    let answer = match &mut connection.sender {
        Sender::One(one) => Either::Left(one.sender.try_send_request(request)),
        Sender::Multi(seat) => Either::Right(Box::pin(seat.sender.try_send_request(request))),
    };
    tokio::select! {
        biased;
        sent = answer => sent.map_err(|mut failed| {
            let unsent = failed.take_message();
            let garbled = failed.error().is_parse();
            let refused = was_refused(failed.error());
            Box::new(Failed { code: Code::BackendBroken, unsent, refused, garbled })
        }),
        () = story.backend_silence(time) => {
            let code = Code::BackendSlow;
            Err(Box::new(Failed { code, unsent: None, refused: false, garbled: false }))
        }
    }
}

/// Whether it may be sent twice although the first may have been read.
fn may_be_repeated(spare: &Spare) -> bool {
    let method = spare.as_ref().map(|spare| spare.method());
    method.is_some_and(retry::is_idempotent)
}

/// HTTP/2: the backend says that this stream was not, and will not be, acted on (RFC 9113,
/// section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            // h2 ends only those streams so that are above the last one of the GOAWAY.
            return error.is_remote() && (refused || error.is_go_away());
        }
        next = error.source();
    }
    false
}

/// HTTP/2 has `:scheme` and `:authority` instead of Host (RFC 9113, section 8.3.1).
fn absolute(request: &mut Request<Outgoing>, scheme: Scheme) {
    let host = request.headers_mut().remove(header::HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = host.and_then(|h| Authority::try_from(h.as_bytes()).ok()) {
        parts.authority = Some(authority);
    }
    parts.scheme = Some(scheme);
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
}
