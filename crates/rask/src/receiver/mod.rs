//! The reference receiving end: takes batches in exactly as `docs/wire-format.md` says, keeps a ledger of what came, and
//! misbehaves on request. It serves `rask demo` and `rask verify`, and the tests of everything that sends.
//!
//! It runs on a thread of its own; the handle's methods are synchronous, so that a test needs no runtime, or may have any.
//! Records and covers are committed under one lock, and with [`Options::state`] written to disk before the answer, so that a
//! process that is killed continues where it was.

mod committed;
mod fault;
mod histogram;
mod ledger;
mod scan;
mod server;
mod state;

pub use committed::{Committed, Verdict};
pub use fault::Fault;
pub use histogram::Histogram;
pub use ledger::{Arrival, Detail, Keep, LATE_NANOS, Ledger, Sequence, Totals};
pub use scan::{Mark, mark_of};

use fault::Faults;
use rask_log_forwarder::position::Ranges;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How a receiver is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How closely records and headers are checked.
    pub detail: Detail,
    /// Which records are kept.
    pub keep: Keep,
    /// Enter only this run into the ledger.
    pub only_run: Option<String>,
    /// File that makes commits durable: read at the start, replaced before each answer.
    pub state: Option<PathBuf>,
    /// Takes no notice of `x-rask-batch`, as receivers do that are not rask's: whatever comes is stored.
    pub forgetful: bool,
    /// Longest body that is taken, in bytes, compressed and decompressed; longer ones are answered with 413.
    pub max_body: usize,
    /// Sees each record as it is stored.
    pub watch: Option<Watch>,
}

/// Called with each record that is stored, without its newline, in the order of arrival. Requests wait meanwhile.
#[derive(Clone)]
pub struct Watch(pub Arc<dyn Fn(&[u8]) + Send + Sync>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// A free port on loopback, every record checked and kept: what most tests want.
impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            detail: Detail::Full,
            keep: Keep::All,
            only_run: None,
            state: None,
            forgetful: false,
            max_body: 64 << 20,
            watch: None,
        }
    }
}

/// What the thread and the handle share.
#[derive(Debug)]
struct Shared {
    options: Options,
    account: Mutex<Account>,
    /// Told of every request that has been dealt with.
    changed: Condvar,
    faults: Faults,
}

/// What a commit changes, all at once.
#[derive(Debug)]
struct Account {
    ledger: Ledger,
    committed: Committed,
}

impl Shared {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Command {
    Listen(sync_mpsc::SyncSender<io::Result<()>>),
    Stop(sync_mpsc::SyncSender<()>),
}

/// Handle of a running receiver; dropping it ends the thread.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens and serves. Errors: the address is taken, the state file is unreadable.
    ///
    /// ```
    /// use rask::receiver::{Options, Receiver};
    /// let receiver = Receiver::start(Options::default()).unwrap();
    /// assert!(receiver.url().ends_with("/v1/aggregate"));
    /// assert_eq!(receiver.totals().records, 0);
    /// ```
    pub fn start(options: Options) -> io::Result<Self> {
        let mut ledger = Ledger::new(options.detail, options.keep, options.only_run.clone());
        let mut committed = Committed::default();
        if let Some(path) = &options.state {
            state::load(path, &mut ledger, &mut committed)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let port = runtime.block_on(async { server::Port::open(options.listen) })?;
        let address = port.address();
        let account = Mutex::new(Account { ledger, committed });
        let shared = Arc::new(Shared { options, account, changed: Condvar::new(), faults: Faults::new() });
        #[expect(clippy::disallowed_methods, reason = "a test sends a handful of commands, and sending must not wait")]
        let (commands, inbox) = mpsc::unbounded_channel();
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("receiver".into())
            .spawn(move || runtime.block_on(server::serve(served, port, inbox)))?;
        Ok(Self { shared, address, commands: Some(commands), thread: Some(thread) })
    }

    /// Where it listens, also while it does not.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `RASK_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}/v1/aggregate", self.address)
    }

    /// Misbehaves like this from now on; drops what is left of a script and lets go of hanging requests.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.faults.set(fault);
    }

    /// Misbehaves like this, once each, in the next requests.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.script(faults);
    }

    /// Closes the port and every connection; what was committed stays.
    pub fn stop_listening(&self) {
        let (reply, done) = sync_mpsc::sync_channel(1);
        self.command(Command::Stop(reply));
        let _ = done.recv();
    }

    /// Opens the same port again.
    pub fn start_listening(&self) -> io::Result<()> {
        let (reply, done) = sync_mpsc::sync_channel(1);
        self.command(Command::Listen(reply));
        done.recv().map_err(io::Error::other)?
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }

    /// Looks into the ledger. Requests wait meanwhile.
    pub fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.shared.account().ledger)
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.ledger(Ledger::totals)
    }

    /// The records kept, decoded. Malformed ones are left out; the ledger counts them.
    pub fn records(&self) -> Vec<rask_record::Record> {
        self.ledger(|ledger| {
            ledger.arrivals().filter_map(|arrival| rask_record::Record::decode(&arrival.line).ok()).collect()
        })
    }

    /// What is committed of a source.
    pub fn committed(&self, container: &str, generation: u64) -> Ranges {
        self.shared.account().committed.of(container, generation)
    }

    /// Everything that is committed.
    pub fn all_committed(&self) -> Committed {
        self.shared.account().committed.clone()
    }

    /// Waits until `reached` holds of the ledger, at most for `time`. Says whether it does.
    pub fn wait_until(&self, time: Duration, mut reached: impl FnMut(&Ledger) -> bool) -> bool {
        let until = Instant::now() + time;
        let mut account = self.shared.account();
        loop {
            if reached(&account.ledger) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            account = self.shared.changed.wait_timeout(account, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
