//! What Docker's daemon wrote, told by its own files: the ground that deliveries are compared with.

use crate::harness::{PATIENCE, World};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest part of a split message.
const PART: usize = 16 << 10;

/// The messages of one container on stdout and stderr, in order, joined from their parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth(pub(super) [Vec<String>; 2]);

impl Truth {
    /// Of a json-file log with its rotated and compressed siblings.
    pub(super) fn of_files(log: &Path) -> Self {
        let mut truth = Parts::default();
        for path in siblings(log) {
            let mut bytes = Vec::new();
            let mut file = File::open(&path).expect("a log file");
            let read = match path.extension() {
                Some(extension) if extension == "gz" => MultiGzDecoder::new(file).read_to_end(&mut bytes),
                _ => file.read_to_end(&mut bytes),
            };
            read.expect("readable");
            truth.add(&bytes);
        }
        truth.whole
    }

    /// Of one file, which may have lost its name: from its beginning.
    pub(super) fn of_file(mut file: File) -> Self {
        use std::io::Seek;
        file.rewind().expect("a file");
        let (mut truth, mut bytes) = (Parts::default(), Vec::new());
        file.read_to_end(&mut bytes).expect("readable");
        truth.add(&bytes);
        truth.whole
    }

    /// Of what `docker logs` prints on its two streams.
    pub(super) fn of_output(output: &std::process::Output) -> Self {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        Self([lines(&output.stdout), lines(&output.stderr)])
    }

    /// What the receiver has of a container, but for gaps and lines that are no entries.
    pub(super) fn received(world: &World, container: &str) -> Self {
        let mut streams = Self::default();
        for record in world.receiver.records() {
            if record.container_id == container && record.log_type != "gap" && record.log_type != "raw" {
                streams.0[usize::from(record.stream == "stderr")].push(record.message);
            }
        }
        streams
    }

    /// Messages on both streams.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Exactly this has come of a container, in this order on each stream.
    pub(super) fn assert_came(&self, world: &World, container: &str) {
        let until = Instant::now() + PATIENCE;
        while Self::received(world, container).len() < self.len() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.assert_same(&Self::received(world, container));
        assert_eq!(world.receiver.ledger(|ledger| ledger.violations().to_vec()), [] as [String; 0]);
    }

    /// Says where `came` differs, without printing all of both.
    pub(super) fn assert_same(&self, came: &Self) {
        for (stream, (wrote, came)) in ["stdout", "stderr"].iter().zip(self.0.iter().zip(&came.0)) {
            let at = wrote.iter().zip(came).position(|(wrote, came)| wrote != came);
            let at = at.or_else(|| (wrote.len() != came.len()).then(|| wrote.len().min(came.len())));
            if let Some(at) = at {
                let around = |lines: &[String]| {
                    let near = lines[at.saturating_sub(2)..].iter().take(5);
                    near.map(|line| (line.chars().take(40).collect::<String>(), line.len())).collect::<Vec<_>>()
                };
                let (wrote_len, came_len) = (wrote.len(), came.len());
                panic!(
                    "{stream}: {wrote_len} written, {came_len} came; from {at} on they differ: {:?} and {:?}",
                    around(wrote),
                    around(came)
                );
            }
        }
    }
}

/// Parts on their way to becoming messages, per stream.
#[derive(Default)]
struct Parts {
    whole: Truth,
    held: [String; 2],
}

impl Parts {
    fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let entry: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            let Some(log) = entry.as_ref().and_then(|entry| entry["log"].as_str()) else { continue };
            let stream = usize::from(entry.as_ref().is_some_and(|entry| entry["stream"] == "stderr"));
            let held = &mut self.held[stream];
            held.push_str(log.trim_end_matches(['\r', '\n']));
            if log.ends_with('\n') || log.len() < PART {
                self.whole.0[stream].push(std::mem::take(held));
            }
        }
    }
}

/// The log's files, oldest first.
pub(super) fn siblings(log: &Path) -> Vec<PathBuf> {
    let name = |suffix: String| PathBuf::from(format!("{}{suffix}", log.display()));
    let rotated = (1..100).rev().flat_map(|n| [name(format!(".{n}")), name(format!(".{n}.gz"))]);
    rotated.chain([log.to_owned()]).filter(|path| path.exists()).collect()
}
