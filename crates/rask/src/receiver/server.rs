//! HTTP of the receiving end: connections, requests, answers.

use super::committed::Verdict;
use super::fault::Fault;
use super::{Command, Detail, Shared, Watch, state};
use crate::clock;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rask_log_forwarder::position::{Ranges, fnv1a};
use rask_record::{BatchHeader, header};
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The port, which stays ours while nobody listens on it.
pub(super) struct Port {
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// Bound to a port that the kernel chose, so that it gives it to nobody else. A port that somebody named is taken anew: two
    /// receivers on one port must not share it by accident.
    held: Option<TcpSocket>,
}

impl Port {
    /// Opens `address`; port 0 is one that is free. In a runtime only.
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let held = (address.port() == 0).then(|| bound(address, false, true)).transpose()?;
        let address = held.as_ref().map_or(Ok(address), TcpSocket::local_addr)?;
        let mut port = Self { address, listener: None, held };
        port.listen()?;
        Ok(port)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(bound(self.address, true, self.held.is_some())?.listen(BACKLOG)?);
        }
        Ok(())
    }
}

fn bound(address: SocketAddr, again: bool, shared: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(again)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until the handle is dropped.
pub(super) async fn serve(shared: Arc<Shared>, mut port: Port, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                None => return,
                Some(Command::Stop(reply)) => {
                    port.listener = None;
                    connections.shutdown().await;
                    let _ = reply.send(());
                }
                Some(Command::Listen(reply)) => {
                    let _ = reply.send(port.listen());
                }
            },
            stream = accept(port.listener.as_ref()) => {
                connections.spawn(converse(shared.clone(), stream));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, say: the clients wait in the backlog meanwhile.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection to its end. One that a fault ends is reset.
async fn converse(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(respond(&shared, request)));
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if poll_fn(|context| connection.poll_without_shutdown(context)).await.is_err() {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Body of an answer.
enum Answer {
    /// The usual.
    Whole(Option<Bytes>),
    /// [`Fault::NeverEndingAnswer`].
    Endless(tokio::time::Interval),
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Endless(pulse) => pulse.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b" "))))),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(body) => hyper::body::SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Endless(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Ends the connection without an answer.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset by a fault")
    }
}

impl std::error::Error for Reset {}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn refusal(status: StatusCode, why: &str) -> Response<Answer> {
    answer(status, serde_json::json!({ "error": why }).to_string())
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Result<Response<Answer>, Reset> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/aggregate") => {}
        (&Method::GET, "/v1/health") => return Ok(answer(StatusCode::OK, "{\"status\":\"ok\"}")),
        (_, "/v1/aggregate" | "/v1/health") => return Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "method")),
        _ => return Ok(refusal(StatusCode::NOT_FOUND, "path")),
    }
    let (fault, mut changed) = shared.faults.next();
    count(shared, &fault);
    if fault == Fault::Reset {
        return Err(Reset);
    }
    let (head, mut body) = request.into_parts();
    if fault == Fault::ResetInBody {
        let _ = body.frame().await;
        return Err(Reset);
    }
    let Some(wire) = read(body, shared.options.max_body, &fault).await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "body"));
    };
    let received = clock::now();
    let body = decompress(&head.headers, wire.clone(), shared.options.max_body);
    if let (Detail::Full, Ok(body), Some(batch)) = (shared.options.detail, &body, text(&head.headers, header::BATCH)) {
        shared.account().ledger.check_repetition(batch, body);
    }
    match fault {
        Fault::Status(status, retry_after) => return Ok(status_answer(status, retry_after)),
        Fault::Hang => {
            let _ = changed.changed().await;
            return Err(Reset);
        }
        Fault::SlowMs(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        _ => {}
    }
    let answer = match body {
        Ok(body) => match refused_by(&fault, &body) {
            Some(refusal) => refusal,
            None => store(shared, &head.headers, &wire, &body, received),
        },
        Err((status, why)) => refusal(status, why),
    };
    shared.changed.notify_all();
    match fault {
        Fault::AcceptThenReset => Err(Reset),
        Fault::NeverEndingAnswer if answer.status().is_success() => {
            Ok(Response::new(Answer::Endless(tokio::time::interval(Duration::from_millis(20)))))
        }
        _ => Ok(answer),
    }
}

/// The body, slowly if the fault says so; `None` when it is too long or breaks off.
async fn read(body: Incoming, max: usize, fault: &Fault) -> Option<Bytes> {
    let mut body = Limited::new(body, max);
    let Fault::TrickleMs(millis) = *fault else { return body.collect().await.ok().map(|body| body.to_bytes()) };
    let mut wire = Vec::new();
    while let Some(frame) = body.frame().await {
        wire.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    Some(wire.into())
}

fn count(shared: &Shared, fault: &Fault) {
    let mut account = shared.account();
    account.ledger.totals.requests += 1;
    account.ledger.totals.faults += u64::from(*fault != Fault::None);
    drop(account);
    shared.changed.notify_all();
}

fn status_answer(status: u16, retry_after: Option<u64>) -> Response<Answer> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = refusal(status, "as told by the test");
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

fn refused_by(fault: &Fault, body: &[u8]) -> Option<Response<Answer>> {
    match fault {
        Fault::MaxBody(max) if body.len() > *max => Some(refusal(StatusCode::PAYLOAD_TOO_LARGE, "as told by the test")),
        Fault::RefuseRecord(needle) if memchr::memmem::find(body, needle.as_bytes()).is_some() => {
            Some(refusal(StatusCode::BAD_REQUEST, "as told by the test"))
        }
        _ => None,
    }
}

fn decompress(headers: &HeaderMap, wire: Bytes, max: usize) -> Result<Bytes, (StatusCode, &'static str)> {
    let bounded = |reader: &mut dyn Read| -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        reader.take(max as u64 + 1).read_to_end(&mut body)?;
        Ok(body)
    };
    let body = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None => return Ok(wire),
        Some(b"gzip") => bounded(&mut flate2::read::MultiGzDecoder::new(&wire[..])),
        Some(b"zstd") => zstd::stream::read::Decoder::new(&wire[..]).and_then(|mut reader| bounded(&mut reader)),
        Some(_) => return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding")),
    };
    match body {
        Ok(body) if body.len() > max => Err((StatusCode::PAYLOAD_TOO_LARGE, "decompressed body")),
        Ok(body) => Ok(body.into()),
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body does not decompress")),
    }
}

/// Judges a batch, commits it if it is fresh, and says what `docs/wire-format.md` says.
fn store(shared: &Shared, headers: &HeaderMap, wire: &Bytes, body: &Bytes, received: i64) -> Response<Answer> {
    let records = memchr::memchr_iter(b'\n', body).count();
    let mut account = shared.account();
    let account = &mut *account;
    if shared.options.detail == Detail::Full {
        check_headers(headers, records, &mut |text| account.ledger.violation(text));
    }
    let batch = match text(headers, header::BATCH).map(parse_batch).transpose() {
        Ok(batch) => batch,
        Err(why) => {
            account.ledger.violation(why.clone());
            return refusal(StatusCode::BAD_REQUEST, &why);
        }
    };
    if let Some((batch, cover)) = &batch
        && shared.options.detail == Detail::Full
        && batch.body != cover.is_empty().then(|| fnv1a(body))
    {
        account.ledger.violation(format!("not the hash of the body where the cover is empty: {batch}"));
    }
    if let Some((batch, cover)) = batch.as_ref().filter(|_| !shared.options.forgetful) {
        let BatchHeader { container, generation, body: hash, .. } = *batch;
        match account.committed.judge(container, generation, cover, hash) {
            Verdict::Fresh => account.committed.commit(container, generation, cover, hash),
            Verdict::Duplicate => {
                account.ledger.totals.duplicate_batches += 1;
                return answer(StatusCode::OK, format!("{{\"accepted\":0,\"malformed\":0,\"duplicate\":{records}}}"));
            }
            Verdict::Overlap(have) => {
                account.ledger.totals.overlaps += 1;
                let body = serde_json::json!({ "error": "overlap", "committed": have.to_string() });
                return answer(StatusCode::CONFLICT, body.to_string());
            }
        }
    }
    account.ledger.totals.wire_bytes += wire.len() as u64;
    account.ledger.totals.body_bytes += body.len() as u64;
    let (accepted, malformed) = account.ledger.add_body(body, received);
    if let Some(Watch(watch)) = &shared.options.watch {
        body.split_inclusive(|byte| *byte == b'\n').for_each(|line| watch(line.strip_suffix(b"\n").unwrap_or(line)));
    }
    if let Some(path) = &shared.options.state
        && let Err(error) = state::save(path, &account.ledger, &account.committed)
    {
        account.ledger.violation(format!("the state could not be written: {error}"));
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "state");
    }
    if shared.options.forgetful {
        return answer(StatusCode::OK, "{}".to_owned());
    }
    answer(StatusCode::OK, format!("{{\"accepted\":{accepted},\"malformed\":{malformed},\"duplicate\":0}}"))
}

fn parse_batch(text: &str) -> Result<(BatchHeader<'_>, Ranges), String> {
    let batch = BatchHeader::parse(text).map_err(|error| error.to_string())?;
    let cover: Ranges = batch.cover.parse().map_err(|error| format!("x-rask-batch: {error}"))?;
    if cover.to_string() != batch.cover {
        return Err("x-rask-batch: the cover is not sorted, disjoint and merged".into());
    }
    Ok((batch, cover))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The letter of `docs/wire-format.md` about headers. `x-rask-batch` itself is judged where it is used.
fn check_headers(headers: &HeaderMap, records: usize, violation: &mut dyn FnMut(String)) {
    let is_uuid_8 = |id: &str| {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        id.len() == 36
            && id
                .bytes()
                .enumerate()
                .all(|(at, byte)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
            && id.as_bytes()[14] == b'8'
    };
    let mut check = |name: &str, is_right: &dyn Fn(&str) -> bool| match text(headers, name) {
        Some(value) if is_right(value) => {}
        Some(value) => violation(format!("header {name}: {value:?}")),
        None => violation(format!("header {name} is missing")),
    };
    check(CONTENT_TYPE.as_str(), &|value| value == header::NDJSON);
    check(CONTENT_LENGTH.as_str(), &|_| true);
    check(header::BATCH_SIZE, &|value| value == records.to_string());
    check(header::BATCH_ID, &is_uuid_8);
    check(header::BATCH_TYPE, &|value| value == header::BATCH_TYPE_LOGS);
    check(header::FORWARDER_VERSION, &|value| !value.is_empty());
    check(header::BATCH, &|_| true);
}
