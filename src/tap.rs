//! `tap`: the records on the terminal instead of at the receiver. Reads from the first byte, commits nothing, leaves no trace.

use crate::app::{Signals, stop_on_signal};
use crate::buffer::{Chunk, Item, queue};
use crate::collector::Collector;
use crate::collector::checkpoint::Positions;
use crate::config::Config;
use crate::exit;
use crate::limits;
use crate::metrics::Metrics;
use crate::parser::{Bounds, Parser, Progress, Records};
use crate::sender::sleep_until;
use crate::source::Container;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Prints records until SIGTERM, SIGINT or a closed pipe.
pub fn run(config: &Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::with(exit::FAILURE, &format!("cannot start: {error}")),
    };
    match runtime.block_on(print(config)) {
        Ok(()) => ExitCode::SUCCESS,
        // `… | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => exit::with(exit::FAILURE, &format!("cannot print: {error}")),
    }
}

async fn print(config: &Config) -> io::Result<()> {
    let metrics = Metrics::new();
    let (to_parser, mut items) = queue::queue(config.buffer_capacity, config.buffer_max_bytes);
    let collector = Collector::new(config, Positions::default(), to_parser, metrics.clone());
    let mut parser = Parser::new(config.parser_settings(), &metrics);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(stop_on_signal(Signals::new(), stop, Arc::default()));
    tokio::spawn(collector.run(stopped));
    let bounds = Bounds { records: config.batch_size, bytes: limits::BATCH_BYTES };
    let mut out = io::stdout().lock();
    loop {
        let due = parser.due().into_iter().chain(parser.overdue_at().map(|(at, _)| at)).min();
        let item = tokio::select! {
            biased;
            item = items.recv() => item,
            () = sleep_until(due) => {
                print_overdue(&mut parser, &mut out)?;
                continue;
            }
        };
        let Some(item) = item else { break };
        match item {
            Item::Chunk(chunk) => print_chunk(&mut parser, chunk, bounds, &mut out)?,
            Item::End(source) => parser.end(&source),
            Item::Over(container) => {
                print_waiting(&mut parser, &container, &mut out)?;
                parser.forget(&container);
            }
            Item::Gap(gap) => {
                print_waiting(&mut parser, &gap.container, &mut out)?;
                parser.gap(gap);
            }
        }
        out.flush()?;
    }
    while let Some(source) = parser.open().or_else(|| parser.unreported()) {
        print_waiting(&mut parser, &source.container, &mut out)?;
    }
    out.flush()
}

/// All records of a chunk.
fn print_chunk(parser: &mut Parser, mut chunk: Chunk, bounds: Bounds, out: &mut impl io::Write) -> io::Result<()> {
    while let Some(source) = parser.earlier(&chunk) {
        let mut records = Records::new(source.clone());
        parser.release_earlier(&source, &mut records);
        out.write_all(&records.body)?;
    }
    loop {
        let mut records = Records::new(chunk.source.clone());
        let progress = parser.chunk(&mut chunk, &mut records, bounds);
        out.write_all(&records.body)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}

/// Lines that nothing has followed for long enough.
fn print_overdue(parser: &mut Parser, out: &mut impl io::Write) -> io::Result<()> {
    let now = Instant::now();
    while let Some(source) = parser.overdue(now) {
        let mut records = Records::new(source.clone());
        parser.release_overdue(&source, now, &mut records);
        out.write_all(&records.body)?;
    }
    while let Some((_, source)) = parser.overdue_at().filter(|(at, _)| *at <= now) {
        let source = source.clone();
        let mut records = Records::new(source.clone());
        parser.report(&source, &mut records);
        out.write_all(&records.body)?;
    }
    out.flush()
}

/// What is held back of a container.
fn print_waiting(parser: &mut Parser, container: &Container, out: &mut impl io::Write) -> io::Result<()> {
    while let Some(source) = parser.waiting(container) {
        let mut records = Records::new(source.clone());
        parser.release(&source, &mut records);
        out.write_all(&records.body)?;
    }
    Ok(())
}
