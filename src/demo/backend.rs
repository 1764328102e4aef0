//! A small analytics backend for the demonstration: HTTP/1.1 on loopback over [`Store`].
//!
//! What enters: `POST /v1/results`, `/v1/orders` and `/v1/laboratory` (a JSON object, an array
//! of objects, or one object a line), `GET /v1/queries/NAME`. What leaves: JSON. An order is
//! answered with the order as stored, as a provider's system would. What can never happen: a
//! body over [`limits::DEMO_BODY`] is held, or it listens elsewhere than on loopback.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};

use super::store::{QUERIES, Store, Table};
use crate::limits;

/// A running backend. It ends with the runtime it was started on.
pub struct Backend {
    pub address: SocketAddr,
    store: Arc<Mutex<Store>>,
}

impl Backend {
    /// Opens the database and listens on a free loopback port.
    ///
    /// # Errors
    /// The database or the port cannot be had.
    pub async fn start(file: &Path) -> std::io::Result<Self> {
        let store = Arc::new(Mutex::new(
            Store::open(file).map_err(std::io::Error::other)?,
        ));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, store.clone()));
        Ok(Self { address, store })
    }

    /// The database itself, for what the demonstration shows beside what it sent.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

async fn accept(listener: TcpListener, store: Arc<Mutex<Store>>) {
    loop {
        // Only a full table of open files ends up here: wait for one to be closed.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        tokio::spawn(connection(stream, store.clone()));
    }
}

async fn connection(stream: TcpStream, store: Arc<Mutex<Store>>) {
    let service = service_fn(move |request| {
        let store = store.clone();
        async move { Ok::<_, Infallible>(answer(request, store).await) }
    });
    // A client that breaks off is no event here.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, store: Arc<Mutex<Store>>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let Some(name) = path.strip_prefix("/v1/") else {
        return say(StatusCode::NOT_FOUND, "no such path");
    };
    if let Some(query) = name.strip_prefix("queries/") {
        return if request.method() == Method::GET {
            run(query.to_owned(), store).await
        } else {
            say(StatusCode::METHOD_NOT_ALLOWED, "queries take GET")
        };
    }
    let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) else {
        return say(StatusCode::NOT_FOUND, "no such path");
    };
    if request.method() != Method::POST {
        return say(StatusCode::METHOD_NOT_ALLOWED, "tables take POST");
    }
    match Limited::new(request.into_body(), limits::DEMO_BODY)
        .collect()
        .await
    {
        // A body that breaks off was never whole, so nothing of it is stored.
        Err(_) => say(StatusCode::BAD_REQUEST, "the body is too large or broken"),
        Ok(body) => insert(table, body.to_bytes(), store).await,
    }
}

async fn run(name: String, store: Arc<Mutex<Store>>) -> Response<Full<Bytes>> {
    let Some(query) = QUERIES.iter().find(|query| query.name == name) else {
        return say(StatusCode::NOT_FOUND, "no such query");
    };
    let rows = tokio::task::spawn_blocking(move || lock(&store).run(query)).await;
    match rows {
        Ok(Ok(rows)) => json(StatusCode::OK, serde_json::json!(rows).to_string()),
        _ => say(StatusCode::INTERNAL_SERVER_ERROR, "the query failed"),
    }
}

async fn insert(table: Table, body: Bytes, store: Arc<Mutex<Store>>) -> Response<Full<Bytes>> {
    let stored = tokio::task::spawn_blocking(move || {
        let objects = objects(&body)?;
        let texts = objects.iter().map(|object| object.get());
        let rows = lock(&store)
            .insert(table, texts)
            .map_err(|error| error.to_string())?;
        let single = (table == Table::Orders && objects.len() == 1).then(|| objects[0].get());
        Ok::<_, String>(match single {
            Some(order) => format!(r#"{{"status":"accepted","order":{order}}}"#),
            None => format!(r#"{{"stored":{rows}}}"#),
        })
    })
    .await;
    match stored {
        Ok(Ok(answer)) => json(StatusCode::CREATED, answer),
        Ok(Err(why)) => say(StatusCode::BAD_REQUEST, &why),
        Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "the store failed"),
    }
}

/// The rows of a body: an array's elements, or every JSON text of it (one, or one a line).
fn objects(body: &[u8]) -> Result<Vec<Box<RawValue>>, String> {
    let wrong = |error: serde_json::Error| format!("not JSON: {error}");
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return serde_json::from_slice(body).map_err(wrong);
    }
    serde_json::Deserializer::from_slice(body)
        .into_iter::<Box<RawValue>>()
        .map(|text| text.map_err(wrong))
        .collect()
}

/// A panic elsewhere does not make SQLite's own state wrong: go on.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn say(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    json(status, serde_json::json!({ "error": what }).to_string())
}

fn json(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text + "\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_an_array_and_lines_are_rows() {
        let rows = |body: &str| objects(body.as_bytes()).map(|rows| rows.len());
        assert_eq!(rows(r#" {"a":1} "#), Ok(1));
        assert_eq!(rows(r#"[{"a":1},{"a":2}]"#), Ok(2));
        assert_eq!(rows("{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}\n"), Ok(3));
        assert!(rows("{\"a\":1}\n{").is_err());
    }
}
