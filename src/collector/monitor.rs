//! Which containers are collected: the rules, and who this process is.
//!
//! A container is collected when `TARGET_SERVICE` equals **any** of
//!
//! 1. its Compose service (label `com.docker.compose.service`), unless it is a one-off of `docker compose run`: that is a
//!    person's errand with its own terminal, not a replica. (Named outright, by rule 2 or 3, it is collected.)
//! 2. its exact name, without the leading slash,
//! 3. its label `rask.service`,
//!
//! except when its label `rask.enabled` is false, or when it is this very process. "In this order" decides what the records
//! are called: `service_name` is the Compose service, else `rask.service`, else the name, whichever rule matched. The rules
//! are alternatives rather than "the first that matches anything", because a container's fate must not depend on which
//! other containers happen to exist.
//!
//! **Who we are.** The evidence is our own cgroup, which carries the container's id in cgroup v1 and with the host's cgroup
//! namespace. It is *not* the hostname and *not* the mounts of `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`: with
//! `network_mode: service:x`, our usual place, all of these are x's own (checked on Docker 20.10), and we would leave out
//! the one container we are there for. Where the cgroup shows nothing (v2 with a private namespace), a container is us when
//! it was started with our command line and every variable of its configuration is in our environment with the same value.
//!
//! No I/O but [`Own::detect`]; no clock, no tokio.

use crate::source::{Container, Steering};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::sync::Arc;

/// Label that Compose puts on the containers of a service.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Label that tells containers of `docker compose run` (`True`) from replicas.
const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";

/// Bytes of `/proc/self/cgroup` and `/proc/self/mountinfo` that are read.
const PROC_FILE_BYTES: u64 = 1 << 20;

/// What a source of discovery knows of a container, before anything is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// 64 hexadecimal digits.
    pub(super) id: String,
    /// Name without the leading slash.
    pub(super) name: String,
    /// The labels that matter.
    pub(super) labels: Labels,
    /// Whether it has a TTY.
    pub(super) tty: bool,
    /// Log driver.
    pub(super) log_driver: String,
    /// Option `max-size` of the driver.
    pub(super) max_size: Option<String>,
    /// Name of the log file in the container's directory.
    pub(super) log_file: OsString,
    /// Whether it has ever been started.
    pub(super) started: bool,
    /// How it is started.
    pub(super) launch: Launch,
}

impl Facts {
    /// The container as the rest of the program sees it.
    pub(super) fn container(&self) -> Arc<Container> {
        let labels = &self.labels;
        Arc::new(Container {
            id: self.id.clone(),
            name: self.name.clone(),
            service: labels.compose_service.as_ref().or(labels.service.as_ref()).unwrap_or(&self.name).clone(),
            group: labels.group.clone(),
            format: labels.format.clone(),
            multiline: labels.multiline.clone(),
            steering: labels.steering.clone(),
            tty: self.tty,
            log_driver: self.log_driver.clone(),
            max_size: self.max_size.clone(),
        })
    }
}

/// Name of the file that the json-file driver writes for container `id`.
pub(super) fn json_log_name(id: &str) -> OsString {
    format!("{id}-json.log").into()
}

/// Whether `name` is a container's id in full.
pub(super) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The labels that matter; an empty value counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) compose_service: Option<String>,
    pub(super) oneoff: bool,
    pub(super) service: Option<String>,
    pub(super) group: Option<String>,
    pub(super) format: Option<String>,
    pub(super) multiline: Option<String>,
    pub(super) steering: Steering,
    pub(super) disabled: bool,
}

impl Labels {
    /// Whether the label `key` matters.
    pub(super) fn wants(key: &str) -> bool {
        key.starts_with("rask.") || key == COMPOSE_SERVICE || key == COMPOSE_ONEOFF
    }

    /// Takes note of a label.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        let text = (!value.is_empty()).then(|| value.to_owned());
        match key {
            COMPOSE_SERVICE => self.compose_service = text,
            COMPOSE_ONEOFF => self.oneoff = value.eq_ignore_ascii_case("true"),
            "rask.service" => self.service = text,
            "rask.group" => self.group = text,
            "rask.format" => self.format = text,
            "rask.multiline" => self.multiline = text,
            "rask.min_level" => self.steering.min_level = text,
            "rask.keep" => self.steering.keep = text,
            "rask.drop" => self.steering.drop = text,
            "rask.sample" => self.steering.sample = text,
            "rask.rate" => self.steering.rate = text,
            "rask.redact" => self.steering.redact = text,
            "rask.enabled" => {
                self.disabled = ["false", "0", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no));
            }
            _ => {}
        }
    }
}

impl<'a> FromIterator<(&'a String, &'a String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a String, &'a String)>>(pairs: I) -> Self {
        let mut labels = Self::default();
        for (key, value) in pairs {
            labels.set(key, value);
        }
        labels
    }
}

/// Command line and environment that a container is configured with.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<String>,
}

/// The environment may hold passwords.
impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Launch(…)")
    }
}

/// What the rules say of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is collected.
    Collect,
    /// It is another service's.
    Other,
    /// It would be collected but for its label `rask.enabled`.
    Disabled,
    /// It would be collected, but it is this process.
    Own,
}

/// The rules, with the target they are about.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    target: String,
    own: Own,
}

impl Rules {
    pub(super) fn new(target: &str, own: Own) -> Self {
        Self { target: target.to_owned(), own }
    }

    /// The service that is looked for.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Whether name and labels match; the exceptions are left to [`Self::judge`].
    pub(super) fn matches(&self, name: &str, labels: &Labels) -> bool {
        let target = Some(self.target.as_str());
        (labels.compose_service.as_deref() == target && !labels.oneoff)
            || name == self.target
            || labels.service.as_deref() == target
    }

    /// What is to be done with a container.
    pub(super) fn judge(&self, facts: &Facts) -> Verdict {
        match () {
            () if !self.matches(&facts.name, &facts.labels) => Verdict::Other,
            () if facts.labels.disabled => Verdict::Disabled,
            () if self.own.is(facts) => Verdict::Own,
            () => Verdict::Collect,
        }
    }
}

/// What is known of the container that this process runs in, if it runs in one.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Ids in our cgroup; more than one when Docker runs in Docker.
    ids: HashSet<String>,
    launch: Launch,
}

impl Own {
    /// Looks at this process.
    pub(super) fn detect() -> Self {
        let read = |path| {
            let mut text = String::new();
            let file = std::fs::File::open(path).and_then(|file| file.take(PROC_FILE_BYTES).read_to_string(&mut text));
            file.map(|_| text).unwrap_or_default()
        };
        let mut ids = ids_in_cgroup(&read("/proc/self/cgroup"));
        ids.extend(ids_in_mountinfo(&read("/proc/self/mountinfo")));
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let argv = std::env::args_os().map(text).collect();
        let env = std::env::vars_os().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
        Self { ids, launch: Launch { argv, env } }
    }

    fn is(&self, facts: &Facts) -> bool {
        if !self.ids.is_empty() {
            return self.ids.contains(&facts.id);
        }
        !facts.launch.argv.is_empty()
            && facts.launch.argv == self.launch.argv
            && facts.launch.env.iter().all(|variable| self.launch.env.contains(variable))
    }
}

/// Container ids in `/proc/self/cgroup`, v1 (`9:pids:/docker/<id>`) and v2 (`0::/system.slice/docker-<id>.scope`).
fn ids_in_cgroup(text: &str) -> HashSet<String> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(ids_in_path).collect()
}

/// Container ids in the cgroup mounts of `/proc/self/mountinfo`, whose fourth field is the cgroup they show. All other
/// mounts are passed over: they may belong to the container whose network we share.
fn ids_in_mountinfo(text: &str) -> HashSet<String> {
    let cgroup = |line: &&str| line.split(" - ").nth(1).is_some_and(|fs| fs.starts_with("cgroup"));
    text.lines().filter(cgroup).filter_map(|line| line.split(' ').nth(3)).flat_map(ids_in_path).collect()
}

fn ids_in_path(path: &str) -> impl Iterator<Item = String> {
    path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_id(word)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID_A: &str = "01ac62866fe459a03f4294168b8e439a83462d94b926dd117f31cd7fe8557da6";
    const ID_B: &str = "009d17c6fcdb31ededa1a27b79345fcec056aecc555766836d8e0112de237a9b";

    fn facts(name: &str, labels: &[(&str, &str)]) -> Facts {
        let mut facts = Facts { id: ID_A.into(), name: name.into(), ..Facts::default() };
        for (key, value) in labels {
            facts.labels.set(key, value);
        }
        facts
    }

    #[test]
    fn rules_table() {
        let rules = Rules::new("web", Own::default());
        let check = |name: &str, labels: &[(&str, &str)], verdict: Verdict, service: &str| {
            let facts = facts(name, labels);
            assert_eq!(rules.judge(&facts), verdict, "{name} {labels:?}");
            assert_eq!(facts.container().service, service, "{name} {labels:?}");
        };
        let (web, oneoff) = ((COMPOSE_SERVICE, "web"), (COMPOSE_ONEOFF, "True"));
        check("shop-web-1", &[web], Verdict::Collect, "web");
        check("shop-web-2", &[web, (COMPOSE_ONEOFF, "False")], Verdict::Collect, "web");
        check("web", &[], Verdict::Collect, "web");
        check("x", &[("rask.service", "web")], Verdict::Collect, "web");
        check("web", &[(COMPOSE_SERVICE, "front")], Verdict::Collect, "front");
        check("x", &[(COMPOSE_SERVICE, "front"), ("rask.service", "web")], Verdict::Collect, "front");
        check("web", &[("rask.service", "mine")], Verdict::Collect, "mine");
        check("web", &[(COMPOSE_SERVICE, "")], Verdict::Collect, "web");
        check("shop-web-run-1", &[web, oneoff], Verdict::Other, "web");
        check("web", &[web, oneoff], Verdict::Collect, "web");
        check("x", &[web, oneoff, ("rask.service", "web")], Verdict::Collect, "web");
        check("web-1", &[], Verdict::Other, "web-1");
        check("Web", &[], Verdict::Other, "Web");
        check("x", &[(COMPOSE_SERVICE, "web2"), ("rask.service", "we")], Verdict::Other, "web2");
        check("x", &[web, ("rask.enabled", "false")], Verdict::Disabled, "web");
        check("x", &[web, ("rask.enabled", "Off")], Verdict::Disabled, "web");
        check("x", &[web, ("rask.enabled", "true")], Verdict::Collect, "web");
        check("x", &[("rask.enabled", "false")], Verdict::Other, "x");
    }

    #[test]
    fn labels_reach_the_container() {
        let facts = facts("x", &[("rask.group", "shop"), ("rask.format", "nginx"), ("rask.service", "web")]);
        let container = facts.container();
        assert_eq!((container.group.as_deref(), container.format.as_deref()), (Some("shop"), Some("nginx")));
        assert!(Labels::wants("rask.multiline") && Labels::wants(COMPOSE_SERVICE) && !Labels::wants("maintainer"));
    }

    #[test]
    fn own_by_cgroup() {
        let check = |text: &str, ids: &[&str]| {
            assert_eq!(ids_in_cgroup(text), ids.iter().map(|id| (*id).to_owned()).collect(), "{text}");
        };
        check(&format!("9:name=systemd:/docker/{ID_A}\n8:pids:/docker/{ID_A}\n0::/docker/{ID_A}\n"), &[ID_A]);
        check(&format!("0::/system.slice/docker-{ID_A}.scope\n"), &[ID_A]);
        check(&format!("4:memory:/docker/{ID_B}/docker/{ID_A}\n"), &[ID_A, ID_B]);
        check(&format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID_A}.scope"), &[ID_A]);
        check("0::/\n", &[]);
        check("0::/user.slice/user-1000.slice/session-3.scope\n", &[]);
        check(&format!("0::/x/{ID_A}0\n1:a:/{}\n", &ID_A[1..]), &[]);
        check(&format!("0::/x/{}\n", ID_A.to_uppercase()), &[]);
        check("", &[]);
    }

    #[test]
    fn own_by_mountinfo() {
        // As seen in a container that shares another's network: hosts, hostname and resolv.conf are the other's.
        let shared = format!(
            "103 55 0:49 / / rw,nodev,noatime master:3 - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0\n\
             112 108 0:32 /docker/{ID_A} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
             120 103 254:0 /var/lib/docker/containers/{ID_B}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw\n\
             121 103 254:0 /var/lib/docker/containers/{ID_B}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw\n\
             122 103 254:0 /var/lib/docker/containers/{ID_B}/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw\n"
        );
        assert_eq!(ids_in_mountinfo(&shared), HashSet::from([ID_A.to_owned()]));
        let private = format!(
            "29 25 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n\
             30 25 254:0 /var/lib/docker/containers/{ID_B}/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
        );
        assert!(ids_in_mountinfo(&private).is_empty());
        assert!(ids_in_mountinfo("garbage\n\n - cgroup").is_empty());
    }

    #[test]
    fn own_by_launch_only_without_a_cgroup() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let launch = |argv: &[&str], env: &[&str]| Launch { argv: words(argv), env: words(env) };
        let own = launch(&["/rask-log-forwarder"], &["PATH=/bin", "TARGET_SERVICE=web", "HOSTNAME=x"]);
        let check = |ids: &[&str], theirs: Launch, expected: Verdict| {
            let own = Own { ids: words(ids).into_iter().collect(), launch: own.clone() };
            let facts = Facts { launch: theirs, ..facts("web", &[]) };
            assert_eq!(Rules::new("web", own).judge(&facts), expected, "{ids:?}");
        };
        let same = || launch(&["/rask-log-forwarder"], &["TARGET_SERVICE=web", "PATH=/bin"]);
        check(&[], same(), Verdict::Own);
        check(&[ID_A], launch(&["/other"], &[]), Verdict::Own);
        check(&[ID_B], same(), Verdict::Collect);
        // Another forwarder of the same image, collected by us; a service of a bare image; nothing known.
        check(&[], launch(&["/rask-log-forwarder"], &["TARGET_SERVICE=nginx"]), Verdict::Collect);
        check(&[], launch(&["/app"], &[]), Verdict::Collect);
        check(&[], launch(&[], &[]), Verdict::Collect);
    }
}
