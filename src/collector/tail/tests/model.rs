//! A model of what happens to a log, played together with the real files and the real tailer.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// What a writer and an operator do to the files, and what becomes of the process.
#[derive(Clone, Debug)]
enum Action {
    /// So many lines.
    Append(usize),
    /// A line without its end, to which the next `Append` adds.
    AppendPart,
    /// As Docker with `max-file=4`.
    Rename,
    /// As Docker with `max-file=1`.
    Unlink,
    /// So many times in a row, with a line each, before the tailer gets to look: all but the last are lost.
    Recreate(usize),
    Truncate,
    /// The background compression of `.1`.
    Compress,
    /// The tailer gets to read everything.
    CatchUp,
    /// A new process with everything delivered but the lines whose number is a multiple of this; and whether the container
    /// goes on meanwhile: so many renames of a line each.
    Restart(usize, usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (1..40usize).prop_map(Action::Append),
        1 => (700..900usize).prop_map(Action::Append),
        2 => Just(Action::AppendPart),
        4 => Just(Action::Rename),
        2 => Just(Action::Unlink),
        1 => (2..5usize).prop_map(Action::Recreate),
        1 => Just(Action::Truncate),
        2 => Just(Action::Compress),
        3 => Just(Action::CatchUp),
        2 => (2..6usize, 0..3usize).prop_map(|(holes, renames)| Action::Restart(holes, renames)),
    ];
    prop::collection::vec(action, 1..40)
}

/// The model: what every generation holds, and what is delivered of it.
struct World {
    dir: TempDir,
    log: PathBuf,
    next: usize,
    /// Oldest first; the last is being written to.
    texts: Vec<Vec<u8>>,
    /// What this process must not hand out.
    delivered: HashMap<SourceKey, Ranges>,
    /// Generations in `.1`, `.2`, `.3`.
    chain: Vec<usize>,
    /// Generations whose files were gone before this process began.
    gone: Vec<usize>,
    /// There always was a file that the tailer knew, so that no gap must be reported.
    continuous: bool,
    /// A gap must have been reported by this process.
    gap_due: bool,
    /// Since the last look.
    unlinked: bool,
    /// Generations that have been renamed since the tailer was known to have them open.
    unseen: usize,
    rig: Option<Rig>,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let log = log_of(dir.path());
        File::create(&log).unwrap();
        let rig = Some(Rig::start(dir.path(), Positions::default()));
        Self {
            dir,
            log,
            next: 0,
            texts: vec![Vec::new()],
            delivered: HashMap::new(),
            chain: Vec::new(),
            gone: Vec::new(),
            continuous: true,
            gap_due: false,
            unlinked: false,
            unseen: 0,
            rig,
        }
    }

    fn text(&mut self) -> &mut Vec<u8> {
        self.texts.last_mut().unwrap()
    }

    fn append(&mut self, bytes: &[u8]) {
        append(&self.log, bytes);
        self.text().extend_from_slice(bytes);
    }

    fn append_lines(&mut self, count: usize) {
        let lines = numbered(self.next, count);
        self.append(&lines);
        self.next += count;
    }

    fn finish_line(&mut self) {
        if self.text().last().is_some_and(|last| *last != b'\n') {
            self.append(b"the end\n");
        }
    }

    /// What this process is to hand out, ends included: all of the last one's only when `stopped`.
    fn expected(&self, stopped: bool) -> Vec<Got> {
        let last = self.texts.len() - 1;
        let mut expected = Vec::new();
        for (i, text) in self.texts.iter().enumerate().filter(|(i, _)| !self.gone.contains(i)) {
            // Nobody can tell an unfinished line from one that is being written.
            let finished = memchr::memrchr(b'\n', text).map_or(0, |newline| newline + 1);
            let known = if i == last { &text[..finished] } else { text };
            if known.is_empty() {
                // A first line that is long enough names its generation before it ends.
                continue;
            }
            let generation = generation_of(known);
            let delivered = self.delivered.get(&key(generation)).cloned().unwrap_or_default();
            let lines = lines_without(known, &delivered);
            let ended = !lines.is_empty() && (i < last || stopped);
            expected.extend(lines);
            if ended {
                expected.push(Got::End(generation));
            }
        }
        expected
    }

    async fn catch_up(&mut self) {
        let expected = self.expected(false);
        let rig = self.rig.as_mut().unwrap();
        while rig.items() < expected.len() {
            assert!(rig.receive().await, "the tail ended");
        }
        check(&without_gaps(&rig.got), &expected);
        self.unseen = 0;
        self.unlinked = false;
    }

    async fn play(&mut self, action: Action) {
        // Where rotations leave files behind, an unlinked log looks like a chain that has lost its beginning.
        self.continuous &= match action {
            Action::Unlink => self.chain.is_empty(),
            Action::Rename => !self.unlinked,
            Action::Recreate(_) | Action::Truncate => false,
            _ => true,
        };
        match action {
            Action::Append(lines) => self.append_lines(lines),
            Action::AppendPart => {
                let part = format!("{{\"log\":\"part {}", self.next);
                self.next += 1;
                self.append(part.as_bytes());
            }
            Action::Rename => {
                // Docker does not rotate an empty file, and what leaves the chain unseen is lost.
                if self.text().is_empty() {
                    return;
                }
                if self.unseen >= 2 {
                    self.catch_up_whole().await;
                }
                self.rename();
            }
            Action::Unlink => {
                if self.catch_up_whole().await {
                    unlink(&self.log);
                    self.texts.push(Vec::new());
                    self.unlinked = true;
                }
            }
            Action::Recreate(times) => {
                if self.catch_up_whole().await {
                    for i in 0..times {
                        unlink(&self.log);
                        self.texts.push(Vec::new());
                        self.append_lines(1);
                        if i + 1 < times {
                            self.gone.push(self.texts.len() - 1);
                        }
                    }
                    self.catch_up().await;
                    // So that the events are read, too: a stop before that cannot know of them.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    self.gap_due = true;
                }
            }
            Action::Truncate => {
                let whole = self.catch_up_whole().await;
                let old = Some(self.text()).filter(|_| whole).map(|text| generation_of(text));
                // Of what was delivered before, no end is said that could be waited for.
                if let Some(old) = old.filter(|old| self.expected(true).contains(&Got::End(*old))) {
                    File::create(&self.log).unwrap();
                    let rig = self.rig.as_mut().unwrap();
                    rig.end_comes(old).await;
                    self.texts.push(Vec::new());
                }
            }
            Action::Compress => {
                let first = sibling(&self.log, ".1");
                if first.exists() {
                    gzip(&first);
                }
            }
            Action::CatchUp => self.catch_up().await,
            Action::Restart(holes, renames) => self.restart(holes, renames).await,
        }
    }

    /// With the file that is being written to certainly open, and nothing unfinished in it; false when it is empty.
    async fn catch_up_whole(&mut self) -> bool {
        self.finish_line();
        if self.text().is_empty() {
            return false;
        }
        self.catch_up().await;
        true
    }

    fn rename(&mut self) {
        for n in [2, 1] {
            for gz in ["", ".gz"] {
                let _ = fs::remove_file(sibling(&self.log, &format!(".{}{gz}", n + 1)));
                let _ = fs::rename(
                    sibling(&self.log, &format!(".{n}{gz}")),
                    sibling(&self.log, &format!(".{}{gz}", n + 1)),
                );
            }
        }
        rotate(&self.log, 2);
        self.chain.insert(0, self.texts.len() - 1);
        self.chain.truncate(3);
        self.texts.push(Vec::new());
        self.unseen += 1;
    }

    async fn restart(&mut self, holes: usize, renames: usize) {
        let expected = self.expected(true);
        let got = self.rig.take().unwrap().stop().await;
        self.check(&got, &expected);
        let mut number = 0;
        for (i, text) in self.texts.iter().enumerate() {
            let mut at = 0;
            let mut delivered = Ranges::default();
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                let range = Range::new(at, at + line.len() as u64);
                at = range.end;
                number += 1;
                let unfinished = i + 1 == self.texts.len() && !line.ends_with(b"\n");
                if !unfinished && number % holes != 0 {
                    delivered.insert(range);
                }
            }
            if !text.is_empty() && !delivered.is_empty() {
                self.delivered.insert(key(generation_of(text)), delivered);
            }
        }
        self.unseen = 0;
        for _ in 0..renames {
            self.append_lines(1);
            self.rename();
        }
        // Nothing is open yet.
        self.unseen = self.chain.len().saturating_sub(1);
        self.gone = (0..self.texts.len() - 1).filter(|i| !self.chain.contains(i)).collect();
        let known = |i: &usize| {
            let text = &self.texts[*i];
            !text.is_empty() && self.delivered.contains_key(&key(generation_of(text)))
        };
        let any = self.chain.iter().any(known) || known(&(self.texts.len() - 1));
        self.continuous &= any || self.delivered.is_empty();
        self.gap_due = false;
        self.unlinked = false;
        let positions = Positions::new(self.delivered.clone());
        self.rig = Some(Rig::start(self.dir.path(), positions));
    }

    fn check(&self, got: &[Got], expected: &[Got]) {
        check(&without_gaps(got), expected);
        let gaps = got.len() - expected.len();
        assert!(gaps > 0 || !self.gap_due, "files came and went unseen, and no gap is reported");
        assert!(
            !self.continuous || got.len() == expected.len(),
            "a gap is reported, and nothing can be missing: {got:?}"
        );
    }
}

fn without_gaps(got: &[Got]) -> Vec<Got> {
    got.iter().filter(|got| !matches!(got, Got::Gap(..))).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn every_line_comes_once_and_in_order_whatever_happens_to_the_files(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for action in actions {
                world.play(action).await;
            }
            let expected = world.expected(true);
            let got = world.rig.take().unwrap().stop().await;
            world.check(&got, &expected);
        });
    }
}
