//! The command `rask`: what people type to see, load and check it.

mod args;

use args::{Cli, Command, Demo, Forward, Gen, Verify};
use clap::Parser;
use rask::generate::{Pace, Play, Progress, Sink};
use rask::layout::{Container, Rotation, Spec};
use rask::receiver::{Detail, Keep, Options};
use rask::stop::Stop;
use rask::{demo, verify};
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Forward(forward) => return forward_as_child(forward),
        Command::Demo(args) => run_demo(args),
        Command::Gen(args) => run_gen(*args),
        Command::Verify(args) => run_verify(args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // `rask gen | head` is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "rask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn forward_as_child(forward: Forward) -> ExitCode {
    if std::env::var_os(demo::CHILD_VARIABLE).is_some() {
        demo::die_with_parent();
    }
    rask_log_forwarder::cli::main_with([OsString::from("rask-log-forwarder")].into_iter().chain(forward.args))
}

fn run_demo(args: Demo) -> io::Result<bool> {
    let options = demo::Options {
        time: (args.seconds > 0).then(|| Duration::from_secs(args.seconds)),
        rate: args.rate,
        max_size: args.max_size,
        image: args.docker.then_some(args.image),
    };
    demo::run(&options, &Stop::on_signals()?)
}

fn run_gen(args: Gen) -> io::Result<bool> {
    let run = args.run.unwrap_or_else(demo::new_run);
    let play = Play {
        format: args.format,
        pace: Pace { rate: args.rate, burst: args.burst },
        count: args.count,
        time: args.seconds.map(Duration::from_secs),
        stderr_share: args.stderr_share,
        seq_start: args.seq_start,
        size: args.size,
        run,
    };
    let sink = match (args.layout, args.service) {
        (Some(containers), Some(service)) => {
            let labels = args.group.map(|group| ("rask.group".to_owned(), group)).into_iter().collect();
            let rotation = Rotation { max_size: args.max_size, max_file: args.max_file, compress: args.compress };
            Sink::Container(Box::new(Container::start(
                &containers,
                Spec { labels, rotation, ..Spec::service(&service) },
            )?))
        }
        _ => Sink::Standard,
    };
    let progress = Progress::default();
    let played = play.run(sink, &progress, &Stop::on_signals()?);
    if let Some(path) = args.report {
        let (stdout, stderr) = (progress.stdout.load(Ordering::Relaxed), progress.stderr.load(Ordering::Relaxed));
        let report = serde_json::json!({ "run": play.run, "stdout": stdout, "stderr": stderr });
        std::fs::write(path, report.to_string())?;
    }
    if let Sink::Container(container) = played? {
        container.stop()?;
    }
    Ok(true)
}

fn run_verify(args: Verify) -> io::Result<bool> {
    let options = Options {
        listen: args.listen,
        detail: if args.strict { Detail::Full } else { Detail::Counts },
        keep: Keep::None,
        only_run: args.run,
        state: args.state,
        ..Options::default()
    };
    let expectation = verify::Expectation {
        count: args.expect,
        time: args.seconds.map(Duration::from_secs),
        seq_start: args.seq_start,
        quiet: Duration::from_secs(1),
        in_place: io::stdout().is_terminal(),
    };
    verify::run(options, &expectation, &Stop::on_signals()?, &mut io::stdout())
}
