//! The admin endpoint: `/metrics`, `/healthz` and `/readyz` on `METRICS_PORT`, and always on the socket `admin.sock` in the state
//! directory, so that `healthcheck` works without a port. Only on the socket, which is its owner's alone: `POST /spool/drain`.
//!
//! It has its own thread and runtime, so that a stuck pipeline can still say that it is stuck, and so that no client of it
//! can slow the pipeline. Idle, it does not wake up. It reads atomics, passes one order on to the store, and hears from it when the
//! directory of the socket is a new one; it knows nothing of the stages.

mod ask;
mod health;
mod serve;
#[cfg(test)]
mod tests;

pub use ask::{Answer, ask, ask_to_drain, exchange, within};
pub use health::{Health, Phase, Trouble};

use crate::config::{Config, DEFAULT_METRICS_PORT, MetricsPort};
use crate::metrics::Metrics;
use crate::sender::spool::Store;
use serve::State;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// Why the admin endpoint cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port that was asked for cannot be had.
    #[error(
        "METRICS_PORT: port {port} cannot be served ({source}); the port is shared with the service's network namespace: \
         give another one, 0 for any free one, or ENABLE_METRICS=false"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Another process answers on the socket in the state directory.
    #[error("DISK_FALLBACK_PATH: another forwarder runs on {}; each needs its own state directory", .0.display())]
    InUse(PathBuf),
    /// The thread or its runtime cannot be made.
    #[error("the admin thread cannot be started: {0}")]
    Thread(io::Error),
}

impl AdminError {
    /// Exit code of a process that ends for this reason.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Port { .. } | Self::InUse(_) => crate::exit::CONFIG,
            Self::Thread(_) => crate::exit::FAILURE,
        }
    }
}

/// The running endpoint; dropping it ends the thread and removes the socket.
#[derive(Debug)]
pub struct Admin {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// The socket's path in a state directory.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.sock")
}

/// Binds the port and the socket, then serves them on a thread of its own. With a `store`, the socket takes the order to drain.
///
/// A port that was asked for is needed; the default port and the socket are wanted: without them a warning is logged.
pub fn start(
    config: &Config,
    metrics: Metrics,
    health: Arc<Health>,
    store: Option<Store>,
) -> Result<Admin, AdminError> {
    let tcp = bind_port(config.metrics)?;
    let unix = bind_socket(&config.state_dir)?;
    let address = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let socket = unix.is_some().then(|| socket_path(&config.state_dir));
    if let Some(address) = address {
        tracing::info!(port = address.port(), "metrics on http://{address}/metrics");
    }
    let stop = Arc::new(Notify::new());
    // From here on dropping it cleans up.
    let mut admin = Admin { address, socket, stop: stop.clone(), thread: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(AdminError::Thread)?;
    let on_port = State { metrics, health, store: None };
    let on_socket = State { store, ..on_port.clone() };
    let state_dir = config.state_dir.clone();
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                () = stop.notified() => {}
                () = serve_port(tcp, on_port) => {}
                () = serve_socket(unix, &state_dir, on_socket) => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("rask-admin".into()).spawn(run).map_err(AdminError::Thread)?;
    admin.thread = Some(thread);
    Ok(admin)
}

impl Admin {
    /// Address of the port that is served, if one is: with `METRICS_PORT=0` this tells which.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Ends the thread and removes the socket.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(socket) = self.socket.take() {
            let _ = std::fs::remove_file(socket);
        }
    }
}

async fn serve_port(listener: Option<TcpListener>, state: State) {
    match listener.map(tokio::net::TcpListener::from_std).transpose() {
        Ok(Some(listener)) => serve::accept_loop(async || Ok(listener.accept().await?.0), state).await,
        Ok(None) => std::future::pending().await,
        Err(error) => unserved("port", &error).await,
    }
}

/// Serves the socket, and a new one each time the state directory has been made anew: the old one went with the old directory.
async fn serve_socket(mut listener: Option<UnixListener>, state_dir: &Path, state: State) {
    loop {
        tokio::select! {
            () = serve_one_socket(listener.take(), state.clone()) => {}
            () = remade(state.store.as_ref()) => {
                listener = bind_socket(state_dir).inspect_err(|error| tracing::warn!("the admin socket: {error}")).ok().flatten();
            }
        }
    }
}

async fn remade(store: Option<&Store>) {
    match store {
        Some(store) => store.remade().await,
        None => std::future::pending().await,
    }
}

async fn serve_one_socket(listener: Option<UnixListener>, state: State) {
    match listener.map(tokio::net::UnixListener::from_std).transpose() {
        Ok(Some(listener)) => serve::accept_loop(async || Ok(listener.accept().await?.0), state).await,
        Ok(None) => std::future::pending().await,
        Err(error) => unserved("socket", &error).await,
    }
}

/// One of the two listeners failing must not end the other.
async fn unserved(what: &str, error: &io::Error) {
    tracing::warn!(%error, "the admin {what} is not served");
    std::future::pending::<()>().await;
}

fn bind_port(port: MetricsPort) -> Result<Option<TcpListener>, AdminError> {
    match port {
        MetricsPort::Off => Ok(None),
        MetricsPort::Asked(port) => listen(port).map(Some).map_err(|source| AdminError::Port { port, source }),
        MetricsPort::Default => Ok(listen(DEFAULT_METRICS_PORT)
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "port {DEFAULT_METRICS_PORT} cannot be served: going on without metrics; METRICS_PORT names another"
                );
            })
            .ok()),
    }
}

/// Listens on all addresses, since who scrapes is outside of the shared network namespace; IPv6 as well where there is any.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Listens on the socket, replacing one that a killed process left. It is made under another name, closed to others and then
/// renamed, so that it never stands there open to all, or dead.
fn bind_socket(state_dir: &Path) -> Result<Option<UnixListener>, AdminError> {
    let path = socket_path(state_dir);
    if UnixStream::connect(&path).is_ok() {
        return Err(AdminError::InUse(state_dir.to_owned()));
    }
    let bind = || {
        std::fs::create_dir_all(state_dir)?;
        let new = state_dir.join("admin.sock.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, &path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    Ok(bind()
        .inspect_err(|error| {
            tracing::warn!(%error, "{} cannot be served: `healthcheck` will ask the port", path.display());
        })
        .ok())
}
