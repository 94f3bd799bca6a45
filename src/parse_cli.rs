//! `parse`: how lines are read, for a person who sets up a service. The same [`Parser`] as in the pipeline, line by line.

use crate::buffer::{Chunk, Offsets};
use crate::exit;
use crate::limits;
use crate::metrics::Metrics;
use crate::parser::formats::Format;
use crate::parser::look::{self, Note};
use crate::parser::{Bounds, Parser, Progress, Records, Settings};
use crate::position::{Generation, Range};
use crate::source::{Container, Source};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const LONG: &str = "Show how lines are read: which format takes each of them, and the record it becomes.

Lines are what the application writes, or lines of Docker's json-file log, which are recognized. They come from the files, or from \
standard input. Nothing is sent and no state is kept.

Processing is done as configured (RASK_MIN_LEVEL, RASK_DROP, RASK_KEEP, RASK_SAMPLE, RASK_RATE, RASK_REDACT): what would be left out \
is shown with the reason, what would be blacked out is.";

const EXAMPLES: &str = "\
Examples:
  What becomes of the lines of a running service?
      docker logs api 2>&1 | rask-log-forwarder parse

  Why is this no PostgreSQL line?
      echo 'hello' | rask-log-forwarder parse --format postgres

  Try a pattern before deploying it:
      docker logs web 2>&1 | rask-log-forwarder parse --drop '^GET /healthz' --redact email

  The records themselves, of Docker's own file:
      rask-log-forwarder parse --json /var/lib/docker/containers/*/*-json.log | jq .fields

Exit codes: 0 all lines were shown · 1 a file cannot be read · 64 usage · 78 configuration";

/// Keys of a record that have a line of their own, in this order, behind the message.
const SHOWN: &[&str] =
    &["method", "path", "status_code", "response_size", "user_agent", "ip_address", "trace_id", "span_id"];

/// `parse` on the command line.
pub fn command() -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let files = Arg::new("FILE").num_args(0..).value_parser(clap::value_parser!(std::ffi::OsString));
    Command::new("parse")
        .about("Show how lines on standard input are read: format, record, and what would be left out")
        .long_about(LONG)
        .after_long_help(EXAMPLES)
        .arg(json.help("Print the records as they would be sent (NDJSON), and nothing else"))
        .arg(files.help("Files of lines; none or `-` is standard input"))
}

/// Shows the lines of the files on the command line.
pub fn run(given: &ArgMatches, settings: Settings, service: Option<String>) -> ExitCode {
    let out = io::stdout();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut show = Show::new(settings, service, given.get_flag("json"), colour, BufWriter::new(out.lock()));
    let names: Vec<_> = given.get_many::<std::ffi::OsString>("FILE").unwrap_or_default().collect();
    let mut code = ExitCode::SUCCESS;
    let shown = if names.is_empty() {
        if io::stdin().is_terminal() {
            let _ = writeln!(io::stderr(), "rask-log-forwarder: reading lines from the terminal; Ctrl-D ends them");
        }
        show.all(io::stdin().lock())
    } else {
        names.into_iter().try_for_each(|name| {
            let input: Box<dyn Read> = match name.to_str() {
                Some("-") => Box::new(io::stdin().lock()),
                _ => match File::open(name) {
                    Ok(file) => Box::new(file),
                    Err(error) => {
                        code = unreadable(name, &error);
                        return Ok(());
                    }
                },
            };
            match show.all(input) {
                Err(Broken::Input(error)) => {
                    code = unreadable(name, &error);
                    Ok(())
                }
                shown => shown,
            }
        })
    };
    match shown.and_then(|()| show.finish()) {
        Ok(()) => code,
        // `… | head` has seen enough.
        Err(Broken::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(Broken::Output(error)) => exit::with(exit::FAILURE, &format!("cannot print: {error}")),
        Err(Broken::Input(error)) => exit::with(exit::FAILURE, &format!("standard input cannot be read: {error}")),
    }
}

fn unreadable(name: &std::ffi::OsStr, error: &io::Error) -> ExitCode {
    let name = name.to_string_lossy();
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied => "; logs of Docker belong to root",
        io::ErrorKind::NotFound => "; without FILE, standard input is read",
        io::ErrorKind::IsADirectory => "; give the files in it",
        _ => "",
    };
    exit::with(exit::FAILURE, &format!("{name} cannot be read: {error}{cure}"))
}

/// What went wrong, by side.
enum Broken {
    Input(io::Error),
    Output(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Lines in, what became of them out.
struct Show<W: Write> {
    parser: Parser,
    source: Arc<Source>,
    asked: Option<Format>,
    json: bool,
    paint: Paint,
    out: W,
    /// Lines read.
    line: u64,
    /// The last texts, for those that are not sent; as many as a message can have.
    texts: VecDeque<Vec<u8>>,
}

/// Texts that are remembered.
const TEXTS: usize = 64;

impl<W: Write> Show<W> {
    fn new(settings: Settings, service: Option<String>, json: bool, colour: bool, out: W) -> Self {
        let container = Container {
            service: service.unwrap_or_else(|| "stdin".to_owned()),
            ..Container::new(&"0".repeat(64), "stdin")
        };
        let mapped = settings.mappings.iter().find(|(service, _)| *service == container.service);
        let asked = mapped.map(|(_, format)| *format).or(settings.format);
        let source = Arc::new(Source { container: Arc::new(container), generation: Generation(1) });
        let mut parser = Parser::new(settings, &Metrics::new());
        parser.take_notes();
        Self { parser, source, asked, json, paint: Paint(colour), out, line: 0, texts: VecDeque::new() }
    }

    /// Shows every line of `input`.
    fn all(&mut self, input: impl Read) -> Result<(), Broken> {
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        loop {
            // Whoever looks at a program that runs wants to see what it has written.
            if input.buffer().is_empty() {
                self.out.flush()?;
            }
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(Broken::Input)? == 0 {
                return Ok(());
            }
            self.one(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    }

    fn one(&mut self, line: &[u8]) -> io::Result<()> {
        self.line += 1;
        let (text, data) = match look::docker_text(line) {
            Some(text) => (text, [line, b"\n"].concat()),
            None => (line.to_vec(), look::docker_line(line)),
        };
        if self.texts.len() == TEXTS {
            self.texts.pop_front();
        }
        self.texts.push_back(text);
        let range = Range::new(self.line - 1, self.line);
        let mut chunk = Chunk {
            source: self.source.clone(),
            data: data.into(),
            offsets: Offsets::Each(Arc::new([range])),
            lines: 1,
            read_at: Instant::now(),
        };
        let bounds = Bounds { records: usize::MAX, bytes: limits::BATCH_BYTES };
        loop {
            let mut records = Records::new(self.source.clone());
            let progress = self.parser.chunk(&mut chunk, &mut records, bounds);
            self.print(&records)?;
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    /// Shows what waits for lines that do not come.
    fn finish(&mut self) -> Result<(), Broken> {
        while let Some(source) = self.parser.waiting(&self.source.container) {
            let mut records = Records::new(source.clone());
            self.parser.release(&source, &mut records);
            self.print(&records)?;
        }
        Ok(self.out.flush()?)
    }

    fn print(&mut self, records: &Records) -> io::Result<()> {
        let notes = self.parser.notes();
        if self.json {
            return self.out.write_all(&records.body);
        }
        let mut lines = records.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
        for note in notes {
            if note.left_out.is_some() {
                self.left_out(&note)?;
                continue;
            }
            // Before it there may be a record about lines that were left out.
            while let Some(record) = lines.next().and_then(|line| serde_json::from_slice(line).ok()) {
                if is_suppressed(&record) {
                    self.record(None, &record)?;
                } else {
                    self.record(Some(&note), &record)?;
                    break;
                }
            }
        }
        for record in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
            self.record(None, &record)?;
        }
        Ok(())
    }

    fn left_out(&mut self, note: &Note) -> io::Result<()> {
        let Some(reason) = note.left_out.map(|reason| reason.name()) else { return Ok(()) };
        let (key, label) = match reason {
            "level" => ("RASK_MIN_LEVEL".to_owned(), "min_level"),
            reason => (format!("RASK_{}", reason.to_uppercase()), reason),
        };
        let head = format!("{} · {} · not sent: {key} (label rask.{label})", place(note), note.format.service_type());
        writeln!(self.out, "{}", self.paint.warn(&head))?;
        for text in self.texts_of(note) {
            writeln!(self.out, "    {}", self.paint.dim(&printable(&text)))?;
        }
        self.refusal(note)
    }

    fn record(&mut self, note: Option<&Note>, record: &Map<String, Value>) -> io::Result<()> {
        let text = |key: &str| record.get(key).map(plain).unwrap_or_default();
        let level = text("level");
        let mut head = note.map(place).into_iter().collect::<Vec<_>>();
        let family = text("service_type");
        let format = note.map(|note| note.format.service_type()).filter(|format| *format != family);
        head.extend(format.map(|format| format!("as {format}")));
        head.extend([family, text("log_type")]);
        let head = head.join(" · ");
        let level = if level.is_empty() { "no level".to_owned() } else { self.paint.level(&level) };
        let rest = format!("{} · {}", text("stream"), text("timestamp"));
        writeln!(self.out, "{} · {level} · {}", self.paint.bold(&head), self.paint.dim(&rest))?;
        writeln!(self.out, "    {}", printable(text("message")))?;
        if let Some(note) = note {
            self.refusal(note)?;
        }
        let own = SHOWN.iter().filter_map(|key| Some(((*key).to_owned(), record.get(*key)?)));
        let fields = record.get("fields").and_then(Value::as_object).into_iter().flatten();
        for (key, value) in own.chain(fields.map(|(key, value)| (format!("fields.{key}"), value))) {
            writeln!(self.out, "    {} {}", self.paint.key(&printable(&key)), printable(plain(value)))?;
        }
        Ok(())
    }

    /// Why another format took it than was asked for.
    fn refusal(&mut self, note: &Note) -> io::Result<()> {
        let Some(failed) = note.failed else { return Ok(()) };
        let text = self.texts_of(note).join(&b'\n');
        let why = look::refusal(failed, &text).unwrap_or("not a line of its own");
        let asked = if self.asked == Some(failed) { "asked for" } else { "looks like" };
        let line = format!("{asked} {}, but: {why}", failed.service_type());
        writeln!(self.out, "    {}", self.paint.warn(&line))
    }

    fn texts_of(&self, note: &Note) -> Vec<Vec<u8>> {
        let behind = (self.line - note.end.min(self.line)) as usize;
        let end = self.texts.len().saturating_sub(behind);
        let start = end.saturating_sub(note.lines as usize);
        self.texts.range(start..end).cloned().collect()
    }
}

fn is_suppressed(record: &Map<String, Value>) -> bool {
    record["service_type"] == "rask" && record["log_type"] == "suppressed"
}

fn place(note: &Note) -> String {
    match note.lines {
        0 | 1 => format!("line {}", note.end),
        lines => format!("lines {}–{}", (note.end + 1).saturating_sub(u64::from(lines)), note.end),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Without what a terminal would obey.
fn printable(text: impl AsRef<[u8]>) -> String {
    let text = String::from_utf8_lossy(text.as_ref());
    text.chars()
        .map(|c| match c {
            '\n' => "\n    ".to_owned(),
            '\t' => "\t".to_owned(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn key(self, text: &str) -> String {
        self.with("36", text)
    }

    fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    fn level(self, level: &str) -> String {
        let code = match level {
            "Debug" => "2",
            "Info" => "32",
            "Warn" => "33",
            _ => "31",
        };
        self.with(code, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: Settings, json: bool, colour: bool, input: &str) -> String {
        let mut out = Vec::new();
        let mut show = Show::new(settings, None, json, colour, &mut out);
        assert!(show.all(input.as_bytes()).and_then(|()| show.finish()).is_ok());
        drop(show);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn colours_only_when_asked_for_and_nothing_that_a_terminal_obeys() {
        let line = "ERROR \u{1b}]0;title\u{7}\u{9b}31m x\n";
        let plain = shown(Settings::default(), false, false, line);
        assert!(!plain.contains(['\u{1b}', '\u{9b}', '\u{7}']), "{plain:?}");
        assert!(shown(Settings::default(), false, true, line).contains("\u{1b}[31mError\u{1b}[0m"));
    }

    #[test]
    fn lines_are_numbered_over_parts_and_files() {
        let part = |log: &str| {
            let log = serde_json::to_string(log).unwrap();
            format!("{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"2026-11-21T13:00:00Z\"}}\n")
        };
        let long = "x".repeat(limits::DOCKER_PART_BYTES);
        let text = shown(Settings::default(), false, false, &format!("first\n{}{}last", part(&long), part("end\n")));
        for place in
            ["line 1 · plain", "lines 2–3 · plain · plain · no level · stderr · 2026-11-21T13:00:00.0", "line 4"]
        {
            assert!(text.contains(place), "{place}: {text}");
        }
    }
}
