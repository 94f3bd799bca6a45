//! One forwarder over its many lives.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a life may take at most (`DESIGN.md`, P4).
pub(super) const PEAK_BYTES: u64 = 16 << 20;

/// Longer than any wait that is right.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service's forwarder.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) service: &'static str,
    program: PathBuf,
    containers: PathBuf,
    endpoint: String,
    pub(super) state: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    pub(super) lives: u64,
    pub(super) peak: u64,
    pub(super) complaints: Vec<String>,
}

impl Forwarder {
    pub(super) fn new(service: &'static str, program: &Path, dir: &Path, state: PathBuf, endpoint: String) -> Self {
        Self {
            service,
            program: program.to_owned(),
            containers: dir.join("containers"),
            endpoint,
            state,
            log: dir.join(format!("{service}.log")),
            child: None,
            lives: 0,
            peak: 0,
            complaints: Vec::new(),
        }
    }

    /// Starts it, without waiting.
    pub(super) fn spawn(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("TARGET_SERVICE", self.service)
            .env("RASK_ENDPOINT", &self.endpoint)
            .env("DOCKER_CONTAINERS_DIR", &self.containers)
            .env("DOCKER_HOST", "none")
            .env("DISK_FALLBACK_PATH", &self.state)
            .env("METRICS_PORT", "0")
            .env("CONNECTION_TIMEOUT_SECS", "2")
            .env("LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        self.lives += 1;
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.spawn()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                self.complaints.push(format!("{} ended at its start: {status}", self.service));
                return Err(io::Error::other(format!("{} ended at its start: {status}", self.service)));
            }
            if self.get("/readyz").is_some_and(|body| !body.contains("starting")) {
                return Ok(());
            }
            if Instant::now() > until {
                self.complaints.push(format!("{} did not answer within {PATIENCE:?}", self.service));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.as_ref()?.id().cast_signed())
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.measure();
        if let Some(mut child) = self.child.take() {
            let unasked = child.try_wait()?;
            child.kill()?;
            child.wait()?;
            if let Some(status) = unasked {
                self.complaints.push(format!("{} had ended by itself: {status}", self.service));
            }
        }
        Ok(())
    }

    /// SIGKILL of one that may have ended as it was told to.
    pub(super) fn end_and_kill(&mut self) -> io::Result<()> {
        self.measure();
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            let status = child.wait()?;
            if status.code().is_some() {
                self.judge_end(status);
            }
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn terminate(&mut self) -> io::Result<()> {
        self.measure();
        self.signal(Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while let Some(child) = &mut self.child {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                self.judge_end(status);
                break;
            }
            if Instant::now() > until {
                self.complaints.push(format!("{} did not end within {PATIENCE:?} after SIGTERM", self.service));
                self.kill()?;
            }
            self.measure();
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// 1 is a missed drain deadline, which a loaded machine may cause; what was not sent is still in the logs then.
    fn judge_end(&mut self, status: ExitStatus) {
        if !matches!(status.code(), Some(0 | 1)) {
            self.complaints.push(format!("{} ended with {status} after SIGTERM", self.service));
        }
    }

    /// Takes the peak of its memory.
    pub(super) fn measure(&mut self) {
        let Some(child) = &self.child else { return };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) else { return };
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| {
            rest.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib * 1024)
        });
        let peak = peak.unwrap_or(0);
        if peak >= PEAK_BYTES && peak > self.peak {
            self.complaints.push(format!("{} life {}: peak of {} KiB", self.service, self.lives, peak / 1024));
        }
        self.peak = self.peak.max(peak);
    }

    /// Whether it has `path` open.
    pub(super) fn has_open(&self, path: &Path) -> bool {
        let Some(child) = &self.child else { return false };
        let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", child.id())) else { return false };
        entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
    }

    /// Body of an admin page.
    pub(super) fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.state.join("admin.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: forwarder\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// `read + recovered` and `delivered + dropped`, when nothing is pending.
    pub(super) fn books(&self) -> Option<(u64, u64)> {
        let body = self.get("/metrics")?;
        let sum = |name: &str| -> u64 {
            let name = format!("rask_forwarder_{name}");
            body.lines()
                .filter(|line| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with([' ', '{'])))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>() as u64
        };
        (sum("lines_pending") == 0 && sum("lag_bytes") == 0).then(|| {
            (
                sum("lines_read_total") + sum("lines_recovered_total"),
                sum("lines_delivered_total") + sum("lines_dropped_total"),
            )
        })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
