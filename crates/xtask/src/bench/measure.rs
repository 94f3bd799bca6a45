//! Programs under measurement: a core of their own, and what the operating system has counted of them.
//!
//! CPU is user and system time. `/proc/PID/task/*/schedstat` counts nanoseconds but knows only threads that live; `/proc/PID/stat`
//! knows the threads that have ended too, in ticks of 10 ms. Neither is ever too high, so that the higher one is nearer.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any end after SIGTERM that is right.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two cores: one for what is measured, the other for this program, its receiver and its writer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    measured: usize,
    rest: usize,
}

impl Cores {
    /// Takes the last core that this process may use for what is measured and the first for itself. On a machine with one
    /// core both are the same, and nothing that is measured means much.
    pub(super) fn split() -> io::Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let rest = allowed.next().unwrap_or(0);
        let cores = Self { measured: allowed.next_back().unwrap_or(rest), rest };
        pin(rest)?;
        Ok(cores)
    }

    pub(super) fn are_two(self) -> bool {
        self.measured != self.rest
    }

    /// Starts a program on the measured core. It inherits where this thread is allowed to run.
    pub(super) fn spawn(self, command: &mut Command) -> io::Result<Program> {
        pin(self.measured)?;
        let begun = Instant::now();
        let child = command.spawn();
        pin(self.rest)?;
        Ok(Program { child: child?, begun })
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// A process under measurement; dropping it kills it.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// Just before it was executed.
    pub(super) begun: Instant,
}

impl Program {
    fn proc(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))
    }

    /// One file of each thread.
    fn tasks(&self, name: &str) -> io::Result<Vec<String>> {
        tasks(self.child.id(), name)
    }

    /// User and system time since it was started.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        let threads = self.tasks("schedstat")?.iter().filter_map(|text| nth_nanos(text, 0)).sum::<Duration>();
        let [user, system] = self.ticks()?;
        Ok(threads.max(Duration::from_millis((user + system) * 10)))
    }

    /// The share of the system in its CPU, 0 to 1.
    pub(super) fn system_share(&self) -> io::Result<f64> {
        let [user, system] = self.ticks()?;
        Ok(system as f64 / (user + system).max(1) as f64)
    }

    fn ticks(&self) -> io::Result<[u64; 2]> {
        ticks_of(&self.proc("stat")?).ok_or_else(|| io::Error::other("/proc/PID/stat is not as expected"))
    }

    /// How long its threads have waited for a core that others had: the noise of the machine.
    pub(super) fn waited(&self) -> io::Result<Duration> {
        waited(self.child.id())
    }

    /// As [`Program::cpu`], once it has come to rest: what is done behind the last record counts as well.
    pub(super) fn cpu_at_rest(&self) -> io::Result<Duration> {
        let mut before = self.cpu()?;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(150));
            let now = self.cpu()?;
            if now - before < Duration::from_millis(1) {
                return Ok(now);
            }
            before = now;
        }
        Ok(before)
    }

    /// The most memory that was ever resident, in bytes.
    pub(super) fn peak_bytes(&self) -> io::Result<u64> {
        let status = self.proc("status")?;
        number_behind(&status, "VmHWM:").map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmHWM"))
    }

    /// How often its threads went to sleep: once for each time that they had been woken.
    pub(super) fn sleeps(&self) -> io::Result<u64> {
        let of = |status: &String| number_behind(status, "voluntary_ctxt_switches:").unwrap_or(0);
        Ok(self.tasks("status")?.iter().map(of).sum())
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it by the end of its standard input if that is ours, else by SIGTERM, and waits. An exit code other than 0 is an error.
    pub(super) fn end(mut self) -> io::Result<()> {
        if self.child.stdin.take().is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            kill_process(pid, Signal::TERM)?;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(io::Error::other(format!("ended with {status}"))),
                None if Instant::now() > until => return Err(io::Error::other("did not end when it was told to")),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`Program::waited`], of this program: its receiver and its writer.
pub(super) fn waited_ourselves() -> io::Result<Duration> {
    waited(std::process::id())
}

fn waited(pid: u32) -> io::Result<Duration> {
    Ok(tasks(pid, "schedstat")?.iter().filter_map(|text| nth_nanos(text, 1)).sum())
}

fn tasks(pid: u32, name: &str) -> io::Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    // A thread may end meanwhile.
    Ok(tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join(name)).ok()).collect())
}

fn nth_nanos(schedstat: &str, n: usize) -> Option<Duration> {
    schedstat.split_ascii_whitespace().nth(n)?.parse().ok().map(Duration::from_nanos)
}

/// User and system time in ticks, of the text of `/proc/PID/stat`; the name before them may hold anything.
fn ticks_of(stat: &str) -> Option<[u64; 2]> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some([words.next()?.parse().ok()?, words.next()?.parse().ok()?])
}

fn number_behind(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key)?.split_ascii_whitespace().next()?.parse().ok())
}

/// How a forwarder is started.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    pub(super) program: PathBuf,
    pub(super) cores: Cores,
}

impl Forwarder {
    /// Follows `containers`, sends to `to`, and keeps its state in `state`, which is new. Everything else is as it is by default.
    pub(super) fn start(&self, containers: &Path, to: SocketAddr, state: &Path) -> io::Result<Program> {
        fs::create_dir_all(state)?;
        let log = fs::File::create(state.with_extension("log"))?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("TARGET_SERVICE", super::corpora::SERVICE)
            .env("RASK_ENDPOINT", format!("http://{to}/v1/aggregate"))
            .env("DOCKER_CONTAINERS_DIR", containers)
            .env("DOCKER_HOST", "none")
            .env("DISK_FALLBACK_PATH", state)
            .env("METRICS_PORT", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.cores.spawn(&mut command)
    }

    /// A floor program, which is this very executable.
    pub(super) fn start_floor(&self, log: &Path, to: SocketAddr, echo: bool) -> io::Result<Program> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-floor").arg("--log").arg(log).args(["--to", &to.to_string()]);
        if echo {
            command.arg("--echo");
        }
        self.cores.spawn(command.stdin(Stdio::piped()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_behind_the_name() {
        let stat = "123 (a b) c) S 1 2 3 4 5 6 7 8 9 10 700 42 0 0 20 0 1 0";
        assert_eq!(ticks_of(stat), Some([700, 42]));
        assert_eq!(ticks_of("123 (x) S 1"), None);
    }

    #[test]
    fn schedstat_has_time_on_a_core_and_time_in_wait() {
        let [used, waited, none] = [0, 1, 3].map(|n| nth_nanos("7000 9 3\n", n));
        assert_eq!((used, waited, none), (Some(Duration::from_nanos(7000)), Some(Duration::from_nanos(9)), None));
    }

    #[test]
    fn each_sleep_is_counted_once() {
        let status = "Name:\tx\nVmHWM:\t  5120 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(number_behind(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(number_behind(status, "VmHWM:"), Some(5120));
        assert_eq!(number_behind(status, "VmRSS:"), None);
    }

    /// Against a process that does nothing but use the CPU: what is counted is what has passed.
    #[test]
    fn cpu_is_counted() {
        let all = sched_getaffinity(None).unwrap();
        let mut command = Command::new("sh");
        let program = Cores::split().unwrap().spawn(command.args(["-c", "while :; do :; done"])).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let (cpu, wall) = (program.cpu().unwrap(), program.begun.elapsed());
        assert!(cpu > Duration::from_millis(50) && cpu <= wall + Duration::from_millis(20), "{cpu:?} of {wall:?}");
        assert!(program.peak_bytes().unwrap() > 100_000);
        assert!(program.sleeps().is_ok());
        sched_setaffinity(None, &all).unwrap();
    }
}
