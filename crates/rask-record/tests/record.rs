//! Reading records leniently and judging them strictly, as tables.

use rask_record::{BatchHeader, Level, Record, Violation, validate};

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn whole() -> String {
    format!(
        r#"{{"service_type":"nginx","log_type":"access","message":"GET /a \"x\"","level":"Info","timestamp":"2026-11-21T13:31:08.943906164Z","stream":"stdout","method":"GET","path":"/a?b=1","user_agent":"curl","ip_address":"::1","status_code":200,"response_size":18446744073709551615,"container_id":"{ID}","service_name":"web","service_group":"edge","trace_id":"0af7","span_id":"b7ad","fields":{{"app_time":"x","n":"1"}}}}"#
    )
}

/// `whole()` with one piece of text replaced; the piece must be there.
fn with(from: &str, to: &str) -> String {
    let whole = whole();
    assert!(whole.contains(from), "{from}");
    whole.replacen(from, to, 1)
}

#[test]
fn a_whole_record_is_read() {
    let record = Record::decode(whole().as_bytes()).unwrap();
    assert_eq!(record.message, r#"GET /a "x""#);
    assert_eq!(record.level, Some(Level::Info));
    assert_eq!((record.status_code, record.response_size), (Some(200), Some(u64::MAX)));
    assert_eq!(record.service_group.as_deref(), Some("edge"));
    assert_eq!(record.fields["n"], "1");
    assert!(record.extra.is_empty());
    assert_eq!(validate(whole().as_bytes()), Ok(()));
}

#[test]
fn leniency_loses_nothing() {
    let decode = |line: &str| Record::decode(line.as_bytes()).unwrap();
    assert_eq!(decode("{}"), Record::default());
    assert_eq!(decode("{\"level\":null,\"message\":null,\"fields\":null}\n"), Record::default());
    assert_eq!(decode(r#"{"level":"warning"}"#).level, Some(Level::Other("warning".into())));
    let extra = |line: &str, key: &str| decode(line).extra[key].clone();
    assert_eq!(extra(r#"{"level":3}"#, "level"), "3");
    assert_eq!(extra(r#"{"status_code":70000}"#, "status_code"), "70000");
    assert_eq!(extra(r#"{"status_code":"200"}"#, "status_code"), r#""200""#);
    assert_eq!(extra(r#"{"response_size":-1}"#, "response_size"), "-1");
    assert_eq!(extra(r#"{"new_key":{"a":[1e400]}}"#, "new_key"), r#"{"a":[1e400]}"#);
    assert_eq!(extra(r#"{"fields":[1]}"#, "fields"), "[1]");
    let nested =
        format!(r#"{{"fields":{{"deep":{}{},"n":1e400,"s":"x","z":null}}}}"#, "[".repeat(1000), "]".repeat(1000));
    let fields = decode(&nested).fields;
    assert_eq!(fields.len(), 3);
    assert_eq!((fields["deep"].len(), fields["n"].as_str(), fields["s"].as_str()), (2000, "1e400", "x"));
}

#[test]
fn what_is_not_an_object_is_refused() {
    for line in [&b""[..], b"[]", b"3", b"{", b"{}{}", b"{\"a\":}", b"{\"message\":\"\xff\"}", b"{\"\xff\":1}", b"null"]
    {
        assert!(Record::decode(line).is_err(), "{}", line.escape_ascii());
    }
}

#[test]
fn strictness_names_what_is_wrong() {
    let check = |line: String, want: Violation| assert_eq!(validate(line.as_bytes()), Err(want), "{line}");
    check("[]".into(), Violation::NotAnObject);
    check("{\"message\"}".into(), Violation::NotAnObject);
    check(whole() + " ", Violation::NotOneLine);
    check(with("/a?b=1", "/a\n"), Violation::NotOneLine);
    for key in rask_record::REQUIRED_KEYS {
        let value: serde_json::Value = serde_json::from_str(&whole()).unwrap();
        let mut object = value.as_object().unwrap().clone();
        object.remove(key);
        check(serde_json::to_string(&object).unwrap(), Violation::Missing(key));
    }
    for (from, to, key) in [
        (r#""Info""#, r#""info""#, "level"),
        (r#""Info""#, r#""Trace""#, "level"),
        (r#""Info""#, "null", "level"),
        (r#""stdout""#, r#""out""#, "stream"),
        ("164Z", "164+00:00", "timestamp"),
        (":200,", ":70000,", "status_code"),
        (":200,", ":2e2,", "status_code"),
        (":200,", r#":"200","#, "status_code"),
        ("18446744073709551615", "18446744073709551616", "response_size"),
        ("0af7", "0AF7", "trace_id"),
        ("0011", "011", "container_id"),
        (r#""web""#, r#""""#, "service_name"),
        (r#"{"app_time":"x","n":"1"}"#, r#"["a"]"#, "fields"),
    ] {
        check(with(from, to), Violation::Value(key));
    }
    check(with(r#""n":"1""#, r#""n":1"#), Violation::Field("n".into()));
    check(with(r#""n":"1""#, r#""n":null"#), Violation::Field("n".into()));
    check(with(r#""n":"1""#, r#""app_time":"1""#), Violation::Twice("fields.app_time".into()));
    check(with(r#""method":"GET""#, r#""verb":"GET""#), Violation::UnknownKey("verb".into()));
    check(with(r#""method":"GET""#, r#""path":"GET""#), Violation::Twice("path".into()));
}

#[test]
fn batch_headers() {
    let text = format!("v=1;container={ID};generation=00000000000000ff;cover=0-500,620-700");
    let header = BatchHeader::parse(&text).unwrap();
    assert_eq!(header, BatchHeader { container: ID, generation: 255, cover: "0-500,620-700", body: None });
    assert_eq!(header.to_string(), text);
    let empty = format!("v=1;container={ID};generation=0000000000000000;cover=");
    assert_eq!(BatchHeader::parse(&empty).unwrap().cover, "");
    let told = format!("{empty};body=00000000000000ab");
    let told_by = BatchHeader::parse(&told).unwrap();
    assert_eq!((told_by.cover, told_by.body, told_by.to_string()), ("", Some(0xab), told.clone()));
    let grown = format!("{text};color=red");
    assert_eq!(BatchHeader::parse(&grown), Ok(header));
    for wrong in [
        "",
        "v=1",
        &text.replace("v=1", "v=2"),
        &text.replace(ID, "abc"),
        &text.replace("ff;cover", "FF;cover"),
        &text.replace("generation=00", "generation="),
        &text.replace("0-500", "a-b"),
        &text.replace(";cover=0-500,620-700", ""),
        &format!("{empty};body=ab"),
        &format!("{empty};body=00000000000000AB"),
    ] {
        assert!(BatchHeader::parse(wrong).is_err(), "{wrong}");
    }
}
