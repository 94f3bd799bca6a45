//! The command line of `rask`. Its texts are the command's documentation.

use clap::{Args, Parser, Subcommand};
use rask::generate::Format;
use rask::layout::parse_size;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// See, load and check rask: a log forwarder for Docker Compose that loses no line.
#[derive(Debug, Parser)]
#[command(
    name = "rask",
    version,
    after_help = "\
Examples:
  rask demo                                  watch it work, no Docker needed
  rask demo --docker                         the same with real containers
  rask gen --format nginx --rate 100         lines as nginx writes them
  rask verify --listen 127.0.0.1:9600        receive, and say what is missing

`rask <command> --help` tells more."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Gen(Box<Gen>),
    Verify(Verify),
    Forward(Forward),
}

/// Play three services and watch every line arrive.
///
/// nginx, a Go service and PostgreSQL write into a temporary containers directory just as Docker's daemon would, rotation
/// included. One real rask-log-forwarder process per service ships them to a receiving end on loopback, which checks that every
/// line comes exactly once. At the end it says what it found; the exit code is 1 when a line was lost or came twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rask demo                          30 seconds
  rask demo --seconds 0              until Ctrl-C
  rask demo --rate 60000             what does it cost at 60,000 lines/s?
  sudo rask demo --docker            real containers, real json-file logs")]
pub(crate) struct Demo {
    /// How long; 0 is until Ctrl-C
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Lines per second, all services together
    #[arg(long, default_value_t = 3000)]
    pub(crate) rate: u64,
    /// Size at which the logs rotate, in Docker's units
    #[arg(long, default_value = "500k", value_parser = parse_size)]
    pub(crate) max_size: u64,
    /// Use real containers; needs Docker, and the right to read its containers directory
    #[arg(long)]
    pub(crate) docker: bool,
    /// Image for --docker, with a glibc as new as this program's; the project's deploy/base-images.sh makes the default one
    #[arg(long, default_value = "debian:bookworm-slim")]
    pub(crate) image: String,
}

/// Write log lines as real programs do, each with a sequence number.
///
/// Each stream counts for itself: `seq=N run=NAME` stands in every event, in a form that survives parsing, so that `rask verify`
/// at the far end can say what was lost, repeated or out of order. Without --count and --seconds it writes until it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rask gen --format go --rate 5000 --stderr-share 0.1
  rask gen --format plain --rate 0 --count 1000000 > lines.txt
  rask gen --format nginx --rate 1000 --burst 100 --seconds 10
  rask gen --format plain --size 40000 --count 10      messages that Docker splits into parts

Into a containers directory, as Docker's json-file driver writes:
  rask gen --format postgres --layout /tmp/containers --service db --max-size 1m --max-file 3 --compress
  TARGET_SERVICE=db DOCKER_CONTAINERS_DIR=/tmp/containers DOCKER_HOST=none \\
    DISK_FALLBACK_PATH=/tmp/state RASK_ENDPOINT=http://127.0.0.1:9600/v1/aggregate rask-log-forwarder")]
pub(crate) struct Gen {
    /// What kind of program writes
    #[arg(long, value_enum, default_value = "go")]
    pub(crate) format: Format,
    /// Events per second; 0 is as fast as can be
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u64,
    /// Events written together, at the same rate overall
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) burst: u64,
    /// End after so many events
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// End after so many seconds
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// Share of events on stderr, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub(crate) stderr_share: f64,
    /// First sequence number of each stream
    #[arg(long, default_value_t = 0)]
    pub(crate) seq_start: u64,
    /// Pad events to about so many bytes
    #[arg(long, default_value_t = 0)]
    pub(crate) size: usize,
    /// Name of the run in every event; made up when not given
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Write at the end how many events went out, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write a container's json-file log below this containers directory instead of stdout and stderr
    #[arg(long, value_name = "DIR", requires = "service")]
    pub(crate) layout: Option<PathBuf>,
    /// Compose service of that container
    #[arg(long, requires = "layout")]
    pub(crate) service: Option<String>,
    /// Its label rask.group
    #[arg(long, requires = "layout")]
    pub(crate) group: Option<String>,
    /// Its log's max-size, in Docker's units: 10k, 1m; no rotation when not given
    #[arg(long, requires = "layout", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,
    /// Its log's max-file; 1 means that the log is deleted and begun anew
    #[arg(long, requires = "layout", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_file: u32,
    /// Its log's compress
    #[arg(long, requires = "max_size")]
    pub(crate) compress: bool,
}

/// Receive, and judge what comes: missing, twice, out of order, late.
///
/// A standing receiving end for forwarders whose services write `rask gen`'s lines. Ends after --seconds, when --expect records
/// have come, or on Ctrl-C. The exit code is 1 when anything is missing or came twice, or when nothing came.
#[derive(Debug, Args)]
#[command(after_help = "\
A proof over a deployment of your own:
  1. rask verify --listen 0.0.0.0:9600 --state /var/tmp/verify.json
  2. a service of your project runs `rask gen --rate 200` (its log rotates as yours do), and a rask-log-forwarder follows it
     with RASK_ENDPOINT pointing to 1.
  3. Do what you are afraid of: kill, restart, re-create, fill disks, pull cables. What is missing is said by its numbers.

Examples:
  rask verify                                          until Ctrl-C
  rask verify --run ab12 --expect 100000 --seconds 60  one run, and no longer than a minute
  rask verify --state /tmp/verify.json                 remembers across its own restarts")]
pub(crate) struct Verify {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:9600")]
    pub(crate) listen: SocketAddr,
    /// Judge only this run
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Records with a number that must come
    #[arg(long)]
    pub(crate) expect: Option<u64>,
    /// End after so many seconds
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// First sequence number of each stream
    #[arg(long, default_value_t = 0)]
    pub(crate) seq_start: u64,
    /// Keep what was committed in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Check every record against the letter of the wire format
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Run the forwarder that is built into this program; `rask forward --help` is the forwarder's.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Forward {
    /// The forwarder's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}
