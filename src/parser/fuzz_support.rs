//! Oracles of the envelope and of the joiner, for `crates/fuzz` and for the tests below; not for programs.

use super::envelope::{self, Line, Stream};
use super::formats::Format;
use super::time::Clock;
use super::unescape::Buffer;
use super::{Bounds, Parser, Progress, Records, Settings};
use crate::buffer::{Chunk, Offsets};
use crate::limits::DOCKER_PART_BYTES;
use crate::metrics::Metrics;
use crate::position::{Generation, Range, Ranges};
use crate::source::{Container, Source};
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

/// One line, read by us and by `serde_json`: where both take it, text, end and stream agree; what `serde_json` takes as an
/// entry, we take. The other way round we are lenient: what is not looked at may be anything.
pub fn envelope(line: &[u8]) {
    if line.contains(&b'\n') {
        return;
    }
    let (mut buffer, mut clock) = (Buffer::default(), Clock::new());
    let ours = match envelope::read(line, &mut buffer, &mut clock) {
        Line::Entry(entry) => {
            let text = std::str::from_utf8(entry.text(&buffer)).expect("the text is UTF-8").to_owned();
            Ok((text, entry.ended, if entry.stream == Stream::Stdout { "stdout" } else { "stderr" }))
        }
        Line::Blank => {
            assert!(line.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()), "only nothing is blank");
            Err("blank")
        }
        Line::Garbage(why) => Err(why),
    };
    let theirs = twin(line);
    match (&ours, &theirs) {
        (Ok(ours), Some((text, stream))) => {
            let (text, ended) = text.strip_suffix('\n').map_or((text.as_str(), false), |text| (text, true));
            assert_eq!((ours.0.as_str(), ours.1, ours.2), (text, ended, stream.as_str()));
        }
        // Times are ours to judge.
        (Err(why), Some((_, stream))) if matches!(stream.as_str(), "stdout" | "stderr") => {
            assert!(matches!(*why, "bad time in Docker's entry"), "refused: {why}");
        }
        _ => {}
    }
    records(line);
}

/// `log` and `stream` of an object whose three members are strings.
fn twin(line: &[u8]) -> Option<(String, String)> {
    let nuls = line.iter().take_while(|byte| **byte == 0).count();
    let line = String::from_utf8_lossy(&line[nuls..]);
    let map: serde_json::Map<String, Value> = serde_json::from_str(&line).ok()?;
    map.get("time")?.as_str()?;
    Some((map.get("log")?.as_str()?.into(), map.get("stream")?.as_str()?.into()))
}

/// Any bytes as a log file: each line of the output is an object in valid UTF-8 with its required members, and nothing is
/// covered twice.
pub fn records(file: &[u8]) {
    let (body, covered) = parse(file, Format::Plain, 1 << 20, 7);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).expect("valid UTF-8");
        let value: Value = serde_json::from_str(text).expect("valid JSON");
        for key in
            ["service_type", "log_type", "message", "timestamp", "stream", "container_id", "service_name", "fields"]
        {
            assert!(value.get(key).is_some(), "{key} is missing");
        }
    }
    assert!(covered.end() <= file.len() as u64, "nothing beyond the end is covered");
}

/// Entries made from `data` (see [`entries`]), read in chunks: the messages are those of a concatenation by hand, in the order in
/// which they end, and the covers partition the input.
pub fn joiner(data: &[u8]) {
    const MAX: usize = 40_000;
    let Some((&cut, data)) = data.split_first() else { return };
    let entries = entries(data);
    let (mut file, mut ends) = (Vec::new(), vec![0]);
    for (stream, text, ended) in &entries {
        let end = if *ended { "\\n" } else { "" };
        file.extend_from_slice(
            format!("{{\"log\":\"{text}{end}\",\"stream\":\"{stream}\",\"time\":\"2026-11-21T13:00:00Z\"}}\n")
                .as_bytes(),
        );
        ends.push(file.len() as u64);
    }
    let (body, covered) = parse(&file, Format::Plain, MAX, usize::from(cut) + 1);
    let messages: Vec<(String, String)> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let value: Value = serde_json::from_slice(line).expect("valid JSON");
            let text = |key: &str| value[key].as_str().expect("a string").to_owned();
            (text("stream"), text("message"))
        })
        .collect();
    let (expected, held) = by_hand(&entries, MAX);
    assert!(messages == expected, "{:?}", sizes(&messages));
    let lines = ends.windows(2).enumerate().filter(|(i, _)| !held.contains(i));
    let expected: Ranges = lines.map(|(_, ends)| Range::new(ends[0], ends[1])).collect();
    assert_eq!(covered, expected);
}

/// One entry for each byte: stream, text, whether it ends its message. Texts of a part's length and of others.
fn entries(data: &[u8]) -> Vec<(&'static str, String, bool)> {
    data.iter()
        .take(24)
        .enumerate()
        .map(|(i, byte)| {
            let stream = if byte & 1 == 0 { "stdout" } else { "stderr" };
            let bytes = [0, 1, 20, DOCKER_PART_BYTES - 1, DOCKER_PART_BYTES, DOCKER_PART_BYTES + 1];
            let letter = char::from(b'a' + (i % 26) as u8);
            (stream, letter.to_string().repeat(bytes[usize::from(byte >> 2) % bytes.len()]), byte & 2 != 0)
        })
        .collect()
}

/// The naive twin: messages that have ended, cut at `max`, and which entries wait for the rest of theirs.
fn by_hand(entries: &[(&'static str, String, bool)], max: usize) -> (Vec<(String, String)>, Vec<usize>) {
    let (mut out, mut held) = (Vec::new(), [(String::new(), Vec::new()), (String::new(), Vec::new())]);
    for (i, (stream, text, ended)) in entries.iter().enumerate() {
        let (whole, waiting) = &mut held[usize::from(*stream == "stderr")];
        whole.push_str(text);
        waiting.push(i);
        if *ended || text.len() < DOCKER_PART_BYTES {
            whole.truncate(max);
            out.push(((*stream).to_owned(), std::mem::take(whole)));
            waiting.clear();
        }
    }
    (out, held.into_iter().flat_map(|(_, waiting)| waiting).collect())
}

fn sizes(messages: &[(String, String)]) -> Vec<(&str, usize)> {
    messages.iter().map(|(stream, message)| (stream.as_str(), message.len())).collect()
}

fn parse(file: &[u8], format: Format, max_line_bytes: usize, lines: usize) -> (Vec<u8>, Ranges) {
    parse_with(file, Settings { format: Some(format), max_line_bytes, ..Settings::default() }, lines)
}

/// Parses a file in chunks of `lines` lines to its end. Body, and what is covered; asserts that nothing is covered twice.
fn parse_with(file: &[u8], settings: Settings, lines: usize) -> (Vec<u8>, Ranges) {
    // Registering them takes longer than most files.
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    let mut parser = Parser::new(settings, &METRICS);
    let source = Arc::new(Source { container: Arc::new(container()), generation: Generation(1) });
    let (mut body, mut covered) = (Vec::new(), Ranges::default());
    let mut take = |records: &mut Records| {
        let (mut iter, mut ranges) = (records.cover.iter(), Vec::new());
        while iter.next_into(&mut ranges).is_some() {
            for range in &ranges {
                assert!(!covered.touches(*range), "{range:?} is covered twice");
                covered.insert(*range);
            }
        }
        body.extend_from_slice(&records.body);
        records.reset(source.clone());
    };
    let mut records = Records::new(source.clone());
    let bounds = Bounds { records: 3, bytes: 1 << 20 };
    let pieces: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let mut start = 0;
    for piece in pieces.chunks(lines) {
        let data = piece.concat();
        let offsets = Offsets::File(start);
        start += data.len() as u64;
        let mut chunk = Chunk {
            source: source.clone(),
            data: data.into(),
            offsets,
            lines: piece.len() as u32,
            read_at: Instant::now(),
        };
        while parser.chunk(&mut chunk, &mut records, bounds) == Progress::Full {
            take(&mut records);
        }
    }
    take(&mut records);
    // Groups are whole at the end; what waits for the rest of a line is not.
    while let Some(open) = parser.open() {
        let due = parser.due().expect("a time");
        parser.release_overdue(&open, due, &mut records);
        take(&mut records);
    }
    (body, covered)
}

/// Any line in every format and in none: the record is valid (`records`), and nothing of the line is lost.
pub fn formats(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    if line.contains('\n') {
        return;
    }
    for format in Format::ALL.into_iter().map(Some).chain([None]) {
        let lost = lost(&line, format);
        assert!(lost.is_empty(), "{lost:#?}");
    }
}

/// The runs of letters and digits of `line` that are nowhere in its record.
///
/// Exceptions are what a reader gives another form: a time (all forms of it are made from `fields.app_time`), a level, syslog's
/// priority, an escape, and the few words and marks that only say what stands beside them.
pub(crate) fn lost(line: &str, format: Option<Format>) -> Vec<String> {
    let log = serde_json::to_string(&format!("{line}\n")).expect("a string");
    let entry = format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-11-21T13:00:00Z\"}}\n");
    let settings = Settings { format, ..Settings::default() };
    let (body, _) = parse_with(entry.as_bytes(), settings, 1);
    let record: serde_json::Map<String, Value> = serde_json::from_slice(&body).expect("one valid record");
    let have = texts(&record).to_lowercase();
    let mut clean = Vec::new();
    let line = super::ansi::strip(line.strip_suffix('\r').unwrap_or(line).as_bytes(), &mut clean).to_vec();
    let line = String::from_utf8(line).expect("cut at ASCII only");
    if line.contains('\\') {
        return Vec::new();
    }
    let exponent = |word: &str| matches!(word, "12" | "15" | "18") && line.contains(&format!("e+{word}"));
    let silent = |word: &str| exponent(word) || SILENT.contains(&format!(" {} ", word.to_lowercase()));
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let digit = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_digit());
    // glog's letter for the level.
    let words = words.map(|word| word.strip_prefix(['I', 'W', 'E', 'F']).filter(digit).unwrap_or(word));
    let lost = words.filter(|word| !have.contains(&word.to_lowercase()) && !silent(word));
    lost.map(|word| format!("{word:?} of {line:?} as {format:?} is not in {have}")).collect()
}

/// Names of what has a place of its own, and words that only say what stands beside them.
const SILENT: &str = " http client server request upstream host referrer login subrequest in ms pid tid gin i w e f m 1 msg \
    message event level lvl severity levelname log time ts t timestamp asctime datetime trace_id traceid span_id spanid id \
    method path uri url status status_code statuscode code user_agent useragent agent ip addr address remote_addr size bytes \
    fields target db dbname database user app application application_name state_code line_num ps rt uct uht urt rid us ua cs \
    xff l t date renderedmessage e 09 nil nest req res remote_ip remoteip clientip bytes_out bytes_sent request_method \
    request_uri requestmethod requestpath requestprotocol clienthost downstreamcontentsize downstreamstatus mt \
    xff error_severity body_bytes_sent http_user_agent time_local route priority short_message loglevel remoteaddr remote_host \
    body client_addr client_ip content_length contentlength full http_method http_status httpmethod httprequest \
    httpstatus ip_address original remote_address remoteaddress request_path requesturl response response_size \
    severity_number severitynumber time_iso8601 trace traceparent ";

/// All keys and values of a record in one text, and what can be derived from them.
fn texts(record: &serde_json::Map<String, Value>) -> String {
    let mut have = String::new();
    for (key, value) in record.iter().filter(|(key, _)| !["timestamp", "container_id"].contains(&key.as_str())) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let value = value.as_str().expect("fields are strings");
                    have.push_str(&format!(" {key} {value} "));
                    if key.starts_with("app_time") {
                        have.push_str(&forms_of_time(value));
                    }
                }
            }
            Value::String(text) if key == "level" => {
                let lower = text.to_lowercase();
                have.push_str(&format!(
                    " {text} {lower} {} {} ",
                    text.to_uppercase(),
                    lower.replace("warn", "warning")
                ));
            }
            Value::String(text) => have.push_str(&format!(" {text} ")),
            number => have.push_str(&format!(" {number} ")),
        }
    }
    if let Some(fields) = record["fields"].as_object() {
        let priority = super::formats::syslog::priority_of(fields, record.get("level"));
        have.push_str(&priority.map(|number| number.to_string()).unwrap_or_default());
        // Roles and marks of Redis.
        have.push_str(fields.get("role").and_then(Value::as_str).map_or("", |role| match role {
            "master" => "M",
            "replica" => "S",
            "child" => "C",
            _ => "X",
        }));
    }
    have
}

/// What a time may have been written as, from its normal form.
fn forms_of_time(time: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut out = format!(
        " {} UTC GMT 0000 00 Z z t T Etc Sun Mon Tue Wed Thu Fri Sat ",
        time.replace(['-', ':', 'T', 'Z', '.'], " ")
    );
    // The zone may stand at the digits, as in `13:00:00.1234UTC`.
    let last = time.trim_end_matches('Z').rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    out.push_str(&format!(" {last}UTC {last}GMT "));
    let part = |from: usize, len: usize| time.get(from..from + len).and_then(|part| part.parse::<usize>().ok());
    if let Some(month) = part(5, 2).and_then(|month| MONTHS.get(month.wrapping_sub(1))) {
        out.push_str(month);
    }
    let normal = super::time::normalize(time.get(..19).map(|head| format!("{head}Z")).unwrap_or_default().as_bytes());
    let fraction: String = time.chars().skip(20).take_while(char::is_ascii_digit).collect();
    if let Some(stamp) = normal {
        let digits = format!("{}{fraction}", super::time::since_epoch(&stamp).as_secs());
        for len in [10, 13, 16, 19] {
            out.push_str(&format!(
                " {} {} ",
                digits.get(..len).unwrap_or_default(),
                digits.get(len..).unwrap_or_default()
            ));
        }
        let mantissa = digits.get(1..).unwrap_or_default();
        out.push_str(&format!(" {mantissa}e {}e ", mantissa.trim_end_matches('0')));
        let compact = time.replace(['-', ':', 'T', 'Z'], "");
        out.push_str(&format!(
            " {} {} {}T{} ",
            &compact[..8],
            &time[..19].replace('-', ""),
            &time[8..10],
            &time[11..13]
        ));
    }
    out.push_str(&format!(" {}", time.get(8..13).unwrap_or_default()));
    for (at, _) in time.char_indices().filter(|(at, _)| *at == 8) {
        out.push_str(time[at..].trim_start_matches('0').get(..1).unwrap_or_default());
    }
    out
}

fn container() -> Container {
    Container::new(&"a".repeat(64), "a")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes() {
        let entry =
            |log: &str| format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"2026-11-21T13:00:00.1Z\"}}");
        let mut seeds: Vec<Vec<u8>> = [
            entry("hi\\n"),
            entry("\\u003c\\ud83d\\ude00\\\\\\\"x"),
            entry("\\ud83d"),
            "{\"log\":\"torn by a".to_owned() + &entry("b\\n"),
            "\0\0".to_owned() + &entry("a\\n"),
            "{\"stream\":\"stderr\",\"attrs\":{\"a\":[1,{}]},\"time\":\"2026-11-21T13:00:00Z\",\"log\":\"\"}".into(),
            "{\"log\":1}".into(),
        ]
        .map(String::into_bytes)
        .into();
        seeds.push(
            entry("caf\u{e9}").into_bytes().iter().map(|byte| if *byte == 0xc3 { 0xff } else { *byte }).collect(),
        );
        crate::fuzz_support::mutate(&seeds, envelope);
        crate::fuzz_support::mutate(&seeds, records);
    }

    #[test]
    fn lines_in_every_format() {
        let seeds: Vec<Vec<u8>> =
            crate::parser::tests::samples::lines().into_iter().step_by(13).map(String::into_bytes).collect();
        crate::fuzz_support::mutate(&seeds, formats);
    }

    /// What `fuzz-formats` and the mutated samples have found.
    #[test]
    fn lines_that_lost_something() {
        // Cut within the offset of a time, they were a panic.
        for cut in ["+", "+01", "+01:", "+01:0", " +", " +01", " +01:0"] {
            formats(format!("2026-11-21 13:00:00,123{cut}").as_bytes());
            formats(format!("[2026-11-21T13:00:00.123{cut}").as_bytes());
            formats(format!("WARNING 2026-11-21 13:00:00,123{cut}").as_bytes());
        }
        formats("2026-11-21 19:55:27 UTψ: [1-1] LOG:  x".as_bytes());
    }

    #[test]
    fn joins() {
        crate::fuzz_support::mutate(&[vec![3, 16, 17, 2, 3], vec![0, 16, 16, 16, 16, 18], (0..25).collect()], joiner);
    }
}
