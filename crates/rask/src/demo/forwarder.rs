//! One forwarder process: this program again, as `rask forward`, so that versions always match.

use rustix::process::{Pid, Signal};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the environment of a forwarder that the demo starts.
pub const CHILD_VARIABLE: &str = "RASK_DEMO_CHILD";

/// Docker kills after ten seconds; so do we.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets the kernel end this process when the demo is killed before it can. Called in the forwarder.
pub fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
}

/// A running forwarder. Dropping it kills it.
pub(super) struct Forwarder {
    service: &'static str,
    child: Child,
    log: PathBuf,
}

impl Forwarder {
    /// Starts one that knows nothing but the containers directory and the endpoint.
    pub(super) fn start(service: &'static str, containers: &Path, state: &Path, endpoint: &str) -> io::Result<Self> {
        fs::create_dir_all(state)?;
        let log = state.with_extension("log");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("forward").env_clear().env("LOG_LEVEL", "warn");
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command
            .env(CHILD_VARIABLE, "1")
            .env("TARGET_SERVICE", service)
            .env("RASK_ENDPOINT", endpoint)
            .env("DOCKER_CONTAINERS_DIR", containers)
            .env("DOCKER_HOST", "none")
            .env("DISK_FALLBACK_PATH", state)
            .env("METRICS_PORT", "0")
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .process_group(0);
        Ok(Self { service, child: command.spawn()?, log })
    }

    /// What to say when it has ended although nobody asked it to.
    pub(super) fn is_dead(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the forwarder of {} ended: {status}\n{}", self.service, self.said()))
    }

    /// Resident memory in bytes, and CPU time used so far.
    pub(super) fn usage(&self) -> Option<(u64, Duration)> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name in brackets may hold anything; utime and stime are the 12th and 13th words behind it.
        let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?;
        let tick = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?.max(1);
        Some((pages * rustix::param::page_size() as u64, tick * u32::try_from(ticks).ok()?))
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended; an error says how it ended otherwise than well.
    pub(super) fn wait(mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return Err(format!("the forwarder of {} did not end within 10 s", self.service)),
                Err(error) => return Err(format!("the forwarder of {}: {error}", self.service)),
            }
        };
        if status.success() {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        Err(format!("the forwarder of {} ended with {how}\n{}", self.service, self.said()))
    }

    /// The last of what it logged.
    fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
