//! A Docker daemon of the test's own, which may be stopped and killed: with its own data, its own containerd, its own network
//! namespace. (`--bridge none` removes `docker0` from the namespace it runs in, which must not be the host's.)

use super::{DEBIAN, LABEL, left_out, output, ready, text_of};
use crate::harness::wait;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The daemon; ended, with its containers, when the test ends.
pub(super) struct Private {
    dir: TempDir,
    live_restore: bool,
    daemon: Option<Child>,
}

impl Private {
    /// Starts one that has [`DEBIAN`]; `None`, said loudly, where that cannot be.
    pub(super) fn start(live_restore: bool) -> Option<Self> {
        if !ready(&[DEBIAN]) {
            return None;
        }
        let installed = |program: &str| output(Command::new(program).arg("--version")).status.success();
        if !["dockerd", "containerd", "unshare"].into_iter().all(installed) {
            left_out("dockerd, containerd and unshare are not all installed");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("daemon.json"), "{}").expect("written");
        let mut private = Self { dir, live_restore, daemon: None };
        private.launch();
        let load = format!("docker save {DEBIAN} | docker -H {} load", private.socket());
        text_of(&output(Command::new("sh").args(["-c", &load])));
        Some(private)
    }

    /// Starts the daemon again.
    pub(super) fn launch(&mut self) {
        let driver = super::must(&["info", "--format", "{{.Driver}}"]);
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = File::options().create(true).append(true).open(path("daemon.log")).expect("a log of the daemon's");
        let mut command = Command::new("unshare");
        command.args(["--net", "dockerd", "-H", &self.socket(), "--storage-driver", &driver]);
        command.args(["--config-file", &path("daemon.json"), "--data-root", &path("data")]);
        command.args(["--exec-root", &path("exec"), "--pidfile", &path("daemon.pid")]);
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        command.args(self.live_restore.then_some("--live-restore"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut daemon = command.spawn().expect("dockerd starts");
        wait("the daemon answers", || {
            if let Some(status) = daemon.try_wait().expect("our child") {
                let said = std::fs::read_to_string(path("daemon.log")).unwrap_or_default();
                panic!("dockerd ended at once: {status}: {:?}", said.lines().last());
            }
            self.docker(&["version"]).status.success()
        });
        self.daemon = Some(daemon);
    }

    /// SIGTERM, and waits for its end.
    pub(super) fn terminate(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        crate::harness::signal(daemon.id(), "TERM");
        daemon.wait().expect("our child");
    }

    /// SIGKILL. The kernel ends its containerd with it, which the next daemon would otherwise take for alive and wait for.
    pub(super) fn kill(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid_file = self.dir.path().join("exec/containerd/containerd.pid");
        let containerd = std::fs::read_to_string(&pid_file).expect("containerd's pid");
        daemon.kill().expect("our child");
        daemon.wait().expect("our child");
        let status = PathBuf::from(format!("/proc/{}/status", containerd.trim()));
        wait("containerd is gone", || match std::fs::read_to_string(&status) {
            Ok(status) => status.contains("State:\tZ"),
            Err(_) => true,
        });
        std::fs::remove_file(pid_file).expect("removed");
    }

    /// For `DOCKER_HOST`.
    pub(super) fn socket(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.path().display())
    }

    pub(super) fn containers(&self) -> PathBuf {
        self.dir.path().join("data/containers")
    }

    /// The json-file log of a container.
    pub(super) fn log(&self, id: &str) -> PathBuf {
        self.containers().join(id).join(format!("{id}-json.log"))
    }

    pub(super) fn docker(&self, args: &[&str]) -> Output {
        super::docker(&[&["-H", &self.socket()], args].concat())
    }

    pub(super) fn must(&self, args: &[&str]) -> String {
        text_of(&self.docker(args))
    }

    /// Runs a container of Compose service `service`; its id.
    pub(super) fn run(&self, service: &str, options: &[&str], command: &[&str]) -> String {
        let args = super::run_args(service, &[&["-d"], options].concat(), DEBIAN, command);
        self.must(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn remove_containers(&mut self) {
        if self.daemon.is_none() {
            self.launch();
        }
        let listed = self.docker(&["ps", "-aq", "--filter", &format!("label={LABEL}")]).stdout;
        for id in String::from_utf8_lossy(&listed).split_whitespace() {
            self.docker(&["rm", "-f", id]);
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A test that fails goes this way, too: what is left must not outlive it.
        self.remove_containers();
        self.terminate();
        for mount in mounts_below(self.dir.path()) {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

/// Mount points below `dir`, the innermost first.
fn mounts_below(dir: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> = points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    points
}
