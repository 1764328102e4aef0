//! The one place where a fault becomes an answer.
//!
//! What enters: a [`Refused`]. What leaves: `application/problem+json` (RFC 9457). What can never
//! happen: the document shows anything of the message but places that the policy itself names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::body::answer::Answer;
use super::body::coded;
use super::routes::NoRoute;
use super::shared::RequestId;
use super::story::Story;
use crate::error::{Code, Fault, Side, Stage};
use crate::limits;

/// A fault with what its answer needs besides.
#[derive(Debug)]
pub struct Refused {
    pub fault: Fault,
    allow: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

impl Refused {
    /// Too often: there is room again after `time`.
    pub fn later(time: Duration) -> Box<Self> {
        Box::new(Self {
            fault: Fault::new(Code::RateLimited, Stage::Authorise),
            allow: None,
            retry_after: Some(time),
        })
    }
}

impl From<Fault> for Box<Refused> {
    fn from(fault: Fault) -> Self {
        Box::new(Refused {
            fault,
            allow: None,
            retry_after: None,
        })
    }
}

impl From<Box<NoRoute>> for Box<Refused> {
    fn from(none: Box<NoRoute>) -> Self {
        Box::new(Refused {
            fault: none.fault,
            allow: none.allow,
            retry_after: None,
        })
    }
}

/// What a fault in the backend's answer is to the client: somebody else's, without its place.
pub fn of_response(fault: Fault) -> Fault {
    let code = match fault.code {
        code @ (Code::BackendBroken
        | Code::BackendSlow
        | Code::RestoreBudget
        | Code::HoldBudget
        | Code::VaultUnreachable
        | Code::VaultRefused
        | Code::VaultConflict
        | Code::Budget
        | Code::NotReady
        | Code::Internal) => code,
        _ => Code::ResponseRefused,
    };
    Fault::new(code, fault.stage)
}

/// What a fault in the client's own message is to the client: itself.
pub fn of_request(fault: Fault) -> Fault {
    fault
}

/// The answer to a request that was refused, or failed before its answer began.
pub fn answer(story: &Arc<Story>, refused: Refused) -> Response<Answer> {
    // A pump's fault came first and is the reason of the one that stopped the exchange.
    story.fail(refused.fault);
    let unknown = Fault::new(Code::Internal, Stage::Send);
    let fault = story.fault().unwrap_or(&unknown);
    let body = Bytes::from(document(story, fault));
    let status =
        StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    story.answers(status);
    let mut response = Response::new(Answer::whole(body, story.clone(), None, None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let media = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = refused.allow {
        headers.insert(header::ALLOW, allow);
    }
    if fault.code == Code::ContentCoding
        && let Some(route) = story.route()
    {
        let taken = coded::accepted(&route.config.codings.taken);
        headers.insert(header::ACCEPT_ENCODING, taken);
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110, section 15.5.22; RFC 6455, section 4.4.
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let ours = HeaderValue::from_static("13");
        headers.insert(header::SEC_WEBSOCKET_VERSION, ours);
    }
    // The fault that is told may be another one than that which stopped the exchange.
    let away = status == StatusCode::SERVICE_UNAVAILABLE || fault.code == Code::ClientShare;
    if let Some(time) = refused.retry_after.or(away.then_some(limits::RETRY_AFTER)) {
        // Whole seconds (RFC 9110, section 10.2.3), none of them too few.
        let seconds = time.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// RFC 9457, section 3.1, with members of our own.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    side: &'static str,
    stage: &'static str,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    next: &'static str,
    /// Part of the body had reached the backend; what it has committed stays there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

fn document(story: &Story, fault: &Fault) -> Vec<u8> {
    problem(fault, story.id, story.is_partly_sent())
}

/// The document of a refusal. `partial`: part of the body had reached the backend.
pub fn problem(fault: &Fault, id: RequestId, partial: bool) -> Vec<u8> {
    let ours = fault.side != Side::Backend;
    let problem = Problem {
        r#type: format!("urn:cryptonym:error:{}", fault.code.name()),
        title: fault.code.title(),
        status: fault.code.status(),
        code: fault.code.name(),
        side: fault.side.name(),
        stage: fault.stage.name(),
        request_id: id.to_string(),
        offset: fault.offset.filter(|_| ours),
        place: fault.place.as_deref().filter(|_| ours),
        next: fault.code.next(),
        partial,
    };
    serde_json::to_vec(&problem).unwrap_or_default()
}
