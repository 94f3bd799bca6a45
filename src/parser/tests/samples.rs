//! Lines as real programs wrote them (`samples/README.md`), each with the record it becomes beside it, and what holds for all
//! of them: nothing lost, the same answer with any history, and explicitly what automatically.

use super::*;
use crate::parser::formats::{self, Scratch, detect};
use std::path::{Path, PathBuf};

/// The sample files: `samples/<name>.log` and `samples/<name>.ndjson`.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/parser/tests/samples");
    let all = std::fs::read_dir(folder).expect("the folder of samples").map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    logs.sort();
    assert!(logs.len() >= 20, "{logs:?}");
    logs
}

pub(in crate::parser) fn lines() -> Vec<String> {
    let texts = files().into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The record without what is the same for every line.
fn own(mut record: Map<String, Value>) -> Map<String, Value> {
    for key in ["timestamp", "stream", "container_id", "service_name", "service_group"] {
        record.remove(key);
    }
    record
}

/// Each line becomes the record on the same line of the other file. `RASK_SAMPLES=write` writes them, to be read and committed.
#[test]
fn records_of_samples() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let got: Vec<Map<String, Value>> = text.lines().map(|line| own(one(None, line))).collect();
        let expected = path.with_extension("ndjson");
        if std::env::var_os("RASK_SAMPLES").is_some() {
            let lines: String = got.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
            std::fs::write(&expected, lines).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap();
        assert_eq!(expected.lines().count(), got.len(), "{}", path.display());
        for ((line, got), expected) in text.lines().zip(got).zip(expected.lines()) {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(Value::Object(got), expected, "{}: {line}", path.display());
        }
    }
}

/// A stream that changes its format with every line gives the same records as a stream for each line.
#[test]
fn records_do_not_depend_on_history() {
    let lines = lines();
    let mut order: Vec<usize> = (0..lines.len()).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut order);
    let (mut parser, _) = parser(None, 1 << 20);
    let source = super::multiline::labelled(Some("off"), 7);
    let mut out = Records::new(source.clone());
    let data: Vec<u8> = order.iter().flat_map(|at| docker(&format!("{}\n", lines[*at]), "stdout")).collect();
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    for (record, at) in decode(&out).into_iter().zip(order) {
        // What continues a PostgreSQL message is the exception.
        if !lines[at].starts_with('\t') {
            assert_eq!(record, one(None, &lines[at]), "{}", lines[at]);
        }
    }
}

/// Asked for by name, a line becomes the same record as automatically, but for the name.
#[test]
fn explicit_is_as_automatic() {
    for line in lines() {
        let automatic = own(one(None, &line));
        let family = automatic["service_type"].as_str().unwrap();
        if family == "plain" || automatic["fields"].get("parse_error").is_some() {
            continue;
        }
        let format = Format::from_name(family).expect(family);
        assert_eq!(own(one(Some(format), &line)), automatic, "{line}");
    }
}

/// Every value of a line is in its record.
#[test]
fn nothing_of_a_sample_is_lost() {
    let lost: Vec<String> = lines().iter().flat_map(|line| crate::parser::fuzz_support::lost(line, None)).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

/// A line may end anywhere, as long ones do that are cut: every reader says what it is or that it is none, and reads no further.
#[test]
fn lines_that_are_cut() {
    let mut scratch = Scratch::default();
    let mut taken = 0;
    for line in lines() {
        for end in (1..=line.len().min(100)).filter(|end| line.is_char_boundary(*end)) {
            let text = &line.as_bytes()[..end];
            if let Some((draft, format)) = detect::read(text, &mut scratch) {
                let named = Format::of_service_type(draft.service_type) == format || format == Format::Json;
                assert!(named, "{format:?} {:?}", &line[..end]);
                taken += 1;
            }
            for format in Format::ALL {
                if let Ok(draft) = formats::parse(format, text, &mut scratch) {
                    assert_eq!(draft.service_type, format.service_type(), "{:?}", &line[..end]);
                }
            }
        }
    }
    assert!(taken > 10_000, "{taken}");
}
