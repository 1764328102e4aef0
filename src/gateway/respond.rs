//! The way back: a backend's answer becomes the client's.
//!
//! What enters: the answer's head and body. What leaves: the same, or with this client's own
//! identifiers in place again, or rewritten by a policy. What can never happen: an answer that
//! should be restored or rewritten passes in a form that cannot be (partial, of an unnamed type),
//! a restored one is kept by anybody, or a pseudonym reaches the client before its recovery
//! record is durable.

use std::sync::Arc;

use bytes::BytesMut;
use http::{Response, StatusCode, header, response::Parts};
use hyper::body::Incoming;

use super::body::answer::Answer;
use super::body::hold::{self, Taken};
use super::body::reader::Reader;
use super::body::stream::{Begun, Pump};
use super::body::{coded, media};
use super::headers;
use super::rescue::{Refused, of_response};
use super::routes::Route;
use super::shared::Shared;
use super::story::Story;
use super::upstream::Link;
use crate::coding::Coding;
use crate::config::{Format, RequestBody, ResponseBody};
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::rewrite::own::OwnIdentifiers;
use crate::tls::identity::Peer;

/// What the request side hands over.
pub struct Exchange<'a> {
    pub story: &'a Arc<Story>,
    pub route: &'a Route,
    pub link: Link,
    pub pump: Option<Pump>,
    pub own: Option<Arc<OwnIdentifiers>>,
    pub authority: &'a str,
    pub head_request: bool,
}

impl Exchange<'_> {
    fn takes_trailers(&self) -> bool {
        let opaque = matches!(self.route.config.request, RequestBody::Opaque);
        opaque && self.story.conn.is_h2()
    }
}

pub async fn respond(
    mut exchange: Exchange<'_>,
    response: Response<Incoming>,
) -> Result<Response<Answer>, Box<Refused>> {
    let story = exchange.story;
    let (mut parts, body) = response.into_parts();
    // We never ask for an upgrade; hyper has taken the other 1xx away.
    if parts.status.is_informational() {
        return Err(Fault::new(Code::BackendBroken, Stage::Receive).into());
    }
    framing(&parts)?;
    let mut codings = Vec::new();
    let format = match exchange.route.config.response {
        ResponseBody::Pass => None,
        ResponseBody::RestoreOwn(policy) => {
            restorable(&parts, exchange.route)?.map(|format| (policy, format))
        }
        ResponseBody::Policy(policy) => {
            let none = matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
            if !exchange.head_request && !none {
                codings = whole(&parts)?;
            }
            let config = &exchange.route.config;
            let format = media::response(&parts.headers, config.format, config.rows);
            // Selectors are made for what the route says: under another layout they match nothing.
            if format.is_some_and(|format| !media::is_as_said(format, config.format, config.rows)) {
                return Err(refused().into());
            }
            format.map(|format| (policy, format))
        }
    };
    let by_policy = matches!(exchange.route.config.response, ResponseBody::Policy(_));
    let grpc = exchange.link.connection.is_http2() && !by_policy;
    parts.headers = {
        let carried = grpc.then(|| headers::grpc::response(&parts.headers, exchange.route));
        let mut headers = headers::response::build(
            parts.headers,
            parts.status,
            exchange.head_request,
            exchange.route,
            [exchange.authority, exchange.link.authority()],
        );
        if let Some(carried) = carried {
            headers.extend(carried);
        }
        headers
    };
    if by_policy {
        // A type of the backend's own has parameters made of anything.
        match format {
            Some((_, format)) => {
                (parts.headers).insert(header::CONTENT_TYPE, media::of(format));
            }
            None => {
                parts.headers.remove(header::CONTENT_TYPE);
            }
        }
    }
    // Version and extensions (a reason phrase of the backend's own) stay behind.
    let mut head = Response::new(()).into_parts().0;
    head.status = parts.status;
    head.headers = parts.headers;
    let mut reader = Reader::of_backend(body, story.clone());
    // A client of HTTP/1.1 would have to be asked whether it wants them (RFC 9110, section 6.5.1).
    if grpc && exchange.takes_trailers() {
        reader.keep_trailers(&exchange.route.response_headers);
    }
    let empty = exchange.head_request || reader.has_ended();
    if empty {
        drop(codings);
    } else {
        reader.decode(codings);
    }
    let answer = match format {
        _ if empty => {
            // An empty success is told only when the request has gone well to its end: once
            // its head has left there is nothing left to break off.
            if let (true, Some(pump)) = (parts.status.is_success(), &mut exchange.pump) {
                wholly_sent(pump, story).await?;
            }
            Answer::empty(story.clone(), Some(exchange.link), exchange.pump)
        }
        Some((policy, format)) => Box::pin(rewrite(exchange, policy, format, reader)).await?,
        // What it is about cannot be told, that it is so can: a status without its page.
        None if by_policy && !parts.status.is_success() => {
            Answer::empty(story.clone(), None, exchange.pump)
        }
        None if by_policy => return Err(refused().into()),
        None => Answer::pass(reader, story.clone(), exchange.link, exchange.pump),
    };
    story.answers(head.status);
    Ok(Response::from_parts(head, answer))
}

/// Chunks and nothing else, or no transfer coding: hyper would take another coding's bytes for the
/// content, and of two framings choose one where another reader may choose the other (RFC 9112,
/// section 6.3). None was asked for, since `TE` is never sent.
fn framing(parts: &Parts) -> Result<(), Fault> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let single = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if single && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    Err(Fault::new(Code::BackendBroken, Stage::Receive))
}

/// The format in which identifiers can be put back; `None` where there are none to find (an
/// error in plain text).
fn restorable(parts: &Parts, route: &Route) -> Result<Option<Format>, Fault> {
    if parts.status == StatusCode::PARTIAL_CONTENT || !media::is_plain(&parts.headers) {
        return Err(refused());
    }
    let route = &route.config;
    let format = media::response(&parts.headers, route.format, route.rows);
    // What is no JSON in an event would break the stream off, for identifiers that are rarely there.
    Ok(format.filter(|format| *format != Format::EventStream))
}

/// What must be undone before a policy can read it: none was asked for, but some backends code
/// all the same. A part of a representation cannot be read.
fn whole(parts: &Parts) -> Result<Vec<Coding>, Fault> {
    if parts.status == StatusCode::PARTIAL_CONTENT {
        return Err(refused());
    }
    coded::of(&parts.headers, &Coding::ALL).map_err(|_| refused())
}

fn refused() -> Fault {
    Fault::new(Code::ResponseRefused, Stage::Receive)
}

/// Puts the client's own identifiers back, or pseudonyms in the places of a policy: whole where
/// the answer is small, else as it comes.
async fn rewrite(
    exchange: Exchange<'_>,
    policy: usize,
    format: Format,
    mut reader: Reader,
) -> Result<Answer, Fault> {
    let Exchange {
        story,
        route,
        link,
        mut pump,
        own,
        ..
    } = exchange;
    let shared = &story.site.shared;
    if let (Some(pump), Some(_)) = (&mut pump, &own) {
        // What the client sent is known, and counted, only when all of it has been read.
        wholly_sent(pump, story).await?;
        if let (Some(own), Some(peer)) = (&own, &story.conn.peer) {
            charge(shared, own, peer)?;
        }
    }
    // What is put back was counted when it came.
    let counted = own.is_none();
    let mut rewrite = shared.rewrite(&route.config, policy, format, own, None)?;
    let taken = match format {
        // Nobody knows when its end comes.
        Format::EventStream => Taken::Begun(BytesMut::new()),
        _ => {
            let most = limits::CHUNK.min(shared.limits.hold);
            hold::take(&mut reader, most).await.map_err(of_response)?
        }
    };
    match taken {
        Taken::Whole(whole) => {
            let (out, summary) = hold::rewrite(&mut rewrite, &whole)
                .await
                .map_err(of_response)?;
            if counted {
                story.rewrote(summary);
            }
            let story = story.clone();
            Ok(Answer::whole(out.into(), story, Some(link), pump))
        }
        Taken::Begun(begun) => {
            let mut first = Vec::new();
            let pushed = rewrite.push(&begun, &mut first).await;
            pushed.map_err(of_response)?;
            Box::pin(reader.streams(0)).await?;
            let begun = Begun {
                rewrite: Box::new(rewrite),
                first,
                encode: None,
                step: None,
                counted,
            };
            let (back, pieces) = Pump::start(reader, begun, story.clone(), of_response);
            let pumps = [pump, Some(back)];
            Ok(Answer::stream(pieces, story.clone(), link, pumps))
        }
    }
}

/// Waits for the end of the request's body, as long as the backend takes it.
///
/// # Errors
/// What went wrong with the body, or [`Code::BackendSlow`] where the backend has answered and
/// does not read on.
async fn wholly_sent(pump: &mut Pump, story: &Story) -> Result<(), Fault> {
    let time = story.site.shared.limits.response_time;
    tokio::select! {
        () = pump.finished() => {}
        () = story.backend_silence(time) => {
            return Err(Fault::new(Code::BackendSlow, Stage::Send));
        }
    }
    story.fault().map_or(Ok(()), |fault| Err(fault.clone()))
}

/// Counts what this request brought against the client's day.
///
/// # Errors
/// [`Code::RestoreBudget`].
pub fn charge(shared: &Shared, own: &OwnIdentifiers, peer: &Peer) -> Result<(), Fault> {
    shared.restore.charge(peer, own.marks().into_iter())
}
