//! Docker's side: containers whose logs grow and rotate, and what everybody must find of them in the end.
//!
//! Everything written gets a token, in the order in which it is complete: a [`Unit`]. A unit may be missing in the end only
//! when a log file went away before anything safe held its lines; what the directory holds, what
//! the forwarder had recovered, and what it was known to have open decide that.

use super::machine::Knowledge;
use crate::position::{Generation, Range};
use crate::source::SourceKey;
use rask::layout::{Container as Files, PART_BYTES, Spec, Stream, put_envelope};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What a receiver refuses when it refuses records.
pub const REFUSED: &str = "refuse-me";
/// Longest body that a receiver takes when it minds.
pub const MAX_BODY: usize = 3000;
/// Files of a rename chain, the current one included.
const MAX_FILE: usize = 4;

/// Something that was logged and is one record in the end, or that will be.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Found again in the record's message.
    pub token: String,
    /// The whole message; `None` when the line is no entry of Docker's.
    pub message: Option<String>,
    /// Where its lines stand: generation and range.
    pub lines: Vec<(usize, Range)>,
    /// Once a store has said that it is safe, it must come.
    pub safe: bool,
    /// It may be missing.
    pub excused: bool,
    /// Missing, it need not be announced either: nothing was left by which anybody could know.
    pub untold: bool,
}

/// One log file, by content.
#[derive(Debug, Default)]
struct LogFile {
    text: Vec<u8>,
    /// Not in the directory any more.
    left: bool,
}

/// A rotated file and whether it is compressed.
#[derive(Clone, Copy, Debug)]
struct Rotated {
    generation: usize,
    gz: bool,
}

/// How a log makes way for the next.
#[derive(Clone, Copy, Debug)]
pub enum Rotation {
    Rename,
    Unlink,
    Truncate,
}

#[derive(Debug)]
pub struct Container {
    pub id: String,
    number: usize,
    dir: PathBuf,
    log: PathBuf,
    files: Vec<LogFile>,
    /// `.1`, `.2`, …
    chain: Vec<Rotated>,
    pub removed: bool,
    /// The end of a line that is half written, and its unit.
    torn: Option<(Vec<u8>, Option<Unit>)>,
    /// By stream: the message so far.
    parts: [Option<Unit>; 2],
    pub units: Vec<Unit>,
    /// A gap may be reported although nothing may be missing.
    pub may_gap: bool,
    /// How its log makes way, all its life.
    pub rotation: Rotation,
}

/// All containers there ever were.
#[derive(Debug)]
pub struct Docker {
    dir: tempfile::TempDir,
    pub containers: Vec<Container>,
    time: i64,
    next: usize,
}

impl Docker {
    /// No containers.
    pub fn new() -> Self {
        let dir = super::scratch();
        Self { dir, containers: Vec::new(), time: 1_790_000_000_000_000_000, next: 0 }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn create(&mut self, rotation: Rotation) {
        let files = Files::start(self.dir.path(), Spec::service("trial")).unwrap();
        let dir = files.dir().to_owned();
        self.containers.push(Container {
            id: files.id().to_owned(),
            number: self.containers.len(),
            log: dir.join(format!("{}-json.log", files.id())),
            dir,
            files: vec![LogFile::default()],
            chain: Vec::new(),
            removed: false,
            torn: None,
            parts: [None, None],
            units: Vec::new(),
            may_gap: false,
            rotation,
        });
    }

    /// The living container that `choice` means, if there is any.
    pub fn pick(&self, choice: usize) -> Option<usize> {
        let alive: Vec<_> = (0..self.containers.len()).filter(|i| !self.containers[*i].removed).collect();
        (!alive.is_empty()).then(|| alive[choice % alive.len()])
    }

    fn token(&mut self, at: usize, stream: Stream) -> String {
        self.next += 1;
        format!("<{}.{stream}.{}>", self.containers[at].number, self.next)
    }

    /// A whole line; ends what is half written, and the split message of its stream.
    pub fn line(&mut self, at: usize, stream: Stream, size: usize, refused: bool) {
        let token = self.token(at, stream);
        let words = if refused { REFUSED } else { "line" };
        let mut text = format!("{token} {words} {}", "x".repeat(size));
        let container = &mut self.containers[at];
        container.finish_line();
        let mut whole = unit(token, Some(String::new()), Vec::new());
        if let Some(begun) = container.parts[stream as usize].take() {
            // Its token is that of the first part, and the last one's is recognized when it comes alone.
            whole = begun;
            text = format!("{}{}", whole.token.replace('<', "{"), &text[text.find('>').unwrap() + 1..]);
        }
        whole.message.as_mut().unwrap().push_str(&text);
        self.time += 1000;
        let mut envelope = Vec::new();
        put_envelope(&mut envelope, format!("{text}\n").as_bytes(), stream, "", self.time);
        whole.lines.push(self.containers[at].put(&envelope));
        self.containers[at].units.push(whole);
    }

    /// The first or a further part of a message that is longer than Docker's buffer.
    pub fn part(&mut self, at: usize, stream: Stream) {
        let token = self.token(at, stream);
        let container = &mut self.containers[at];
        container.finish_line();
        let begun = container.parts[stream as usize].take();
        let mut begun = begun.unwrap_or_else(|| unit(token, Some(String::new()), Vec::new()));
        let message = begun.message.as_mut().unwrap();
        let token = if message.is_empty() { begun.token.clone() } else { begun.token.replace('<', "{") };
        let part = format!("{token} part {}", "y".repeat(PART_BYTES - token.len() - 6));
        message.push_str(&part);
        self.time += 1000;
        let mut envelope = Vec::new();
        put_envelope(&mut envelope, part.as_bytes(), stream, "", self.time);
        let container = &mut self.containers[at];
        begun.lines.push(container.put(&envelope));
        container.parts[stream as usize] = Some(begun);
    }

    /// Half a line; the rest comes with whatever is written next.
    pub fn torn(&mut self, at: usize, stream: Stream) {
        self.containers[at].finish_line();
        if self.containers[at].parts[stream as usize].is_some() {
            return;
        }
        let token = self.token(at, stream);
        let message = format!("{token} torn");
        self.time += 1000;
        let mut envelope = Vec::new();
        put_envelope(&mut envelope, format!("{message}\n").as_bytes(), stream, "", self.time);
        let container = &mut self.containers[at];
        let start = container.text().len() as u64;
        let range = Range::new(start, start + envelope.len() as u64);
        let rest = envelope.split_off(envelope.len() / 2);
        let lines = vec![(container.files.len() - 1, range)];
        container.put(&envelope);
        container.torn = Some((rest, Some(unit(token, Some(message), lines))));
    }

    /// A line that is no entry: what a crash of the host leaves. What was being split ends there.
    pub fn garbage(&mut self, at: usize) {
        let token = self.token(at, Stream::Stdout);
        let container = &mut self.containers[at];
        container.finish_line();
        let lines = vec![container.put(format!("{{\"log\":\"{token} cut of\n").as_bytes())];
        container.units.push(unit(token, None, lines));
        container.units.extend(container.parts.iter_mut().filter_map(Option::take));
    }

    /// A run of NUL, with or without a newline behind it. No two are alike, since a generation is known by its first line.
    pub fn nul(&mut self, at: usize, ended: bool) {
        self.next += 1;
        let run = vec![0; 10 + self.next];
        let container = &mut self.containers[at];
        container.finish_line();
        container.put(&run);
        if ended {
            container.put(b"\n");
        } else {
            // Nobody can tell it from a line that is being written.
            container.torn = Some((b"\n".to_vec(), None));
        }
    }

    /// Ends half a line and, where `split` says so, messages of which parts are written.
    pub fn finish(&mut self, at: usize, split: bool) {
        self.containers[at].finish_line();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if split && self.containers[at].parts[stream as usize].is_some() {
                self.line(at, stream, 3, false);
            }
        }
    }

    /// Whether the current file holds anything.
    pub fn holds_anything(&self, at: usize) -> bool {
        !self.containers[at].text_ref().is_empty()
    }

    /// Rotates; what leaves the directory is lost where `knowledge` does not hold it. Nothing is half written.
    pub fn rotate(&mut self, at: usize, knowledge: Option<&Knowledge>) {
        let container = &mut self.containers[at];
        let current = container.files.len() - 1;
        match container.rotation {
            Rotation::Rename => {
                if container.chain.len() == MAX_FILE - 1 {
                    let last = container.chain.pop().unwrap();
                    let _ = fs::remove_file(container.numbered(MAX_FILE - 1, last.gz));
                    container.leave(last.generation, knowledge);
                    // Where nothing is left of what it knows, nobody can tell whether something came between.
                    container.may_gap |=
                        knowledge.is_some_and(|knowledge| !container.any_here(|key| knowledge.knows_log(key)));
                }
                for (i, rotated) in container.chain.iter().enumerate().rev() {
                    fs::rename(container.numbered(i + 1, rotated.gz), container.numbered(i + 2, rotated.gz)).unwrap();
                }
                fs::rename(&container.log, container.numbered(1, false)).unwrap();
                container.chain.insert(0, Rotated { generation: current, gz: false });
                File::create(&container.log).unwrap();
            }
            Rotation::Unlink => {
                fs::remove_file(&container.log).unwrap();
                File::create(&container.log).unwrap();
                container.leave(current, knowledge);
            }
            Rotation::Truncate => {
                File::create(&container.log).unwrap();
                container.may_gap = true;
                container.files[current].left = true;
                if let Some(knowledge) = knowledge {
                    container.excuse(current, knowledge, |key, range| knowledge.has_read(key, range));
                }
            }
        }
        container.files.push(LogFile::default());
    }

    /// The background compression of `.1`.
    pub fn gzip(&mut self, at: usize) {
        let container = &mut self.containers[at];
        let (plain, archive) = (container.numbered(1, false), container.numbered(1, true));
        let Some(first) = container.chain.first_mut().filter(|first| !first.gz) else { return };
        let mut encoder = flate2::write::GzEncoder::new(File::create(&archive).unwrap(), flate2::Compression::fast());
        encoder.write_all(&container.files[first.generation].text).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(plain).unwrap();
        first.gz = true;
    }

    /// `docker rm -f`. Of a message that nobody will end, what was written of it is one.
    pub fn remove(&mut self, at: usize, knowledge: Option<&Knowledge>) {
        let container = &mut self.containers[at];
        fs::remove_dir_all(&container.dir).unwrap();
        container.removed = true;
        container.units.extend(container.parts.iter_mut().filter_map(Option::take));
        for generation in 0..container.files.len() {
            if !container.files[generation].left {
                container.leave(generation, knowledge);
            }
        }
        // Whoever was not there will never hear of it again.
        container.units.iter_mut().filter(|unit| unit.excused).for_each(|unit| unit.untold = true);
    }

    /// The forwarder has died: what is in no file any more is lost unless the next one finds it in its store.
    pub fn forget_unsafe(&mut self, recovered: &HashMap<SourceKey, crate::position::Ranges>) {
        for container in &mut self.containers {
            let known = recovered.keys().any(|key| key.container == container.id);
            let keys: Vec<_> = (0..container.files.len()).map(|i| container.key(i)).collect();
            let Container { files, units, parts, removed, .. } = container;
            for unit in units.iter_mut().chain(parts.iter_mut().flatten()) {
                let covered = |(generation, range): &(usize, Range)| {
                    let key = keys[*generation].as_ref();
                    key.is_some_and(|key| recovered.get(key).is_some_and(|ranges| ranges.covers(*range)))
                };
                unit.safe |= unit.lines.iter().all(covered);
                if !unit.safe && unit.lines.iter().any(|(i, _)| files[*i].left) {
                    unit.excused = true;
                    unit.untold |= *removed || !known;
                }
            }
            container.may_gap |= (known && !container.any_here(|key| recovered.contains_key(key)))
                || container.units.iter().chain(container.parts.iter().flatten()).any(|unit| unit.excused);
        }
    }

    /// Everything the forwarder has read is delivered or in its store.
    pub fn mark_safe(&mut self, knowledge: &Knowledge) {
        for container in &mut self.containers {
            for i in 0..container.units.len() {
                let read = |(generation, range): &(usize, Range)| {
                    container.key(*generation).is_some_and(|key| knowledge.has_read(&key, *range))
                };
                if container.units[i].lines.iter().all(read) {
                    container.units[i].safe = true;
                }
            }
        }
    }
}

impl Container {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.files.last_mut().unwrap().text
    }

    fn text_ref(&self) -> &[u8] {
        &self.files.last().unwrap().text
    }

    fn put(&mut self, bytes: &[u8]) -> (usize, Range) {
        OpenOptions::new().append(true).open(&self.log).unwrap().write_all(bytes).unwrap();
        let start = self.text().len() as u64;
        self.text().extend_from_slice(bytes);
        (self.files.len() - 1, Range::new(start, start + bytes.len() as u64))
    }

    fn finish_line(&mut self) {
        let Some((rest, unit)) = self.torn.take() else { return };
        self.put(&rest);
        self.units.extend(unit);
    }

    fn numbered(&self, number: usize, gz: bool) -> PathBuf {
        let mut path = self.log.clone().into_os_string();
        path.push(format!(".{number}{}", if gz { ".gz" } else { "" }));
        path.into()
    }

    /// Under which name a generation is known; `None` while its first line is not complete.
    pub fn key(&self, generation: usize) -> Option<SourceKey> {
        let text = &self.files[generation].text;
        let blank = text.iter().take_while(|byte| matches!(byte, 0 | b'\n')).count();
        Generation::of_head(&text[blank..]).map(|generation| SourceKey { container: self.id.clone(), generation })
    }

    /// Whether a log in the directory is among the known ones.
    fn any_here(&self, known: impl Fn(&SourceKey) -> bool) -> bool {
        (0..self.files.len()).any(|i| !self.files[i].left && self.key(i).is_some_and(|key| known(&key)))
    }

    /// The key of the current file and the end of its last whole line.
    pub fn end(&self) -> Option<(SourceKey, u64)> {
        let end = memchr::memrchr(b'\n', self.text_ref())? as u64 + 1;
        Some((self.key(self.files.len() - 1)?, end))
    }

    /// A file has no name any more: it lives on in a descriptor, if the forwarder is known to have one. When there is no
    /// forwarder, the next one's store decides.
    fn leave(&mut self, generation: usize, knowledge: Option<&Knowledge>) {
        self.files[generation].left = true;
        if let Some(knowledge) = knowledge {
            self.excuse(generation, knowledge, |key, range| knowledge.is_open(key) || knowledge.has_read(key, range));
        }
    }

    fn excuse(&mut self, generation: usize, knowledge: &Knowledge, held: impl Fn(&SourceKey, Range) -> bool) {
        let Some(key) = self.key(generation) else { return };
        // A file that came and went unseen leaves no trace where there is no chain, nor where nothing was seen before.
        let blind = !matches!(self.rotation, Rotation::Rename) || !knowledge.knows(&self.id);
        for unit in self.units.iter_mut().chain(self.parts.iter_mut().flatten()).filter(|unit| !unit.safe) {
            let lost = unit.lines.iter().any(|(i, range)| *i == generation && !held(&key, *range));
            if lost {
                unit.excused = true;
                unit.untold |= blind;
                self.may_gap = true;
            }
        }
    }
}

fn unit(token: String, message: Option<String>, lines: Vec<(usize, Range)>) -> Unit {
    Unit { token, message, lines, safe: false, excused: false, untold: false }
}
