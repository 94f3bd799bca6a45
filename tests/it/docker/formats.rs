//! The formats of real services, each from its own image.

use super::{Real, assert_all, forward, ready, unique};
use crate::harness::{World, wait};

#[test]
fn a_json_service_at_5000_lines_per_second_through_ten_rotations() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("api"));
    let forwarder = forward(&world, &service, &[]);
    let rotating = ["--log-opt", "max-size=1m", "--log-opt", "max-file=3", "--label", "rask.group=shop"];
    let _container = Real::json_service(&service, &rotating, 50_000, 5_000);
    assert_all(&world, &service, 50_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("rotations_total") >= 10.0, "{}", forwarder.metric("rotations_total"));
    let record = world.receiver.records().pop().expect("records");
    assert_eq!(record.service_group.as_deref(), Some("shop"));
    assert_eq!(record.service_type, "go");
    assert!(record.message.starts_with("order <") && record.message.ends_with("> \"taken\""), "{}", record.message);
    assert_eq!(forwarder.terminate().code(), Some(0));
}

#[test]
fn nginx_under_load() {
    if !ready(&["nginx:1"]) {
        return;
    }
    let (world, service) = (World::new(), unique("web"));
    let forwarder = forward(&world, &service, &[]);
    let site = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx.conf:/etc/nginx/nginx.conf:ro");
    let options = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2", "-v", site];
    let container = Real::run(&service, &options, "nginx:1", &[]);
    let client = "use IO::Socket::INET; my $n = 0;
        for my $try (1 .. 100) { last if IO::Socket::INET->new('127.0.0.1:80'); select(undef, undef, undef, 0.1) }
        for my $i (0 .. 1999) {
            my $s = IO::Socket::INET->new('127.0.0.1:80') or die; my $path = $i % 10 ? '/' : '/broken';
            print $s qq(GET $path?run=test&seq=$i HTTP/1.1\\r\\nHost: x\\r\\nUser-Agent: probe \\\"quoted\\\"\\r\\nConnection: close\\r\\n\\r\\n);
            1 while <$s>;
        }";
    let output = container.exec(&["perl", "-e", client]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let access = |record: &rask_record::Record| record.log_type == "access" && record.path.is_some();
    wait("every request is there", || world.receiver.records().iter().filter(|record| access(record)).count() >= 2_000);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    let requests: Vec<_> = records.iter().filter(|record| access(record) && record.path != Some("/".into())).collect();
    assert_eq!(requests.len(), 2_000);
    for (i, record) in requests.iter().enumerate() {
        let path = if i % 10 == 0 { "/broken" } else { "/" };
        assert_eq!(record.path, Some(format!("{path}?run=test&seq={i}")), "in order");
        assert_eq!(record.status_code, Some(if i % 10 == 0 { 502 } else { 200 }));
        assert_eq!((record.method.as_deref(), record.ip_address.as_deref()), (Some("GET"), Some("127.0.0.1")));
        assert_eq!(
            record.user_agent.as_deref(),
            Some("probe \"quoted\""),
            "without the escapes in which nginx writes it"
        );
    }
    let why = |record: &&rask_record::Record| {
        record.log_type == "error" && record.stream == "stderr" && record.message.contains("Connection refused")
    };
    assert_eq!(records.iter().filter(why).count(), 200, "each 502 has its reason in the error log");
}

#[test]
fn postgresql_with_failing_statements() {
    if !ready(&["postgres:15"]) {
        return;
    }
    let (world, service) = (World::new(), unique("db"));
    let forwarder = forward(&world, &service, &[]);
    let prefix = "log_line_prefix=%m [%p] %q%u@%d ";
    let container = Real::run(&service, &["-e", "POSTGRES_PASSWORD=test"], "postgres:15", &["postgres", "-c", prefix]);
    wait("the server answers", || {
        container.exec(&["psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "select 1"]).status.success()
            || container.exec(&["psql", "-U", "postgres", "-c", "select 1"]).status.success()
    });
    for i in 0..20 {
        let statement = format!("select *\nfrom nope_{i}\nwhere seq = {i}");
        assert!(!container.exec(&["psql", "-U", "postgres", "-c", &statement]).status.success());
    }
    let failed = |record: &rask_record::Record| record.message.starts_with("relation \"nope_");
    wait("every failure is there", || world.receiver.records().iter().filter(|record| failed(record)).count() >= 20);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    for (i, record) in records.iter().filter(|record| failed(record)).enumerate() {
        assert!(record.message.starts_with(&format!("relation \"nope_{i}\" does not exist")), "{}", record.message);
        assert_eq!(record.level.as_ref().map(rask_record::Level::as_str), Some("Error"));
        assert_eq!((record.service_type.as_str(), record.stream.as_str()), ("postgres", "stderr"));
        assert_eq!((record.fields["user"].as_str(), record.fields["database"].as_str()), ("postgres", "postgres"));
        assert_eq!(record.fields["statement"], format!("select *\nfrom nope_{i}\nwhere seq = {i}"), "one record each");
    }
    assert!(records.iter().any(|record| record.message.contains("database system is ready to accept connections")));
}
