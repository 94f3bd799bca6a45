//! `check`: what a person wants to know before deploying. Is the configuration right and what is in force, which containers
//! match, can their logs be read, does the receiver answer, can state be kept.
//!
//! It changes nothing: no batch is posted, no position moved; the state directory is not created.

use crate::admin;
use crate::config::{Config, ConfigErrors, Origin, RawConfig};
use crate::exit;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

mod containers;

/// How long each question to the outside may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What existing receivers answer; any other HTTP answer shows as well that one is there.
const HEALTH_PATH: &str = "/v1/health";

/// Checks everything that `config` names and says so on `out`.
pub fn run(config: &Config, raw: &RawConfig, out: &mut dyn Write) -> ExitCode {
    let mut report = Report { out, worst: exit::OK };
    effective(config, raw, &mut report);
    containers::check(config, &mut report);
    receiver(config, &mut report);
    state(config, &mut report);
    ExitCode::from(report.worst)
}

/// Says what is wrong with a configuration that is not valid.
pub fn refuse(errors: &ConfigErrors, out: &mut dyn Write) -> ExitCode {
    let mut report = Report { out, worst: exit::OK };
    report.heading("Configuration");
    for error in &errors.0 {
        report.bad(exit::CONFIG, &error.to_string());
    }
    ExitCode::from(report.worst)
}

/// Lines of findings, and the exit code they lead to.
struct Report<'a> {
    out: &'a mut dyn Write,
    worst: u8,
}

impl Report<'_> {
    /// A closed pipe is no finding.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    fn heading(&mut self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    fn good(&mut self, text: &str) {
        self.line(&format!("  ✓ {text}"));
    }

    /// Worth knowing; does not fail the check.
    fn warn(&mut self, text: &str) {
        self.line(&format!("  ! {text}"));
    }

    fn bad(&mut self, code: u8, text: &str) {
        self.worst = self.worst.max(code);
        self.line(&format!("  ✗ {text}"));
    }
}

fn effective(config: &Config, raw: &RawConfig, report: &mut Report<'_>) {
    report.heading("Configuration");
    for setting in config.effective(raw) {
        let value = if setting.value.is_empty() { "–" } else { &setting.value };
        let origin = match setting.origin {
            Origin::Default => String::new(),
            origin => format!("  ({origin})"),
        };
        report.line(&format!("    {:<24} {value}{origin}", setting.key));
    }
    if config.token.is_some() && !config.endpoint.tls {
        report.warn("the token goes over plain http: whoever sees the traffic can read it");
    }
}

fn receiver(config: &Config, report: &mut Report<'_>) {
    report.heading("Receiver");
    let endpoint = config.endpoint.clone();
    let asked = admin::within(TIMEOUT * 2, move || {
        let stream = connect(&endpoint.host, endpoint.port).map_err(|error| format!("cannot be reached: {error}"))?;
        if endpoint.tls {
            return Ok(None);
        }
        let answer = admin::exchange(stream, &endpoint.host, HEALTH_PATH);
        answer.map(Some).map_err(|error| format!("accepts connections but does not answer HTTP: {error}"))
    });
    let endpoint = &config.endpoint;
    match asked.unwrap_or_else(|| Err("does not answer in time".to_owned())) {
        Ok(Some(answer)) => report.good(&format!("{endpoint} answers (GET {HEALTH_PATH}: {})", answer.status)),
        Ok(None) => report.good(&format!("{endpoint} accepts connections (its certificate is not checked here)")),
        Err(problem) => report.bad(exit::UNAVAILABLE, &format!("{endpoint} {problem}")),
    }
}

/// Connects to the first address of `host` that answers.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn state(config: &Config, report: &mut Report<'_>) {
    report.heading("State");
    let dir = &config.state_dir;
    let name = dir.display();
    // What does not exist yet will be created, where that is possible.
    let Some(standing) = dir.ancestors().map(or_here).find(|path| path.exists()) else { return };
    let missing = standing != or_here(dir);
    match writable(standing) {
        Ok(()) if missing => report.good(&format!("{name} can be created")),
        Ok(()) => report.good(&format!("{name} is writable")),
        Err(error) if missing => {
            report.bad(exit::FAILURE, &format!("{name} cannot be created in {}: {error}", standing.display()));
        }
        Err(error) => report.bad(exit::FAILURE, &format!("{name} is not writable: {error}")),
    }
    let free = rustix::fs::statvfs(standing).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    match free {
        Ok(free) if config.disk_fallback && free < config.max_disk_bytes => report.warn(&format!(
            "{} MB are free there, and the spool may grow to {} MB: reading stops when the disk is full",
            free / 1_000_000,
            config.max_disk_bytes / 1_000_000
        )),
        Ok(_) => {}
        Err(error) => report.warn(&format!("the free space of {name} is not known: {error}")),
    }
    if !config.disk_fallback {
        report.warn("ENABLE_DISK_FALLBACK=false: lines that rotate away while the receiver is away are lost");
    }
}

/// The last ancestor of a relative path is empty, and means here.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Writes a file and removes it: permissions alone do not tell of read-only mounts and full disks.
fn writable(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    let path = dir.join(format!(".rask-check-{}", std::process::id()));
    let mut file = std::fs::File::options().write(true).create_new(true).open(&path)?;
    let written = file.write_all(b"rask").and_then(|()| file.sync_all());
    std::fs::remove_file(&path)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn reported(check: impl FnOnce(&mut Report<'_>)) -> (u8, String) {
        let mut out = Vec::new();
        let mut report = Report { out: &mut out, worst: exit::OK };
        check(&mut report);
        let worst = report.worst;
        (worst, String::from_utf8(out).unwrap())
    }

    fn config(vars: &[(&str, &str)]) -> Config {
        Config::from_vars(&[&[("TARGET_SERVICE", "api")], vars].concat()).unwrap()
    }

    /// A receiver that answers one connection with `answer`, and hands back what it was sent.
    fn receiver_of(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/aggregate", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, thread)
    }

    #[test]
    fn a_receiver_that_answers_is_good_and_gets_no_batch() {
        let (url, thread) = receiver_of("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let (code, text) = reported(|report| receiver(&config(&[("RASK_ENDPOINT", &url)]), report));
        assert_eq!(code, exit::OK, "{text}");
        assert!(text.contains("✓") && text.contains("404"), "{text}");
        assert!(thread.join().unwrap().starts_with("GET /v1/health HTTP/1.1\r\n"));
    }

    #[test]
    fn a_receiver_that_is_not_there_or_speaks_something_else_is_unavailable() {
        let (url, thread) = receiver_of("SSH-2.0-OpenSSH\r\n");
        let (code, text) = reported(|report| receiver(&config(&[("RASK_ENDPOINT", &url)]), report));
        thread.join().unwrap();
        assert_eq!(code, exit::UNAVAILABLE);
        assert!(text.contains("✗") && text.contains("not HTTP"), "{text}");
        // The port is free again: nobody listens.
        let (code, text) = reported(|report| receiver(&config(&[("RASK_ENDPOINT", &url)]), report));
        assert_eq!(code, exit::UNAVAILABLE);
        assert!(text.contains("cannot be reached"), "{text}");
    }

    #[test]
    fn the_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let check = |path: &str, code: u8, says: &str| {
            let (have, text) = reported(|report| state(&config(&[("DISK_FALLBACK_PATH", path)]), report));
            assert!(text.contains(says), "{path}: {text}");
            assert_eq!(have, code, "{path}: {text}");
        };
        check(dir.path().to_str().unwrap(), exit::OK, "is writable");
        check(&path("not/there/yet"), exit::OK, "can be created");
        std::fs::write(path("file"), "x").unwrap();
        check(&path("file"), exit::FAILURE, "is not writable");
        check(&path("file/below"), exit::FAILURE, "cannot be created");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["file"], "nothing is left behind");
        let (_, text) = reported(|report| state(&config(&[("MAX_DISK_USAGE_MB", "100000000")]), report));
        assert!(text.contains("may grow to 100000000 MB"), "{text}");
    }

    #[test]
    fn the_effective_configuration_hides_the_token() {
        let vars = |name: &str| match name {
            "TARGET_SERVICE" => Some("api".into()),
            "RASK_TOKEN" => Some("s3cr3t".into()),
            _ => None,
        };
        let (config, raw) = Config::load(|_| None, vars).unwrap();
        let (code, text) = reported(|report| effective(&config, &raw, report));
        assert_eq!(code, exit::OK);
        assert!(text.contains("RASK_TOKEN               ***  (environment)"), "{text}");
        assert!(text.contains("TARGET_SERVICE           api  (environment)"), "{text}");
        assert!(text.contains("plain http"), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }

    #[test]
    fn a_wrong_configuration_is_told_as_a_whole() {
        let errors = Config::from_vars(&[("BATCH_SIZE", "x"), ("METRICS_PORT", "y")]).unwrap_err();
        let mut out = Vec::new();
        let code = refuse(&errors, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("✗ BATCH_SIZE") && text.contains("✗ METRICS_PORT"), "{text}");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::CONFIG)));
    }
}
