//! What a forwarder takes when there is little to do or nobody to send to: at its start, in silence, with the receiver away.

use super::corpora::{Backlog, Corpus};
use super::live::{Following, Who, Writer};
use super::receiver::{Look, Receiver};
use super::report::{Row, micros};
use super::stage::Stage;
use rask::receiver::Histogram;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// From exec to the first body, with one line waiting: later than the first byte read, so an upper bound. The middle of so many.
pub(super) fn start(stage: &mut Stage, times: u32) -> io::Result<()> {
    let mut all = Vec::new();
    for _ in 0..times {
        let mut writer = Writer::new(stage, Corpus::A)?;
        let following = Following::start(stage, Who::Forwarder, &mut writer)?;
        let first = following.receiver.seen().first.unwrap_or_else(Instant::now);
        all.push(first - following.program.begun);
        following.end(stage)?;
    }
    all.sort_unstable();
    let middle = all[(all.len() - 1) / 2].as_secs_f64() * 1e3;
    stage.report.rows.push(Row::at_most("start: exec to the first body received".into(), middle, 50.0, |ms| {
        format!("{ms:.1} ms (quickest {:.1})", all[0].as_secs_f64() * 1e3)
    }));
    Ok(())
}

/// Nothing happens for `time`; then `lines` single lines, each after half a second of silence.
pub(super) fn idle(stage: &mut Stage, time: Duration, lines: u32) -> io::Result<()> {
    let mut writer = Writer::new(stage, Corpus::A)?;
    let following = Following::start(stage, Who::Forwarder, &mut writer)?;
    // What belongs to the start is over by then.
    std::thread::sleep(if stage.is_smoke { time } else { Duration::from_secs(3) });
    let (cpu, sleeps) = (following.program.cpu()?, following.program.sleeps()?);
    std::thread::sleep(time);
    let (cpu, sleeps) = (following.program.cpu()? - cpu, following.program.sleeps()? - sleeps);
    let peak = following.program.peak_bytes()?;
    let before = following.receiver.seen().ages;
    for _ in 0..lines {
        writer.write_one()?;
        if following.receiver.wait_for(writer.written, Duration::from_secs(10)).is_none() {
            stage.report.wrong("a line after silence did not come".into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let ages: Histogram = following.receiver.seen().ages.since(&before);
    following.end(stage)?;
    let rows = &mut stage.report.rows;
    rows.push(Row::below_mib("peak RSS, idle".into(), 8.0, peak));
    let percent = cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
    rows.push(Row::at_most("idle CPU, of a core".into(), percent, 0.1, |percent| format!("{percent:.3} %")));
    rows.push(Row::at_most(format!("idle wake-ups in {} s", time.as_secs()), sleeps as f64, 0.0, |n| format!("{n}")));
    let what = format!("first line after {} s and after 0.5 s of silence, longest of {lines}", time.as_secs());
    rows.push(Row::at_most(what, ages.max().as_secs_f64() * 1e3, 0.5, |ms| {
        format!("{ms:.3} ms (middle {})", micros(ages.quantile(0.5)))
    }));
    Ok(())
}

/// The receiver is away until the log is in the spool or the spool is full; then it comes back and must get every record.
pub(super) fn spool(stage: &mut Stage, backlog: &Backlog) -> io::Result<()> {
    // A port that was free a moment ago.
    let address = Receiver::start(Look::Count)?.address();
    let state = stage.new_state();
    let mut program = stage.forwarder.start(&backlog.containers, address, &state)?;
    let spooled = wait_until_it_grows_no_more(&state)?;
    if program.has_ended()? {
        return Err(io::Error::other("the forwarder ended while the receiver was away"));
    }
    let (away, cpu) = (program.peak_bytes()?, program.cpu()?);
    let look = if stage.is_smoke { Look::Marks } else { Look::Count };
    let receiver = Receiver::start_at(address, look)?;
    receiver.wait_for(backlog.records, Duration::from_secs(60 + backlog.records / 20_000));
    std::thread::sleep(Duration::from_millis(200));
    let seen = receiver.seen();
    if seen.records != backlog.records || look == Look::Marks && seen.seq_sum != backlog.seq_sum() {
        stage.report.wrong(format!("spool: {} records of {} came, or others", seen.records, backlog.records));
    }
    let peak = program.peak_bytes()?;
    program.end()?;
    stage.drop_state(&state)?;
    let lines = backlog.lines;
    stage.say(&format!(
        "spool: {} MiB on disk, {:.0} ns a line of CPU",
        spooled >> 20,
        cpu.as_nanos() as f64 / lines as f64
    ));
    stage.report.rows.push(Row::below_mib("peak RSS, receiver down with spooling".into(), 15.0, away));
    stage.report.rows.push(Row::below_mib("peak RSS, the spool drained".into(), 15.0, peak));
    if spooled < 10_000 {
        stage.report.wrong(format!("spool: only {spooled} bytes were written while the receiver was away"));
    }
    Ok(())
}

/// Until the state directory has kept its size for two seconds.
fn wait_until_it_grows_no_more(state: &Path) -> io::Result<u64> {
    let until = Instant::now() + Duration::from_secs(180);
    let (mut size, mut since) = (0, Instant::now());
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        let now = size_of(state)?;
        if now != size {
            (size, since) = (now, Instant::now());
        } else if since.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    Ok(size)
}

/// Bytes of all files below `dir`; what goes meanwhile is not counted.
fn size_of(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        size += if metadata.is_dir() { size_of(&entry.path()).unwrap_or(0) } else { metadata.len() };
    }
    Ok(size)
}
