//! Which route a request takes: host, then path, then method.
//!
//! What enters: a trusted head. What leaves: the one route that takes it, or 404, or 405 with
//! what is allowed. What can never happen: a path capture passes that its route does not list.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use matchit::Match;

use super::metrics::RouteMetrics;
use super::rates::Rate;
use super::side_doors::SideDoors;
use crate::config;
use crate::error::{Code, Fault, Stage};
use crate::policy::Policy;

/// A route, ready to be used.
pub struct Route {
    pub config: config::Route,
    pub request_headers: Vec<HeaderName>,
    pub response_headers: Vec<HeaderName>,
    pub metrics: RouteMetrics,
    pub rate: Option<Arc<Rate>>,
    /// What the policy says about the places of a head; `None` without a policy.
    pub doors: Option<Box<SideDoors>>,
    /// Cookies that the backend may set.
    pub set_cookies: Vec<String>,
    /// It is for what leaves by CONNECT, and for nothing else.
    pub outward: bool,
    /// A capture that no list names: every request of this route is refused at this place.
    unlisted_capture: Option<Box<str>>,
    methods: Vec<Method>,
}

/// What a route takes that lists no methods. Any token is a method (RFC 9110, section 9.1), and
/// an unknown one could be an identifier.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The table of all routes.
pub struct Routes {
    all: Vec<Route>,
    hosts: HashMap<String, matchit::Router<Vec<usize>>>,
    any: matchit::Router<Vec<usize>>,
}

/// Why no route takes a request.
#[derive(Debug)]
pub struct NoRoute {
    pub fault: Fault,
    /// For 405 (RFC 9110, section 15.5.6).
    pub allow: Option<HeaderValue>,
}

impl Routes {
    /// `before`: what is used now; a route of the same name and rate goes on counting.
    ///
    /// # Errors
    /// A path pattern or header name that cannot be used, in words.
    pub fn new(
        routes: &[config::Route],
        metrics: impl Fn(&str) -> RouteMetrics,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let mut all = Vec::with_capacity(routes.len());
        let mut tables: HashMap<Option<&String>, HashMap<&str, Vec<usize>>> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            all.push(Route::new(route, metrics(&route.name), before)?);
            let table = tables.entry(route.host.as_ref()).or_default();
            table.entry(&route.path).or_default().push(index);
        }
        let mut hosts = HashMap::new();
        let mut any = matchit::Router::new();
        for (host, table) in tables {
            let router = match host {
                Some(host) => hosts.entry(host.clone()).or_default(),
                None => &mut any,
            };
            for (path, indices) in table {
                router
                    .insert(path, indices)
                    .map_err(|e| format!("path pattern {path}: {e}"))?;
            }
        }
        Ok(Self { all, hosts, any })
    }

    /// Routes of these hosts are for what leaves by CONNECT.
    pub fn outward(mut self, is_host: impl Fn(&str) -> bool) -> Self {
        for route in &mut self.all {
            route.outward = route.config.host.as_deref().is_some_and(&is_host);
        }
        self
    }

    /// What the routes' policies say about the places of a head.
    pub fn guarded(mut self, policies: &[Arc<Policy>]) -> Self {
        for route in &mut self.all {
            let Some(doors) = SideDoors::of(&route.config, policies) else {
                continue;
            };
            route
                .request_headers
                .extend(doors.passing_fields().cloned());
            // Where answers are rewritten the backend is one that knows people by name.
            if !matches!(route.config.response, config::ResponseBody::Policy(_)) {
                let cookies = doors.passing_cookies().map(str::to_owned);
                route.set_cookies.extend(cookies);
            }
            route.unlisted_capture = unlisted_capture(&route.config, Some(&doors));
            route.doors = Some(doors);
        }
        self
    }

    /// What the captures of its pattern have taken of this path.
    pub fn captured<'a>(&'a self, host: &str, path: &'a str) -> Vec<(&'a str, Range<usize>)> {
        let mut all = Vec::new();
        let found = self.matched(host, path);
        for (name, value) in found.iter().flat_map(|found| found.params.iter()) {
            // A slice of the path.
            let start = value.as_ptr() as usize - path.as_ptr() as usize;
            all.push((name, start..start + value.len()));
        }
        all
    }

    /// The route of this host, path and method, with its index. A host with routes of its own for
    /// a path answers for all methods there; the routes without a host are not asked.
    ///
    /// # Errors
    /// [`Code::NoRoute`] or [`Code::MethodNotAllowed`]; [`Code::BadRequest`] if the path, written
    /// in another way, would find other routes.
    pub fn find(
        &self,
        host: &str,
        path: &str,
        method: &Method,
    ) -> Result<(usize, &Route), Box<NoRoute>> {
        let here = self.at(host, path);
        if plainest(path).is_some_and(|plain| self.at(host, &plain) != here) {
            let fault = Fault::new(Code::BadRequest, Stage::Route);
            return Err(Box::new(NoRoute { fault, allow: None }));
        }
        let mut allowed: Vec<&str> = Vec::new();
        for &index in here {
            let route = &self.all[index];
            if route.methods.contains(method) {
                return Ok((index, route));
            }
            allowed.extend(route.methods.iter().map(Method::as_str));
        }
        let code = if allowed.is_empty() {
            Code::NoRoute
        } else {
            Code::MethodNotAllowed
        };
        let allow = (!allowed.is_empty())
            .then(|| HeaderValue::from_str(&allowed.join(", ")).ok())
            .flatten();
        let fault = Fault::new(code, Stage::Route);
        Err(Box::new(NoRoute { fault, allow }))
    }

    /// Routes of one pattern; no two patterns share one.
    fn at(&self, host: &str, path: &str) -> &[usize] {
        self.matched(host, path).map_or(&[], |m| m.value)
    }

    fn matched<'r, 'p>(
        &'r self,
        host: &str,
        path: &'p str,
    ) -> Option<Match<'r, 'p, &'r Vec<usize>>> {
        let own = self.hosts.get(host).and_then(|r| r.at(path).ok());
        own.or_else(|| self.any.at(path).ok())
    }

    fn counting(&self, name: &str, rate: &config::Rate) -> Option<Arc<Rate>> {
        let mut same = self.all.iter();
        let same = same.find(|r| r.config.name == name && r.config.rate.as_ref() == Some(rate))?;
        same.rate.clone()
    }

    pub fn get(&self, index: usize) -> &Route {
        &self.all[index]
    }
}

impl Route {
    fn new(
        route: &config::Route,
        metrics: RouteMetrics,
        before: Option<&Routes>,
    ) -> Result<Self, String> {
        let names = |list: &[String]| -> Result<Vec<HeaderName>, String> {
            list.iter()
                .map(|n| n.parse().map_err(|_| format!("{n} is no header name")))
                .collect()
        };
        let methods = route.methods.iter();
        let mut methods = methods
            .map(|m| m.parse().map_err(|_| format!("{m} is no method")))
            .collect::<Result<Vec<Method>, String>>()?;
        if methods.is_empty() {
            methods = METHODS.to_vec();
        }
        Ok(Self {
            request_headers: names(&route.request_headers)?,
            response_headers: names(&route.response_headers)?,
            metrics,
            rate: route.rate.as_ref().map(|rate| {
                let counting = before.and_then(|before| before.counting(&route.name, rate));
                counting.unwrap_or_else(|| Arc::new(Rate::new(rate)))
            }),
            outward: false,
            doors: None,
            set_cookies: route.cookies.clone(),
            unlisted_capture: unlisted_capture(route, None),
            methods,
            config: route.clone(),
        })
    }

    /// # Errors
    /// [`Code::UnlistedPlace`] if the path has a capture that the route does not list.
    pub fn check_captures(&self) -> Result<(), Fault> {
        match &self.unlisted_capture {
            None => Ok(()),
            Some(place) => {
                Err(Fault::new(Code::UnlistedPlace, Stage::Authorise).place(place.clone()))
            }
        }
    }
}

/// A path with every code decoded that need not be one (RFC 3986, section 3.3), as a backend may
/// read it; `None` if it has no codes. No pattern has any. The head's check has made sure that
/// codes are whole.
fn plainest(path: &str) -> Option<String> {
    let (first, rest) = path.split_once('%')?;
    let mut plain = first.to_owned();
    for part in rest.split('%') {
        let (code, literal) = part.split_at_checked(2)?;
        match u8::from_str_radix(code, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) => {
                plain.push(char::from(byte));
                plain.push_str(literal);
            }
            _ => {
                plain.push('%');
                plain.push_str(part);
            }
        }
    }
    Some(plain)
}

/// The first capture of the path that nothing is said about.
fn unlisted_capture(route: &config::Route, doors: Option<&SideDoors>) -> Option<Box<str>> {
    captures(&route.path)
        .find(|name| {
            let listed = route.captures.iter().any(|c| c == name);
            !listed && !doors.is_some_and(|doors| doors.knows_capture(name))
        })
        .map(|name| format!("/{{{name}}}").into_boxed_str())
}

/// Names of `{name}` and `{*name}`; `{{` is a literal brace.
pub(super) fn captures(pattern: &str) -> impl Iterator<Item = &str> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        loop {
            let open = rest.find('{')?;
            rest = &rest[open + 1..];
            if let Some(literal) = rest.strip_prefix('{') {
                rest = literal;
                continue;
            }
            let close = rest.find('}')?;
            let name = rest[..close].trim_start_matches('*');
            rest = &rest[close + 1..];
            return Some(name);
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{RequestBody, ResponseBody};

    pub(crate) fn route(
        name: &str,
        host: Option<&str>,
        path: &str,
        methods: &[&str],
    ) -> config::Route {
        config::Route {
            name: name.to_owned(),
            host: host.map(str::to_owned),
            path: path.to_owned(),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            backend: 0,
            domain: None,
            purpose: None,
            request: RequestBody::Opaque,
            response: ResponseBody::Pass,
            websocket: config::WebSocket::Refuse,
            format: None,
            codings: config::Codings::default(),
            rows: config::Rows::default(),
            stream: false,
            client_certificate: false,
            query: vec![],
            captures: vec![],
            cookies: vec![],
            request_headers: vec![],
            response_headers: vec![],
            host_upstream: None,
            rate: None,
            slow: false,
        }
    }

    #[test]
    fn host_then_path_then_method() {
        let mut with_id = route("one", Some("a"), "/v1/{id}/x/{*rest}", &["GET"]);
        with_id.captures = vec!["id".to_owned()];
        let all = [
            route("a-post", Some("a"), "/v1", &["POST"]),
            route("a-get", Some("a"), "/v1", &["GET"]),
            route("any-put", None, "/v1", &["PUT"]),
            route("any", None, "/v2", &[]),
            with_id,
        ];
        let metrics = crate::gateway::metrics::Metrics::new();
        let routes = Routes::new(&all, |name| metrics.route(name), None).unwrap();
        let find = |host: &str, path: &str, method: Method| {
            routes
                .find(host, path, &method)
                .map(|(_, r)| r.config.name.clone())
                .map_err(|e| (e.fault.code, e.allow))
        };
        assert_eq!(find("a", "/v1", Method::GET).unwrap(), "a-get");
        assert_eq!(find("b", "/v1", Method::PUT).unwrap(), "any-put");
        assert_eq!(find("a", "/v2", Method::PUT).unwrap(), "any");
        assert_eq!(find("b", "/v2", Method::DELETE).unwrap(), "any");
        assert_eq!(
            find("b", "/v3", Method::GET).unwrap_err(),
            (Code::NoRoute, None)
        );
        let (code, allow) = find("a", "/v1", Method::DELETE).unwrap_err();
        assert_eq!(code, Code::MethodNotAllowed);
        assert_eq!(allow.unwrap(), "POST, GET");
        let odd = Method::from_bytes(b"SUB-00001").unwrap();
        let (code, allow) = find("b", "/v2", odd).unwrap_err();
        assert_eq!(code, Code::MethodNotAllowed);
        assert_eq!(
            allow.unwrap(),
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        );
        // Another place's route is no way around this one's methods.
        let (code, _) = find("a", "/v1", Method::PUT).unwrap_err();
        assert_eq!(code, Code::MethodNotAllowed);
        let (_, one) = routes.find("a", "/v1/7/x/y/z", &Method::GET).unwrap();
        let fault = one.check_captures().unwrap_err();
        assert_eq!(
            (fault.code, fault.place.as_deref()),
            (Code::UnlistedPlace, Some("/{rest}"))
        );
        let (_, any) = routes.find("b", "/v2", &Method::GET).unwrap();
        assert_eq!(any.check_captures(), Ok(()));
    }

    #[test]
    fn a_path_written_in_another_way_finds_no_other_route() {
        let all = [
            route("batch", None, "/v1/items:batch", &[]),
            route("rest", None, "/v1/{*rest}", &[]),
        ];
        let metrics = crate::gateway::metrics::Metrics::new();
        let routes = Routes::new(&all, |name| metrics.route(name), None).unwrap();
        let find = |path: &str| {
            let found = routes.find("a", path, &Method::GET);
            found.map(|(index, _)| index).map_err(|e| e.fault.code)
        };
        assert_eq!(find("/v1/items:batch"), Ok(0));
        assert_eq!(find("/v1/items%3Abatch"), Err(Code::BadRequest));
        assert_eq!(find("/v1/a%40b%20c%c3%a9"), Ok(1));
        assert_eq!(find("/v2/a%40b"), Err(Code::NoRoute));
    }
}
