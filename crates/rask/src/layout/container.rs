//! One container: its directory, the daemon's two files about it, its log.

use super::envelope::{PART_BYTES, Stream, put_envelope};
use super::logfile::{LogFile, Rotation};
use crate::clock;
use serde_json::json;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What a container is started with.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Compose service: the label `com.docker.compose.service`. Empty for a container that Compose did not start.
    pub service: String,
    /// Container name without the slash; empty makes one up as Compose does.
    pub name: String,
    /// Further labels, such as `rask.group` and `rask.format`.
    pub labels: Vec<(String, String)>,
    /// Options of the log driver.
    pub rotation: Rotation,
}

impl Spec {
    /// A Compose service with nothing else set.
    pub fn service(service: &str) -> Self {
        Self { service: service.to_owned(), ..Self::default() }
    }
}

/// A running container that writes.
#[derive(Debug)]
pub struct Container {
    id: String,
    dir: PathBuf,
    spec: Spec,
    log: LogFile,
    started: i64,
    /// For each stream, whether its last part has no newline, and the time of the first part, which Docker gives to all.
    parts: [Option<i64>; 2],
    entry: Vec<u8>,
}

impl Container {
    /// Creates and starts a container in `containers`: directory, the two files, then the log, then the file that says it runs.
    pub fn start(containers: &Path, spec: Spec) -> io::Result<Self> {
        let id: String = (0..64).map(|_| fastrand::digit(16)).collect();
        Self::start_as(containers, spec, &id)
    }

    /// As [`Container::start`] with a given id, which starts a stopped container again.
    pub fn start_as(containers: &Path, mut spec: Spec, id: &str) -> io::Result<Self> {
        if spec.name.is_empty() {
            spec.name = format!("demo-{}-1", if spec.service.is_empty() { &id[..12] } else { &spec.service });
        }
        let dir = containers.join(id);
        fs::DirBuilder::new().mode(0o710).recursive(true).create(&dir)?;
        let log_path = dir.join(format!("{id}-json.log"));
        let started = clock::now();
        write_config(&dir, id, &spec, started, Path::new(""), false)?;
        write_file(&dir, "hostconfig.json", &host_config(&spec))?;
        let log = LogFile::open(&log_path, spec.rotation)?;
        write_config(&dir, id, &spec, started, &log_path, true)?;
        Ok(Self { id: id.to_owned(), dir, spec, log, started, parts: [None; 2], entry: Vec::new() })
    }

    /// 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The log file, for what only tests do to it.
    pub fn log(&mut self) -> &mut LogFile {
        &mut self.log
    }

    /// The container's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The program writes `message` and a newline: one entry, or several parts when it is longer than 16 KiB.
    pub fn write_line(&mut self, stream: Stream, message: &[u8]) -> io::Result<()> {
        let mut rest = message;
        while rest.len() >= PART_BYTES {
            self.write_part(stream, &rest[..PART_BYTES])?;
            rest = &rest[PART_BYTES..];
        }
        let time = self.parts[stream as usize].take().unwrap_or_else(clock::now);
        self.put(stream, &[rest, b"\n"].concat(), time)
    }

    /// One part that is not the last of its message. Docker also writes one when a program ends without a newline.
    pub fn write_part(&mut self, stream: Stream, part: &[u8]) -> io::Result<()> {
        let time = *self.parts[stream as usize].get_or_insert_with(clock::now);
        self.put(stream, part, time)
    }

    fn put(&mut self, stream: Stream, log: &[u8], time: i64) -> io::Result<()> {
        self.entry.clear();
        put_envelope(&mut self.entry, log, stream, "", time);
        self.log.write(&self.entry, time)
    }

    /// The container dies; directory and log stay.
    pub fn stop(self) -> io::Result<()> {
        write_config(&self.dir, &self.id, &self.spec, self.started, self.log.path(), false)
    }

    /// `docker rm -f`: the directory goes with everything in it.
    pub fn remove(mut self) -> io::Result<()> {
        self.log.wait_for_gzip()?;
        fs::remove_dir_all(&self.dir)
    }
}

/// `config.v2.json` with the keys that readers of it use, in the daemon's spelling. `log` is empty before the first start.
fn write_config(dir: &Path, id: &str, spec: &Spec, started: i64, log: &Path, running: bool) -> io::Result<()> {
    let time = |nanos| {
        let mut text = Vec::new();
        clock::put_rfc3339(&mut text, nanos);
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut labels: serde_json::Map<String, serde_json::Value> =
        spec.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    if !spec.service.is_empty() {
        labels.insert("com.docker.compose.project".into(), "demo".into());
        labels.insert("com.docker.compose.service".into(), spec.service.as_str().into());
        labels.insert("com.docker.compose.container-number".into(), "1".into());
    }
    let config = json!({
        "StreamConfig": {},
        "State": {
            "Running": running, "Paused": false, "Restarting": false, "OOMKilled": false, "RemovalInProgress": false,
            "Dead": false, "Pid": if running { std::process::id() } else { 0 }, "ExitCode": 0, "Error": "",
            "StartedAt": time(started), "FinishedAt": "0001-01-01T00:00:00Z", "Health": null,
        },
        "ID": id, "Created": time(started), "Managed": false, "Path": "/app", "Args": [],
        "Config": {
            "Hostname": &id[..id.len().min(12)], "Domainname": "", "User": "", "Tty": false, "OpenStdin": false, "Env": null,
            "Cmd": ["/app"], "Image": "demo", "Labels": labels,
        },
        "Image": format!("sha256:{id}"),
        "LogPath": log, "Name": format!("/{}", spec.name), "Driver": "overlay2", "OS": "linux",
        "RestartCount": 0, "HasBeenStartedBefore": !log.as_os_str().is_empty(), "HasBeenManuallyStopped": false,
    });
    write_file(dir, "config.v2.json", &config)
}

fn host_config(spec: &Spec) -> serde_json::Value {
    let mut options = serde_json::Map::new();
    if let Some(size) = spec.rotation.max_size {
        options.insert("max-size".into(), size.to_string().into());
        options.insert("max-file".into(), spec.rotation.max_file.to_string().into());
        options.insert("compress".into(), spec.rotation.compress.to_string().into());
    }
    json!({ "LogConfig": { "Type": "json-file", "Config": options }, "NetworkMode": "default", "AutoRemove": false })
}

/// As the daemon: a temporary file beside, then a rename.
fn write_file(dir: &Path, name: &str, value: &serde_json::Value) -> io::Result<()> {
    let temporary = dir.join(format!(".tmp-{name}{}", fastrand::u32(..)));
    fs::write(&temporary, value.to_string())?;
    fs::rename(temporary, dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn entries(container: &mut Container) -> Vec<Value> {
        let text = fs::read_to_string(container.log().path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn json_file(dir: &Path, name: &str) -> Value {
        serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn the_daemons_files() {
        let containers = tempfile::tempdir().unwrap();
        let spec = Spec {
            labels: vec![("rask.group".into(), "shop".into())],
            rotation: Rotation { max_size: Some(1000), max_file: 2, compress: true },
            ..Spec::service("api")
        };
        let container = Container::start(containers.path(), spec).unwrap();
        let (id, dir) = (container.id().to_owned(), container.dir().to_owned());
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        let config = json_file(&dir, "config.v2.json");
        assert_eq!(config["ID"], id.as_str());
        assert_eq!(config["Name"], "/demo-api-1");
        assert_eq!(config["Config"]["Labels"]["com.docker.compose.service"], "api");
        assert_eq!(config["Config"]["Labels"]["rask.group"], "shop");
        assert_eq!(config["State"]["Running"], true);
        assert_eq!(config["LogPath"], dir.join(format!("{id}-json.log")).to_str().unwrap());
        let host = json_file(&dir, "hostconfig.json");
        assert_eq!(host["LogConfig"]["Type"], "json-file");
        assert_eq!(host["LogConfig"]["Config"], json!({"max-size": "1000", "max-file": "2", "compress": "true"}));
        container.stop().unwrap();
        assert_eq!(json_file(&dir, "config.v2.json")["State"]["Running"], false);
        let again = Container::start_as(containers.path(), Spec::service("api"), &id).unwrap();
        again.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn messages_are_cut_at_16_kib() {
        let containers = tempfile::tempdir().unwrap();
        let mut container = Container::start(containers.path(), Spec::service("api")).unwrap();
        for (bytes, want) in [
            (0, vec![1]),
            (PART_BYTES - 1, vec![PART_BYTES]),
            // The buffer is full before the newline is seen: the newline comes alone.
            (PART_BYTES, vec![PART_BYTES, 1]),
            (PART_BYTES * 2 + 5, vec![PART_BYTES, PART_BYTES, 6]),
        ] {
            let before = entries(&mut container).len();
            container.write_line(Stream::Stdout, &vec![b'x'; bytes]).unwrap();
            let new = entries(&mut container).split_off(before);
            let lengths: Vec<_> = new.iter().map(|entry| entry["log"].as_str().unwrap().len()).collect();
            assert_eq!(lengths, want, "{bytes}");
            assert!(new.iter().all(|entry| entry["time"] == new[0]["time"]), "all parts carry the first part's time");
            for (i, entry) in new.iter().enumerate() {
                assert_eq!(entry["log"].as_str().unwrap().ends_with('\n'), i + 1 == want.len());
            }
        }
    }

    #[test]
    fn streams_have_their_own_parts() {
        let containers = tempfile::tempdir().unwrap();
        let mut container = Container::start(containers.path(), Spec::service("api")).unwrap();
        container.write_part(Stream::Stdout, b"a").unwrap();
        container.write_line(Stream::Stderr, b"e").unwrap();
        container.write_line(Stream::Stdout, b"b").unwrap();
        let entries = entries(&mut container);
        let logs: Vec<_> = entries.iter().map(|entry| entry["log"].as_str().unwrap()).collect();
        assert_eq!(logs, ["a", "e\n", "b\n"]);
        assert_eq!(entries[0]["time"], entries[2]["time"]);
        assert_ne!(entries[0]["time"], entries[1]["time"]);
    }
}
