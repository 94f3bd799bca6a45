//! Asks a running forwarder how it is: the other end of `serve`, for `healthcheck` in images without a shell.
//!
//! Blocking, without a runtime: a container's health check runs every few seconds and should cost a millisecond.

use super::socket_path;
use crate::config::{DEFAULT_METRICS_PORT, MetricsPort};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Bytes of an answer that are read.
const ANSWER_BYTES: u64 = 16 << 10;

/// Status and body of an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body, cut at 16 KiB.
    pub body: String,
}

/// Asks for `path` on the socket in `state_dir`; when nobody listens there, on the port. The error is for a person.
pub fn ask(state_dir: &Path, port: MetricsPort, path: &str, timeout: Duration) -> Result<Answer, String> {
    let (socket, path) = (socket_path(state_dir), path.to_owned());
    within(timeout, move || {
        let by_socket = match UnixStream::connect(&socket) {
            Ok(stream) => return exchange(stream, "localhost", &path).map_err(|error| error.to_string()),
            Err(error) => format!("{}: {error}", socket.display()),
        };
        let port = match port {
            MetricsPort::Asked(port) if port > 0 => port,
            MetricsPort::Default => DEFAULT_METRICS_PORT,
            MetricsPort::Asked(_) | MetricsPort::Off => return Err(by_socket),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, timeout);
        let answer = stream.and_then(|stream| exchange(stream, "localhost", &path));
        answer.map_err(|error| format!("{by_socket}; {address}: {error}"))
    })
    .unwrap_or_else(|| Err(format!("no answer within {} s", timeout.as_secs_f32())))
}

/// Orders the forwarder that runs on `state_dir` to send its dead letters again. `None` when none runs there. The error is
/// for a person.
pub fn ask_to_drain(state_dir: &Path, timeout: Duration) -> Result<Option<Answer>, String> {
    let socket = socket_path(state_dir);
    let asked = within(timeout, move || match UnixStream::connect(&socket) {
        Ok(stream) => request(stream, "POST", "localhost", super::serve::DRAIN_PATH).map(Some),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    });
    match asked {
        Some(answer) => answer.map_err(|error| format!("{}: {error}", socket_path(state_dir).display())),
        None => Err(format!("no answer within {} s", timeout.as_secs_f32())),
    }
}

/// Sends one GET and reads the answer.
pub fn exchange(stream: impl Read + Write, host: &str, path: &str) -> io::Result<Answer> {
    request(stream, "GET", host, path)
}

fn request(mut stream: impl Read + Write, method: &str, host: &str, path: &str) -> io::Result<Answer> {
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: rask-log-forwarder/{version}\r\nconnection: close\r\n\
         content-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    match (status, read) {
        // An answer that is there counts, even when the connection breaks behind it.
        (Some(status), _) => {
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            Ok(Answer { status, body: body.to_owned() })
        }
        (None, Err(error)) => Err(error),
        (None, Ok(_)) if bytes.is_empty() => Err(io::Error::other("the connection was closed without an answer")),
        (None, Ok(_)) => Err(io::Error::other("the answer is not HTTP")),
    }
}

/// Runs `work` on a thread of its own and waits so long; the thread is left behind when it takes longer. Covers name lookup and
/// connecting to a socket, for which the system has no timeout.
pub fn within<T: Send + 'static>(timeout: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("rask-ask".into()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    thread.ok()?;
    receiver.recv_timeout(timeout).ok()
}
