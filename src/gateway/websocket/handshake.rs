//! The request to switch, and the backend's answer to it (RFC 6455, section 4).
//!
//! What enters: a granted request. What leaves: the same with a key of the gateway's own, and the
//! 101 that the client's key asks for. What can never happen: a client's key, or an extension it
//! has with the backend alone, passes on a route that reads messages; a backend switches to what
//! was not offered.

use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::Tunnel;
use crate::config::WebSocket;
use crate::error::{Code, Fault, Stage};
use crate::gateway::body::answer::Answer;
use crate::gateway::headers;
use crate::gateway::rescue::Refused;
use crate::gateway::routes::Route;
use crate::gateway::shared::Shared;
use crate::gateway::story::Story;
use crate::gateway::upstream::Link;

/// A request to switch that the route takes.
pub struct Asked {
    client: OnUpgrade,
    /// What the client's key makes.
    accept: String,
    /// Ours: a client's own would be sixteen bytes of its choosing.
    key: String,
    protocols: Vec<HeaderValue>,
    extensions: Vec<HeaderValue>,
}

impl Asked {
    /// Looks at a request with `Upgrade`, on a route that takes WebSocket.
    ///
    /// # Errors
    /// [`Code::UpgradeRefused`] for another protocol; `WebSocketVersion`, `WebSocketHandshake`,
    /// or `NotReady` where messages could not be rewritten.
    pub fn read(parts: &mut Parts, shared: &Shared, route: &Route) -> Result<Box<Self>, Fault> {
        let refuse = |code| Err(Fault::new(code, Stage::Head));
        let from = &parts.headers;
        if !single(from, &UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        {
            return refuse(Code::UpgradeRefused);
        }
        match single(from, &SEC_WEBSOCKET_VERSION) {
            Some(version) if version == "13" => {}
            Some(_) => return refuse(Code::WebSocketVersion),
            None => return refuse(Code::WebSocketHandshake),
        }
        let whole = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && tokens(from, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
        let key = single(from, &SEC_WEBSOCKET_KEY).filter(|key| {
            let bytes = STANDARD.decode(key.as_bytes());
            bytes.is_ok_and(|bytes| bytes.len() == 16)
        });
        let (true, Some(key)) = (whole, key) else {
            return refuse(Code::WebSocketHandshake);
        };
        let accept = derive_accept_key(key.as_bytes());
        let Some(client) = parts.extensions.remove::<OnUpgrade>() else {
            return refuse(Code::WebSocketHandshake);
        };
        let unseen = route.config.websocket == WebSocket::Opaque;
        if !unseen {
            shared.lease(&route.config)?;
        }
        let passing = |name| {
            let all = from.get_all(name).iter().filter(|_| unseen);
            all.cloned().collect()
        };
        Ok(Box::new(Self {
            client,
            accept,
            key: generate_key(),
            protocols: passing(SEC_WEBSOCKET_PROTOCOL),
            extensions: passing(SEC_WEBSOCKET_EXTENSIONS),
        }))
    }

    /// Writes the request into the head that the backend will see. Subprotocols pass on opaque
    /// routes, elsewhere where the route lists them; extensions on opaque routes only: a message
    /// that is compressed cannot be read.
    pub fn ask(&mut self, to: &mut HeaderMap) {
        for name in [SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_ACCEPT] {
            to.remove(name);
        }
        to.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        to.insert(UPGRADE, HeaderValue::from_static("websocket"));
        to.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::try_from(&self.key) {
            to.insert(SEC_WEBSOCKET_KEY, key);
        }
        if to.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            let listed = to.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
            self.protocols = listed.cloned().collect();
        } else {
            self.protocols.iter().for_each(|value| {
                to.append(SEC_WEBSOCKET_PROTOCOL, value.clone());
            });
        }
        for value in &self.extensions {
            to.append(SEC_WEBSOCKET_EXTENSIONS, value.clone());
        }
    }

    /// The backend has answered 101: leaves the connection's further life to a [`Tunnel`].
    ///
    /// # Errors
    /// [`Code::BackendBroken`] for a switch to something else than was asked for.
    pub fn take(
        self,
        story: &Arc<Story>,
        route: usize,
        link: Link,
        mut response: Response<Incoming>,
    ) -> Result<Response<Answer>, Box<Refused>> {
        let broken = || Fault::new(Code::BackendBroken, Stage::Receive);
        self.is_answered_by(response.headers()).ok_or_else(broken)?;
        let backend = hyper::upgrade::on(&mut response);
        let mut from = std::mem::take(response.headers_mut());
        let chosen = [SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS]
            .map(|name| from.remove(&name).map(|value| (name, value)));
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let own = ["", ""];
        let mut to = {
            let route = story.site.shared.routes.get(route);
            headers::response::build(from, status, false, route, own)
        };
        to.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        to.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::try_from(&self.accept).map_err(|_| broken())?;
        to.insert(SEC_WEBSOCKET_ACCEPT, accept);
        for (name, value) in chosen.into_iter().flatten() {
            to.insert(name, value);
        }
        let tunnel = Tunnel::new(story.clone(), route, link, self.client, backend);
        let switch = &story.conn.switch;
        let place = switch.lock().unwrap_or_else(PoisonError::into_inner).take();
        // There is one in every HTTP/1.1 connection, and one switch at most.
        let place = place.ok_or_else(broken)?;
        place.send(Box::new(tunnel)).map_err(|_| broken())?;
        story.answers(status);
        let mut answer = Response::new(Answer::switching(story.clone()));
        *answer.status_mut() = status;
        *answer.headers_mut() = to;
        Ok(answer)
    }

    /// RFC 6455, section 4.1, what a client checks.
    fn is_answered_by(&self, from: &HeaderMap) -> Option<()> {
        let is = |yes: bool| yes.then_some(());
        let upgrade = single(from, &UPGRADE)?;
        is(upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))?;
        is(tokens(from, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade")))?;
        let accept = single(from, &SEC_WEBSOCKET_ACCEPT)?;
        is(accept.as_bytes() == derive_accept_key(self.key.as_bytes()).as_bytes())?;
        let mut protocols = from.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        if let Some(chosen) = protocols.next() {
            let offered = self.protocols.iter().flat_map(listed);
            let chosen = chosen.to_str().ok()?;
            is(protocols.next().is_none() && offered.into_iter().any(|o| o == chosen))?;
        }
        let name = |extension: &str| extension.split(';').next().map(|n| n.trim().to_owned());
        let offered: Vec<_> = self.extensions.iter().flat_map(listed).map(name).collect();
        let mut chosen = from.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        is(chosen.all(|value| listed(value).all(|one| offered.contains(&name(one)))))
    }
}

/// A field that stands there once.
fn single<'a>(from: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = from.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// The members of all fields of this name.
fn tokens<'a>(from: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    from.get_all(name).iter().flat_map(listed)
}

fn listed(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim).filter(|t| !t.is_empty())
}
