//! The requests: `/metrics`, `/healthz`, `/readyz`, and on the socket `/spool/drain`. One request for each connection, each with a deadline, a bounded number at
//! a time; what a client does cannot reach beyond this thread.

use super::health::Health;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_HEADER_TIMEOUT, ADMIN_REQUEST_BYTES, ADMIN_TIMEOUT};
use crate::metrics::Metrics;
use crate::sender::spool::Store;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

/// Pause after a failed accept, which is nearly always "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// POST: dead letters are sent again.
pub(super) const DRAIN_PATH: &str = "/spool/drain";

/// What is told.
#[derive(Clone)]
pub(super) struct State {
    pub(super) metrics: Metrics,
    pub(super) health: Arc<Health>,
    /// Who takes dead letters back. Not on the port: whoever reaches that may look, and change nothing.
    pub(super) store: Option<Store>,
}

/// Serves what `accept` yields, for ever. A connection beyond the bound waits in the kernel until one ends.
pub(super) async fn accept_loop<S>(accept: impl AsyncFn() -> io::Result<S>, state: State)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match accept().await {
            Ok(stream) => {
                let state = state.clone();
                tokio::spawn(async move {
                    // Its errors are the client's: gone, late, or no HTTP.
                    let _ = tokio::time::timeout(ADMIN_TIMEOUT, serve(stream, state)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the admin endpoint cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(stream: S, state: State) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), state).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEADER_TIMEOUT)
        .max_buf_size(ADMIN_REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(method: &Method, path: &str, state: State) -> Response<Full<Bytes>> {
    let get = method == Method::GET || method == Method::HEAD;
    match (path, state.store.clone()) {
        ("/metrics" | "/healthz" | "/readyz", _) if !get => only("GET, HEAD"),
        ("/metrics", _) => metrics(&state),
        ("/healthz", _) => healthz(&state),
        ("/readyz", _) => readyz(&state),
        (DRAIN_PATH, Some(_)) if method != Method::POST => only("POST"),
        (DRAIN_PATH, Some(store)) => drain(store).await,
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods} is answered here\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Takes the dead letters back into the spool. That goes on when the client does not wait for its end.
async fn drain(store: Store) -> Response<Full<Bytes>> {
    match tokio::time::timeout(ADMIN_TIMEOUT / 2, store.drain_dead_letters()).await {
        Ok(Ok(moved)) => match serde_json::to_vec(&moved) {
            Ok(body) => text(StatusCode::OK, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(_) => text(StatusCode::ACCEPTED, "under way\n"),
    }
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    match prometheus::TextEncoder::new().encode_to_string(&state.metrics.registry.gather()) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, version);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be encoded: {error}\n")),
    }
}

fn healthz(state: &State) -> Response<Full<Bytes>> {
    let pending = state.metrics.pending();
    match state.health.stuck(pending) {
        None => text(StatusCode::OK, "ok\n"),
        Some(silent) => {
            let body = format!("stuck: no progress for {} s while {pending} lines are pending\n", silent.as_secs());
            text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn readyz(state: &State) -> Response<Full<Bytes>> {
    let reasons = state.health.unready();
    if reasons.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let body: String = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
