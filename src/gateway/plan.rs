//! What will happen to a request's body, decided from its head alone.
//!
//! What enters: a route, a head, what the connection knows. What leaves: a [`Plan`]. What can
//! never happen: a byte of the body is asked for (which is what makes hyper send 100 Continue)
//! before all of this has been granted: certificate, captures, query, media type, length, lease.

use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::body::reader::Reader;
use super::body::{coded, media};
use super::head::Head;
use super::query;
use super::routes::Route;
use super::shared::Shared;
use super::side_doors::Looked;
use super::trace::Trace;
use crate::config::{Format, RequestBody, ResponseBody};
use crate::error::{Code, Fault, Stage};
use crate::limits;
use crate::policy::{Door, Policy};
use crate::rewrite::Rewriter;
use crate::rewrite::own::OwnIdentifiers;
use crate::tls::identity::{Peer, Role};

/// What a route does with a request's body.
pub enum Plan {
    /// There is none.
    Empty,
    /// It passes unseen.
    Pass,
    Rewrite {
        rewrite: Box<Rewriter>,
        /// Bytes to take before deciding anything else, out of the hold budget.
        take: usize,
        /// The sender has said that it is longer than what is held.
        streams: bool,
    },
}

/// Everything that one exchange was granted.
pub struct Granted {
    pub plan: Plan,
    /// Where a `restore-own` route remembers what this client sent.
    pub own: Option<Arc<OwnIdentifiers>>,
}

/// Grants or refuses, before the body is polled. Beside it: the head's own places, answered and
/// not yet durable.
///
/// # Errors
/// [`Code::ClientCertificate`], `UnlistedPlace`, `QueryNotAllowed`, `BadRequest`, `MediaType`,
/// `ContentCoding`, `BodyTooLarge` or `NotReady`.
pub fn grant(
    shared: &Shared,
    route: &Route,
    peer: Option<&Peer>,
    head: &Head<'_>,
    parts: &Parts,
    body: &mut Reader,
    trace: Option<&Arc<Trace>>,
) -> Result<(Granted, Option<Box<Looked>>), Fault> {
    let config = &route.config;
    let restores = matches!(config.response, ResponseBody::RestoreOwn(_));
    // The vault's people are no clients, even where one CA has signed for both.
    let client = peer.is_some_and(|p| p.role == Role::Client);
    if (config.client_certificate || restores) && !client {
        return Err(refuse(Code::ClientCertificate));
    }
    route.check_captures()?;
    if route.doors.is_none() {
        query::check(head.query, &config.query)?;
    }
    // The response's rewriting needs its lease too, and later would be too late.
    let own = restores.then(|| Arc::new(OwnIdentifiers::new(shared.limits.restore)));
    if restores || matches!(config.response, ResponseBody::Policy(_)) {
        shared.lease(config)?;
    }
    let doors = match &route.doors {
        Some(doors) => doors.look(shared, config, (head, parts), own.as_ref(), trace)?,
        None => None,
    };
    let plan = plan(shared, route, parts, body, own.as_ref(), trace)?;
    Ok((Granted { plan, own }, doors))
}

fn plan(
    shared: &Shared,
    route: &Route,
    parts: &Parts,
    body: &mut Reader,
    own: Option<&Arc<OwnIdentifiers>>,
    trace: Option<&Arc<Trace>>,
) -> Result<Plan, Fault> {
    if body.has_ended() {
        return Ok(Plan::Empty);
    }
    // Content in a GET or HEAD has no meaning (RFC 9110, section 9.3.1) but to smugglers.
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(refuse(Code::BadRequest));
    }
    let policy = match route.config.request {
        RequestBody::None => return Err(refuse(Code::UnlistedPlace).place("body")),
        RequestBody::Opaque => return Ok(Plan::Pass),
        RequestBody::Policy(policy) => policy,
    };
    let codings = coded::of(&parts.headers, &route.config.codings.taken)?;
    let format = media::request(&parts.headers, route.config.format, route.config.rows)?;
    if route.config.format.is_none() && !speaks_of(&shared.policies[policy], format) {
        return Err(refuse(Code::MediaType));
    }
    let hold = shared.limits.hold;
    let length = body
        .exact()
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let streams = length.is_some_and(|n| n > hold);
    if streams && !route.config.stream {
        return Err(refuse(Code::BodyTooLarge));
    }
    let take = match length {
        Some(_) if streams => limits::CHUNK.min(hold),
        // What comes out of a coded body is not known.
        Some(known) if codings.is_empty() => known,
        _ => hold,
    };
    let rewrite = shared.rewrite(&route.config, policy, format, own.cloned(), trace)?;
    body.decode(codings);
    Ok(Plan::Rewrite {
        rewrite: Box::new(rewrite),
        take,
        streams,
    })
}

/// Whether a policy has places of this format. A form is not let through because some rules
/// speak of JSON, nor the other way round.
fn speaks_of(policy: &Policy, format: Format) -> bool {
    match format {
        Format::Form => policy.doors.has(Door::Form),
        _ => policy.reads_bodies(),
    }
}

fn refuse(code: Code) -> Fault {
    Fault::new(code, Stage::Authorise)
}
