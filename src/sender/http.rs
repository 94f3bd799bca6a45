//! One keep-alive connection to the receiver, and one exchange on it at a time.
//!
//! - A request that fails on a connection that had rested (the receiver may have closed it meanwhile) is tried once more on a
//!   fresh one before it counts as a failure.
//! - Every exchange has one deadline from its first byte to the end of the answer; an answer that never ends costs the
//!   connection, not the batch: a 2xx counts from its header on.
//! - It decides nothing: what an answer means is [`retry`](super::retry)'s business.
//! - The token appears in the request and nowhere else.

use super::batch::{Batch, batch_id};
use super::retry::{Outcome, Refusals, Status, classify};
use crate::config::{Compression, Config, Endpoint};
use crate::limits;
use crate::metrics::Metrics;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// How the receiver is reached: what all connections share.
#[derive(Clone)]
pub struct Target {
    endpoint: Endpoint,
    headers: HeaderMap,
    tls: Option<TlsConnector>,
    timeout: Duration,
    compression: Compression,
    metrics: Metrics,
    refusals: Arc<Refusals>,
    /// The receiver says how many records of a batch it had already: it tells repeated lines.
    recognizes: Arc<AtomicBool>,
}

/// Why a [`Target`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// `RASK_CA_FILE` cannot be used.
    #[error("RASK_CA_FILE: cannot use {path}: {why}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token has characters that no header may have.
    #[error("RASK_TOKEN: the token must consist of visible ASCII characters")]
    Token,
    /// The host is no name that a certificate could hold.
    #[error("RASK_ENDPOINT: {0} is not a host name or address")]
    Host(String),
}

impl Target {
    /// The receiver of `config`.
    pub fn new(config: &Config, metrics: Metrics) -> Result<Self, TargetError> {
        let endpoint = config.endpoint.clone();
        let mut headers = HeaderMap::new();
        let default_port = if endpoint.tls { 443 } else { 80 };
        let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
        let host = if endpoint.port == default_port { host } else { format!("{host}:{}", endpoint.port) };
        let host = HeaderValue::from_str(&host).map_err(|_| TargetError::Host(endpoint.host.clone()))?;
        headers.insert(header::HOST, host);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert("x-batch-type", HeaderValue::from_static("logs"));
        headers.insert("x-forwarder-version", HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("rask-log-forwarder/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(token) = &config.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0)).map_err(|_| TargetError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let encoding = match config.compression {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        };
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let tls = if endpoint.tls { Some(tls_connector(config)?) } else { None };
        Ok(Self {
            endpoint,
            headers,
            tls,
            timeout: config.connection_timeout,
            compression: config.compression,
            metrics,
            refusals: Arc::default(),
            recognizes: Arc::default(),
        })
    }

    /// How the receiver has treated records lately, over all connections.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Whether the receiver has shown that it tells repeated lines (`docs/wire-format.md`, "Answers").
    pub fn recognizes(&self) -> bool {
        self.recognizes.load(Relaxed)
    }
}

fn tls_connector(config: &Config) -> Result<TlsConnector, TargetError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &config.ca_file {
        let error = |why: String| TargetError::CaFile { path: path.display().to_string(), why };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| error(e.to_string()))?;
        if certificates.is_empty() {
            return Err(error("it holds no PEM certificate".into()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| error(e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// A connection that is opened when it is needed and kept for the next exchange.
pub struct Connection {
    target: Target,
    open: Option<SendRequest<Full<Bytes>>>,
    /// Whether a connection was ever open: the next one is a reconnect.
    opened: bool,
}

impl Connection {
    /// Not yet open.
    pub fn new(target: Target) -> Self {
        Self { target, open: None, opened: false }
    }

    /// See [`Target::refusals`].
    pub fn refusals(&self) -> &Refusals {
        self.target.refusals()
    }

    /// Sends `batch` and says what the answer means. Dropping the future closes the connection.
    pub async fn exchange(&mut self, batch: &Batch) -> Outcome {
        let deadline = Instant::now() + self.target.timeout;
        let body = match self.target.encode(&batch.body) {
            Ok(body) => body,
            Err(error) => return failure(Status::Reset, format!("the batch cannot be compressed: {error}")),
        };
        let sent = body.len() as u64;
        let headers = self.target.headers_of(batch);
        let outcome = match timeout_at(deadline, self.attempt(&headers, &body, deadline)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.open = None;
                failure(Status::Timeout, format!("no answer within {} s", self.target.timeout.as_secs()))
            }
        };
        let metrics = &self.target.metrics;
        metrics.batches.with_label_values(&[&status_of(&outcome).label()]).inc();
        if outcome == Outcome::Delivered {
            metrics.bytes_sent.inc_by(sent);
        }
        outcome
    }

    async fn attempt(&mut self, headers: &HeaderMap, body: &Bytes, deadline: Instant) -> Outcome {
        loop {
            // Out of `self` while it is in use: a cancelled exchange must not leave half an answer on it.
            let rested = self.open.take().filter(|open| !open.is_closed());
            let reused = rested.is_some();
            let mut open = match rested {
                Some(open) => open,
                None => match self.connect().await {
                    Ok(open) => open,
                    Err(why) => return failure(Status::Connect, why),
                },
            };
            let mut request = hyper::Request::new(Full::new(body.clone()));
            *request.method_mut() = hyper::Method::POST;
            match self.target.endpoint.path.parse() {
                Ok(path) => *request.uri_mut() = path,
                Err(_) => return failure(Status::Connect, "the path of RASK_ENDPOINT is not valid".into()),
            }
            *request.headers_mut() = headers.clone();
            let answer = match open.ready().await {
                Ok(()) => open.send_request(request).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    let (outcome, whole, text) = read_answer(answer, deadline).await;
                    if outcome == Outcome::Delivered {
                        let duplicates = memchr::memmem::find(&text, b"\"duplicate\"").is_some();
                        self.target.recognizes.store(duplicates, Relaxed);
                    }
                    if whole {
                        self.open = Some(open);
                    }
                    return outcome;
                }
                Err(_) if reused => {}
                Err(error) => return failure(Status::Reset, format!("the connection broke: {error}")),
            }
        }
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let Endpoint { host, port, .. } = &self.target.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        let _ = stream.set_nodelay(true);
        if std::mem::replace(&mut self.opened, true) {
            self.target.metrics.reconnects.inc();
        }
        match &self.target.tls {
            None => start(stream).await,
            Some(tls) => {
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name for a certificate"))?;
                let stream = tls.connect(name, stream).await.map_err(|error| format!("TLS with {host}: {error}"))?;
                start(stream).await
            }
        }
    }
}

/// HTTP/1.1 over an open stream; the task that moves its bytes ends with the connection.
async fn start<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (open, moving) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Its errors reach the exchange through `open`.
        let _ = moving.await;
    });
    Ok(open)
}

/// Reads an answer; whether it was read to its end, so that the connection can be used again; and its text.
async fn read_answer(answer: hyper::Response<hyper::body::Incoming>, deadline: Instant) -> (Outcome, bool, Vec<u8>) {
    let status = answer.status().as_u16();
    let retry_after =
        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // What it says after a 2xx decides nothing: a short wait keeps the connection, no wait is worth more than that.
    let patience = if answer.status().is_success() { Instant::now() + Duration::from_millis(500) } else { deadline };
    let mut body = answer.into_body();
    let mut text = Vec::new();
    let whole = loop {
        match timeout_at(patience.min(deadline), body.frame()).await {
            Ok(None) => break true,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if text.len() + data.len() <= limits::ANSWER_BYTES => text.extend_from_slice(&data),
                Ok(_) => break false,
                Err(_trailers) => {}
            },
            Ok(Some(Err(_))) | Err(_) => break false,
        }
    };
    (classify(status, retry_after.as_deref(), &text, SystemTime::now()), whole, text)
}

fn failure(status: Status, why: String) -> Outcome {
    Outcome::Retry { why, status, after: None }
}

fn status_of(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Delivered => Status::Code(200),
        Outcome::Retry { status, .. } => *status,
        Outcome::Held { status } | Outcome::Refused { status, .. } => Status::Code(*status),
        Outcome::Overlap(_) => Status::Code(409),
        Outcome::TooLarge => Status::Code(413),
    }
}

impl Target {
    fn headers_of(&self, batch: &Batch) -> HeaderMap {
        let mut headers = self.headers.clone();
        let name = batch.header();
        headers.insert("x-batch-size", HeaderValue::from(batch.records()));
        let mut put = |key: &'static str, value: &str| {
            // Digits, letters, `=;,-`: always a valid header value.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(key), value);
            }
        };
        put("x-batch-id", &batch_id(&name));
        put("x-rask-batch", &name);
        headers
    }

    /// The body as it travels. Deterministic: a retried batch has the same bytes.
    fn encode(&self, body: &Bytes) -> std::io::Result<Bytes> {
        Ok(match self.compression {
            Compression::None => body.clone(),
            Compression::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::new(1));
                gzip.write_all(body)?;
                gzip.finish()?.into()
            }
            Compression::Zstd => zstd::bulk::compress(body, 1)?.into(),
        })
    }
}
