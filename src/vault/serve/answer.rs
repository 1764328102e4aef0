//! Responses: JSON, the known stream, problem documents; each with incarnation and directives.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::limits;
use crate::vault::known::KnownBody;
use crate::vault::refusal::Refusal;
use crate::wire::text::Hex;
use crate::wire::{DIRECTIVES, INCARNATION};

pub type Body = BoxBody<Bytes, std::io::Error>;

/// What a handler gives back.
pub enum Answer {
    Json(Vec<u8>),
    /// JSON with a key in it: wiped when it has been sent.
    Secret(Zeroizing<Vec<u8>>),
    Text(String),
    Known(KnownBody),
}

impl Answer {
    pub fn json<T: Serialize>(value: &T) -> Self {
        Self::Json(serde_json::to_vec(value).expect("messages always have a JSON text"))
    }

    /// A small message with a key in it.
    pub fn secret<T: Serialize>(value: &T) -> Self {
        // Room for all of it: a vector that grows leaves what it held in freed memory.
        let mut text = Zeroizing::new(Vec::with_capacity(limits::SECRET_ANSWER));
        serde_json::to_writer(&mut *text, value).expect("messages always have a JSON text");
        debug_assert!(text.len() <= limits::SECRET_ANSWER);
        Self::Secret(text)
    }
}

pub fn response(incarnation: &[u8; 16], result: Result<Answer, Refusal>) -> Response<Body> {
    let (status, media_type, body) = match result {
        Ok(Answer::Json(bytes)) => (200, "application/json", full(bytes)),
        Ok(Answer::Secret(text)) => (
            200,
            "application/json",
            full(Bytes::from_owner(Wiped(text))),
        ),
        Ok(Answer::Text(text)) => (200, "text/plain; charset=utf-8", full(text.into_bytes())),
        Ok(Answer::Known(body)) => (200, "application/octet-stream", body.boxed()),
        Err(refusal) => {
            let problem = serde_json::to_vec(&refusal.problem());
            let body = full(problem.unwrap_or_default());
            (refusal.status(), "application/problem+json", body)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let incarnation = HeaderValue::from_str(&Hex(*incarnation).to_string());
    if let Ok(value) = incarnation {
        headers.insert(HeaderName::from_static(INCARNATION), value);
    }
    headers.insert(
        HeaderName::from_static(DIRECTIVES),
        HeaderValue::from_static("0"),
    );
    response
}

/// The connection drops it when it has sent it.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}
