//! Following a log that is being written: how long from the write to the receipt, and what it costs. One `write(2)` for each
//! line, as Docker does, at a steady pace; each line carries the time just before its write, and the receiver takes its age when
//! the body that it came in is whole. The inotify floor does the same at the same pace.
//!
//! The writer, the receiver and this program share one core, as all that is not measured does. At 100,000 lines a second they
//! take half of it, so that what is measured waits for them now and then: the figures are upper bounds. So does it for the disk,
//! where the forwarder keeps its state: with TMPDIR on a tmpfs none is in the figures.

use super::corpora::{Corpus, SERVICE};
use super::measure::{self, Program};
use super::receiver::{Look, Receiver};
use super::report::{Row, micros, table};
use super::stage::Stage;
use rask::clock;
use rask::generate::Pace;
use rask::layout::{Container, Spec};
use rask::receiver::Histogram;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longer than any receipt.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container whose lines are written one by one.
pub(super) struct Writer {
    container: Container,
    pub(super) containers: PathBuf,
    heads: Vec<Vec<u8>>,
    line: Vec<u8>,
    pub(super) written: u64,
    /// The longest that the file system has held up one write, which is then in the age of its line.
    longest_write: Duration,
}

impl Writer {
    pub(super) fn new(stage: &mut Stage, corpus: Corpus) -> io::Result<Self> {
        let containers = stage.new_dir();
        let container = Container::start(&containers, Spec::service(SERVICE))?;
        let heads = corpus.heads(1024);
        Ok(Self { container, containers, heads, line: Vec::new(), written: 0, longest_write: Duration::ZERO })
    }

    pub(super) fn log(&mut self) -> PathBuf {
        self.container.log().path().to_owned()
    }

    pub(super) fn write_one(&mut self) -> io::Result<()> {
        self.line.clear();
        self.line.extend_from_slice(&self.heads[self.written as usize % self.heads.len()]);
        let now = clock::now();
        clock::put_rfc3339(&mut self.line, now);
        self.line.extend_from_slice(b"\"}\n");
        self.written += 1;
        let begun = Instant::now();
        self.container.log().write(&self.line, now)?;
        self.longest_write = self.longest_write.max(begun.elapsed());
        Ok(())
    }

    /// At `rate` lines a second for so long.
    fn play(&mut self, rate: u64, time: Duration) -> io::Result<()> {
        let (pace, begun, mut written) = (Pace { rate, burst: 1 }, Instant::now(), 0);
        let end = time.as_micros() as u64 * rate / 1_000_000;
        while written < end {
            let due = pace.due(begun.elapsed()).min(end);
            for _ in written..due {
                self.write_one()?;
            }
            written = written.max(due);
            if written < end {
                std::thread::sleep(pace.wait(written, begun.elapsed()));
            }
        }
        Ok(())
    }
}

/// Who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Forwarder,
    Floor,
}

impl Who {
    fn text(self) -> &'static str {
        match self {
            Self::Forwarder => "forwarder",
            Self::Floor => "inotify floor",
        }
    }

    fn look(self) -> Look {
        Look::Age(match self {
            Self::Forwarder => "\"timestamp\":\"",
            Self::Floor => ",\"time\":\"",
        })
    }
}

/// A program that follows, its first line acknowledged.
pub(super) struct Following {
    pub(super) receiver: Receiver,
    pub(super) program: Program,
    state: PathBuf,
    who: Who,
}

impl Following {
    pub(super) fn start(stage: &mut Stage, who: Who, writer: &mut Writer) -> io::Result<Self> {
        let receiver = Receiver::start(who.look())?;
        let state = stage.new_state();
        writer.write_one()?;
        let program = match who {
            Who::Forwarder => stage.forwarder.start(&writer.containers, receiver.address(), &state)?,
            Who::Floor => stage.forwarder.start_floor(&writer.log(), receiver.address(), true)?,
        };
        let following = Self { receiver, program, state, who };
        following.wait(stage, writer);
        Ok(following)
    }

    /// Waits until all that was written has come; says so when it has not.
    fn wait(&self, stage: &mut Stage, writer: &Writer) {
        self.receiver.wait_for(writer.written, PATIENCE);
        let (came, written) = (self.receiver.seen().records, writer.written);
        if came != written {
            stage.report.wrong(format!("live, {}: {came} records of {written} came", self.who.text()));
        }
    }

    pub(super) fn end(self, stage: &mut Stage) -> io::Result<()> {
        if self.who == Who::Forwarder {
            self.program.end()?;
            stage.drop_state(&self.state)?;
        }
        Ok(())
    }
}

/// One pace, measured.
#[derive(Clone, Debug)]
struct Lap {
    who: Who,
    /// Lines a second that were asked for, and that the writer got.
    rate: u64,
    reached: f64,
    ages: Histogram,
    /// Of one core.
    share: f64,
    bodies: f64,
    peak_bytes: u64,
    longest_write: Duration,
    /// Of the time, waiting for a core: the program, and we here.
    waited: [f64; 2],
}

/// What is counted at the begin and the end of a pace: CPU, and waits for a core.
fn counts(program: &Program) -> io::Result<[Duration; 3]> {
    Ok([program.cpu()?, program.waited()?, measure::waited_ourselves()?])
}

fn follow(stage: &mut Stage, who: Who, corpus: Corpus, rate: u64, time: Duration) -> io::Result<Lap> {
    let mut writer = Writer::new(stage, corpus)?;
    let following = Following::start(stage, who, &mut writer)?;
    // Until memory is bought and the pace is known.
    writer.play(rate, Duration::from_secs(1))?;
    following.wait(stage, &writer);
    writer.longest_write = Duration::ZERO;
    let (before, begun, counted) = (following.receiver.seen(), Instant::now(), counts(&following.program)?);
    writer.play(rate, time)?;
    let (wall, now) = (begun.elapsed(), counts(&following.program)?);
    let reached = (writer.written - before.records) as f64 / wall.as_secs_f64();
    let [share, program, ourselves]: [f64; 3] =
        std::array::from_fn(|i| now[i].saturating_sub(counted[i]).as_secs_f64() / wall.as_secs_f64());
    let waited = [program, ourselves];
    following.wait(stage, &writer);
    let seen = following.receiver.seen();
    let ages = seen.ages.since(&before.ages);
    if ages.count() != seen.records - before.records {
        stage.report.wrong(format!("live, {}: {} ages of {} records", who.text(), ages.count(), seen.records));
    }
    let bodies = (seen.bodies - before.bodies) as f64 / wall.as_secs_f64();
    let (peak_bytes, longest_write) = (following.program.peak_bytes()?, writer.longest_write);
    let result = Lap { who, rate, reached, ages, share, bodies, peak_bytes, longest_write, waited };
    following.end(stage)?;
    std::fs::remove_dir_all(&writer.containers)?;
    stage.say(&format!(
        "live, {} at {rate} lines/s: p50 {}, p99 {}, {:.1} % of a core",
        who.text(),
        micros(result.ages.quantile(0.5)),
        micros(result.ages.quantile(0.99)),
        share * 100.0
    ));
    Ok(result)
}

/// Each pace `repeat` times, floor and forwarder in turns. Of each the turn in which least was waited for a core is told: the
/// machine's own quiet chooses, not the figures.
pub(super) fn run(stage: &mut Stage, corpus: Corpus, rates: &[u64], repeat: u32, time: Duration) -> io::Result<()> {
    let mut results = Vec::new();
    for rate in rates {
        let mut turns: [Vec<Lap>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..repeat {
            turns[0].push(follow(stage, Who::Floor, corpus, *rate, time)?);
            turns[1].push(follow(stage, Who::Forwarder, corpus, *rate, time)?);
        }
        let noise = |result: &Lap| result.waited.iter().sum::<f64>();
        let quietest = |turns: Vec<Lap>| turns.into_iter().min_by(|a, b| noise(a).total_cmp(&noise(b)));
        results.extend(turns.into_iter().filter_map(quietest));
    }
    let mut rows = Vec::new();
    for pair in results.chunks(2) {
        judge(stage, &pair[0], &pair[1]);
        for Lap { who, rate, reached, ages, share, bodies, peak_bytes, longest_write, waited } in pair {
            rows.push([
                who.text().to_owned(),
                format!("{rate} ({reached:.0})"),
                micros(ages.quantile(0.5)),
                micros(ages.quantile(0.9)),
                micros(ages.quantile(0.99)),
                micros(ages.max()),
                micros(*longest_write),
                format!("{:.1} %", share * 100.0),
                format!("{:.0} % / {:.0} %", waited[0] * 100.0, waited[1] * 100.0),
                format!("{bodies:.0}"),
                format!("{:.1}", *peak_bytes as f64 / f64::from(1 << 20)),
            ]);
        }
    }
    let heads = [
        "who",
        "lines/s (reached)",
        "p50",
        "p90",
        "p99",
        "longest",
        "longest write(2)",
        "CPU of a core",
        "waited for it / we",
        "bodies/s",
        "peak MiB",
    ];
    let text = format!(
        "Live, lines of {}, {} s each, the quietest of {repeat}. A write that the disk holds up is in \
         the age of its line, with the floor as with the forwarder; waits for a core that others had are of the program and \
         of the bench itself:\n\n{}",
        corpus.text(),
        time.as_secs(),
        table(&heads, &rows)
    );
    stage.report.details.push(text);
    Ok(())
}

fn judge(stage: &mut Stage, floor: &Lap, forwarder: &Lap) {
    let Lap { rate, ages, share, .. } = forwarder;
    let rows = &mut stage.report.rows;
    let (p50, p99) = (ages.quantile(0.5), ages.quantile(0.99));
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mut below = |what: &str, limit: f64, time: Duration| {
        let what = format!("write to receipt at {rate} lines/s, {what}");
        rows.push(Row::at_most(what, millis(time), limit, |ms| format!("{ms:.3} ms")));
    };
    match rate {
        0..=1000 => {
            below("p99", 0.5, p99);
            let ratio = p50.as_secs_f64() / floor.ages.quantile(0.5).as_secs_f64();
            let what = format!("write to receipt at {rate} lines/s, p50 against the inotify floor");
            rows.push(Row::at_most(what, ratio, 2.5, |ratio| format!("{ratio:.2}× the floor")));
        }
        _ => {
            below("p50", 2.0, p50);
            below("p99", 4.0, p99);
            let limit = if *rate >= 100_000 { 10.0 } else { 7.0 };
            let what = format!("CPU at {rate} lines/s, of a core");
            rows.push(Row::at_most(what, share * 100.0, limit, |percent| format!("{percent:.1} %")));
        }
    }
    if *rate >= 100_000 {
        let what = format!("peak RSS at {rate} lines/s");
        rows.push(Row::below_mib(what, 12.0, forwarder.peak_bytes));
    }
}
