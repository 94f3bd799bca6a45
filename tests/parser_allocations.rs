//! The parser's steady state allocates nothing: counted by an allocator, which is why this is a binary of its own.
#![allow(unsafe_code)] // the allocator passes everything on; it only counts

use rask_log_forwarder::buffer::{Chunk, Offsets};
use rask_log_forwarder::metrics::Metrics;
use rask_log_forwarder::parser::{Bounds, Parser, Records, Settings};
use rask_log_forwarder::position::Generation;
use rask_log_forwarder::source::{Container, Source};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LINES: [&str; 24] = [
    r#"{"time":"2026-11-21T13:00:00Z","level":"WARN","msg":"slow \"query\"","method":"GET","path":"/a","status":200,"n":1.5,"o":{"a":[1]},"remote_addr":"10.0.0.1:80"}"#,
    r#"{"level":30,"pid":1,"hostname":"h","req":{"method":"GET","url":"/x"},"res":{"statusCode":304},"msg":"\u001b[1mdone"}"#,
    r#"{"timestamp":"2026-11-21T13:00:00Z","level":"INFO","fields":{"message":"m","port":1},"target":"t"}"#,
    r#"time=2026-11-21T13:00:00Z level=INFO msg="a \"b\"" n=1"#,
    r#"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] "GET / HTTP/1.1" 200 615 "-" "curl/8" extra"#,
    r#"2026/11/21 13:00:00 [error] 31#32: *7 no, client: 172.18.0.1, server: s, request: "GET /x HTTP/1.1", host: "h""#,
    "2026-11-21 13:00:00.123 UTC [31] app@shop LOG:  duration: 12.345 ms  statement: SELECT 1",
    "\u{1b}[31mWARN\u{1b}[0m plain text, naïve \u{1f600}",
    r#"1.2.3.4 - - [21/Nov/2026:13:00:00 +0100] "GET /a\x22b HTTP/1.1" 200 615 "-" "curl/8" rt=0.005 urt="0.004" rid=7"#,
    r#"a.b:80 1.2.3.4 - - [21/Nov/2026:13:00:00 +0000] "GET /a\"b HTTP/1.1" 404 - "-" "curl/8""#,
    "[Sat Nov 21 13:00:00.123456 2026] [core:error] [pid 31:tid 140] (13)Denied: [client 10.0.0.1:500] AH00035: no",
    "2026-11-21T13:00:00.123Z\tINFO\tdb\tapp/main.go:21\tmessage\t{\"k\": 1}",
    r#"2026-11-21T13:00:00Z INF message error="a \"b\" \x41""#,
    "INFO[0000] message                  key=value",
    "2026/11/21 13:00:00 main.go:21: message",
    r#"I1121 13:00:00.123456       1 main.go:10] "Pod status updated" pod="a b" n=7"#,
    r#"2026-11-21T13:00:00.123456Z  INFO request{method=GET path="/a"}:inner: app::http: message key=Some("x y")"#,
    "2026-11-21 13:00:00,123 - app.db - WARNING - message",
    r#"INFO:     127.0.0.1:5000 - "GET / HTTP/1.1" 200 OK"#,
    "2026-11-21 13:00:00 [info     ] message                  key='a b' n=7",
    r#"info: message {"key":"value"}"#,
    "1:M 21 Nov 2026 13:00:00.123 * Ready to accept connections",
    r#"2026-11-21 13:00:00.123 UTC,"app","shop",7,"10.0.0.7:500",6b.1e,1,"SELECT",2026-11-21 13:00:00 UTC,3/4,0,ERROR,42P01,"relation ""x""",,,,,,,,,"psql","client backend",,0"#,
    "<34>Nov 21 13:00:00 host app[7]: message",
];

/// Its additions may follow, so it is held back, in memory of its own.
const HELD: &str = r#"2026-11-21 13:00:00.123 UTC [31] app@shop ERROR:  relation "x" does not exist"#;

/// Times that a chunk of these lines is repeated.
const TIMES: usize = 50;

#[test]
fn no_allocation_a_line() {
    // One: the merged ranges of the fresh `Records`.
    let count = steady(&LINES);
    assert!(count <= 1, "{count} allocations for {} lines", TIMES * LINES.len());
}

#[test]
fn few_allocations_a_held_line() {
    let count = steady(&[HELD, LINES[0]]);
    assert!(count <= 1 + 4 * TIMES, "{count} allocations for {TIMES} lines that are held");
}

/// Allocations of the third time that a parser reads these lines.
fn steady(lines: &[&str]) -> usize {
    let container = Container { name: "n".into(), ..Container::new(&"ab".repeat(32), "s") };
    let source = Arc::new(Source { container: Arc::new(container), generation: Generation(1) });
    let settings = Settings::default();
    let mut parser = Parser::new(settings, &Metrics::new());
    let mut data = Vec::new();
    for line in lines {
        let log = serde_json::to_string(&format!("{line}\n")).unwrap();
        data.extend(format!("{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"2026-11-21T13:00:01.5Z\"}}\n").bytes());
    }
    let data = bytes::Bytes::from(data.repeat(TIMES));
    let bounds = Bounds { records: usize::MAX, bytes: usize::MAX };
    let mut out = Records::new(source.clone());
    let mut run = || {
        out.reset(source.clone());
        let mut chunk = Chunk {
            source: source.clone(),
            data: data.clone(),
            offsets: Offsets::File(0),
            lines: (TIMES * lines.len()) as u32,
            read_at: Instant::now(),
        };
        let before = COUNT.get();
        parser.chunk(&mut chunk, &mut out, bounds);
        assert_eq!(out.records(), TIMES * lines.len());
        COUNT.get() - before
    };
    assert!(run() > 0, "the first run buys its memory");
    run();
    run()
}
