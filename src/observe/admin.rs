//! What an operator can ask and tell a running process: `GET /status`, `POST /reload`,
//! `POST /drain`, `PUT /log-level`.
//!
//! What enters: requests on the admin address, whose door has been passed ([`super::serve`]).
//! What leaves: JSON. What can never happen: a web page that somebody on the machine has open
//! leads the gateway (a request with `Origin`, or for another host than a loopback one, is
//! refused where no certificate is asked for); a body is read without a bound.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::log;
use super::serve::page;
use crate::limits;

/// What can be led.
pub struct Admin {
    /// Made when asked for.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// Cancelled: the process drains and ends, as at the first SIGTERM.
    pub drain: CancellationToken,
    /// Who reads the configuration again, as at SIGHUP.
    pub reload: mpsc::Sender<AskedReload>,
}

/// Somebody waits for what comes of a reload: what is served now, or every reason why not.
pub type AskedReload = oneshot::Sender<Result<Value, Vec<String>>>;

/// `{"level":"debug","seconds":600}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
    seconds: Option<u64>,
}

const JSON: &str = "application/json";

impl Admin {
    pub(super) fn has(&self, path: &str) -> bool {
        matches!(path, "/status" | "/reload" | "/drain" | "/log-level")
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        local: bool,
    ) -> Response<Full<Bytes>> {
        if local && !is_of_this_machine(request.headers()) {
            return told(StatusCode::FORBIDDEN, "not from a web page");
        }
        let (parts, body) = request.into_parts();
        match (parts.uri.path(), &parts.method) {
            ("/status", &Method::GET) => answered(StatusCode::OK, &(self.status)()),
            ("/reload", &Method::POST) => self.reload().await,
            ("/drain", &Method::POST) => {
                tracing::info!("asked to drain");
                self.drain.cancel();
                answered(StatusCode::ACCEPTED, &json!({ "draining": true }))
            }
            ("/log-level", &Method::GET) => {
                answered(StatusCode::OK, &json!({ "level": log::level() }))
            }
            ("/log-level", &(Method::PUT | Method::POST)) => {
                let read = Limited::new(body, limits::ADMIN_BODY).collect().await;
                let Ok(read) = read else {
                    return told(StatusCode::BAD_REQUEST, "the body did not come");
                };
                level(&read.to_bytes())
            }
            ("/drain" | "/reload", _) => told(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            ("/log-level", _) => told(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT or POST"),
            _ => told(StatusCode::METHOD_NOT_ALLOWED, "use GET"),
        }
    }
}

impl Admin {
    async fn reload(&self) -> Response<Full<Bytes>> {
        let (asked, answer) = oneshot::channel();
        if self.reload.send(asked).await.is_err() {
            return told(
                StatusCode::SERVICE_UNAVAILABLE,
                "not while it begins or ends",
            );
        }
        match answer.await {
            Ok(Ok(now)) => answered(StatusCode::OK, &now),
            Ok(Err(errors)) => {
                let told = json!({ "error": "refused: the one before stays", "errors": errors });
                answered(StatusCode::UNPROCESSABLE_ENTITY, &told)
            }
            Err(_) => told(StatusCode::SERVICE_UNAVAILABLE, "it ends"),
        }
    }
}

fn level(body: &[u8]) -> Response<Full<Bytes>> {
    let Ok(Level { level, seconds }) = serde_json::from_slice(body) else {
        let form = "write {\"level\":\"debug\",\"seconds\":600}";
        return told(StatusCode::BAD_REQUEST, form);
    };
    let time = seconds.map_or(limits::LOG_LEVEL_TIME, Duration::from_secs);
    if time > limits::LOG_LEVEL_LONGEST {
        return told(
            StatusCode::BAD_REQUEST,
            "at most a day: set it at the start",
        );
    }
    match log::set(&level, time) {
        Ok(before) => answered(
            StatusCode::OK,
            &json!({ "level": level, "before": before, "seconds": time.as_secs() }),
        ),
        Err(why) => told(StatusCode::BAD_REQUEST, why),
    }
}

/// Whether the request is for this machine by name, and no web page's. (A page of a name that
/// resolves to 127.0.0.1 keeps its own Host; one that sends across origins has `Origin`.)
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    });
    let local = name.is_some_and(|name| {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    local && !headers.contains_key(header::ORIGIN) && !headers.contains_key("sec-fetch-site")
}

fn told(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    answered(status, &json!({ "error": what }))
}

fn answered(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    page(status, JSON, format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_a_web_page_leads_nothing() {
        let with = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            is_of_this_machine(&headers)
        };
        for host in [
            "127.0.0.1:9466",
            "localhost:9466",
            "[::1]:9466",
            "localhost",
        ] {
            assert!(with(&[("host", host)]), "{host}");
            assert!(!with(&[("host", host), ("origin", "null")]), "{host}");
            assert!(!with(&[("host", host), ("sec-fetch-site", "none")]));
        }
        for host in ["attacker.example:9466", "127.0.0.1.example", "10.0.0.1", ""] {
            assert!(!with(&[("host", host)]), "{host}");
        }
        assert!(!with(&[]));
    }
}
