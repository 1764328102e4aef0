//! The way of one request, top to bottom.
//!
//! ```text
//! head ─▶ route ─▶ grant ─▶ body ─▶ link ─▶ send ─▶ respond ─▶ client
//!   │       │        │        │       │       │        │
//!   └───────┴────────┴────────┴───────┴───────┴────────┴──▶ rescue (one place)
//! ```
//!
//! What enters: a request as hyper parsed it. What leaves: an answer, always. What can never
//! happen: the body is polled before the grant, or goes upstream before it is rewritten and
//! durable; a body that failed ends cleanly at the backend.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;

use super::body::answer::Answer;
use super::body::hold::{self, Held, Taken};
use super::body::outgoing::Outgoing;
use super::body::reader::Reader;
use super::body::stream::{Begun, Pump};
use super::egress;
use super::headers;
use super::plan::{self, Granted, Plan};
use super::rescue::{self, Refused};
use super::respond;
use super::routes::Route;
use super::serve::Conn;
use super::side_doors::Looked;
use super::story::Story;
use super::trace::Step;
use super::{head, rescue::of_request, upstream, websocket};
use crate::coding::{self, Coding, Encoder};
use crate::config::WebSocket;
use crate::error::{Code, Fault, Stage};
use crate::rewrite::Rewriter;

/// One request, one answer.
pub async fn exchange(conn: Arc<Conn>, request: Request<Incoming>) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let story = Story::begin(conn, &parts);
    match forward(&story, parts, body).await {
        Ok(answer) => answer,
        Err(refused) => rescue::answer(&story, *refused),
    }
}

async fn forward(
    story: &Arc<Story>,
    mut parts: Parts,
    body: Incoming,
) -> Result<Response<Answer>, Box<Refused>> {
    let conn = &story.conn;
    let shared = &story.site.shared;
    let mut body = Reader::of_client(body, story.clone());

    // Can it be trusted, where does it go, may it?
    let head = head::check(&parts, conn.sni.as_deref())?;
    let (index, route) = shared.routes.find(&head.host, head.path, &parts.method)?;
    egress::belongs(conn, route, &head)?;
    story.takes_route(index);
    story
        .site
        .upstreams
        .judge(route.config.backend, conn.aim.as_ref())?;
    if !route.config.slow {
        body.must_keep_pace();
    }
    if head.upgrade && route.config.websocket == WebSocket::Refuse {
        return Err(Fault::new(Code::UpgradeRefused, Stage::Head).into());
    }
    let peer = conn.peer.as_ref();
    if let Some(rate) = &route.rate {
        rate.take(conn.client).map_err(Refused::later)?;
    }
    let (granted, looked) = plan::grant(
        shared,
        route,
        peer,
        &head,
        &parts,
        &mut body,
        story.trace.as_ref(),
    )?;
    let authority = head.authority.to_owned();
    let upgrade = head.upgrade;
    // What the head says is durable before the body is asked for. Boxed, with what waits for it:
    // it is rare, and the future of an exchange lives in every stream.
    let granted = match looked {
        Some(looked) => Box::pin(settle(story, *looked, granted, &mut parts)).await?,
        None => granted,
    };
    let mut switch = match upgrade {
        true => Some(websocket::Asked::read(&mut parts, shared, route)?),
        false => None,
    };
    let Granted { plan, own } = granted;

    // The body: rewritten and durable whole, or its beginning, or not looked at.
    let (prepared, _held) = match plan {
        Plan::Empty => (Prepared::Whole(Outgoing::empty(story.clone())), None),
        Plan::Pass => (Prepared::Whole(Outgoing::pass(body, story.clone())), None),
        Plan::Rewrite {
            rewrite,
            take,
            streams,
        } => prepare(story, route, body, rewrite, take, streams).await?,
    };
    if let (Some(own), Some(peer)) = (&own, peer) {
        respond::charge(shared, own, peer)?;
    }

    // Upstream.
    let sending = story.step(Step::Upstream);
    let link = (story.site.upstreams)
        .link(route.config.backend, conn.client, conn.aim.as_ref())
        .await?;
    let (outgoing, pump) = prepared.start(story);
    let host = match &route.config.host_upstream {
        Some(host) => host.parse().map_err(|_| internal())?,
        None if link.is_original() => authority.parse().map_err(|_| internal())?,
        None => link.host(),
    };
    let own_host = route.config.host_upstream.is_none() && !link.is_original();
    let head_request = parts.method == http::Method::HEAD;
    let mut request = Request::new(outgoing);
    *request.headers_mut() = {
        let http2 = link.connection.is_http2();
        let carried = http2.then(|| headers::grpc::request(&parts.headers, route));
        let mut headers = headers::request::build(
            std::mem::take(&mut parts.headers),
            parts.version,
            &parts.method,
            route,
            host,
            !request.body().is_empty(),
        );
        if let Some(carried) = carried {
            headers.extend(carried);
        }
        let announced = route.doors.as_ref().and_then(|d| d.announcement.as_ref());
        if let Some(names) = announced.filter(|_| request.body().may_trail()) {
            headers.insert(header::TRAILER, names.clone());
        }
        headers
    };
    if let Some(trace) = &story.trace {
        trace.mark(request.headers_mut());
    }
    if let Some(switch) = &mut switch {
        switch.ask(request.headers_mut());
    }
    *request.method_mut() = parts.method;
    *request.uri_mut() = origin_form(parts.uri)?;
    let (link, response) = upstream::send(story, link, request, own_host).await?;
    if let Some(sending) = sending {
        sending.ended_well();
    }

    // And back.
    if let Some(switch) = switch
        && response.status() == http::StatusCode::SWITCHING_PROTOCOLS
    {
        return switch.take(story, index, link, response);
    }
    let exchange = respond::Exchange {
        story,
        route,
        link,
        pump,
        own,
        authority: &authority,
        head_request,
    };
    respond::respond(exchange, response).await
}

/// Puts what the policy says of a head into it.
async fn settle(
    story: &Arc<Story>,
    looked: Looked,
    mut granted: Granted,
    parts: &mut Parts,
) -> Result<Granted, Fault> {
    let (summary, still) = looked.settle(parts).await?;
    story.rewrote(summary);
    if let (Plan::Rewrite { rewrite, .. }, Some(still)) = (&mut granted.plan, still) {
        rewrite.goes_after(still);
    }
    Ok(granted)
}

/// A body that is ready to go, or whose beginning is.
enum Prepared {
    Whole(Outgoing),
    /// Boxed: it is rare, and this is copied.
    Begun(Box<(Reader, Begun)>),
}

impl Prepared {
    fn start(self, story: &Arc<Story>) -> (Outgoing, Option<Pump>) {
        match self {
            Self::Whole(outgoing) => (outgoing, None),
            Self::Begun(begun) => {
                let (body, begun) = *begun;
                let (pump, pieces) = Pump::start(body, begun, story.clone(), of_request);
                (Outgoing::stream(pieces, story.clone()), Some(pump))
            }
        }
    }
}

/// Takes the body, or as much of it as may be held, and rewrites that. Whatever is wrong with it
/// is found before the backend has heard of the request.
async fn prepare(
    story: &Arc<Story>,
    route: &Route,
    mut body: Reader,
    mut rewrite: Box<Rewriter>,
    take: usize,
    streams: bool,
) -> Result<(Prepared, Option<Held>), Fault> {
    let shared = &story.site.shared;
    let step = story.step(Step::Rewrite);
    if let Some(doors) = &route.doors
        && !doors.trailers.is_empty()
    {
        body.keep_trailers(&doors.trailers);
    }
    let most = take + coding::beginning(body.codings());
    let mut share = shared.hold.take(most, &shared.metrics).await?;
    let begun = match hold::take(&mut body, take).await? {
        Taken::Whole(whole) => {
            if !body.codings().is_empty() {
                share.shrink(whole.len());
            }
            let (out, summary) = hold::rewrite(&mut rewrite, &whole).await?;
            story.rewrote(summary);
            if let Some(step) = step {
                step.ended_well();
            }
            let out = match again(route, &body) {
                [] => out,
                codings => Encoder::whole(codings, &out)?,
            };
            let outgoing = Outgoing::held(out.into(), story.clone());
            let outgoing = outgoing.with_trailers(body.passing_trailers());
            return Ok((Prepared::Whole(outgoing), Some(share)));
        }
        Taken::Begun(begun) => begun,
    };
    if !streams && !route.config.stream {
        return Err(Fault::new(Code::BodyTooLarge, Stage::Receive));
    }
    let mut first = Vec::with_capacity(begun.len() + begun.len() / 8);
    rewrite.push(&begun, &mut first).await?;
    if !body.codings().is_empty() {
        // Rare, and large.
        let beside = Encoder::memory(again(route, &body));
        Box::pin(body.streams(beside)).await?;
    }
    let encode = match again(route, &body) {
        [] => None,
        codings => Some(Box::new(Encoder::new(codings)?)),
    };
    let begun = Begun {
        rewrite,
        first,
        encode,
        step,
        counted: true,
    };
    Ok((Prepared::Begun(Box::new((body, begun))), None))
}

/// What the backend gets is coded as it came, or not at all.
fn again<'a>(route: &Route, body: &'a Reader) -> &'a [Coding] {
    if route.config.codings.plain {
        return &[];
    }
    body.codings()
}

/// The target as a backend wants it: path and query, byte for byte.
fn origin_form(uri: Uri) -> Result<Uri, Fault> {
    if uri.authority().is_none() {
        return Ok(uri);
    }
    let target = uri.into_parts().path_and_query;
    target.map(Uri::from).ok_or_else(internal)
}

fn internal() -> Fault {
    Fault::new(Code::Internal, Stage::Send)
}
