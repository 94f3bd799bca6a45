//! Processing as the parser's callers see it: lines in, records and settled ranges out.

use super::*;
use crate::parser::tests::{ROOMY, chunk_of, decode};
use crate::parser::{Parser, Progress, Settings};
use crate::position::Generation;
use proptest::prelude::*;

/// A parser with rules, and what it has made of the lines that it was given.
struct Bench {
    parser: Parser,
    metrics: Metrics,
    source: Arc<Source>,
    out: Records,
    at: u64,
}

fn rules(keys: &[(&str, &str)]) -> Rules {
    let mut rules = Rules::default();
    for (key, text) in keys {
        match *key {
            "min_level" => rules.min_level = min_level(text).unwrap(),
            "keep" => rules.keep = Patterns::parse(text).unwrap(),
            "drop" => rules.drop = Patterns::parse(text).unwrap(),
            "sample" => rules.sample = Sample::parse(text).unwrap(),
            "rate" => rules.rate = Rate::parse(text).unwrap(),
            "redact" => rules.redact = Redactions::parse(text).unwrap(),
            key => panic!("{key}"),
        }
    }
    rules
}

impl Bench {
    fn new(keys: &[(&str, &str)]) -> Self {
        Self::with(keys, Steering::default())
    }

    fn with(keys: &[(&str, &str)], steering: Steering) -> Self {
        let metrics = Metrics::new();
        let parser = Parser::new(Settings { process: rules(keys), ..Settings::default() }, &metrics);
        let container = Container { steering, ..(*crate::parser::tests::source(None).container).clone() };
        let source = Arc::new(Source { container: Arc::new(container), generation: Generation(7) });
        Self { parser, metrics, out: Records::new(source.clone()), source, at: 0 }
    }

    /// Lines, each written in the given millisecond.
    fn lines<'a>(&mut self, lines: impl IntoIterator<Item = (u64, &'a str)>) -> &mut Self {
        let mut data = Vec::new();
        for (millis, line) in lines {
            let log = serde_json::to_string(&format!("{line}\n")).unwrap();
            let (minute, second, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
            let time = format!("2026-11-21T13:{minute:02}:{second:02}.{rest:03}000000Z");
            data.extend(format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"{time}\"}}\n").into_bytes());
        }
        let len = data.len() as u64;
        let mut chunk = chunk_of(&self.source, data, self.at);
        assert_eq!(self.parser.chunk(&mut chunk, &mut self.out, ROOMY), Progress::Done);
        self.at += len;
        self
    }

    fn plain<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.lines(lines.into_iter().map(|line| (0, line)))
    }

    fn messages(&self) -> Vec<String> {
        decode(&self.out).into_iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect()
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.metrics.lines_dropped.with_label_values(&[reason]).get()
    }

    /// Everything that was read is covered by a record or settled.
    fn assert_all_settled(&self) {
        let mut all = self.out.ranges.clone();
        for (_, ranges) in &self.out.settled {
            all.union(ranges);
        }
        assert_eq!(all.as_slice(), [Range::new(0, self.at)]);
    }
}

#[test]
fn levels_and_patterns() {
    let lines = ["DEBUG a", "INFO b", "GET /healthz 200", "ERROR c", "no level"];
    let check = |keys: &[(&str, &str)], expected: &[&str], dropped: &[(&str, u64)]| {
        let mut bench = Bench::new(keys);
        bench.plain(lines);
        assert_eq!(bench.messages(), expected, "{keys:?}");
        for (reason, count) in dropped {
            assert_eq!(bench.dropped(reason), *count, "{keys:?} {reason}");
        }
        let sum: u64 = Reason::ALL.iter().map(|reason| bench.dropped(reason.name())).sum();
        assert_eq!(sum + u64::from(bench.out.lines), 5, "{keys:?}");
    };
    check(&[], &lines, &[]);
    check(&[("min_level", "INFO")], &["INFO b", "GET /healthz 200", "ERROR c", "no level"], &[("level", 1)]);
    check(&[("min_level", "error")], &["GET /healthz 200", "ERROR c", "no level"], &[("level", 2)]);
    check(&[("min_level", "off")], &lines, &[]);
    check(&[("drop", "healthz\n^DEBUG")], &["INFO b", "ERROR c", "no level"], &[("drop", 2)]);
    check(&[("keep", "(?i)error|level")], &["ERROR c", "no level"], &[("keep", 3)]);
    check(&[("keep", "level"), ("drop", "no"), ("min_level", "warn")], &[], &[("level", 2), ("drop", 1), ("keep", 2)]);
}

#[test]
fn patterns_see_the_message_as_it_is_sent() {
    let mut bench = Bench::new(&[("drop", r#"^red "x"$"#)]);
    bench.plain([
        "\u{1b}[31mred\u{1b}[0m \"x\"",
        r#"{"level":"info","msg":"red \"x\""}"#,
        r#"{"level":"info","msg":"blue"}"#,
    ]);
    assert_eq!(bench.messages(), ["blue"]);
}

/// What the cover of blank lines does for them: a restart does not read them again.
#[test]
fn what_is_left_out_is_in_the_next_cover_and_settled_where_there_is_none() {
    let mut bench = Bench::new(&[("drop", "^d")]);
    bench.plain(["a", "d1", "d2", "b"]);
    assert_eq!(bench.out.settled, [], "the cover of b has it all");
    bench.assert_all_settled();
    bench.plain(["d3"]);
    assert_eq!(bench.out.settled, [], "records are on their way: no hole behind them yet");
    let mut bench = Bench::new(&[("drop", "^d")]);
    for _ in 0..3 {
        bench.plain(["d1", "d2"]);
        bench.assert_all_settled();
    }
    assert!(bench.out.is_empty());
    assert_eq!(bench.out.settled.len(), 1, "one range, however many lines");
    bench.plain(["b"]);
    assert_eq!(bench.out.ranges.as_slice(), [Range::new(0, bench.at)], "and the receiver gets it without holes");
}

#[test]
fn parts_that_are_left_out_settle_the_generations_they_stand_in() {
    let mut bench = Bench::new(&[("drop", "^d")]);
    let part = |log: &str| {
        let log = serde_json::to_string(log).unwrap();
        format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-11-21T13:00:00Z\"}}\n").into_bytes()
    };
    let long = format!("d{}", "x".repeat(crate::limits::DOCKER_PART_BYTES - 1));
    let first = part(&long);
    let len = first.len() as u64;
    bench.parser.chunk(&mut chunk_of(&bench.source, first, 0), &mut bench.out, ROOMY);
    bench.parser.end(&bench.source);
    let next = Arc::new(Source { container: bench.source.container.clone(), generation: Generation(8) });
    let mut out = Records::new(next.clone());
    let second = part("end\n");
    let second_len = second.len() as u64;
    bench.parser.chunk(&mut chunk_of(&next, second, 0), &mut out, ROOMY);
    assert!(out.is_empty() && out.carried.is_empty() && bench.out.is_empty());
    let mut settled: Vec<_> =
        out.settled.iter().map(|(generation, ranges)| (generation.0, ranges.to_string())).collect();
    settled.sort();
    assert_eq!(settled, [(7, format!("0-{len}")), (8, format!("0-{second_len}"))]);
    assert_eq!((bench.dropped("drop"), bench.parser.held_lines()), (2, 0));
}

#[test]
fn sampling_is_the_same_everywhere_and_spares_errors_and_what_has_no_field() {
    let sample = Sample::parse("trace_id:10").unwrap().unwrap();
    let taken: Vec<u32> = (0..60).filter(|n| sample.takes(n.to_string().as_bytes())).collect();
    assert_eq!(taken, SAMPLED, "a change would make two versions keep different traces");
    let share = (0..100_000u32).filter(|n| sample.takes(format!("{n:032x}").as_bytes())).count();
    assert!((9_500..10_500).contains(&share), "{share}");

    let line = |level: &str, n: u32| format!(r#"{{"level":"{level}","msg":"m{n}","order":"{n}","user":{{"id":{n}}}}}"#);
    let lines: Vec<String> = (0..60).map(|n| line("info", n)).collect();
    let mut bench = Bench::new(&[("sample", "order:10")]);
    bench.plain(lines.iter().map(String::as_str));
    let expected: Vec<String> = SAMPLED.iter().map(|n| format!("m{n}")).collect();
    assert_eq!(bench.messages(), expected);
    assert_eq!(bench.dropped("sample"), 60 - SAMPLED.len() as u64);
    bench.plain([r#"{"level":"info","msg":"last"}"#]).assert_all_settled();

    let skipped = (0..60).find(|n| !SAMPLED.contains(n)).unwrap();
    let (error, fatal) = (line("error", skipped), line("fatal", skipped));
    let without = r#"{"level":"info","msg":"none"}"#;
    let kept = |sample: &str| {
        let mut bench = Bench::new(&[("sample", sample)]);
        bench.plain([error.as_str(), &fatal, without]).messages().len()
    };
    assert_eq!((kept("order:10"), kept("order:10:errors")), (3, 1));
}

/// Of the numbers below 60, those that `…:10` takes.
const SAMPLED: &[u32] = &[2, 13, 20, 24, 41, 42, 50];

#[test]
fn the_rate_is_told_of_in_band_before_the_next_record() {
    let mut bench = Bench::new(&[("rate", "2"), ("min_level", "info")]);
    bench.lines([(100, "a"), (200, "b"), (300, "c"), (400, "DEBUG x"), (550, "d"), (1_000, "DEBUG y"), (1_100, "e")]);
    assert_eq!(bench.messages(), ["a", "b", "suppressed 2 lines in 250 ms: more than the rate allows", "e"]);
    let record = decode(&bench.out).remove(2);
    assert_eq!((&record["service_type"], &record["log_type"]), (&"rask".into(), &"suppressed".into()));
    assert_eq!((&record["level"], &record["stream"]), (&"Warn".into(), &"stderr".into()));
    assert_eq!(record["timestamp"], "2026-11-21T13:00:00.550000000Z");
    assert_eq!(record["fields"], serde_json::json!({"suppressed_lines": "2", "suppressed_for_ms": "250"}));
    assert_eq!((bench.dropped("rate"), bench.dropped("level"), bench.out.lines), (2, 2, 3));
    bench.assert_all_settled();
    assert_eq!(bench.parser.overdue_at(), None);
}

#[test]
fn the_rate_is_told_of_though_no_line_comes() {
    let mut bench = Bench::new(&[("rate", "1")]);
    bench.lines([(0, "a"), (1, "b"), (2, "c")]);
    assert_eq!(bench.messages(), ["a"]);
    assert_eq!(bench.out.settled, [], "a crash now must not lose the count");
    let (at, source) = bench.parser.overdue_at().expect("something is to be told");
    assert!(at > Instant::now() - TELL_AFTER && at <= Instant::now() + TELL_AFTER);
    let source = source.clone();
    assert!(bench.parser.suppresses(&source));
    assert_eq!(bench.parser.waiting(&source.container), Some(source.clone()));
    assert_eq!(bench.parser.unreported(), Some(source.clone()));
    bench.parser.report(&source, &mut bench.out);
    assert_eq!(bench.messages()[1..], ["suppressed 2 lines in 1 ms: more than the rate allows"]);
    bench.assert_all_settled();
    assert_eq!((bench.parser.overdue_at(), bench.parser.unreported()), (None, None));
    // The verdicts go by Docker's times: the second is not over.
    bench.lines([(3, "d"), (1_000, "e")]);
    assert_eq!(bench.messages()[2..], ["suppressed 1 lines in 0 ms: more than the rate allows", "e"]);
}

#[test]
fn labels_go_before_the_configuration_but_cannot_uncover_secrets() {
    let label = |text: &str| Some(text.to_owned());
    let global = [("min_level", "error"), ("drop", "^x"), ("redact", "email")];
    let lines = ["INFO a@b.io", "ERROR tel 555-1234", "x"];
    let check = |steering: Steering, expected: &[&str]| {
        let mut bench = Bench::with(&global, steering.clone());
        assert_eq!(bench.plain(lines).messages(), expected, "{steering:?}");
    };
    let none = Steering::default;
    check(none(), &["ERROR tel 555-1234"]);
    check(Steering { min_level: label("off"), ..none() }, &["INFO [redacted:email]", "ERROR tel 555-1234"]);
    check(Steering { drop: label("off"), ..none() }, &["ERROR tel 555-1234", "x"]);
    check(Steering { drop: label("("), min_level: label("loud"), ..none() }, &["ERROR tel 555-1234"]);
    check(
        Steering { redact: label("off"), min_level: label("info"), ..none() },
        &["INFO [redacted:email]", "ERROR tel 555-1234"],
    );
    check(Steering { redact: label(r"phone=\d{3}-\d{4}"), ..none() }, &["ERROR tel [redacted:phone]"]);
    check(Steering { rate: label("1"), ..none() }, &["ERROR tel 555-1234"]);
    check(Steering { keep: label("INFO"), sample: label("order"), ..none() }, &[]);
}

#[test]
fn problems_of_labels_name_the_label() {
    let steering = Steering { rate: Some("0".into()), redact: Some("off".into()), ..Steering::default() };
    let (_, problems) = rules(&[("redact", "card")]).with_labels(&steering);
    let labels: Vec<_> = problems.iter().map(|(label, _)| *label).collect();
    assert_eq!(labels, ["rask.rate", "rask.redact"]);
    assert!(problems[1].1.contains("only add"), "{problems:?}");
    assert!(rules(&[]).with_labels(&steering).1.len() == 1, "nothing to switch off");
}

#[test]
fn errors_say_what_where_and_how_but_no_pattern() {
    let check = |result: Result<(), String>, says: &[&str]| {
        let problem = result.unwrap_err();
        assert!(says.iter().all(|word| problem.contains(word)), "{problem}");
        assert!(!problem.contains("s3cret"), "{problem}");
    };
    let patterns = |text: &str| Patterns::parse(text).map(|_| ());
    check(patterns("a\ns3cret("), &["pattern 2", "at character 7", "unclosed group", "\\"]);
    check(patterns("s3cret(?=x)"), &["pattern 1", "look-around", "linear"]);
    check(patterns("é[s3cret"), &["pattern 1", "at character 2"]);
    check(patterns(&"s3cret".repeat(200)), &["pattern 1", "1024"]);
    check(patterns(r"(\w{100}){100}"), &["pattern 1", "memory", "(?-u"]);
    check(patterns(&"a\n".repeat(17)), &["17", "16"]);
    let redact = |text: &str| Redactions::parse(text).map(|_| ());
    check(redact("email,s3cret"), &["line 1", "url-password", "name=regex"]);
    check(redact("email, x=s3cret"), &["pattern 1", "name"]);
    check(redact("x=s3cret["), &["pattern 1", "at character 7"]);
    check(redact("email=s3cret"), &["email", "already"]);
    check(redact("a=s3cret\na=b"), &["pattern 2", "\"a\""]);
    check(redact("a=s3cret|"), &["empty text"]);
    check(Sample::parse("x").map(|_| ()), &["x", ":N"]);
    check(Sample::parse("x:0").map(|_| ()), &["0"]);
    check(Sample::parse(":5").map(|_| ()), &["name"]);
    check(Rate::parse("0").map(|_| ()), &["0", "1 to"]);
    check(Rate::parse("10:5").map(|_| ()), &["burst", "rate"]);
    check(Rate::parse("+1").map(|_| ()), &["+1"]);
    check(min_level("loud").map(|_| ()), &["loud"]);
    assert_eq!(Rate::parse("5"), Ok(Some(Rate { per_second: 5, burst: 5 })));
    assert_eq!(Rate::parse(" 5:9 "), Ok(Some(Rate { per_second: 5, burst: 9 })));
    assert!(patterns(r"\w+@\w+\.com|(?i)straße \d{1,9}").is_ok());
}

/// One record with the given redaction.
fn redacted(rules: &str, line: &str) -> serde_json::Map<String, serde_json::Value> {
    let mut bench = Bench::new(&[("redact", rules)]);
    bench.plain([line]);
    decode(&bench.out).remove(0)
}

#[test]
fn every_string_that_comes_from_the_line_is_covered() {
    let record = redacted(
        "all",
        r#"{"level":"info","msg":"mail to bob@example.com\nBearer abc123","password":"hunter2","user":{"email":"a@b.io","pin":4111111111111111,"deep":"{\"token\":\"x\\ny\",\"n\":1}"},"auth":["Bearer abc.def"],"bob@example.com":"key","path":"/login?token=abc&x=1","method":"GET","status":200,"user_agent":"bot (+bot@b.io)"}"#,
    );
    assert_eq!(record["message"], "mail to [redacted:email]\nBearer [redacted:bearer]");
    assert_eq!(record["path"], "/login?token=[redacted:password]&x=1");
    assert_eq!(record["user_agent"], "bot ([redacted:email])");
    let fields = &record["fields"];
    assert_eq!(fields["password"], "[redacted:password]");
    assert_eq!(fields["auth"], r#"["Bearer [redacted:bearer]"]"#);
    assert_eq!(fields["bob@example.com"], "key", "keys are not values");
    let user: serde_json::Value = serde_json::from_str(fields["user"].as_str().unwrap()).expect("still JSON");
    assert_eq!((&user["email"], &user["pin"]), (&"[redacted:email]".into(), &"[redacted:card]".into()));
    assert_eq!(user["deep"], r#"{"token":"[redacted:password]","n":1}"#);
    assert_eq!((&record["service_name"], &record["method"]), (&"api".into(), &"GET".into()));
}

#[test]
fn a_bracket_at_the_beginning_makes_no_json() {
    let record = redacted("all", "[INFO] password=a, Authorization: Bearer abc123 {x}");
    assert_eq!(record["message"], "[INFO] password=[redacted:password], Authorization: Bearer [redacted:bearer] {x}");
}

#[test]
fn what_is_no_line_of_dockers_is_covered_too() {
    let mut bench = Bench::new(&[("redact", "all"), ("drop", "torn")]);
    let data = b"{\"log\":\"torn bob@example.com token=abc\\n\",\"stream\":\"st\n".to_vec();
    bench.parser.chunk(&mut chunk_of(&bench.source, data, 0), &mut bench.out, ROOMY);
    let message = bench.messages().remove(0);
    assert!(message.contains("[redacted:email]") && message.contains("[redacted:password]"), "{message}");
}

#[test]
fn patterns_of_a_person_and_their_counts() {
    let rules = "order=ORD-(\\d{4})\\d+ => order $1…\nemail\nplain=[0-9]{3} => <n>";
    let mut bench = Bench::new(&[("redact", rules)]);
    bench.plain(["ORD-12345678 to a@b.io and b@c.io, 123"]);
    assert_eq!(bench.messages(), ["order <n>4… to [redacted:email] and [redacted:email], <n>"]);
    let count = |rule: &str| bench.metrics.redactions.with_label_values(&[rule]).get();
    assert_eq!((count("order"), count("email"), count("plain")), (1, 2, 2));
    assert_eq!(super::Redactions::parse(rules).unwrap().names(), "order,plain,email");
}

fn secret() -> impl Strategy<Value = (&'static str, String, String)> {
    let word = "[a-zA-Z0-9]{12,20}";
    prop_oneof![
        word.prop_map(|s| ("password", format!("password={s}"), s)),
        word.prop_map(|s| ("password", format!("\"client_secret\": \"{s}\""), s)),
        word.prop_map(|s| ("url-password", format!("postgres://app:{s}@db:5432/x"), s)),
        "[a-z]{4,8}[0-9]{6,20}".prop_map(|s| ("bearer", format!("Authorization: Bearer {s}"), s)),
        "AKIA[0-9A-Z]{16}".prop_map(|s| ("cloud-key", s.clone(), s)),
        "ghp_[0-9a-zA-Z]{36}".prop_map(|s| ("cloud-key", s.clone(), s)),
        "[a-z]{3,8}[.][a-z]{2,6}@[a-z]{3,9}[.](com|org|de)".prop_map(|s| ("email", s.clone(), s)),
        Just(("card", "4111 1111 1111 1111".to_owned(), "4111 1111 1111 1111".to_owned())),
        Just(("basic", "Basic dXNlcjpwYXNzd29yZA==".to_owned(), "dXNlcjpwYXNzd29yZA".to_owned())),
    ]
}

proptest! {
    /// Wherever a secret stands, it is gone, the record is one, and what is around it is as it was.
    #[test]
    fn planted_secrets_are_gone(
        (rule, text, secret) in secret(),
        before in "[ -~é\\n\\t]{0,20}", after in "[ -~é\\n\\t]{0,20}",
        depth in 0usize..4,
        plain: bool,
    ) {
        // What could not be told from the secret itself is kept away from it by white space.
        let before = before.replace(['"', '\''], "");
        let text = format!("{before} {text} {after}");
        let mut value = serde_json::Value::String(text.clone());
        for level in 0..depth {
            value = match level % 3 {
                0 => serde_json::json!({ "inner": value, "n": 1 }),
                1 => serde_json::json!([value, null]),
                _ => serde_json::json!({ "text": value.to_string() }),
            };
        }
        let line = if plain { text.replace('\n', " ") } else {
            serde_json::json!({"level": "info", "msg": "m", "v": value}).to_string()
        };
        for rules in [rule, "all"] {
            let mut bench = Bench::new(&[("redact", rules)]);
            bench.plain([line.as_str()]);
            let sent = String::from_utf8(bench.out.body.clone()).unwrap();
            prop_assert!(!sent.contains(&secret), "{rules}: {sent}");
            let records = decode(&bench.out);
            prop_assert_eq!(records.len(), 1);
            if !plain && depth > 0 {
                let value = records[0]["fields"]["v"].as_str().unwrap();
                prop_assert!(serde_json::from_str::<serde_json::Value>(value).is_ok(), "{value}");
            }
        }
    }

    /// Any text: the record stays one, and without a rule that finds something it stays the same.
    #[test]
    fn redaction_leaves_records(text in "[ -~\\x00-\\x1fé\u{1f600}]{0,60}", json: bool) {
        let line = if json { serde_json::json!({"msg": text, "a": {"b": text}}).to_string() } else { text };
        let run = |keys: &[(&str, &str)]| {
            let mut bench = Bench::new(keys);
            bench.plain([line.as_str()]);
            (decode(&bench.out), bench.metrics)
        };
        let ((redacted, metrics), (as_is, _)) = (run(&[("redact", "all\nnever=\\x{10ffff}")]), run(&[]));
        prop_assert_eq!(redacted.len(), as_is.len());
        let found: u64 = Builtin::ALL.iter().map(|b| metrics.redactions.with_label_values(&[b.name()]).get()).sum();
        prop_assert_eq!(found == 0, redacted == as_is);
    }

    /// Every line is a record, told of as suppressed, or counted under another reason.
    #[test]
    fn the_books_balance(
        rate in 1u64..4,
        lines in proptest::collection::vec((0u64..3_000, prop_oneof![Just("DEBUG x"), Just("INFO y"), Just("z")]), 1..80),
        cuts in proptest::collection::vec(1usize..20, 1..10),
    ) {
        let mut times: Vec<u64> = lines.iter().map(|(time, _)| *time).collect();
        times.sort_unstable();
        let lines: Vec<(u64, &str)> = times.into_iter().zip(lines.iter().map(|(_, line)| *line)).collect();
        let rate = rate.to_string();
        let mut bench = Bench::new(&[("min_level", "info"), ("rate", &rate)]);
        let (mut rest, mut cuts) = (&lines[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            bench.lines(chunk.iter().copied());
            rest = behind;
        }
        while let Some(source) = bench.parser.unreported() {
            bench.parser.report(&source, &mut bench.out);
        }
        let told: u64 = decode(&bench.out).iter().filter(|record| record["log_type"] == "suppressed")
            .map(|record| record["fields"]["suppressed_lines"].as_str().unwrap().parse::<u64>().unwrap()).sum();
        prop_assert_eq!(told, bench.dropped("rate"));
        prop_assert_eq!(told + bench.dropped("level") + u64::from(bench.out.lines), lines.len() as u64);
        // Behind the last record there may be lines that the next one covers.
        bench.lines([(59_000, "INFO last")]);
        bench.assert_all_settled();
    }
}
