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

use http::{Request, Response, header};
use hyper::body::Incoming;

use super::link::Link;
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
        _ => retry::copy(&request),
    };
    let time = time(story, &link, spare.is_some());
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
            (None, Some(spare)) if !timed_out || backend.care.attempt_time.is_some() => {
                match retry::copy(spare) {
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
                _ if unsent => Again::Unsent,
                Code::BackendSlow => Again::Slow,
                _ => Again::Broken,
            });
        }
        link = link.again(&mut tried).await?;
        if own_host {
            request.headers_mut().insert(header::HOST, link.host());
        }
        let time = time(story, &link, left > 0 && spare.is_some());
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
    let connection = &mut link.connection;
    request.body_mut().travels_on(&connection.delivery);
    story.moves(false);
    tokio::select! {
        biased;
        sent = connection.sender.try_send_request(request) => sent.map_err(|mut refused| {
            let unsent = refused.take_message();
            let garbled = refused.error().is_parse();
            Box::new(Failed { code: Code::BackendBroken, unsent, garbled })
        }),
        () = story.backend_silence(time) => {
            Err(Box::new(Failed { code: Code::BackendSlow, unsent: None, garbled: false }))
        }
    }
}
