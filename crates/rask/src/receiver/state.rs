//! The account on disk: one JSON file, replaced as a whole before each answer. Version 1. Latencies and records are not in it.

use super::committed::Committed;
use super::ledger::{Ledger, Sequence, Totals};
use rask_log_forwarder::position::Ranges;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    totals: Totals,
    /// Container, generation, ranges.
    committed: Vec<(String, u64, String)>,
    /// Container, generation, hash: bodies of batches that cover nothing, oldest first.
    #[serde(default)]
    bodies: Vec<(String, u64, u64)>,
    sequences: Vec<StoredSequence>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSequence {
    service: String,
    stream: String,
    run: String,
    records: u64,
    duplicates: u64,
    reordered: u64,
    seen: String,
}

/// Writes the account beside `path`, makes it durable and moves it there.
pub(super) fn save(path: &Path, ledger: &Ledger, committed: &Committed) -> io::Result<()> {
    let stored = Stored {
        version: 1,
        totals: ledger.totals,
        committed: committed
            .sources()
            .map(|(container, generation, ranges)| (container.to_owned(), generation, ranges.to_string()))
            .collect(),
        bodies: committed
            .sources()
            .flat_map(|(container, generation, _)| {
                committed.bodies(container, generation).map(move |body| (container.to_owned(), generation, body))
            })
            .collect(),
        sequences: ledger
            .sequences
            .iter()
            .map(|sequence| StoredSequence {
                service: sequence.service.clone(),
                stream: sequence.stream.clone(),
                run: sequence.run.clone(),
                records: sequence.records,
                duplicates: sequence.duplicates,
                reordered: sequence.reordered,
                seen: sequence.seen.to_string(),
            })
            .collect(),
    };
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&stored)?)?;
    file.sync_data()?;
    fs::rename(beside, path)
}

/// Reads the account into the two empty ones. A file that is not there is an empty account.
pub(super) fn load(path: &Path, ledger: &mut Ledger, committed: &mut Committed) -> io::Result<()> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let broken = |what: &str| io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| broken(&error.to_string()))?;
    if stored.version != 1 {
        return Err(broken("not version 1"));
    }
    ledger.totals = stored.totals;
    for (container, generation, ranges) in stored.committed {
        committed.commit(&container, generation, &ranges.parse().map_err(|_| broken("ranges"))?, None);
    }
    for (container, generation, body) in stored.bodies {
        committed.commit(&container, generation, &Ranges::default(), Some(body));
    }
    for sequence in stored.sequences {
        ledger.sequences.push(Sequence {
            seen: sequence.seen.parse().map_err(|_| broken("ranges"))?,
            service: sequence.service,
            stream: sequence.stream,
            run: sequence.run,
            records: sequence.records,
            duplicates: sequence.duplicates,
            reordered: sequence.reordered,
        });
    }
    Ok(())
}
