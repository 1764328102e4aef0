//! One CONNECT (RFC 9110, section 9.3.6).
//!
//! What enters: a TCP stream on which nothing has been said. What leaves: the same stream after
//! our 200, and where it leads. What can never happen: 200 is said before a tunnel is connected,
//! or a request that is no CONNECT, or that says two things, is answered by anything but a refusal.

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::metrics::Outcome;
use super::{Egress, Record, Way};
use crate::config::{Limits, Portal};
use crate::error::{Code, Fault, Stage};
use crate::gateway::clock::{Clock, Watched};
use crate::gateway::rescue;
use crate::gateway::shared::RequestId;
use crate::limits;

/// A wish that was granted.
pub(super) struct Granted {
    pub way: Way,
    pub tcp: TcpStream,
    /// What the client has sent behind its CONNECT.
    pub early: Bytes,
}

/// What the one request on a connection has come to.
#[derive(Default)]
struct Heard {
    portal: Option<Portal>,
    granted: Option<(Way, OnUpgrade)>,
    refused: Option<Code>,
}

/// Reads a CONNECT and answers it. `None`: refused, logged and counted.
pub(super) async fn hear(
    egress: &Egress,
    tcp: TcpStream,
    times: &Limits,
    record: &mut Record,
) -> Option<Granted> {
    let heard = Mutex::new(Heard::default());
    let note = |change: &mut dyn FnMut(&mut Heard)| {
        change(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let (id, note) = (record.id, &note);
    let service = service_fn(move |mut request: Request<Incoming>| async move {
        let way = match asked(&request) {
            Ok(portal) => {
                note(&mut |heard| heard.portal = Some(portal.clone()));
                egress.way(portal, times).await
            }
            Err(code) => Err(code),
        };
        Ok::<_, Infallible>(match way {
            Ok(way) => {
                let mut granted = Some((way, hyper::upgrade::on(&mut request)));
                note(&mut |heard| heard.granted = granted.take());
                Response::new(Full::default())
            }
            Err(code) => {
                note(&mut |heard| heard.refused = Some(code));
                refusal(code, id)
            }
        })
    });
    // No request is ever told to the clock, so that a refusal lingers until the client has it.
    let io = TokioIo::new(Watched::new(tcp, Arc::new(Clock::default())));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.head_time)
        .max_buf_size(limits::CONNECT_HEAD)
        .serve_connection(io, service)
        .with_upgrades();
    // The last step is for a client that does not take its answer.
    let longest = times.head_time + times.connect_time + limits::LINGER_TIME;
    let served = tokio::time::timeout(longest, http).await;
    let Heard {
        portal,
        granted,
        refused,
    } = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(portal) = &portal {
        record.is_for(portal);
    }
    if let Some(code) = refused {
        record.ends(outcome(code), code.status(), None);
        return None;
    }
    let Some((way, upgrade)) = granted else {
        match served {
            Ok(Err(error)) if error.is_parse() => record.ends(Outcome::Request, 400, None),
            Ok(Err(error)) if error.is_timeout() => record.ends(Outcome::Slow, 0, None),
            Err(_) => record.ends(Outcome::Slow, 0, None),
            _ => record.ends(Outcome::Gone, 0, None),
        }
        return None;
    };
    let parts = upgrade
        .await
        .ok()?
        .downcast::<TokioIo<Watched<TcpStream>>>();
    let parts = parts.ok()?;
    Some(Granted {
        way,
        tcp: parts.io.into_inner().into_inner(),
        early: parts.read_buf,
    })
}

/// Where a request wants to go: one host and one port, said once.
fn asked(request: &Request<Incoming>) -> Result<Portal, Code> {
    if request.method() != Method::CONNECT {
        return Err(Code::EgressConnectOnly);
    }
    let headers = request.headers();
    let empty = |value: &HeaderValue| value.as_bytes() == b"0";
    if headers.contains_key(header::TRANSFER_ENCODING)
        || !headers.get_all(header::CONTENT_LENGTH).iter().all(empty)
    {
        return Err(Code::BadRequest);
    }
    let authority = request.uri().authority().ok_or(Code::BadRequest)?.as_str();
    let portal = portal(authority).ok_or(Code::BadRequest)?;
    let mut hosts = headers.get_all(header::HOST).iter();
    // HTTP/1.0 needs none; some clients leave the port out.
    let same = |host: &HeaderValue| {
        let name = authority
            .rsplit_once(':')
            .map_or(authority, |(name, _)| name);
        let host = host.as_bytes();
        host.eq_ignore_ascii_case(authority.as_bytes())
            || host.eq_ignore_ascii_case(name.as_bytes())
    };
    if hosts.next().is_some_and(|host| !same(host)) || hosts.next().is_some() {
        return Err(Code::BadRequest);
    }
    Ok(portal)
}

/// `host:port` in one spelling. No user, no dot at the end, no port left out.
fn portal(authority: &str) -> Option<Portal> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = Some(port).filter(|p| p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()))?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match bracketed {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.bytes().all(plain) && host.split('.').all(|label| !label.is_empty()),
    };
    good.then(|| Portal {
        host: host.to_ascii_lowercase(),
        port,
    })
}

fn refusal(code: Code, id: RequestId) -> Response<Full<Bytes>> {
    let fault = Fault::new(code, Stage::Authorise);
    let mut response = Response::new(Full::from(rescue::problem(&fault, id, false)));
    *response.status_mut() = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    let media = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if code == Code::EgressConnectOnly {
        headers.insert(header::ALLOW, HeaderValue::from_static("CONNECT"));
    }
    if code.status() == 503 {
        let seconds = limits::RETRY_AFTER.as_secs();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn outcome(code: Code) -> Outcome {
    match code {
        Code::EgressHost => Outcome::Host,
        Code::EgressAddress => Outcome::Address,
        Code::EgressFull => Outcome::Full,
        Code::BackendUnreachable => Outcome::Unreachable,
        _ => Outcome::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::portal;

    #[test]
    fn proxy_09_an_authority_has_one_reading() {
        let ok = |text: &str| portal(text).map(|p| (p.host, p.port)).unwrap();
        assert_eq!(ok("Portal.Example:443"), ("portal.example".to_owned(), 443));
        assert_eq!(ok("10.0.0.1:8443"), ("10.0.0.1".to_owned(), 8443));
        assert_eq!(ok("[::1]:443"), ("[::1]".to_owned(), 443));
        for wrong in [
            "a",
            "a:",
            "a:0",
            "a:99999",
            "a:+443",
            ":443",
            "a.:443",
            "a..b:443",
            "u@a:443",
            "a/b:443",
            "::1:443",
            "[::g]:443",
            "a:443:443",
        ] {
            assert!(portal(wrong).is_none(), "{wrong}");
        }
    }
}
