//! The verdict on a history: what came against what was written.
//!
//! - Every unit came once, in the order in which the log has it complete, whole.
//! - One that the receiver refused stands in the dead letters instead. After a crash or a lost answer, when nobody knows whether
//!   it was refused before, perhaps more than once, or delivered as well.
//! - One is missing only where its file went away before anything safe held it, and then a gap record follows the last one
//!   that came before, unless nothing was left by which anybody could know.
//! - No gap is reported where nothing can be missing.
//! - The receiver saw nothing that breaks the wire format.

use super::docker::{Container, Docker, MAX_BODY, REFUSED, Unit};
use rask::receiver::Receiver;
use rask_record::Record;
use std::collections::HashMap;
use std::path::Path;

pub fn judge(docker: &Docker, receiver: &Receiver, state: &Path, doubtful: bool) {
    let records = receiver.records();
    // Garbage has the time of its neighbor, a gap record no bytes of the log: neither is made alike by another process. Nor need the
    // gap record have come: the receiver takes no batch a second time whose lines it has.
    let odd = |id: &str| {
        let is_odd = |record: &Record| matches!(record.log_type.as_str(), "raw" | "gap");
        records.iter().any(|record| record.container_id == id && is_odd(record))
    };
    let unlike: Vec<_> = docker.containers.iter().filter(|one| doubtful && (one.may_gap || odd(&one.id))).collect();
    let mut violations = receiver.ledger(|ledger| ledger.violations().to_vec());
    violations.retain(|violation| {
        !violation.starts_with("not the same bytes again") || !unlike.iter().any(|one| violation.contains(&one.id))
    });
    assert_eq!(violations, [] as [String; 0]);
    let dead = dead_letters(state);
    for container in &docker.containers {
        let own = |record: &&Record| record.container_id == container.id;
        let records: Vec<_> = records.iter().filter(own).collect();
        one(container, &records, &dead, doubtful);
    }
}

fn one(container: &Container, records: &[&Record], dead: &HashMap<String, usize>, doubtful: bool) {
    let numbers: HashMap<&str, usize> =
        container.units.iter().enumerate().map(|(i, unit)| (unit.token.as_str(), i)).collect();
    let mut came = vec![None; container.units.len()];
    let (mut gaps, mut last) = (Vec::new(), None);
    for (at, record) in records.iter().enumerate() {
        if record.log_type == "gap" {
            gaps.push(at);
            continue;
        }
        let Some(token) = token_of(&record.message) else {
            let unit = rest_of(container, &record.message);
            assert!(unit.excused && unit.lines.len() > 1, "{} came in pieces", unit.token);
            continue;
        };
        let number = *numbers.get(token).unwrap_or_else(|| panic!("nobody wrote {:.200}", record.message));
        assert_eq!(came[number], None, "{token} came twice");
        came[number] = Some(at);
        // One that was refused before comes when it comes.
        if !dead.contains_key(token) {
            assert!(last < Some(number), "{token} came after {}", container.units[last.unwrap()].token);
            last = Some(number);
        }
        if let Some(message) = &container.units[number].message {
            let unit = &container.units[number];
            let cut = unit.excused && unit.lines.len() > 1 && message.starts_with(&record.message);
            assert!(record.message == *message || cut, "{token} is not whole: {:.100}", record.message);
        }
    }
    for (i, unit) in container.units.iter().enumerate() {
        let letters = dead.get(&unit.token).copied().unwrap_or(0);
        let refusable = |message: &String| message.contains(REFUSED) || message.len() > MAX_BODY / 2;
        let refusable = unit.message.as_ref().is_some_and(refusable);
        assert!(letters == 0 || refusable, "{} was not to be refused", unit.token);
        let copies = usize::from(came[i].is_some()) + letters;
        assert!(copies <= 1 || doubtful, "{} is delivered or refused {copies} times", unit.token);
        if copies > 0 {
            continue;
        }
        assert!(unit.excused, "{} is missing: {unit:?}", unit.token);
        // What was split may have begun to be missing long before it was complete.
        let begun = unit.lines.first().map(|(generation, range)| (*generation, range.start));
        let ended = |other: &Unit| other.lines.last().map(|(generation, range)| (*generation, range.end));
        let earlier = (0..i).filter(|other| ended(&container.units[*other]) <= begun);
        let before = earlier.filter_map(|other| came[other]).max();
        let told = gaps.iter().any(|gap| before.is_none_or(|before| *gap > before));
        assert!(told || unit.untold, "{} is missing and nobody says so: {unit:?}", unit.token);
    }
    assert!(gaps.is_empty() || container.may_gap, "a gap is reported where nothing can be missing");
}

/// The token of a message, or of what there is of it from the beginning.
fn token_of(message: &str) -> Option<&str> {
    let from = message.find('<')?;
    message[from..].find('>').map(|len| &message[from..=from + len])
}

/// Whose message this is the rest of, when the beginning is gone.
fn rest_of<'a>(container: &'a Container, message: &str) -> &'a Unit {
    let token = message.find('>').map(|len| message[..=len].replace('{', "<"));
    let unit = container.units.iter().find(|unit| Some(&unit.token) == token.as_ref());
    unit.unwrap_or_else(|| panic!("nobody wrote {message:.200}"))
}

fn dead_letters(state: &Path) -> HashMap<String, usize> {
    let text = std::fs::read_to_string(state.join("dead/dead-letters.ndjson")).unwrap_or_default();
    let mut tokens = HashMap::new();
    for line in text.lines() {
        // One that a crash has torn was never answered for.
        let Ok(letter) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let record = Record::decode(letter["record"].as_str().unwrap().as_bytes()).unwrap();
        *tokens.entry(token_of(&record.message).expect("a token").to_owned()).or_default() += 1;
    }
    tokens
}
