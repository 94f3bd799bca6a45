//! `parse`: lines on standard input and in files, shown to a person and as NDJSON.

use crate::harness::bare_command;
use rask_record::Record;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

fn start(args: &[&str], env: &[(&str, &str)]) -> Child {
    let mut command = bare_command();
    command.arg("parse").args(args).envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

/// Exit code, what was shown, what was complained of.
fn parse(args: &[&str], env: &[(&str, &str)], input: &str) -> (i32, String, String) {
    let mut child = start(args, env);
    // It may end before it has read all.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("by itself"), text(output.stdout), text(output.stderr))
}

const INPUT: &str = r#"{"level":"warn","msg":"slow","took_ms":1200}
{"log":"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET /x HTTP/1.1\" 502 5 \"-\" \"curl/8\"\n","stream":"stderr","time":"2026-11-21T13:00:00.5Z"}
DEBUG mail bob@example.com
"#;

#[test]
fn a_person_sees_which_format_took_each_line_and_why_not_another() {
    let (code, text, errors) = parse(&[], &[], INPUT);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    let words = [
        "line 1 · ",
        "· structured · Warn · stdout · 20",
        "slow",
        "fields.took_ms 1200",
        "line 2 · nginx · access · Error · stderr · 2026-11-21T13:00:00.500000000Z",
        "status_code 502",
        "line 3 · plain · plain · Debug",
    ];
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour where nobody looks");
    let (code, text, _) = parse(&["--format", "nginx"], &[], "hello\n");
    assert!(code == 0 && text.contains("asked for nginx, but: "), "{text}");
    assert!(text.starts_with("line 1 · as plain · nginx · plain · no level"), "{text}");
}

#[test]
fn records_as_they_would_be_sent() {
    let (code, text, _) = parse(&["--json"], &[], INPUT);
    assert_eq!(code, 0);
    let records: Vec<Record> = text.lines().map(|line| Record::decode(line.as_bytes()).expect(line)).collect();
    assert_eq!(records.len(), 3);
    assert_eq!((records[1].status_code, records[1].stream.as_str()), (Some(502), "stderr"));
    assert_eq!(records[0].message, "slow");
}

#[test]
fn processing_is_shown() {
    let args = ["--min-level", "info", "--drop", "^slow", "--redact=all"];
    let (code, text, errors) = parse(&args, &[], &format!("{INPUT}ERROR mail bob@example.com\n"));
    assert_eq!(code, 0, "{errors}");
    for word in
        ["not sent: RASK_DROP (label rask.drop)", "line 3 · plain · not sent: RASK_MIN_LEVEL", "mail [redacted:email]"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (_, text, _) = parse(&["--json", "--rate=1"], &[], &"x\n".repeat(9));
    assert!(text.lines().count() < 9 && text.contains("\"log_type\":\"suppressed\""), "{text}");
    let (_, text, _) = parse(&[], &[("RASK_RATE", "1")], &"x\n".repeat(9));
    assert!(text.contains("not sent: RASK_RATE") && text.contains("rask · suppressed · Warn"), "{text}");
}

#[test]
fn files_and_errors_that_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("lines");
    std::fs::write(&file, "one\n").expect("written");
    let file = file.to_str().expect("text");
    let (code, text, errors) = parse(&[file, "/no/such/file", "-"], &[], "two");
    assert_eq!(code, 1);
    assert!(text.contains("line 1 · plain") && text.contains("line 2 · plain") && text.contains("two"), "{text}");
    assert!(errors.contains("/no/such/file cannot be read") && errors.contains("standard input"), "{errors}");
    let (code, _, errors) = parse(&["--drop", "["], &[], "");
    assert!(code == 78 && errors.contains("RASK_DROP (--drop)") && errors.contains("character 1"), "{errors}");
    let (code, help, _) = parse(&["--help"], &[], "");
    assert!(code == 0 && help.contains("docker logs api 2>&1 | rask-log-forwarder parse"), "{help}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_lines_are_shown_as_they_come() {
    let mut child = start(&[], &[]);
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    input.write_all(b"first\n").expect("it reads");
    let mut line = String::new();
    output.read_line(&mut line).expect("it shows the line before the next comes");
    assert!(line.starts_with("line 1"), "{line}");
    drop(output);
    // Until it has noticed.
    while input.write_all(&b"more\n".repeat(1000)).is_ok() {}
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
