//! The parser: envelope alone, and chunk to records for a corpus of each format, the first four as `FACTS.md` 1 has them.
//!
//! Every bench checks its answer before it is timed: number of records, the first record, and a checksum of all bytes.
//! A change of the output is a change of these figures, to be made on purpose.
//!
//! Time on a shared machine says little about a change of some percent. Instructions are the same at every run: with valgrind
//! installed,
//!
//! ```text
//! cargo bench -p rask-log-forwarder --bench parser -- instructions [corpus…]
//! ```
//!
//! prints those of a line, with the format given and with the format told by the lines: the difference between many chunks and
//! few, so that what comes before the first line is not in it.

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use rask_log_forwarder::buffer::{Chunk, Offsets};
use rask_log_forwarder::limits::READ_BYTES;
use rask_log_forwarder::metrics::Metrics;
use rask_log_forwarder::parser::formats::Format;
use rask_log_forwarder::parser::process::{self as process_rules, Patterns, Redactions, Rules, Sample};
use rask_log_forwarder::parser::{Bounds, Parser, Progress, Records, Settings, bench_support};
use rask_log_forwarder::position::Generation;
use rask_log_forwarder::source::{Container, Source};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// What a corpus must become; the first record where it is worth reading.
struct Expected {
    first: &'static str,
    checksum: u64,
}

struct Corpus {
    name: &'static str,
    data: Vec<u8>,
    lines: u32,
    records: u32,
    format: Format,
    expected: Expected,
}

/// A small generator of our own, so that the corpora are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const PATHS: [&str; 4] = ["/api/v1/orders", "/api/v1/users/17", "/static/app.3f2a.js", "/health"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn go(r: &mut Random) -> String {
    format!(
        r#"{{"time":"2026-11-21T13:00:00.{:09}Z","level":"{}","msg":"request completed","method":"{}","path":"{}","status":{},"duration_ms":{}.{:02},"user_id":"u-{:06}","request_id":"{:016x}","remote_addr":"10.0.{}.{}","cache":"{}"}}"#,
        r.below(1_000_000_000),
        r.pick(&["INFO", "INFO", "WARN", "ERROR"]),
        r.pick(&METHODS),
        r.pick(&PATHS),
        r.pick(&["200", "201", "404", "500"]),
        r.below(900),
        r.below(100),
        r.below(1_000_000),
        r.next(),
        r.below(256),
        r.below(256),
        r.pick(&["hit", "miss"]),
    )
}

fn nginx(r: &mut Random) -> String {
    format!(
        r#"10.0.{}.{} - - [21/Nov/2026:13:00:{:02} +0000] "{} {}?page={} HTTP/1.1" {} {} "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0""#,
        r.below(256),
        r.below(256),
        r.below(60),
        r.pick(&METHODS),
        r.pick(&PATHS),
        r.below(100),
        r.pick(&["200", "304", "404", "502"]),
        r.below(100_000),
    )
}

fn postgres(r: &mut Random) -> String {
    format!(
        "2026-11-21 13:00:{:02}.{:03} UTC [{}] app@shop {}  {}",
        r.below(60),
        r.below(1000),
        r.below(30_000),
        r.pick(&["LOG:", "NOTICE:", "DEBUG:"]),
        r.pick(&[
            "duration: 12.345 ms  statement: SELECT id FROM orders",
            "relation does not exist at character 15",
            "SELECT * FROM missing WHERE id = 17",
        ]),
    )
}

/// What becomes one record out of two lines.
fn reports(r: &mut Random) -> String {
    let prefix = format!("2026-11-21 13:00:{:02}.{:03} UTC [{}] app@shop", r.below(60), r.below(1000), r.below(30_000));
    format!(
        "{prefix} ERROR:  relation does not exist at character 15\n{prefix} STATEMENT:  SELECT * FROM missing WHERE id = {}",
        r.below(100)
    )
}

fn python(r: &mut Random) -> String {
    format!(
        "2026-11-21 13:00:{:02},{:03} - worker.{} - {} - job {:08} finished after {} retries in the background queue",
        r.below(60),
        r.below(1000),
        r.below(16),
        r.pick(&["INFO", "WARNING", "DEBUG"]),
        r.below(100_000_000),
        r.below(5),
    )
}

fn plain(r: &mut Random) -> String {
    format!(
        "[worker {}] {} job {:08} finished after {} retries in the background queue, next one in {} seconds",
        r.below(16),
        r.pick(&["INFO", "WARNING", "DEBUG"]),
        r.below(100_000_000),
        r.below(5),
        r.below(60),
    )
}

fn logfmt(r: &mut Random) -> String {
    format!(
        "time=2026-11-21T13:00:00.{:03}Z level={} msg=\"request completed\" method={} path={} status={} took={}ms user=u-{:06}",
        r.below(1000),
        r.pick(&["INFO", "WARN", "ERROR"]),
        r.pick(&METHODS),
        r.pick(&PATHS),
        r.pick(&["200", "404", "500"]),
        r.below(900),
        r.below(1_000_000),
    )
}

fn zap(r: &mut Random) -> String {
    format!(
        "2026-11-21T13:00:00.{:03}Z\t{}\tapi\tapp/main.go:{}\trequest completed\t{{\"status\": {}, \"took\": {}}}",
        r.below(1000),
        r.pick(&["INFO", "WARN", "ERROR"]),
        r.below(400),
        r.pick(&["200", "404", "500"]),
        r.below(900),
    )
}

fn tracing(r: &mut Random) -> String {
    format!(
        "2026-11-21T13:00:00.{:06}Z {} app::http: request completed method={} path=\"{}\" status={} took={}ms",
        r.below(1_000_000),
        r.pick(&[" INFO", " WARN", "ERROR"]),
        r.pick(&METHODS),
        r.pick(&PATHS),
        r.pick(&["200", "404", "500"]),
        r.below(900),
    )
}

fn uvicorn(r: &mut Random) -> String {
    let status = r.pick(&["200 OK", "404 Not Found"]).to_owned();
    format!(
        "INFO:     10.0.0.{}:{} - \"{} {} HTTP/1.1\" {status}",
        r.below(256),
        r.below(60_000),
        r.pick(&METHODS),
        r.pick(&PATHS)
    )
}

fn pino(r: &mut Random) -> String {
    format!(
        r#"{{"level":{},"time":1795266000{:03},"pid":7,"hostname":"h","req":{{"id":{},"method":"{}","url":"{}"}},"res":{{"statusCode":{}}},"responseTime":{},"msg":"request completed"}}"#,
        r.pick(&["30", "40", "50"]),
        r.below(1000),
        r.below(100_000),
        r.pick(&METHODS),
        r.pick(&PATHS),
        r.pick(&["200", "404"]),
        r.below(900),
    )
}

fn redis(r: &mut Random) -> String {
    let mark = r.pick(&["*", "#", "-"]).to_owned();
    format!(
        "1:M 21 Nov 2026 13:00:{:02}.{:03} {mark} {} changes in 60 seconds. Saving...",
        r.below(60),
        r.below(1000),
        r.below(10_000)
    )
}

fn syslog(r: &mut Random) -> String {
    format!(
        "<{}>1 2026-11-21T13:00:00.{:03}Z host app {} ID{} [ex@32473 a=\"b\"] an event of some length has happened",
        r.below(192),
        r.below(1000),
        r.below(30_000),
        r.below(100),
    )
}

fn apache(r: &mut Random) -> String {
    format!(
        "[Sat Nov 21 13:00:{:02}.{:06} 2026] [core:{}] [pid 31:tid {}] [client 10.0.0.{}:{}] AH00128: File does not exist: /var/www/html/old",
        r.below(60),
        r.below(1_000_000),
        r.pick(&["info", "error"]),
        r.below(30_000),
        r.below(256),
        r.below(60_000),
    )
}

fn csvlog(r: &mut Random) -> String {
    format!(
        "2026-11-21 13:00:00.{:03} UTC,\"app\",\"shop\",{},\"10.0.0.7:5000\",6b01f725.1e59,{},\"SELECT\",2026-11-21 13:00:00 UTC,3/45,0,{},42P01,\"relation \"\"x\"\" does not exist\",,,,,,\"select * from x\",15,,\"psql\",\"client backend\",,0",
        r.below(1000),
        r.below(30_000),
        r.below(100),
        r.pick(&["LOG", "ERROR"]),
    )
}

fn corpus(name: &'static str, format: Format, line: fn(&mut Random) -> String, expected: Expected) -> Corpus {
    let mut random = Random(0x5eed_5eed);
    let (mut data, mut lines) = (Vec::new(), 0);
    let mut records = 0;
    while data.len() < READ_BYTES {
        let text = line(&mut random);
        let nanos = random.below(1_000_000_000);
        for line in text.split_inclusive('\n') {
            let log = serde_json::to_string(&format!("{}\n", line.trim_end())).expect("a string");
            // Reports follow each other slowly enough to be whole before the next.
            let (minute, second) = if text.contains('\n') { (records / 60, records % 60) } else { (0, 1) };
            data.extend(
                format!(
                    "{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-11-21T13:{minute:02}:{second:02}.{nanos:09}Z\"}}\n"
                )
                .bytes(),
            );
            lines += 1;
        }
        records += 1;
    }
    Corpus { name, data, lines, records, format, expected }
}

fn corpora() -> Vec<Corpus> {
    corpora_called(|_| true)
}

fn corpora_called(wanted: impl Fn(&str) -> bool) -> Vec<Corpus> {
    let expect = |first, checksum| Expected { first, checksum };
    let corpus = |name, format, line, expected| wanted(name).then(|| corpus(name, format, line, expected));
    let corpora = [
        corpus("go", Format::Go, go, expect(GO, 0x4834_6923_a246_3d93)),
        corpus("nginx", Format::Nginx, nginx, expect(NGINX, 0xc6a2_2893_a86e_8588)),
        corpus("postgres", Format::Postgres, postgres, expect(POSTGRES, 0x2e34_a1f6_f65b_c6a0)),
        corpus("reports", Format::Postgres, reports, expect("", 0x78e6_5f0e_479b_42d0)),
        corpus("plain", Format::Plain, plain, expect("", 0x3a9c_c084_19d3_512f)),
        corpus("python", Format::Python, python, expect("", 0x1789_910b_361c_655f)),
        corpus("logfmt", Format::Go, logfmt, expect("", 0xd546_635b_cf01_2b47)),
        corpus("zap", Format::Go, zap, expect("", 0x7f84_8bcb_a694_38c4)),
        corpus("tracing", Format::Rust, tracing, expect("", 0x25a8_01ae_97f1_8aeb)),
        corpus("uvicorn", Format::Python, uvicorn, expect("", 0x00e6_9d0d_2df9_87a6)),
        corpus("pino", Format::Node, pino, expect("", 0x1516_ee08_5fb3_d565)),
        corpus("redis", Format::Redis, redis, expect("", 0x34bd_3409_b8f6_5975)),
        corpus("syslog", Format::Syslog, syslog, expect("", 0x1da7_9836_49eb_06e1)),
        corpus("apache", Format::Apache, apache, expect("", 0x731b_4426_8d60_b3d9)),
        corpus("csvlog", Format::Postgres, csvlog, expect("", 0x8688_b7be_05f4_4aa8)),
    ];
    corpora.into_iter().flatten().collect()
}

const GO: &str = concat!(
    r#"{"service_type":"go","log_type":"structured","message":"request completed","level":"Warn","#,
    r#""timestamp":"2026-11-21T13:00:01.268048118Z","stream":"stdout","method":"GET","path":"/health","#,
    r#""ip_address":"10.0.215.200","status_code":200,"#,
    r#""container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","service_name":"api","#,
    r#""service_group":"shop","fields":{"app_time":"2026-11-21T13:00:00.526005520Z","duration_ms":"743.19","#,
    r#""user_id":"u-709621","request_id":"a9da19e0c0337779","cache":"miss"}}"#,
);
const NGINX: &str = concat!(
    r#"{"service_type":"nginx","log_type":"access","message":"GET /api/v1/orders?page=43 HTTP/1.1 502","#,
    r#""level":"Error","timestamp":"2026-11-21T13:00:01.420711289Z","stream":"stdout","method":"GET","#,
    r#""path":"/api/v1/orders?page=43","#,
    r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","#,
    r#""ip_address":"10.0.16.46","status_code":502,"response_size":9621,"#,
    r#""container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","service_name":"api","#,
    r#""service_group":"shop","fields":{"app_time":"2026-11-21T13:00:06Z","http_version":"1.1"}}"#,
);
const POSTGRES: &str = concat!(
    r#"{"service_type":"postgres","log_type":"structured","message":"relation does not exist at character 15","#,
    r#""level":"Info","timestamp":"2026-11-21T13:00:01.517285943Z","stream":"stdout","#,
    r#""container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","service_name":"api","#,
    r#""service_group":"shop","fields":{"app_time":"2026-11-21T13:00:40.318Z","level":"LOG","pid":"2706","#,
    r#""user":"app","database":"shop"}}"#,
);
fn source() -> Arc<Source> {
    let container = Container {
        name: "shop-api-1".into(),
        group: Some("shop".into()),
        ..Container::new(&"0123456789abcdef".repeat(4), "api")
    };
    Arc::new(Source { container: Arc::new(container), generation: Generation(7) })
}

const BOUNDS: Bounds = Bounds { records: usize::MAX, bytes: usize::MAX };

fn chunk(corpus: &Corpus, source: &Arc<Source>) -> Chunk {
    Chunk {
        source: source.clone(),
        data: corpus.data.clone().into(),
        offsets: Offsets::File(0),
        lines: corpus.lines,
        read_at: Instant::now(),
    }
}

fn parser(corpus: &Corpus, explicit: bool) -> Parser {
    let format = explicit.then_some(corpus.format);
    Parser::new(Settings { format, ..Settings::default() }, &Metrics::new())
}

/// All lines of a chunk, and what waits for more behind the last.
fn read_all(parser: &mut Parser, chunk: &mut Chunk, out: &mut Records) {
    assert_eq!(parser.chunk(chunk, out, BOUNDS), Progress::Done);
    while let (Some(source), Some(due)) = (parser.open(), parser.due()) {
        parser.release_overdue(&source, due, out);
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn verify(corpus: &Corpus, out: &Records) {
    let first = out.body.split(|b| *b == b'\n').next().unwrap_or_default();
    let sum = checksum(&out.body);
    assert_eq!(out.records(), corpus.records as usize, "{}", corpus.name);
    assert_eq!(out.ranges.to_string(), format!("0-{}", corpus.data.len()), "{}", corpus.name);
    let first = String::from_utf8_lossy(first);
    assert!(corpus.expected.first.is_empty() || first == corpus.expected.first, "{}: {first}", corpus.name);
    assert_eq!(sum, corpus.expected.checksum, "{}: {sum:#x} {first}", corpus.name);
}

/// Chunks to records, with the format given and with the format told by the lines.
fn records(c: &mut Criterion) {
    for explicit in [true, false] {
        for count_lines in [true, false] {
            let how = if explicit { "explicit" } else { "automatic" };
            let unit = if count_lines { "lines" } else { "bytes" };
            let mut group = c.benchmark_group(format!("records/{how}/{unit}"));
            for corpus in corpora() {
                group.throughput(match count_lines {
                    true => Throughput::Elements(u64::from(corpus.lines)),
                    false => Throughput::Bytes(corpus.data.len() as u64),
                });
                let mut parser = parser(&corpus, explicit);
                let source = source();
                let mut out = Records::new(source.clone());
                read_all(&mut parser, &mut chunk(&corpus, &source), &mut out);
                verify(&corpus, &out);
                let whole = chunk(&corpus, &source);
                group.bench_function(corpus.name, |b| {
                    b.iter_batched_ref(
                        || whole.clone(),
                        |chunk| {
                            out.reset(source.clone());
                            read_all(&mut parser, chunk, &mut out);
                        },
                        BatchSize::SmallInput,
                    );
                });
            }
            group.finish();
        }
    }
}

/// What processing costs: nothing asked for, records judged, secrets looked for (there are none).
fn process(c: &mut Criterion) {
    let off = Rules::default;
    let judged = Rules {
        min_level: process_rules::min_level("debug").expect("a level"),
        drop: Patterns::parse("^GET /healthz|never seen").expect("a pattern"),
        sample: Sample::parse("user_id:1").expect("a sample"),
        ..off()
    };
    let redacted = Rules { redact: Redactions::parse("all").expect("rules"), ..off() };
    for (what, rules) in [("off", off()), ("judge", judged), ("redact", redacted)] {
        let mut group = c.benchmark_group(format!("process/{what}"));
        for corpus in corpora() {
            group.throughput(Throughput::Elements(u64::from(corpus.lines)));
            let mut parser = Parser::new(Settings { process: rules.clone(), ..Settings::default() }, &Metrics::new());
            let source = source();
            let mut out = Records::new(source.clone());
            let whole = chunk(&corpus, &source);
            group.bench_function(corpus.name, |b| {
                b.iter_batched_ref(
                    || whole.clone(),
                    |chunk| {
                        out.reset(source.clone());
                        read_all(&mut parser, chunk, &mut out);
                    },
                    BatchSize::SmallInput,
                );
            });
            verify(&corpus, &out);
        }
        group.finish();
    }
}

/// The envelope alone: text, stream and time of each line.
fn envelope(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope/bytes");
    for corpus in corpora() {
        group.throughput(Throughput::Bytes(corpus.data.len() as u64));
        let mut envelopes = bench_support::Envelopes::new();
        let (lines, bytes) = envelopes.read(&corpus.data);
        let expected = corpus.data.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(|line| {
            let entry: serde_json::Value = serde_json::from_slice(line).expect("an entry");
            entry["log"].as_str().map_or(0, str::len) - 1
        });
        assert_eq!((lines, bytes), (corpus.lines as usize, expected.sum()), "{}", corpus.name);
        group.bench_function(corpus.name, |b| b.iter(|| envelopes.read(black_box(&corpus.data))));
    }
    group.finish();
}

/// Why the walk and not simd-json's tape: one Go line, read to its end by both.
fn json(c: &mut Criterion) {
    let line = go(&mut Random(0x5eed_5eed));
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Bytes(line.len() as u64));
    assert_eq!(bench_support::members(line.as_bytes()), Some(11));
    group.bench_function("walk", |b| b.iter(|| bench_support::members(black_box(line.as_bytes()))));
    let mut buffers = simd_json::Buffers::new(line.len());
    let (mut tape, mut copy) = (simd_json::Tape(Vec::new()), Vec::new());
    group.bench_function("simd-json tape", |b| {
        b.iter(|| {
            copy.clear();
            copy.extend_from_slice(black_box(line.as_bytes()));
            let mut filled = std::mem::replace(&mut tape, simd_json::Tape(Vec::new())).reset();
            let good = simd_json::fill_tape(&mut copy, &mut buffers, &mut filled).is_ok();
            assert!(good && filled.0.len() == 23);
            tape = filled.reset();
        });
    });
    group.finish();
}

/// Reads the corpus so many times and does nothing else, for valgrind to count.
fn read_for_valgrind(name: &str, explicit: bool, times: u32) {
    let corpora = corpora_called(|other| other == name);
    let corpus = corpora.first().expect("a corpus of that name");
    let (mut parser, source) = (parser(corpus, explicit), source());
    let (mut out, whole) = (Records::new(source.clone()), chunk(corpus, &source));
    for _ in 0..times {
        out.reset(source.clone());
        read_all(&mut parser, black_box(&mut whole.clone()), &mut out);
    }
    verify(corpus, &out);
}

/// What valgrind counts of this program, run anew to read the corpus so many times.
fn counted(name: &str, how: &str, times: u32) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args(["read", name, how, &times.to_string()]).output().expect("valgrind, to be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.unwrap_or_else(|| panic!("valgrind: {said}"))
}

/// The table of the head comment.
#[allow(clippy::print_stdout)] // what it is for
fn instructions(names: &[String]) {
    const TIMES: [u32; 2] = [3, 13];
    println!("{:10} {:>10} {:>10} {:>7}", "", "explicit", "automatic", "more");
    for corpus in corpora_called(|name| names.is_empty() || names.iter().any(|wanted| wanted == name)) {
        let [explicit, automatic] = ["explicit", "automatic"].map(|how| {
            let [few, many] = TIMES.map(|times| counted(corpus.name, how, times));
            (many - few) as f64 / f64::from((TIMES[1] - TIMES[0]) * corpus.lines)
        });
        let more = (automatic / explicit - 1.0) * 100.0;
        println!("{:10} {explicit:10.0} {automatic:10.0} {more:+6.1}%", corpus.name);
    }
}

criterion_group!(benches, records, process, envelope, json);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instructions", ..] => instructions(&args[1..]),
        ["read", name, how, times] => read_for_valgrind(name, how == "explicit", times.parse().expect("a number")),
        _ => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
