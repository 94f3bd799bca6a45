//! Tables of lines as the programs write them, and the records they become.

use super::*;

/// The record without what is the same for every line.
#[track_caller]
#[allow(clippy::needless_pass_by_value)] // tables read better
fn check(format: Option<Format>, log: &str, expected: Value) {
    let mut record = one(format, log);
    for key in ["timestamp", "stream", "container_id", "service_name", "service_group"] {
        record.remove(key);
    }
    assert_eq!(Value::Object(record), expected, "{log}");
}

#[test]
fn go() {
    check(
        None,
        r#"{"time":"2026-11-21T13:00:00.123456789+01:00","level":"WARN","msg":"slow \"query\"","method":"GET","path":"/api/v1/users?id=7","status":200,"bytes":1432,"duration":12.5,"ok":true,"user":{"id":7,"tags":["a","b"]},"remote_addr":"10.1.2.3:55012"}"#,
        json!({
            "service_type": "go", "log_type": "structured", "message": "slow \"query\"", "level": "Warn",
            "method": "GET", "path": "/api/v1/users?id=7", "status_code": 200, "response_size": 1432, "ip_address": "10.1.2.3",
            "fields": {"app_time": "2026-11-21T12:00:00.123456789Z", "app_time_raw": "2026-11-21T13:00:00.123456789+01:00", "duration": "12.5", "ok": "true",
                "user": "{\"id\":7,\"tags\":[\"a\",\"b\"]}", "remote_addr": "10.1.2.3:55012"},
        }),
    );
    // zap, production
    check(
        None,
        r#"{"level":"dpanic","ts":1795266000.1234567,"caller":"app/main.go:21","msg":"no","error":"eof","stacktrace":"main.main\n\t/app/main.go:21"}"#,
        json!({
            "service_type": "go", "log_type": "structured", "message": "no", "level": "Fatal",
            "fields": {"level": "dpanic", "app_time": "2026-11-21T13:00:00.1234567Z", "caller": "app/main.go:21", "error": "eof",
                "stacktrace": "main.main\n\t/app/main.go:21"},
        }),
    );
    // zerolog: message last
    check(
        None,
        r#"{"level":"info","event":"login","trace_id":"4BF92F3577B34DA6A3CE929D0E0E4736","span_id":"00f067aa0ba902b7","time":1795266000,"message":"hi"}"#,
        json!({
            "service_type": "go", "log_type": "structured", "message": "hi", "level": "Info",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7",
            "fields": {"app_time": "2026-11-21T13:00:00Z", "event": "login"},
        }),
    );
    // logrus
    check(
        None,
        r#"{"level":"warning","msg":"\u003cb\u003e","time":"2026-11-21T13:00:00Z","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
        json!({
            "service_type": "go", "log_type": "structured", "message": "<b>", "level": "Warn",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7",
            "fields": {"level": "warning", "app_time": "2026-11-21T13:00:00Z",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        }),
    );
}

#[test]
fn a_pair_named_message_beside_a_message_in_text() {
    let lines = [
        "2026-11-21T13:00:00.123456Z  INFO app: hello msg=there n=1",
        "2026-11-21T13:00:00.123456Z  INFO req{msg=there}: app: hello n=1",
        "1:00PM INF hello msg=there n=1",
        "INFO[0000] hello                 msg=there n=1",
        "2026-11-21 13:00:00 [info     ] hello                          msg=there n=1",
    ];
    for line in lines {
        let record = one(None, line);
        assert_eq!(record["message"], "hello", "{line}");
        assert!(record["fields"].to_string().contains("there"), "{line}");
    }
    let record = one(None, "1:00PM INF msg=there n=1");
    assert_eq!((&record["message"], &record["fields"]["n"]), (&json!("there"), &json!("1")));
}

#[test]
fn numbers_with_zeros_in_front_stay_as_they_are() {
    let record = one(None, "time=2026-11-21T13:00:00Z level=INFO msg=x method=GET path=/x status=0200 size=007");
    assert_eq!((&record["fields"]["status"], &record["fields"]["size"]), (&json!("0200"), &json!("007")));
    assert!(!record.contains_key("status_code") && !record.contains_key("response_size"), "{record:?}");
}

#[test]
fn a_time_ends_where_a_word_does() {
    let record = one(Some(Format::Python), "2026-11-21 23:07:59_617 WARNI [app.db:6] connection lost");
    assert_eq!(
        (&record["fields"]["logger"], &record["message"]),
        (&Value::Null, &json!("2026-11-21 23:07:59_617 WARNI [app.db:6] connection lost")),
        "{record:?}"
    );
}

#[test]
fn names_that_come_twice_stay() {
    for (line, first) in [
        ("orders 2026-11-21 13:00:00.123 | INFO     | main:run:12 - hello", "orders"),
        ("orders INFO 2026-11-21 13:00:00,123 views 12 140 hello", "orders"),
        ("{a.py:1} {b.py:2} INFO - hello", "a.py:1"),
    ] {
        let record = one(Some(Format::Python), line);
        assert!(Value::Object(record.clone()).to_string().contains(first), "{record:?}");
    }
}

#[test]
fn names_of_what_belongs_to_a_request() {
    let of = |member: &str, value: Value, keys: &[&str]| {
        for key in keys {
            let line = format!("{{\"{key}\":{value}}}");
            let mut expected = json!({"service_type": "json", "log_type": "structured", "message": "", "fields": {}});
            expected[member] = value.clone();
            check(None, &line, expected);
        }
    };
    let paths = ["path", "uri", "url", "http.url", "url.path", "url.full", "req.path", "http.path", "http.target"];
    of("path", json!("/x"), &paths);
    of("path", json!("/x"), &["request.url", "request.uri", "request.path"]);
    of(
        "ip_address",
        json!("10.0.0.1"),
        &["ip", "clientip", "clientIp", "remoteIp", "remote_ip", "remoteAddr", "client.address"],
    );
    of("method", json!("GET"), &["method", "http.method", "request.method", "http.request.method", "requestMethod"]);
    of("status_code", json!(200), &["status", "status_code", "statusCode", "http.status_code", "http.status"]);
    of("user_agent", json!("curl/8"), &["user_agent", "userAgent", "user-agent", "user_agent.original"]);
}

#[test]
fn json_that_fits_nowhere() {
    let structured =
        |fields: Value| json!({"service_type": "json", "log_type": "structured", "message": "", "fields": fields});
    check(None, "{}", structured(json!({})));
    check(
        None,
        r#"{"status":"ok","method":"GetUser","path":"C:\\x","ip":"local","trace_id":"xyz","span_id":7}"#,
        structured(
            json!({"status": "ok", "method": "GetUser", "path": "C:\\x", "ip": "local", "trace_id": "xyz", "span_id": "7"}),
        ),
    );
    check(
        None,
        r#"{"status":70000,"status_code":65536,"response_size":18446744073709551616,"size":3}"#,
        structured(
            json!({"status": "70000", "status_code": "65536", "response_size": "18446744073709551616", "size": "3"}),
        ),
    );
    check(
        None,
        r#"{"msg":7,"level":{"a":1},"time":null,"n":1e400,"":null}"#,
        structured(json!({"msg": "7", "level": "{\"a\":1}", "time": "null", "n": "1e400", "": "null"})),
    );
    check(
        None,
        r#"{"level":"loud","lvl":"x","severity":3}"#,
        structured(json!({"level": "loud", "level#2": "x", "level#3": "3"})),
    );
    check(None, r#"{"a":"1","a":2,"a":null}"#, structured(json!({"a": "1", "a#2": "2", "a#3": "null"})));
    let with = |mut record: Value, key: &str, value: Value| {
        record[key] = value;
        record
    };
    check(
        None,
        r#"{"message":"a","msg":"b","message":"c"}"#,
        with(structured(json!({"msg": "b", "message": "c"})), "message", json!("a")),
    );
    check(
        None,
        r#"{"msg":"\u001b[31mred\u001b[0m \ud800"}"#,
        with(structured(json!({})), "message", json!("red \u{fffd}")),
    );
    check(None, r#"{"PRIORITY":"3"}"#, with(structured(json!({"PRIORITY": "3"})), "level", json!("Error")));
    check(None, r#"{"severityNumber":17}"#, with(structured(json!({"severityNumber": "17"})), "level", json!("Error")));
    check(None, r#"{"level":"TRACE"}"#, with(structured(json!({"level": "TRACE"})), "level", json!("Debug")));
    let broken = |log: &str, why: &str| {
        check(
            None,
            log,
            json!({"service_type": "plain", "log_type": "plain", "message": log, "fields": {"parse_error": why}}),
        );
    };
    broken(r#"{"msg":"hi","#, "no JSON string where one must be");
    broken(r#"{"msg":"hi"} and more"#, "text after the JSON object");
    check(
        None,
        "{curly} prose",
        json!({"service_type": "plain", "log_type": "plain", "message": "{curly} prose", "fields": {}}),
    );
}

#[test]
fn logfmt() {
    check(
        None,
        r#"time=2026-11-21T13:00:00.123Z level=INFO msg="hello \"world\"\n" n=1 empty= path=/x status=404 err="a=b c""#,
        json!({
            "service_type": "go", "log_type": "structured", "message": "hello \"world\"\n", "level": "Info",
            "path": "/x", "status_code": 404,
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "n": "1", "empty": "", "err": "a=b c"},
        }),
    );
    let plain = |log: &str, level: Option<&str>| {
        let mut expected = json!({"service_type": "plain", "log_type": "plain", "message": log, "fields": {}});
        if let Some(level) = level {
            expected["level"] = json!(level);
        }
        check(None, log, expected);
    };
    plain("a=1 b=2", None);
    plain("level=error something broke", Some("Error"));
    plain("x=y is an equation", None);
    plain(r#"level=info msg="no end"#, Some("Info"));
}

#[test]
fn rust_python_node() {
    check(
        None,
        r#"{"timestamp":"2026-11-21T13:00:00.123456Z","level":"INFO","fields":{"message":"listening","port":8080},"target":"app::http"}"#,
        json!({"service_type": "rust", "log_type": "structured", "message": "listening", "level": "Info",
            "fields": {"app_time": "2026-11-21T13:00:00.123456Z", "port": "8080", "target": "app::http"}}),
    );
    check(
        Some(Format::Python),
        r#"{"user":"a","event":"login","level":"critical","timestamp":"2026-11-21T13:00:00Z"}"#,
        json!({"service_type": "python", "log_type": "structured", "message": "login", "level": "Fatal",
            "fields": {"app_time": "2026-11-21T13:00:00Z", "user": "a", "level": "critical"}}),
    );
    check(
        None,
        r#"{"level":30,"time":1795266000123,"pid":1,"hostname":"h","req":{"id":1,"method":"GET","url":"/x","headers":{"user-agent":"curl/8"},"remoteAddress":"::1"},"res":{"statusCode":304},"responseTime":5,"msg":"request completed"}"#,
        json!({"service_type": "node", "log_type": "structured", "message": "request completed", "level": "Info",
            "method": "GET", "path": "/x", "user_agent": "curl/8", "ip_address": "::1", "status_code": 304,
            "fields": {"level": "30", "app_time": "2026-11-21T13:00:00.123Z", "pid": "1", "hostname": "h", "responseTime": "5",
                "req": "{\"id\":1,\"method\":\"GET\",\"url\":\"/x\",\"headers\":{\"user-agent\":\"curl/8\"},\"remoteAddress\":\"::1\"}",
                "res": "{\"statusCode\":304}"}}),
    );
    // `fields` that cannot be read to its end is kept whole.
    check(
        None,
        r#"{"fields":{"a":1,,},"msg":"x"}"#,
        json!({"service_type": "json", "log_type": "structured", "message": "x", "fields": {"fields": "{\"a\":1,,}"}}),
    );
}

#[test]
fn nginx_access() {
    let time = "2026-11-21T13:00:00Z";
    check(
        None,
        r#"172.18.0.1 - - [21/Nov/2026:13:00:00 +0000] "GET /index.html?a=1 HTTP/1.1" 200 615 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)""#,
        json!({"service_type": "nginx", "log_type": "access", "message": "GET /index.html?a=1 HTTP/1.1 200", "level": "Info",
            "method": "GET", "path": "/index.html?a=1", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "ip_address": "172.18.0.1", "status_code": 200, "response_size": 615,
            "fields": {"app_time": time, "http_version": "1.1", "referer": "https://example.com/"}}),
    );
    check(
        None,
        r#"2001:db8::1 - bob smith [21/Nov/2026:13:00:00 +0000] "POST /a b HTTP/2.0" 502 0 "-" "-" "203.0.113.9" 0.005 "10.0.0.1:80""#,
        json!({"service_type": "nginx", "log_type": "access", "message": "POST /a b HTTP/2.0 502", "level": "Error",
            "method": "POST", "path": "/a b", "ip_address": "2001:db8::1", "status_code": 502, "response_size": 0,
            "fields": {"app_time": time, "remote_user": "bob smith", "http_version": "2.0",
                "x_forwarded_for": "203.0.113.9", "request_time": "0.005", "upstream": "10.0.0.1:80"}}),
    );
    check(
        Some(Format::Nginx),
        r#"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] "\x16\x03\x01\x02" 400 157 "-" "-" "-""#,
        json!({"service_type": "nginx", "log_type": "access", "message": "\\x16\\x03\\x01\\x02 400", "level": "Warn",
            "ip_address": "10.0.0.1", "status_code": 400, "response_size": 157,
            "fields": {"app_time": time, "request": "\\x16\\x03\\x01\\x02"}}),
    );
    check(
        None,
        r#"unix: - - [21/Nov/2026:13:00:00 +0000] "-" 408 -"#,
        json!({"service_type": "nginx", "log_type": "access", "message": "- 408", "level": "Warn", "status_code": 408,
            "fields": {"app_time": time, "remote_addr": "unix:", "request": "-"}}),
    );
    let plain = |log: &str| {
        check(None, log, json!({"service_type": "plain", "log_type": "plain", "message": log, "fields": {}}));
    };
    plain(r#"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] "GET / HTTP/1.1" 70000 5"#);
    plain(r#"10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] "GET / HTTP/1.1 200 5"#);
    plain("a - b [c] d");
}

#[test]
fn nginx_error() {
    check(
        None,
        r#"2026/11/21 13:00:00 [error] 31#32: *7 open() "/usr/share/nginx/html/x" failed (2: No such file or directory), client: 172.18.0.1, server: localhost, request: "GET /x HTTP/1.1", upstream: "http://10.0.0.2:8080/x", host: "localhost:8080", referrer: "http://a/""#,
        json!({"service_type": "nginx", "log_type": "error", "level": "Error",
            "message": "open() \"/usr/share/nginx/html/x\" failed (2: No such file or directory)",
            "method": "GET", "path": "/x", "ip_address": "172.18.0.1",
            "fields": {"app_time": "2026-11-21T13:00:00", "pid": "31", "tid": "32", "connection": "7", "server": "localhost",
                "http_version": "1.1", "upstream": "http://10.0.0.2:8080/x", "host": "localhost:8080", "referer": "http://a/"}}),
    );
    check(
        None,
        r#"2026/11/21 13:00:00 [notice] 1#1: using the "epoll" event method"#,
        json!({"service_type": "nginx", "log_type": "error", "level": "Info", "message": "using the \"epoll\" event method",
            "fields": {"app_time": "2026-11-21T13:00:00", "level": "notice", "pid": "1", "tid": "1"}}),
    );
    check(
        None,
        "2026/11/21 13:00:00 [crit] 9#9: *1 SSL_do_handshake() failed, client: 10.0.0.9, strange end",
        json!({"service_type": "nginx", "log_type": "error", "level": "Fatal", "message": "SSL_do_handshake() failed",
            "ip_address": "10.0.0.9",
            "fields": {"app_time": "2026-11-21T13:00:00", "level": "crit", "pid": "9", "tid": "9", "connection": "1", "extra": "strange end"}}),
    );
    check(
        None,
        "2026/11/21 13:00:00 [error] 9#9: x, client: a!, request: \"\", client: b, request: \"c\"",
        json!({"service_type": "nginx", "log_type": "error", "level": "Error", "message": "x",
            "fields": {"app_time": "2026-11-21T13:00:00", "pid": "9", "tid": "9", "client": "a!", "request": "",
                "extra": "client: b, request: \"c\""}}),
    );
    // Go's standard logger has the same time.
    check(
        None,
        "2026/11/21 13:00:00 listening",
        json!({"service_type": "go", "log_type": "structured", "message": "listening",
            "fields": {"app_time": "2026-11-21T13:00:00"}}),
    );
}

#[test]
fn postgres() {
    check(
        None,
        r#"2026-11-21 13:00:00.123 UTC [31] LOG:  database system is ready to accept connections"#,
        json!({"service_type": "postgres", "log_type": "structured", "level": "Info",
            "message": "database system is ready to accept connections",
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "level": "LOG", "pid": "31"}}),
    );
    check(
        None,
        r#"2026-11-21 13:00:00 +02 [7] app@shop ERROR:  relation "x" does not exist at character 15"#,
        json!({"service_type": "postgres", "log_type": "structured", "level": "Error",
            "message": "relation \"x\" does not exist at character 15",
            "fields": {"app_time": "2026-11-21T11:00:00Z", "app_time_raw": "2026-11-21 13:00:00 +02", "pid": "7", "user": "app", "database": "shop"}}),
    );
    check(
        None,
        "2026-11-21 13:00:00.123 Europe/Berlin [7] app@shop STATEMENT:  SELECT 1:  2;",
        json!({"service_type": "postgres", "log_type": "structured", "message": "SELECT 1:  2;",
            "fields": {"app_time": "2026-11-21 13:00:00.123 Europe/Berlin", "kind": "statement", "pid": "7", "user": "app", "database": "shop"}}),
    );
    check(
        None,
        "2026-11-21 13:00:00.123 UTC [7-2] user=app,db=shop,app=psql,client=10.0.0.7 FATAL:  password authentication failed",
        json!({"service_type": "postgres", "log_type": "structured", "level": "Fatal", "ip_address": "10.0.0.7",
            "message": "password authentication failed",
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "pid": "7", "log_line": "2", "user": "app", "database": "shop", "application": "psql"}}),
    );
    check(
        None,
        "2026-11-21 13:00:00.123 UTC [7] 00000 LOG:  duration: 12.345 ms  statement: SELECT 1",
        json!({"service_type": "postgres", "log_type": "structured", "level": "Info",
            "message": "duration: 12.345 ms  statement: SELECT 1",
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "level": "LOG", "pid": "7", "sqlstate": "00000", "duration_ms": "12.345"}}),
    );
    check(
        Some(Format::Postgres),
        "2026-11-21 13:00:00.123 UTC [7] what ever WARNING:  x",
        json!({"service_type": "postgres", "log_type": "structured", "level": "Warn", "message": "x",
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "level": "WARNING", "pid": "7", "prefix": "what ever"}}),
    );
    check(
        None,
        "2026-11-21 13:00:00.123 UTC [x] DETAIL:  y",
        json!({"service_type": "postgres", "log_type": "structured", "message": "y",
            "fields": {"app_time": "2026-11-21T13:00:00.123Z", "kind": "detail", "prefix": "[x]"}}),
    );
    for (log, time) in [
        ("2026-11-21 13:00:00.123 UTC [31] LAG:  x", "2026-11-21T13:00:00.123Z"),
        ("2026-11-21 13:00:00 x", "2026-11-21T13:00:00"),
    ] {
        let fields = json!({"app_time": time});
        check(None, log, json!({"service_type": "plain", "log_type": "plain", "message": log, "fields": fields}));
    }
}

/// Lines that begin as a format's do and are none: by no reader of the format, and automatically nothing but text.
#[test]
fn refused() {
    let table: [(Format, &[&str]); 12] = [
        (
            Format::Go,
            &[
                "1:00PM lunch",
                "INFO[abc] x",
                "INFORMATION[0000] x",
                "ERROR[12] too few digits",
                "2026/11/21 lunch",
                "2026-11-21T13:00:00Z\tloud\tx",
                "1.5\tinfo\thello",
                "noon INF x",
                "<none> INF x",
                "[GIN] hello",
            ],
        ),
        (Format::Glog, &["I1121 hello", "E2E tests passed", "W3C validator", "F1121 13:00:00.123456 x main.go:1] y"]),
        (Format::Logfmt, &["a = 1", "level=info msg=\"no end", "a=1 b!"]),
        (
            Format::Nginx,
            &[
                "10.0.0.1 - - [yesterday] \"GET / HTTP/1.1\" 200 5",
                "10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 2000 5",
                "nginx: worker started",
                "nginx: [loud] x",
                "web 10.0.0.1 is up",
            ],
        ),
        (
            Format::Apache,
            &[
                "[Sat nonsense] [error] x",
                "[Sat Nov 21 13:00:00 2026] [loud] x",
                "[Cat Nov 21 13:00:00 2026] [error] x",
                "AH0055: x",
                "AH today: x",
            ],
        ),
        (
            Format::Postgres,
            &[
                "note:  two spaces",
                "12 apples:  and more",
                "2026-11-21 13:00:00 UTC [31] LOG: one space",
                "a LOG.  b",
                "LAG:  x",
                "2026-11-21 13:00:00 UTC:service_LOG:  x",
                "2026-11-21 13:00:00 UTC 6µWARNING:  x",
            ],
        ),
        (
            Format::Python,
            &[
                "hello INFO",
                "2026-11-21 13:00:00,123 nothing here",
                "2026-02-30 13:00:00,123 INFO x",
                "[info] short of nine columns",
                "[21/Nov/2026 13:00:00] \"GET / HTTP/1.1\" ok 5",
                "[21/Nov/2026 13:00:00] hello",
            ],
        ),
        (
            Format::Rust,
            &[
                " WARNING app: x",
                "hello INFO app: x",
                "[INFO app] too few columns",
                "[2026-11-21T13:00:00Z LOUD  app] x",
            ],
        ),
        (
            Format::Node,
            &[
                "- information",
                "ready or not",
                "info  careful",
                "[Nest] twice",
                "[Nest] 7  - noon  LOG x",
                "GET it done",
                "GET /x then 200",
                "[13:00:00.123] INFO (x): y",
                "Microsoft.Hosting.Lifetime[14]",
            ],
        ),
        (
            Format::Redis,
            &["1:M not a time", "1:00 o'clock", "1:M 21 Now 13:00:00.123 * x", "1:M 21 Nov 2026 13:00:00.123 ! x"],
        ),
        (
            Format::Syslog,
            &[
                "<3 hearts",
                "<03>Nov 21 13:00:00 host app: x",
                "<999>x",
                "<34>",
                "<34> x",
                "Nov 21 lunch",
                "Nov 21 13:00:00 INFO: x",
                "2026-11-21T13:00:00Z - info: x",
                "<34>1 yesterday host",
            ],
        ),
        (Format::Json, &["{curly} prose", "text {\"a\":} ", "{\"a\":1} text"]),
    ];
    for (format, lines) in table {
        for line in lines {
            let automatic = one(None, line);
            assert_ne!(automatic["service_type"], format.service_type(), "{line}");
            assert_ne!(automatic["service_type"], Format::Postgres.service_type(), "{line}");
            let explicit = one(Some(format), line);
            assert!(
                explicit["fields"].get("parse_error").is_some() || explicit["service_type"] != format.service_type(),
                "{line}"
            );
        }
    }
    // Of others, whose lines are laid out so.
    for line in [
        "2026-11-21 13:00:00,123 INFO  [main] com.example.Main - started",
        "2026-11-21 13:00:00,123 ERROR [main] com.example.Main - failed",
        "2026-11-21 13:00:00,123 INFO org.apache.hadoop.hdfs.server.namenode.NameNode: STARTUP_MSG",
        "[2026-11-21 13:00:00,123] INFO [KafkaServer id=1] started (kafka.server.KafkaServer)",
        "2026-11-21T13:00:00.123Z  INFO 1 --- [main] com.example.Main : started",
        "INFO  [com.example.Main] x",
        "INFO app: x",
        "ERROR app: x",
        "INFO x=1",
        "[2026-11-21T13:00:00.123] [INFO] no dash",
        "x=y is an equation",
        "[INFO] x",
        "[worker 12] x",
        "error in line 3",
    ] {
        assert_eq!(one(None, line)["service_type"], "plain", "{line}");
    }
}

/// What nobody can see and somebody says: lines that automatic leaves plain.
#[test]
fn explicit_takes_more() {
    let table = [
        (Format::Python, "23:07:59 - ERROR - lost", "lost", "Error", Some("23:07:59")),
        (Format::Python, "[21/Nov/2026 13:00:00] ERROR lost", "lost", "Error", Some("2026-11-21T13:00:00")),
        (Format::Python, "2026-11-21 13:00:00 ERROR app.db lost", "lost", "Error", Some("2026-11-21T13:00:00")),
        (Format::Python, "WARNING - lost", "lost", "Warn", None),
        (Format::Python, "[WARNING] app.db: lost", "lost", "Warn", None),
        (Format::Node, "2026-11-21T13:00:00.123Z [INFO]: up", "up", "Info", Some("2026-11-21T13:00:00.123Z")),
        (Format::Node, "2026-11-21 13:00:00 ERROR: no", "no", "Error", Some("2026-11-21T13:00:00")),
        (Format::Node, "[2026-11-21T13:00:00.123Z] [error] no", "no", "Error", Some("2026-11-21T13:00:00.123Z")),
        (Format::Rust, "INFO app: up", "up", "Info", None),
    ];
    for (format, line, message, level, time) in table {
        assert_eq!(one(None, line)["service_type"], "plain", "{line}");
        let record = one(Some(format), line);
        assert_eq!(
            (&record["service_type"], &record["message"]),
            (&json!(format.service_type()), &json!(message)),
            "{line}"
        );
        assert_eq!((&record["level"], record["fields"].get("parse_error")), (&json!(level), None), "{line}");
        assert_eq!(record["fields"].get("app_time").and_then(Value::as_str), time, "{line}");
    }
}

#[test]
fn plain() {
    for (log, level) in [
        ("disk nearly full", None),
        ("[warn] disk nearly full", Some("Warn")),
        ("13:00:00 ERROR disk full", Some("Error")),
        ("{curly} prose with {\"a\":1} in it", None),
        ("at = is not a key", None),
    ] {
        let mut expected = json!({"service_type": "plain", "log_type": "plain", "message": log, "fields": {}});
        if let Some(level) = level {
            expected["level"] = json!(level);
        }
        check(None, log, expected);
    }
}
