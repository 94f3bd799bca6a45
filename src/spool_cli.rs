//! `spool ls`, `spool export`, `spool drain`: what waits in a state directory, and sending it.
//!
//! The first two only read, need no lock, and work beside a running forwarder. `drain` asks the running forwarder; where none
//! runs it is the sender itself: the same store, the same [`Sender`], no collector.

use crate::admin::{self, Health};
use crate::app::Signals;
use crate::config::Config;
use crate::exit;
use crate::metrics::Metrics;
use crate::position::Ranges;
use crate::sender::Sender;
use crate::sender::http::Target;
use crate::sender::spool::{self, DeadListing, Letter, Listing, Moved, OpenError, Options, Store};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long the running forwarder is waited for. It answers within half of `limits::ADMIN_TIMEOUT`.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of `drain --timeout`: a receiver that is held is asked again within it (`limits::BACKOFF_HELD`).
const DRAIN_TIMEOUT: &str = "60";
/// How often `drain` looks at its progress and tells it.
const TICK: Duration = Duration::from_secs(1);
/// Ranges of a position that the table shows.
const SHOWN_RANGES: usize = 3;
/// Characters of an answer that the table shows.
const SHOWN_ANSWER: usize = 80;
/// Characters of a record that are shown when that is asked for.
const SHOWN_TEXT: usize = 400;

const LS: &str = "Show what waits in the state directory, beside a running forwarder or without one.

Segments hold batches that wait for the receiver: so many frames are PENDING, and of them so many records, their lines and their bytes \
as `export` prints them are left. Dead letters are records that the receiver refuses for good (400, 422, or 413 for one record alone). \
No log text is shown unless --text is given; the answer is the receiver's own.";

const EXPORT: &str = "Print the records that wait in the spool as NDJSON, oldest first, and change nothing.

They hold log text. Beside a running forwarder, some of them may have been delivered a moment ago.";

const DRAIN: &str = "Send the dead letters again.

With a forwarder running on this state directory, that one takes its dead letters back into the spool and sends them; this \
command says how many and ends. Without one, this command sends them and everything else in the spool to RASK_ENDPOINT, and ends \
when the spool is empty. Give it the configuration that the forwarder has.

What the receiver refuses again becomes a dead letter again.

Exit codes: 0 all sent, or taken over by the running forwarder · 1 something was refused again or cannot be moved · 69 the receiver, or \
the running forwarder, does not answer; what is left waits in the spool";

/// `spool` on the command line.
pub fn command() -> Command {
    let flag = |name: &'static str, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let number = |name: &'static str, value, default| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(u32)).default_value(default)
    };
    let ls = Command::new("ls")
        .about("Show what waits in the state directory: segments, positions, dead letters, quarantine")
        .long_about(LS)
        .arg(flag("json", "One JSON object, for scripts"))
        .arg(flag("text", "Show the beginning of each dead letter's record too"))
        .arg(number("limit", "N", "20").help("Show so many of the newest dead letters, and as many positions"));
    let export = Command::new("export")
        .about("Print the records that wait in the spool as NDJSON, and change nothing")
        .long_about(EXPORT)
        .arg(flag("dead", "Those of the dead letters instead"));
    let drain = Command::new("drain").about("Send the dead letters again").long_about(DRAIN).arg(
        number("timeout", "SECONDS", DRAIN_TIMEOUT)
            .help("Without a running forwarder: give up when the receiver has settled nothing for so long"),
    );
    Command::new("spool")
        .about("Look into the state directory, and send again what was refused")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([ls, export, drain])
}

/// `spool ls` and `spool export` on the state directory `dir` with its bound.
pub fn look(name: &str, given: &ArgMatches, dir: &Path, max_bytes: u64) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let looked = match name {
        "ls" => {
            let limit = given.get_one::<u32>("limit").map_or(20, |limit| *limit as usize);
            let shown = Shown { dir, max_bytes, limit, text: given.get_flag("text") };
            if given.get_flag("json") { shown.json(&mut out) } else { shown.table(&mut out) }
        }
        _ if given.get_flag("dead") => export_dead(dir, &mut out),
        _ => export(dir, &mut out),
    };
    match looked.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `… | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => exit::with(
            exit::FAILURE,
            &format!("the state directory {} cannot be read ({error}); DISK_FALLBACK_PATH names it", dir.display()),
        ),
    }
}

fn export(dir: &Path, out: &mut impl Write) -> io::Result<()> {
    let damaged = spool::export(dir, |batch| out.write_all(&batch.body))?;
    note_damage(damaged, "batches");
    Ok(())
}

fn export_dead(dir: &Path, out: &mut impl Write) -> io::Result<()> {
    std::fs::read_dir(dir)?;
    let dead = spool::dead_letters(dir, |letter| writeln!(out, "{}", letter.record))?;
    note_damage(dead.damaged, "dead letters");
    Ok(())
}

fn note_damage(damaged: u64, what: &str) {
    if damaged > 0 {
        say(&format!("{damaged} damaged {what} are left out"));
    }
}

/// What `ls` is to show.
struct Shown<'a> {
    dir: &'a Path,
    max_bytes: u64,
    limit: usize,
    text: bool,
}

/// A dead letter without its record.
#[derive(serde::Serialize)]
struct Summary {
    time_ms: u64,
    status: u16,
    container: String,
    generation: String,
    cover: String,
    lines: u32,
    answer: String,
    record_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl Shown<'_> {
    /// Everything, the newest dead letters last.
    fn read(&self) -> io::Result<(Listing, DeadListing, VecDeque<Summary>)> {
        let listing = spool::list(self.dir)?;
        let mut newest = VecDeque::new();
        let dead = spool::dead_letters(self.dir, |letter| {
            if newest.len() == self.limit {
                newest.pop_front();
            }
            if self.limit > 0 {
                newest.push_back(self.summary(letter));
            }
            Ok(())
        })?;
        Ok((listing, dead, newest))
    }

    fn summary(&self, letter: Letter) -> Summary {
        Summary {
            time_ms: letter.time_ms,
            status: letter.status,
            container: letter.key.container,
            generation: letter.key.generation.to_string(),
            cover: letter.cover.to_string(),
            lines: letter.lines,
            answer: letter.answer,
            record_bytes: letter.record.len(),
            record: self.text.then(|| clip(&letter.record, SHOWN_TEXT)),
        }
    }

    fn runs(&self) -> bool {
        std::os::unix::net::UnixStream::connect(admin::socket_path(self.dir)).is_ok()
    }

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let (listing, dead, newest) = self.read()?;
        let positions: Vec<_> = listing
            .positions
            .iter()
            .map(|(key, ranges)| {
                serde_json::json!({ "container": key.container, "generation": key.generation.to_string(), "acknowledged": ranges.to_string() })
            })
            .collect();
        let bytes = listing.segments.iter().map(|segment| segment.bytes).sum::<u64>() + dead.bytes;
        let all = serde_json::json!({
            "state_dir": self.dir.to_string_lossy(),
            "running": self.runs(),
            "bytes": bytes,
            "bytes_limit": self.max_bytes,
            "segments": listing.segments,
            "positions": positions,
            "positions_readable": !listing.blind,
            "dead_letters": dead,
            "newest_dead_letters": newest,
            "quarantine": listing.quarantined,
        });
        writeln!(out, "{all}")
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let (listing, dead, newest) = self.read()?;
        let runs = if self.runs() { "a forwarder is running" } else { "no forwarder is running" };
        writeln!(out, "{}: {runs}\n", self.dir.display())?;
        self.segments(&listing, &dead, out)?;
        self.positions(&listing, out)?;
        self.dead(&dead, &newest, out)?;
        writeln!(out, "QUARANTINE")?;
        let hidden = listing.quarantined.len().saturating_sub(self.limit);
        for name in listing.quarantined.iter().skip(hidden) {
            writeln!(out, "  {}", clip(name, SHOWN_TEXT))?;
        }
        hidden_note(hidden, out)?;
        writeln!(out, "  {} files or directories; nothing in them is sent", listing.quarantined.len())
    }

    fn segments(&self, listing: &Listing, dead: &DeadListing, out: &mut impl Write) -> io::Result<()> {
        let head = ["BYTES", "FRAMES", "PENDING", "RECORDS", "LINES", "NDJSON", "DAMAGED"];
        let row = |out: &mut dyn Write, name: &str, row: [String; 7]| {
            let [bytes, frames, pending, records, lines, ndjson, damaged] = row;
            write!(out, "{name:<24} {bytes:>11} {frames:>8} {pending:>8} {records:>9} {lines:>9}")?;
            writeln!(out, " {ndjson:>11} {damaged:>9}")
        };
        row(out, "SEGMENT", head.map(str::to_owned))?;
        let mut sum = [0; 7];
        for s in &listing.segments {
            let left = [s.pending_frames, s.pending_records, s.pending_lines, s.pending_bytes];
            let figures = [s.bytes, s.frames, left[0], left[1], left[2], left[3], s.damaged_bytes];
            row(out, &s.name, figures.map(|figure| figure.to_string()))?;
            sum.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        }
        row(out, "  all", sum.map(|figure| figure.to_string()))?;
        if listing.blind {
            writeln!(
                out,
                "  The cursor slots are damaged: what is delivered is not known, and counts as pending here."
            )?;
        }
        let used = sum[0] + dead.bytes;
        writeln!(out, "  {used} bytes with the dead letters, of {} (MAX_DISK_USAGE_MB)\n", self.max_bytes)
    }

    fn positions(&self, listing: &Listing, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<12} {:<16} ACKNOWLEDGED", "CONTAINER", "GENERATION")?;
        for (key, ranges) in listing.positions.iter().take(self.limit) {
            writeln!(out, "{:<12} {} {}", short(&key.container), key.generation, first_ranges(ranges))?;
        }
        hidden_note(listing.positions.len().saturating_sub(self.limit), out)?;
        writeln!(out, "  {} generations\n", listing.positions.len())
    }

    fn dead(&self, dead: &DeadListing, newest: &VecDeque<Summary>, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:<29} {:<12} STATUS {:>5}  ANSWER", "REFUSED", "CONTAINER", "LINES")?;
        hidden_note(usize::try_from(dead.letters).unwrap_or(usize::MAX).saturating_sub(newest.len()), out)?;
        for letter in newest {
            let Summary { status, lines, .. } = letter;
            let (time, answer) = (when(letter.time_ms), letter.answer.lines().next().unwrap_or_default());
            let answer = clip(answer, SHOWN_ANSWER);
            writeln!(out, "{time:<29} {:<12} {status:>6} {lines:>5}  {answer}", short(&letter.container))?;
            if let Some(record) = &letter.record {
                writeln!(out, "    {record}")?;
            }
        }
        let DeadListing { letters, lines, bytes, draining, damaged } = dead;
        writeln!(out, "  {letters} dead letters of {lines} lines, {bytes} bytes of {}", self.max_bytes / 8)?;
        if *draining > 0 {
            writeln!(out, "  {draining} of them are on their way back into the spool")?;
        }
        if *damaged > 0 {
            writeln!(out, "  {damaged} lines of their files are torn or damaged")?;
        }
        if *letters > 0 {
            writeln!(out, "  `rask-log-forwarder spool drain` sends them again")?;
        }
        writeln!(out)
    }
}

fn hidden_note(hidden: usize, out: &mut impl Write) -> io::Result<()> {
    if hidden > 0 { writeln!(out, "  … {hidden} more are not shown (--limit)") } else { Ok(()) }
}

/// Enough of a container's id to know it by.
fn short(container: &str) -> String {
    clip(container, 12).trim_end_matches('…').to_owned()
}

fn first_ranges(ranges: &Ranges) -> String {
    let all = ranges.as_slice();
    let shown: Ranges = all.iter().take(SHOWN_RANGES).copied().collect();
    match all.len().saturating_sub(SHOWN_RANGES) {
        0 => shown.to_string(),
        more => format!("{shown} and {more} more up to {}", ranges.end()),
    }
}

fn when(time_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time_ms));
    // Beyond the year 9999 there is no such date; a damaged file may say so.
    time.filter(|_| time_ms < 253_402_300_800_000).map_or_else(|| "?".into(), httpdate::fmt_http_date)
}

/// The beginning of a text, safe for a terminal.
fn clip(text: &str, chars: usize) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut clipped: String = text.chars().take(chars).map(safe).collect();
    if text.chars().nth(chars).is_some() {
        clipped.push('…');
    }
    clipped
}

/// `spool drain`; `given` has its flags.
pub fn drain(config: &Config, given: &ArgMatches) -> ExitCode {
    // The command line fills in the default.
    let patience = given.get_one::<u32>("timeout").copied().unwrap_or_default();
    match admin::ask_to_drain(&config.state_dir, ASK_TIMEOUT) {
        Ok(Some(answer)) => taken_over(&answer),
        Ok(None) if !config.state_dir.is_dir() => exit::with(
            exit::CONFIG,
            &format!("there is no state directory {}; DISK_FALLBACK_PATH names it", config.state_dir.display()),
        ),
        Ok(None) => send_alone(config, Duration::from_secs(patience.into())),
        Err(problem) => exit::with(exit::UNAVAILABLE, &format!("the running forwarder does not answer: {problem}")),
    }
}

/// What the running forwarder has answered.
fn taken_over(answer: &admin::Answer) -> ExitCode {
    match (answer.status, serde_json::from_str::<Moved>(&answer.body)) {
        (200, Ok(moved)) => {
            say(&tell(&moved, "the running forwarder sends"));
            ExitCode::from(if moved.stopped.is_some() { exit::FAILURE } else { exit::OK })
        }
        (202, _) => {
            say("the running forwarder has begun to send the dead letters again and goes on with it");
            ExitCode::SUCCESS
        }
        (status, _) => {
            let said = clip(answer.body.trim(), SHOWN_ANSWER);
            exit::with(exit::UNAVAILABLE, &format!("the running forwarder does not drain: it answers {status}: {said}"))
        }
    }
}

fn tell(moved: &Moved, who: &str) -> String {
    let Moved { letters, lines, left, damaged, stopped } = moved;
    let mut text = match letters {
        0 if stopped.is_none() => "there are no dead letters".to_owned(),
        _ => format!("{who} {letters} dead letters ({lines} lines) again"),
    };
    if let Some(why) = stopped {
        text += &format!("; {left} stay dead letters: {why}");
    }
    if *damaged > 0 {
        text += &format!("; {damaged} torn or damaged ones are in quarantine/");
    }
    text
}

/// No forwarder runs: the store is ours.
fn send_alone(config: &Config, patience: Duration) -> ExitCode {
    let metrics = Metrics::new();
    let target = match Target::new(config, metrics.clone()) {
        Ok(target) => target,
        Err(error) => return exit::with(exit::CONFIG, &error),
    };
    let options = Options { dir: config.state_dir.clone(), max_bytes: config.max_disk_bytes, spooling: true };
    let store = match Store::open(options, metrics.clone()) {
        Ok((store, _)) => store,
        Err(error @ OpenError::Locked { .. }) => return exit::with(exit::UNAVAILABLE, &error),
        Err(error) => return exit::with(exit::CONFIG, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::with(exit::FAILURE, &format!("cannot start: {error}")),
    };
    let sent = runtime.block_on(async {
        let sender = Sender::new(config, target, Some(store.clone()), metrics.clone(), Arc::new(Health::new()));
        Alone { sender, store: store.clone(), metrics, patience, signals: Signals::new() }.send_all().await
    });
    runtime.shutdown_background();
    store.close();
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => exit::with(code, &why),
    }
}

/// A sender without a collector.
struct Alone {
    sender: Sender,
    store: Store,
    metrics: Metrics,
    patience: Duration,
    signals: Signals,
}

impl Alone {
    /// Dead letters and spool, until both are empty. The error is an exit code and what to say.
    async fn send_all(mut self) -> Result<(), (u8, String)> {
        loop {
            let moved = self.store.drain_dead_letters().await.map_err(|error| (exit::FAILURE, error.to_string()))?;
            say(&tell(&moved, "sending"));
            let waited = self.store.usage().frames > 0;
            self.empty_the_spool().await?;
            match &moved.stopped {
                None => break,
                // The spool was full: now it is empty. Its space is freed when that is on disk; where it cannot be, nothing moves
                // next time either, and that ends it.
                Some(_) if moved.letters > 0 || waited => drop(self.store.sync().await),
                Some(why) => {
                    return Err((exit::FAILURE, format!("{} dead letters cannot be moved: {why}", moved.left)));
                }
            }
        }
        let (delivered, refused) = self.settled();
        say(&format!("{delivered} lines are delivered; the spool is empty"));
        match refused {
            0 => Ok(()),
            _ => Err((exit::FAILURE, format!("records of {refused} lines were refused again; `spool ls` shows why"))),
        }
    }

    async fn empty_the_spool(&mut self) -> Result<(), (u8, String)> {
        let (mut known, mut since, mut told) = (self.settled(), Instant::now(), Instant::now());
        let mut tick = tokio::time::interval(TICK);
        while self.store.usage().frames > 0 {
            self.sender.launch();
            tokio::select! {
                () = self.sender.event() => {}
                () = self.signals.any() => return Err((exit::UNAVAILABLE, self.left("interrupted"))),
                _ = tick.tick() => {}
            }
            if self.sender.is_broken() {
                return Err((exit::FAILURE, "the thread of the state directory failed".into()));
            }
            if known != self.settled() {
                (known, since) = (self.settled(), Instant::now());
            } else if since.elapsed() >= self.patience {
                return Err((exit::UNAVAILABLE, self.left("the receiver settles nothing")));
            }
            if told.elapsed() >= TICK * 2 {
                told = Instant::now();
                say(&format!("{} lines are delivered, {} batches are left", known.0, self.store.usage().frames));
            }
        }
        Ok(())
    }

    /// Lines delivered, and lines refused once more.
    fn settled(&self) -> (u64, u64) {
        let dropped = |reason| self.metrics.lines_dropped.with_label_values(&[reason]).get();
        (self.metrics.lines_delivered.get(), dropped("refused") + dropped("too_large"))
    }

    fn left(&self, why: &str) -> String {
        let frames = self.store.usage().frames;
        format!("{why}; {frames} batches wait in the spool: the forwarder sends them when it runs, or drain again")
    }
}

/// To stderr, which may be closed.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "rask-log-forwarder: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BACKOFF_HELD;
    use crate::sender::spool::AppendError;
    use crate::sender::tests::{batch, letter};
    use rask::receiver::Receiver;

    #[test]
    fn a_held_receiver_is_asked_again_before_drain_gives_up() {
        let given = command().get_matches_from(["spool", "drain"]);
        let given = given.subcommand_matches("drain").unwrap();
        let patience = Duration::from_secs(u64::from(*given.get_one::<u32>("timeout").unwrap()));
        assert!(patience >= BACKOFF_HELD * 2, "{patience:?}");
    }

    /// The spool is so full that no letter fits in before all of it is sent.
    #[test]
    fn a_drain_alone_empties_a_full_spool_and_then_sends_the_letters() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(rask::receiver::Options::default()).unwrap();
        let vars = [("TARGET_SERVICE", "app"), ("RASK_ENDPOINT", &receiver.url())];
        let (config, metrics) = (Config::from_vars(&vars).unwrap(), Metrics::new());
        let target = Target::new(&config, metrics.clone()).unwrap();
        let options = Options { dir: dir.path().into(), max_bytes: 1 << 20, spooling: true };
        let (store, _) = Store::open(options, metrics.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sent, batches) = runtime.block_on(async {
            for number in 0..3 {
                store.dead_letter(letter(9, number, 30_000)).await.unwrap();
            }
            let mut batches = 0;
            while store.append(&batch(1, batches, 4_000)).await != Err(AppendError::Full) {
                batches += 1;
            }
            let sender = Sender::new(&config, target, Some(store.clone()), metrics.clone(), Arc::new(Health::new()));
            let patience = Duration::from_secs(60);
            let alone = Alone { sender, store: store.clone(), metrics, patience, signals: Signals::new() };
            (alone.send_all().await, batches)
        });
        assert_eq!(sent, Ok(()));
        assert_eq!(receiver.totals().records, batches + 3);
        assert_eq!((store.usage().frames, spool::dead_letters(dir.path(), |_| Ok(())).unwrap().letters), (0, 0));
    }

    #[test]
    fn nothing_that_is_shown_can_steer_a_terminal() {
        assert_eq!(clip("a\u{1b}[31mb\nc\u{9b}d", 80), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(clip("äöü", 2), "äö…");
        assert_eq!(clip("äö", 2), "äö");
        assert_eq!(when(u64::MAX), "?");
        assert_eq!(when(1_795_000_000_000), "Wed, 18 Nov 2026 11:06:40 GMT");
    }

    #[test]
    fn long_positions_are_told_by_their_first_ranges_and_their_end() {
        let ranges: Ranges = "0-5,7-9,11-12,20-30".parse().unwrap();
        assert_eq!(first_ranges(&ranges), "0-5,7-9,11-12 and 1 more up to 30");
        assert_eq!(first_ranges(&"0-5".parse().unwrap()), "0-5");
    }
}
