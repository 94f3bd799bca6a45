//! The command as a process: what it writes, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn rask(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rask"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(args: &[&str]) -> Output {
    rask(args).output().unwrap()
}

#[test]
fn gen_numbers_each_stream_and_reports() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let report_arg = report.to_str().unwrap();
    #[rustfmt::skip]
    let done = output(&[
        "gen", "--format", "plain", "--rate", "0", "--count", "300", "--stderr-share", "0.5", "--seq-start", "100", "--run", "abcd",
        "--report", report_arg,
    ]);
    assert!(done.status.success());
    let count = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        for (i, line) in text.lines().enumerate() {
            assert!(line.ends_with(&format!(" seq={} run=abcd", 100 + i)), "{line}");
        }
        text.lines().count() as u64
    };
    let (stdout, stderr) = (count(&done.stdout), count(&done.stderr));
    assert!(stdout + stderr == 300 && stdout > 100 && stderr > 100, "{stdout} {stderr}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report, serde_json::json!({ "run": "abcd", "stdout": stdout, "stderr": stderr }));
}

#[test]
fn gen_lays_a_container_out() {
    let dir = tempfile::tempdir().unwrap();
    let containers = dir.path().to_str().unwrap();
    #[rustfmt::skip]
    let done = output(&[
        "gen", "--layout", containers, "--service", "api", "--group", "g", "--max-size", "10k", "--max-file", "3", "--compress",
        "--rate", "0", "--count", "100",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let container = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let id = container.file_name().unwrap().to_str().unwrap().to_owned();
    for name in ["config.v2.json", "hostconfig.json", &format!("{id}-json.log"), &format!("{id}-json.log.1.gz")] {
        assert!(container.join(name).exists(), "{name}");
    }
    let config = std::fs::read_to_string(container.join("config.v2.json")).unwrap();
    assert!(config.contains("\"rask.group\":\"g\"") && config.contains("\"com.docker.compose.service\":\"api\""));
}

#[test]
fn wrong_arguments_are_refused() {
    for args in
        [&["gen", "--service", "x"][..], &["gen", "--layout", "x"], &["gen", "--burst", "0"], &["nonsense"], &[]]
    {
        assert!(!output(args).status.success(), "{args:?}");
    }
    let image = output(&["demo", "--docker", "--image", "no/such:image", "--seconds", "1"]);
    let said = String::from_utf8_lossy(&image.stderr);
    assert!(!image.status.success() && (said.contains("no/such:image") || said.contains("Docker")), "{said}");
}

/// `rask verify`, and where it listens.
fn verify(state: &Path, expect: &str) -> (Child, String) {
    let state = state.to_str().unwrap();
    let mut child =
        rask(&["verify", "--listen", "127.0.0.1:0", "--state", state, "--expect", expect, "--seconds", "30"])
            .spawn()
            .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    (child, address)
}

fn post(address: &str, cover: &str, seq: u64) -> String {
    let id = "a".repeat(64);
    let body = format!(
        "{{\"message\":\"seq={seq} run=r\",\"timestamp\":\"2026-11-21T13:31:08Z\",\"stream\":\"stdout\",\"service_name\":\"api\"}}\n"
    );
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/aggregate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
         x-rask-batch: v=1;container={id};generation=0000000000000001;cover={cover}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned() + answer.lines().last().unwrap()
}

#[test]
fn verify_remembers_across_a_kill_and_judges() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.json");
    let (mut first, address) = verify(&state, "3");
    assert!(post(&address, "0-10", 0).ends_with("\"accepted\":1,\"malformed\":0,\"duplicate\":0}"));
    first.kill().unwrap();
    first.wait().unwrap();

    let (second, address) = verify(&state, "3");
    assert!(post(&address, "0-10", 0).ends_with("\"accepted\":0,\"malformed\":0,\"duplicate\":1}"));
    post(&address, "10-20", 1);
    post(&address, "20-30", 2);
    let done = second.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));

    let (third, address) = verify(&state, "4");
    post(&address, "30-40", 4);
    let done = third.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "number 3 is missing");
    assert!(String::from_utf8_lossy(&done.stdout).contains("missing: 3 to 3"));
}
