//! Input that breaks log shippers: nothing breaks, nothing is lost, every record is valid.

use crate::harness::World;
use rask::layout::Stream;
use std::io::Write;

#[test]
fn ugly_lines_arrive_as_valid_records() {
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    let deep = "[".repeat(100_000);
    let lines: Vec<Vec<u8>> = vec![
        b"\x1b[31mred\x1b[0m alert".to_vec(),
        b"broken \xff\xfe utf-8 \xc3".to_vec(),
        br#"{"level":"info","msg":"broken json"#.to_vec(),
        br#"{"msg":"huge","n":1e400,"m":-0.0,"big":123456789012345678901234567890}"#.to_vec(),
        format!("{{\"msg\":\"deep\",\"d\":{deep}}}").into_bytes(),
        format!("{{\"msg\":\"deep\",\"d\":{deep}{}}}", "]".repeat(100_000)).into_bytes(),
        b"nul \x00 inside".to_vec(),
        b"".to_vec(),
        b"   ".to_vec(),
        "quote \" backslash \\ tab \t \u{2028} \u{1F600} <&>".as_bytes().to_vec(),
        br#"{}"#.to_vec(),
        br#"{"msg":{"nested":true},"msg":"twice","":"empty key","level":99}"#.to_vec(),
        br#"10.0.0.1 - - [bad date] "GET" 99999 -"#.to_vec(),
        b"\x16\x03\x01\x02".to_vec(),
        vec![b'x'; 1 << 20],
        "ü".repeat(600_000).into_bytes(),
    ];
    for line in &lines {
        container.write_line(Stream::Stdout, line).expect("written");
    }
    world.wait_for_records(lines.len() as u64);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    assert_eq!(records.len(), lines.len());
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
    assert_eq!(records[0].message, "red alert");
    assert_eq!(records[1].message, "broken \u{fffd}\u{fffd} utf-8 \u{fffd}");
    assert!(records[2].message.contains("broken json"), "sent raw: {:?}", records[2]);
    assert_eq!(records[3].fields["n"], "1e400");
    assert_eq!(records[3].fields["big"], "123456789012345678901234567890");
    assert_eq!(records[7].message, "");
    assert!(records[9].message.contains("quote \" backslash \\ tab \t \u{2028} \u{1F600} <&>"));
    assert_eq!(records[14].message.len(), 1 << 20);
    assert_eq!(records[15].fields["truncated"], "true");
    assert!(records[15].message.len() <= 1 << 20 && records[15].message.len() > (1 << 20) - 64);
}

#[test]
fn split_messages_are_joined_per_stream_and_across_a_restart() {
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    let part = |byte: u8| vec![byte; 16 << 10];
    container.write_part(Stream::Stdout, &part(b'a')).expect("written");
    container.write_part(Stream::Stderr, &part(b'b')).expect("written");
    container.write_line(Stream::Stderr, b"rest of b").expect("written");
    container.write_part(Stream::Stdout, &part(b'c')).expect("written");
    // The other stream passes the message that is held back.
    world.wait_for_records(1);
    assert_eq!(world.receiver.records()[0].message.len(), (16 << 10) + 9);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let _forwarder = world.forward("app");
    container.write_line(Stream::Stdout, b"rest of a").expect("written");
    world.wait_for_records(2);
    let records = world.receiver.records();
    assert_eq!(records.len(), 2, "the passed message does not come again");
    assert_eq!(records[1].message.len(), (32 << 10) + 9);
    assert!(records[1].message.ends_with("crest of a"));
}

#[test]
fn garbage_in_the_file_itself_is_sent_raw_and_the_reader_stays_in_step() {
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    container.write_line(Stream::Stdout, b"before").expect("written");
    let log = container.log().path().to_owned();
    let mut raw = std::fs::OpenOptions::new().append(true).open(log).expect("the log is there");
    raw.write_all(b"not an envelope\n{\"log\":\"torn\n\x00\x00\x00\x00").expect("written");
    raw.write_all(&vec![b'y'; 700_000]).expect("written");
    raw.write_all(b"\n").expect("written");
    container.write_line(Stream::Stdout, b"after").expect("written");
    let reached = world.receiver.wait_until(crate::harness::PATIENCE, |ledger| {
        ledger.arrivals().any(|arrival| arrival.line.windows(7).any(|at| at == b"\"after\""))
    });
    assert!(reached, "{:?}", world.receiver.totals());
    forwarder.assert_conserved();
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
    let records = world.receiver.records();
    assert_eq!(records[0].message, "before");
    assert_eq!(records[1].message, "not an envelope");
    assert!(records[1].fields.contains_key("parse_error"));
    let yes: usize = records.iter().map(|record| record.message.matches('y').count()).sum();
    assert!(yes >= 700_000, "all of the garbage is there: {yes}");
}
