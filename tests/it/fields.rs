//! Lines as real programs write them become records with the right fields.

use crate::harness::World;
use rask::layout::{Spec, Stream};
use rask_record::Record;

/// Sends one line through the whole pipeline.
fn record_of(stream: Stream, line: &str) -> Record {
    let world = World::new();
    let labels = vec![("rask.group".to_owned(), "shop".to_owned())];
    let mut container = world.container_as(Spec { labels, ..Spec::service("svc") });
    container.write_line(stream, line.as_bytes()).expect("written");
    let _forwarder = world.forward("svc");
    world.wait_for_records(1);
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
    let record = world.receiver.records().remove(0);
    assert_eq!(record.container_id, container.id());
    assert_eq!((record.service_name.as_str(), record.service_group.as_deref()), ("svc", Some("shop")));
    assert_eq!(record.timestamp.len(), "2026-11-21T13:00:00.123456789Z".len());
    record
}

fn level(record: &Record) -> &str {
    record.level.as_ref().map_or("", |level| level.as_str())
}

#[test]
fn go_slog_json() {
    let record = record_of(
        Stream::Stderr,
        r#"{"time":"2026-11-21T13:00:00.5Z","level":"WARN","msg":"slow <query>","took_ms":1200,"user":{"id":7},"trace_id":"4BF92F3577B34DA6A3CE929D0E0E4736"}"#,
    );
    assert_eq!((record.service_type.as_str(), record.log_type.as_str()), ("go", "structured"));
    assert_eq!((record.message.as_str(), level(&record), record.stream.as_str()), ("slow <query>", "Warn", "stderr"));
    assert_eq!(record.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(record.fields["app_time"], "2026-11-21T13:00:00.5Z");
    assert_eq!((record.fields["took_ms"].as_str(), record.fields["user"].as_str()), ("1200", r#"{"id":7}"#));
}

#[test]
fn nginx_access_and_error() {
    let record = record_of(
        Stream::Stdout,
        r#"203.0.113.9 - - [21/Nov/2026:13:00:00 +0000] "GET /shop?q=1 HTTP/1.1" 502 157 "https://example.org/" "Mozilla/5.0 (X11)""#,
    );
    assert_eq!((record.service_type.as_str(), record.log_type.as_str(), level(&record)), ("nginx", "access", "Error"));
    assert_eq!((record.method.as_deref(), record.path.as_deref()), (Some("GET"), Some("/shop?q=1")));
    assert_eq!((record.status_code, record.response_size), (Some(502), Some(157)));
    assert_eq!(record.ip_address.as_deref(), Some("203.0.113.9"));
    assert_eq!(record.user_agent.as_deref(), Some("Mozilla/5.0 (X11)"));
    assert_eq!(record.fields["referer"], "https://example.org/");

    let record = record_of(
        Stream::Stderr,
        r#"2026/11/21 13:00:00 [error] 31#31: *7 connect() failed (111: Connection refused) while connecting to upstream, client: 203.0.113.9, server: _, request: "GET /api HTTP/1.1", upstream: "http://10.0.0.2:80/api", host: "example.org""#,
    );
    assert_eq!((record.service_type.as_str(), record.log_type.as_str(), level(&record)), ("nginx", "error", "Error"));
    assert!(record.message.starts_with("connect() failed (111: Connection refused)"), "{}", record.message);
    assert_eq!((record.method.as_deref(), record.path.as_deref()), (Some("GET"), Some("/api")));
    assert_eq!(record.ip_address.as_deref(), Some("203.0.113.9"));
}

#[test]
fn postgres_default_and_debian_prefix() {
    let record = record_of(
        Stream::Stderr,
        "2026-11-21 13:00:00.123 UTC [31] LOG:  database system is ready to accept connections",
    );
    assert_eq!((record.service_type.as_str(), level(&record)), ("postgres", "Info"));
    assert_eq!(record.message, "database system is ready to accept connections");
    assert_eq!(record.fields["pid"], "31");

    let record = record_of(
        Stream::Stderr,
        r#"2026-11-21 13:00:00.123 UTC [77] shop@orders ERROR:  relation "nope" does not exist at character 15"#,
    );
    assert_eq!((record.service_type.as_str(), level(&record)), ("postgres", "Error"));
    assert_eq!(record.message, r#"relation "nope" does not exist at character 15"#);
    assert_eq!((record.fields["user"].as_str(), record.fields["database"].as_str()), ("shop", "orders"));
}

#[test]
fn plain_with_level() {
    let record = record_of(Stream::Stdout, "[ERROR] cannot open the till");
    assert_eq!((record.service_type.as_str(), level(&record)), ("plain", "Error"));
    assert!(record.message.contains("cannot open the till"));
}
