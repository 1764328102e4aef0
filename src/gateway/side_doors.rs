//! The places of a request's head that a policy speaks of: query, captures, cookies, fields.
//!
//! What enters: a head that is trusted, before its body is polled. What leaves: the same head
//! with answers in place, once they are durable; the body comes after it. What can never happen:
//! a value passes at such a place because it is written otherwise, or a place that the policy
//! refuses is only found when something has been sent.
//!
//! A rule that names a place comes first, then the route's own lists, then a rule for all places
//! of the door, then `unlisted`. A route whose policy has no such rules looks at nothing it did
//! not look at before, but for whether there are cookies.

use std::sync::Arc;

use bytes::Bytes;
use http::header::Entry;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::head::{self, Head};
use super::headers::cookie;
use super::query;
use super::shared::Shared;
use super::trace::Trace;
use crate::config::{self, RequestBody};
use crate::error::{Code, Fault, Stage};
use crate::format::form::Listed;
use crate::format::places::{Places, Writing, cookie_octet};
use crate::format::{Form, Options};
use crate::limits;
use crate::policy::{Action, Door, Policy, RuleId, Unlisted};
use crate::rewrite::Summary;
use crate::rewrite::head::{Answered, Head as Texts, StillDurable};
use crate::rewrite::own::OwnIdentifiers;

/// What a route with a policy does with the places of a head.
pub struct SideDoors {
    policy: Arc<Policy>,
    /// Its index.
    at: usize,
    /// The policy has a word on the query; else the route's list alone has.
    query: bool,
    listed: Arc<[Listed]>,
    /// Some capture is rewritten.
    captures: bool,
    /// Captures that the route lists.
    kept: Box<[String]>,
    /// Cookies that the route lists.
    cookies: Box<[String]>,
    /// Cookies that pass are put together here, and not by the route's list alone.
    pub settles_cookies: bool,
    /// Fields that a rule names.
    fields: Box<[(HeaderName, RuleId)]>,
    /// Trailers that a rule lets pass, and how they are announced (RFC 9110, section 6.6.2).
    pub trailers: Box<[HeaderName]>,
    pub announcement: Option<HeaderValue>,
}

/// A head whose places are answered.
pub struct Looked {
    answered: Answered,
    targets: Vec<Target>,
}

/// Where a text goes back to.
enum Target {
    Path,
    Query,
    Cookies,
    /// Which of the fields of this name.
    Field(HeaderName, usize),
}

impl SideDoors {
    /// `None` for a route without a policy.
    pub fn of(route: &config::Route, policies: &[Arc<Policy>]) -> Option<Box<Self>> {
        let RequestBody::Policy(at) = route.request else {
            return None;
        };
        let policy = policies.get(at)?.clone();
        let doors = &policy.doors;
        let changes = |rule: RuleId| !matches!(policy.rule(rule).action, Action::Keep);
        let captures = super::routes::captures(&route.path)
            .filter_map(|name| capture_rule(&policy, &route.captures, name))
            .any(changes);
        let fields = doors.names(Door::Header);
        let fields = fields
            .filter_map(|(name, rule)| Some((name.parse().ok()?, rule)))
            .collect();
        let trailers: Box<[HeaderName]> = (doors.names(Door::Trailer))
            .filter(|(_, rule)| matches!(policy.rule(*rule).action, Action::Keep))
            .filter_map(|(name, _)| name.parse().ok())
            .collect();
        let names: Vec<_> = trailers.iter().map(HeaderName::as_str).collect();
        let listed = route.query.iter().map(|rule| Listed {
            name: (*rule.name).into(),
            values: rule.values.iter().map(|v| (**v).into()).collect(),
        });
        Some(Box::new(Self {
            query: doors.has(Door::Query) || policy.unlisted != Unlisted::Reject,
            listed: listed.collect(),
            captures,
            kept: route.captures.clone().into(),
            settles_cookies: doors.has(Door::Cookie)
                || policy.unlisted == Unlisted::Keep
                || (policy.unlisted == Unlisted::Drop && !route.cookies.is_empty()),
            cookies: route.cookies.clone().into(),
            fields,
            announcement: (!names.is_empty())
                .then(|| names.join(", ").parse().ok())
                .flatten(),
            trailers,
            at,
            policy,
        }))
    }

    /// Fields that pass to the backend because a rule says what becomes of them.
    pub fn passing_fields(&self) -> impl Iterator<Item = &HeaderName> {
        let fields = self.fields.iter().filter(|(_, rule)| self.passes(*rule));
        fields.map(|(name, _)| name)
    }

    /// Cookies that a backend may set because a rule lets them come back.
    pub fn passing_cookies(&self) -> impl Iterator<Item = &str> {
        let names = self.policy.doors.names(Door::Cookie);
        let passing = names.filter(|(_, rule)| self.passes(*rule));
        passing.map(|(name, _)| name)
    }

    /// Whether anything comes out at a place of this rule.
    fn passes(&self, rule: RuleId) -> bool {
        let action = &self.policy.rule(rule).action;
        !matches!(action, Action::Drop | Action::Reject)
    }

    /// Whether something is said about this capture, if the route does not list it.
    pub fn knows_capture(&self, name: &str) -> bool {
        self.policy.takes_capture(name)
    }

    /// Looks at every place of a head, and answers what wants an answer; `None` if it may go as
    /// it came.
    ///
    /// # Errors
    /// A place that is refused, a value without an answer, or [`Code::NotReady`].
    pub fn look(
        &self,
        shared: &Shared,
        route: &config::Route,
        (head, parts): (&Head<'_>, &Parts),
        own: Option<&Arc<OwnIdentifiers>>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Option<Box<Looked>>, Fault> {
        let (mut texts, mut targets) = (Texts::default(), Vec::new());
        if self.captures {
            let places = self.captured(shared, head)?;
            let places = Box::new(Places::new(Writing::Path, places));
            texts.look(places, head.path.into())?;
            targets.push(Target::Path);
        }
        if !self.query {
            query::check(head.query, &route.query)?;
        } else if let Some(query) = head.query.filter(|query| !query.is_empty()) {
            let options = Options {
                record: shared.limits.record,
                ..Options::default()
            };
            let scanner = Form::query(self.policy.clone(), self.listed.clone(), options);
            texts.look(Box::new(scanner), query.into()).map_err(early)?;
            targets.push(Target::Query);
        }
        let cookies = self.cookies(&parts.headers)?;
        let must = cookies.is_some();
        if let Some((joined, places)) = cookies {
            let places = Box::new(Places::new(Writing::Cookie, places));
            texts.look(places, joined)?;
            targets.push(Target::Cookies);
        }
        for (name, rule) in &self.fields {
            self.field(name, *rule, &parts.headers, &mut texts, &mut targets)?;
        }
        if !must && texts.is_untouched() {
            return Ok(None);
        }
        let job = shared.job(route, self.at, texts.asks(), own.cloned(), trace)?;
        let answered = texts.answer(job, shared.rules[self.at].clone(), limits::HEAD)?;
        Ok(Some(Box::new(Looked { answered, targets })))
    }

    /// Where in the path the captures stand that a rule is about.
    fn captured(
        &self,
        shared: &Shared,
        head: &Head<'_>,
    ) -> Result<Vec<(usize, usize, RuleId)>, Fault> {
        let mut places = Vec::new();
        for (name, range) in shared.routes.captured(&head.host, head.path) {
            let Some(id) = capture_rule(&self.policy, &self.kept, name) else {
                continue;
            };
            let rule = self.policy.rule(id);
            match rule.action {
                Action::Keep => {}
                Action::Reject => return Err(refused(rule.at.to_string())),
                _ => places.push((range.start, range.end, id)),
            }
        }
        places.sort_unstable();
        Ok(places)
    }

    /// The cookies that pass, as one field, and the values in it that a rule rewrites. HTTP/2 may
    /// send them in crumbs (RFC 9113, section 8.2.3). `None`: there are no cookies, or the route's
    /// list is enough to say which pass.
    #[allow(clippy::type_complexity, reason = "a text and its places")]
    fn cookies(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<(Vec<u8>, Vec<(usize, usize, RuleId)>)>, Fault> {
        if !headers.contains_key(header::COOKIE) {
            return Ok(None);
        }
        let (mut joined, mut places) = (Vec::new(), Vec::new());
        for pair in cookie::pairs(headers) {
            let Some(fate) = self.cookie(pair)? else {
                continue;
            };
            if !self.settles_cookies {
                continue;
            }
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            let start = joined.len();
            joined.extend_from_slice(pair);
            if let Some((value, rule)) = fate {
                places.push((start + value.start, start + value.end, rule));
            }
        }
        Ok(self.settles_cookies.then_some((joined, places)))
    }

    /// `None`: it is left out. Else, whether and where in the pair a rule rewrites it.
    #[allow(clippy::type_complexity, reason = "as above")]
    fn cookie(
        &self,
        pair: &[u8],
    ) -> Result<Option<Option<(std::ops::Range<usize>, RuleId)>>, Fault> {
        let unlisted = |keep| match self.policy.unlisted {
            Unlisted::Reject => {
                let fault = Fault::new(Code::UnlistedPlace, Stage::Authorise);
                Err(fault.place("cookie:*"))
            }
            Unlisted::Keep if keep => Ok(Some(None)),
            _ => Ok(None),
        };
        // What has no name never passes.
        let Some((name, value)) = cookie::split(pair) else {
            return unlisted(false);
        };
        let doors = &self.policy.doors;
        let rule = match doors.named(Door::Cookie, name) {
            Some(rule) => rule,
            None if self.cookies.iter().any(|c| c.as_bytes() == name) => {
                return match is_one_cookie(value) {
                    true => Ok(Some(None)),
                    false => unlisted(true),
                };
            }
            None => match doors.any(Door::Cookie) {
                Some(rule) => rule,
                None => return unlisted(true),
            },
        };
        match self.policy.rule(rule).action {
            Action::Keep if is_one_cookie(value) => Ok(Some(None)),
            Action::Keep => unlisted(true),
            Action::Drop => Ok(None),
            Action::Reject => Err(refused(self.policy.rule(rule).at.to_string())),
            _ => {
                let value = value_of(pair, pair.len() - value.len());
                Ok(Some((!value.is_empty()).then_some((value, rule))))
            }
        }
    }

    fn field(
        &self,
        name: &HeaderName,
        id: RuleId,
        headers: &HeaderMap,
        texts: &mut Texts,
        targets: &mut Vec<Target>,
    ) -> Result<(), Fault> {
        let rule = self.policy.rule(id);
        for (which, value) in headers.get_all(name).iter().enumerate() {
            match rule.action {
                Action::Keep | Action::Drop => break,
                Action::Reject => return Err(refused(rule.at.to_string())),
                _ if value.is_empty() => {}
                _ => {
                    let places = vec![(0, value.len(), id)];
                    let places = Box::new(Places::new(Writing::Field, places));
                    texts.look(places, value.as_bytes().to_vec())?;
                    targets.push(Target::Field(name.clone(), which));
                }
            }
        }
        Ok(())
    }
}

impl Looked {
    /// Puts the answers into the head, once they are durable.
    ///
    /// # Errors
    /// Why they may not leave; [`Code::HeadTooLarge`] if they make the head too long.
    pub async fn settle(self, parts: &mut Parts) -> Result<(Summary, Option<StillDurable>), Fault> {
        let (texts, summary, still) = self.answered.durable().await?;
        let (mut path, mut query) = (None, None);
        for (target, text) in self.targets.into_iter().zip(texts) {
            match target {
                Target::Path => path = Some(text),
                Target::Query => query = Some(text),
                Target::Cookies => {
                    parts.headers.remove(header::COOKIE);
                    if !text.is_empty() {
                        parts.headers.insert(header::COOKIE, field(&text)?);
                    }
                }
                Target::Field(name, which) => {
                    if let Entry::Occupied(mut values) = parts.headers.entry(name)
                        && let Some(value) = values.iter_mut().nth(which)
                    {
                        *value = field(&text)?;
                    }
                }
            }
        }
        if path.is_some() || query.is_some() {
            parts.uri = target(&parts.uri, path, query)?;
        }
        Ok((summary, still))
    }
}

/// The target with another path, query or both. It is as trustworthy as the first one was.
fn target(uri: &Uri, path: Option<Vec<u8>>, query: Option<Vec<u8>>) -> Result<Uri, Fault> {
    let too_long = || Fault::new(Code::HeadTooLarge, Stage::Splice);
    let mut made = path.unwrap_or_else(|| uri.path().into());
    let query = query.or_else(|| uri.query().map(Into::into));
    if let Some(query) = query.filter(|q| !q.is_empty()) {
        made.push(b'?');
        made.extend_from_slice(&query);
    }
    let made = PathAndQuery::from_maybe_shared(Bytes::from(made)).map_err(|_| too_long())?;
    let made = Uri::from(made);
    head::target(&made).map_err(|_| Fault::new(Code::Internal, Stage::Splice))?;
    Ok(made)
}

fn field(text: &[u8]) -> Result<HeaderValue, Fault> {
    HeaderValue::from_bytes(text).map_err(|_| Fault::new(Code::Internal, Stage::Splice))
}

/// The value of a cookie without the quotes that may be around it (RFC 6265, section 4.1.1).
fn value_of(pair: &[u8], start: usize) -> std::ops::Range<usize> {
    let blanks = pair[start..].len() - pair[start..].trim_ascii_start().len();
    let start = start + blanks;
    match &pair[start..] {
        [b'"', inner @ .., b'"'] => start + 1..start + 1 + inner.len(),
        _ => start..pair.len(),
    }
}

/// Whether all readers take this for one cookie's value (RFC 6265, section 4.1.1). Some end a value
/// at white space or a comma, and what comes behind would be a cookie that nobody has looked at.
fn is_one_cookie(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    };
    inner.iter().all(|b| cookie_octet(*b))
}

/// The rule for a capture, unless the route lists it and no rule names it.
fn capture_rule(policy: &Policy, listed: &[String], name: &str) -> Option<RuleId> {
    let doors = &policy.doors;
    match listed.iter().any(|l| l == name) {
        true => doors.named(Door::Path, name.as_bytes()),
        false => doors.rule(Door::Path, name.as_bytes()),
    }
}

fn refused(place: String) -> Fault {
    Fault::new(Code::RejectedPlace, Stage::Authorise).place(place)
}

/// What is wrong with a query is found before anything is granted.
fn early(fault: Fault) -> Fault {
    Fault {
        stage: Stage::Authorise,
        ..fault
    }
}

#[cfg(test)]
mod tests {
    use super::is_one_cookie;

    #[test]
    fn formats_03_a_value_that_some_readers_cut_is_not_one_cookie() {
        for one in ["dark", "\"a\"", "", "a=b", "%20+/"] {
            assert!(is_one_cookie(one.as_bytes()), "{one}");
        }
        for cut in [
            "a sid=SUB-1",
            "a, sid=SUB-1",
            "\"a\" sid=SUB-1",
            "a\tb",
            "a\\b",
            "a\"b",
            "\u{e9}",
        ] {
            assert!(!is_one_cookie(cut.as_bytes()), "{cut}");
        }
    }
}
